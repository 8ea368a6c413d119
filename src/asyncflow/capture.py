"""What a function prints and logs, taken apart by body: several bodies of one process share ``sys.stdout``."""

import io
import logging
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import Any, TextIO

from asyncflow.child import log_line, teed
from asyncflow.output import Output, Sink

#: Threads of Dask's pools, of which a body starts one when it leaves its own: they run other bodies then.
_OF_POOLS = "Dask-"


class Capture:
    """The output of one attempt, as what runs in it sees it."""

    def __init__(self, output: Output) -> None:
        self.stdout, self.stderr = _text(output.stdout), _text(output.stderr)
        self.log = output.log
        self.is_over = False

    def end(self) -> None:
        """What still writes does not write here any more."""
        self.is_over = True
        for stream in (self.stdout, self.stderr):
            with suppress(ValueError):  # the body has closed it
                stream.flush()


_own: ContextVar[Capture | None] = ContextVar("asyncflow-capture", default=None)


def _current() -> Capture | None:
    """Whose output the running code writes."""
    capture = _own.get()
    return None if capture is None or capture.is_over else capture


@contextmanager
def captured(output: Output) -> Iterator[None]:
    """Have what this thread prints and logs go to `output`, which ends with the block.

    So does what coroutines do that it runs, threads that it starts, and whatever runs in a copy of its context.
    """
    capture = Capture(output)
    with output, _switch:
        token = _own.set(capture)
        try:
            yield
        except Exception as error:
            capture.end()
            output.tell(error)
            raise
        finally:
            _own.reset(token)
            capture.end()


class StandIn:
    """Stands where ``sys.stdout`` or ``sys.stderr`` did: a captured body writes to its own, others to the original."""

    def __init__(self, name: str, original: TextIO | None) -> None:
        self.original = original
        self.name = name

    def write(self, text: str) -> int:
        """As a text stream does."""
        stream = self._now()
        return len(text) if stream is None else stream.write(text)

    def flush(self) -> None:
        """As a text stream does."""
        stream = self._now()
        if stream is not None:
            stream.flush()

    def __getattr__(self, name: str) -> Any:
        """Whatever else a stream has."""
        return getattr(self._now(), name)

    def _now(self) -> TextIO | None:
        capture = _current()
        return self.original if capture is None else getattr(capture, self.name)


class _Switch:
    """What a captured body needs in its process, put in when the first begins and taken out when the last has ended.

    Taken out is what still stands there: who has put something over it meanwhile took it for the original, and finds
    that it behaves so.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._undo: list[Callable[[], None]] = []
        # For ever: `print` in another thread may be about to write to one that is taken out, and does not hold it.
        self._stand_ins: list[StandIn] = []

    def __enter__(self) -> None:
        with self._lock:
            self._users += 1
            if self._users == 1:
                self._put_in()

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._users -= 1
            if not self._users:
                while self._undo:
                    self._undo.pop()()

    def _put_in(self) -> None:
        for name in ("stdout", "stderr"):
            before = getattr(sys, name)
            self._replace(sys, name, self._stand_in(name, before.original if isinstance(before, StandIn) else before))
        self._replace(threading.Thread, "start", _following(threading.Thread.start))
        self._tee_records()

    def _stand_in(self, name: str, original: TextIO | None) -> StandIn:
        for each in self._stand_ins:
            if each.name == name and each.original is original:
                return each
        self._stand_ins.append(made := StandIn(name, original))
        return made

    def _replace(self, owner: Any, name: str, ours: Any) -> None:
        before = getattr(owner, name)

        def undo() -> None:
            if getattr(owner, name) is ours:
                setattr(owner, name, before)

        setattr(owner, name, ours)
        self._undo.append(undo)

    def _tee_records(self) -> None:
        # Not a handler of the root logger: with one, `logging.basicConfig` in a body would do nothing, and warnings
        # that nobody handles would not be shown (`logging.lastResort`).
        before, is_in = logging.getLogRecordFactory(), True

        def take(record: logging.LogRecord) -> None:
            capture = _current()
            if capture is not None and is_in:
                capture.log.write(log_line(record))

        ours = teed(before, take)

        def undo() -> None:
            nonlocal is_in
            is_in = False
            if logging.getLogRecordFactory() is ours:
                logging.setLogRecordFactory(before)

        logging.setLogRecordFactory(ours)
        self._undo.append(undo)


#: One for the process, as ``sys.stdout`` is.
_switch = _Switch()


def _text(sink: Sink) -> TextIO:
    return io.TextIOWrapper(io.BufferedWriter(sink), "utf-8", "backslashreplace", line_buffering=True)


def _following(start: Callable[[threading.Thread], None]) -> Callable[[threading.Thread], None]:
    """`start` of threads; those that a captured body starts write where it does."""

    def start_known(thread: threading.Thread) -> None:
        capture = _current()
        if capture is not None and not thread.name.startswith(_OF_POOLS):
            _make_known(thread, capture)
        start(thread)

    return start_known


def _make_known(thread: threading.Thread, capture: Capture) -> None:
    before, run = vars(thread).get("run"), thread.run

    def run_known() -> None:
        if before is None:
            vars(thread).pop("run", None)  # else it would be a circle
        _own.set(capture)
        run()

    vars(thread)["run"] = run_known  # a thread has a context of its own, which only it can change
