"""What one task costs as there are more of them, and more workers; and what a task that waits costs in memory.

Each point is measured in a process of its own, the contestants in turns. Two workers are programs; more are in this one
process, for its share and the scheduler's are what is looked for: so they take turns on one core with both.
"""

import argparse
from collections import defaultdict
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

import drawing
from child import ChildError, lines
from document import Document
from rich.console import Console

LABELS = {"asyncflow": "asyncflow", "unbundled": "asyncflow, bundle=False", "by_hand": "distributed by hand"}
TASKS = (1_000, 5_000, 20_000, 50_000, 200_000)
WORKERS = (2, 10, 50, 200)
MANY = 20_000  # by hand, and unbundled, more would take an hour
ON_EACH = 5_000
WAITING = 10_000
PATIENCE = 900.0

console = Console(stderr=True)


def main():
    options = parse()
    document = Document(options.markdown, "scale") if options.markdown else None
    points = [("time", name, tasks, 2) for tasks in options.tasks for name in LABELS if fits(name, tasks)]
    points += [("time", name, ON_EACH, workers) for workers in options.workers if workers > 2 for name in LABELS]
    points += [("memory", name, WAITING, 2) for name in LABELS]
    found = defaultdict(list)
    for number in range(options.rounds):
        for point in points[number % len(points) :] + points[: number % len(points)]:
            if (value := measure(*point)) is not None:
                found[point].append(value)
    text = tables(found)
    console.print(text, markup=False)
    if document:
        document.replace(f"{datetime.now(UTC):%d %B %Y}, medians of {options.rounds} rounds.\n\n{text}\n")
    if options.plot:
        draw(found, options.plot)


def parse():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--tasks", type=int, nargs="*", default=TASKS)
    parser.add_argument("--workers", type=int, nargs="*", default=WORKERS)
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="replace the text between the markers of FILE")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw both curves")
    return parser.parse_args()


def fits(name, tasks):
    return name == "asyncflow" or tasks <= MANY


def measure(what, name, tasks, workers):
    console.print(f"{LABELS[name]}: {what} of {tasks:,} tasks, {workers} workers")
    try:
        with lines("scaled.py", name, what, str(tasks), str(workers), patience=PATIENCE) as results:
            return next(results)["value"]
    except (ChildError, StopIteration) as error:
        console.print(f"  {error}", markup=False)
        return None


def tables(found):
    """Microseconds a task, by tasks and by workers, and bytes of each that waits."""
    return "\n\n".join(
        [
            table(found, "tasks", {point[2] for point in found if point[0] == "time" and point[3] == 2}, 2),
            table(found, "workers", {point[3] for point in found if point[0] == "time" and point[3] > 2}, None),
            waiting(found),
        ]
    )


def table(found, axis, places, workers):
    text = f"| microseconds a task, by {axis} | {' | '.join(f'{place:,}' for place in sorted(places))} |\n"
    text += "|---|" + "---:|" * len(places) + "\n"
    for name, label in LABELS.items():
        cells = []
        for place in sorted(places):
            tasks, on = (place, workers) if workers else (ON_EACH, place)
            values = found.get(("time", name, tasks, on))
            cells.append(f"{median(values) / tasks * 1e6:,.0f}" if values else "-")
        text += f"| {label} | {' | '.join(cells)} |\n"
    return text.rstrip()


def waiting(found):
    text = "| a task that waits | bytes of driver and scheduler | beside by hand |\n|---|---:|---:|\n"
    base = median(found.get(("memory", "by_hand", WAITING, 2)) or [0]) / WAITING
    for name, label in LABELS.items():
        if values := found.get(("memory", name, WAITING, 2)):
            each = median(values) / WAITING
            text += f"| {label} | {each:,.0f} | {each - base:+,.0f} |\n"
    return text.rstrip()


def draw(found, path):
    figure, (left, right) = drawing.subplots("scale", 1, 2, figsize=(9, 4))
    for name, label in LABELS.items():
        style = "--" if name == "by_hand" else "-"
        of_name = sorted((point, values) for point, values in found.items() if point[:2] == ("time", name))
        by_tasks = [(point[2], median(values) / point[2] * 1e6) for point, values in of_name if point[3] == 2]
        by_workers = [(point[3], median(values) / point[2] * 1e6) for point, values in of_name if point[3] > 2]
        for axes, curve in ((left, by_tasks), (right, by_workers)):
            if curve:
                axes.plot(*zip(*sorted(curve), strict=True), style + "o", label=label, lw=1.2, ms=4)
    left.set(xlabel="tasks, on two worker programs", ylabel="microseconds a task", xscale="log", yscale="log")
    right.set(xlabel=f"workers in one process, {ON_EACH:,} tasks", xscale="log", yscale="log")
    for axes in (left, right):
        axes.grid(alpha=0.3)
    left.legend(fontsize="small")
    drawing.save(figure, path)


if __name__ == "__main__":
    main()
