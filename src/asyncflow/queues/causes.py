"""Why a worker was lost: from what Dask, its process and its job's queue say to the one error that tells it."""

import signal
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple

from asyncflow.errors import OutOfMemoryError, PreemptedError, WalltimeError, WorkerLostError
from asyncflow.queues.lastwords import last_words
from asyncflow.units import show_size

#: The part of its memory limit at which a nanny ends its worker; a process killed beyond it was killed for it.
TERMINATE = 0.95

#: What crashes of compiled code end with.
_CRASHES = frozenset({signal.SIGSEGV, signal.SIGBUS, signal.SIGILL, signal.SIGFPE, signal.SIGABRT, signal.SIGSYS})

#: How processes end that somebody ends in order, which says nothing of why.
_ASKED = frozenset({0, -signal.SIGTERM, -signal.SIGINT, -signal.SIGHUP})


class Cause(StrEnum):
    """Why a job ended, in words that all queueing systems share."""

    WALLTIME = "walltime"
    MEMORY = "memory"
    PREEMPTED = "preempted"
    NODE = "node"
    REQUEUED = "requeued"
    CANCELLED = "cancelled"
    ENDED = "ended"


@dataclass(frozen=True)
class Loss:
    """What Dask knows: a task, as often as it was lost, and the last worker it was lost with."""

    task: str
    worker: str
    count: int = 1
    host: str = ""
    is_silent: bool = False  #: the worker gave no sign of life; its process may still be there


@dataclass(frozen=True)
class ProcessEnd:
    """What the parent of a worker's process tells of its end.

    Attributes
    ----------
    exit_code : int or None
        Negative for a signal.
    peak_memory, limit : int or None
        Bytes that it had at most, and that it was to have at most.
    is_over_limit : bool
        Whether its parent killed it for its memory.
    is_oom : bool or None
        Whether the kernel did; None where the kernel does not tell.
    host : str
        The name of its machine.
    log : str
        What it wrote last.
    """

    exit_code: int | None = None
    peak_memory: int | None = None
    limit: int | None = None
    is_over_limit: bool = False
    is_oom: bool | None = None
    host: str = ""
    log: str = ""

    @property
    def took_too_much(self) -> bool:
        """Whether it ended for its memory."""
        if self.is_over_limit or self.is_oom:
            return True
        if self.is_oom is False or self.exit_code != -signal.SIGKILL or not self.limit:
            return False
        return (self.peak_memory or 0) >= TERMINATE * self.limit

    @property
    def has_crashed(self) -> bool:
        """Whether compiled code did something that no process may."""
        return self.exit_code is not None and -self.exit_code in _CRASHES

    @property
    def is_conclusive(self) -> bool:
        """Whether it says why, so that nobody else need be asked."""
        if self.took_too_much:
            return True
        return self.exit_code is not None and self.exit_code not in {*_ASKED, -signal.SIGKILL}


@dataclass(frozen=True)
class JobEnd:
    """What the queueing system tells of a worker's job, at its end or on the way there.

    Attributes
    ----------
    id, pool : str
        Of the job.
    word : str
        The queueing system's own: ``NODE_FAIL node3``; empty where it has none.
    cause : Cause or None
        What that means; None for a job that goes on.
    walltime : float
        Seconds that it was to run.
    is_due : bool
        Whether its time was over.
    log : str
        The end of its log, of all that it wrote.
    host : str
        Where it ran.
    """

    id: str
    pool: str = ""
    word: str = ""
    cause: Cause | None = None
    walltime: float = 0.0
    is_due: bool = False
    log: str = ""
    host: str = ""


class Verdict(NamedTuple):
    """The class of an error, what happened, and what to do."""

    kind: type[WorkerLostError]
    what: str
    remedy: str


def lost_error(loss: Loss, process: ProcessEnd | None = None, job: JobEnd | None = None) -> WorkerLostError:
    """The one error of a task that is not begun again, with all facts that are known."""
    verdict = judge(loss, process, job)
    log = (process.log if process is not None else "") or (job.log if job is not None else "")
    log = last_words(log, has_crashed=process is None or process.has_crashed)
    facts: dict[str, Any] = {"task": loss.task, "host": _host(loss, process, job), "log": log}
    if job is not None:
        facts |= {"job": job.id, "reason": job.word}
    if process is not None:
        facts |= {"exit_code": process.exit_code, "peak_memory": process.peak_memory}
    if verdict.kind is OutOfMemoryError and process is not None:
        facts["limit"] = process.limit
    if verdict.kind is WalltimeError and job is not None:
        facts["walltime"] = job.walltime
    return verdict.kind(_text(loss, job, verdict, facts), loss.worker, **facts)


def told(loss: Loss, process: ProcessEnd | None = None, job: JobEnd | None = None) -> str:
    """What happened, in a few words."""
    return judge(loss, process, job).what


def judge(loss: Loss, process: ProcessEnd | None, job: JobEnd | None) -> Verdict:
    """What is to blame: memory, whoever says so; then the queue, the process, and silence."""
    cause = job.cause if job is not None else None
    if (process is not None and process.took_too_much) or cause is Cause.MEMORY:
        return _memory(process, job)
    if cause in _VAGUE and process is not None and process.is_conclusive:
        return _process(process)
    if job is not None and (verdict := _by_queue(job)) is not None:
        return verdict
    return _vaguely(loss, process, job)


