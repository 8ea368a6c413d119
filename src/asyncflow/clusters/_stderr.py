"""The standard error of a worker program: passed on as it comes, its end kept for whoever asks why the worker died."""

import os
import select
import threading
from collections import deque
from types import TracebackType
from typing import Self

from asyncflow.queues.lastwords import MANY, last_words

#: Bytes of a line that are kept.
_LONGEST = 400


class Tee:
    """Stands between the standard error of this process, its children's included, and where that went before."""

    def __init__(self) -> None:
        self._real = os.dup(2)
        self._source, sink = os.pipe()
        os.dup2(sink, 2)
        os.close(sink)
        self._lines: deque[bytes] = deque(maxlen=MANY)
        self._open = b""
        self._lock = threading.Lock()
        threading.Thread(target=self._pass_on, name="pass-on-stderr", daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Write to where it went before; what was written by now goes there first."""
        os.dup2(self._real, 2)
        self._drain()

    def tail(self) -> str:
        """What tells most of all that was written since it was last asked for."""
        self._drain()
        with self._lock:
            lines = [line[:_LONGEST].decode(errors="replace").rstrip() for line in (*self._lines, self._open)]
            self._lines.clear()
            self._open = b""
        return last_words("\n".join(lines), has_crashed=True)

    def _pass_on(self) -> None:
        is_open = True
        while is_open:
            select.select([self._source], [], [])
            is_open = self._drain()

    def _drain(self) -> bool:
        """Take what is there, without waiting; whether more may come."""
        with self._lock:
            while select.select([self._source], [], [], 0)[0]:
                data = os.read(self._source, 65536)
                if not data:
                    return False
                *lines, self._open = (self._open[-_LONGEST:] + data).split(b"\n")
                self._lines.extend(lines)
                while data:
                    data = data[os.write(self._real, data) :]
        return True
