"""What an answer to "why?" is made of."""

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

from asyncflow.runs.facts import Call
from asyncflow.runs.listing import RunState


class Reason(StrEnum):
    """Why a call is where it is, in one word for programs."""

    RUNNING = "running"  #: its body runs
    INPUTS = "inputs"  #: what it depends on does not exist yet
    RETRY = "retry"  #: an attempt failed, and it waits for the next
    DRIVER = "driver"  #: max_in_flight calls are at the backends, and it waits for one of them to end
    MISFIT = "misfit"  #: nothing that is known has what it asks for
    STOPPED = "stopped"  #: the pool that could run it submits no more jobs
    WALLTIME = "walltime"  #: no job that runs lasts for long enough
    PENDING = "pending"  #: jobs that would run it wait in the queue
    STARTING = "starting"  #: a job runs, and its worker has not come yet
    NO_WORKER = "no-worker"  #: there is neither worker nor job
    LIMIT = "limit"  #: all workers are busy, and there may be no more of them
    BUSY = "busy"  #: all workers are busy
    TURN = "turn"  #: a worker has room: it is about to begin
    CUT_OFF = "cut-off"  #: the run ended without it
    DONE = "done"
    FOUND = "found"  #: an earlier session kept its result
    FAILED = "failed"
    UPSTREAM = "upstream"  #: something that it depends on failed
    CANCELLED = "cancelled"


@dataclass
class Answer:
    """Why a call is where it is.

    Attributes
    ----------
    call : Call
        Which one.
    reason : Reason
        In one word.
    text : str
        In a sentence or two.
    root : str
        Id of the call that it all hangs on, where that is another.
    details : list of (str, str)
        What else is known: what, and that.
    """

    call: Call
    reason: Reason
    text: str
    root: str = ""
    details: list[tuple[str, str]] = field(default_factory=list)


class Scene(NamedTuple):
    """When and of what run it is asked.

    Attributes
    ----------
    now : float
        Seconds since the epoch.
    state : RunState
        Of the run.
    driver : str
        Who drives it, or did last.
    directory : Path
        Of the run.
    """

    now: float
    state: RunState
    driver: str
    directory: Path

    @property
    def is_live(self) -> bool:
        """Whether it may go on."""
        return self.state in {RunState.RUNNING, RunState.UNKNOWN}