def _by_queue(job: JobEnd) -> Verdict | None:
    if job.cause is Cause.WALLTIME or (job.is_due and job.cause in _VAGUE):
        walltime = f"its job reached its walltime ({job.walltime:g} s)" + _quoted(job)
        return Verdict(WalltimeError, walltime, "give the pool a longer walltime:, or the task less to do")
    if job.cause not in _BY_QUEUE:
        return None
    kind, what, remedy = _BY_QUEUE[job.cause]
    return Verdict(kind, what + _quoted(job), remedy)


def _vaguely(loss: Loss, process: ProcessEnd | None, job: JobEnd | None) -> Verdict:
    if loss.is_silent:
        what = "it gave no sign of life for longer than distributed.scheduler.worker-ttl"
        return Verdict(WorkerLostError, what, 'run code that holds the GIL for long with isolate="process"')
    if process is not None and process.exit_code is not None:
        return _process(process)
    if job is not None and job.cause is Cause.ENDED:
        return Verdict(WorkerLostError, "its job ended" + _quoted(job), "look into its log for the reason")
    text = "look into its log, and whether the task takes more memory than the worker has"
    return Verdict(WorkerLostError, "nobody can tell why", text)


#: Causes beside which the process or the clock may know better.
_VAGUE = frozenset({None, Cause.CANCELLED, Cause.ENDED})

_BY_QUEUE: Mapping[Cause | None, Verdict] = {
    Cause.PREEMPTED: Verdict(
        PreemptedError,
        "its job was preempted",
        "use a queue whose jobs are not preempted, or give the task more lost_retries=",
    ),
    Cause.NODE: Verdict(
        WorkerLostError,
        "the node of its job failed",
        "give the task more lost_retries=, and leave the node out (job_extra_directives:) if it fails often",
    ),
    Cause.REQUEUED: Verdict(
        WorkerLostError,
        "its job was put back into the queue, as after a failure of its node or a preemption",
        "give the task more lost_retries=",
    ),
    Cause.CANCELLED: Verdict(
        WorkerLostError, "its job was cancelled", "find out who cancelled it, and call the task again"
    ),
}


def _memory(process: ProcessEnd | None, job: JobEnd | None) -> Verdict:
    remedy = "give the task more (memory=), or each worker (fewer processes or workers, or more memory for them)"
    if process is None or not process.took_too_much:
        assert job is not None
        return Verdict(OutOfMemoryError, "its job took more memory than it may" + _quoted(job), remedy)
    limit = f" of {show_size(process.limit)}" if process.limit else ""
    peak = f" (it had {show_size(process.peak_memory)})" if process.peak_memory else ""
    if process.is_over_limit:
        what = f"its process was ended at {TERMINATE:.0%} of its memory limit{limit}{peak}"
    else:
        what = f"its process was killed by the kernel for its memory{peak}"
    return Verdict(OutOfMemoryError, what, remedy)


def _process(process: ProcessEnd) -> Verdict:
    code = process.exit_code
    assert code is not None
    peak = f", having had {show_size(process.peak_memory)} of memory at most" if process.peak_memory else ""
    if code >= 0:
        what = f"its process exited with status {code}"
        return Verdict(
            WorkerLostError, what, 'let the body raise instead of calling os._exit(), or use isolate="process"'
        )
    what = f"its process was killed by {_signal(-code)}{peak}"
    if process.has_crashed:
        what = f"its process crashed with {_signal(-code)}"
        remedy = 'mend the compiled code that the task calls, or keep its crashes to itself with isolate="process"'
        return Verdict(WorkerLostError, what, remedy)
    return Verdict(WorkerLostError, what, "find out who sent that; where memory is short the kernel sends SIGKILL")


def _text(loss: Loss, job: JobEnd | None, verdict: Verdict, facts: Mapping[str, Any]) -> str:
    times = "once" if loss.count == 1 else f"{loss.count} times"
    if verdict.kind is WalltimeError and job is not None and job.walltime:
        return (
            f"task {loss.task!r} was cut off {times} by the walltime of its jobs ({job.walltime:g} s in pool "
            f"{job.pool!r}, the last of them job {job.id}); {verdict.remedy}"
        )
    where = loss.worker + (f" on {facts['host']}" if facts["host"] else "")
    if job is not None and job.id:
        where += f" of job {job.id} in pool {job.pool!r}"
    ends = f"; the end of its log:\n{facts['log']}" if facts["log"] else ""
    last = "" if loss.count == 1 else "the last of them "
    return f"task {loss.task!r} was lost {times} with its worker, {last}{where}: {verdict.what}; {verdict.remedy}{ends}"


def _host(loss: Loss, process: ProcessEnd | None, job: JobEnd | None) -> str:
    return (job.host if job is not None else "") or (process.host if process is not None else "") or loss.host


def _quoted(job: JobEnd) -> str:
    return f" ({job.word})" if job.word else ""


def _signal(number: int) -> str:
    try:
        return f"signal {number} ({signal.Signals(number).name})"
    except ValueError:  # a real-time signal, for instance
        return f"signal {number}"
