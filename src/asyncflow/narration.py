"""Events of calls, made of what dispatch knows, where anybody listens."""

import time
from collections.abc import Iterable, Mapping
from typing import Any

from asyncflow.accounts import about, took
from asyncflow.arguments import found
from asyncflow.events import Events, TaskCreated, TaskFound, TaskResolved, TaskRetried, TaskStarted, TaskSubmitted
from asyncflow.futures import TaskFuture
from asyncflow.node import Node, Outcome
from asyncflow.options import TaskOptions


class Narrator:
    """Tells what happens to calls on their way; of their ends tell the books."""

    __slots__ = ("_events",)

    def __init__(self, events: Events) -> None:
        self._events = events

    def called(self, node: Node, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """`node` was called with these, in which futures still are what they were."""
        if self._events.is_heard:
            event = TaskCreated(
                **about(node),
                task_type=str(node.kind),
                depends_on=tuple(dict.fromkeys(_ids(args, kwargs, node.options.after))),
                backend=getattr(node.backend, "name", ""),
                block=node.block.key if node.block is not None else "",
                needs=needs(node.options),
            )
            self._events.tell(event)

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

    def running(self, node: Node, outcome: Outcome) -> None:
        """Its body has begun; when, is known where the outcome has it."""
        if self._events.is_heard and outcome.measure is not None:
            node.begun = begun = outcome.measure.started
            self._events.tell(TaskStarted(**about(node), time=begun, worker=outcome.measure.worker))

    def retried(self, node: Node, outcome: Outcome) -> None:
        """An attempt failed, and another follows on the same worker."""
        if self._events.is_heard:
            ended = outcome.measure.stopped if outcome.measure is not None else time.time()
            self._events.tell(TaskRetried(**about(node), time=ended, **took(outcome.measure), **outcome.value))


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


def _ids(*values: Any) -> list[str]:
    futures = found(values, lambda value: isinstance(value, TaskFuture))
    return [(future.node if future.node.alias is None else future.node.alias.node).key for future in futures]
