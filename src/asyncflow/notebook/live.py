"""A view in a notebook that keeps itself up to date, on the kernel's own loop and without blocking it."""

import asyncio
import logging
import sys
import time
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

logger = logging.getLogger("asyncflow")

#: Shows HTML in the cell that runs, and returns what shows other HTML in its place.
Display = Callable[[str], Callable[[str], object]]

#: A look may take this part of the kernel's time, however much there is to look at.
_SHARE = 0.05


class NotebookProgress:
    """HTML in a notebook that follows what `render` says; shown at once, until it is closed.

    Parameters
    ----------
    render : callable
        The HTML of now; must return at once. None where there is nothing to show any more, which ends the view.
    interval : float
        Seconds between two looks. Nothing is sent where nothing has changed.
    display : callable
        Shows it; by default the notebook does.

    Raises
    ------
    RuntimeError
        Where no event loop runs.
    """

    def __init__(self, render: Callable[[], str | None], interval: float = 0.5, display: Display | None = None) -> None:
        self._render = render
        self._interval = interval
        self._loop = asyncio.get_running_loop()
        self._shown = render() or ""
        self._update = (display or display_in_notebook)(self._shown)
        self._task: asyncio.Task[None] | None = self._loop.create_task(self._follow())

    @property
    def is_live(self) -> bool:
        """Whether it still follows."""
        return self._task is not None

    def close(self) -> None:
        """Show the last state, which stays; safe to call again, and from any thread."""
        task, self._task = self._task, None
        if task is None:
            return
        self._look()
        if self._loop is _running_loop():
            task.cancel()
        elif not self._loop.is_closed():
            self._loop.call_soon_threadsafe(task.cancel)

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""
        self.close()

    async def __aenter__(self) -> Self:
        """Itself."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""
        self.close()

    def _ipython_display_(self) -> None:
        """It is on show already."""

    async def _follow(self) -> None:
        pause = self._interval
        while self._task is not None:
            await asyncio.sleep(pause)
            began = time.perf_counter()
            if not self._look():
                self._task = None
            pause = max(self._interval, (time.perf_counter() - began) / _SHARE)

    def _look(self) -> bool:
        """Show what is the case; whether there may be more to show later."""
        try:
            html = self._render()
            if html is not None and html != self._shown:
                self._update(html)
                self._shown = html
        except Exception:
            logger.exception("the live view ends, as it could not be shown")
            return False
        return html is not None


class Pace:
    """How quickly calls have ended of late, and when the rest will have.

    Parameters
    ----------
    clock : callable
        Seconds, of any beginning.
    span : float
        Seconds that count.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic, span: float = 30.0) -> None:
        self._clock = clock
        self._span = span
        self._looks: deque[tuple[float, int]] = deque()

    def told(self, ended: int, left: int) -> str:
        """In words, of which there are none before anything is known."""
        now = self._clock()
        self._looks.append((now, ended))
        while len(self._looks) > 1 and self._looks[0][0] < now - self._span:
            self._looks.popleft()
        since, before = self._looks[0]
        if ended <= before or now <= since:
            return ""
        rate = (ended - before) / (now - since)
        shown = f"{rate:.3g} a second" if rate >= 1 else f"{rate * 60:.2g} a minute"
        return f"{shown}, about {_duration(left / rate)} left" if left else shown


def in_notebook() -> bool:
    """Whether this process is the kernel of a notebook, rather than a terminal or a plain program."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return getattr(shell, "kernel", None) is not None


def display_in_notebook(html: str) -> Callable[[str], object]:
    """Show `html` below the cell that runs, and return what shows other HTML there."""
    # Present where a notebook is; nobody else comes here.
    from IPython import display as ipython

    show: Any = ipython.display
    page: Any = ipython.HTML
    handle = show(page(html), display_id=True)
    return lambda later: handle.update(page(later))


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
