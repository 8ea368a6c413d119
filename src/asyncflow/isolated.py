"""One function body in a process of its own, which can be killed, limited in memory, and given an environment."""

import codecs
import os
import select
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import CancelledError
from contextlib import ExitStack, suppress
from typing import IO, Any, Self, TextIO

from asyncflow import child
from asyncflow.child import Parcel
from asyncflow.errors import OutOfMemoryError, ProcessDiedError, with_cause
from asyncflow.failures import told, unpack
from asyncflow.groups import Ended, Guardian, ProcessGroup
from asyncflow.pickles import dump_whole
from asyncflow.stop import Stop
from asyncflow.units import show_size

#: How much of what a process writes an exception carries.
LOG_TAIL = 64_000

_SHOWN_LINES = 10

_PIPE = 1 << 20  # more than a pipe holds: one look after the process's end finds all that it wrote

#: What C and C++ programs say when they are refused memory, and die.
_REFUSALS = ("bad_alloc", "cannot allocate memory", "out of memory", "memoryerror", "memory allocation")


class IsolatedBody:
    """One run of one function in a new process.

    Parameters
    ----------
    function, args, kwargs
        What is called; a coroutine is run to its end.
    name : str
        The task's, for errors.
    env : mapping
        The whole environment of the process.
    limit : int or None
        The most memory that the process may have, in bytes.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        name: str,
        env: Mapping[str, str],
        limit: int | None = None,
    ) -> None:
        self._call = function, args, kwargs
        self._name = name
        self._env = env
        self._limit = limit

    def run(self, stop: Stop, watcher: Guardian) -> Any:
        """What the function returns; setting `stop` kills the process, and so does the end of this one.

        What it prints goes to this process's ``sys.stdout`` and ``sys.stderr`` as it comes.

        Raises
        ------
        BaseException
            What the function raised.
        OutOfMemoryError
            When it took more memory than its limit.
        ProcessDiedError
            When the process ended without an answer: by a signal, or by an exit that Python does not see.
        CancelledError
            When `stop` was set.
        SerializationError
            Naming the argument that cannot be pickled.
        """
        with ExitStack() as open_files:
            call, outcome = (open_files.enter_context(_unnamed()) for _ in range(2))
            self._put_in(Parcel(call.fileno()))
            relay = open_files.enter_context(Relay())
            process = self._start(call, outcome, relay)
            ended = ProcessGroup(process).reap(stop, watcher)
            log = relay.end()
            return self._outcome(Parcel(outcome.fileno()), ended, log, stop)

    def _put_in(self, call: Parcel) -> None:
        try:
            call.put(self._call, sys.path)
        except OSError:
            raise
        except Exception:
            dump_whole(*self._call)  # says which argument it is
            raise

    def _start(self, call: IO[bytes], outcome: IO[bytes], relay: "Relay") -> subprocess.Popen[bytes]:
        files = call.fileno(), outcome.fileno()
        # -P: the program lies in the package, whose modules must not be found by their last names.
        argv = [sys.executable, "-P", child.__file__, *map(str, (*files, self._limit or 0))]
        return subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=relay.out,
            stderr=relay.err,
            env=self._env,
            pass_fds=files,
            start_new_session=True,
        )

    def _outcome(self, parcel: Parcel, ended: Ended, log: str, stop: Stop) -> Any:
        note = parcel.note()
        if note is None:
            if stop.is_set():
                raise CancelledError
            raise self._death(ended, log)
        kind, peak = note
        value = parcel.take()
        if kind == "value":
            return value
        error = unpack(value)
        if kind == "memory":
            raise with_cause(self._too_much(told(error), peak, ended.code, log), error)
        raise error

    def _death(self, ended: Ended, log: str) -> Exception:
        peak = ended.peak_memory
        is_at_limit = self._limit is not None and peak is not None and peak > 0.9 * self._limit
        if ended.code and self._limit and (is_at_limit or any(sign in log.lower() for sign in _REFUSALS)):
            return self._too_much(f"its process {ended}", peak, ended.code, log)
        text = f"the process of task {self._name!r} on {os.uname().nodename} {ended} without an answer"
        if peak is not None:
            text += f", having had {show_size(peak)} of memory"
        if self._limit and ended.code < 0:
            text += f" (C code that is refused memory, here more than {show_size(self._limit)}, often ends so)"
        return ProcessDiedError(text + _last_lines(log), **self._facts(peak, ended.code, log))

    def _too_much(self, how: str, peak: int | None, code: int, log: str) -> OutOfMemoryError:
        limit = self._limit or 0
        text = f"task {self._name!r} on {os.uname().nodename} wanted more than its memory of {show_size(limit)}"
        if peak is not None:
            text += f", having had {show_size(peak)}"
        text += f" ({how}); ask for more with memory=, or let retry_with= do so for further attempts"
        return OutOfMemoryError(text + _last_lines(log), limit=limit, **self._facts(peak, code, log))

    def _facts(self, peak: int | None, code: int, log: str) -> dict[str, Any]:
        host = os.uname().nodename
        return {"host": host, "task": self._name, "exit_code": code, "peak_memory": peak, "log": log}


class Relay:
    """Hands on what a process writes, as it comes, and remembers the end of it.

    A thread reads, which waits for the process and not for the pipes: what the process started may keep these open.
    """

    def __init__(self) -> None:
        self._tail = bytearray()
        self._ends = [os.pipe() for _ in range(3)]
        (self._out, self.out), (self._err, self.err), (self._woken, self._wake) = self._ends
        self._thread = threading.Thread(target=self._pump, name="asyncflow-relay", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.end()
        for file in (each for pair in self._ends for each in pair):
            os.close(file)

    def end(self) -> str:
        """The process has ended: the end of what it wrote, when all of it was handed on."""
        os.write(self._wake, b".")
        self._thread.join()
        return self._tail.decode(errors="replace").strip()

    def _pump(self) -> None:
        decoders = {file: codecs.getincrementaldecoder("utf-8")("replace") for file in (self._out, self._err)}
        poll = select.poll()
        for file in (*decoders, self._woken):
            poll.register(file, select.POLLIN)
        ready: list[int] = []
        while self._woken not in ready:
            ready = [file for file, _ in poll.poll()]
            for file in decoders.keys() & ready:
                data = os.read(file, _PIPE)
                self._tail = (self._tail + data)[-LOG_TAIL:]
                _tell(sys.stdout if file == self._out else sys.stderr, decoders[file].decode(data))


def _tell(stream: TextIO | None, text: str) -> None:
    if stream is not None:
        with suppress(OSError, ValueError):  # closed; the process must not wait for a reader all the same
            stream.write(text)


def _last_lines(log: str) -> str:
    lines = log.splitlines()[-_SHOWN_LINES:]
    return "".join(["; the last that it wrote was:", *(f"\n  {line}" for line in lines)]) if lines else ""


def _unnamed() -> IO[bytes]:
    """A file that nobody else can open: in memory where the system has such files."""
    if not hasattr(os, "memfd_create"):
        return tempfile.TemporaryFile()
    return open(os.memfd_create("asyncflow"), "r+b", buffering=0)  # noqa: PTH123 - it has no path
