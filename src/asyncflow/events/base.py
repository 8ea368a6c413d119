"""What an event is: a small dataclass, with the time when the thing happened.

Times are seconds since the epoch, of the clock of the machine where the thing happened: of a body that begins or ends
its worker's, of a task that waits the scheduler's, of everything else the driver's.

Events are as cheap as that: no base class does anything when one is made.
"""

import functools
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar


@dataclass(slots=True, kw_only=True)
class Event:
    """Something that happened.

    Attributes
    ----------
    kind : str
        Its word in the journal; one for each class.
    time : float
        When.
    """

    kind: ClassVar[str] = ""
    _apart: ClassVar[frozenset[str]] = frozenset({"time"})  # fields that are no facts
    time: float = field(default_factory=time.time)

    @property
    def key(self) -> str:
        """The id of the call that it is about; empty where it is about none."""
        return ""

    @property
    def name(self) -> str:
        """The name of the task that it is about; empty where it is about none."""
        return ""

    @property
    def event_type(self) -> str:
        """The name of its class; of one of yours the name that you gave it."""
        return type(self).__name__

    @property
    def facts(self) -> Mapping[str, Any]:
        """All else that is known, plain data by name; what is empty or 0 is left out."""
        return {name: value for name in _facts_of(_class_of(self)) if (value := getattr(self, name))}


def _class_of(event: Event) -> Any:
    return type(event)


@functools.cache
def _facts_of(kind: Any) -> tuple[str, ...]:
    return tuple(each.name for each in fields(kind) if each.name not in kind._apart)  # noqa: SLF001
