"""Whoever wants to hear of every engine that a script makes: a display of the one who runs the script.

As with `asyncflow.notice`, nothing is shared: ``asyncflow run`` puts itself into a context variable, and engines that
are created in its context find it there.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from asyncflow.events import Events

#: Takes the events of an engine that has just been made, and listens or does not.
Audience = Callable[[Events], object]

_audience: ContextVar[Audience | None] = ContextVar("asyncflow_audience", default=None)


def current_audience() -> Audience | None:
    """That of the code which is running; None where nobody runs it who would be one."""
    return _audience.get()


@contextmanager
def heard_by(audience: Audience) -> Iterator[None]:
    """`audience` is told of the engines that code inside creates, which then show no progress of their own."""
    token = _audience.set(audience)
    try:
        yield
    finally:
        _audience.reset(token)
