"""A stop sign: what must be done when a body is to end early."""

import threading
from collections.abc import Callable


class Stop:
    """Collects what ends one running body; `set` may come from any thread, any number of times.

    A body that asks for something that outlives a thread (a process, a coroutine) adds the way to end it.
    """

    __slots__ = ("_actions", "_event", "_lock")

    def __init__(self) -> None:
        self._event = threading.Event()
        self._lock = threading.Lock()
        self._actions: list[Callable[[], object]] = []

    def is_set(self) -> bool:
        """Whether the body was told to end."""
        return self._event.is_set()

    def add(self, action: Callable[[], object]) -> None:
        """Do `action` when the sign is set; at once if it is set already."""
        with self._lock:
            if not self._event.is_set():
                self._actions.append(action)
                return
        action()

    def set(self) -> None:
        """Tell the body to end; returns without waiting for it."""
        with self._lock:
            self._event.set()
            actions, self._actions = self._actions, []
        for action in actions:
            action()

    def wait(self, timeout: float) -> bool:
        """Wait `timeout` seconds for the sign; whether it was set."""
        return self._event.wait(timeout)
