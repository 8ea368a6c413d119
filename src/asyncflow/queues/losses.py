"""Tasks that were lost with their worker: begun again as often as they may be, then failed with the cause."""

import logging
from collections.abc import Callable, Container, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from distributed import Scheduler, SchedulerPlugin
from distributed.protocol import pickle

from asyncflow.call import failure_of
from asyncflow.errors import WorkerLostError
from asyncflow.options import TaskOptions

if TYPE_CHECKING:
    from distributed.scheduler import TaskState

logger = logging.getLogger("asyncflow")

#: Losses granted where a call says nothing.
GRANTED: int = TaskOptions.model_fields["lost_retries"].default

_THREADS = "threads of the worker"

#: Says what a worker's end meant for a task: an error to fail it with.
Explain = Callable[[str, str, int], Exception]


#: Keys remembered as begun on one worker before those that have ended are forgotten.
_MANY = 1_000


class Losses(SchedulerPlugin):  # type: ignore[misc]
    """Counts, call by call, the workers lost under it.

    Dask has one number for all tasks of a scheduler, counts every task that was *assigned* to the worker, and none at
    all where the worker left in order (as at its ``--lifetime``), so that a task longer than the walltime would be
    begun again for ever. Here those count that can have been running: those that the worker has said to have begun,
    and of the others, by priority, as many as there was room for.

    Parameters
    ----------
    explain : callable, optional
        From a task's name, the worker's address and the number of losses to an error; may be set later, too.
    """

    name = "asyncflow-losses"

    def __init__(self, scheduler: Scheduler, explain: Explain | None = None) -> None:
        self.explain: Explain = explain or lost_with_workers
        self._scheduler = scheduler
        self._room: dict[str, dict[str, float]] = {}
        self._begun: dict[str, set[str]] = {}
        self._losses: dict[str, int] = {}
        self._cut: dict[str, list[str]] = {}
        for address in scheduler.workers:
            self.add_worker(scheduler, address)
        scheduler.allowed_failures = 2**31

    def add_worker(self, scheduler: Scheduler, worker: str) -> None:
        """Called by Dask."""
        self._room[worker] = {_THREADS: scheduler.workers[worker].nthreads, **scheduler.workers[worker].resources}
        self._begun[worker] = set()

    def log_event(self, topic: str, msg: Any) -> None:
        """Called by Dask; of bodies that begin, and of a worker's removal before its tasks are handed on."""
        if not isinstance(msg, dict):
            return
        if "begun" in msg and msg.get("worker") in self._begun:
            self._note_begun(msg["worker"], msg["begun"])
        elif topic == "all" and msg.get("action") == "remove-worker":
            self._cut[msg["worker"]] = list(msg["processing-tasks"])

    def remove_worker(self, scheduler: Scheduler, worker: str, **_: Any) -> None:
        """Called by Dask when the tasks have been handed on."""
        room, begun = self._room.pop(worker, {_THREADS: 1}), self._begun.pop(worker, set())
        tasks = [scheduler.tasks[key] for key in self._cut.pop(worker, []) if key in scheduler.tasks]
        self._losses = {key: count for key, count in self._losses.items() if key in scheduler.tasks}
        for task in running(tasks, begun, room):
            count = self._losses[task.key] = self._losses.get(task.key, 0) + 1
            if count > (task.annotations or {}).get("lost_retries", GRANTED):
                fail(scheduler, [task], self.explain(task_name(task.key), worker, count))

    def _note_begun(self, worker: str, keys: Iterable[str]) -> None:
        begun = self._begun[worker]
        begun.update(keys)
        if len(begun) > _MANY:
            begun &= {task.key for task in self._scheduler.workers[worker].processing}


def running(tasks: Iterable["TaskState"], begun: Container[str], room: Mapping[str, float]) -> list["TaskState"]:
    """Those of a lost worker's `tasks` that it can have been running.

    Parameters
    ----------
    begun : container of str
        Keys that it has said to have begun; it says so with a delay, and of short ones not at all.
    room : mapping of str to float
        The worker's threads and resources.
    """
    left = dict(room)
    found = []
    for task in sorted(tasks, key=lambda task: (task.key not in begun, task.priority)):
        needs = {_THREADS: 1, **(task.resource_restrictions or {})}
        if task.key in begun or all(left.get(name, 0) >= amount for name, amount in needs.items()):
            found.append(task)
            for name, amount in needs.items():
                left[name] = left.get(name, 0) - amount
    return found


def lost_with_workers(task: str, worker: str, count: int) -> Exception:
    """What is known without knowing what the workers run in."""
    return WorkerLostError(
        f"task {task!r} was lost with {count} workers one after the other, the last of them {worker}; look into its "
        "log, and whether the task takes more memory than the worker has",
        worker,
    )


def fail(scheduler: Scheduler, tasks: Iterable["TaskState"], error: Exception) -> None:
    """Fail `tasks`, which wait for a worker or are assigned to one, as their bodies would."""
    stimulus = f"asyncflow-fail-{id(error)}"
    recommendations: dict[Any, Any] = {}
    for task in tasks:
        if task.state in {"no-worker", "queued", "processing"}:
            failure = pickle.dumps(failure_of(error, task.key, task_name(task.key)))
            done = scheduler.transition(task.key, "erred", exception=failure, cause=task.key, stimulus_id=stimulus)
            recommendations.update(done)
    scheduler.transitions(recommendations, stimulus_id=stimulus)


def task_name(key: str) -> str:
    """The name of the task whose call has `key`."""
    return key.rpartition("-")[0] or key
