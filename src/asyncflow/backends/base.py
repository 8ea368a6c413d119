"""The contract of a backend: what dispatch asks of it, and what it may rely on."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterable, Sequence
from types import TracebackType
from typing import Any, ClassVar, NamedTuple, Self

from asyncflow.accounts import Account
from asyncflow.events import Event
from asyncflow.node import Node, Outcome
from asyncflow.options import TaskOptions

Post = Callable[[Iterable[tuple[Node, Outcome]]], None]

#: Takes an event; from any thread.
Tell = Callable[[Event], object]

#: Takes the key of a call that is done, and what it took; from any thread.
TakeAccount = Callable[[str, Account], object]


class Workforce(NamedTuple):
    """How many workers there are, and how many bodies they run at once."""

    workers: int
    slots: int


class ExecutionBackend(ABC):
    """Runs batches of calls.

    A backend is made without side effects, started by `await backend` (or ``async with``, or by the engine it is given
    to) and closed by the engine. All methods but `close` return at once; outcomes go to `post`, which the engine sets
    with `connect` and which may be called from any thread.

    Attributes
    ----------
    name : str
        Unique within an engine; ``backend="name"`` on a task routes to it.
    accounts_later : bool
        Whether `account` says what calls took that are DONE, rather than the outcome itself.
    serves_prompts : bool
        Whether prompt tasks may be routed here.
    """

    serves_prompts: ClassVar[bool] = False

    def __init__(self, name: str) -> None:
        self.name = name
        self.post: Post = _unconnected
        self.tell: Tell = _nobody
        self.account: TakeAccount = _nothing
        self.accounts_later = False
        self.stem = ""
        self._started = False

    def __await__(self) -> Generator[Any, None, Self]:
        """Start, once; awaiting again does nothing."""
        return self._start_once().__await__()

    async def __aenter__(self) -> Self:
        """Start."""
        return await self._start_once()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""
        await self.close()

    def connect(
        self,
        uid: str,
        post: Post,
        tell: Tell | None = None,
        account: TakeAccount | None = None,
        stem: str = "",
    ) -> None:
        """The engine `uid` will submit; it wants outcomes through `post`, and what else is worth a record by `tell`.

        The ids of all its calls, and no other's, have `stem` in them, behind a hyphen.
        """
        self.post = post
        self.stem = stem
        self.tell = tell or _nobody
        self.account = account or _nothing

    def listen(self) -> None:
        """Somebody wants to know what bodies take: measure those that begin from now on; from any thread.

        By default nothing is measured.
        """

    async def start(self) -> None:
        """Open what calls need.

        Raises
        ------
        StartError
            When that does not come up.
        """

    def prepare(self, node: Node) -> None:
        """Make the call ready while its arguments are as they were when it was made (pickle them, for instance).

        Raises
        ------
        SerializationError
            When function or arguments cannot travel; the call fails, and no other.
        """

    def prepare_again(self, node: Node) -> None:
        """Make ready to be sent once more a call that was sent before, and cancelled here.

        Function and arguments are as they were; options, recipe and the keys of upstream calls may have changed. By
        default nothing has to be done.
        """

    @abstractmethod
    def submit(self, nodes: Sequence[Node]) -> None:
        """Run the calls of one loop turn.

        The upstream nodes of each are of this backend and submitted before it, or in the same batch; they may be
        unfinished, and their values are this backend's to hand on.
        """

    @abstractmethod
    def cancel(self, nodes: Sequence[Node]) -> None:
        """Stop and forget these calls, some of which may not be submitted yet; dependents come first in the list."""

    def fetch(self, nodes: Sequence[Node]) -> None:
        """Post the values of these DONE calls; only asked of backends that post DONE without a value."""
        raise NotImplementedError

    def handle(self, node: Node) -> Any:
        """The Dask future of `node`; None outside Dask."""
        del node
        return None

    @property
    def workforce(self) -> Workforce | None:
        """How many workers there are, as far as is known without asking; None where that means nothing."""
        return None

    def refusal(self, options: TaskOptions) -> str | None:
        """Why this backend can never run a task with `options`; None where it can, or cannot know."""
        del options
        return None

    async def close(self, timeout: float = 30.0) -> None:  # noqa: ASYNC109 - a bound on the whole, kept inside
        """Close everything the backend opened and nothing it was given, within `timeout` seconds."""

    def abandon(self) -> None:
        """Close without a loop, within 5 s: the engine was dropped, or the interpreter ends."""

    async def _start_once(self) -> Self:
        if not self._started:
            await self.start()
            self._started = True
        return self


def _nobody(event: Event) -> None:
    """Nobody listens."""


def _nothing(key: str, account: Account) -> None:
    """Nobody keeps books."""


def _unconnected(outcomes: Iterable[tuple[Node, Outcome]]) -> None:
    raise RuntimeError(f"a backend works inside an engine; give it to WorkflowEngine.create(backend=...) ({outcomes})")
