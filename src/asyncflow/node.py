"""One call: what it is, where it stands, what it waits for."""

import asyncio
import weakref
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from asyncflow.errors import CheckpointError
from asyncflow.measure import Measure
from asyncflow.options import TaskOptions
from asyncflow.pickles import FunctionPickle
from asyncflow.recipe import Kind, Recipe
from asyncflow.states import FINAL, TaskState

if TYPE_CHECKING:
    from asyncflow.futures import TaskFuture
    from asyncflow.identity import FunctionIdentity, Identity
    from asyncflow.keep import Ticket


class Outcome(NamedTuple):
    """What a backend says of a call.

    Attributes
    ----------
    state : TaskState
        RUNNING, DONE, FAILED or CANCELLED; PENDING where an attempt came to nothing and another follows, or where it
        waits on its backend.
    value : object
        The value, where `has_value`; a DONE without one means that it can be fetched. Of a PENDING the facts for the
        event `TaskRetried`, or how it is `Queued`.
    error : BaseException or None
        What the call failed with.
    origin : str
        The key of the call that failed by itself; another call's where a dependency failed.
    is_lost : bool
        Whether a failed call was lost with its workers, and how often has not been held against its options yet.
    about : str
        The key that this is about, where a call that was sent again may be spoken of under its earlier one; empty
        where that cannot be.
    measure : Measure or None
        What the attempt took, or of a RUNNING when it began; None where nobody wants to know or nobody knows.
    again : int or None
        Of a PENDING: it was lost along with others, and has to be sent again; so many workers were lost under it.
    """

    state: TaskState
    value: Any = None
    has_value: bool = False
    error: BaseException | None = None
    origin: str = ""
    is_lost: bool = False
    about: str = ""
    measure: Measure | None = None
    again: int | None = None


class Owner(Protocol):
    """Who keeps a node's books: the dispatch of an engine."""

    def want(self, node: "Node") -> None:
        """Somebody is interested in the value."""

    def cancel(self, node: "Node", message: Any) -> None:
        """Somebody cancelled the future."""

    def settle(self, node: "Node", outcome: Outcome) -> None:
        """A backend says what came of the call; on the loop of the call."""


class Node:
    """One call.

    A node holds its upstream nodes only until it is finished, so that a chain of a million calls is not kept by its
    last link; the values of finished calls are held by their futures and by unfinished dependents alone.
    """

    __slots__ = (
        "__weakref__",
        "alias",
        "args",
        "awaited",
        "backend",
        "begun",
        "block",
        "carrier",
        "cause",
        "code",
        "dependents",
        "error",
        "failed_before",
        "fallback",
        "future",
        "identity",
        "is_ready",
        "key",
        "kind",
        "known_by",
        "kwargs",
        "loop",
        "lost_before",
        "measure",
        "name",
        "number",
        "options",
        "owner",
        "packed",
        "pickle",
        "recipe",
        "remote",
        "resolved",
        "state",
        "ticket",
        "upstream",
        "value",
        "wanted",
        "way",
        "workflow_id",
    )

    def __init__(
        self,
        number: int,
        key: str,
        recipe: Recipe,
        pickle: FunctionPickle | None,
        owner: Owner,
        loop: asyncio.AbstractEventLoop,
        options: TaskOptions,
    ) -> None:
        self.number = number  #: calls of one engine are numbered as they are made: dependents have larger numbers
        self.key = key
        self.name = recipe.name
        self.kind: Kind = recipe.kind
        self.recipe = recipe
        self.pickle = pickle
        self.owner = owner
        self.loop = loop
        self.options = options
        self.state = TaskState.PENDING
        self.is_ready = False  #: all it depends on is on its own backend, and it is on its way there
        self.backend: Any = None  #: the backend it was routed to
        self.args: tuple[Any, ...] = ()  #: with a `Ref` where a dependency's value belongs
        self.kwargs: dict[str, Any] = {}
        self.upstream: list[Node] = []  #: in the order of the refs, then those of ``after``
        self.dependents: list[Node] = []
        self.resolved: list[Callable[[], None]] = []  #: called at the next of: ready, alias known, final
        self.block: Node | None = None  #: the block it was called in
        self.workflow_id: str | None = None
        self.packed: Any = None  #: what the backend made of function and arguments
        self.code: dict[str, str] | CheckpointError | None = None  #: what its function is, where results are kept
        self.fallback: tuple[tuple[Any, ...], dict[str, Any], list[Node]] | None = None  #: see `is_found`
        self.identity: Identity | CheckpointError | None = None  #: what it is, where results are kept
        self.known_by: FunctionIdentity | None = None  #: tells what its function is, where results are kept
        self.ticket: Ticket | None = None  #: where its result is kept
        self.failed_before = 0  #: how often it failed and was sent again with other options
        self.lost_before = 0  #: how often it was sent again after its worker was lost
        self.begun = 0.0  #: when its body last began, as far as that was told
        self.measure: Measure | None = None  #: what its last attempt took
        self.carrier: Mapping[str, str] | None = None  #: where spans of its body belong, where anybody traces
        self.remote: Any = None  #: the backend's handle; letting go of it releases the value
        self.value: Any = None  #: the value, where the backend keeps values in this process
        self.alias: TaskFuture | None = None  #: the future that a block returned
        self.error: BaseException | None = None  #: what the call failed with
        self.way: list[str] = []  #: of a failed call: the names from its dependency down to the cause
        self.cause = ""  #: of a failed call: the key of the call that failed by itself
        self.future: Callable[[], TaskFuture | None] = _nobody
        self.wanted: TaskFuture | None = None  #: the future, held while somebody waits for its value
        self.awaited = False  #: somebody showed interest at some time

    def bind(self, future: "TaskFuture") -> None:
        """`future` is what the call returned; users own it."""
        self.future = weakref.ref(future)

    @property
    def is_final(self) -> bool:
        """Whether nothing more will happen to it."""
        return self.state in FINAL

    @property
    def is_found(self) -> bool:
        """Whether its result was kept by an earlier run, and nobody has needed it yet.

        Its `fallback` then is what it would have been sent with: arguments and upstream, for a result that turns out
        to be damaged.
        """
        return self.fallback is not None and self.state is TaskState.DONE

    def finish(self, state: TaskState) -> None:
        """Enter a final state and let go of what only unfinished calls need."""
        self.state = state
        self.upstream, self.dependents = [], []
        self.args, self.kwargs, self.packed, self.pickle, self.block = (), {}, None, None, None
        self.fallback = self.code = None
        self.resolve()

    def resolve(self) -> None:
        """Tell those who wait to know what became of it."""
        callbacks, self.resolved = self.resolved, []
        for callback in callbacks:
            callback()


def _nobody() -> None:
    return None
