"""What a call returns: an asyncio future that fetches its value when somebody is interested."""

import asyncio
from collections.abc import Callable, Generator
from contextvars import Context
from typing import Any

from asyncflow.errors import OptionError
from asyncflow.node import Node
from asyncflow.output import read_output
from asyncflow.states import TaskState


class TaskFuture(asyncio.Future[Any]):
    """The future of one call.

    It is an `asyncio.Future` of the loop on which the call was made: `await`, `asyncio.gather`, `asyncio.wait`,
    `asyncio.shield`, callbacks and `cancel` work as they do there. Passing it to another call passes its value, which
    stays on the workers. The value comes to this process when somebody shows interest: awaits, adds a callback, or
    asks `done`, `result` or `exception`. `state` never fetches.
    """

    __slots__ = ("node",)

    def __init__(self, node: Node) -> None:
        super().__init__(loop=node.loop)
        self.node = node
        node.bind(self)

    @property
    def state(self) -> TaskState:
        """Where the call stands; reading it never fetches the value."""
        return self.node.state

    @property
    def id(self) -> str:
        """The call's unique id, which is also its Dask key."""
        return self.node.key

    @property
    def name(self) -> str:
        """The task's name."""
        return self.node.name

    @property
    def workflow_id(self) -> str | None:
        """The workflow the call belongs to."""
        return self.node.workflow_id

    @property
    def dask_future(self) -> Any:
        """The `distributed.Future` behind it; None on backends other than Dask."""
        node = self.node if self.node.alias is None else self.node.alias.node
        return node.backend.handle(node) if node.backend is not None else None

    async def stdout(self) -> str:
        """What the last attempt has written to its standard output so far, also while it runs.

        The file is read in a thread, from this machine: it must lie on a disk that the workers share. Nothing where
        nothing was written, or where an earlier session has kept the result.

        Raises
        ------
        OptionError
            When the task was not asked to capture.
        """
        return await self._written("stdout")

    async def stderr(self) -> str:
        """As `stdout`, of the standard error; a function that raised has left its traceback there."""
        return await self._written("stderr")

    async def log(self) -> str:
        """As `stdout`, of what it has logged."""
        return await self._written("log")

    async def _written(self, stream: str) -> str:
        node = self.node if self.node.alias is None else self.node.alias.node
        if not node.recipe.captures:
            raise OptionError(
                f"the output of task {node.name!r} is not captured; ask for it with capture_stdio=True on the task, or "
                "for all tasks with create(capture_stdio=True)"
            )
        return await asyncio.to_thread(read_output, node.recipe.root, node.key, stream)

    def cancel(self, msg: Any = None) -> bool:
        """Cancel the call, what depends on it, and the work itself.

        A pending task never starts; a command's process group gets TERM, then KILL; a function's result is dropped.
        """
        if super().done():
            return False
        self.node.owner.cancel(self.node, msg)
        return super().cancel(msg) or super().cancelled()

    def done(self) -> bool:
        """Whether value or error are here; asking fetches."""
        self._want()
        return super().done()

    def result(self) -> Any:
        """The value, or the error raised; asking fetches.

        Raises
        ------
        asyncio.InvalidStateError
            When it is not here yet.
        """
        self._want()
        return super().result()

    def exception(self) -> BaseException | None:
        """The error, None where the call succeeded; asking fetches."""
        self._want()
        return super().exception()

    def add_done_callback(self, fn: Callable[[Any], object], *, context: Context | None = None) -> None:
        """Call `fn` with the future when value or error are here; asking fetches."""
        self._want()
        super().add_done_callback(fn, context=context)

    def __await__(self) -> Generator[Any, None, Any]:
        """Wait for the value; waiting fetches."""
        self._want()
        return super().__await__()

    __iter__ = __await__

    def __del__(self) -> None:
        """Nothing: a failure that nobody awaited is told once, when the engine shuts down."""

    def __repr__(self) -> str:
        """Name, id and state."""
        return f"<{type(self).__name__} {self.node.key} {self.node.state}>"

    def _repr_html_(self) -> str:
        """State and, where it failed, the way to the cause; fetches nothing."""
        from asyncflow.notebook.card import call_html

        node = self.node
        return call_html(node.name, node.key, node.state, node.workflow_id, node.error, node.way)

    def _want(self) -> None:
        node = self.node
        if not node.awaited:
            node.awaited = True
            node.owner.want(node)

    def _settle_value(self, value: Any) -> None:
        if not super().done():
            self.set_result(value)

    def _settle_error(self, error: BaseException) -> None:
        if not super().done():
            self.set_exception(error)

    def _settle_cancel(self, msg: Any) -> None:
        super().cancel(msg)


def is_here(future: TaskFuture) -> bool:
    """Whether the value or error has come, without asking for it."""
    return asyncio.Future.done(future)
