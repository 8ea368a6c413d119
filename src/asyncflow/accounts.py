"""What is told of the ends of calls: each once, with what it took, which may be known before or after the end is."""

import concurrent.futures
import threading
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from asyncflow.events import Events, TaskCanceled, TaskCompleted, TaskFailed, TaskQueued, TaskStarted
from asyncflow.failures import told
from asyncflow.measure import Measure
from asyncflow.node import Node
from asyncflow.states import TaskState

_MAX_TOLD = 1000  # characters of an error


class Queued(NamedTuple):
    """That a call waits for its turn: since when, and in which state, as `TaskQueued` has it."""

    time: float
    state: str
    worker: str


class Account(NamedTuple):
    """What a call took that is done, how large its value is, in bytes, and how it waited, if that was not told."""

    measure: Measure | None = None
    size: int | None = None
    queued: Queued | None = None


class Accounts:
    """Tells of calls that end; all methods but `close` are for any thread.

    Parameters
    ----------
    events : Events
        Who is told.
    is_open : callable
        Whether the call with a key is unfinished.
    """

    def __init__(self, events: Events, is_open: Callable[[str], bool]) -> None:
        self._events = events
        self._is_open = is_open
        self._lock = threading.Lock()
        self._early: dict[str, Account] = {}  # of calls that are not known to be done
        self._done: dict[str, _Done] = {}  # those whose accounts are not known
        self._known: concurrent.futures.Future[None] = concurrent.futures.Future()

    def note(self, key: str, account: Account) -> None:
        """What the call with `key` took; nothing where that is none of ours any more."""
        with self._lock:
            done = self._done.pop(key, None)
            if done is None:
                if self._events.is_heard and self._is_open(key):
                    self._early[key] = account
                return
            known = self._known if not self._done else None
        self._tell_done(key, done, account)
        if known is not None and not known.done():
            known.set_result(None)

    def known(self) -> "concurrent.futures.Future[None]":
        """Done as soon as it is known of all calls that are done what they took."""
        with self._lock:
            self._known = concurrent.futures.Future()
            if not self._done:
                self._known.set_result(None)
            return self._known

    def forget(self, key: str) -> None:
        """The call has another key from now on."""
        if self._early:
            with self._lock:
                self._early.pop(key, None)

    def close(self, node: Node, state: TaskState) -> None:
        """`node` has come to its final `state`."""
        if state is TaskState.DONE:
            self._close_done(node)
            return
        self.forget(node.key)
        measure = node.measure
        self.tell_started(node, measure)
        common = {**about(node), "time": time.time(), "started": node.begun or None, **took(measure)}
        if measure is not None:
            common["time"] = measure.stopped
        if state is TaskState.CANCELLED:
            self._events.tell(TaskCanceled(**common))
        else:
            text = told(node.error)[:_MAX_TOLD] if node.error is not None else ""
            self._events.tell(TaskFailed(**common, error=text, error_type=type(node.error).__name__))

    def tell_started(self, node: Node, measure: Measure | None, key: str = "") -> None:
        """An attempt of `node` is over, which took that; where nobody has told yet that it began, tell it now.

        Of the attempt under an earlier `key`, where one is given.
        """
        if measure is not None and measure.started and not node.begun:
            told = {**about(node), "id": key or node.key}
            self._events.tell(TaskStarted(**told, time=measure.started, worker=measure.worker, is_late=True))

    def settle(self) -> None:
        """Tell of calls that are done without what they took: nobody will say that any more."""
        with self._lock:
            left, self._done = self._done, {}
        for key, done in left.items():
            self._tell_done(key, done, Account())

    def _close_done(self, node: Node) -> None:
        done = _Done(node.name, node.workflow_id or "", time.time(), node.begun > 0)
        account: Account | None = Account(node.measure)
        if node.is_ready and node.backend.accounts_later:  # and not found, which nobody accounts for
            with self._lock:
                account = self._early.pop(node.key, None)
                if account is None:
                    self._done[node.key] = done
                    return
        assert account is not None
        self._tell_done(node.key, done, account)

    def _tell_done(self, key: str, done: "_Done", account: Account) -> None:
        measure = account.measure
        common: dict[str, Any] = {"id": key, "name": done.name, "workflow_id": done.workflow_id}
        if account.queued is not None:
            self._events.tell(TaskQueued(**common, **account.queued._asdict()))
        if measure is not None and measure.started and not done.was_told:
            self._events.tell(TaskStarted(**common, time=measure.started, worker=measure.worker, is_late=True))
        ended = measure.stopped if measure is not None and measure.stopped else done.time
        self._events.tell(TaskCompleted(**common, time=ended, size=account.size, **took(measure)))


class _Done(NamedTuple):
    """A call that is done; not its node, which holds the value."""

    name: str
    workflow_id: str
    time: float
    was_told: bool  # that it runs


def about(node: Node) -> dict[str, Any]:
    """What every event of a call says."""
    return {"id": node.key, "name": node.name, "workflow_id": node.workflow_id or ""}


def took(measure: Measure | None) -> dict[str, Any]:
    """What events say of what an attempt took."""
    if measure is None:
        return {}
    return {
        "started": measure.started or None,
        "worker": measure.worker,
        "cpu": round(measure.cpu, 6) if measure.cpu else None,
        "peak_memory": measure.peak_memory or None,
    }
