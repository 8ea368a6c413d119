"""A random graph of tasks as plain data: the same seed makes the same graph."""

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Kind(StrEnum):
    """What a step is called as."""

    FUNCTION = "function"
    COROUTINE = "coroutine"
    ISOLATED = "isolated function"
    COMMAND = "command"
    BLOCK = "block"


class Deed(StrEnum):
    """What the body of a step does."""

    WELL = "ends well"
    WRITES = "writes to its disk"
    FLAKY = "raises at first"
    CRASHES = "ends its worker at first"
    RAISES = "raises"
    EXITS = "exits"
    LATE = "times out"
    FATAL = "ends each of its workers"
    DIES = "ends its process"
    EATS = "eats memory"
    EATS_ALL = "eats its worker's memory"
    FILLS = "fills its disk"


#: Those that end well, if only in the end.
GOOD = frozenset({Deed.WELL, Deed.WRITES, Deed.FLAKY, Deed.CRASHES})

#: What each may be called as.
_KINDS: Mapping[Deed, tuple[Kind, ...]] = {
    Deed.WELL: (*3 * (Kind.FUNCTION, Kind.COROUTINE, Kind.COMMAND), Kind.ISOLATED),
    Deed.WRITES: (Kind.FUNCTION, Kind.COROUTINE),
    Deed.FLAKY: (Kind.FUNCTION, Kind.COROUTINE, Kind.COMMAND),
    Deed.CRASHES: (Kind.FUNCTION, Kind.COROUTINE),
    Deed.RAISES: (Kind.FUNCTION, Kind.COROUTINE),
    Deed.EXITS: (Kind.FUNCTION, Kind.COROUTINE, Kind.COMMAND, Kind.ISOLATED),
    Deed.LATE: (Kind.FUNCTION, Kind.COROUTINE, Kind.COMMAND, Kind.ISOLATED),
    Deed.DIES: (Kind.ISOLATED,),
    Deed.EATS: (Kind.ISOLATED,),
    Deed.FATAL: (Kind.FUNCTION,),
    Deed.EATS_ALL: (Kind.FUNCTION,),
    Deed.FILLS: (Kind.FUNCTION, Kind.COROUTINE),
}

#: How many steps of five hundred do what; the others end well. At least one does each, however few there are.
_SHARES: Mapping[Deed, int] = {
    Deed.WRITES: 60,
    Deed.FLAKY: 12,
    Deed.CRASHES: 2,
    Deed.RAISES: 6,
    Deed.EXITS: 6,
    Deed.LATE: 5,
    Deed.DIES: 2,
    Deed.EATS: 2,
    Deed.FATAL: 1,
    Deed.EATS_ALL: 1,
    Deed.FILLS: 2,
}

_BLOCKS = 0.04  # of all steps
_DEPTH = 3  # of blocks in blocks
_HUBS = 5  # steps that many depend on


@dataclass(frozen=True)
class Step:
    """One task or block; steps are called by their numbers.

    Attributes
    ----------
    inputs : tuple of int
        Steps whose values it takes, in this order. Those of a member are fellow members, or inputs of its block.
    after : tuple of int
        Steps that must have finished before.
    members : tuple of int
        Of a block: what it calls, in this order.
    pause : float
        Seconds that its body takes.
    times : int
        How often it is FLAKY.
    """

    number: int
    kind: Kind
    deed: Deed = Deed.WELL
    inputs: tuple[int, ...] = ()
    after: tuple[int, ...] = ()
    members: tuple[int, ...] = ()
    pause: float = 0.0
    times: int = 0

    @property
    def name(self):
        """What the engine calls it."""
        return f"s{self.number}"

    @property
    def timeout(self):
        """Seconds that it is given where it is LATE; to start a process is part of it."""
        return 5.0 if self.kind is Kind.ISOLATED else 0.8

    @property
    def code(self):
        """What it exits with."""
        return 1 + self.number % 20


