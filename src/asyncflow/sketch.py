"""What has been called, how it ended, and what depends on what: bounded, and kept whether or not anybody looks."""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from asyncflow.errors import DependencyFailureError
from asyncflow.failures import told
from asyncflow.node import Node
from asyncflow.recipe import Kind
from asyncflow.states import FINAL, TaskState

#: Calls that are remembered one by one: the latest.
RECENT = 100

#: Names of tasks that are told apart; those that come later are counted together.
NAMES = 200

#: Pairs of names of which is known that one depends on the other.
PAIRS = 2000

#: What tasks are called whose names came too late.
OTHERS = "(others)"

_ERRORS = 3
_MAX_ERROR = 300  # characters

#: How many calls of one name are in which state.
Counts = dict[TaskState, int]


class Failure(NamedTuple):
    """A call that failed by itself: the id of the call, the name of its task, and what with."""

    id: str
    name: str
    error: str


@dataclass(slots=True)
class Call:
    """One call; not its node, so that it keeps neither arguments nor value alive.

    Attributes
    ----------
    upstream : tuple of int
        Numbers of the calls that it depends on.
    block : int
        Number of the block that it was made in; 0 where it was in none.
    state : TaskState
        Final, or PENDING for whatever has not ended.
    """

    number: int
    name: str
    is_block: bool
    block: int
    upstream: tuple[int, ...] = ()
    state: TaskState = TaskState.PENDING


@dataclass(slots=True)
class Picture:
    """What `Sketch` knows at one instant.

    Attributes
    ----------
    counts : dict
        Of each name, in the order of first calls.
    blocks : set of str
        Names that are blocks.
    calls : list of Call
        The latest, in order, with the states they have.
    pairs : dict
        How many edges run from calls of one name to those of another; with True as third, how many calls of the second
        were made inside blocks of the first.
    failures : list of Failure
        The latest.
    """

    counts: dict[str, Counts] = field(default_factory=dict)
    blocks: set[str] = field(default_factory=set)
    calls: list[Call] = field(default_factory=list)
    pairs: dict[tuple[str, str, bool], int] = field(default_factory=dict)
    failures: list[Failure] = field(default_factory=list)

    @property
    def total(self) -> int:
        """How many calls there have been."""
        return sum(sum(counts.values()) for counts in self.counts.values())

    @property
    def ended(self) -> int:
        """How many of them have come to an end, whatever end."""
        return sum(count for counts in self.counts.values() for state, count in counts.items() if state in FINAL)


class Sketch:
    """Notes calls, edges and ends; each costs a few entries in dicts, and the whole has bounds.

    Calls that have not ended are not counted here: the ledger has them.
    """

    def __init__(self) -> None:
        self._recent: dict[int, Call] = {}
        self._names: dict[str, bool] = {}  # whether it is a block's
        self._ended: dict[tuple[str, TaskState], int] = {}
        self._pairs: dict[tuple[str, str, bool], int] = {}
        self._failures: deque[Failure] = deque(maxlen=_ERRORS)

    def called(self, node: Node) -> None:
        """`node` is a new call."""
        block, is_block = node.block, node.kind is Kind.BLOCK
        name = self._known(node.name, is_block=is_block)
        recent = self._recent
        recent[node.number] = Call(node.number, node.name, is_block, block.number if block is not None else 0)
        if len(recent) > RECENT:
            recent.pop(next(iter(recent)), None)
        if block is not None:
            self._pair(self._known(block.name, is_block=True), name, True)

    def linked(self, node: Node, upstream: Iterable[Node]) -> None:
        """`node` depends on these."""
        name = self._known(node.name)
        numbers = []
        for each in upstream:
            self._pair(self._known(each.name), name, False)
            if each.number in self._recent:  # of others there is nothing to draw an edge from
                numbers.append(each.number)
        call = self._recent.get(node.number)
        if call is not None:
            call.upstream = tuple(numbers)

    def ended(self, node: Node, state: TaskState) -> None:
        """`node` has come to its final `state`."""
        if is_reader(node):
            return
        key = (self._known(node.name), state)
        self._ended[key] = self._ended.get(key, 0) + 1
        call = self._recent.get(node.number)
        if call is not None:
            call.state = state

    def failed(self, node: Node, error: BaseException) -> None:
        """`node` failed by itself; of a block that only passes on what happened inside, nothing is noted."""
        if isinstance(error, DependencyFailureError):
            return
        self._failures.append(Failure(node.key, node.name, told(error)[:_MAX_ERROR]))

    def picture(self, unfinished: Iterable[Node]) -> Picture:
        """What is known now, with the calls that are `unfinished`; from any thread."""
        picture = Picture(
            counts={name: {} for name in list(self._names)},
            blocks={name for name, is_block in list(self._names.items()) if is_block},
            pairs=dict(self._pairs),
            failures=list(self._failures),
        )
        for (name, state), count in dict(self._ended).items():
            picture.counts.setdefault(name, {})[state] = count
        states: dict[int, TaskState] = {}
        for node in unfinished:
            if not (node.is_final or is_reader(node)):
                states[node.number] = node.state
                counts = picture.counts.setdefault(node.name if node.name in self._names else OTHERS, {})
                counts[node.state] = counts.get(node.state, 0) + 1
        picture.calls = [_as_now(call, states) for call in list(self._recent.values())]
        return picture

    def _known(self, name: str, *, is_block: bool = False) -> str:
        if name in self._names:
            return name
        if len(self._names) >= NAMES:
            return OTHERS
        self._names[name] = is_block
        return name

    def _pair(self, source: str, target: str, is_inside: bool) -> None:
        key = (source, target, is_inside)
        count = self._pairs.get(key, 0)
        if count or len(self._pairs) < PAIRS:
            self._pairs[key] = count + 1


def is_reader(node: Node) -> bool:
    """Whether it only reads the result of a call that an earlier run has kept, and so is none of the user's."""
    return node.ticket is not None and node.ticket.only_read


def _as_now(call: Call, states: dict[int, TaskState]) -> Call:
    state = states.get(call.number, call.state)
    return Call(call.number, call.name, call.is_block, call.block, call.upstream, state)
