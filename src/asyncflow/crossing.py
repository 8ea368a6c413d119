"""From worker threads to the user's loops: one wake-up for a batch of outcomes, not one for each."""

import asyncio
import threading
from collections import deque
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from asyncflow.node import Node, Outcome


class Crossing:
    """Carries outcomes to the loop on which each call was made; safe from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: dict[asyncio.AbstractEventLoop, deque[tuple[Node, Outcome]]] = {}

    def post(self, outcomes: Iterable[tuple["Node", "Outcome"]]) -> None:
        """Hand over `outcomes`; those for a loop that has closed are dropped, as nobody can await there."""
        to_wake = []
        with self._lock:
            for node, outcome in outcomes:
                queue = self._waiting.get(node.loop)
                if queue is None:
                    queue = self._waiting[node.loop] = deque()
                    to_wake.append(node.loop)
                queue.append((node, outcome))
        for loop in to_wake:
            try:
                loop.call_soon_threadsafe(self._deliver, loop)
            except RuntimeError:  # closed
                self._drop(loop)

    def _deliver(self, loop: asyncio.AbstractEventLoop) -> None:
        with self._lock:
            queue = self._waiting.pop(loop, ())
        for node, outcome in queue:
            node.owner.settle(node, outcome)

    def _drop(self, loop: asyncio.AbstractEventLoop) -> None:
        # Books are kept all the same: another loop may wait in shutdown for these calls to be finished.
        self._deliver(loop)
