"""Completions as the Dask client hears of them, without a coroutine or a thread for each."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

from distributed.client import FutureState

from asyncflow.backends.dask.bundle import Bundle
from asyncflow.backends.dask.graph import Sent
from asyncflow.backends.dask.running import Word
from asyncflow.node import Node


class Listener(Protocol):
    """Who wants to hear, on Dask's thread."""

    def on_finished(self, node: Node, key: str, word: Word | None) -> None:
        """The value of `node` is in the cluster's memory, under `key`: its own, unless it was sent again since."""

    def on_erred(self, node: Node, key: str, error: BaseException) -> None:
        """`node`, or something it depends on, failed with `error`."""

    def on_lost_batch(self, sent: Sent) -> None:
        """Dask dropped a whole graph for one lost dependency, perhaps another call's."""

    def on_cancelled(self, node: Node, key: str, reason: str) -> None:
        """The scheduler, or the client on losing it, gave `node` up."""

    def on_bundle_finished(self, bundle: Bundle, words: Sequence[Word]) -> None:
        """The values of `bundle` are in the cluster's memory."""

    def on_bundle_broken(self, bundle: Bundle, reason: str, losses: Mapping[str, int]) -> None:
        """The Dask task of `bundle` came to nothing, cancelled for a `reason` or with an error; `losses` by call."""


class Watch(FutureState):  # type: ignore[misc]
    """The client's record of one key, which every message of the scheduler about that key goes to.

    `distributed.Future` takes the record that the client already has for its key, so putting one of these there first
    is all it takes to be told.
    """

    __slots__ = ("_listener", "_node", "is_resent", "pieces", "sent", "words")

    def __init__(self, node: Node, key: str, listener: Listener) -> None:
        super().__init__(key)
        self._node: Node | None = node
        self._listener = listener
        self.sent: Sent | None = None  #: what was sent, while it may have to be sent again
        self.pieces: list[Any] = []  #: Dask futures of its large arguments, held for calls in later turns
        self.is_resent = False
        self.words: Sequence[Word] = ()  #: what the worker said, which comes before all else

    @property
    def node(self) -> Node | None:
        """The call, while it is unfinished."""
        return self._node

    def finish(self, type: Any = None) -> None:  # noqa: A002 - the name is distributed's
        """The key is in memory."""
        super().finish(type)
        words, self.words = self.words, ()
        if (node := self._let_go()) is not None:
            self._listener.on_finished(node, self.key, words[0] if words else None)

    def set_error(self, exception: Any, traceback: Any) -> None:
        """The key erred."""
        _set_error(super().set_error, exception, traceback)
        if (node := self._let_go()) is not None:
            self._listener.on_erred(node, self.key, self.exception)

    def cancel(self, reason: str | None = None, msg: str | None = None) -> None:
        """The key is no more."""
        super().cancel(reason=reason, msg=msg)
        sent, is_resent = self.sent, self.is_resent
        if (node := self._let_go()) is None:
            return
        if reason == "lost dependencies" and sent is not None and not is_resent:
            self._node, self.sent, self.is_resent = node, sent, True
            self.retry()
            self._listener.on_lost_batch(sent)
        else:
            self._listener.on_cancelled(node, self.key, reason or "")

    def _let_go(self) -> Node | None:
        # From here on the future alone keeps the value alive, and this record nothing of the driver's.
        node, self._node, self.sent, self.pieces = self._node, None, None, []
        return node


class BundleWatch(FutureState):  # type: ignore[misc]
    """The same of the key of a bundle.

    Attributes
    ----------
    bundle : Bundle or None
        While it is unfinished and wanted.
    names : frozenset of str
        The keys of its calls.
    losses : Counter of str
        How many workers were lost under each of them.
    blamed : dict
        The same as it was when the worker was lost, by worker and call: it is told later, with the cause.
    """

    __slots__ = ("_listener", "blamed", "bundle", "losses", "names", "words")

    def __init__(self, key: str, listener: Listener, names: Iterable[str]) -> None:
        super().__init__(key)
        self._listener = listener
        self.bundle: Bundle | None = None
        self.names = frozenset(names)
        self.losses: Counter[str] = Counter()
        self.blamed: dict[tuple[str, str], int] = {}
        self.words: Sequence[Word] = ()

    def finish(self, type: Any = None) -> None:  # noqa: A002 - the name is distributed's
        """The key is in memory."""
        super().finish(type)
        words, self.words = self.words, ()
        if (bundle := self._let_go()) is not None:
            self._listener.on_bundle_finished(bundle, words)

    def set_error(self, exception: Any, traceback: Any) -> None:
        """The key erred."""
        _set_error(super().set_error, exception, traceback)
        if (bundle := self._let_go()) is not None:
            self._listener.on_bundle_broken(bundle, "", self.losses)

    def cancel(self, reason: str | None = None, msg: str | None = None) -> None:
        """The key is no more."""
        super().cancel(reason=reason, msg=msg)
        if (bundle := self._let_go()) is not None:
            self._listener.on_bundle_broken(bundle, reason or "", self.losses)

    def _let_go(self) -> Bundle | None:
        bundle, self.bundle = self.bundle, None
        return bundle


def _set_error(set_error: Callable[[Any, Any], None], exception: Any, traceback: Any) -> None:
    try:
        set_error(exception, traceback)
    except Exception:  # Dask sends a traceback that cannot be pickled as text, and does not expect it here
        set_error(exception, None)
