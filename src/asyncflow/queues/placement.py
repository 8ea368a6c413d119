"""Where tasks may begin that take long: only on workers whose jobs last as long."""

import math
from collections.abc import Mapping, Sequence
from time import monotonic
from typing import TYPE_CHECKING, Any, ClassVar

from distributed import Scheduler, SchedulerPlugin

from asyncflow.queues.demand import asked, can_run
from asyncflow.queues.durations import Durations
from asyncflow.queues.lifetime import Lifetime
from asyncflow.queues.pools import Pool
from asyncflow.queues.roster import Roster

if TYPE_CHECKING:
    from distributed.scheduler import TaskState, WorkerState

#: Tasks that are taken from the scheduler's queue at once; each takes some 50 us.
MANY = 1_000


class Placement(SchedulerPlugin):  # type: ignore[misc]
    """Knows what tasks are expected to take, and how long each worker lasts.

    Tasks without ``expected`` are expected to take what those of their name took, once some have ended. That may be
    wrong, and never keeps a task from running: where no pool lasts as long, it is as if nothing were known.

    Parameters
    ----------
    scheduler : Scheduler
        Whose tasks and workers these are.
    roster : Roster
        Knows the job of each worker; somebody else keeps it.
    pools : sequence of Pool
        All there are.
    lifetimes : mapping of str to Lifetime
        Of the jobs of each pool.
    """

    name = "asyncflow-placement"

    def __init__(
        self, scheduler: Scheduler, roster: Roster, pools: Sequence[Pool], lifetimes: Mapping[str, Lifetime]
    ) -> None:
        self.durations = Durations()
        self._scheduler = scheduler
        self._roster = roster
        self._pools = pools
        self._lifetimes = lifetimes
        self._greatest = 0.0  # that any task has asked for
        self._first_end = math.inf  # of all workers that run
        self._changes = 0  # of the durations, when it was last looked for tasks that they set free

    def begin(self) -> None:
        """From now on the scheduler asks."""
        self._scheduler.placement = self
        self._scheduler.add_plugin(self, name=self.name)

    # What tasks take

    def transition(self, key: Any, start: str, finish: str, *args: Any, **kwargs: Any) -> None:
        """Called by Dask for each step of each task, so this must cost next to nothing."""
        if finish == "memory" and start == "processing" and (parts := kwargs.get("startstops")):
            seconds = sum(part["stop"] - part["start"] for part in parts if part["action"] == "compute")
            self.durations.note(self._scheduler.tasks[key].prefix.name, seconds)

    def expected(self, task: "TaskState") -> float:
        """Seconds that `task` takes, as was said or as others of its name did; 0 where it may begin anywhere."""
        seconds = asked(task)
        if seconds:
            self._greatest = max(self._greatest, seconds)
        elif not (seconds := self.durations.estimates.get(task.prefix.name, 0.0)):
            return 0.0
        return seconds if any(can_run(task, pool, seconds) for pool in self._pools) else 0.0

    # Where they may begin

    def is_bound(self, task: "TaskState") -> bool:
        """Whether `task` may not begin on each worker that runs."""
        seconds = self.expected(task)
        return seconds > 0 and self._first_end - monotonic() < seconds

    def lasting(self, task: "TaskState", valid: "set[WorkerState] | None") -> "set[WorkerState] | None":
        """Those of the `valid` workers where `task` may begin; None stands for all that run."""
        if not self.is_bound(task):
            return valid
        seconds, now = self.expected(task), monotonic()
        workers = self._scheduler.running if valid is None else valid
        return {worker for worker in workers if self._time_for_task(worker.address, now) >= seconds}

    def note_workers(self) -> None:
        """Workers have come or gone, or more is known of their jobs."""
        jobs = [job for job in self._roster if job.workers and not job.is_leaving]
        ends = (self._lifetimes[job.pool].sure_end(job.started, job.joined) for job in jobs)
        self._first_end = min(ends, default=math.inf)

    def _time_for_task(self, worker: str, now: float) -> float:
        job = self._roster.job_of(worker)
        return math.inf if job is None else self._lifetimes[job.pool].time_for_task(job.started, job.joined, now)

    # As time goes by

    def late(self, now: float) -> "dict[str, list[TaskState]]":
        """By worker, the tasks it was given and does not last for any more; some may have begun."""
        greatest = self._most()
        found: dict[str, list[TaskState]] = {}
        for worker in self._scheduler.running if greatest else ():
            left = self._time_for_task(worker.address, now)
            if left < greatest and (late := [task for task in worker.processing if self.expected(task) > left]):
                found[worker.address] = late
        return found

    def waiting(self) -> "list[TaskState]":
        """The tasks that wait for a worker, and of which it is known that they take long."""
        if not self._most():
            return []
        return [task for task in (*self._scheduler.unrunnable, *self._scheduler.queued) if self.expected(task)]

    def held(self) -> dict[str, float]:
        """The tasks, by key, that a worker which is there could run if it lasted, and what each is expected to take."""
        if not self._most():
            return {}
        bound = [task for task in self._scheduler.unrunnable if self.is_bound(task)]
        return {str(task.key): self.expected(task) for task in bound if self._scheduler.able(task)}

    def freed(self) -> "list[TaskState]":
        """Tasks that waited for a worker that lasts, and have one now that less is expected of their name."""
        if self._changes == self.durations.changes:
            return []
        self._changes = self.durations.changes
        return [task for task in self._scheduler.unrunnable if self._scheduler.valid_workers(task) != set()]

    def held_up(self) -> "list[TaskState]":
        """Tasks kept back until a worker has room that may not begin on each, and so stand before others that may."""
        if not (self._scheduler.queued and self._scheduler.idle_task_count and self._most()):
            return []
        return [task for task in self._scheduler.queued.peekn(MANY) if self.is_bound(task)]

    def _most(self) -> float:
        return max(self._greatest, *self.durations.estimates.values(), 0.0)


class PlacingScheduler(Scheduler):  # type: ignore[misc]
    """A scheduler that gives no worker a task for which it does not last; nor does work stealing, which asks as well.

    Restrictions as Dask knows them would have to be renewed for each task as workers come and age.

    Attributes
    ----------
    placement : Placement or None
        None where all workers last for ever.
    """

    placement: Placement | None = None

    def able(self, ts: "TaskState") -> bool:
        """Whether a worker that runs has what `ts` asks for, however long it lasts."""
        valid = super().valid_workers(ts)
        return bool(self.running if valid is None else valid)

    def is_rootish(self, ts: "TaskState") -> bool:
        """Called by Dask; those that are go to any worker that has room."""
        rootish: bool = super().is_rootish(ts)
        return rootish and not (self.placement is not None and self.placement.is_bound(ts))

    def valid_workers(self, ts: "TaskState") -> "set[WorkerState] | None":
        """Called by Dask; None where there is no restriction."""
        valid: set[WorkerState] | None = super().valid_workers(ts)
        return valid if self.placement is None else self.placement.lasting(ts, valid)

    def _queued_to_processing(self, key: Any, stimulus_id: str) -> Any:
        """Called by Dask where a worker has room for what was rootish when it came, and may have been bound since."""
        if self.placement is not None and self.placement.is_bound(self.tasks[key]):
            return {key: "released"}, {}, {}  # and from there to a worker that lasts
        return self._transition_queued_processing(key, stimulus_id)

    # Sweeping the queue from time to time instead would move a hundred thousand tasks for one worker that has aged.
    _TRANSITIONS_TABLE: ClassVar = {**Scheduler._TRANSITIONS_TABLE, ("queued", "processing"): _queued_to_processing}  # noqa: SLF001
