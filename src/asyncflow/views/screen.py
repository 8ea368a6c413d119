"""The last lines of a terminal, drawn anew in place, below whatever else is written there.

Between two drawings the cursor stands on the first of these lines, which is empty. What another process writes comes to
lie there, and is not drawn over: the next drawing begins where the cursor then is. What this process writes through
``sys.stdout`` and ``sys.stderr`` first takes the lines away.
"""

import os
import sys
import threading
from collections.abc import Iterable
from typing import Any, TextIO

_CLEAR = "\r\x1b[J"  # all from the line of the cursor on


class Screen:
    """Lines at the bottom of the terminal that `stream` is; for any thread, and from signal handlers.

    Parameters
    ----------
    stream : text stream
        Where they are drawn.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lock = threading.RLock()  # a signal handler may write in the middle of a write
        self._is_drawn = False
        self._is_at_start = True  # of a line, is the cursor when nothing is drawn
        self._pid = os.getpid()
        self._standing_in: list[tuple[str, TextIO, Through]] = []

    def stand_in(self, outlets: "Iterable[int | None]" = (None, None)) -> None:
        """Have what is written to ``sys.stdout`` and ``sys.stderr`` pass here, as far as they are terminals.

        Parameters
        ----------
        outlets : pair of int or None
            File descriptors for programs that are started, see `asyncflow.outlets`; for each of both streams.
        """
        for name, outlet in zip(("stdout", "stderr"), outlets, strict=True):
            stream = getattr(sys, name)
            if is_terminal(stream):
                through = Through(self, stream, outlet)
                setattr(sys, name, through)
                self._standing_in.append((name, stream, through))

    def step_aside(self) -> None:
        """Take the lines away for good, and give back what was stood in for. Safe to call again."""
        self.erase()
        standing_in, self._standing_in = self._standing_in, []
        for name, stream, through in standing_in:
            through.outlet = None
            if getattr(sys, name) is through:
                setattr(sys, name, stream)

    def draw(self, text: str) -> None:
        """Show `text`, which fits the terminal, instead of what was shown; nothing where a line is half written."""
        with self._lock:
            for _, stream, _ in self._standing_in:
                stream.flush()
            if not self._is_at_start:
                return
            self._is_drawn = True
            self._stream.write(f"{_CLEAR}\n{text}\r\x1b[{text.count(chr(10)) + 1}A")
            self._stream.flush()

    def erase(self) -> None:
        """Take the lines away."""
        with self._lock:
            if self._is_drawn:
                self._is_drawn = False
                self._stream.write(_CLEAR)
                self._stream.flush()

    def write(self, stream: TextIO, text: str) -> int:
        """Write `text` to `stream`, above the lines."""
        if not text or os.getpid() != self._pid:  # a fork of this process, which knows nothing of what is drawn
            return stream.write(text)
        with self._lock:
            self.erase()
            self._is_at_start = text.endswith("\n")
            return stream.write(text)


class Through:
    """Stands in for a text stream: what is written passes by a screen.

    Attributes
    ----------
    outlet : int or None
        Where programs are to write that write to this stream; see `asyncflow.outlets`.
    """

    def __init__(self, screen: Screen, stream: TextIO, outlet: int | None) -> None:
        self._screen = screen
        self._stream = stream
        self.outlet = outlet

    def write(self, text: str) -> int:
        """As the stream does."""
        return self._screen.write(self._stream, text)

    def writelines(self, lines: Iterable[str]) -> None:
        """As the stream does."""
        for line in lines:
            self.write(line)

    def __iter__(self) -> Any:
        """As the stream does."""
        return iter(self._stream)

    def __getattr__(self, name: str) -> Any:
        """All else is the stream's own."""
        return getattr(self._stream, name)


def is_terminal(stream: Any) -> bool:
    """Whether lines can be drawn anew there."""
    try:
        return stream.isatty() and os.environ.get("TERM", "dumb") != "dumb"
    except (AttributeError, ValueError):  # closed, or none at all
        return False
