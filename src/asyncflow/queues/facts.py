"""From what scheduler and roster know to the facts that `scaling.decide` takes."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from asyncflow.queues.jobs import Job
from asyncflow.queues.roster import Crew
from asyncflow.queues.scaling import JobFacts, LongWork, PoolFacts, staying, wanted
from asyncflow.queues.template import PoolPlan

if TYPE_CHECKING:
    from distributed import Scheduler


class Pressure:
    """How one pool stands to its demand, with the little that has to be remembered from look to look."""

    def __init__(self, plan: PoolPlan) -> None:
        self._plan = plan
        self._surplus_since: float | None = None
        self.queue_wait = 0.0  #: seconds that the job whose worker came last had waited

    def facts(
        self, scheduler: "Scheduler", crew: Crew, demand: float, now: float, long: Sequence[LongWork] = ()
    ) -> PoolFacts:
        """The facts at `now`."""
        keys = self._plan.keys
        jobs = crew.live()
        facts = PoolFacts(
            demand=demand,
            minimum=keys.limits.min,
            maximum=keys.limits.max,
            max_queued=keys.max_queued,
            idle_timeout=keys.idle_timeout,
            lead=min(keys.walltime / 4, max(5.0, 1.5 * self.queue_wait)),
            jobs=[self._job(scheduler, job, now) for job in jobs],
            long=long,
        )
        if wanted(facts) >= len(staying(facts)):
            self._surplus_since = None
            return facts
        if self._surplus_since is None:
            self._surplus_since = now
        return replace(facts, surplus=now - self._surplus_since)

    def _job(self, scheduler: "Scheduler", job: Job, now: float) -> JobFacts:
        workers = [scheduler.workers[address] for address in job.workers if address in scheduler.workers]
        if not workers or any(worker.processing for worker in workers):
            job.idle_since = None
        elif job.idle_since is None:
            job.idle_since = now
        if job.started is None:
            return JobFacts(job.id)
        return JobFacts(
            job.id,
            age=now - job.joined if job.joined is not None else 0.0,
            idle=now - job.idle_since if job.idle_since is not None else 0.0,
            remaining=job.started + self._plan.lifetime.drain - now,
            lasts=self._plan.lifetime.time_for_task(job.started, job.joined, now),
        )
