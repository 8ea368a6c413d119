"""What is the case, of what events have told: for listeners that come later."""

import threading
from collections.abc import Iterator

from asyncflow.events.base import Event
from asyncflow.events.calls import (
    SessionStarted,
)
from asyncflow.events.places import (
    JobEnded,
    JobsPending,
    JobStarted,
    JobSubmitted,
    PoolDeclared,
    PoolStopped,
    WorkerJoined,
    WorkerLeft,
)


class Standing:
    """The engine, its pools, and the workers and jobs that live, as the events that told of them.

    Bounded by what there is: what ends is forgotten.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._events: dict[tuple[str, ...], Event] = {}

    def take(self, event: Event) -> None:
        """Note it, if something is the case from now on, or no longer."""
        match event:
            case SessionStarted():
                self._set(event, "session")
            case PoolDeclared():
                self._set(event, "pool", event.pool)
            case PoolStopped():
                self._set(event, "pool stopped", event.pool)
            case WorkerJoined():
                self._set(event, "worker", event.worker)
            case WorkerLeft():
                self._drop("worker", event.worker)
            case JobSubmitted():
                self._set(event, "job", event.job)
                self._drop("job started", event.job)  # it was put back
            case JobStarted():
                self._set(event, "job started", event.job)
            case JobEnded():
                self._drop("job", event.job)
                self._drop("job started", event.job)
            case JobsPending():
                self._set(event, "pending", event.pool)

    def __iter__(self) -> Iterator[Event]:
        """The events, in the order in which they were told."""
        with self._lock:
            events = list(self._events.values())
        return iter(sorted(events, key=lambda event: event.time))

    def _set(self, event: Event, *key: str) -> None:
        with self._lock:
            self._events[key] = event

    def _drop(self, *key: str) -> None:
        with self._lock:
            self._events.pop(key, None)


#: Events of calls, by far the most, are not looked at.
STANDING = frozenset(
    {
        SessionStarted,
        PoolDeclared,
        PoolStopped,
        WorkerJoined,
        WorkerLeft,
        JobSubmitted,
        JobStarted,
        JobEnded,
        JobsPending,
    }
)
