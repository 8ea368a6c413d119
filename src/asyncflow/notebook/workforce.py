"""What an engine runs on: its pools with their workers and jobs, as its events have told."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from asyncflow.events import Event, JobsPending, JobStarted, JobSubmitted, PoolDeclared, PoolStopped, WorkerJoined


@dataclass(slots=True)
class PoolView:
    """One pool.

    Attributes
    ----------
    declared : PoolDeclared or None
        Its shape; None where nobody has told.
    workers, slots : int
        How many workers there are, and how many bodies they run at once.
    waiting, running : int
        Jobs.
    pending : mapping
        How many jobs wait for what, by the queueing system's own reason.
    stopped : str
        Why it submits no more jobs; empty where it does.
    """

    declared: PoolDeclared | None = None
    workers: int = 0
    slots: int = 0
    waiting: int = 0
    running: int = 0
    pending: Mapping[str, int] = field(default_factory=dict)
    stopped: str = ""


def pools_of(standing: Iterable[Event]) -> dict[str, PoolView]:
    """The pools by name, of events that tell what is the case."""
    pools: dict[str, PoolView] = {}
    submitted: dict[str, str] = {}
    started: dict[str, str] = {}
    for event in standing:
        match event:
            case PoolDeclared():
                pools.setdefault(event.pool, PoolView()).declared = event
            case PoolStopped():
                pools.setdefault(event.pool, PoolView()).stopped = event.error
            case JobsPending():
                pools.setdefault(event.pool, PoolView()).pending = event.reasons
            case JobSubmitted():
                submitted[event.job] = event.pool
            case JobStarted():
                started[event.job] = event.pool
            case WorkerJoined():
                pool = pools.setdefault(event.pool, PoolView())
                pool.workers, pool.slots = pool.workers + 1, pool.slots + event.slots
    for job, name in {**submitted, **started}.items():
        pool = pools.setdefault(name, PoolView())
        if job in started:
            pool.running += 1
        else:
            pool.waiting += 1
    return _with_nameless(pools)


def _with_nameless(pools: dict[str, PoolView]) -> dict[str, PoolView]:
    """Workers that say no pool are of the only one that there is."""
    named = [name for name in pools if name]
    if "" in pools and len(named) == 1:
        nameless, only = pools.pop(""), pools[named[0]]
        only.workers, only.slots = only.workers + nameless.workers, only.slots + nameless.slots
    return pools
