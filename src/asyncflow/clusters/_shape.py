"""How many workers one machine gets, and how large each is."""

import logging
import math
from typing import NamedTuple

logger = logging.getLogger("asyncflow")


class Shape(NamedTuple):
    """How many workers, and how large each."""

    n_workers: int
    threads: int
    memory_limit: int | None


def shape_of(n_workers: int | None, threads: int | None, memory_limit: float | str | None, *, processes: bool) -> Shape:
    """What the configuration leaves open decided as `distributed.LocalCluster` decides it."""
    from dask.system import CPU_COUNT
    from distributed.deploy.utils import nprocesses_nthreads
    from distributed.worker_memory import parse_memory_limit

    if n_workers is None and threads is None:
        n_workers, threads = nprocesses_nthreads() if processes else (1, CPU_COUNT)
    if n_workers is None:
        n_workers = max(1, CPU_COUNT // (threads or 1)) if processes else 1
    threads = threads or max(1, math.ceil(CPU_COUNT / n_workers))
    return Shape(n_workers, threads, parse_memory_limit(memory_limit, 1, n_workers, logger=logger))
