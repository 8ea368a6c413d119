"""Jobs that near their walltime: their workers are seen off, all at the same time, and then the job is let go."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

from distributed import Scheduler

from asyncflow.queues.jobs import Job
from asyncflow.queues.leaving import leave
from asyncflow.queues.lifetime import Lifetime

logger = logging.getLogger("asyncflow")


class Departures:
    """Keeps the departures that are under way.

    Parameters
    ----------
    scheduler : Scheduler
        Whose workers leave.
    lifetimes : mapping of str to Lifetime
        Of the jobs of each pool.
    cancel : callable
        Ends jobs in the queue.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        lifetimes: Mapping[str, Lifetime],
        cancel: Callable[[Sequence[Job]], Awaitable[None]],
    ) -> None:
        self._scheduler = scheduler
        self._lifetimes = lifetimes
        self._cancel = cancel
        self._tasks: set[asyncio.Task[None]] = set()

    def begin(self, jobs: Iterable[Job], now: float) -> None:
        """From now on those of `jobs` that are due take no new task."""
        for job in jobs:
            due = job.started is not None and now >= job.started + self._lifetimes[job.pool].drain
            if due and job.workers and not job.is_leaving:
                job.is_leaving = True
                logger.info("pool %r: job %s nears its walltime and takes no new task", job.pool, job.id)
                self.see_off(job, sorted(job.workers))

    def see_off(self, job: Job, workers: Sequence[str]) -> None:
        """These workers of a job that leaves are to leave."""
        task = asyncio.get_running_loop().create_task(self._see_off(job, workers))
        self._tasks.add(task)
        task.add_done_callback(self._note)

    async def close(self) -> None:
        """Let the rest be."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _see_off(self, job: Job, workers: Sequence[str]) -> None:
        assert job.started is not None
        end = job.started + self._lifetimes[job.pool].end
        await asyncio.gather(*(leave(self._scheduler, worker, end) for worker in workers))
        if not job.workers and not job.has_ended:  # or what was cut would keep its process, and the job, for longer
            await self._cancel([job])

    def _note(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("a worker did not leave in order", exc_info=error)
