"""Tasks that were lost with their worker: begun again as often as they may be, then failed with the cause."""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING, Any

from distributed import Scheduler, SchedulerPlugin
from distributed.protocol import pickle
from distributed.scheduler import WorkerState

from asyncflow.call import failure_of
from asyncflow.ledger import task_name
from asyncflow.options import TaskOptions
from asyncflow.queues.blame import THREADS, Case, running
from asyncflow.queues.bodies import Bodies
from asyncflow.queues.causes import JobEnd, Loss, ProcessEnd, lost_error, told
from asyncflow.queues.inquests import Inquest, Inquests, Record
from asyncflow.queues.leaving import LEFT
from asyncflow.queues.witness import TOPIC

if TYPE_CHECKING:
    from distributed.scheduler import TaskState

#: Losses granted where a call says nothing.
GRANTED: int = TaskOptions.model_fields["lost_retries"].default

#: Keys remembered as begun on one worker before those that have ended are forgotten.
_MANY = 1_000

#: A resource that no worker has: tasks that are to fail wait for it until their cause is known, and begin nowhere.
_HELD = "asyncflow-held"


#: What removes workers: Dask when they give no sign of life, and ourselves; neither is a riddle.
_SILENT = "check-worker-ttl"
_PLAIN = (_SILENT, LEFT)


@dataclass(eq=False)
class _Held:
    """A task that begins nowhere; `error` is what it fails with, once that is known."""

    task: "TaskState"
    restrictions: Any
    error: Exception | None = None


