"""The end of a process, told beforehand to the engines in it by whoever runs their script.

Nothing here catches a signal, and nothing is shared: whoever does (``asyncflow run``) makes a `Notice`, and engines
that are created in its context find it there.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Protocol
from weakref import WeakSet


class Listener(Protocol):
    """One engine, as far as it must end."""

    async def wind_down(self, grace: float, reason: str = "") -> None:
        """Begin nothing any more, and wait at most `grace` seconds for what runs."""

    def cancel_all(self) -> None:
        """Cancel what is left."""


class Notice:
    """Tells engines that their time is over; it holds none of them."""

    def __init__(self) -> None:
        self._listeners: WeakSet[Listener] = WeakSet()

    def join(self, listener: Listener) -> None:
        """Tell `listener` too."""
        self._listeners.add(listener)

    @property
    def is_heard(self) -> bool:
        """Whether there is anybody to tell."""
        return len(self._listeners) > 0

    async def give(self, grace: float, reason: str) -> None:
        """Let nothing begin any more, and return when nothing runs, at the latest after `grace` seconds.

        Nobody who awaits a call notices any of this: what has not begun stays pending.
        """
        await asyncio.gather(*(listener.wind_down(grace, reason) for listener in self._listeners))

    def cancel_all(self) -> None:
        """Cancel what is left after that. What a script calls from here on runs again: it may have to clean up."""
        for listener in self._listeners:
            listener.cancel_all()


_notice: ContextVar[Notice | None] = ContextVar("asyncflow_notice", default=None)


def current_notice() -> Notice | None:
    """That of the code which is running; None where nobody will give any."""
    return _notice.get()


@contextmanager
def entered(notice: Notice) -> Iterator[None]:
    """Engines that code inside creates are told by `notice`."""
    token = _notice.set(notice)
    try:
        yield
    finally:
        _notice.reset(token)
