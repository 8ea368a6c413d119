"""What fails through no fault of the task: workers, jobs, the scheduler, what was kept."""

from typing import Any

from asyncflow.errors.root import AsyncflowError


class LostError(AsyncflowError):
    """The machinery failed, not the task."""


class CorruptResultError(LostError):
    """The kept result at ``path`` is damaged, or gone."""

    def __init__(self, message: str, path: str = "") -> None:
        super().__init__(message)
        self.path = path


class FencedError(LostError):
    """Another driver has taken the run directory over; nothing of this one is begun or kept any more."""


class PoolError(LostError):
    """No job of a pool lives, and no other is submitted: its jobs died too quickly, one after the other.

    Attributes
    ----------
    pool : str
        Its name.
    jobs : list of str
        The ids of those jobs.
    log : str
        The last lines of the log of the last of them.
    """

    def __init__(self, message: str, pool: str = "", jobs: list[str] | None = None, log: str = "") -> None:
        super().__init__(message)
        self.pool = pool
        self.jobs = jobs or []
        self.log = log


class SchedulerLostError(LostError):
    """The connection to the scheduler is gone, and with it what was unfinished."""

    def __init__(self, message: str, address: str = "") -> None:
        super().__init__(message)
        self.address = address


class WorkerLostError(LostError):
    """The workers that ran the task died.

    What could not be found out is empty, or None.

    Attributes
    ----------
    worker : str
        The address of the last of them.
    host : str
        Where it ran.
    task : str
        The name of the task.
    job : str
        The id of its job.
    reason : str
        What the batch system says of that job, in its own words: ``NODE_FAIL``, ``CANCELLED``.
    exit_code : int or None
        Of the worker's process, negative for a signal (as in `subprocess`).
    peak_memory : int or None
        The most memory that the process had, in bytes.
    log : str
        The last lines of its log.
    """

    def __init__(self, message: str, worker: str = "", **facts: Any) -> None:
        super().__init__(message)
        self.worker = worker
        self.host: str = facts.pop("host", "")
        self.task: str = facts.pop("task", "")
        self.job: str = facts.pop("job", "")
        self.reason: str = facts.pop("reason", "")
        self.exit_code: int | None = facts.pop("exit_code", None)
        self.peak_memory: int | None = facts.pop("peak_memory", None)
        self.log: str = facts.pop("log", "")


class OutOfMemoryError(WorkerLostError):
    """The workers, or the task's own process, took more memory than they may; ``limit`` is in bytes, where known."""

    def __init__(self, message: str, worker: str = "", limit: int | None = None, **facts: Any) -> None:
        super().__init__(message, worker, **facts)
        self.limit = limit


class PreemptedError(WorkerLostError):
    """The jobs that ran the task were ended in favour of others."""


class WalltimeError(WorkerLostError):
    """The jobs that ran the task reached their walltime, in seconds, before it was finished."""

    def __init__(self, message: str, worker: str = "", walltime: float = 0.0, **facts: Any) -> None:
        super().__init__(message, worker, **facts)
        self.walltime = walltime
