"""What happens to the pools and jobs of a run, told as events: each thing once."""

import asyncio
import re
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from asyncflow.errors import PoolError
from asyncflow.events import Events, JobEnded, JobsPending, JobStarted, JobSubmitted, PoolStopped, TaskWaits
from asyncflow.ledger import task_name
from asyncflow.queues.jobs import Job
from asyncflow.queues.roster import Crew, Roster, reasons


class Bulletin:
    """Tells `events` what becomes of the jobs in `roster`, on the run's loop.

    Parameters
    ----------
    events : Events
        Who is told.
    roster : Roster
        Of the run, kept by somebody else.
    log_of : callable
        Where a job has written; blocks.
    """

    def __init__(self, events: Events, roster: Roster, log_of: Callable[[Job], Path | None]) -> None:
        self._events = events
        self._roster = roster
        self._log_of = log_of
        self._running: set[str] = set()
        self._pending: dict[str, Mapping[str, int]] = {}
        self._held: set[str] = set()
        self._is_over = False

    def submitted(self, job: Job) -> None:
        """It was accepted, or put back into the queue."""
        self._events.tell(JobSubmitted(job=job.id, pool=job.pool, worker_name=job.name))

    def look(self) -> None:
        """A worker came, or the queue has answered: tell what is news."""
        for job in self._roster:
            if job.is_running and job.id not in self._running:
                self._running.add(job.id)
                began = since_epoch(job.started)
                self._events.tell(JobStarted(job=job.id, pool=job.pool, nodes=job.report.nodes, time=began))
            elif not job.is_running and job.id in self._running:
                self._running.discard(job.id)
                self.submitted(job)
        for pool, crew in self._roster.crews.items():
            self._look_at_reasons(pool, crew)

    def _look_at_reasons(self, pool: str, crew: Crew) -> None:
        said = {reason: len(jobs) for reason, jobs in reasons(crew.jobs).items()}
        sorts: Counter[str] = Counter()
        for reason, count in said.items():
            sorts[re.sub(r"\d+", "", reason)] += count  # numbers in them change from look to look
        if sorts != self._pending.get(pool, {}):
            self._pending[pool] = sorts
            self._events.tell(JobsPending(pool=pool, reasons=said))

    async def ended(self, job: Job) -> None:
        """It has; where its log lies is looked for off the loop, as shared file systems hang at times."""
        log = await asyncio.to_thread(self._log_of, job)
        self._end(job, end_of(job), str(log or ""), is_asked=job.is_cancelled or job.is_leaving)

    def all_cancelled(self) -> None:
        """The run is over, and the queue was asked to end what is left; safe to call again."""
        is_over, self._is_over = self._is_over, True
        for job in () if is_over else self._roster:
            self._end(job, "", "", is_asked=True)

    def _end(self, job: Job, state: str, log: str, *, is_asked: bool) -> None:
        self._running.discard(job.id)
        nodes = job.report.nodes
        self._events.tell(JobEnded(job=job.id, pool=job.pool, state=state, is_asked=is_asked, log=log, nodes=nodes))

    def stopped(self, error: PoolError) -> None:
        """A pool submits no more jobs."""
        self._events.tell(PoolStopped(pool=error.pool, error=str(error)))

    def held(self, tasks: Mapping[str, float]) -> None:
        """These wait for a worker that lasts: all there are, by key, with the seconds that each is expected to take."""
        for key in tasks.keys() - self._held:
            self._events.tell(TaskWaits(id=key, name=task_name(key), reason="walltime", expected=tasks[key]))
        self._held = set(tasks)


def end_of(job: Job) -> str:
    """How it ended, in the queueing system's words; of where it ran, `JobEnded` has a place of its own."""
    if job.is_untold and job.booked:
        return job.booked
    said: Iterable[str] = (job.report.word, job.report.reason)
    return " ".join(word for word in said if word and word != "None")


def since_epoch(moment: float | None) -> float:
    """What `time.monotonic` said at a moment, as `time.time` would have."""
    return time.time() if moment is None else time.time() - (time.monotonic() - moment)
