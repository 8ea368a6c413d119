"""Tasks that were lost with their worker: begun again as often as they may be, then failed with the cause."""

import logging
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from distributed import Scheduler, SchedulerPlugin
from distributed.protocol import pickle

from asyncflow.call import failure_of
from asyncflow.errors import WorkerLostError

if TYPE_CHECKING:
    from distributed.scheduler import TaskState

logger = logging.getLogger("asyncflow")

#: Losses granted where a call says nothing, as `TaskOptions.lost_retries`.
GRANTED = 3

#: Says what a worker's end meant for a task: an error to fail it with.
Explain = Callable[[str, str, int], Exception]


class Losses(SchedulerPlugin):  # type: ignore[misc]
    """Counts, call by call, the workers lost under it.

    Dask has one number for all tasks of a scheduler, counts every task that was *assigned* to the worker, and none at
    all where the worker left in order (as at its ``--lifetime``), so that a task longer than the walltime would be
    begun again for ever. Here those count that can have been running: the first by priority, as many as the worker
    has threads.

    Parameters
    ----------
    explain : callable, optional
        From a task's name, the worker's address and the number of losses to an error; may be set later, too.
    """

    name = "asyncflow-losses"

    def __init__(self, scheduler: Scheduler, explain: Explain | None = None) -> None:
        self.explain: Explain = explain or lost_with_workers
        self._threads: dict[str, int] = {address: ws.nthreads for address, ws in scheduler.workers.items()}
        self._losses: dict[str, int] = {}
        self._cut: dict[str, list[str]] = {}
        scheduler.allowed_failures = 2**31

    def add_worker(self, scheduler: Scheduler, worker: str) -> None:
        """Called by Dask."""
        self._threads[worker] = scheduler.workers[worker].nthreads

    def log_event(self, topic: str, msg: Any) -> None:
        """Called by Dask; of a worker's removal before its tasks are handed on."""
        if topic == "all" and isinstance(msg, dict) and msg.get("action") == "remove-worker":
            self._cut[msg["worker"]] = list(msg["processing-tasks"])

    def remove_worker(self, scheduler: Scheduler, worker: str, **_: Any) -> None:
        """Called by Dask when the tasks have been handed on."""
        cut, threads = self._cut.pop(worker, []), self._threads.pop(worker, 1)
        tasks = [scheduler.tasks[key] for key in cut if key in scheduler.tasks]
        self._losses = {key: count for key, count in self._losses.items() if key in scheduler.tasks}
        for task in sorted(tasks, key=lambda task: task.priority)[:threads]:
            count = self._losses[task.key] = self._losses.get(task.key, 0) + 1
            if count > (task.annotations or {}).get("lost_retries", GRANTED):
                fail(scheduler, [task], self.explain(task_name(task.key), worker, count))


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
