"""Run every workload on asyncflow and on its peers, in turns, and print medians and ratios.

Every contestant has a fresh process in every round, and nothing of the others is alive meanwhile. Two clusters side
by side would share two cores with each other's heartbeats and polls, one library's settings of Dask would reach the
other's scheduler, and what a library keeps of earlier rounds would be counted in later ones. In a round each contestant
of all tables has one turn, and each round begins with another one: no one always follows the same neighbour.
"""

import argparse
import os
import platform
import sys
import tempfile
from collections import defaultdict
from contextlib import nullcontext
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import contestants
from child import ChildError, lines
from document import Document
from rich.console import Console
from rich.markup import escape
from table import Cell, Table, markdown, rich_table
from workloads import WORKLOADS

import slurm

TITLES = {
    "dask": "Two worker processes of one thread each, no encryption",
    "runs": "Runs that survive: two worker processes of one thread each, no encryption",
    "watched": "Watched: two worker processes of one thread each, no encryption",
    "slurm": "Two Slurm jobs of one worker with one thread each, TLS on both sides",
    "threads": "ThreadPoolExecutor(2)",
}
PACKAGES = ("asyncflow", "distributed", "radical.asyncflow", "rhapsody-py", "parsl", "ray")
PATIENCE = 120.0  # seconds for a workload, its warm-up and, for the first, the start of the cluster

console = Console(stderr=True)
output = Console() if sys.stdout.isatty() else Console(width=160)


def main():
    options = parse()
    document = Document(options.markdown, "benchmarks") if options.markdown else None
    cells = play(options)
    tables = [collect(name, cells, options) for name in contestants.TABLES]
    tables = [table for table in tables if table.rows]
    for table in tables:
        output.print(rich_table(table))
    if document:
        document.replace("\n".join([circumstances(options), *(markdown(table) for table in tables)]))


def parse():
    names = [*contestants.TABLES, *(name for table in contestants.TABLES.values() for name in table)]
    names += [workload.name for workload in WORKLOADS]
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5, help="turns of each contestant (default 5)")
    parser.add_argument("--quick", action="store_true", help="small counts, to see that everything runs")
    parser.add_argument(
        "--only", nargs="+", choices=names, default=[], metavar="NAME", help=f"some of: {', '.join(names)}"
    )
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="replace the text between the markers of FILE")
    return parser.parse_args()


def play(options):
    """Run all rounds; return the cells by table, row and column."""
    cells = defaultdict(Cell)
    turns = [(table, name) for table, names in contestants.TABLES.items() for name in names]
    turns = [turn for turn in turns if wanted(turn, options.only) and asked(turn[0], options)]
    if any(table == "slurm" for table, _ in turns) and not slurm.is_there():
        console.print("no Slurm can run here (it takes root and ci/slurm/install): its table is left out")
        turns = [turn for turn in turns if turn[0] != "slurm"]
    with (
        slurm.running() if any(table == "slurm" for table, _ in turns) else nullcontext(),
        # Nothing is removed between rounds: for five minutes ext4 searches past the inodes of files that are gone, and
        # making a file takes ten times as long (`recently_deleted` in its ialloc.c).
        tempfile.TemporaryDirectory(prefix="asyncflow-bench-") as os.environ["BENCH_RUNS"],
    ):
        play_rounds(turns, cells, options)
    return cells


def play_rounds(turns, cells, options):
    for number in range(options.rounds):
        first = number % len(turns)
        for table, name in turns[first:] + turns[:first]:
            console.print(f"round {number + 1} of {options.rounds}: {name}")
            take_turn(table, name, cells, options)


def wanted(turn, only):
    """Whether a contestant is among those named; naming none, or only workloads, means all."""
    named = set(only) - {workload.name for workload in WORKLOADS}
    return not named or not named.isdisjoint(turn)


def asked(table, options):
    named = set(options.only) & {workload.name for workload in WORKLOADS}
    return [each for each in WORKLOADS if table in each.tables and (not named or each.name in named)]


def take_turn(table, name, cells, options):
    left = asked(table, options)
    while left:  # a workload that fails ends its process; those after it get another
        sizes = [f"{each.name}={each.size(quick=options.quick)}" for each in left]
        opened = failed = False
        try:
            with lines("turn.py", name, *sizes, patience=PATIENCE) as results:
                for result in results:
                    if not opened:  # the first line says no more
                        opened = True
                        continue
                    note(cells, (table, name), left.pop(0).title(quick=options.quick), result)
                    failed = "error" in result
        except ChildError as error:
            if failed or not left:
                console.print(f"  {name} did not close in order: {escape(str(error))}")
                continue
            blamed = left[:1] if opened else left[:]
            del left[: len(blamed)]
            for workload in blamed:
                cells[table, name, workload.title(quick=options.quick)].errors.append(error.kind)
            console.print(f"  {', '.join(each.name for each in blamed)}: {error.kind}: {escape(str(error))}")


def note(cells, contestant, title, result):
    if "error" in result:
        cells[*contestant, title].errors.append(result["error"])
        console.print(f"  {title}: {escape(result['error'])}: {escape(result['message'])}")
        return
    cells[*contestant, title].values.append(result["first"])
    if result["workload"] == "array":
        cells[*contestant, "the same again, with memory that was in use before"].values.append(result["again"])
        growth = cells[*contestant, "growth of the driver's peak memory meanwhile"]
        growth.unit = "bytes"
        growth.values.append(result["growth"])


def collect(name, cells, options):
    base = next(iter(contestants.TABLES[name].values()))
    columns = {key: label for key, label in contestants.TABLES[name].items() if any(cell[1] == key for cell in cells)}
    titles = list(dict.fromkeys(title for table, _, title in cells if table == name))
    rows = {
        title: {label: cells[name, key, title] for key, label in columns.items() if (name, key, title) in cells}
        for title in titles
    }
    return Table(TITLES[name], list(columns.values()), base, rows)


def circumstances(options):
    versions = ", ".join(f"{package} {installed(package)}" for package in PACKAGES)
    counts = ", small counts" if options.quick else ""
    return (
        f"{datetime.now(UTC):%d %B %Y}, {os.cpu_count()} cores, Python {platform.python_version()}, {versions}. "
        f"Median, range, and ratio to the first column; rounds: {options.rounds}{counts}.\n"
    )


def installed(package):
    try:
        return version(package)
    except PackageNotFoundError:
        return "(not installed)"


if __name__ == "__main__":
    main()