@dataclass
class Dag:
    """All steps by number, each after its inputs; `top` are those that are members of no block."""

    seed: int
    steps: dict[int, Step] = field(default_factory=dict)
    top: list[int] = field(default_factory=list)

    def bodies(self):
        """The steps that run on workers."""
        return [step for step in self.steps.values() if step.kind is not Kind.BLOCK]

    def dependents(self, number):
        """The steps that depend on one directly."""
        return [step for step in self.steps.values() if number in {*step.inputs, *step.after}]


def make(seed, size):
    """The graph of `seed` with `size` steps."""
    return _Growth(seed, size).grow()


class _Growth:
    """A graph while it is made.

    What misbehaves takes inputs that are sure to have values: it surely runs.
    """

    def __init__(self, seed, size):
        self.random = random.Random(f"dag {seed}")
        self.size = size
        self.dag = Dag(seed)
        self.spoilt = set()  # steps that cannot have a value
        counts = {deed: max(1, round(share * size / 500)) for deed, share in _SHARES.items()}
        self.deeds = [deed for deed, count in counts.items() for _ in range(count)]
        self.random.shuffle(self.deeds)

    def grow(self):
        while len(self.dag.steps) < self.size:
            number = self.add(self.dag.top, depth=0, sound=True)
            self.dag.top.append(number)
        assert not self.deeds, f"{self.size} steps are too few for {self.deeds}"
        return self.dag

    def add(self, known, depth, sound):
        """Another step that may use `known` ones; unless it is `sound`, it will never be called."""
        left = self.size - len(self.dag.steps)
        if depth < _DEPTH and left > 12 and self.random.random() < (_BLOCKS if depth == 0 else 0.15):
            return self.add_block(known, depth, sound)
        deed = Deed.WELL
        if sound and self.random.random() < len(self.deeds) / max(left - 12, 1):
            deed = self.deeds.pop()
        number = self.reserve()
        inputs, after = self.choose(known, only_good=deed is not Deed.WELL or not sound)
        times = self.random.randint(1, 3) if deed is Deed.FLAKY else 0
        kind = self.random.choice(_KINDS[deed])
        pause = self.random.choice((0.0, 0.01, 0.02, 0.05, 0.2))
        self.dag.steps[number] = Step(number, kind, deed, inputs, after, pause=pause, times=times)
        if deed not in GOOD or not self.spoilt.isdisjoint(inputs + after):
            self.spoilt.add(number)
        return number

    def add_block(self, known, depth, sound):
        number = self.reserve()
        inputs, after = self.choose(known, only_good=self.random.random() < 0.6)
        sound = sound and self.spoilt.isdisjoint(inputs + after)
        members, inner = [], list(inputs)
        for _ in range(self.random.randint(3, 8)):
            if len(self.dag.steps) < self.size:
                members.append(self.add(inner, depth + 1, sound))
                inner.append(members[-1])
        step = Step(number, Kind.BLOCK, inputs=inputs, after=after, members=tuple(members))
        self.dag.steps[number] = step
        if not sound or not self.spoilt.isdisjoint(members):
            self.spoilt.add(number)
        return number

    def reserve(self):
        """The next number, whose place in the order is before the members."""
        number = len(self.dag.steps)
        self.dag.steps[number] = Step(number, Kind.BLOCK)
        return number

    def choose(self, known, only_good):
        """What a step depends on: mostly little and late, sometimes much, sometimes what many others do."""
        good = [each for each in known if each not in self.spoilt]
        bad = [each for each in known if each in self.spoilt]
        wide = self.random.random() < 0.04
        count = self.random.randint(10, 30) if wide else self.random.choice((0, 1, 1, 2, 2, 3))
        late = good if wide else [*good[:_HUBS], *good[-40:]]
        chosen = self.random.sample(late, min(count, len(late)))
        if bad and not only_good and self.random.random() < 0.25:
            chosen.insert(self.random.randint(0, len(chosen)), self.random.choice(bad))
        cut = len(chosen) - (self.random.random() < 0.15 and len(chosen) > 1)
        return tuple(chosen[:cut]), tuple(chosen[cut:])
