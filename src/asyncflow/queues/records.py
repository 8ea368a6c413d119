"""What is known of the job of a queueing system that a lost worker was in."""

import re
from collections.abc import Callable, Mapping

from asyncflow.queues.causes import Cause, JobEnd, ProcessEnd
from asyncflow.queues.jobs import Job, JobState, Report
from asyncflow.queues.lastwords import MANY, last_words
from asyncflow.queues.system import QueueSystem
from asyncflow.queues.template import PoolPlan

_SLACK = 1.0  # seconds by which clocks may differ

#: The name of a node in ``node1``, ``node1/0*2`` and ``2*node1``.
_HOST = re.compile(r"[A-Za-z][\w.-]*")


class JobRecord:
    """One job of a pool; made when a worker of it is lost.

    Parameters
    ----------
    job : Job
        The job, which the scaler keeps up to date.
    plan : PoolPlan
        Of its pool.
    system : QueueSystem
        Whose words its reports are in.
    tail : callable
        So many lines of the end of a job's log; may block.
    now : float
        When the worker was lost (`time.monotonic`).
    """

    def __init__(
        self, job: Job, plan: PoolPlan, system: QueueSystem, tail: Callable[[Job, int], str], now: float
    ) -> None:
        self._job = job
        self._walltime = plan.keys.walltime
        self._system = system
        self._tail = tail
        self._before = job.report  # of a look before the loss
        since = plan.lifetime.drain if job.is_leaving else plan.lifetime.end
        self._is_due = job.started is not None and now >= job.started + since - _SLACK

    def is_settled(self, process: ProcessEnd | None) -> bool:
        """Once the queue says what became of the job, or the process itself is to blame."""
        return self._cause() is not None or (process is not None and process.is_conclusive)

    def end(self, log: str) -> JobEnd:
        """What the queue says, else its books, else its words in the log."""
        cause = self._cause()
        if cause in {None, Cause.ENDED}:
            cause = in_words(self._system.logged, last_words(log, has_crashed=False)) or cause
        job = self._job
        host = _HOST.search(self._before.nodes or job.report.nodes)
        return JobEnd(
            job.id,
            job.pool,
            job.last_word,
            cause,
            self._walltime,
            self._is_due,
            log,
            host[0] if host else "",
        )

    def tail(self) -> str:
        """Of the job's own log."""
        return self._tail(self._job, MANY)

    def _cause(self) -> Cause | None:
        report = self._job.report
        if report is self._before:
            return None
        cause = in_words(self._system.causes, self._job.last_word)
        if cause is None and (report.state is JobState.QUEUED or self._has_begun_anew(report)):
            return Cause.REQUEUED  # as its worker has been there
        return Cause.ENDED if cause is None and report.has_ended else cause

    def _has_begun_anew(self, report: Report) -> bool:
        before = self._before
        has_moved = before.nodes and report.nodes and before.nodes != report.nodes
        return report.state is JobState.RUNNING and (bool(has_moved) or report.runs > max(1, before.runs))


class LauncherRecord:
    """The batch job whose workers were started by one launcher, and which goes on without this one.

    Parameters
    ----------
    job, pool : str
        Its id, as far as it has one, and the name of its pool.
    table : mapping of str to Cause
        What the words in its log mean.
    tail : callable
        The end of the launcher's log, which has those of all workers; may block.
    """

    def __init__(self, job: str, pool: str, table: Mapping[str, Cause], tail: Callable[[], str]) -> None:
        self._job = job
        self._pool = pool
        self._table = table
        self.tail = tail

    def is_settled(self, process: ProcessEnd | None) -> bool:
        """Once the worker's parent has spoken."""
        return process is not None

    def end(self, log: str) -> JobEnd:
        """What batch system and launcher have written into the log."""
        return JobEnd(self._job, self._pool, "", in_words(self._table, last_words(log, has_crashed=False)), log=log)


def in_words(table: Mapping[str, Cause], said: str) -> Cause | None:
    """The first cause of `table` whose pattern is in what was said."""
    return next((cause for pattern, cause in table.items() if re.search(pattern, said)), None)
