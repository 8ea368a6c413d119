"""Streams: one task over any number of items, with no more calls alive than a window holds."""

import asyncio
import weakref
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable
from contextlib import suppress
from typing import Any, Literal, Self

from asyncflow.futures import TaskFuture

OnError = Literal["raise", "yield", "skip"]

_END = object()


class Stream(AsyncIterator[Any]):
    """The results of `call` on each item; iterate over it with ``async for``.

    Items are taken as calls end, so an unbounded generator needs no more memory than a short list. Leaving the loop
    early cancels the calls that are alive, at once with ``async with`` around it, else when the stream is dropped.

    Parameters
    ----------
    call : callable
        From an item to the future of a call.
    items : iterable or async iterable
        Taken on the loop; a plain iterable must not block.
    window : int
        How many calls are alive at once, results that nobody has taken yet included.
    ordered : bool
        Whether results come in the order of the items, rather than as they end.
    on_error : {"raise", "yield", "skip"}
        What becomes of the error of one call: raised where the stream is iterated, which ends it and cancels the rest;
        handed out in place of a result; or left out.
    """

    def __init__(
        self,
        call: Callable[[Any], TaskFuture],
        items: Iterable[Any] | AsyncIterable[Any],
        *,
        window: int = 1000,
        ordered: bool = False,
        on_error: OnError = "raise",
    ) -> None:
        self._alive: dict[TaskFuture, None] = {}  # called and not handed out, in order
        self._ended: deque[TaskFuture] = deque()
        self._next: asyncio.Task[Any] | None = None
        if window < 1:
            raise ValueError(f"window must be at least 1, not {window}")
        if on_error not in {"raise", "yield", "skip"}:
            raise ValueError(f"on_error must be 'raise', 'yield' or 'skip', not {on_error!r}")
        if not isinstance(items, (Iterable, AsyncIterable)):
            raise TypeError(f"map takes an iterable or an async iterable, not {items!r}")
        self._call = call
        self._items = aiter(items) if isinstance(items, AsyncIterable) else None
        self._plain = iter(items) if isinstance(items, Iterable) and self._items is None else iter(())
        self._window = window
        self._ordered = ordered
        self._on_error = on_error
        self._exhausted = False
        self._wake: asyncio.Future[None] | None = None

    def __aiter__(self) -> Self:
        """The stream itself."""
        return self

    async def __anext__(self) -> Any:
        """The next result."""
        try:
            while True:
                self._fill()
                future = self._take()
                if future is not None:
                    if (kept := self._handed(future)) is not _END:
                        return kept
                elif not self._alive and self._exhausted:
                    raise StopAsyncIteration
                else:
                    await self._news()
        except BaseException:
            await self.aclose()
            raise

    async def aclose(self) -> None:
        """Take no more items, and cancel the calls that are alive."""
        self._exhausted = True
        self._plain = iter(())
        source, self._items = self._items, None
        if self._next is not None:
            self._next.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await self._next
            self._next = None
        self._cancel()
        if source is not None and hasattr(source, "aclose"):
            await source.aclose()

    async def __aenter__(self) -> Self:
        """The stream itself."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close it."""
        await self.aclose()

    def __del__(self) -> None:
        """Nobody will ask for results that are still to come."""
        if self._next is not None and not self._next.get_loop().is_closed():
            self._next.cancel()
        self._cancel()

    def _fill(self) -> None:
        """Call as many items as the window has room for."""
        while not self._exhausted and len(self._alive) < self._window:
            if self._items is None:
                item = next(self._plain, _END)
            elif self._next is None:
                self._next = asyncio.ensure_future(anext(self._items, _END))
                self._next.add_done_callback(self._told(Stream._rouse))
                return
            elif self._next.done():
                done, self._next = self._next, None
                item = done.result()
            else:
                return
            if item is _END:
                self._exhausted = True
            else:
                future = self._call(item)
                self._alive[future] = None
                future.add_done_callback(self._told(Stream._end))

    def _take(self) -> TaskFuture | None:
        """A call that has ended and whose turn it is."""
        if self._ordered:
            first = next(iter(self._alive), None)
            future = first if first is not None and asyncio.Future.done(first) else None
        else:
            future = self._ended.popleft() if self._ended else None
        if future is not None:
            del self._alive[future]
        return future

    def _handed(self, future: TaskFuture) -> Any:
        """What is handed out for `future`; nothing where its error is left out."""
        if future.cancelled():
            error: BaseException | None = asyncio.CancelledError(f"{future.name!r} was cancelled")
        else:
            error = future.exception()
        if error is None:
            return future.result()
        if self._on_error == "raise":
            raise error
        return error if self._on_error == "yield" else _END

    async def _news(self) -> None:
        self._wake = asyncio.get_running_loop().create_future()
        try:
            await self._wake
        finally:
            self._wake = None

    def _told(self, method: Callable[["Stream", Any], None]) -> Callable[[Any], None]:
        """A callback that does not keep the stream alive, so that one that is dropped can be known for it."""
        self_of = weakref.ref(self)

        def callback(future: Any) -> None:
            stream = self_of()
            if stream is not None:
                method(stream, future)

        return callback

    def _end(self, future: Any) -> None:
        if future in self._alive and not self._ordered:
            self._ended.append(future)
        self._rouse(future)

    def _rouse(self, _: Any) -> None:
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    def _cancel(self) -> None:
        alive, self._alive = self._alive, {}
        self._ended.clear()
        for future in reversed(alive):
            if not future.get_loop().is_closed():
                future.cancel()
