"""How far an engine, or several, are at one moment: plain counts, of which views are made."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

#: The name of the row that stands for all tasks beyond the most that are told apart.
OTHERS = "others"


@dataclass(slots=True)
class TaskCounts:
    """How the calls of one task stand.

    Attributes
    ----------
    name : str
        Of the task.
    is_block : bool
        Whether it is a coroutine on the driver, which composes tasks.
    calls : int
        How many were made.
    running : int
        Those whose body has begun.
    done, failed, cancelled, found : int
        Those that have ended; found are those whose result an earlier run had kept.
    retried : int
        Attempts that failed and were followed by another.
    timed : int
        Bodies that ended well and whose time is known.
    total, longest : float
        Seconds of these together, and of the longest.
    """

    name: str
    is_block: bool = False
    calls: int = 0
    running: int = 0
    done: int = 0
    failed: int = 0
    cancelled: int = 0
    found: int = 0
    retried: int = 0
    timed: int = 0
    total: float = 0.0
    longest: float = 0.0

    @property
    def ended(self) -> int:
        """Calls that have come to an end, whatever end."""
        return self.done + self.failed + self.cancelled + self.found

    @property
    def waiting(self) -> int:
        """Calls that have not begun."""
        return max(0, self.calls - self.ended - self.running)

    @property
    def mean(self) -> float | None:
        """Seconds that a body takes which ends well; None where that is not known."""
        return self.total / self.timed if self.timed else None


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
    """

    pool: str
    workers: int = 0
    slots: int = 0
    jobs: int = 0
    pending: int = 0
    most: int | None = None
    reasons: Mapping[str, int] = field(default_factory=dict)
    stopped: str = ""


class Trouble(NamedTuple):
    """Something that failed.

    Attributes
    ----------
    time : float
        Seconds since the epoch.
    name : str
        Of the task, or ``pool …``.
    id : str
        Of the call; empty for a pool.
    text : str
        The error, in one line.
    """

    time: float
    name: str
    id: str
    text: str


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One moment.

    Attributes
    ----------
    tasks : tuple of TaskCounts
        In the order of their first calls; the last may be `OTHERS`.
    pools : tuple of PoolCounts
        Those of engines that are open.
    errors : tuple of Trouble
        The last few, the oldest first. Calls that failed because another did are not among them.
    elapsed : float
        Seconds since the first call.
    rate : float
        Calls that end in a second, of late; blocks do not count.
    """

    tasks: tuple[TaskCounts, ...] = ()
    pools: tuple[PoolCounts, ...] = ()
    errors: tuple[Trouble, ...] = ()
    elapsed: float = 0.0
    rate: float = 0.0

    @property
    def total(self) -> TaskCounts:
        """All calls but those of blocks."""
        total = TaskCounts("total")
        for row in self.tasks:
            if not row.is_block:
                _add(total, row)
        return total

    @property
    def eta(self) -> float | None:
        """Seconds until all that was called has ended, at this rate; None where that cannot be said."""
        total = self.total
        left = total.calls - total.ended
        return left / self.rate if left > 0 and self.rate > 0 else None


_SUMS = ("calls", "running", "done", "failed", "cancelled", "found", "retried", "timed", "total")


def _add(total: TaskCounts, row: TaskCounts) -> None:
    for name in _SUMS:
        setattr(total, name, getattr(total, name) + getattr(row, name))
    total.longest = max(total.longest, row.longest)
