"""Calls that may run now, and the cores they take: a queue without threads of its own."""

import heapq
import threading
from collections.abc import Callable, Iterable
from typing import Any

from asyncflow.node import Node
from asyncflow.stop import Stop


class Work:
    """One call inside this backend, and its value when it has one; freed with the call's future."""

    __slots__ = (
        "arguments",
        "cores",
        "dependents",
        "done",
        "dropped",
        "failed_before",
        "inputs",
        "missing",
        "node",
        "stop",
        "ticket",
        "value",
    )

    def __init__(self, node: Node) -> None:
        self.node = node
        self.arguments: Any = node.packed  # its own hold: cancelling clears the node's, perhaps as the body begins
        self.ticket = node.ticket
        self.cores = node.recipe.cores
        self.inputs: list[Work] = []
        self.dependents: list[Work] = []
        self.missing = 0
        self.failed_before = 0
        self.done = False
        self.dropped = False
        self.value: Any = None
        self.stop = Stop()


class ReadyQueue:
    """Orders calls by dependency, priority and age, and hands out cores; safe from any thread.

    Parameters
    ----------
    cores : int
        How many cores there are to hand out.
    """

    def __init__(self, cores: int) -> None:
        self._free = cores
        self._lock = threading.Lock()
        self._ready: list[tuple[int, int, Work]] = []
        self._active: set[Work] = set()
        self._on_idle: Callable[[], object] | None = None

    def add(self, nodes: Iterable[Node]) -> None:
        """Queue the calls whose inputs are there, remember the others."""
        with self._lock:
            for node in nodes:
                work = node.remote = Work(node)
                work.inputs = [upstream.remote for upstream in node.upstream]
                for upstream in set(work.inputs):
                    if not upstream.done:
                        upstream.dependents.append(work)
                        work.missing += 1
                if work.missing == 0:
                    self._push(work)

    def add_again(self, work: Work) -> None:
        """Queue another attempt."""
        with self._lock:
            self._push(work)

    def take(self) -> Work | None:
        """The next call, its cores taken; None where nothing is ready, or the next needs more cores than are free."""
        with self._lock:
            while self._ready:
                work = self._ready[0][2]
                if work.dropped:
                    heapq.heappop(self._ready)
                    continue
                if work.cores > self._free:  # nothing overtakes it, or it would wait for ever
                    return None
                heapq.heappop(self._ready)
                self._free -= work.cores
                self._active.add(work)
                return work
            return None

    def succeed(self, work: Work, value: Any) -> None:
        """The call has its value: dependents may become ready."""
        with self._lock:
            work.value, work.done = value, True
            work.inputs, work.arguments = [], None
            for dependent in work.dependents:
                dependent.missing -= 1
                if dependent.missing == 0 and not dependent.dropped:
                    self._push(dependent)
            work.dependents = []

    def give_back(self, work: Work) -> None:
        """The body has ended: its cores are free."""
        with self._lock:
            self._free += work.cores
            self._active.discard(work)
            idle = self._on_idle if not self._active else None
        if idle is not None:
            idle()

    def has_more(self) -> bool:
        """Whether more than one call is ready and cores are free, so that another thread is worth waking."""
        return len(self._ready) > 1 and self._free > 1

    def clear(self) -> list[Work]:
        """Forget what has not begun; what runs."""
        with self._lock:
            self._ready.clear()
            return list(self._active)

    def running(self) -> int:
        """How many bodies run."""
        return len(self._active)

    def when_idle(self, callback: Callable[[], object]) -> bool:
        """Call `callback`, from any thread, when nothing runs; False (and no call) where nothing runs now."""
        with self._lock:
            if not self._active:
                return False
            self._on_idle = callback
            return True

    def _push(self, work: Work) -> None:
        heapq.heappush(self._ready, (-work.node.options.priority, work.node.number, work))
