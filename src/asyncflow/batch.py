"""One loop turn: calls made and values wanted in it are handed over together."""

import asyncio
import threading
from collections.abc import Callable

from asyncflow.node import Node


class Batch:
    """Collects nodes for each loop and flushes them at the end of that loop's turn.

    Parameters
    ----------
    flush : callable
        Given the calls and the wants of one turn, on the loop they belong to.
    """

    def __init__(self, flush: Callable[[list[Node], list[Node]], None]) -> None:
        self._flush = flush
        self._lock = threading.Lock()
        self._turns: dict[asyncio.AbstractEventLoop, tuple[list[Node], list[Node]]] = {}

    def call(self, node: Node) -> None:
        """`node` is ready to be handed to its backend."""
        self._turn(node.loop)[0].append(node)

    def want(self, node: Node) -> None:
        """The value of the finished `node` is wanted."""
        self._turn(node.loop)[1].append(node)

    def wake(self, node: Node) -> None:
        """Flush at the end of the turn of the loop of `node`, whatever is in it."""
        if not node.loop.is_closed():
            self._turn(node.loop)

    def flush(self, loop: asyncio.AbstractEventLoop) -> None:
        """End the turn of `loop` now."""
        with self._lock:
            turn = self._turns.pop(loop, None)
        if turn is not None:
            self._flush(*turn)

    def _turn(self, loop: asyncio.AbstractEventLoop) -> tuple[list[Node], list[Node]]:
        turn = self._turns.get(loop)
        if turn is None:
            with self._lock:
                turn = self._turns[loop] = ([], [])
            loop.call_soon(self.flush, loop)
        return turn
