"""Process groups: ended as a whole, at a stop sign or with their worker, never by a number that is another's now."""

import os
import resource
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from typing import Any, NamedTuple

from asyncflow import guardian
from asyncflow.measure import note_process
from asyncflow.stop import Stop

#: Seconds between TERM and KILL.
GRACE = 5.0

_RSS_UNIT = 1 if sys.platform == "darwin" else 1024


class Guardian:
    """Tells the guardian program which process groups live; started with the first command of a worker."""

    def __init__(self) -> None:
        self._program: subprocess.Popen[str] | None = None
        self._lock = threading.Lock()
        self._closed = False

    def watch(self, group: int) -> None:
        """End `group` if this process dies before `forget`."""
        self._write(f"+{group}\n")

    def forget(self, group: int) -> None:
        """`group` has ended."""
        self._write(f"-{group}\n")

    def close(self) -> None:
        """End what is still watched, and the program."""
        with self._lock:
            program, self._program = self._program, None
            self._closed = True
        if program is not None and program.stdin is not None:
            with suppress(OSError):  # it has gone already
                program.stdin.write(".\n")  # closing is not enough: a process forked meanwhile has the pipe open too
                program.stdin.close()
            program.wait()

    def _write(self, line: str) -> None:
        with self._lock:
            if self._closed:  # a command that `close` has just ended says so
                return
            if self._program is None:
                command = [sys.executable, "-I", "-S", guardian.__file__]
                self._program = subprocess.Popen(
                    command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, start_new_session=True
                )
            pipe = self._program.stdin
            assert pipe is not None
            pipe.write(line)
            pipe.flush()


class Ended(NamedTuple):
    """How the first process of a group ended.

    Attributes
    ----------
    code : int
        Its exit status, negative for a signal (as in `subprocess`).
    peak_memory : int or None
        The most memory that it had, in bytes. None where that is not known: the system counts what this process had
        when it started the other, so that only what is more than this process ever had is the other's own.
    """

    code: int
    peak_memory: int | None

    def __str__(self) -> str:
        """For messages: ``exited with 3``, ``was killed by SIGSEGV``."""
        return f"exited with {self.code}" if self.code >= 0 else f"was killed by {_signal_name(-self.code)}"


class ProcessGroup:
    """The group that a process leads, which was started with ``start_new_session=True``.

    Parameters
    ----------
    process : subprocess.Popen
        The leader; it is reaped here, by `reap`.
    """

    def __init__(self, process: subprocess.Popen[Any]) -> None:
        self._process = process
        self._ended = threading.Lock()  # held while signalling, so that no reaped group id is ever signalled
        self._reaped = False
        self._killer: threading.Timer | None = None
        self._before = _own_peak()

    def reap(self, stop: Stop, watcher: Guardian) -> Ended:
        """Wait for the leader, which `stop` and the end of this process end; what it leaves running ends with it."""
        pid = self._process.pid
        watcher.watch(pid)
        stop.add(self.terminate)
        try:
            os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
            with self._ended:
                # Not reaped yet, so the id is still ours: nothing else can be hit.
                with suppress(ProcessLookupError, PermissionError):
                    os.killpg(pid, signal.SIGKILL)
                _, status, usage = os.wait4(pid, 0)
                self._process.returncode = os.waitstatus_to_exitcode(status)
                self._reaped = True
                if self._killer is not None:
                    self._killer.cancel()
        finally:
            watcher.forget(pid)
        # Now and when it was started: a `Meter` has the peak of this process counted anew at times.
        peak = usage.ru_maxrss * _RSS_UNIT if usage.ru_maxrss > max(self._before, _own_peak()) else None
        note_process(usage, peak or 0)
        return Ended(self._process.returncode, peak)

    def terminate(self) -> None:
        """Send TERM to the group, and KILL `GRACE` seconds later; returns at once, from any thread."""
        self._signal(signal.SIGTERM)
        with self._ended:
            if not self._reaped and self._killer is None:
                self._killer = threading.Timer(GRACE, self._signal, [signal.SIGKILL])
                self._killer.daemon = True
                self._killer.start()

    def _signal(self, number: int) -> None:
        with self._ended:
            if not self._reaped:
                with suppress(ProcessLookupError, PermissionError):
                    os.killpg(self._process.pid, number)


def _own_peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
