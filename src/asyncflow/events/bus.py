"""Who is told of events."""

# Events of calls are made only where somebody listens; those of the engine, its pools and jobs always, as they are few.

import logging
import threading
from collections.abc import Callable, Mapping, Sequence

from asyncflow.events.base import Event
from asyncflow.events.calls import TaskCreated
from asyncflow.events.standing import STANDING, Standing

logger = logging.getLogger("asyncflow")

#: Must return at once; called where the event is made known: on the loop of the call, or on a thread of a backend.
Listener = Callable[[Event], object]

CarrierOf = Callable[[TaskCreated, Sequence[Mapping[str, str]]], Mapping[str, str] | None]


class Events:
    """Hands each event to all listeners; nobody makes events while there is none.

    Attributes
    ----------
    is_heard : bool
        Whether there is any.
    standing : Standing
        What is the case.
    carrier_of : callable or None
        Where spans of a call belong, asked at the call, where anybody traces: from the event that tells of it, and the
        carriers of what it depends on.
    """

    __slots__ = ("_listeners", "_lock", "_troubled", "_when_heard", "carrier_of", "is_heard", "standing")

    def __init__(self) -> None:
        self.is_heard = False
        self.standing = Standing()
        self.carrier_of: CarrierOf | None = None
        self._lock = threading.Lock()
        self._when_heard: list[Callable[[], object]] = []
        self._listeners: tuple[Listener, ...] = ()
        self._troubled: set[Listener] = set()

    def listen(self, listener: Listener) -> None:
        """Tell `listener` what is the case, and of everything from now on."""
        with self._lock:  # what becomes the case meanwhile is told once
            standing = list(self.standing)
            self._listeners = (*self._listeners, listener)
            self.is_heard = True
            callbacks, self._when_heard = self._when_heard, []
        for event in standing:
            self._tell(listener, event)
        for callback in callbacks:
            callback()

    def when_heard(self, callback: Callable[[], object]) -> None:
        """Call `callback` once, when there is a listener, in whatever thread that comes; now where there is one."""
        if self.is_heard:
            callback()
        else:
            self._when_heard.append(callback)

    def leave(self, listener: Listener) -> None:
        """Tell `listener` no more; nothing where nobody did."""
        # Equal, not the same: each look at a method makes another object.
        with self._lock:
            self._listeners = tuple(each for each in self._listeners if each != listener)
            self._troubled.discard(listener)
            self.is_heard = bool(self._listeners)

    def tell(self, event: Event) -> None:
        """It happened; from any thread. A listener that raises is told of in the log, once, and harms nobody."""
        listeners = self._listeners
        if type(event) in STANDING:
            with self._lock:
                self.standing.take(event)
                listeners = self._listeners
        for listener in listeners:
            self._tell(listener, event)

    def _tell(self, listener: Listener, event: Event) -> None:
        try:
            listener(event)
        except Exception:
            if listener not in self._troubled:
                self._troubled.add(listener)
                logger.exception("a listener failed at %s; it is told of further events", type(event).__name__)
