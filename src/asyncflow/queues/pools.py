"""Shapes of workers, and whether a task fits one."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from asyncflow.options import TaskOptions
from asyncflow.suggest import did_you_mean
from asyncflow.units import show_size


@dataclass(frozen=True)
class Pool:
    """Workers of one shape.

    Attributes
    ----------
    name : str
        What the configuration calls it.
    workers : int
        How many there are.
    cores : int
        Threads of each worker.
    memory : int or None
        Bytes of each worker; None where no limit is set.
    resources : mapping of str to float
        Abstract resources that each worker declares.
    """

    name: str
    workers: int
    cores: int
    memory: int | None = None
    resources: Mapping[str, float] = field(default_factory=dict)

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
        return None


def refusal(pools: Iterable[Pool], options: TaskOptions) -> str | None:
    """Why no pool can ever run a task with `options`; None where one can, or where no pool is declared."""
    lacks = [pool.lack(options) for pool in pools]
    return "; ".join(filter(None, lacks)) if lacks and all(lacks) else None
