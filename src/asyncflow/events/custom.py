"""Events of users' own."""

import copy
import keyword
from dataclasses import field, make_dataclass
from functools import partial
from typing import Any

from asyncflow.events.base import Event

_OURS = frozenset({"time", "kind", "key", "name", "facts", "event_type"})


def define_event(name: str, /, **fields: Any) -> type[Event]:
    """A class of events of your own, for ``flow.events.emit``.

    Parameters
    ----------
    name : str
        With a namespace in front, so that it is nobody else's: ``"etl.StageTimer"``. It is the ``event_type``, and the
        state in the journal.
    **fields
        What an event says: by each name a type, or a pair of type and default. Plain data can be read in the journal.

    Returns
    -------
    type
        Call it with the fields by name; ``time`` is now, unless given.

    Raises
    ------
    ValueError
        For a name without a dot, or a field that all events have.

    Examples
    --------
    >>> StageTimer = define_event("etl.StageTimer", stage=str, seconds=(float, 0.0))
    >>> StageTimer(stage="load").event_type
    'etl.StageTimer'
    """
    space, dot, last = name.rpartition(".")
    if not (space and dot and last.isidentifier()):
        raise ValueError(f"an event of yours needs a namespace in front of its name; not {name!r}, but 'mine.{last}'")
    for each in fields:
        if each in _OURS or keyword.iskeyword(each):
            raise ValueError(f"event {name!r} cannot have a field {each!r}, which every event has; choose another name")
    listed: list[Any] = []
    for each, told in fields.items():
        kind, *default = told if isinstance(told, tuple) else (told,)
        # Of a list each event has one of its own.
        listed.append((each, kind, field(default_factory=partial(copy.copy, *default))) if default else (each, kind))
    made: type[Event] = make_dataclass(
        last, listed, bases=(Event,), namespace={"kind": name, "event_type": name}, slots=True, kw_only=True
    )
    return made
