"""Many short tasks in one engine, through `flow.map`: whether memory stays where it is, with Dask by hand beside it.

Each contestant has a process of its own. Memory is what the kernel counts; it is compared as the median of five samples
around the tenth part of the tasks and at the end. Exits with 1 where ours grows too much, or a key is left.
"""

import argparse
import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import NamedTuple

import drawing
from child import ChildError, lines
from document import Document
from rich.console import Console

CONTESTANTS = {
    "ours_local": "asyncflow",
    "ours_kept": "asyncflow, run directory and checkpoint=True",
    "hand_local": "by hand, LocalCluster",
    "ours_apart": "asyncflow, its scheduler apart",
    "hand_apart": "by hand, `dask scheduler` apart",
}
BOUND = 0.10  # of ours
SAMPLES = 200
PATIENCE = 900.0  # seconds without a sample

console = Console(stderr=True)


class Run(NamedTuple):
    """What one contestant came to: how many tasks, by process the bytes at each, and the keys left."""

    name: str
    done: list[int]
    memory: dict[str, list[int]]
    keys: int

    def at(self, process, part):
        """The median of five samples around this part of the tasks."""
        samples = self.memory[process]
        middle = min(max(2, round(part * len(samples)) - 1), len(samples) - 3)
        return median(samples[middle - 2 : middle + 3])

    def growth(self, process):
        return self.at(process, 1.0) / self.at(process, 0.1) - 1

    @property
    def is_kept(self):
        """Whether it keeps what is promised of ours."""
        return self.keys == 0 and (
            self.name.startswith("hand") or all(self.growth(process) < BOUND for process in self.memory)
        )


def main():
    options = parse()
    document = Document(options.markdown, "soak") if options.markdown else None
    count = 4000 if options.quick else options.tasks
    runs = [run for name in options.only or CONTESTANTS if (run := play(name, count, options.results)) is not None]
    text = table(runs)
    console.print(text)
    if document and runs:
        document.replace(f"{datetime.now(UTC):%d %B %Y}.\n\n{text}\n")
    if options.plot and runs:
        draw(runs, options.plot)
    return 0 if all(run.is_kept for run in runs) and len(runs) == len(options.only or CONTESTANTS) else 1


def parse():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--tasks", type=int, default=200_000)
    parser.add_argument("--quick", action="store_true", help="4,000 tasks, to see that everything runs")
    parser.add_argument("--only", nargs="+", choices=CONTESTANTS, default=[], metavar="NAME")
    parser.add_argument("--results", type=Path, help="a directory of finished runs, which are not run again")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="replace the text between the markers of FILE")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw the memory over the tasks")
    return parser.parse_args()


def play(name, count, results):
    """Run one contestant, or take what an earlier run of it found."""
    kept = results / f"{name}-{count}.jsonl" if results else None
    if kept is not None and kept.exists():
        return read(name, map(json.loads, kept.read_text().splitlines()))
    told = []
    console.print(f"{CONTESTANTS[name]}: {count:,} tasks")
    try:
        with lines("soaked.py", name, str(count), str(max(1, count // SAMPLES)), patience=PATIENCE) as samples:
            told.extend(samples)
    except ChildError as error:
        console.print(f"  {error.kind}: {error}", markup=False)
        return None
    if kept is not None:
        results.mkdir(parents=True, exist_ok=True)
        kept.write_text("".join(json.dumps(each) + "\n" for each in told))
    return read(name, told)


def read(name, told):
    *samples, last = told
    memory = {process: [each["memory"][process] for each in samples] for process in samples[0]["memory"]}
    return Run(name, [each["done"] for each in samples], memory, last["keys"])


def table(runs):
    """The Markdown table."""
    if not runs:
        return "nothing ran to its end"
    count = max(run.done[-1] for run in runs)
    text = (
        f"| | memory of | at the {count // 10:,}th task | at the {count:,}th | growth | keys left |\n"
        "|---|---|---:|---:|---:|---:|\n"
    )
    for run in runs:
        for place, process in enumerate(run.memory):
            first, last = run.at(process, 0.1), run.at(process, 1.0)
            label, keys = (CONTESTANTS[run.name], run.keys) if place == 0 else ("", "")
            figures = f"{first / 1e6:.1f} MB | {last / 1e6:.1f} MB | {run.growth(process):+.1%} | {keys}"
            text += f"| {label} | {process} | {figures} |\n"
    return text


def draw(runs, path):
    figure, axes = drawing.subplots("soak", figsize=(8, 4.5))
    for run in runs:
        for process, samples in run.memory.items():
            label = f"{CONTESTANTS[run.name].replace('`', '')}: {process}"
            style = "--" if run.name.startswith("hand") else "-"
            axes.plot([done / 1000 for done in run.done], [each / 1e6 for each in samples], style, label=label, lw=1.2)
    axes.set(xlabel="thousand tasks", ylabel="resident memory, MB", ylim=(0, None))
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small", loc="lower right")
    drawing.save(figure, path)


if __name__ == "__main__":
    sys.exit(main())
