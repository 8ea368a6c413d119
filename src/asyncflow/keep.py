"""A result that is kept: looked for before the body begins, and written before the call counts as done."""

import functools
import logging
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from asyncflow.errors import CorruptResultError
from asyncflow.files import DIGESTS, InputFile, verify
from asyncflow.store import Kept, ResultStore

logger = logging.getLogger("asyncflow")


class Ticket(NamedTuple):
    """What a worker needs to know to keep the result of one call.

    Attributes
    ----------
    store : str
        The URL of the results.
    token : str
        Of the driver that owns them; where another's stands, nothing is begun or written.
    key : str
        What the result is called.
    facts : mapping
        What is written down with it.
    only_read : bool
        Whether the body must not be run: the call is there to read what an earlier run has kept.
    """

    store: str
    token: str
    key: str
    facts: Mapping[str, Any]
    only_read: bool = False


def kept(ticket: Ticket, body: Callable[[], Any]) -> Any:
    """The result that is kept under `ticket`, else that of `body`, which is then kept.

    Raises
    ------
    FencedError
        When the results belong to another driver by now.
    CorruptResultError
        When the ticket is only to read, and the result is damaged or gone.
    SerializationError
        When the result cannot be pickled.
    OSError
        When it cannot be written, for a full disk; then nothing is kept.
    """
    store = _store(ticket.store)
    store.check(ticket.token)
    found = _look(store, ticket)
    if found is not None:
        return found.value
    value = body()
    store.check(ticket.token)
    _write(store, ticket, value)
    return value


def _changed(found: Kept) -> list[str]:
    """The files that a kept result names and that are not what they were."""
    captured = found.facts.get("captured")
    return verify([found.value, *([InputFile(str(found.value), *captured)] if captured else [])])


def _write(store: ResultStore, ticket: Ticket, value: Any) -> None:
    facts = dict(ticket.facts)
    if facts.pop("captures", False):  # the value only is the path of a file
        facts["captured"] = DIGESTS.content_of(str(value))
    try:
        store.write(ticket.key, value, facts)
    except OSError as error:
        text = (
            f"the result of task {ticket.facts.get('name', ticket.key)!r} cannot be kept in {store.url} "
            f"({error.strerror or error}); make room there, or set results= to another place, and resume the run"
        )
        raise type(error)(*([error.errno] if error.errno is not None else []), text) from error


def _look(store: ResultStore, ticket: Ticket) -> Kept | None:
    path = store.path(ticket.key)
    try:
        found = store.read(ticket.key)
        if found is None and ticket.only_read:
            raise CorruptResultError(f"the kept result {path} is gone", path)
        if found is not None and (changed := _changed(found)):
            files = ", ".join(changed)
            raise CorruptResultError(f"the kept result {path} names files that are gone or changed: {files}", path)
    except OSError as error:  # what cannot be read is as good as damaged: it can be made again
        broken = CorruptResultError(f"the kept result {path} cannot be read ({error}); remove what is there", path)
        if ticket.only_read:
            raise broken from error
        logger.warning("%s", broken)
        return None
    except CorruptResultError as error:
        if ticket.only_read:
            raise
        logger.warning("%s; it is computed again", error)
        return None
    return found


@functools.lru_cache(maxsize=16)
def _store(url: str) -> ResultStore:
    return ResultStore(url)
