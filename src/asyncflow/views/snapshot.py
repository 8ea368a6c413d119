"""How far an engine, or several, are at one moment: plain counts, of which views are made."""

from dataclasses import dataclass
from typing import NamedTuple

from asyncflow.events.pools import PoolCounts

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
