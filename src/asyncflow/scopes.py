"""Which workflow and which block the code that is running belongs to, engine by engine."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import NamedTuple

from asyncflow.node import Node


class Scope(NamedTuple):
    """What calls made here belong to."""

    workflow_id: str | None = None
    block: Node | None = None


_NOWHERE = Scope()

# A context variable lives as long as the process, so there is one for all engines, holding a scope for each by uid.
_scopes: ContextVar[dict[str, Scope]] = ContextVar("asyncflow_scopes", default={})  # noqa: B039 - never mutated


def current_scope(engine_uid: str) -> Scope:
    """The scope of the running code in that engine."""
    return _scopes.get().get(engine_uid, _NOWHERE)


@contextmanager
def entered(engine_uid: str, scope: Scope) -> Iterator[None]:
    """Code inside runs in `scope`; tasks it creates inherit it, other engines see nothing of it."""
    token = _scopes.set({**_scopes.get(), engine_uid: scope})
    try:
        yield
    finally:
        _scopes.reset(token)
