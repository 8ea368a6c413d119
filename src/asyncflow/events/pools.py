"""What the pools of one engine have, by the events that tell of workers and jobs."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from asyncflow.events.base import Event
from asyncflow.events.places import (
    JobEnded,
    JobsPending,
    JobStarted,
    JobSubmitted,
    PoolDeclared,
    PoolStopped,
    WorkerJoined,
    WorkerLeft,
)

#: Events that tell of pools.
KINDS = frozenset(
    {PoolDeclared, PoolStopped, WorkerJoined, WorkerLeft, JobSubmitted, JobStarted, JobEnded, JobsPending}
)


@dataclass(slots=True)
class PoolCounts:
    """What one pool has.

    Attributes
    ----------
    pool : str
        Its name; empty for workers of none.
    workers, slots : int
        Workers that are connected, and how many bodies they run at once.
    jobs, pending : int
        Jobs that run, and that wait in the queue.
    most : int or None
        How many jobs it may have; None where its workers are no jobs.
    reasons : mapping
        How many jobs wait for what, in the queueing system's words.
    stopped : str
        Why it submits no more jobs; empty where it does.
    declared : PoolDeclared or None
        Its shape; None where nobody has told.
    """

    pool: str
    workers: int = 0
    slots: int = 0
    jobs: int = 0
    pending: int = 0
    most: int | None = None
    reasons: Mapping[str, int] = field(default_factory=dict)
    stopped: str = ""
    declared: PoolDeclared | None = None


class _Worker(NamedTuple):
    pool: str
    slots: int


class _Job(NamedTuple):
    pool: str
    is_running: bool


class Pools:
    """Bounded by what there is: workers that left and jobs that ended are forgotten."""

    def __init__(self) -> None:
        self._declared: dict[str, PoolDeclared] = {}
        self._stopped: dict[str, str] = {}
        self._workers: dict[str, _Worker] = {}
        self._jobs: dict[str, _Job] = {}
        self._reasons: dict[str, Mapping[str, int]] = {}

    def take(self, event: Event) -> None:
        """Note an event; one of no kind of `KINDS` says nothing."""
        match event:
            case PoolDeclared():
                self._declared[event.pool] = event
            case PoolStopped():
                self._stopped[event.pool] = event.error
            case WorkerJoined():
                self._workers[event.worker] = _Worker(event.pool, event.slots)
            case WorkerLeft():
                self._workers.pop(event.worker, None)
            case JobSubmitted():
                self._jobs[event.job] = _Job(event.pool, is_running=False)
            case JobStarted():
                self._jobs[event.job] = _Job(event.pool, is_running=True)
            case JobEnded():
                self._jobs.pop(event.job, None)
            case JobsPending():
                self._reasons[event.pool] = event.reasons

    def counts(self) -> list[PoolCounts]:
        """Each pool that was declared, then those that are only known by their workers or jobs."""
        found = {pool: PoolCounts(pool, most=each.most, declared=each) for pool, each in self._declared.items()}
        for worker in self._workers.values():
            counts = self._of(found, worker.pool)
            counts.workers += 1
            counts.slots += worker.slots
        for job in self._jobs.values():
            counts = self._of(found, job.pool)
            counts.jobs += job.is_running
            counts.pending += not job.is_running
        for pool, counts in found.items():
            counts.stopped = self._stopped.get(pool, "")
            counts.reasons = self._reasons.get(pool, {}) if counts.pending else {}
        return list(found.values())

    def _of(self, found: dict[str, PoolCounts], pool: str) -> PoolCounts:
        """Workers of a cluster with one pool need not say which it is."""
        if not pool and len(self._declared) == 1:
            pool = next(iter(self._declared))
        return found.setdefault(pool, PoolCounts(pool))
