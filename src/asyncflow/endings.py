"""How calls end: with a value, with an error that knows the way to its cause, or cancelled with what hangs on it."""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

from asyncflow.call import RemoteFailure
from asyncflow.errors import DependencyFailureError
from asyncflow.failures import told, unpack
from asyncflow.futures import TaskFuture, is_here
from asyncflow.ledger import Ledger
from asyncflow.node import Node, Outcome
from asyncflow.recipe import Kind
from asyncflow.states import TaskState

logger = logging.getLogger("asyncflow")


class Endings:
    """Brings calls to their end, in the books, for their futures and at their backends.

    Parameters
    ----------
    ledger : Ledger
        The books.
    fetch : callable
        Asks for the value of a call that is DONE and awaited.
    landed : callable
        Told of each call that ends.
    """

    def __init__(self, ledger: Ledger, fetch: Callable[[Node], None], landed: Callable[[Node], object]) -> None:
        self._ledger = ledger
        self._fetch = fetch
        self._landed = landed

    def succeed(self, node: Node, outcome: Outcome) -> None:
        """`node` is DONE, with or without its value."""
        if isinstance(outcome.value, TaskFuture) and node.kind is Kind.BLOCK:
            self._become(node, outcome.value)
            return
        self._close(node, TaskState.DONE)
        if outcome.has_value:
            self._deliver(node, outcome.value)
        elif node.awaited:
            self._fetch(node)

    def _close(self, node: Node, state: TaskState) -> None:
        self._ledger.close(node, state)
        self._landed(node)

    @staticmethod
    def _deliver(node: Node, value: Any) -> None:
        future = node.future()
        node.wanted = None
        if future is not None and not is_here(future):
            future.set_result(value)

    def settle_late(self, node: Node, outcome: Outcome) -> None:
        """A fetched value, or the reason why it could not be fetched."""
        if node.state is not TaskState.DONE:
            return
        if outcome.has_value:
            self._deliver(node, outcome.value)
        elif outcome.state is TaskState.FAILED and outcome.error is not None:
            future = node.future()
            node.wanted = None
            if future is not None and not is_here(future):
                node.state, node.error = TaskState.FAILED, opened(outcome.error)
                future.set_exception(node.error)

    def _become(self, block: Node, inner: TaskFuture) -> None:
        """`block` returned `inner`: from now on it is what that is, and only interest fetches it."""
        while inner.node.alias is not None:
            inner = inner.node.alias
        block.alias = inner
        block.resolve()
        inner_node = inner.node
        if block.awaited:
            follow(inner, block)

        def finish() -> None:
            if block.is_final:
                return
            if not inner_node.is_final:  # only ready
                inner_node.resolved.append(finish)
            elif inner_node.state is TaskState.CANCELLED:
                self.cancel_one(block)
            elif inner_node.state is TaskState.FAILED:
                assert inner_node.error is not None
                block.way, block.cause = inner_node.way, inner_node.cause
                self.fail(block, inner_node.error)
            else:
                self._close(block, TaskState.DONE)

        finish()

    def depend(self, node: Node, upstream: list[Node]) -> bool:
        """Make `upstream` what `node` depends on; False where that ends it, as one of them came to nothing."""
        linked = {each.number for each in node.upstream if not each.is_final}
        node.upstream = upstream
        for each in upstream:
            if each.state is TaskState.FAILED:
                self.fail(node, dependency_error(node, each, each.error))
            elif each.state is TaskState.CANCELLED:
                self.cancel_one(node)
            elif not each.is_final and each.number not in linked:
                each.dependents.append(node)
        return not node.is_final

    def fail_for(self, node: Node, error: BaseException, name: str) -> None:
        """An awaitable called `name`, not a call of ours, raised `error`."""
        node.way = [name]
        self.fail(node, _way_error(node, error))

    def fail(self, node: Node, error: BaseException) -> None:
        """`node` and all that depends on it fail; the dependents are told the way to the cause."""
        node.cause = node.cause or node.key
        stack = [(node, error)]
        failed: list[Node] = []
        while stack:
            current, reason = stack.pop()
            if current.is_final:
                continue
            dependents = sorted(current.dependents, key=lambda each: each.number)
            current.error = reason
            self._close(current, TaskState.FAILED)
            self._ledger.failed(current, reason)
            failed.append(current)
            self._tell_error(current, reason)
            stack.extend((each, dependency_error(each, current, reason)) for each in dependents if not each.is_final)
        self._drop(failed)

    @staticmethod
    def _tell_error(node: Node, error: BaseException) -> None:
        future = node.future()
        node.wanted = None
        if future is None or is_here(future):
            return
        if node.loop is running_loop():
            future.set_exception(error)
        elif not node.loop.is_closed():
            node.loop.call_soon_threadsafe(future._settle_error, error)  # noqa: SLF001 - futures have one friend

    def cancel(self, node: Node, message: Any) -> None:
        """Cancel `node`, what depends on it, and for a block its members, to any depth."""
        doomed = self._doomed(node)
        for each in reversed(doomed):
            self._close(each, TaskState.CANCELLED)
            future = each.future()
            each.wanted = None
            if future is not None and each is not node:
                if each.loop is running_loop():
                    future._settle_cancel(message)  # noqa: SLF001 - futures have one friend
                elif not each.loop.is_closed():
                    each.loop.call_soon_threadsafe(future._settle_cancel, message)  # noqa: SLF001
        if node.state is TaskState.DONE:  # finished, and its value now unwanted
            node.state = TaskState.CANCELLED
        self._drop(reversed(doomed))

    def _doomed(self, node: Node) -> list[Node]:
        """`node` and all that ends with it, each after what it depends on."""
        found = {node.key: node} if not node.is_final else {}
        stack = list(found.values())
        while stack:
            current = stack.pop()
            more = [*current.dependents, *(self._ledger.members(current) if current.kind is Kind.BLOCK else ())]
            for each in more:
                if not each.is_final and each.key not in found:
                    found[each.key] = each
                    stack.append(each)
        return sorted(found.values(), key=lambda each: each.number)

    def cancel_one(self, node: Node) -> None:
        """`node` is cancelled though its user did not ask: something it needs was."""
        future = node.future()
        if future is not None:
            future.cancel()
        else:
            self.cancel(node, None)

    def _drop(self, nodes: Iterable[Node]) -> None:
        for backend, group in by_backend(nodes).items():
            try:
                backend.cancel(group)
            except Exception:
                logger.exception("backend %r could not cancel %d calls", backend.name, len(group))


