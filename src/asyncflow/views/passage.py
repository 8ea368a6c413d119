"""What programs write, passed on line by line to where this process writes."""

import os
import threading
from collections.abc import Callable

#: Seconds that what a program still writes is waited for at the end; programs that have ended make nobody wait.
_PATIENCE = 1.0


class Passage:
    """A pipe, and a thread that hands on what comes out of it.

    Parameters
    ----------
    write : callable
        Takes whole lines.

    Attributes
    ----------
    outlet : int
        The file descriptor to be written to. It is open until `close`.
    """

    def __init__(self, write: Callable[[str], object]) -> None:
        self._write = write
        self._source, self.outlet = os.pipe()
        self._thread = threading.Thread(target=self._pass_on, name="asyncflow-passage", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Take in nothing but what programs that still run write; wait for what is there."""
        os.close(self.outlet)
        self._thread.join(_PATIENCE)

    def _pass_on(self) -> None:
        rest = b""
        with open(self._source, "rb", buffering=0) as source:  # noqa: PTH123 - it has no path
            while data := source.read(65536):
                lines, newline, rest = (rest + data).rpartition(b"\n")
                self._hand_on(lines + newline)
            self._hand_on(rest + b"\n" if rest else b"")

    def _hand_on(self, data: bytes) -> None:
        if data:
            try:
                self._write(data.decode(errors="replace"))
            except (OSError, ValueError):  # closed; the programs must not wait for a reader all the same
                return
