"""What there is for a call that could run: pools that fit, their workers and jobs, and who stands before it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import takewhile

from asyncflow.options import TaskOptions
from asyncflow.queues.pools import Pool as Shape
from asyncflow.queues.pools import refusal, route
from asyncflow.recipe import Kind
from asyncflow.runs.facts import Call, CallState, Job, Pool, Worker
from asyncflow.runs.history import History


@dataclass
class Supply:
    """What there is for one call.

    Attributes
    ----------
    pools : list of Pool
        Those that can run it; empty where none is known.
    lack : str
        Why none of the pools that are known can run it.
    workers : list of Worker
        Theirs, that are connected; all where no pool is known.
    slots, busy : int
        How many bodies they run at once, and how many cores of these are taken.
    pending, starting, working : list of Job
        Jobs that wait in the queue, that run without a worker having come yet, that have one.
    before : int
        Calls that could run on the same workers, and were called before it.
    """

    pools: list[Pool] = field(default_factory=list)
    lack: str = ""
    workers: list[Worker] = field(default_factory=list)
    slots: int = 0
    busy: int = 0
    pending: list[Job] = field(default_factory=list)
    starting: list[Job] = field(default_factory=list)
    working: list[Job] = field(default_factory=list)
    before: int = 0

    @property
    def is_at_limit(self) -> bool:
        """Whether no pool that fits may have another job."""
        jobs = [*self.pending, *self.starting, *self.working]
        return bool(self.pools) and all(
            pool.most is not None and sum(job.pool == pool.name for job in jobs) >= pool.most for pool in self.pools
        )

    @property
    def reasons(self) -> Mapping[str, int]:
        """What their jobs wait for, in the queueing system's words."""
        return {reason: count for pool in self.pools for reason, count in pool.reasons.items()}


def supply(history: History, call: Call) -> Supply:
    """What there is for `call`, whose inputs exist."""
    pools, lack = fitting(history.pools, call)
    names = {pool.name for pool in pools}
    there = [worker for worker in history.workers.values() if worker.left is None]
    workers = [worker for worker in there if not names or history.pool_of(worker) in {"", *names}]
    found = Supply(pools, lack, workers, sum(worker.slots for worker in workers))
    addresses = {worker.address for worker in workers}
    running = [each for each in history.calls.values() if each.state is CallState.RUNNING]
    found.busy = sum(each.needs.get("cores", 1) for each in running if each.worker in addresses)
    _sort_jobs(found, [job for job in history.jobs.values() if job.ended is None and job.pool in names], history)
    found.before = _before(history, call, names)
    return found


def fitting(pools: Mapping[str, Pool], call: Call) -> tuple[list[Pool], str]:
    """The pools that can run `call`, as they are chosen for calls that are sent; why none can, where none can."""
    options = _options(call)
    shapes = [_shape(pool, is_named=options.pool in pools) for pool in pools.values()]
    if not shapes:
        return [], ""
    if (lack := refusal(shapes, options)) is not None:
        return [], lack
    chosen = route(shapes, options)
    can = [shape for shape in shapes if options.pool in {None, shape.name} or not shape.is_named]
    names = {chosen} if chosen is not None else {shape.name for shape in can if shape.lack(options) is None}
    return [pool for name, pool in pools.items() if name in names], ""


def unmet(history: History, call: Call) -> list[Call]:
    """The inputs of `call` that do not exist."""
    inputs = (history.call(key) for key in call.depends_on)
    return [each for each in inputs if each is not None and each.state not in {CallState.DONE, CallState.FOUND}]


def is_ready(history: History, call: Call) -> bool:
    """Whether nothing but a worker is missing."""
    return call.state is CallState.WAITING and call.task_type != Kind.BLOCK and not unmet(history, call)


def _before(history: History, call: Call, names: set[str]) -> int:
    sorts: dict[str, bool] = {}  # thousands of calls ask for a handful of things

    def competes(other: Call) -> bool:
        sort = repr(sorted(other.needs.items()))
        if sort not in sorts:
            sorts[sort] = not names or bool(names & {pool.name for pool in fitting(history.pools, other)[0]})
        return sorts[sort]

    waiting = takewhile(lambda each: each is not call, history.calls.values())
    return sum(is_ready(history, each) and competes(each) for each in waiting)


def _sort_jobs(found: Supply, jobs: list[Job], history: History) -> None:
    joined = {name for worker in history.workers.values() for name in (worker.name, worker.name.rpartition("-")[0])}
    for job in jobs:
        if job.worker_name and job.worker_name in joined:
            found.working.append(job)
        elif job.started is not None:
            found.starting.append(job)
        else:
            found.pending.append(job)


def _shape(pool: Pool, *, is_named: bool) -> Shape:
    resources = dict(pool.resources)
    return Shape(pool.name, pool.most or 0, pool.cores, pool.memory or None, resources, is_named, pool.longest)


def _options(call: Call) -> TaskOptions:
    known = ("cores", "memory", "resources", "pool", "expected")
    return TaskOptions.model_construct(**{name: call.needs[name] for name in known if name in call.needs})
