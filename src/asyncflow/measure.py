"""What one attempt of a body took: when it began and ended, processor time, memory."""

import os
import resource
import sys
import threading
import time
from contextlib import suppress
from typing import NamedTuple

_UNIT = 1 if sys.platform == "darwin" else 1024  # of ru_maxrss

_here = threading.local()


class Measure(NamedTuple):
    """What is told of an attempt; plain, so that it may travel as it is.

    Attributes
    ----------
    started, stopped : float
        Seconds since the epoch, by the clock of the worker.
    cpu : float
        Seconds of processor time of the thread that ran the body, and of the processes that it was run as.
    peak_memory : int
        The most memory, in bytes, that the process had meanwhile which ran the body; 0 where nobody knows.
    worker : str
        Where it ran.
    """

    started: float
    stopped: float
    cpu: float = 0.0
    peak_memory: int = 0
    worker: str = ""


class Meter:
    """Measures one attempt, between `begin` and `end`; the body may run in another thread than who waits for it."""

    __slots__ = ("_cpu", "_outer", "_peak", "_spent", "_started", "measure")

    def __init__(self) -> None:
        self.measure: Measure | None = None  #: what came of it
        self._started = self._spent = self._cpu = 0.0
        self._peak: int | None = None  # of processes; None where there was none
        self._outer: Meter | None = None

    @property
    def has_begun(self) -> bool:
        """Whether the body has."""
        return self._started > 0

    def begin(self, *, is_alone: bool) -> float:
        """The body is about to begin, in this thread; when that is.

        Parameters
        ----------
        is_alone : bool
            Whether no other body runs in this process, so that the peak of its memory can be counted from here.
        """
        if is_alone:
            _forget_peak()
        self._outer, _here.meter = getattr(_here, "meter", None), self
        self._spent = time.thread_time()
        self._started = time.time()
        return self._started

    def add(self, cpu: float, peak_memory: int) -> None:
        """The body was, or is served by, a process of its own, which has ended and took this."""
        self._cpu += cpu
        self._peak = max(self._peak or 0, peak_memory)

    def end(self) -> None:
        """The body has ended, in the thread where it began."""
        if self.measure is None:
            stopped = time.time()
            cpu = self._cpu + time.thread_time() - self._spent
            own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _UNIT
            self.measure = Measure(self._started, stopped, cpu, own if self._peak is None else self._peak)
        _here.meter, self._outer = self._outer, None

    def leave(self) -> Measure | None:
        """Nobody waits for the body any more: what is known of it; None where it has not begun."""
        if self.measure is None and self._started:
            self.measure = Measure(self._started, time.time(), self._cpu, self._peak or 0)
        return self.measure


def note_process(usage: resource.struct_rusage, peak_memory: int) -> None:
    """A process that the body running in this thread started has ended, and used that much."""
    meter: Meter | None = getattr(_here, "meter", None)
    if meter is not None:
        meter.add(usage.ru_utime + usage.ru_stime, peak_memory)


def _forget_peak() -> None:
    """Have the system count the peak of this process's memory anew; 5 us. See proc(5), ``clear_refs``."""
    with suppress(OSError):
        file = os.open("/proc/self/clear_refs", os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(file, b"5")
        finally:
            os.close(file)
