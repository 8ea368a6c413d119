"""Completions as the Dask client hears of them, without a coroutine or a thread for each."""

from typing import Any, Protocol

from distributed.client import FutureState

from asyncflow.node import Node


class Listener(Protocol):
    """Who wants to hear, on Dask's thread."""

    def on_finished(self, node: Node) -> None:
        """The value of `node` is in the cluster's memory."""

    def on_erred(self, node: Node, error: BaseException) -> None:
        """`node`, or something it depends on, failed with `error`."""

    def on_cancelled(self, node: Node, reason: str) -> None:
        """The scheduler, or the client on losing it, gave `node` up."""


class Watch(FutureState):  # type: ignore[misc]
    """The client's record of one key, which every message of the scheduler about that key goes to.

    `distributed.Future` takes the record that the client already has for its key, so putting one of these there first
    is all it takes to be told.
    """

    __slots__ = ("_listener", "_node")

    def __init__(self, node: Node, listener: Listener) -> None:
        super().__init__(node.key)
        self._node: Node | None = node
        self._listener = listener

    def finish(self, type: Any = None) -> None:  # noqa: A002 - the name is distributed's
        """The key is in memory."""
        super().finish(type)
        node, self._node = self._node, None  # let go: from here on its future alone keeps the value alive
        if node is not None:
            self._listener.on_finished(node)

    def set_error(self, exception: Any, traceback: Any) -> None:
        """The key erred."""
        super().set_error(exception, traceback)
        node, self._node = self._node, None
        if node is not None:
            self._listener.on_erred(node, self.exception)

    def cancel(self, reason: str | None = None, msg: str | None = None) -> None:
        """The key is no more."""
        super().cancel(reason=reason, msg=msg)
        node, self._node = self._node, None
        if node is not None:
            self._listener.on_cancelled(node, reason or "")

    @property
    def node(self) -> Node | None:
        """The call, while it is unfinished."""
        return self._node

    def expect(self, node: Node) -> None:
        """Wait again: the call is sent once more under its key."""
        self._node = node
        self.retry()
