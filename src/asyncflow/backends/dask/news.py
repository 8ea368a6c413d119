"""What a scheduler's `Observer` says, as events and accounts."""

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from asyncflow.accounts import Account, Queued, took
from asyncflow.events import Event, ResourceUpdate, TaskQueued, TaskRetried, WorkerJoined, WorkerLeft
from asyncflow.ledger import task_name
from asyncflow.measure import Measure


def accounts(news: Mapping[str, Any]) -> Iterator[tuple[str, Account]]:
    """What tasks took that have ended well, by key."""
    for key, measure, size, waited in news.get("done", ()):
        queued = Queued(*waited[1:]) if waited is not None else None
        yield key, Account(Measure(*measure) if measure is not None else None, size, queued)


def events(news: Mapping[str, Any], workflow_of: Callable[[str], str]) -> Iterator[Event]:
    """The rest of what is said; `workflow_of` knows the workflow of a call by its key."""
    for worker in news.get("came", ()):
        yield WorkerJoined(**worker)
    for key, *waits in news.get("waits", ()):
        queued = Queued(*waits)
        yield TaskQueued(id=key, name=task_name(key), workflow_id=workflow_of(key), **queued._asdict())
    for address, cpu, memory in news.get("uses", ()):
        yield ResourceUpdate(worker=address, cpu=cpu, memory=memory)
    for worker in news.get("left", ()):
        yield WorkerLeft(**worker)


def late_retry(key: str, facts: Mapping[str, Any], measure: Measure | None) -> TaskRetried:
    """An attempt of a call failed, and the next had ended before that was told."""
    ended = measure.stopped if measure is not None else time.time()
    return TaskRetried(id=key, name=task_name(key), time=ended, **took(measure), **facts)
