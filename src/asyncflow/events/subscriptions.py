"""Callbacks of users: told on their own loop, in order, and never in the way of the run."""

import asyncio
import fnmatch
import inspect
import logging
import threading
from collections import deque
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any, Self

from asyncflow.errors import NoEventLoopError
from asyncflow.events.base import Event
from asyncflow.events.bus import Events

logger = logging.getLogger("asyncflow")

#: Events that wait for one callback at most; further ones are dropped, and counted.
WAITING = 100_000

#: Events told in one turn of the loop.
_TURN = 500

#: Seconds that an event waits for others to be told with it: to wake the loop for each would cost more than to tell it.
_PAUSE = 0.02

Kinds = type[Event] | str | Iterable[type[Event] | str]
Callback = Callable[[Any], Any]


class Subscription:
    """One callback that is told of events, until it is closed; also a context manager.

    Attributes
    ----------
    dropped : int
        How many events came faster than the callback took them, and were not told.
    """

    def __init__(
        self,
        events: Events,
        callback: Callback,
        wants: Callable[[Event], bool] | None,
        closed: Callable[["Subscription"], object],
    ) -> None:
        self.dropped = 0
        self._closed = closed
        self._events = events
        self._callback = callback
        self._wants = wants
        self._loop = asyncio.get_running_loop()
        self._lock = threading.Lock()
        self._waiting: deque[Event] = deque()
        self._is_woken = False
        self._has_failed = False
        self._telling: asyncio.Task[None] | None = None
        events.listen(self._take)

    def close(self) -> None:
        """Tell nothing any more; safe to call again."""
        self._events.leave(self._take)
        self._waiting.clear()
        self._closed(self)

    async def drained(self) -> None:
        """Wait until all that has happened so far has been told; on the loop of the subscription."""
        while self._waiting or self._telling is not None:
            if self._telling is not None:
                await asyncio.wait([self._telling])
            else:
                self._deliver()
                await asyncio.sleep(0)

    async def drained_there(self) -> None:
        """The same from any loop."""
        if self._loop is asyncio.get_running_loop():
            await self.drained()
        elif self._loop.is_running():
            await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(self.drained(), self._loop))

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""
        self.close()

    def _take(self, event: Event) -> None:
        if self._wants is not None and not self._wants(event):
            return
        with self._lock:
            if len(self._waiting) >= WAITING:
                self.dropped += 1
                return
            self._waiting.append(event)
            if self._is_woken:
                return
            self._is_woken = True
        try:
            self._loop.call_soon_threadsafe(self._loop.call_later, _PAUSE, self._deliver)
        except RuntimeError:  # its loop has closed
            self.close()

    def _deliver(self) -> None:
        """Tell some; the loop has a turn before the next."""
        with self._lock:
            self._is_woken = False
        if self._telling is not None:
            return  # which will find them
        for _ in range(min(len(self._waiting), _TURN)):
            result = self._call(self._waiting.popleft())
            if result is not None and inspect.isawaitable(result):
                self._telling = self._loop.create_task(self._tell(result))
                return
        if self._waiting:
            self._loop.call_soon(self._deliver)

    async def _tell(self, result: Any) -> None:
        """Await what the callback returned, one after the other: events are told in order."""
        try:
            while True:
                try:
                    await result
                except Exception as error:
                    self._note(error)
                if not self._waiting:
                    return
                result = self._call(self._waiting.popleft())
                while not inspect.isawaitable(result):
                    if not self._waiting:
                        return
                    result = self._call(self._waiting.popleft())
        finally:
            self._telling = None

    def _call(self, event: Event) -> Any:
        try:
            return self._callback(event)
        except Exception as error:
            self._note(error)
            return None

    def _note(self, error: Exception) -> None:
        if not self._has_failed:
            self._has_failed = True
            logger.error("the event callback %r failed; it is told of further events", self._callback, exc_info=error)


class UserEvents:
    """What happens in an engine, for whoever wants to know; ``flow.events``."""

    def __init__(self, events: Events) -> None:
        self._events = events
        self._subscriptions: set[Subscription] = set()

    def subscribe(
        self, callback: Callback, *, kinds: Kinds | None = None, tasks: str | Iterable[str] | None = None
    ) -> Subscription:
        """Call `callback` with each event, on the loop that runs here, in the order in which events become known.

        A coroutine function is awaited before the next event. An exception is logged, once, and nothing else.

        Parameters
        ----------
        callback : callable or coroutine function
            Takes the event.
        kinds : class or str, or several, optional
            Classes of events, or their names (``"TaskFailed"``, ``"etl.StageTimer"``); a base class stands for all of
            its kinds. All by default.
        tasks : str, or several, optional
            Names of tasks, ``*`` and ``?`` allowed: tell of these only.

        Raises
        ------
        NoEventLoopError
            Where no event loop runs.
        """
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            raise NoEventLoopError(
                "flow.events.subscribe() was called where no event loop runs, and callbacks belong to a loop; call it "
                "inside `async def main(): ...`"
            ) from None
        subscription = Subscription(self._events, callback, _filter(kinds, tasks), self._subscriptions.discard)
        self._subscriptions.add(subscription)
        return subscription

    def emit(self, event: Event) -> None:
        """Tell all who listen of an event of yours, made by a class of `asyncflow.events.define_event`."""
        if not isinstance(event, Event):
            raise TypeError(f"emit() takes an event, not {event!r}; make a class with asyncflow.events.define_event()")
        if self._events.is_heard:
            self._events.tell(event)

    async def close(self, timeout: float) -> None:  # noqa: ASYNC109 - a bound on the whole
        """Tell what is left, as far as that takes no more than `timeout` seconds, and end."""
        subscriptions = list(self._subscriptions)
        try:
            async with asyncio.timeout(timeout):
                await asyncio.gather(*(each.drained_there() for each in subscriptions))
        except TimeoutError:
            logger.warning("event callbacks did not end within %g s; what they were not told is dropped", timeout)
        for each in subscriptions:
            each.close()


def _filter(kinds: Kinds | None, tasks: str | Iterable[str] | None) -> Callable[[Event], bool] | None:
    if kinds is None and tasks is None:
        return None
    listed = () if kinds is None else (kinds,) if isinstance(kinds, (str, type)) else tuple(kinds)
    classes = tuple(each for each in listed if isinstance(each, type))
    names = frozenset(each for each in listed if isinstance(each, str))
    patterns = () if tasks is None else (tasks,) if isinstance(tasks, str) else tuple(tasks)

    def wants(event: Event) -> bool:
        if listed and not (isinstance(event, classes) or event.event_type in names):
            return False
        return not patterns or any(fnmatch.fnmatchcase(event.name, pattern) for pattern in patterns)

    return wants
