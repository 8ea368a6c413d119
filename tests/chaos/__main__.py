"""``python -m chaos``: seed after seed, a line for each and place; the exit status is 1 if anything was not right."""

import argparse
import contextlib
import os
import random
import shutil
import sys
import tempfile
from pathlib import Path

from rich.console import Console

import slurm
from chaos import supervisor
from chaos.disk import unmount_below
from chaos.faults import Fault
from chaos.places import PLACES

_COLUMNS = "{:>6} {:<6} {:>5} {:>6} {:>6} {:>8} {:>8} {:>7} {:>12} {:>7}  {:<7}"
_HEADINGS = (
    "seed",
    "place",
    "steps",
    "values",
    "errors",
    "uncalled",
    "together",
    "faults",
    "struck work",
    "seconds",
    "verdict",
)

console = Console(soft_wrap=True, markup=False, highlight=False)


def main():
    """Play all seeds, and say what came of them."""
    options = parse()
    first = options.seed if options.seed is not None else random.SystemRandom().randrange(100_000)
    console.print(f"seeds {first} to {first + options.seeds - 1}; the first alone: make chaos SEED={first}")
    console.print(_COLUMNS.format(*_HEADINGS), "by kind")
    with box(options.place) as found:
        reports = [
            play(seed, place, options, found) for seed in range(first, first + options.seeds) for place in options.place
        ]
    total = {fault: sum(report.faults.get(fault, 0) for report in reports) for fault in Fault}
    bad = sum(bool(report.problems) for report in reports)
    console.print(
        f"{len(reports) - bad} of {len(reports)} right; {sum(total.values())} faults, of which "
        f"{sum(report.running for report in reports)} struck running work: {by_kind(total)}; "
        f"{sum(report.together for report in reports)} short calls beside them travelled together"
    )
    sys.exit(bad > 0)


def parse():
    """The options of the command line."""
    parser = argparse.ArgumentParser(prog="make chaos", description=__doc__.partition(":")[2])
    parser.add_argument("--seed", type=int, help="the first seed; any by default")
    parser.add_argument("--seeds", type=int, default=1, help="how many, from the first on (default 1)")
    parser.add_argument("--place", nargs="+", choices=PLACES, default=list(PLACES), help="where (default: all)")
    parser.add_argument("--steps", type=int, default=500, help="size of each graph (default 500)")
    parser.add_argument("--limit", type=float, default=300.0, help="seconds for each (default 300)")
    return parser.parse_args()


@contextlib.contextmanager
def box(places):
    """A Slurm of our own meanwhile, where one is asked for."""
    if "slurm" not in places:
        yield None
        return
    found = slurm.Slurm()
    try:
        found.start()
        os.environ.update(found.env)
        yield found
    finally:
        found.wipe()


def play(seed, place, options, found):
    """One graph in one place; its files stay if something is wrong."""
    directory = Path(tempfile.mkdtemp(prefix=f"asyncflow-chaos-{seed}-{place}-"))
    try:
        report = supervisor.run(
            seed, place, options.steps, directory, limit=options.limit, slurm=found if place == "slurm" else None
        )
    except BaseException:  # Ctrl-C as a rule
        unmount_below(directory)
        shutil.rmtree(directory)
        raise
    ended = (report.right_values, report.right_errors, report.uncalled, report.together)
    numbers = (report.steps, *ended, sum(report.faults.values()), report.running)
    verdict = "WRONG" if report.problems else "right"
    console.print(_COLUMNS.format(seed, place, *numbers, f"{report.seconds:.1f}", verdict), by_kind(report.faults))
    for problem in report.problems:
        console.print(f"    {problem}")
    if report.problems:
        console.print(f"    its files are in {directory}; its log ends:")
        console.print(report.log)
    else:
        shutil.rmtree(directory)
    return report


def by_kind(faults):
    """Counts in words: ``3 kill worker, 2 raise``."""
    return ", ".join(f"{faults[fault]} {fault}" for fault in Fault if faults.get(fault))


if __name__ == "__main__":
    main()
