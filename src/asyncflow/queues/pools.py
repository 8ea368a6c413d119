"""Shapes of workers, whether a task fits one, and which pool runs it."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from asyncflow.events import PoolDeclared
from asyncflow.options import TaskOptions
from asyncflow.suggest import did_you_mean, hint
from asyncflow.units import clock, show_size

#: How much of its own pool each worker declares: tasks take one of it, and so never wait for it.
PLENTY = 2**40


@dataclass(frozen=True)
class Pool:
    """Workers of one shape.

    Attributes
    ----------
    name : str
        What the configuration calls it.
    workers : int
        How many there are, or may be.
    cores : int
        Threads of each worker.
    memory : int or None
        Bytes of each worker; None where no limit is set.
    resources : mapping of str to float
        Abstract resources that each worker declares.
    is_named : bool
        Whether the configuration named it, so that tasks can ask for it; else it is the only one.
    longest : float or None
        Seconds that a task may take at most, for its worker leaves then; None where workers stay.
    """

    name: str
    workers: int
    cores: int
    memory: int | None = None
    resources: Mapping[str, float] = field(default_factory=dict)
    is_named: bool = False
    longest: float | None = None

    def lack(self, options: TaskOptions) -> str | None:
        """What of `options` one worker of this pool can never give; None where it fits."""
        if options.cores > self.cores:
            return f"asks for {options.cores} cores, and a worker of pool {self.name!r} has {self.cores}"
        if options.memory and self.memory is not None and options.memory > self.memory:
            return (
                f"asks for {show_size(options.memory)} of memory, and a worker of pool {self.name!r} "
                f"has {show_size(self.memory)}"
            )
        for name, amount in options.resources.items():
            if name not in self.resources:
                known = did_you_mean(name, self.resources) or "add it to resources: of the pool"
                return f"asks for the resource {name!r}, which pool {self.name!r} does not declare; {known}"
            if amount > self.resources[name]:
                return f"asks for {amount:g} {name}, and a worker of pool {self.name!r} has {self.resources[name]:g}"
        if options.expected and self.longest is not None and options.expected > self.longest:
            return (
                f"is expected to take {clock(options.expected, days=False)}, and the walltime of pool {self.name!r} "
                f"leaves {clock(math.floor(self.longest), days=False)} for a task; raise walltime: of the pool"
            )
        return None


def declared(pool: Pool, least: int | None = None, most: int | None = None) -> PoolDeclared:
    """The event that tells of `pool`, which has so many jobs; None where its workers are no jobs."""
    return PoolDeclared(
        pool=pool.name,
        cores=pool.cores,
        memory=pool.memory or 0,
        resources=dict(pool.resources),
        least=least,
        most=most,
        longest=pool.longest,
    )


def pool_resource(pool: str) -> str:
    """The resource by which the scheduler knows the workers of `pool`."""
    return f"pool-{pool}"


def refusal(pools: Iterable[Pool], options: TaskOptions) -> str | None:
    """Why no pool can ever run a task with `options`; None where one can, or where no pool is declared."""
    asked = _asked(pools, options)
    if asked is None:
        names = [pool.name for pool in pools]
        known = hint(options.pool or "", names)
        return f"asks for the pool {options.pool!r}, which the configuration does not name; {known}"
    lacks = [pool.lack(options) for pool in asked]
    return "; ".join(filter(None, lacks)) if lacks and all(lacks) else None


def route(pools: Sequence[Pool], options: TaskOptions) -> str | None:
    """The one pool that runs a task with `options`; None where its needs alone decide which worker takes it.

    A task that asks for a declared resource goes to whichever pool has it; one that does not stays in the first pool
    that is large enough, so that the workers of special pools are kept for what needs them.
    """
    if len(pools) < 2:
        return None
    fitting = [pool.name for pool in _asked(pools, options) or () if pool.lack(options) is None]
    return fitting[0] if fitting and (len(fitting) == 1 or not options.resources) else None


def _asked(pools: Iterable[Pool], options: TaskOptions) -> list[Pool] | None:
    """The pools that may run it by name; None where it names one that does not exist."""
    named = [pool for pool in pools if pool.is_named]
    if options.pool is None or not named:
        return list(pools)
    return [pool for pool in named if pool.name == options.pool] or None
