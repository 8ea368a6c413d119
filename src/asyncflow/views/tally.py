"""Counts of calls by the names of their tasks, kept up with the events of one engine or several."""

import dataclasses
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from asyncflow.events import (
    Event,
    Events,
    Listener,
    PoolStopped,
    SessionEnded,
    TaskCanceled,
    TaskCompleted,
    TaskCorrupt,
    TaskCreated,
    TaskFailed,
    TaskFound,
    TaskLost,
    TaskRetried,
    TaskStarted,
)
from asyncflow.events.pools import KINDS as POOL_KINDS
from asyncflow.events.pools import PoolCounts, Pools
from asyncflow.node import Node
from asyncflow.recipe import Kind
from asyncflow.runs.facts import UPSTREAM
from asyncflow.states import TaskState
from asyncflow.views.pace import Pace
from asyncflow.views.snapshot import OTHERS, Snapshot, TaskCounts, Trouble

#: Names that are told apart.
NAMES = 200

#: Errors that are remembered.
ERRORS = 5

_LONGEST = 300  # characters of an error


class Tally:
    """Counts; for any thread, and at a microsecond an event.

    Memory is bounded by the number of names, and by that of calls that are unfinished.

    Parameters
    ----------
    changed : callable, optional
        Called when there is something new, once until the next `snapshot`; on the thread that tells the event, so it
        must return at once.
    names : int
        How many names are told apart; calls of further ones are counted under `OTHERS`.
    clock : callable
        Seconds of a clock that never goes back.
    """

    def __init__(
        self,
        changed: Callable[[], object] | None = None,
        *,
        names: int = NAMES,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._changed = changed or _nothing
        self._names = names
        self._clock = clock
        self._lock = threading.Lock()
        self._is_new = False
        self._rows: dict[str, TaskCounts] = {}
        self._open: dict[str, TaskCounts] = {}  # by the ids of calls that are unfinished
        self._running: set[str] = set()
        self._errors: deque[Trouble] = deque(maxlen=ERRORS)
        self._pace = Pace()
        self._watched: list[tuple[Events, Listener, Pools]] = []
        self._takes: dict[type[Event], Callable[[Any], None]] = {
            TaskCreated: self._created,
            TaskStarted: self._started,
            TaskCompleted: self._completed,
            TaskFailed: self._failed,
            TaskCanceled: self._cancelled,
            TaskFound: self._found,
            TaskRetried: self._retried,
            TaskLost: self._lost,
            TaskCorrupt: self._corrupt,
        }

    def watch(self, events: Events, nodes: Iterable[Node] = ()) -> None:
        """Count what `events` tell from now on.

        Parameters
        ----------
        nodes : iterable of Node
            Calls that are unfinished by now; those that have ended before are not counted.
        """
        pools = Pools()

        def hear(event: Event) -> None:
            self.take(event, pools)

        with self._lock:
            self._watched.append((events, hear, pools))
        events.listen(hear)
        with self._lock:
            for node in nodes:
                if not node.is_final:
                    self._open_call(node.key, node.name, is_block=node.kind is Kind.BLOCK)
                    if node.state is TaskState.RUNNING:
                        self._begin(node.key)

    def leave(self) -> None:
        """Count no more. Safe to call again."""
        with self._lock:
            watched, self._watched = self._watched, []
        for events, hear, _ in watched:
            events.leave(hear)

    def take(self, event: Event, pools: Pools | None = None) -> None:
        """Count `event` of an engine whose workers and jobs are those of `pools`."""
        kind = type(event)
        take = self._takes.get(kind)
        if take is not None:
            with self._lock:
                take(event)
        elif kind in POOL_KINDS:
            self._take_pools(event, pools)
        elif kind is SessionEnded:
            with self._lock:
                self._watched = [each for each in self._watched if each[2] is not pools]
        elif again := getattr(event, "again", ""):
            with self._lock:
                self._rename(event.key, again)
        else:
            return  # it changes no count
        if not self._is_new:
            self._is_new = True
            self._changed()

    def snapshot(self) -> Snapshot:
        """How things stand."""
        with self._lock:
            self._is_new = False
            now = self._clock()
            rows = sorted(self._rows.values(), key=lambda row: row.name == OTHERS)  # that one last
            pools = [counts for *_, each in self._watched for counts in each.counts()]
            return Snapshot(
                tasks=tuple(dataclasses.replace(row) for row in rows),
                pools=tuple(_merged(pools)),
                errors=tuple(self._errors),
                elapsed=self._pace.elapsed(now),
                rate=self._pace.rate(now),
            )

    # Each under the lock

    def _created(self, event: TaskCreated) -> None:
        self._open_call(event.id, event.name, is_block=event.task_type == "block")

    def _open_call(self, key: str, name: str, *, is_block: bool) -> None:
        if key in self._open:
            return
        row = self._rows.get(name)
        if row is None:
            name = name if len(self._rows) < self._names else OTHERS
            row = self._rows.setdefault(name, TaskCounts(name, is_block=is_block and name != OTHERS))
        row.calls += 1
        self._open[key] = row
        self._pace.begin(self._clock())

    def _started(self, event: TaskStarted) -> None:
        self._begin(event.id)

    def _begin(self, key: str) -> None:
        if key not in self._running and (row := self._open.get(key)) is not None:
            self._running.add(key)
            row.running += 1

    def _stop(self, key: str) -> None:
        """Its body runs no more, but the call goes on."""
        if key in self._running:
            self._running.discard(key)
            self._open[key].running -= 1

    def _end(self, key: str) -> TaskCounts | None:
        """Its row; None where it is not known, or has ended already."""
        self._stop(key)
        row = self._open.pop(key, None)
        if row is not None and not row.is_block:
            self._pace.end(self._clock())
        return row

    def _completed(self, event: TaskCompleted) -> None:
        if (row := self._end(event.id)) is not None:
            row.done += 1
            if (duration := event.duration) is not None:
                row.timed += 1
                row.total += duration
                row.longest = max(row.longest, duration)

    def _failed(self, event: TaskFailed) -> None:
        if (row := self._end(event.id)) is not None:
            row.failed += 1
            if event.error_type != UPSTREAM:
                self._errors.append(Trouble(event.time, event.name, event.id, _line(event.error)))

    def _cancelled(self, event: TaskCanceled) -> None:
        if (row := self._end(event.id)) is not None:
            row.cancelled += 1

    def _found(self, event: TaskFound) -> None:
        # What is told of it later, when it is read, is about a call that nobody made: it is passed over.
        if (row := self._end(event.id)) is not None:
            row.found += 1

    def _retried(self, event: TaskRetried) -> None:
        self._stop(event.id)
        if (row := self._open.get(event.id)) is not None:
            row.retried += 1
        self._rename(event.id, event.again)

    def _lost(self, event: TaskLost) -> None:
        self._stop(event.id)
        self._rename(event.id, event.again)

    def _corrupt(self, event: TaskCorrupt) -> None:
        """It was found, and is made after all."""
        row = self._rows.get(event.name) or self._rows.get(OTHERS)
        if event.id in self._open:
            self._rename(event.id, event.again)
        elif row is not None and row.found:
            row.found -= 1
            self._open[event.again] = row

    def _rename(self, key: str, again: str) -> None:
        if again and key in self._open:
            self._stop(key)
            self._open[again] = self._open.pop(key)

    def _take_pools(self, event: Event, pools: Pools | None) -> None:
        with self._lock:
            if pools is not None:
                pools.take(event)
            if isinstance(event, PoolStopped):
                self._errors.append(Trouble(event.time, f"pool {event.pool}", "", _line(event.error)))


def _merged(pools: Iterable[PoolCounts]) -> Iterable[PoolCounts]:
    """Pools of several engines that have one name, as one."""
    found: dict[str, PoolCounts] = {}
    for each in pools:
        if (one := found.setdefault(each.pool, each)) is each:
            continue
        one.workers += each.workers
        one.slots += each.slots
        one.jobs += each.jobs
        one.pending += each.pending
        one.most = None if one.most is None or each.most is None else one.most + each.most
        names = [*one.reasons, *each.reasons]
        one.reasons = {name: one.reasons.get(name, 0) + each.reasons.get(name, 0) for name in names}
        one.stopped = one.stopped or each.stopped
    return found.values()


def _line(text: str) -> str:
    return " ".join(text[: 2 * _LONGEST].split())[:_LONGEST]


def _nothing() -> None:
    return None
