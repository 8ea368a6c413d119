"""Coroutines on a private event loop of the thread that runs them.

A worker thread keeps one loop for all coroutine bodies it ever runs: making a loop costs more than most short bodies.
"""

import asyncio
import contextvars
import threading
from collections.abc import Callable, Coroutine
from typing import Any

from asyncflow.stop import Stop


class _ThreadLoop:
    """The loop of one thread."""

    def __init__(self) -> None:
        self.runner = asyncio.Runner(loop_factory=asyncio.new_event_loop)
        self.children: set[asyncio.Task[Any]] = set()
        self.runner.get_loop().set_task_factory(_task_factory(self.children))

    def run(self, body: Coroutine[Any, Any, Any], stop: Stop) -> Any:
        value, error = self.runner.run(self._supervise(body, stop), context=contextvars.copy_context())
        try:
            if error is not None:
                raise error
            return value
        finally:
            del error  # its traceback leads to this frame: a circle that would live until the collector comes

    async def _supervise(self, body: Coroutine[Any, Any, Any], stop: Stop) -> tuple[Any, BaseException | None]:
        # The outcome travels as a value: SystemExit raised out of a task would end the loop that others need.
        me = asyncio.current_task()
        loop = asyncio.get_running_loop()
        assert me is not None
        stop.add(lambda: _cancel_from_outside(loop, me))
        try:
            return await body, None
        except BaseException as error:
            return None, error
        finally:
            await self._end_children(me)

    async def _end_children(self, me: asyncio.Task[Any]) -> None:
        # As asyncio.run does: what the body started and did not await ends with it.
        left = [task for task in self.children if task is not me]
        for task in left:
            task.cancel()
        if left:
            await asyncio.gather(*left, return_exceptions=True)


class _Keeper:
    """Closes a thread's loop when the thread ends, for a thread-local's values die with it.

    No frame ever holds it: what is in the traceback of a body's error is left to the collector, which would finalize
    the loop and whoever is to close it in any order.
    """

    def __init__(self, own: _ThreadLoop) -> None:
        self.own = own

    def __del__(self) -> None:
        self.own.runner.close()


def _task_factory(children: set[asyncio.Task[Any]]) -> Callable[..., asyncio.Task[Any]]:
    # Of the set alone: a loop that led back to its owner would be closed by the collector, in any order.
    def make(loop: asyncio.AbstractEventLoop, coro: Any, **kwargs: Any) -> asyncio.Task[Any]:
        task: asyncio.Task[Any] = asyncio.Task(coro, loop=loop, **kwargs)
        children.add(task)
        task.add_done_callback(children.discard)
        return task

    return make


def _cancel_from_outside(loop: asyncio.AbstractEventLoop, task: asyncio.Task[Any]) -> None:
    if not loop.is_closed():
        loop.call_soon_threadsafe(task.cancel)


class _Local(threading.local):
    keeper: _Keeper | None = None


_local = _Local()


def run_coroutine(body: Coroutine[Any, Any, Any], stop: Stop) -> Any:
    """Run `body` to its end on this thread's private loop; setting `stop` cancels it.

    Raises
    ------
    BaseException
        Whatever the body raised.
    """
    if _local.keeper is None:
        _local.keeper = _Keeper(_ThreadLoop())
    try:
        return _local.keeper.own.run(body, stop)
    except (SystemExit, KeyboardInterrupt):
        # Out of a task that the body started, it ends the loop in mid-turn: the next body gets a new one.
        close_loop()
        raise


def close_loop() -> None:
    """Close this thread's loop, where it has one; for threads that end after one body."""
    _local.keeper = None
