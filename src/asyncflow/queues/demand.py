"""How much unfinished work there is for each pool, as the scheduler knows it."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from asyncflow.queues.pools import Pool, pool_resource
from asyncflow.queues.scaling import LongWork

if TYPE_CHECKING:
    from distributed import Scheduler
    from distributed.scheduler import TaskState

#: Seconds of work that are worth a worker: ten thousand tasks of a millisecond need no hundred jobs.
WORTH = 5.0

_LEAST = 1e-6


def asked(task: "TaskState") -> float:
    """Seconds that `task` was said to take; 0 where nothing was said."""
    return (task.annotations or {}).get("expected", 0.0)  # type: ignore[no-any-return]


def demand(
    scheduler: "Scheduler",
    pools: Sequence[Pool],
    processes: Mapping[str, int],
    expected: Callable[["TaskState"], float] = asked,
) -> dict[str, float]:
    """The jobs of each pool that the tasks which could run now would keep busy.

    Parameters
    ----------
    scheduler : Scheduler
        Whose tasks count: those on workers, those that wait for one.
    pools : sequence of Pool
        In the order of the configuration.
    processes : mapping of str to int
        Workers of each job, by pool.
    expected : callable
        Seconds that a task takes, 0 where that may be anything; the same for all of one name that ask for the same.

    Returns
    -------
    dict of str to float
        By pool.
    """
    workers = dict.fromkeys((pool.name for pool in pools), 0.0)
    for task, count in _alike(runnable(scheduler)):
        seconds = expected(task)
        fitting = [pool for pool in pools if can_run(task, pool, seconds)]
        left = float(count)
        for pool in fitting:  # what is more than a pool may ever have goes to the next
            is_last = pool is fitting[-1]
            part = share(task, pool)
            taken = left if is_last else min(left, max(0.0, pool.workers - workers[pool.name]) / part)
            workers[pool.name] += taken * part
            left -= taken
    return {name: count / processes[name] for name, count in workers.items()}


def _alike(tasks: Iterable["TaskState"]) -> Iterator[tuple["TaskState", int]]:
    """One of each sort of task, and how many there are: thousands of calls are of a handful of sorts."""
    sorts: dict[Any, list[TaskState]] = {}
    for task in tasks:
        needs = tuple(task.resource_restrictions.items()) if task.resource_restrictions else ()
        sort = (task.prefix.name, needs, asked(task) if task.annotations else 0.0)
        sorts.setdefault(sort, []).append(task)
    for alike in sorts.values():
        yield alike[0], len(alike)


def share(task: "TaskState", pool: Pool) -> float:
    """The part of one worker of `pool` that `task` takes, less where it is known to be over soon."""
    taken = 1 / pool.cores
    for name, amount in (task.resource_restrictions or {}).items():
        available = {"cores": pool.cores, "memory": pool.memory, **pool.resources}.get(name)
        if available:
            taken = max(taken, amount / available)
    average = task.prefix.duration_average  # -1 where none has run
    return taken * (max(_LEAST, min(1.0, average / WORTH)) if average >= 0 else 1.0)


def can_run(task: "TaskState", pool: Pool, seconds: float = 0.0) -> bool:
    """Whether a worker of `pool` has what `task` asks for, and lasts for `seconds`."""
    if pool.longest is not None and seconds > pool.longest:
        return False
    has = {"cores": pool.cores, "memory": pool.memory or float("inf"), **pool.resources}
    needs = task.resource_restrictions or {}
    return all(name == pool_resource(pool.name) or has.get(name, 0) >= amount for name, amount in needs.items())


def doomed(scheduler: "Scheduler", pool: Pool, others: Sequence[Pool]) -> list["TaskState"]:
    """The tasks that `pool` can run, which has no job and gets none, and none of `others`."""
    can = [task for task in runnable(scheduler) if can_run(task, pool)]
    return [task for task in can if not any(can_run(task, other, asked(task)) for other in others)]


def long_work(
    tasks: Iterable["TaskState"],
    pools: Sequence[Pool],
    processes: Mapping[str, int],
    expected: Callable[["TaskState"], float] = asked,
) -> dict[str, list[LongWork]]:
    """What `tasks`, which wait and take long, ask of the jobs of each pool; the other arguments are those of `demand`.

    Each goes to the first pool that can run it.
    """
    found: dict[str, list[LongWork]] = {}
    for task, count in _alike(tasks):
        seconds = expected(task)
        pool = next((pool for pool in pools if can_run(task, pool, seconds)), None)
        if seconds and pool is not None:
            work = LongWork(seconds, count * share(task, pool) / processes[pool.name])
            found.setdefault(pool.name, []).append(work)
    return found


def runnable(scheduler: "Scheduler") -> Iterator["TaskState"]:
    """The tasks that could run now: those that wait for a worker, and those that have one."""
    yield from list(scheduler.unrunnable)
    yield from scheduler.queued
    for worker in scheduler.workers.values():
        yield from worker.processing
