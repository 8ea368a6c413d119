"""The thin loop of a run: what the queue says, what the scheduler has to do, and the jobs that follow from both."""

import asyncio
import logging
from collections.abc import Sequence
from contextlib import suppress
from time import monotonic
from typing import Any

from distributed import Scheduler, SchedulerPlugin

from asyncflow.errors import PoolError, StartError, SubmitError
from asyncflow.events import Events
from asyncflow.queues.bulletin import Bulletin
from asyncflow.queues.demand import demand, doomed, long_work
from asyncflow.queues.departures import Departures
from asyncflow.queues.facts import Pressure
from asyncflow.queues.jobs import Job
from asyncflow.queues.leaving import give_back
from asyncflow.queues.losses import Losses, fail
from asyncflow.queues.placement import Placement
from asyncflow.queues.queue import Queue
from asyncflow.queues.recalling import Recalls
from asyncflow.queues.records import JobRecord, in_words
from asyncflow.queues.roster import Crew, Roster
from asyncflow.queues.run import RunDirectory
from asyncflow.queues.scaling import Decision, LongWork, decide
from asyncflow.queues.start import Start
from asyncflow.queues.submitter import Submitter
from asyncflow.queues.system import QueueSystem
from asyncflow.queues.teller import Teller
from asyncflow.queues.template import PoolPlan, Site
from asyncflow.queues.witness import station

logger = logging.getLogger("asyncflow")

#: Seconds between two steps, at least and at most.
STEP, REST = 0.2, 1.0

#: Seconds, at least, that a job may run before its first worker connects.
NO_WORKER = 300.0

#: States of a task that no worker has taken.
_WAITS = frozenset({"no-worker", "queued"})


