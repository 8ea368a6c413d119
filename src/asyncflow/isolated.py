"""One function body in a process of its own, which can be killed, limited in memory, and given an environment."""

import codecs
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from concurrent.futures import CancelledError
from contextlib import ExitStack, suppress
from typing import IO, Any, TextIO

from asyncflow import child
from asyncflow.child import Parcel
from asyncflow.errors import OutOfMemoryError, ProcessDiedError, with_cause
from asyncflow.failures import told, unpack
from asyncflow.groups import Ended, Guardian, ProcessGroup
from asyncflow.output import Output
from asyncflow.pickles import dump_whole
from asyncflow.relay import Relay, Tail, Take, each_of
from asyncflow.stop import Stop
from asyncflow.units import show_size

_SHOWN_LINES = 10

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

    def run(self, stop: Stop, watcher: Guardian, output: Output | None = None) -> Any:
        """What the function returns; setting `stop` kills the process, and so does the end of this one.

        What it prints and logs goes to `output` as it comes; where that is None, what it prints goes to this process's
        ``sys.stdout`` and ``sys.stderr``.

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
            tail = Tail()
            relay = open_files.enter_context(Relay(_takers(tail, output)))
            process = self._start(call, outcome, relay)
            ended = ProcessGroup(process).reap(stop, watcher)
            relay.end()
            return self._outcome(Parcel(outcome.fileno()), ended, tail.text().strip(), stop)

    def _put_in(self, call: Parcel) -> None:
        try:
            call.put(self._call, sys.path)
        except OSError:
            raise
        except Exception:
            dump_whole(*self._call)  # says which argument it is
            raise

    def _start(self, call: IO[bytes], outcome: IO[bytes], relay: Relay) -> subprocess.Popen[bytes]:
        out, err, *log = relay.ends
        files = call.fileno(), outcome.fileno(), *log
        # -P: the program lies in the package, whose modules must not be found by their last names.
        argv = [sys.executable, "-P", child.__file__, *map(str, (*files[:2], self._limit or 0, *(log or [0])))]
        return subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
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


def _teller(tail: Tail, name: str) -> Take:
    """Who remembers the end of what is written, and writes it to this process's ``sys.stdout`` or ``sys.stderr``."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def take(data: bytes) -> None:
        tail.take(data)
        stream: TextIO | None = getattr(sys, name)
        if stream is not None:
            with suppress(OSError, ValueError):  # it was closed
                stream.write(decoder.decode(data))

    return take


def _takers(tail: Tail, output: Output | None) -> list[Take]:
    """Who gets what a process prints and, where it is captured, logs."""
    if output is None:
        return [_teller(tail, "stdout"), _teller(tail, "stderr")]
    return [each_of(tail.take, output.stdout.write), each_of(tail.take, output.stderr.write), output.log.write]


def _last_lines(log: str) -> str:
    lines = log.splitlines()[-_SHOWN_LINES:]
    return "".join(["; the last that it wrote was:", *(f"\n  {line}" for line in lines)]) if lines else ""


def _unnamed() -> IO[bytes]:
    """A file that nobody else can open: in memory where the system has such files."""
    if not hasattr(os, "memfd_create"):
        return tempfile.TemporaryFile()
    return open(os.memfd_create("asyncflow"), "r+b", buffering=0)  # noqa: PTH123 - it has no path
