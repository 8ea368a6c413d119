"""Calls registered, routed, settled and cancelled; the policy of one engine, with no thread and no I/O of its own."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from asyncflow.again import Again
from asyncflow.backends.base import ExecutionBackend
from asyncflow.batch import Batch
from asyncflow.crossing import Crossing
from asyncflow.endings import Endings, by_backend, follow, opened, running_loop
from asyncflow.errors import BackendNameError, EngineClosedError, NoEventLoopError, RefusedError
from asyncflow.flight import Flight
from asyncflow.futures import TaskFuture, is_here
from asyncflow.identity import FunctionIdentity
from asyncflow.keeping import Keeping
from asyncflow.ledger import Ledger, task_name
from asyncflow.links import Links
from asyncflow.narration import Narrator
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
    keeping : Keeping
        The run directory and the results that are kept.
    max_in_flight : int
        How many calls may be at the backends at once; the others wait here.
    """

    def __init__(
        self,
        uid: str,
        backends: Sequence[ExecutionBackend],
        blocks: ExecutionBackend,
        keeping: Keeping,
        max_in_flight: int,
    ) -> None:
        self.uid = uid
        self.backends = {backend.name: backend for backend in backends}
        self.default = backends[0]
        self.ledger = Ledger(keeping.events)
        self.crossing = Crossing()
        self._blocks = blocks
        self._batch = Batch(self._flush)
        self._flight = Flight(max_in_flight, self._batch.wake)
        self._endings = Endings(self.ledger, self._batch.want, self._flight.landed)
        self._again = Again(self.ledger, self._endings, self._flight, self._batch, self._source, keeping.recognise)
        self._links = Links(self, self._endings, self._ready, self.ledger.sketch)
        self.keeping = keeping
        self.events = keeping.events
        self._narrator = Narrator(keeping.events, self.ledger.accounts)
        self.closed = False
        self._held_back: set[Node] = set()
        for backend in (*backends, blocks):
            backend.connect(uid, self.crossing.post, self.events.tell, self.ledger.accounts.note, self.ledger.stem)
        self.events.when_heard(self._listen)

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
        code: FunctionIdentity | None = None,
    ) -> TaskFuture:
        """Register a call; what is wrong with this call alone comes out of its future."""
        backend = self._blocks if recipe.kind is Kind.BLOCK else self.backends.get(options.backend or self.default.name)
        number, key = self.ledger.new_key(recipe.name)
        node = Node(number, key, recipe, pickle, self, asyncio.get_running_loop(), options)
        node.block, node.workflow_id, node.backend = block, workflow_id, backend
        future = TaskFuture(node)
        self.ledger.open(node)
        self.ledger.sketch.called(node)
        self._narrator.called(node, args, kwargs)
        try:
            if backend is None:
                raise self._no_such_backend(options.backend)
            self._check_kind(node, backend)
            before = self.keeping.before(node, code, args, kwargs)
            if before is None:
                self._links.make(node, args, kwargs)
            else:
                self._links.make_after(before, node)
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

    def _ready(self, node: Node) -> None:
        """All that `node` depends on is on its own backend."""
        self._narrator.resolved(node)
        try:
            if node.code is not None:
                self.keeping.identify(node)
                if self.keeping.has(node):
                    self._find(node)
                    return
                self._endings.depend(node, [self._source(each) for each in node.upstream])
        except Exception as error:
            self._endings.fail(node, error)
        else:
            self._again.send(node)

    # Results that an earlier run has kept

    def _find(self, node: Node) -> None:
        """`node` is done: its result is there, and is read when somebody needs it."""
        assert node.ticket is not None
        fallback, pickle = (node.args, node.kwargs, node.upstream), node.pickle
        resolved, node.resolved = node.resolved, []  # who is told must see where the value is
        self._narrator.found(node, node.ticket.key)
        self.ledger.close(node, TaskState.DONE)
        node.fallback, node.pickle, node.ticket = fallback, pickle, node.ticket._replace(only_read=True)
        node.resolved = resolved
        node.resolve()
        if node.awaited:
            self.want(node)

    def _source(self, node: Node) -> Node:
        """The call that has the value of `node`: where that was found, one that reads it."""
        while node.alias is not None:
            node = node.alias.node
        if not node.is_found:
            return node
        loop = running_loop() or node.loop
        _, key = self.ledger.new_key(node.name)
        reader = Node(node.number, key, node.recipe, node.pickle, self, loop, node.options)
        reader.backend, reader.workflow_id = node.backend, node.workflow_id
        reader.identity, reader.ticket, reader.known_by = node.identity, node.ticket, node.known_by
        reader.fallback, node.fallback, node.pickle = node.fallback, None, None
        node.alias = TaskFuture(reader)
        self.ledger.open(reader)
        self._again.send(reader)
        return reader

    # What is handed to backends at the end of a turn

    def _flush(self, calls: list[Node], wants: list[Node]) -> None:
        once = list(dict.fromkeys(reversed(calls)))[::-1]  # one that is sent again in the turn of its call counts last
        for backend, nodes in by_backend(self._flight.admit(once)).items():
            self._narrator.submitted(nodes)
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

    def _listen(self) -> None:
        for backend in self.backends.values():
            backend.listen()

    # What users and backends say of a call

    def want(self, node: Node) -> None:
        """Somebody is interested in the value of `node`."""
        if node.is_found:
            self._source(node)
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
        if outcome.about not in {"", node.key} or node in self._held_back:
            return  # of an attempt under an earlier key, or one that was taken back
        if node.is_final:
            self._endings.settle_late(node, outcome)
        elif outcome.state is TaskState.RUNNING:
            node.state = TaskState.RUNNING
            self._narrator.running(node, outcome)
        elif outcome.state is TaskState.PENDING:
            self._pend(node, outcome)
        elif outcome.state is TaskState.DONE:
            node.measure = outcome.measure
            self.keeping.done(node)
            self._endings.succeed(node, outcome)
        elif outcome.state is TaskState.CANCELLED:
            self._endings.cancel_one(node)
        else:
            self._fail(node, outcome)

    def _pend(self, node: Node, outcome: Outcome) -> None:
        if outcome.again is None:
            self._narrator.pending(node, outcome)
        else:
            self._again.send_anew(node, outcome.again)

    def _fail(self, node: Node, outcome: Outcome) -> None:
        if outcome.origin in {"", node.key}:
            error = opened(outcome.error)
            node.measure = outcome.measure
            if not self._again.take(node, error, is_lost=outcome.is_lost):
                self._endings.fail(node, error)
        elif not self.ledger.is_open(outcome.origin):  # it was done, was lost with its worker, and failed this time
            self._endings.fail_for(node, opened(outcome.error), task_name(outcome.origin))
        # Otherwise a dependency failed, whose own message is on its way and will say so with the way to it.

    def cancel(self, node: Node, message: Any) -> None:
        """Cancel `node`, what depends on it, and for a block its members, to any depth."""
        self._endings.cancel(node, message)

    def cancel_all(self) -> None:
        """Cancel every unfinished call."""
        for node in self.ledger.unfinished():
            self._endings.cancel_one(node)

    # The end of the engine while calls run

    @property
    def in_flight(self) -> int:
        """How many calls are at the backends."""
        return len(self._flight)

    def hold_back(self) -> None:
        """Let nothing begin any more: what is at a backend and has not begun is taken back, and stays pending."""
        self._flight.ground()
        pending = [node for node in self.ledger.unfinished() if node.state is TaskState.PENDING]
        held = [node for node in pending if node in self._flight]
        self._held_back.update(held)
        for backend, nodes in by_backend(reversed(held)).items():
            backend.cancel(nodes)
        for node in held:
            self._flight.landed(node)

    async def quiet(self) -> None:
        """Wait until no call is at a backend."""
        await self._flight.quiet()

    def go_on(self) -> None:
        """Let calls begin again."""
        self._flight.ground(is_over=True)
