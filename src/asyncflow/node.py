"""One call: what it is, where it stands, what it waits for."""

import asyncio
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from asyncflow.options import TaskOptions
from asyncflow.pickles import FunctionPickle
from asyncflow.recipe import Kind, Recipe
from asyncflow.states import FINAL, TaskState

if TYPE_CHECKING:
    from asyncflow.futures import TaskFuture


class Outcome(NamedTuple):
    """What a backend says of a call.

    Attributes
    ----------
    state : TaskState
        RUNNING, DONE, FAILED or CANCELLED.
    value : object
        The value, where `has_value`; a DONE without one means that it can be fetched.
    error : BaseException or None
        What the call failed with.
    origin : str
        The key of the call that failed by itself; another call's where a dependency failed.
    """

    state: TaskState
    value: Any = None
    has_value: bool = False
    error: BaseException | None = None
    origin: str = ""


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
        "block",
        "cause",
        "dependents",
        "error",
        "future",
        "is_ready",
        "key",
        "kind",
        "kwargs",
        "loop",
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

    def finish(self, state: TaskState) -> None:
        """Enter a final state and let go of what only unfinished calls need."""
        self.state = state
        self.upstream, self.dependents = [], []
        self.args, self.kwargs, self.packed, self.pickle, self.block = (), {}, None, None, None
        self.resolve()

    def resolve(self) -> None:
        """Tell those who wait to know what became of it."""
        callbacks, self.resolved = self.resolved, []
        for callback in callbacks:
            callback()


def _nobody() -> None:
    return None