def dependency_error(node: Node, upstream: Node, error: BaseException | None) -> DependencyFailureError:
    node.way = [upstream.name, *upstream.way]
    node.cause = upstream.cause
    root = error.root_cause if isinstance(error, DependencyFailureError) else error
    return _way_error(node, root)


def _way_error(node: Node, root: BaseException | None) -> DependencyFailureError:
    way = " <- ".join([node.name, *node.way])
    cause = f": {told(root)}" if root is not None else ""
    return DependencyFailureError(f"cannot run {node.name!r} due to dependency failure: {way}{cause}", node.way, root)


def opened(error: BaseException | None) -> BaseException:
    if isinstance(error, RemoteFailure):
        return unpack(error.chain)
    return error if error is not None else RuntimeError("a backend reported a failure without an error")


def follow(inner: TaskFuture, block: Node) -> None:
    """Bring value or error of `inner` to the future of `block`, somebody wants it."""
    future = block.future()
    if future is None or is_here(future):
        return
    block.wanted = future

    def copy(done: "asyncio.Future[Any]") -> None:
        block.wanted = None
        if is_here(future):
            return
        if done.cancelled():
            future._settle_cancel(None)  # noqa: SLF001 - futures have one friend
        elif (error := done.exception()) is not None:
            future.set_exception(error)
        else:
            future.set_result(done.result())

    inner.add_done_callback(copy)


def by_backend(nodes: Iterable[Node]) -> dict[Any, list[Node]]:
    groups: dict[Any, list[Node]] = defaultdict(list)
    for node in nodes:
        if node.backend is not None:
            groups[node.backend].append(node)
    return groups


def running_loop() -> asyncio.AbstractEventLoop | None:
    """The event loop that runs in this thread; None where none does."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
