"""What happens to workers, pools and jobs."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from asyncflow.events.base import Event


@dataclass(slots=True, kw_only=True)
class WorkerJoined(Event):
    """A worker has connected.

    Attributes
    ----------
    worker : str
        Its address.
    worker_name : str
        What it is called; in a job, ``pool-number``.
    host : str
        Where.
    slots : int
        How many bodies it runs at once.
    memory : int
        Its limit in bytes; 0 for none.
    pool : str
        Whose it is.
    """

    kind = "worker-joined"
    worker: str
    worker_name: str = ""
    host: str = ""
    slots: int = 1
    memory: int = 0
    pool: str = ""


@dataclass(slots=True, kw_only=True)
class WorkerLeft(Event):
    """A worker is gone."""

    kind = "worker-left"
    worker: str


@dataclass(slots=True, kw_only=True)
class ResourceUpdate(Event):
    """What a worker's process uses, a look every few seconds.

    Attributes
    ----------
    worker : str
        Its address.
    cpu : float
        Percent of one core.
    memory : int
        Resident bytes.
    """

    kind = "resources"
    worker: str
    cpu: float
    memory: int


@dataclass(slots=True, kw_only=True)
class PoolDeclared(Event):
    """A pool of workers that the configuration names.

    Attributes
    ----------
    pool : str
        Its name.
    cores, memory, resources
        Of one worker.
    least, most : int or None
        How many jobs; None where its workers are no jobs.
    longest : float or None
        Seconds that a task may take at most, for its worker leaves then; None where workers stay.
    """

    kind = "pool"
    pool: str
    cores: int = 0
    memory: int = 0
    resources: Mapping[str, float] = field(default_factory=dict)
    least: int | None = None
    most: int | None = None
    longest: float | None = None


@dataclass(slots=True, kw_only=True)
class PoolStopped(Event):
    """A pool submits no more jobs."""

    kind = "pool-stopped"
    pool: str
    error: str


@dataclass(slots=True, kw_only=True)
class JobSubmitted(Event):
    """A job was submitted, or put back into the queue; its workers are called `worker_name`, or that and a number."""

    kind = "job-submitted"
    job: str
    pool: str
    worker_name: str = ""


@dataclass(slots=True, kw_only=True)
class JobsPending(Event):
    """What jobs of a pool wait for: how many, by the queueing system's own reason; empty where none waits any more."""

    kind = "jobs-pending"
    pool: str
    reasons: Mapping[str, int]


@dataclass(slots=True, kw_only=True)
class JobStarted(Event):
    """A job runs, on `nodes`; they are empty where its worker told of it, and the queueing system has not yet."""

    kind = "job-started"
    job: str
    pool: str
    nodes: str = ""


@dataclass(slots=True, kw_only=True)
class JobEnded(Event):
    """A job has ended.

    Attributes
    ----------
    state : str
        The queueing system's last word: ``TIMEOUT``, ``CANCELLED``.
    is_asked : bool
        Whether we asked for it.
    log : str
        The path of its log, if it left one.
    nodes : str
        Where it ran.
    """

    kind = "job-ended"
    job: str
    pool: str
    state: str = ""
    is_asked: bool = False
    log: str = ""
    nodes: str = ""
