"""Events of calls, made of what dispatch knows, where anybody listens."""

import time
from collections.abc import Iterable, Mapping
from typing import Any

from asyncflow.accounts import Accounts, Queued, about, took
from asyncflow.arguments import found
from asyncflow.events import (
    Events,
    TaskCreated,
    TaskFound,
    TaskQueued,
    TaskResolved,
    TaskRetried,
    TaskStarted,
    TaskSubmitted,
)
from asyncflow.futures import TaskFuture
from asyncflow.node import Node, Outcome
from asyncflow.options import TaskOptions


class Narrator:
    """Tells what happens to calls on their way; of their ends tell the books."""

    __slots__ = ("_accounts", "_events")

    def __init__(self, events: Events, accounts: Accounts) -> None:
        self._events = events
        self._accounts = accounts

    def called(self, node: Node, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """`node` was called with these, in which futures still are what they were."""
        if self._events.is_heard:
            upstream = _upstream(args, kwargs, node.options.after)
            event = TaskCreated(
                **about(node),
                task_type=str(node.kind),
                depends_on=tuple(each.key for each in upstream),
                backend=getattr(node.backend, "name", ""),
                block=node.block.key if node.block is not None else "",
                needs=needs(node.options),
            )
            self._events.tell(event)
            if self._events.carrier_of is not None:
                node.carrier = self._events.carrier_of(event, [each.carrier for each in upstream if each.carrier])

    def resolved(self, node: Node) -> None:
        """All that it depends on is on its backend."""
        if self._events.is_heard:
            self._events.tell(TaskResolved(**about(node)))

    def found(self, node: Node, result: str) -> None:
        """An earlier run has kept its result."""
        if self._events.is_heard:
            self._events.tell(TaskFound(**about(node), result=result))

    def submitted(self, nodes: Iterable[Node]) -> None:
        """They are handed to their backend."""
        if self._events.is_heard:
            now = time.time()
            for node in nodes:
                self._events.tell(TaskSubmitted(**about(node), time=now))

    def pending(self, node: Node, outcome: Outcome) -> None:
        """It waits for its turn, or for another attempt."""
        if not isinstance(outcome.value, Queued):
            self._retried(node, outcome)
        elif self._events.is_heard and outcome.value.time >= node.begun:  # or the news is late
            self._events.tell(TaskQueued(**about(node), **outcome.value._asdict()))

    def running(self, node: Node, outcome: Outcome) -> None:
        """Its body has begun; when, is known where the outcome has it."""
        if self._events.is_heard and outcome.measure is not None:
            node.begun = begun = outcome.measure.started
            self._events.tell(TaskStarted(**about(node), time=begun, worker=outcome.measure.worker))

    def _retried(self, node: Node, outcome: Outcome) -> None:
        """An attempt failed, and another follows on the same worker."""
        if self._events.is_heard:
            ended = outcome.measure.stopped if outcome.measure is not None else time.time()
            self._accounts.tell_started(node, outcome.measure)
            self._events.tell(TaskRetried(**about(node), time=ended, **took(outcome.measure), **outcome.value))
        node.begun = 0.0


def needs(options: TaskOptions) -> Mapping[str, Any]:
    """What a call with `options` asks of a worker, where that is more than any has."""
    asked = {
        "cores": options.cores if options.cores > 1 else None,
        "memory": options.memory,
        "resources": dict(options.resources),
        "pool": options.pool,
        "expected": options.expected,
    }
    return {name: value for name, value in asked.items() if value}


def _upstream(*values: Any) -> list[Node]:
    futures = found(values, lambda value: isinstance(value, TaskFuture))
    nodes = (future.node if future.node.alias is None else future.node.alias.node for future in futures)
    return list({node.key: node for node in nodes}.values())
