"""A call that waits on the driver: for a plain awaitable, a block, or a value of another backend."""

import asyncio
import inspect
from collections.abc import Callable, Coroutine
from typing import Any

from asyncflow.arguments import Ref, fill
from asyncflow.futures import TaskFuture
from asyncflow.node import Node


class Held:
    """The dependencies of one call, some of which are not known yet.

    Each dependency ends as an edge (a node of the call's own backend) or as a value. When all have, `ready` is called.

    Parameters
    ----------
    node : Node
        The call; its arguments have a `Ref` for each dependency.
    ready : callable
        Called once, when arguments and upstream of `node` are complete.
    failed : callable
        Called with the node and the exception of an awaitable that raised.
    """

    def __init__(
        self, node: Node, ready: Callable[[Node], None], failed: Callable[[Node, BaseException, str], None]
    ) -> None:
        self.node = node
        self._ready = ready
        self._failed = failed
        self._values: dict[int, Any] = {}
        self._edges: dict[int, Node] = {}
        self._missing = 1  # one for `seal`

    def edge(self, index: int, upstream: Node) -> None:
        """Dependency `index` is a call of the same backend."""
        self._edges[index] = upstream

    def wait_for(self, index: int, awaitable: "asyncio.Future[Any] | Coroutine[Any, Any, Any]") -> None:
        """Dependency `index` is the value of `awaitable`."""
        own = inspect.iscoroutine(awaitable)
        future = asyncio.ensure_future(awaitable)
        self._missing += 1
        future.add_done_callback(lambda done: self._came(index, done))
        if own:  # nobody else can end what we have begun
            self.node.resolved.append(lambda: _end(future))

    def wait_until_resolved(self, index: int, block: Node, take: Callable[[int, Node], None]) -> None:
        """Dependency `index` is what `block` will turn out to be; `take` is called when that is known."""
        self._missing += 1

        def resolved() -> None:
            if not self.node.is_final:
                take(index, block)
                self._count_down()

        block.resolved.append(resolved)

    def value(self, index: int, value: Any) -> None:
        """Dependency `index` is `value`."""
        self._values[index] = value

    def seal(self) -> None:
        """All dependencies are named."""
        self._count_down()

    def _came(self, index: int, future: "asyncio.Future[Any]") -> None:
        if self.node.is_final:
            return
        if future.cancelled():
            inner = self.node.future()
            if inner is not None:
                inner.cancel()
            else:
                self.node.owner.cancel(self.node, None)
        elif (error := future.exception()) is not None:
            if not isinstance(future, TaskFuture):  # the failure of a call reaches its dependents by the books
                self._failed(self.node, error, getattr(future, "get_name", lambda: type(future).__name__)())
            elif future.node.owner is not self.node.owner:
                self._failed(self.node, error, future.name)
        else:
            self._values[index] = future.result()
            self._count_down()

    def _count_down(self) -> None:
        self._missing -= 1
        if self._missing == 0:
            self._complete()

    def _complete(self) -> None:
        order = sorted(self._edges)
        places = {index: place for place, index in enumerate(order)}
        count = len(self._edges) + len(self._values)
        exchange = [Ref(places[index]) if index in places else self._values.get(index) for index in range(count)]
        self.node.args, self.node.kwargs = fill(self.node.args, self.node.kwargs, exchange)
        self.node.upstream = [self._edges[index] for index in order]
        self._ready(self.node)


def _end(future: "asyncio.Future[Any]") -> None:
    future.cancel()
