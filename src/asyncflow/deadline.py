"""The time that one attempt has, and what runs on beyond it."""

import contextvars
import logging
import os
import threading
from collections.abc import Callable
from typing import Any

from asyncflow.errors import TaskTimeoutError
from asyncflow.loops import close_loop
from asyncflow.stop import Stop

logger = logging.getLogger("asyncflow")

#: Seconds that a body gets to hear that its time is over, before it is said to run on.
HEARING = 0.2


def killed_in_time(body: Callable[[Stop], Any], timeout: float, name: str, stop: Stop) -> Any:
    """What `body` returns; it listens to its stop sign, and is waited for until it has ended.

    Raises
    ------
    TaskTimeoutError
        When it was stopped because its time was over.
    """
    own, expired = Stop(), threading.Event()
    stop.add(own.set)

    def expire() -> None:
        expired.set()
        own.set()

    timer = threading.Timer(timeout, expire)
    timer.daemon = True
    timer.start()
    try:
        return body(own)
    finally:
        timer.cancel()
        if expired.is_set() and not stop.is_set():
            raise TaskTimeoutError(f"{_too_long(name, timeout)}; its process was killed", timeout)


def left_in_time(
    body: Callable[[Stop], Any], timeout: float, name: str, stop: Stop, overdue: list[str], *, listens: bool
) -> Any:
    """What `body` returns, run by a thread of its own, which is left alone when its time is over.

    Parameters
    ----------
    overdue : list of str
        Where `name` stands for as long as the body runs on.
    listens : bool
        Whether the body ends when its stop sign is set, sooner or later.

    Raises
    ------
    TaskTimeoutError
        When its time was over.
    """
    own = Stop()  # the deadline of one attempt does not forbid the next
    stop.add(own.set)
    run = _Run(body, own, name, overdue)
    if not run.finished.wait(timeout):
        own.set()
        text = _too_long(name, timeout)
        if run.finished.wait(HEARING if listens else 0) or not run.leave():
            raise TaskTimeoutError(text, timeout)
        text += f"; it still runs in {os.uname().nodename} (pid {os.getpid()}) and cannot be stopped there"
        logger.warning("%s; with isolate='process' it would be killed", text)
        raise TaskTimeoutError(f"{text}; let it be killed with isolate='process'", timeout)
    return run.outcome()


class _Run:
    """A body in a thread of its own, which may be left before it has ended."""

    def __init__(self, body: Callable[[Stop], Any], stop: Stop, name: str, overdue: list[str]) -> None:
        self.finished = threading.Event()
        self._name = name
        self._overdue = overdue
        self._lock = threading.Lock()
        self._left = False
        self._value: Any = None
        self._error: BaseException | None = None
        run = contextvars.copy_context().run  # log lines of the body tell of which it is
        threading.Thread(target=run, args=(self._run, body, stop), name=f"asyncflow-timed-{name}", daemon=True).start()

    def leave(self) -> bool:
        """Stop waiting for it; False where it has just ended."""
        with self._lock:
            if self.finished.is_set():
                return False
            self._left = True
            self._overdue.append(self._name)
            return True

    def outcome(self) -> Any:
        """What it returned, or raised."""
        error, self._error = self._error, None
        if error is None:
            return self._value
        try:
            raise error
        finally:
            del error  # or it would hold the frames that hold it, and with them values

    def _run(self, body: Callable[[Stop], Any], stop: Stop) -> None:
        try:
            self._value = body(stop)
        except BaseException as error:
            self._error = error
        close_loop()
        with self._lock:
            self.finished.set()
            if not self._left:
                return
            self._overdue.remove(self._name)
        self._value = self._error = None
        logger.info("task %r has ended, which was out of time long before", self._name)


def _too_long(name: str, timeout: float) -> str:
    return f"task {name!r} took longer than its timeout of {timeout:g} s"
