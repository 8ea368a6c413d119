"""What a scheduler's `Observer` says, as events and accounts."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from asyncflow.accounts import Account, Queued
from asyncflow.events import Event, ResourceUpdate, WorkerJoined, WorkerLeft
from asyncflow.measure import Measure


def measured(row: Sequence[Any] | None) -> Measure | None:
    """What a body took, of the row that travelled; None where nobody measured."""
    return Measure(*row) if row is not None else None


def accounts(news: Mapping[str, Any]) -> Iterator[tuple[str, Account]]:
    """What tasks took that have ended well, by key."""
    for key, measure, size, waited in news.get("done", ()):
        queued = Queued(*waited[1:]) if waited is not None else None
        yield key, Account(measured(measure), size, queued)


def waits(news: Mapping[str, Any]) -> Iterator[tuple[str, Queued]]:
    """Tasks that wait for their turn, by key."""
    for key, *how in news.get("waits", ()):
        yield key, Queued(*how)


def events(news: Mapping[str, Any]) -> Iterator[Event]:
    """What is said of workers."""
    for worker in news.get("came", ()):
        yield WorkerJoined(**worker)
    for address, cpu, memory in news.get("uses", ()):
        yield ResourceUpdate(worker=address, cpu=cpu, memory=memory)
    for worker in news.get("left", ()):
        yield WorkerLeft(**worker)
