"""How many jobs a pool should have: a plain function from what is known to what is to be done."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

#: Seconds that a job must have run before it may be given back, however idle.
YOUNG = 30.0

#: Seconds of idleness after which a job is in the way, where work waits that it does not last for, and no more jobs
#: may be had.
IN_THE_WAY = 5.0

#: Ten tenths of a worker are one worker, and no more; parts of one, as floats, add up to a little more than that.
_ROUNDING = 1e-9


@dataclass(frozen=True)
class JobFacts:
    """What the decision needs to know of one job.

    Attributes
    ----------
    id : str
        Of the job.
    age : float or None
        Seconds that it has run; None while it waits in the queue.
    idle : float
        Seconds that its workers have had nothing to do; 0 while they work or have not come yet.
    remaining : float
        Seconds until it takes no new task.
    lasts : float
        Seconds that a task may take which it would begin now.
    """

    id: str
    age: float | None = None
    idle: float = 0.0
    remaining: float = math.inf
    lasts: float = math.inf


class LongWork(NamedTuple):
    """Work that waits for a worker that lasts: the `seconds` of each task, and the `jobs` that it would keep busy."""

    seconds: float
    jobs: float


@dataclass(frozen=True)
class PoolFacts:
    """What the decision needs to know of one pool.

    Attributes
    ----------
    demand : float
        Unfinished work, in jobs that it would keep busy.
    minimum, maximum : int
        Limits on the number of jobs.
    max_queued : int
        How many of its jobs may wait in the queue at once.
    surplus : float
        Seconds for which more jobs than are wanted have been there.
    idle_timeout : float
        Seconds of idleness, or of surplus, after which a job is given back.
    lead : float
        Seconds before a job takes no new task at which another is asked for in its stead.
    jobs : sequence of JobFacts
        Those queued or running, oldest first, without those that are leaving.
    long : sequence of LongWork
        What of the demand waits for a worker that lasts.
    """

    demand: float
    minimum: int
    maximum: int
    max_queued: int
    surplus: float = 0.0
    idle_timeout: float = 60.0
    lead: float = 0.0
    jobs: Sequence[JobFacts] = ()
    long: Sequence[LongWork] = ()


@dataclass(frozen=True)
class Decision:
    """What is to be done: so many jobs submitted, or these given back; never both."""

    submit: int = 0
    give_back: tuple[str, ...] = ()


def wanted(facts: PoolFacts) -> int:
    """The number of jobs that the demand and the limits of a pool ask for."""
    demand = math.ceil(facts.demand * (1 - _ROUNDING))
    return max(facts.minimum, min(demand, facts.maximum))


def staying(facts: PoolFacts) -> list[JobFacts]:
    """The jobs that need no replacement yet."""
    return [job for job in facts.jobs if job.remaining > facts.lead]


def decide(facts: PoolFacts) -> Decision:
    """What brings the pool nearer to what it should be.

    Jobs are counted, not workers, and queued ones count as much as running ones: what has been asked for is not asked
    for again. Jobs are given back only after `idle_timeout`, the queued ones first, and never one that works or has
    just begun; dask's own adaptive scaling does both, and so submits and cancels for ever
    (https://github.com/dask/dask-jobqueue/issues/498).

    Long work for which no job lasts asks for fresh ones, however many there are that are idle; where the pool may have
    no more, idle ones make room.
    """
    kept = staying(facts)
    lacks = lacking(facts.long, kept)
    missing = wanted(facts) - len(kept)
    if lacks:
        missing = max(missing, min(lacks, facts.maximum - len(kept)))
    if missing > 0 or (missing == 0 and not lacks):
        room = facts.max_queued - sum(job.age is None for job in facts.jobs)
        return Decision(submit=max(0, min(missing, room)))
    if lacks:
        return Decision(give_back=tuple(_in_the_way(facts, kept)[: lacks - missing]))
    return Decision(give_back=tuple(_superfluous(facts, kept)[:-missing]))


def lacking(long: Sequence[LongWork], jobs: Sequence[JobFacts]) -> int:
    """How many of `jobs` would have to last longer for all `long` work."""
    most = 0
    for shortest in {work.seconds for work in long}:
        needed = math.ceil(sum(work.jobs for work in long if work.seconds >= shortest) * (1 - _ROUNDING))
        most = max(most, needed - sum(job.lasts >= shortest for job in jobs))
    return most


def _in_the_way(facts: PoolFacts, kept: list[JobFacts]) -> list[str]:
    """Those that may be given back for fresh ones."""
    shortest = min(work.seconds for work in facts.long)
    return [job.id for job in _idle(kept, min(IN_THE_WAY, facts.idle_timeout)) if job.lasts < shortest]


def _superfluous(facts: PoolFacts, kept: list[JobFacts]) -> list[str]:
    """Those that may be given back, the ones that cost least first; not what long work waits for."""
    queued = [job for job in reversed(kept) if job.age is None] if facts.surplus >= facts.idle_timeout else []
    found: list[JobFacts] = []
    for job in (*queued, *_idle(kept, facts.idle_timeout)):
        if not lacking(facts.long, [other for other in kept if other is not job and other not in found]):
            found.append(job)
    return [job.id for job in found]


def _idle(jobs: Sequence[JobFacts], seconds: float) -> list[JobFacts]:
    """Those that have run for a while, and have had nothing to do for `seconds`, the longest idle first."""
    idle = [job for job in jobs if job.age is not None and job.age >= YOUNG and job.idle >= seconds]
    return sorted(idle, key=lambda job: -job.idle)
