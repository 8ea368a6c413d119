"""What happens to calls, for whoever keeps a record of it: the journal, a progress display."""

import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple


class Event(NamedTuple):
    """One thing that happened to one call.

    Attributes
    ----------
    time : float
        When, in seconds since the epoch, as the driver saw it.
    kind : str
        ``called``, ``keyed`` (it is known what its kept result is called), ``found`` (its result was kept by an
        earlier run), ``corrupt`` (that result is damaged or gone, and made again), ``running``, ``retried`` (an
        attempt failed and another follows), ``lost`` (its worker died under it), ``done``, ``failed``, ``cancelled``.
    key : str
        The call; one that is sent again may change it, which ``retried`` and ``corrupt`` tell.
    name : str
        The task.
    facts : mapping
        What else is known, plain data only.
    """

    time: float
    kind: str
    key: str
    name: str
    facts: Mapping[str, Any]


#: Must return at once, and never raise; called on the loop of the call, and of ``lost`` on the backend's thread.
Listener = Callable[[Event], object]


class Events:
    """Hands each event to all listeners; without any, events cost next to nothing.

    Attributes
    ----------
    listeners : list of callable
        Who is told.
    """

    __slots__ = ("listeners",)

    def __init__(self) -> None:
        self.listeners: list[Listener] = []

    def emit(self, kind: str, key: str, name: str, **facts: Any) -> None:
        """It happened now."""
        if self.listeners:
            event = Event(time.time(), kind, key, name, facts)
            for listener in self.listeners:
                listener(event)
