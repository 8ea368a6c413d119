"""What is measured: each workload by name, with its sizes.

A contestant has one method for each, which takes the size and returns it again if every task did its work.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Workload:
    name: str
    text: str
    full: int
    quick: int
    warm: int
    passes: int = 1
    tables: tuple[str, ...] = ("dask", "slurm", "threads")

    def size(self, *, quick):
        return self.quick if quick else self.full

    def title(self, *, quick):
        return self.text.format(self.size(quick=quick))


WORKLOADS = (
    # From the contestant's first import to its first result: measured by the turn itself.
    Workload("first", "first result: imports, scheduler, queue, a worker", full=1, quick=1, warm=0, tables=("slurm",)),
    Workload(
        "fan_out",
        "fan-out of {:,} no-ops",
        full=2000,
        quick=100,
        warm=50,
        tables=("dask", "watched", "slurm", "threads"),
    ),
    Workload("chain", "chain of {:,}", full=300, quick=20, warm=5),
    Workload("hops", "{:,} hops, each awaited before the next", full=100, quick=10, warm=5),
    Workload("pipelines", "{:,} pipelines task3(task1(), task2()) at once", full=200, quick=10, warm=5),
    # Where the work itself takes a while nothing may be in its way: two workers need half as long as one.
    Workload("brief", "{:,} tasks that sleep for 10 ms", full=200, quick=20, warm=20, tables=("dask", "slurm")),
    Workload("medium", "{:,} tasks that sleep for 100 ms", full=100, quick=10, warm=4, tables=("dask", "slurm")),
    Workload("long", "{:,} tasks that sleep for 1 s", full=6, quick=2, warm=2, tables=("dask",)),
    # Long enough to be worth keeping, short enough that what keeping costs shows.
    Workload("naps", "fan-out of {:,} tasks that sleep for 10 ms", full=500, quick=50, warm=50, tables=("runs",)),
    Workload("works", "fan-out of {:,} tasks that compute for 10 ms", full=500, quick=50, warm=50, tables=("runs",)),
    # On threads nothing is handed over but a reference. The first pass costs mostly the worker's first touch of 200 MB,
    # several times what the handing costs, so it is told apart from those that follow.
    Workload(
        "array",
        "array of {:,} bytes through three tasks",
        full=200_000_000,
        quick=20_000_000,
        warm=1_000_000,
        passes=6,
        tables=("dask",),
    ),
)
