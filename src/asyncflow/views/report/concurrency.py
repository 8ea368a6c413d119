"""How many bodies ran, calls waited, workers were there and jobs ran, at each time."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from asyncflow.runs.facts import Worker
from asyncflow.runs.history import History
from asyncflow.views.report.timeline import Timeline, first_start

Floats = NDArray[np.float64]

#: A part of time: when something began, and when it ended.
Span = tuple[float, float]


class Level(NamedTuple):
    """A number that changes with time.

    Attributes
    ----------
    times : array of float
        When it changes, in seconds since the epoch.
    counts : array of float
        What it is from then on; the last is 0.
    """

    times: Floats
    counts: Floats

    @property
    def area(self) -> float:
        """Its integral over time."""
        return float(np.sum(np.diff(self.times) * self.counts[:-1]))

    def in_steps(self, most: int) -> "Level":
        """The same where it has at most `most` changes; else its mean over that many equal parts of its time."""
        if len(self.times) <= most:
            return self
        edges = np.linspace(self.times[0], self.times[-1], most + 1)
        sums = np.concatenate([[0.0], np.cumsum(np.diff(self.times) * self.counts[:-1])])
        means = np.diff(np.interp(edges, self.times, sums)) / np.diff(edges)
        return Level(edges, np.append(means, 0.0))


def level(spans: Iterable[Span]) -> Level:
    """How many of `spans` there are at each time."""
    told = np.array([span for span in spans if span[1] > span[0]], dtype=np.float64).reshape(-1, 2)
    if not len(told):
        return Level(np.zeros(0), np.zeros(0))
    changes = np.concatenate([told[:, 0], told[:, 1]])
    by = np.concatenate([np.ones(len(told)), -np.ones(len(told))])
    times, place = np.unique(changes, return_inverse=True)
    return Level(times, np.cumsum(np.bincount(place, weights=by)).astype(np.float64))


def running(timeline: Timeline) -> Level:
    """Bodies that run on workers."""
    return level((body.started, body.ended) for body in timeline.bodies)


def waiting(timeline: Timeline) -> Level:
    """Calls whose inputs are there and that have not begun; blocks do not wait."""
    return level(_waits(timeline))


def _waits(timeline: Timeline) -> Iterable[Span]:
    for call in timeline.calls:
        if call.task_type == "block":
            continue
        until = first_start(call)
        if until is None:
            until = timeline.ended if call.ended is None else call.ended
        yield timeline.ready[call.id], until


def all_slots(history: History, until: float) -> Level:
    """Of the workers that are there; those that have not left are so until `until`."""
    return _slots(list(history.workers.values()), until)


class PoolUse(NamedTuple):
    """What one pool had over time; `name` is empty for workers of no pool. Jobs are nothing where there are none."""

    name: str
    workers: Level
    slots: Level
    jobs: Level
    pending: Level


def pool_use(history: History, until: float) -> list[PoolUse]:
    """Of each pool that had a worker or job; what is still there is so until `until`."""
    names = dict.fromkeys([*history.pools, *(worker.pool for worker in history.workers.values())])
    names |= dict.fromkeys(job.pool for job in history.jobs.values())
    uses = [_use(history, name, until) for name in names]
    return [use for use in uses if len(use.workers.times) or len(use.jobs.times) or len(use.pending.times)]


def _use(history: History, pool: str, until: float) -> PoolUse:
    workers = [worker for worker in history.workers.values() if worker.pool == pool]
    jobs = [job for job in history.jobs.values() if job.pool == pool]
    ran = [(job.started, until if job.ended is None else job.ended) for job in jobs if job.started is not None]
    return PoolUse(
        pool,
        level(_there(worker, until) for worker in workers),
        _slots(workers, until),
        level(ran),
        level((job.submitted, _first([job.started, job.ended], until)) for job in jobs if job.submitted),
    )


def _slots(workers: Sequence[Worker], until: float) -> Level:
    return level(_there(worker, until) for worker in workers for _ in range(worker.slots))


def _there(worker: Worker, until: float) -> Span:
    return worker.joined, until if worker.left is None else worker.left


def _first(times: Sequence[float | None], otherwise: float) -> float:
    return next((time for time in times if time is not None), otherwise)
