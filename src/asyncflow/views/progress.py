"""Progress of engines, shown while they work."""

import asyncio
import logging
import sys
import threading
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Self

from asyncflow.audience import current_audience
from asyncflow.events import Events
from asyncflow.node import Node
from asyncflow.views.display import Display, display_on
from asyncflow.views.tally import Tally

logger = logging.getLogger("asyncflow")


class Progress:
    """Shows how far calls are, from ``with`` on to its end; in ``async with`` as well.

    A thread of its own draws, at most as often as the display wants, and only when something has changed.

    Parameters
    ----------
    display : Display or None
        Where; None shows nothing at all.
    """

    def __init__(self, display: Display | None) -> None:
        self._display = display
        self._tally = Tally(self._wake)
        self._woken = threading.Event()
        self._over = threading.Event()
        self._lock = threading.Lock()  # of the display
        self._is_open = False
        self._thread: threading.Thread | None = None
        self._to_watch: list[tuple[Events, Callable[[], Iterable[Node]]]] = []

    def watch(self, events: Events, unfinished: Callable[[], Iterable[Node]] = tuple) -> None:
        """Count in another engine, from any thread: what its `events` tell, and calls that are unfinished by now."""
        if self._display is None:
            return
        if not self._is_open:
            self._to_watch.append((events, unfinished))
            return
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="asyncflow-progress", daemon=True)
                self._thread.start()
        self._tally.watch(events, unfinished())

    def open(self) -> None:
        """Begin to show."""
        if self._display is None or self._is_open:
            return
        self._display.open()
        self._is_open = True
        to_watch, self._to_watch = self._to_watch, []
        for events, unfinished in to_watch:
            self.watch(events, unfinished)

    def close(self) -> None:
        """Show how it ended, and leave the terminal as it was. Safe to call again."""
        self._tally.leave()
        with self._lock:
            if self._over.is_set() or self._display is None or not self._is_open:
                return
            self._over.set()
            self._woken.set()  # the thread ends by itself: whoever waits for it here may be a loop
            self._display.close(self._tally.snapshot())

    def __enter__(self) -> Self:
        """Open."""
        self.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""
        self.close()

    async def __aenter__(self) -> Self:
        """Open."""
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close; the loop goes on meanwhile, as a terminal may be slow."""
        await asyncio.to_thread(self.close)

    def _wake(self) -> None:
        self._woken.set()

    def _run(self) -> None:
        assert self._display is not None
        while True:
            self._woken.wait()
            if self._over.wait(self._display.pause):
                return
            self._woken.clear()
            with self._lock:
                if self._over.is_set():
                    return
                if not self._show():
                    return

    def _show(self) -> bool:
        """Whether that went well; a display that fails is told of once, and harms nobody."""
        assert self._display is not None
        try:
            self._display.show(self._tally.snapshot())
        except Exception:
            logger.warning("progress cannot be shown any more", exc_info=True)
            return False
        return True


def progress_of(events: Events, unfinished: Callable[[], Iterable[Node]]) -> Progress:
    """The progress of one engine, on standard error; none where whoever runs the script shows it already.

    Parameters
    ----------
    events : Events
        Of the engine.
    unfinished : callable
        Its calls that are.
    """
    progress = Progress(None if current_audience() is not None else display_on(sys.stderr))
    progress.watch(events, unfinished)
    return progress
