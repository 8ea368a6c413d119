"""Where progress is shown: drawn at the bottom of a terminal, or told in lines anywhere else."""

import io
import os
import shutil
import sys
import time
from typing import TYPE_CHECKING, Protocol, TextIO

from asyncflow.views import texts
from asyncflow.views.passage import Passage
from asyncflow.views.screen import Screen, is_terminal
from asyncflow.views.snapshot import Snapshot

if TYPE_CHECKING:
    from rich.console import RenderableType

#: Seconds between two drawings, and between two lines of a log.
PAUSE, LINE_PAUSE = 0.25, 30.0


class Display(Protocol):
    """Shows snapshots; one thread at a time.

    Attributes
    ----------
    pause : float
        Seconds that it wants between two.
    """

    pause: float

    def open(self) -> None:
        """Get ready, before anything is shown."""

    def show(self, snapshot: Snapshot) -> None:
        """Show how things stand."""

    def close(self, snapshot: Snapshot) -> None:
        """Tell how things ended, and leave the place as it was found."""


class Lines:
    """Plain lines for a log.

    Parameters
    ----------
    stream : text stream
        Where they go.
    """

    def __init__(self, stream: TextIO, pause: float = LINE_PAUSE) -> None:
        self._stream = stream
        self.pause = pause

    def open(self) -> None:
        """There is nothing to do."""

    def show(self, snapshot: Snapshot) -> None:
        """Write one line, if there is anything to tell."""
        if snapshot.tasks or snapshot.pools:
            _write(self._stream, f"{time.strftime('%H:%M:%S')} progress: {texts.line(snapshot)}\n")

    def close(self, snapshot: Snapshot) -> None:
        """Write the table."""
        if snapshot.tasks:
            _write(self._stream, f"{texts.aligned(*texts.table(snapshot))}\n")


class Terminal:
    """Bars at the bottom of a terminal.

    Parameters
    ----------
    stream : text stream
        The terminal.
    takes_programs : bool
        Whether what programs write that are started meanwhile passes above the bars, too.
    """

    def __init__(self, stream: TextIO, *, takes_programs: bool = False) -> None:
        self.pause = PAUSE
        self._stream = stream
        self._screen = Screen(stream)
        self._takes_programs = takes_programs
        self._passages: list[Passage] = []

    def open(self) -> None:
        """Stand in for the streams of this process."""
        if self._takes_programs:
            streams = (sys.stdout, sys.stderr)
            self._passages = [Passage(lambda text, to=stream: self._pass(to, text)) for stream in streams]  # type: ignore[misc]
        out, err = (each.outlet for each in self._passages) if self._passages else (None, None)
        self._screen.stand_in((out, err))

    def show(self, snapshot: Snapshot) -> None:
        """Draw it, if there is anything to tell."""
        if snapshot.tasks or snapshot.pools:
            from asyncflow.views.bars import picture

            columns, lines = self._size()
            room = max(1, lines - 2)  # the empty line, and the one that the cursor may need
            self._screen.draw(self._rendered(picture(snapshot, room), columns - 1, room))

    def close(self, snapshot: Snapshot) -> None:
        """Take the bars away, and write the table."""
        self._screen.step_aside()
        passages, self._passages = self._passages, []
        for passage in passages:
            passage.close()
        if snapshot.tasks:
            from asyncflow.views.bars import summary

            columns, _ = self._size()
            _write(self._stream, self._rendered(summary(snapshot), columns) + "\n")

    def _pass(self, stream: TextIO, text: str) -> None:
        self._screen.write(stream, text)
        stream.flush()

    def _rendered(self, picture: "RenderableType", columns: int, lines: int | None = None) -> str:
        from rich.console import Console

        console = Console(file=io.StringIO(), width=columns, force_terminal=True, highlight=False)
        with console.capture() as capture:
            console.print(picture)
        return "\n".join(capture.get().splitlines()[:lines])

    def _size(self) -> os.terminal_size:
        try:
            return os.get_terminal_size(self._stream.fileno())
        except OSError:  # whoever made it does not say
            return shutil.get_terminal_size()


def display_on(stream: TextIO, *, takes_programs: bool = False) -> Display:
    """Bars where `stream` is a terminal, else lines."""
    return Terminal(stream, takes_programs=takes_programs) if is_terminal(stream) else Lines(stream)


def _write(stream: TextIO, text: str) -> None:
    try:
        stream.write(text)
        stream.flush()
    except (OSError, ValueError):  # closed, or its reader has gone: nobody is there to be told
        return