class Losses(SchedulerPlugin):  # type: ignore[misc]
    """Counts, call by call, the workers lost under it.

    Dask has one number for all tasks of a scheduler, counts every task that was *assigned* to the worker, and none at
    all where the worker left in order (as at its ``--lifetime``), so that a task longer than the walltime would be
    begun again for ever. Here those count whose bodies ran, as the worker's nanny finds them written down (see
    `bodies`). It says so in a moment; until then tasks that may have been lost too often are held, and the others are
    begun again. Where no nanny says anything, those count that can have been running.

    A task that was lost too often fails as soon as it is known why, or nobody has said so for a while. Each loss is an
    event of the topic `name`: ``{"key", "worker", "count", "cause"}``, and ``"bodies"`` where its
    page had them: stubs of their keys.

    Attributes
    ----------
    record : callable
        The job of the worker at an address; None where it has none. Whoever knows sets it.
    """

    name = "asyncflow-losses"

    #: Where it is said at once, before the task can fail, which bodies a loss is held against, of a task with several.
    topic = "asyncflow-losses-bodies"

    def __init__(self, scheduler: Scheduler) -> None:
        self.record: Callable[[str], Record | None] = lambda _: None
        self._scheduler = scheduler
        self._states: dict[str, WorkerState] = {}
        self._begun: dict[str, set[str]] = {}
        self._losses: dict[str, int] = {}
        self._suspected: Counter[str] = Counter()  # cases that are not decided, by the keys of their tasks
        self._bodies: dict[str, Bodies] = {}
        self._ends: dict[str, ProcessEnd] = {}
        self._held: dict[str, _Held] = {}
        self._inquests = Inquests(self._conclude)
        for address in scheduler.workers:
            self.add_worker(scheduler, address)
        scheduler.allowed_failures = 2**31

    def add_worker(self, scheduler: Scheduler, worker: str) -> None:
        """Called by Dask."""
        self._states[worker] = scheduler.workers[worker]
        self._begun[worker] = set()

    def log_event(self, topic: str, msg: Any) -> None:
        """Called by Dask; of bodies that begin, of processes that end, and of a worker's removal.

        Of the latter before its tasks are handed on.
        """
        if not isinstance(msg, dict):
            return
        if topic == TOPIC:
            self._note_word(msg)
        elif "begun" in msg and msg.get("worker") in self._begun:
            self._note_begun(msg["worker"], msg["begun"])
        elif topic == "all" and msg.get("action") == "remove-worker" and msg["worker"] in self._states:
            self._strike(msg["worker"], msg["processing-tasks"], str(msg.get("stimulus_id", "")))

    def remove_worker(self, scheduler: Scheduler, worker: str, **_: Any) -> None:
        """Called by Dask when the tasks have been handed on."""
        self._losses = {key: count for key, count in self._losses.items() if key in scheduler.tasks}

    def transition(self, key: Any, start: str, finish: str, *args: Any, **kwargs: Any) -> None:
        """Called by Dask for each step of each task, so this must cost next to nothing."""
        if key in self._held:  # it may have waited for results that were lost as well
            if finish == "forgotten":
                del self._held[key]
            elif finish == "no-worker":  # not now: Dask is in the middle of a step
                asyncio.get_running_loop().call_soon(self._fail, key)

    def look(self) -> None:
        """There is news of jobs."""
        self._inquests.look()

    async def close(self) -> None:
        """Called by Dask when the scheduler closes."""
        await self._inquests.stop()

    def _strike(self, worker: str, keys: Iterable[str], stimulus: str) -> None:
        """Open the case of a worker that is gone; keep what may have been lost too often from beginning again."""
        state, begun = self._states.pop(worker), self._begun.pop(worker)
        bodies, process = self._bodies.pop(worker, None), self._ends.pop(worker, None)
        tasks = [self._scheduler.tasks[key] for key in keys if key in self._scheduler.tasks]
        if not tasks:
            return
        guess = running(tasks, begun, {THREADS: state.nthreads, **state.resources})
        case = Case(worker, state.host, stimulus.startswith(_SILENT), tasks, guess)
        self._suspected.update(task.key for task in tasks)
        inquest = Inquest(worker, state.nanny is not None, self.record(worker), case, process=process)
        inquest.is_plain = stimulus.startswith(_PLAIN)
        if bodies or process or inquest.is_plain or not inquest.has_parent:
            self._decide(case, bodies)
        self._hold(tasks)
        self._inquests.open(inquest)

    def _decide(self, case: Case, bodies: Bodies | None) -> None:
        """Count the loss for those that the worker was lost under."""
        if case.counts is not None:
            return
        case.counts = {}
        if bodies is not None:
            case.bodies = tuple(bodies.running or bodies.ended)
        for task in case.under(bodies):
            case.counts[task] = self._losses[task.key] = self._count(task) + 1
            if case.bodies:
                blame = {"key": task.key, "worker": case.worker, "bodies": case.bodies}
                self._scheduler.log_event(self.topic, blame)
        self._suspected -= Counter(task.key for task in case.tasks)

    def _may_exceed(self, task: "TaskState") -> bool:
        """Whether `task` has been lost too often if all cases that are not decided are against it."""
        return self._count(task) + self._suspected[task.key] > _granted(task)

    def _count(self, task: "TaskState") -> int:
        """How many workers were lost under it, those included that the driver knows of from earlier keys."""
        return self._losses.get(task.key, int((task.annotations or {}).get("lost_before", 0)))

    def _hold(self, tasks: Iterable["TaskState"]) -> None:
        for task in tasks:
            if self._may_exceed(task) and task.key not in self._held:
                self._held[task.key] = _Held(task, task.resource_restrictions)
                task.resource_restrictions = {**(task.resource_restrictions or {}), _HELD: 1}

    def _release(self, tasks: Iterable["TaskState"]) -> None:
        """Let those of `tasks` that were held begin that turn out not to have been lost too often."""
        anew = {}
        for task in tasks:
            held = self._held.get(task.key)
            if held is not None and held.task is task and not self._may_exceed(task):
                del self._held[task.key]
                task.resource_restrictions = held.restrictions
                if task.state == "no-worker":
                    anew[task.key] = "processing"
        if anew:
            self._scheduler.transitions(anew, stimulus_id=f"asyncflow-release-{monotonic()}")

    def _conclude(self, inquest: Inquest, job: JobEnd | None) -> None:
        """Fail what was lost too often, and tell of every loss."""
        scheduler, case = self._scheduler, inquest.subject
        self._decide(case, None)
        self._release(case.tasks)
        for task, count in case.counts.items():
            loss = Loss(task_name(task.key), case.worker, count, case.host, is_silent=case.is_silent)
            cause = told(loss, inquest.process, job)
            facts = {"key": task.key, "worker": case.worker, "count": count, "cause": cause}
            scheduler.log_event(self.name, facts if not case.bodies else {**facts, "bodies": case.bodies})
            held = self._held.get(task.key)
            if held is not None and held.task is task and count > _granted(task):
                held.error = lost_error(loss, inquest.process, job)
                self._fail(task.key)

    def _fail(self, key: str) -> None:
        held = self._held.get(key)
        if held is not None and held.error is not None and held.task.state == "no-worker":
            del self._held[key]
            held.task.resource_restrictions = held.restrictions
            fail(self._scheduler, [held.task], held.error)

    def _note_word(self, word: Mapping[str, Any]) -> None:
        """The nanny of a worker speaks, before or after the scheduler hears of the loss."""
        worker = word["worker"]
        process = ProcessEnd(**word["end"]) if "end" in word else None
        bodies = Bodies(*(frozenset(word["bodies"][name]) for name in Bodies._fields)) if "bodies" in word else None
        case = self._inquests.note(worker, process)
        if case is not None:
            self._decide(case, bodies)
            self._release(case.tasks)
        elif worker in self._states:
            if process is not None:
                self._ends[worker] = process
            if bodies is not None:
                self._bodies[worker] = bodies

    def _note_begun(self, worker: str, keys: Iterable[str]) -> None:
        begun = self._begun[worker]
        begun.update(keys)
        if len(begun) > _MANY:
            begun &= {task.key for task in self._scheduler.workers[worker].processing}


def fail(scheduler: Scheduler, tasks: Iterable["TaskState"], error: Exception) -> None:
    """Fail `tasks`, which wait for a worker or are assigned to one, as their bodies would.

    Those that are held are left to whoever finds out why they were lost.
    """
    stimulus = f"asyncflow-fail-{id(error)}"
    recommendations: dict[Any, Any] = {}
    for task in tasks:
        if task.state in {"no-worker", "queued", "processing"} and _HELD not in (task.resource_restrictions or {}):
            failure = pickle.dumps(failure_of(error, task.key, task_name(task.key)))
            done = scheduler.transition(task.key, "erred", exception=failure, cause=task.key, stimulus_id=stimulus)
            recommendations.update(done)
    scheduler.transitions(recommendations, stimulus_id=stimulus)


def _granted(task: "TaskState") -> int:
    """How many losses of it are granted."""
    return int((task.annotations or {}).get("lost_retries", GRANTED))
