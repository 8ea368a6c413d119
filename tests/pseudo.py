"""A pseudo-terminal with a program in it, seen as a person would."""

import fcntl
import os
import pty
import select
import struct
import subprocess
import sys
import termios
import time

import pyte
from rich.text import Text

PATIENCE = 60.0

#: Rich's names of pyte's colours; others are hexadecimal.
_COLOURS = {name: name for name in ("default", "black", "red", "green", "blue", "magenta", "cyan", "white")}
_COLOURS |= (
    {"brown": "yellow"} | {f"bright{name}": f"bright_{name}" for name in _COLOURS} | {"brightbrown": "bright_yellow"}
)


class PseudoTerminal:
    """``asyncflow`` with `words`, in a terminal of its own.

    Attributes
    ----------
    text : str
        All that was on the screen and can be scrolled back to, as far as it was fed.
    """

    def __init__(self, *words, cwd, columns=110, lines=30, **environ):
        self._screen = pyte.HistoryScreen(columns, lines, history=10_000)
        self._stream = pyte.ByteStream(self._screen)
        self._file, inside = pty.openpty()
        fcntl.ioctl(inside, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        self.modes = termios.tcgetattr(inside)
        self._inside = inside
        self.process = subprocess.Popen(
            [sys.executable, "-c", _LEAD, "-m", "asyncflow", *map(str, words)],
            stdin=inside,
            stdout=inside,
            stderr=inside,
            cwd=cwd,
            start_new_session=True,
            env=os.environ | {"TERM": "xterm-256color", "NO_COLOR": "", **environ},
        )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        os.close(self._file)
        os.close(self._inside)

    @property
    def lines(self):
        """What is on the screen."""
        return [line.rstrip() for line in self._screen.display]

    @property
    def colours(self):
        """What is on the screen, as `rich.text.Text` with its colours."""
        shown = Text()
        for y, line in enumerate(self.lines):
            for x in range(len(line)):
                char = self._screen.buffer[y][x]
                shown.append(char.data, f"{_COLOURS.get(char.fg, f'#{char.fg}')}{' bold' if char.bold else ''}")
            shown.append("\n")
        shown.rstrip()
        return shown

    @property
    def text(self):
        gone = ["".join(line[x].data for x in range(self._screen.columns)) for line in self._screen.history.top]
        return "\n".join([*map(str.rstrip, gone), *self.lines]).rstrip()

    def type(self, data):
        """Press keys."""
        os.write(self._file, data)

    def until(self, condition):
        """Read until `condition()` holds of what is shown."""
        deadline = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < deadline, self.text
            ended = self.process.poll() is not None
            if select.select([self._file], [], [], 0 if ended else 0.1)[0]:
                self._stream.feed(os.read(self._file, 4096))
            else:
                assert not ended or condition(), self.text

    def ended(self):
        """Read to the end; the exit status."""
        self.until(lambda: self.process.poll() is not None and not select.select([self._file], [], [], 0)[0])
        return self.process.returncode

    @property
    def is_sane(self):
        """Whether the terminal is as it was: its modes, and a cursor that is seen."""
        return termios.tcgetattr(self._inside) == self.modes and not self._screen.cursor.hidden


#: Makes the terminal that of the session, so that Ctrl-C there is a signal here.
_LEAD = """
import fcntl, os, signal, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
signal.signal(signal.SIGINT, signal.default_int_handler)
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""
