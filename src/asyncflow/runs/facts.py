"""What a journal tells of one call, worker, job or pool."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from asyncflow.errors import DependencyFailureError

#: What the error of a call is called that failed because another did.
UPSTREAM = DependencyFailureError.__name__


class CallState(StrEnum):
    """Where a call stands, as its journal tells it."""

    WAITING = "waiting"  #: for its inputs, or for a worker
    RUNNING = "running"  #: its body has begun
    DONE = "done"
    FOUND = "found"  #: done by an earlier session, which kept the result
    FAILED = "failed"
    CANCELLED = "cancelled"


#: States after which nothing more happens to a call.
OVER = frozenset({CallState.DONE, CallState.FOUND, CallState.FAILED, CallState.CANCELLED})


@dataclass(slots=True)
class Attempt:
    """One attempt that came to nothing and was followed by another.

    Attributes
    ----------
    how : str
        ``retried`` (it failed), ``lost`` (its worker was) or ``corrupt`` (its kept result is damaged).
    ended : float
        When, in seconds since the epoch.
    started : float or None
        When its body began.
    worker : str
        Where it ran.
    why : str
        The error, or what is known of the loss.
    delay : float
        Seconds that the next one waited.
    """

    how: str
    ended: float
    started: float | None = None
    worker: str = ""
    why: str = ""
    delay: float = 0.0


@dataclass(slots=True)
class Call:
    """One call.

    Attributes
    ----------
    id, name, task_type, depends_on, backend, block, workflow_id, needs
        As `asyncflow.events.TaskCreated` has them; `id` is the last one of a call that was sent again.
    state : CallState
        Where it stands.
    created : float
        When it was called, in seconds since the epoch.
    queued : float or None
        Since when no worker that is there has what it asks for; None where that is not so.
    held, expected : float or None, float
        Since when it waits for a worker that lasts for as many seconds as it is expected to take.
    started, ended : float or None
        When the body of the last attempt began and ended.
    worker, cpu, peak_memory, size, error, error_type
        As `TaskCompleted` and `TaskFailed` have them.
    attempts : list of Attempt
        Those before the last.
    result : str
        What its kept result is called.
    """

    id: str
    name: str
    created: float
    task_type: str = "function"
    depends_on: tuple[str, ...] = ()
    backend: str = ""
    block: str = ""
    workflow_id: str = ""
    needs: Mapping[str, Any] = field(default_factory=dict)
    state: CallState = CallState.WAITING
    queued: float | None = None
    held: float | None = None
    expected: float = 0.0
    started: float | None = None
    ended: float | None = None
    worker: str = ""
    cpu: float | None = None
    peak_memory: int | None = None
    size: int | None = None
    error: str = ""
    error_type: str = ""
    attempts: list[Attempt] = field(default_factory=list)
    result: str = ""

    @property
    def is_over(self) -> bool:
        """Whether nothing more will happen to it."""
        return self.state in OVER

    @property
    def failed_itself(self) -> bool:
        """Whether it failed, and not because another call did."""
        return self.state is CallState.FAILED and self.error_type != UPSTREAM

    @property
    def duration(self) -> float | None:
        """Seconds that the body of its last attempt took; None where it has not begun and ended."""
        if self.started is None or self.ended is None:
            return None
        return max(0.0, self.ended - self.started)  # a line's own time is in whole milliseconds


@dataclass(slots=True)
class Worker:
    """One worker; `left` is None while it is there. `uses` are looks: time, percent of one core, bytes."""

    address: str
    name: str = ""
    host: str = ""
    slots: int = 1
    memory: int = 0
    pool: str = ""
    joined: float = 0.0
    left: float | None = None
    uses: list[tuple[float, float, int]] = field(default_factory=list)


@dataclass(slots=True)
class Job:
    """One job of a queueing system; `state` is its last word.

    Its workers are called `worker_name`, or that and a number.
    """

    id: str
    pool: str
    worker_name: str = ""
    submitted: float = 0.0
    started: float | None = None
    ended: float | None = None
    nodes: str = ""
    state: str = ""
    is_asked: bool = False
    log: str = ""


@dataclass(slots=True)
class Pool:
    """One pool; `reasons` say how many of its jobs wait for what, `stopped` why it submits no more."""

    name: str
    cores: int = 0
    memory: int = 0
    resources: Mapping[str, float] = field(default_factory=dict)
    least: int | None = None
    most: int | None = None
    longest: float | None = None
    reasons: Mapping[str, int] = field(default_factory=dict)
    stopped: str = ""
