"""Completions as the Dask client hears of them, without a coroutine or a thread for each."""

from typing import Any, Protocol

from distributed.client import FutureState

from asyncflow.backends.dask.graph import Packed
from asyncflow.node import Node


class Listener(Protocol):
    """Who wants to hear, on Dask's thread."""

    def on_finished(self, node: Node, key: str) -> None:
        """The value of `node` is in the cluster's memory, under `key`: its own, unless it was sent again since."""

    def on_erred(self, node: Node, key: str, error: BaseException) -> None:
        """`node`, or something it depends on, failed with `error`."""

    def on_lost_batch(self, node: Node, key: str, packed: Packed) -> None:
        """Dask dropped a whole graph for one lost dependency, perhaps another call's."""

    def on_cancelled(self, node: Node, key: str, reason: str) -> None:
        """The scheduler, or the client on losing it, gave `node` up."""


class Watch(FutureState):  # type: ignore[misc]
    """The client's record of one key, which every message of the scheduler about that key goes to.

    `distributed.Future` takes the record that the client already has for its key, so putting one of these there first
    is all it takes to be told.
    """

    __slots__ = ("_listener", "_node", "is_resent", "packed", "pieces")

    def __init__(self, node: Node, key: str, listener: Listener) -> None:
        super().__init__(key)
        self._node: Node | None = node
        self._listener = listener
        self.packed: Packed | None = None  #: what was sent, while it may have to be sent again
        self.pieces: list[Any] = []  #: Dask futures of its large arguments, held for calls in later turns
        self.is_resent = False

    @property
    def node(self) -> Node | None:
        """The call, while it is unfinished."""
        return self._node

    def finish(self, type: Any = None) -> None:  # noqa: A002 - the name is distributed's
        """The key is in memory."""
        super().finish(type)
        if (node := self._let_go()) is not None:
            self._listener.on_finished(node, self.key)

    def set_error(self, exception: Any, traceback: Any) -> None:
        """The key erred."""
        super().set_error(exception, traceback)
        if (node := self._let_go()) is not None:
            self._listener.on_erred(node, self.key, self.exception)

    def cancel(self, reason: str | None = None, msg: str | None = None) -> None:
        """The key is no more."""
        super().cancel(reason=reason, msg=msg)
        packed, is_resent = self.packed, self.is_resent
        if (node := self._let_go()) is None:
            return
        if reason == "lost dependencies" and packed is not None and not is_resent:
            self._node, self.packed, self.is_resent = node, packed, True
            self.retry()
            self._listener.on_lost_batch(node, self.key, packed)
        else:
            self._listener.on_cancelled(node, self.key, reason or "")

    def _let_go(self) -> Node | None:
        # From here on the future alone keeps the value alive, and this record nothing of the driver's.
        node, self._node, self.packed, self.pieces = self._node, None, None, []
        return node
