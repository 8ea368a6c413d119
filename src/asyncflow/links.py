"""What a call depends on: found in its arguments, and made edges, values, or something to wait for."""

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from typing import Any

from asyncflow.arguments import Ref, is_flat, replace
from asyncflow.endings import Endings, dependency_error
from asyncflow.futures import TaskFuture, is_here
from asyncflow.held import Held
from asyncflow.node import Node, Owner
from asyncflow.recipe import Kind
from asyncflow.sketch import Sketch
from asyncflow.states import TaskState
from asyncflow.waiting import Background


class Links:
    """Links calls to what they depend on; what comes to nothing ends them.

    Parameters
    ----------
    owner : Owner
        Whose calls may be linked by edges; those of others are awaited.
    endings : Endings
        Ends calls whose dependencies have.
    ready : callable
        Given each call when all it depends on is on its own backend, or here as a value.
    sketch : Sketch
        Told of the edges.
    """

    def __init__(self, owner: Owner, endings: Endings, ready: Callable[[Node], None], sketch: Sketch) -> None:
        self._owner = owner
        self._endings = endings
        self._ready = ready
        self._sketch = sketch
        self._background = Background()

    def make(self, node: Node, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Link `node`, which was called with these.

        Raises
        ------
        TypeError
            When ``after`` holds something else than futures.
        """
        if node.options.after == () and is_flat(args, kwargs):
            node.args, node.kwargs = args, kwargs
            self._ready(node)
            return
        found: list[Any] = []
        places: dict[int, int] = {}  # by identity

        def exchange(awaitable: Any) -> Ref:
            place = places.setdefault(id(awaitable), len(found))
            if place == len(found):
                found.append(awaitable)
            return Ref(place)

        node.args, node.kwargs = replace((args, kwargs), _is_awaitable, exchange)
        found.extend(_as_awaitables(node.options.after))
        if found:
            self._link(node, found)
        else:
            self._ready(node)

    def make_after(self, before: Awaitable[tuple[tuple[Any, ...], dict[str, Any]]], node: Node) -> None:
        """Link `node` when `before` has said what it was called with."""
        self._background.start(self._make_after(before, node))

    async def _make_after(self, before: Awaitable[tuple[tuple[Any, ...], dict[str, Any]]], node: Node) -> None:
        try:
            args, kwargs = await before
            if not node.is_final:
                self.make(node, args, kwargs)
        except Exception as error:
            self._endings.fail(node, error)

    def _link(self, node: Node, found: list[Any]) -> None:
        """Make edges of what is on the same backend; hold the call while it waits for anything else."""
        ours = [each.node for each in found if isinstance(each, TaskFuture) and each.node.owner is self._owner]
        self._sketch.linked(node, ours)
        held = Held(node, self._ready, self._endings.fail_for)
        for index, awaitable in enumerate(found):
            if isinstance(awaitable, TaskFuture) and awaitable.node.owner is self._owner:
                self._link_call(held, index, awaitable)
            else:
                held.wait_for(index, awaitable)
            if node.is_final:
                return
        held.seal()

    def _link_call(self, held: Held, index: int, future: TaskFuture) -> None:
        node = held.node
        while future.node.alias is not None:
            future = future.node.alias
        upstream = future.node
        if upstream.state is TaskState.FAILED:
            self._endings.fail(node, dependency_error(node, upstream, upstream.error))
        elif upstream.state is TaskState.CANCELLED:
            self._endings.cancel_one(node)
        else:
            if not upstream.is_final:
                node.upstream.append(upstream)
                upstream.dependents.append(node)
            is_sibling = upstream.backend is node.backend and upstream.kind is not Kind.BLOCK
            if is_sibling and (upstream.is_ready or upstream.is_final):
                held.edge(index, upstream)
            elif not upstream.is_final and (upstream.kind is Kind.BLOCK or is_sibling):
                held.wait_until_resolved(index, upstream, lambda i, _: self._link_call(held, i, future))
            elif is_here(future):
                held.value(index, asyncio.Future.result(future))
            else:
                held.wait_for(index, future)


def _is_awaitable(value: Any) -> bool:
    return asyncio.isfuture(value) or inspect.iscoroutine(value)


def _as_awaitables(after: Any) -> list[Any]:
    if after is None or after == ():
        return []
    listed = [after] if _is_awaitable(after) else list(after)
    if wrong := [each for each in listed if not _is_awaitable(each)]:
        raise TypeError(f"option 'after' takes futures; got {wrong[0]!r}")
    return listed
