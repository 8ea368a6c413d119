"""Jobs of a run: what the queue says of each, and what we know of it."""

from dataclasses import dataclass, field
from enum import StrEnum


class JobState(StrEnum):
    """Where a job stands, in words that all queueing systems share."""

    QUEUED = "queued"
    RUNNING = "running"
    ENDED = "ended"


@dataclass(frozen=True)
class Report:
    """What the queueing system says of one job.

    Attributes
    ----------
    state : JobState
        In our words.
    word : str
        In its own: ``TIMEOUT``, ``Q``.
    reason : str
        Why it waits, or how it ended; empty where nothing is said.
    nodes : str
        Where it runs or ran.
    elapsed : float
        Seconds that it has run.
    runs : int
        How often it was begun; 0 where nothing tells.
    """

    state: JobState
    word: str
    reason: str = ""
    nodes: str = ""
    elapsed: float = 0.0
    runs: int = 0

    @property
    def has_ended(self) -> bool:
        """Whether there will be no other word of it."""
        return self.state is JobState.ENDED

    def __str__(self) -> str:
        return " ".join(filter(None, [self.word or self.state, self.reason, self.nodes]))


@dataclass
class Job:
    """One job of ours.

    Attributes
    ----------
    id : str
        As the queueing system calls it.
    pool : str
        The pool that it belongs to.
    name : str
        What its worker is called; several processes are ``name-0``, ``name-1``.
    submitted : float
        When it was submitted (`time.monotonic`, as all times here).
    report : Report
        The last word of the queueing system.
    started : float or None
        When it began to run.
    joined : float or None
        When its first worker connected.
    idle_since : float or None
        Since when its workers have had nothing to do.
    deserted : float or None
        Since when all its workers have been gone.
    workers : set of str
        Addresses of its workers that are connected.
    is_cancelled : bool
        Whether we asked the queueing system to end it.
    is_leaving : bool
        Whether its workers take no new task.
    is_seen : bool
        Whether the queueing system has ever listed it.
    has_worked : bool
        Whether a task has ended well on it.
    booked : str
        How it ended according to the queueing system's books, where the queue has forgotten it or put it back.
    """

    id: str
    pool: str
    name: str
    submitted: float
    report: Report = Report(JobState.QUEUED, "")
    started: float | None = None
    joined: float | None = None
    idle_since: float | None = None
    deserted: float | None = None
    workers: set[str] = field(default_factory=set)
    is_cancelled: bool = False
    is_leaving: bool = False
    is_seen: bool = False
    has_worked: bool = False
    booked: str = ""

    @property
    def has_ended(self) -> bool:
        """Whether the queue says so, or knows it no more."""
        return self.report.has_ended

    @property
    def is_running(self) -> bool:
        """Whether it has begun and not ended; a worker may tell us before the queue does."""
        return not self.has_ended and self.started is not None

    @property
    def is_untold(self) -> bool:
        """Whether the queue does not say how it ended: it knows it no more, or has put it back."""
        return (self.has_ended and not self.report.word) or self.report.state is JobState.QUEUED

    @property
    def last_word(self) -> str:
        """What is said of it: the books', where the queue does not say how it ended."""
        return (self.booked if self.is_untold else "") or str(self.report)

    def __str__(self) -> str:
        return f"{self.id} ({self.report})"
