"""Blocks: coroutines on the driver that compose tasks, themselves called like tasks."""

import asyncio
import functools
import inspect
import time
from collections.abc import Callable, Sequence
from typing import Any

from asyncflow.arguments import fill
from asyncflow.backends.base import ExecutionBackend
from asyncflow.carrier import attached
from asyncflow.dispatch import Dispatch
from asyncflow.failures import carried
from asyncflow.futures import TaskFuture
from asyncflow.logs import Body, inside
from asyncflow.measure import Measure
from asyncflow.node import Node, Outcome
from asyncflow.options import TaskOptions
from asyncflow.recipe import Kind, Recipe
from asyncflow.scopes import Scope, current_scope, entered
from asyncflow.states import TaskState


class BlockRunner(ExecutionBackend):
    """Runs the coroutines of blocks as asyncio tasks of the loop on which each was called."""

    def __init__(self, uid: str) -> None:
        super().__init__("blocks")
        self._uid = uid
        self._tasks: set[asyncio.Task[None]] = set()

    def submit(self, nodes: Sequence[Node]) -> None:
        """Start the coroutines; everything they depend on is a value by now."""
        for node in nodes:
            task = node.remote = asyncio.get_running_loop().create_task(self._run(node), name=node.key)
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def cancel(self, nodes: Sequence[Node]) -> None:
        """Cancel the coroutines."""
        for node in nodes:
            task: asyncio.Task[None] | None = node.remote
            if task is not None and task is not _current_task():  # a block may cancel its own future
                task.cancel()

    async def _run(self, node: Node) -> None:
        began = time.time()
        self.post([(node, Outcome(TaskState.RUNNING, measure=Measure(began, began)))])
        args, kwargs = fill(node.args, node.kwargs, [])
        try:
            # Members belong to the block's own workflow unless they were given another.
            scope, body = Scope(node.workflow_id or node.key, node), Body(self._uid, node.name, node.key)
            with entered(self._uid, scope), inside(body), attached(node.carrier):
                value = await node.recipe.function(*args, **kwargs)
        except asyncio.CancelledError:
            outcome = Outcome(TaskState.CANCELLED)
        except BaseException as error:
            outcome = Outcome(TaskState.FAILED, error=carried(error, node.name), origin=node.key)
        else:
            outcome = Outcome(TaskState.DONE, value, has_value=True)
        node.remote = None
        node.owner.settle(node, outcome._replace(measure=Measure(began, time.time())))


class Block:
    """A decorated coroutine function: calling it starts it on this loop and returns a future at once."""

    def __init__(self, dispatch: Dispatch, function: Callable[..., Any], options: TaskOptions, engine: object) -> None:
        if not inspect.iscoroutinefunction(function):
            name = getattr(function, "__name__", repr(function))
            raise TypeError(f"a block is a coroutine on the driver; write `async def {name}(...)`")
        functools.update_wrapper(self, function)
        self._dispatch = dispatch
        self._engine = engine  # kept, not used: an engine closes when nobody can call its tasks any more
        self._options = options
        self._recipe = Recipe(function, Kind.BLOCK, options.name or function.__name__)

    @property
    def __asyncflow_function__(self) -> Callable[..., Any]:
        """What it was made of, for those who ask what a function that names it is."""
        return self._recipe.function

    def __call__(self, *args: Any, **kwargs: Any) -> TaskFuture:
        """Start the block; futures among the arguments arrive as their values."""
        self._dispatch.check_open(self._recipe.name)
        scope = current_scope(self._dispatch.uid)
        workflow_id = self._options.workflow_id or scope.workflow_id
        return self._dispatch.call(self._recipe, None, self._options, args, kwargs, scope.block, workflow_id)


def _current_task() -> asyncio.Task[Any] | None:
    try:
        return asyncio.current_task()
    except RuntimeError:
        return None
