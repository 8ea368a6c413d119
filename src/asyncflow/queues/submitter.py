"""Submitting the jobs of a run, one by one, and waiting longer after each refusal."""

from collections import defaultdict
from time import monotonic

from asyncflow.errors import SubmitError
from asyncflow.queues.jobs import Job
from asyncflow.queues.queue import Queue
from asyncflow.queues.system import QueueSystem
from asyncflow.queues.template import PoolPlan, Site, job_from

#: Seconds after a refusal before the next submission; twice as long each time.
RETRY, LONGEST_RETRY = 2.0, 300.0


class Submitter:
    """Makes jobs of plans.

    Parameters
    ----------
    system : QueueSystem
        Where jobs are submitted.
    queue : Queue
        The way there.
    site : Site
        What the jobs share.
    """

    def __init__(self, system: QueueSystem, queue: Queue, site: Site) -> None:
        self._system = system
        self._queue = queue
        self._site = site
        self._numbers: defaultdict[str, int] = defaultdict(int)
        self._retry: defaultdict[str, float] = defaultdict(lambda: RETRY)
        self._not_before: defaultdict[str, float] = defaultdict(float)
        self.refusals: dict[str, SubmitError] = {}  #: of each pool the last, since it last had a job accepted

    def may_submit(self, pool: str) -> bool:
        """Whether enough time has passed since the last refusal."""
        return monotonic() >= self._not_before[pool]

    async def submit(self, plan: PoolPlan) -> Job:
        """Submit one more job of a pool.

        Raises
        ------
        SubmitError
            When it is refused; the pool stands in it.
        """
        pool = plan.pool.name
        name = f"{pool}-{self._numbers[pool]}"
        self._numbers[pool] += 1
        try:
            job_id = await self._queue.submit(job_from(self._system, plan, name, self._site))
        except SubmitError as error:
            error.pool = pool
            self.refusals[pool] = error
            self._not_before[pool] = monotonic() + self._retry[pool]
            self._retry[pool] = min(2 * self._retry[pool], LONGEST_RETRY)
            raise
        self._retry[pool] = RETRY
        self.refusals.pop(pool, None)
        return Job(job_id, pool, name, monotonic())
