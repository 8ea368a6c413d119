"""What happens to an engine and its calls."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from asyncflow.events.base import Event


@dataclass(slots=True, kw_only=True)
class SessionStarted(Event):
    """An engine has opened.

    Attributes
    ----------
    session_id : str
        The engine's ``uid``.
    backends : tuple of str
        Their names; the first is the default.
    max_in_flight : int
        How many calls may be at the backends at once.
    """

    kind = "session"
    session_id: str
    backends: tuple[str, ...] = ()
    max_in_flight: int = 0


@dataclass(slots=True, kw_only=True)
class SessionEnding(Event):
    """Somebody ends it (SIGTERM): what runs gets `grace` seconds, nothing else begins."""

    kind = "terminated"
    grace: float = 0.0


@dataclass(slots=True, kw_only=True)
class SessionEnded(Event):
    """The engine has closed, `duration` seconds after it opened."""

    kind = "session-ended"
    session_id: str
    duration: float


@dataclass(slots=True, kw_only=True)
class TaskEvent(Event):
    """Something happened to a call.

    Attributes
    ----------
    id : str
        Of the call: `TaskFuture.id`. One that is sent again gets another, which the event says that tells of it.
    name : str
        Of the task.
    workflow_id : str
        Of the workflow that the call belongs to, if any.
    """

    _apart = frozenset({"time", "id", "name"})
    id: str
    name: str
    workflow_id: str = ""

    @property
    def key(self) -> str:
        """The id of the call."""
        return self.id


@dataclass(slots=True, kw_only=True)
class TaskCreated(TaskEvent):
    """A task, or block, was called.

    Attributes
    ----------
    task_type : str
        ``function``, ``command``, ``prompt`` or ``block``.
    depends_on : tuple of str
        Ids of the calls whose values it gets or that it waits for.
    backend : str
        Where it goes.
    block : str
        Id of the block that it was called in.
    needs : mapping
        What it asks of a worker, where that is anything: ``cores``, ``memory`` (bytes), ``resources``, ``pool``,
        ``expected`` (seconds).
    """

    kind = "called"
    task_type: str
    depends_on: tuple[str, ...] = ()
    backend: str = ""
    block: str = ""
    needs: Mapping[str, Any] = field(default_factory=dict)


@dataclass(slots=True, kw_only=True)
class TaskKeyed(TaskEvent):
    """It is known what its kept result is called, and by which `parts` it differs from others."""

    kind = "keyed"
    result: str
    parts: Mapping[str, str]


@dataclass(slots=True, kw_only=True)
class TaskFound(TaskEvent):
    """Its `result` was kept by an earlier run: it is done."""

    kind = "found"
    result: str


@dataclass(slots=True, kw_only=True)
class TaskCorrupt(TaskEvent):
    """Its kept result is damaged or gone, and made under another id, `again`."""

    kind = "corrupt"
    again: str
    error: str


@dataclass(slots=True, kw_only=True)
class TaskResolved(TaskEvent):
    """All that it depends on is on its backend, or known."""

    kind = "resolved"


@dataclass(slots=True, kw_only=True)
class TaskSubmitted(TaskEvent):
    """It is handed to its backend."""

    kind = "submitted"


@dataclass(slots=True, kw_only=True)
class TaskQueued(TaskEvent):
    """Its inputs exist, and it waits for its turn on a worker.

    Attributes
    ----------
    state : str
        In the words of Dask's scheduler: ``processing`` (assigned to `worker`, which may have others to run first),
        ``queued`` (all are busy) or ``no-worker`` (there is none that has what it asks for).
    worker : str
        To which it is assigned.
    """

    kind = "queued"
    state: str = ""
    worker: str = ""


@dataclass(slots=True, kw_only=True)
class TaskWaits(TaskEvent):
    """It could run, but for `reason`; told once each time that it comes to wait for that.

    Attributes
    ----------
    reason : str
        ``walltime``: no job that runs lasts for as long as it is expected to take.
    expected : float
        Seconds that it is expected to take, as was said or as others of its name did.
    """

    kind = "waits"
    reason: str
    expected: float = 0.0


@dataclass(slots=True, kw_only=True)
class TaskStarted(TaskEvent):
    """Its body begins.

    Attributes
    ----------
    worker : str
        Where: the address of a Dask worker; ``threads: …`` and ``processes: …`` on executors; empty for blocks.
    is_late : bool
        Whether it has ended by the time that this is told.
    """

    kind = "running"
    worker: str = ""
    is_late: bool = False


@dataclass(slots=True, kw_only=True)
class _TaskEnded(TaskEvent):
    """A call has ended.

    Attributes
    ----------
    started : float or None
        When the body of its last attempt began; `time` is when it ended.
    worker : str
        Where it ran.
    cpu : float or None
        Seconds of processor time of the body, and of the process that it was, where it was one.
    peak_memory : int or None
        The most memory, in bytes, that the process had meanwhile which ran the body; other bodies of the same worker
        are in it as well.
    """

    started: float | None = None
    worker: str = ""
    cpu: float | None = None
    peak_memory: int | None = None

    @property
    def duration(self) -> float | None:
        """Seconds that the body of the last attempt took."""
        return None if self.started is None else self.time - self.started


@dataclass(slots=True, kw_only=True)
class TaskCompleted(_TaskEnded):
    """It ended well.

    Attributes
    ----------
    size : int or None
        Of the value, in bytes of memory, where it stays on a worker.
    """

    kind = "done"
    size: int | None = None


@dataclass(slots=True, kw_only=True)
class TaskFailed(_TaskEnded):
    """It failed.

    Attributes
    ----------
    error : str
        Type and text.
    error_type : str
        The name of the class.
    """

    kind = "failed"
    error: str = ""
    error_type: str = ""


@dataclass(slots=True, kw_only=True)
class TaskCanceled(_TaskEnded):
    """It was cancelled, or something that it needs was."""

    kind = "cancelled"


@dataclass(slots=True, kw_only=True)
class TaskRetried(_TaskEnded):
    """An attempt failed and another follows.

    Attributes
    ----------
    attempt : int
        The number of the one that failed, counted from 1.
    error : str
        Type and text.
    delay : float
        Seconds until the next.
    again : str
        The new id, where it is sent again with other options; which ones, says `asked`.
    """

    kind = "retried"
    attempt: int = 0
    error: str = ""
    delay: float = 0.0
    again: str = ""
    asked: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True, kw_only=True)
class TaskLost(TaskEvent):
    """Its worker was lost under it.

    Attributes
    ----------
    worker : str
        Its address.
    count : int
        How often that has happened to the call.
    cause : str
        What is known of it.
    again, error : str
        The new id, and why, where a foreign scheduler has given it up and it is sent again.
    """

    kind = "lost"
    worker: str = ""
    count: int = 0
    cause: str = ""
    again: str = ""
    error: str = ""


@dataclass(slots=True, kw_only=True)
class TaskResent(TaskEvent):
    """What it depends on is sent again, and so is it, under another id, `again`."""

    kind = "resent"
    again: str