class Scaler(SchedulerPlugin):  # type: ignore[misc]
    """Submits, watches, replaces and gives back the jobs of all pools of a run.

    Parameters
    ----------
    scheduler : Scheduler
        Of the run; in this process, on this loop.
    system : QueueSystem
        Where jobs are submitted.
    queue : Queue
        The way there.
    plans : sequence of PoolPlan
        In the order of the configuration.
    site : Site
        What the jobs share.
    run : RunDirectory
        Where their logs are.
    events : Events
        Who is told what becomes of them.
    """

    name = "asyncflow-scaler"

    def __init__(
        self,
        scheduler: Scheduler,
        system: QueueSystem,
        queue: Queue,
        plans: Sequence[PoolPlan],
        site: Site,
        run: RunDirectory,
        events: Events,
    ) -> None:
        self._scheduler = scheduler
        self._queue = queue
        self._submitter = Submitter(system, queue, site)
        self._plans = {plan.pool.name: plan for plan in plans}
        self._site = site
        self._is_elastic = any(plan.keys.limits.min < plan.keys.limits.max for plan in plans)
        self._processes = {name: plan.keys.processes for name, plan in self._plans.items()}
        self._roster = Roster(self._plans)
        self._teller = Teller(self._plans, self._roster, run)
        self._bulletin = Bulletin(events, self._roster, self._teller.log_of)
        self._losses: Losses = scheduler.plugins[Losses.name]
        self._system = system
        self._wake = asyncio.Event()
        self._start = Start(plans, self._submit, queue, self._roster)
        self._pressures = {name: Pressure(plan) for name, plan in self._plans.items()}
        self._patience = max(NO_WORKER, *(2 * plan.keys.death_timeout for plan in plans))
        self._demand_took = 0.0
        self._refused: dict[str, SubmitError] = {}
        lifetimes = {name: plan.lifetime for name, plan in self._plans.items()}
        self._departures = Departures(scheduler, lifetimes, self._cancel)
        self._placement = Placement(scheduler, self._roster, [plan.pool for plan in plans], lifetimes)
        self._recalls = Recalls(scheduler, self._placement)
        self._loop: asyncio.Task[None] | None = None

    # From outside

    @property
    def has_failed_jobs(self) -> bool:
        """Whether a job's log may be worth reading."""
        return self._teller.has_failed_jobs

    async def start(self, patience: float) -> None:
        """Submit the jobs that are wanted from the beginning and wait for the first worker.

        Raises
        ------
        SubmitError
            When the queueing system refuses one.
        StartError
            When the jobs of all pools die, or no worker comes within `patience` seconds; with all that was tried.
        """
        self._losses.record = self._record_of
        station(self._scheduler)
        self._scheduler.add_plugin(self, name=self.name)
        self._placement.begin()
        await self._start.submit()
        self._loop = asyncio.get_running_loop().create_task(self._run_for_ever())
        try:
            await self._start.wait(patience)
        except TimeoutError:
            text = self._teller.tried(patience, self._site.scheduler, self._submitter.refusals)
            raise StartError(text) from None

    async def close(self) -> bool:
        """Cancel all jobs; whether the queueing system took note of all."""
        if self._loop is not None:
            self._loop.cancel()
            await asyncio.wait([self._loop])
        await self._departures.close()
        await self._recalls.close()
        self._start.close()
        are_cancelled = await self._queue.cancel_all()
        if are_cancelled:
            self._bulletin.all_cancelled()
        return are_cancelled

    # What the scheduler tells

    def add_worker(self, scheduler: Scheduler, worker: str) -> None:
        """Called by Dask."""
        now = monotonic()
        job = self._roster.worker_came(str(scheduler.workers[worker].name), worker, now)
        if job is None:
            return
        if job.joined == now:
            self._pressures[job.pool].queue_wait = now - job.submitted
            self._bulletin.look()
        self._placement.note_workers()
        if job.is_leaving:  # its nanny has started it again
            self._departures.see_off(job, [worker])
        self._start.came()
        self._wake.set()

    def remove_worker(self, scheduler: Scheduler, worker: str, **_: Any) -> None:
        """Called by Dask."""
        if self._roster.worker_left(worker, monotonic()) is not None:
            self._queue.look_soon()  # the queue may know why
            self._wake.set()

    def transition(self, key: Any, start: str, finish: str, *args: Any, **kwargs: Any) -> None:
        """Called by Dask for each step of each task, so this must cost next to nothing."""
        if finish == "memory" and (worker := kwargs.get("worker")) is not None:
            self._roster.worked(worker)
        elif finish in _WAITS or (self._is_elastic and finish == "processing"):
            self._wake.set()

    # The loop

    async def _run_for_ever(self) -> None:
        while True:
            began = monotonic()
            try:
                await self._step(began)
            except Exception:  # whatever is wrong with one look, the jobs need the next
                logger.exception("a look at the jobs failed; the next follows")
            await asyncio.sleep(max(STEP, 10 * self._demand_took))
            with suppress(TimeoutError):
                async with asyncio.timeout(REST):  # not `wait_for`, see `commands.run`
                    await self._wake.wait()
            self._wake.clear()

    async def _step(self, now: float) -> None:
        self._departures.begin(self._roster, now)
        if any(self._roster) and now >= self._queue.next_poll:
            await self._ask()
        self._recalls.look(now)
        for name, (need, long) in self._needs().items():
            await self._adjust(self._plans[name], need, long)
        self._fail_what_nothing_can_run()
        await self._cancel_deserted(monotonic())

    def _needs(self) -> dict[str, tuple[float, Sequence[LongWork]]]:
        """The demand for each pool's jobs, and what of it waits for one that lasts."""
        crews, expected = self._roster.crews, self._placement.expected
        pools = [plan.pool for name, plan in self._plans.items() if not crews[name].is_given_up]
        began = monotonic()
        needs = demand(self._scheduler, pools, self._processes, expected) if self._is_elastic else {}
        long = long_work(self._placement.waiting(), pools, self._processes, expected)
        self._bulletin.held(self._placement.held())
        self._demand_took = monotonic() - began  # of a hundred thousand tasks it takes a while
        return {pool.name: (needs.get(pool.name, 0.0), long.get(pool.name, ())) for pool in pools}

    async def _ask(self) -> None:
        reports = await self._queue.ask([job.id for job in self._roster])
        if reports is None:
            return
        now = monotonic()
        self._roster.lived(now)
        ran = [job for job in self._roster if job.is_running]
        ended = self._roster.take(reports, now)
        await self._look_up([job for job in ran if job.is_untold])
        self._losses.look()
        for job in ended:
            await self._note_end(job)
        await self._queue.cancel(self._queue.strays(reports))
        self._teller.reasons()
        self._bulletin.look()

    async def _look_up(self, jobs: Sequence[Job]) -> None:
        """Ask the books about jobs that have run, and of which the queue does not say how they ended."""
        found = await self._queue.look_up([job.id for job in jobs]) if jobs else {}
        for job in jobs:
            job.booked = found.get(job.id, "")

    def _record_of(self, worker: str) -> JobRecord | None:
        job = self._roster.job_of(worker)
        if job is None:
            return None
        return JobRecord(job, self._plans[job.pool], self._system, self._teller.tail, monotonic())

    async def _adjust(self, plan: PoolPlan, need: float, long: Sequence[LongWork]) -> None:
        crew = self._roster.crews[plan.pool.name]
        if crew.is_given_up:
            return
        decision = self._decide(crew, need, long)
        if decision.give_back:  # on fresh news only: one of them may just have begun
            await self._ask()
            decision = self._decide(crew, need, long)
        await self._submit_more(plan, decision.submit)
        await self._give_back([job for job in crew.jobs if job.id in decision.give_back])

    def _decide(self, crew: Crew, need: float, long: Sequence[LongWork]) -> Decision:
        return decide(self._pressures[crew.pool].facts(self._scheduler, crew, need, monotonic(), long))

    # What is done

    async def _submit(self, plan: PoolPlan) -> None:
        job = await self._submitter.submit(plan)
        logger.info("pool %r: submitted job %s", job.pool, job.id)
        self._roster.add(job)
        self._bulletin.submitted(job)

    async def _submit_more(self, plan: PoolPlan, count: int) -> None:
        """As many of `count` as are accepted; what is refused is tried again later."""
        pool = plan.pool.name
        try:
            for _ in range(count if self._submitter.may_submit(pool) else 0):
                await self._submit(plan)
        except SubmitError as error:
            logger.warning("pool %r: %s", pool, error)
            if not self._queue.is_busy(error) and not self._roster.crews[pool].jobs:
                self._refused[pool] = error
                if not any(self._roster):
                    self._start.give_up(error)

    async def _give_back(self, jobs: Sequence[Job]) -> None:
        queued = [job for job in jobs if not job.is_running]
        idle = [job for job in jobs if job.is_running and await give_back(self._scheduler, sorted(job.workers))]
        for job in (*queued, *idle):
            logger.info("pool %r: giving back job %s, which has nothing to do", job.pool, job.id)
        await self._cancel(queued, queued=True)
        await self._cancel(idle)

    async def _cancel(self, jobs: Sequence[Job], *, queued: bool = False) -> None:
        """What was not understood is tried again, for then the jobs are soon deserted."""
        are_cancelled = await self._queue.cancel((job.id for job in jobs), queued=queued)
        for job in jobs:
            job.is_cancelled = are_cancelled
            job.deserted = None if are_cancelled else monotonic()

    async def _cancel_deserted(self, now: float) -> None:
        jobs = self._roster.deserted(now, self._patience)
        for job in jobs:
            await self._teller.deserted(job)
        await self._cancel(jobs)

    def _fail_what_nothing_can_run(self) -> None:
        """Calls whose pools have neither jobs nor the prospect of any."""
        stopped = {name: error for name, error in self._teller.stopped.items() if not self._roster.crews[name].jobs}
        errors: dict[str, PoolError | SubmitError] = {**self._refused, **stopped}
        self._refused = {}
        pools = {name: plan.pool for name, plan in self._plans.items()}
        hopeful = [pool for name, pool in pools.items() if name not in errors]
        for name, error in errors.items():
            fail(self._scheduler, doomed(self._scheduler, pools[name], hopeful), error)

    async def _note_end(self, job: Job) -> None:
        self._queue.ended(job.id)
        self._roster.bury(job, monotonic(), in_words(self._system.causes, job.last_word))
        await self._bulletin.ended(job)
        error = await self._teller.ended(job)
        if error is not None:
            self._bulletin.stopped(error)
            self._start.died(error)
