"""What is told of the jobs of a run, and when: each thing once, with the log that says why."""

import asyncio
import logging
from collections.abc import Mapping
from pathlib import Path

from asyncflow.errors import PoolError
from asyncflow.queues.jobs import Job
from asyncflow.queues.roster import Roster
from asyncflow.queues.run import TAIL, RunDirectory
from asyncflow.queues.telling import given_up, sorts, tried, waiting
from asyncflow.queues.template import PoolPlan

logger = logging.getLogger("asyncflow")


class Teller:
    """Logs what becomes of jobs, and makes the errors that tell it.

    Parameters
    ----------
    plans : mapping of str to PoolPlan
        By pool.
    roster : Roster
        Of the run, kept by somebody else.
    run : RunDirectory
        Where the logs of jobs are.

    Attributes
    ----------
    has_failed_jobs : bool
        Whether a job ended unasked, so that its log may be worth reading.
    stopped : dict of str to PoolError
        Why a pool submits no more jobs, for those that have stopped.
    """

    def __init__(self, plans: Mapping[str, PoolPlan], roster: Roster, run: RunDirectory) -> None:
        self.has_failed_jobs = False
        self.stopped: dict[str, PoolError] = {}
        self._plans = plans
        self._roster = roster
        self._run = run
        self._told: dict[str, frozenset[str]] = {}

    async def ended(self, job: Job) -> PoolError | None:
        """A job has ended; why its pool has stopped, where that was the last straw."""
        if job.is_cancelled or job.is_leaving:
            logger.debug("pool %r: job %s has ended", job.pool, job)
        else:
            self.has_failed_jobs = True
            logger.warning("pool %r: job %s has ended%s", job.pool, job, await self._log_of(job))
        crew = self._roster.crews[job.pool]
        if not crew.is_given_up or job.pool in self.stopped:
            return None
        self.stopped[job.pool] = error = given_up(crew, await asyncio.to_thread(self.tail, crew.deaths[-1]))
        logger.error("%s", error)
        return error

    async def deserted(self, job: Job) -> None:
        """A job runs without a worker, and is about to be cancelled."""
        how = "has no worker any more" if job.joined is not None else "has run for long without a worker"
        logger.warning("pool %r: job %s %s, and is cancelled%s", job.pool, job, how, await self._log_of(job))

    def reasons(self) -> None:
        """The queue was asked: what jobs wait for, where that is news."""
        for name, crew in self._roster.crews.items():
            said = sorts(crew)
            if said != self._told.get(name, frozenset()):
                self._told[name] = said
                if said:
                    logger.info("pool %r: jobs wait in the queue: %s", name, waiting(crew))

    def tried(self, patience: float, address: str, refusals: Mapping[str, Exception]) -> str:
        """All that was done while no worker came to the scheduler at `address` for `patience` seconds."""
        return tried(patience, address, self._plans.values(), self._roster.crews, self.tail, refusals)

    async def _log_of(self, job: Job) -> str:
        """The end of its log as part of a message, read off the loop: shared file systems hang at times."""
        log = await asyncio.to_thread(self.tail, job)
        return f"; its log ends:\n{log}" if log else ""

    def log_of(self, job: Job) -> Path | None:
        """Where it has written; blocks."""
        return self._run.log_of(job.id, self._plans[job.pool].keys.log_directory)

    def tail(self, job: Job, lines: int = TAIL) -> str:
        """The end of its log; blocks."""
        return self._run.tail(job.id, self._plans[job.pool].keys.log_directory, lines)
