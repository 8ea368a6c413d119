"""Calls registered, routed, settled and cancelled; the policy of one engine, with no thread and no I/O of its own."""

import asyncio
import inspect
from collections.abc import Callable, Sequence
from typing import Any

from asyncflow.arguments import Ref, replace
from asyncflow.backends.base import ExecutionBackend
from asyncflow.batch import Batch
from asyncflow.crossing import Crossing
from asyncflow.endings import Endings, by_backend, dependency_error, follow, opened, running_loop
from asyncflow.errors import BackendNameError, EngineClosedError, NoEventLoopError, RefusedError
from asyncflow.futures import TaskFuture, is_here
from asyncflow.held import Held
from asyncflow.ledger import Ledger
from asyncflow.node import Node, Outcome
from asyncflow.options import TaskOptions
from asyncflow.pickles import FunctionPickle
from asyncflow.recipe import Kind, Recipe
from asyncflow.states import TaskState
from asyncflow.suggest import hint


class Dispatch:
    """Everything that happens to a call between the user and a backend.

    All methods run on the loop of the call they are about; backends speak to it through `crossing`.

    Parameters
    ----------
    uid : str
        The engine's id.
    backends : sequence of ExecutionBackend
        The first is the default.
    blocks : ExecutionBackend
        Runs blocks, on the driver.
    """

    def __init__(self, uid: str, backends: Sequence[ExecutionBackend], blocks: ExecutionBackend) -> None:
        self.uid = uid
        self.backends = {backend.name: backend for backend in backends}
        self.default = backends[0]
        self.ledger = Ledger()
        self.crossing = Crossing()
        self._blocks = blocks
        self._batch = Batch(self._flush)
        self._endings = Endings(self.ledger, self._batch.want)
        self.closed = False
        for backend in (*backends, blocks):
            backend.connect(uid, self.crossing.post)

    # What a call is made of

    def call(
        self,
        recipe: Recipe,
        pickle: FunctionPickle | None,
        options: TaskOptions,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        block: Node | None,
        workflow_id: str | None,
    ) -> TaskFuture:
        """Register a call; what is wrong with this call alone comes out of its future."""
        backend = self._blocks if recipe.kind is Kind.BLOCK else self.backends.get(options.backend or self.default.name)
        number, key = self.ledger.new_key(recipe.name)
        node = Node(number, key, recipe, pickle, self, asyncio.get_running_loop(), options)
        node.block, node.workflow_id, node.backend = block, workflow_id, backend
        future = TaskFuture(node)
        self.ledger.open(node)
        try:
            if backend is None:
                raise self._no_such_backend(options.backend)
            self._check_kind(node, backend)
            self._register(node, args, kwargs, options.after)
        except Exception as error:
            self._endings.fail(node, error)
        return future

    def admit(self, name: str, options: TaskOptions) -> None:
        """Let a task with `options` in; once for each task, before its first call.

        Raises
        ------
        RefusedError
            When no declared pool can ever run it.
        """
        backend = self.backends.get(options.backend or self.default.name)
        reason = backend.refusal(options) if backend is not None else None
        if reason is not None:
            raise RefusedError(f"task {name!r} can never run: it {reason}", reason)

    def check_open(self, name: str) -> None:
        """Refuse calls where they can never be answered.

        Raises
        ------
        EngineClosedError
            After shutdown.
        NoEventLoopError
            Where no event loop runs.
        """
        if self.closed:
            raise EngineClosedError(f"task {name!r} was called after the engine shut down; create a new engine")
        if running_loop() is None:
            raise NoEventLoopError(
                f"task {name!r} was called where no event loop runs; call it inside `async def main(): ...` and start "
                "that with asyncio.run(main()), or with `await main()` in a notebook"
            )

    def _no_such_backend(self, name: str | None) -> BackendNameError:
        known = tuple(self.backends)
        return BackendNameError(f"no backend is called {name!r}; {hint(str(name), known)}", known)

    @staticmethod
    def _check_kind(node: Node, backend: ExecutionBackend) -> None:
        if node.kind is Kind.PROMPT and not backend.serves_prompts:
            raise NotImplementedError(
                f"backend {backend.name!r} does not serve prompts, which task {node.name!r} needs; register one that "
                "does with create(backend=[..., it]) and route the task to it with backend='its name'"
            )

    def _register(self, node: Node, args: tuple[Any, ...], kwargs: dict[str, Any], after: Any) -> None:
        found: list[Any] = []

        def exchange(awaitable: Any) -> Ref:
            for index, known in enumerate(found):
                if known is awaitable:
                    return Ref(index)
            found.append(awaitable)
            return Ref(len(found) - 1)

        node.args, node.kwargs = replace((args, kwargs), _is_awaitable, exchange)
        found.extend(_as_awaitables(after))
        if found:
            self._link(node, found)
        else:
            self._ready(node)

    def _link(self, node: Node, found: list[Any]) -> None:
        """Make edges of what is on the same backend; hold the call while it waits for anything else."""
        held = Held(node, self._ready, self._endings.fail_for)
        for index, awaitable in enumerate(found):
            if isinstance(awaitable, TaskFuture) and awaitable.node.owner is self:
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

    def _ready(self, node: Node) -> None:
        """All that `node` depends on is on its own backend."""
        try:
            node.backend.prepare(node)
        except Exception as error:
            self._endings.fail(node, error)
        else:
            node.is_ready = True
            self._batch.call(node)
            node.resolve()  # dependents that wait for it go behind it

    # What is handed to backends at the end of a turn

    def _flush(self, calls: list[Node], wants: list[Node]) -> None:
        for backend, nodes in by_backend(node for node in calls if not node.is_final).items():
            self._hand_over(backend.submit, nodes)
        for backend, nodes in by_backend(wants).items():
            self._hand_over(backend.fetch, nodes)

    def _hand_over(self, method: Callable[[Sequence[Node]], None], nodes: list[Node]) -> None:
        try:
            method(nodes)
        except Exception as error:
            for node in nodes:
                self.settle(node, Outcome(TaskState.FAILED, error=error))

    def flush(self, loop: asyncio.AbstractEventLoop) -> None:
        """End the turn of `loop` now: somebody needs the backend's handle."""
        self._batch.flush(loop)

    # What users and backends say of a call

    def want(self, node: Node) -> None:
        """Somebody is interested in the value of `node`."""
        if node.alias is not None:
            follow(node.alias, node)
        elif node.state is TaskState.FAILED:
            self.ledger.seen(node)
        elif node.state is not TaskState.CANCELLED:
            future = node.future()
            if future is not None and not is_here(future):
                node.wanted = future
                if node.state is TaskState.DONE:
                    self._batch.want(node)

    def settle(self, node: Node, outcome: Outcome) -> None:
        """A backend says what came of `node`."""
        if node.is_final:
            self._endings.settle_late(node, outcome)
        elif outcome.state is TaskState.RUNNING:
            node.state = TaskState.RUNNING
        elif outcome.state is TaskState.DONE:
            self._endings.succeed(node, outcome)
        elif outcome.state is TaskState.CANCELLED:
            self._endings.cancel_one(node)
        elif outcome.origin in {"", node.key} or not self.ledger.is_open(outcome.origin):
            self._endings.fail(node, opened(outcome.error))
        # Otherwise a dependency failed, whose own message is on its way and will say so with the way to it.

    def cancel(self, node: Node, message: Any) -> None:
        """Cancel `node`, what depends on it, and for a block its members, to any depth."""
        self._endings.cancel(node, message)

    def cancel_all(self) -> None:
        """Cancel every unfinished call."""
        for node in self.ledger.unfinished():
            self._endings.cancel_one(node)


def _is_awaitable(value: Any) -> bool:
    return asyncio.isfuture(value) or inspect.iscoroutine(value)


def _as_awaitables(after: Any) -> list[Any]:
    if after is None or after == ():
        return []
    listed = [after] if _is_awaitable(after) else list(after)
    if wrong := [each for each in listed if not _is_awaitable(each)]:
        raise TypeError(f"option 'after' takes futures; got {wrong[0]!r}")
    return listed
