"""What a process writes, handed on as it comes."""

import os
import select
import threading
from collections.abc import Callable, Sequence
from typing import Self

#: How much of what a process writes an exception carries.
TAIL = 64_000

_PIPE = 1 << 20  # more than a pipe holds: one look after the process's end finds all that it wrote

Take = Callable[[bytes], object]


class Tail:
    """The end of what is written."""

    def __init__(self) -> None:
        self._data = bytearray()

    def take(self, data: bytes) -> None:
        """More was written."""
        self._data = (self._data + data)[-TAIL:]

    def text(self) -> str:
        """The last 64 kB."""
        return self._data.decode(errors="replace")


def each_of(*takers: Take) -> Take:
    """Who hands what comes to all of these."""

    def take(data: bytes) -> None:
        for each in takers:
            each(data)

    return take


class Relay:
    """Pipes for a process to write to, and a thread that hands on what comes, until `end` or the end of the block.

    The thread waits for the process and not for the pipes: what the process started may keep these open.

    Parameters
    ----------
    takers : sequence of callable
        For each pipe, who gets what comes; called on the thread.

    Attributes
    ----------
    ends : list of int
        File descriptors to give to the process, one for each taker.
    """

    def __init__(self, takers: Sequence[Take]) -> None:
        pipes = [os.pipe() for _ in takers]
        self.ends = [write for _, write in pipes]
        self._takers = {read: taker for (read, _), taker in zip(pipes, takers, strict=True)}
        self._woken, self._wake = os.pipe()
        self._error: Exception | None = None
        self._is_over = False
        self._thread = threading.Thread(target=self._pump, name="asyncflow-relay", daemon=True)

    def __enter__(self) -> Self:
        """Begin."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Hand on what is left, and close the pipes."""
        self._stop()
        for file in (*self._takers, *self.ends, self._woken, self._wake):
            os.close(file)

    def end(self) -> None:
        """The process has ended: return when all that it wrote was handed on.

        Raises
        ------
        Exception
            What a taker raised first; it has missed what came with that, and nothing else.
        """
        self._stop()
        if self._error is not None:
            raise self._error

    def _stop(self) -> None:
        if not self._is_over:
            self._is_over = True
            os.write(self._wake, b".")
            self._thread.join()

    def _pump(self) -> None:
        poll = select.poll()
        for file in (*self._takers, self._woken):
            poll.register(file, select.POLLIN)
        ready: list[int] = []
        while self._woken not in ready:
            ready = [file for file, _ in poll.poll()]
            for file in self._takers.keys() & ready:
                self._hand_on(self._takers[file], os.read(file, _PIPE))

    def _hand_on(self, take: Take, data: bytes) -> None:
        try:
            take(data)
        except Exception as error:  # the process must not wait for a reader all the same
            self._error = self._error or error
