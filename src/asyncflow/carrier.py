"""Where the spans belong that a body makes: what says so travels with its call, and is attached around the body.

A carrier is plain data, the headers of W3C trace context as OpenTelemetry's propagators write and read them. Where no
call carries one, nothing travels and OpenTelemetry is not imported.
"""

import functools
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from typing import Any, NamedTuple

Carrier = Mapping[str, str]


class _Here(NamedTuple):
    """What the call carries that runs here."""

    carrier: Carrier
    is_attached: bool = False


_here: ContextVar[_Here | None] = ContextVar("asyncflow_carried", default=None)


def within(carrier: Carrier | None, function: Callable[..., Any], /, *args: Any) -> Any:
    """What `function` returns, the bodies in which carry `carrier`."""
    return function(*args) if carrier is None else _entered(_Here(carrier), function, *args)


def bound(body: Callable[..., Any]) -> Callable[..., Any]:
    """What runs `body` so that its spans belong where the call here says, in whatever thread; itself where none does.

    A body inside another one goes on with what is the case there, spans that the outer one has begun included.
    """
    here = _here.get()
    if here is None:
        return body
    return functools.partial(copy_context().run, body) if here.is_attached else functools.partial(_run, here, body)


def bound_apart(function: Callable[..., Any]) -> Callable[..., Any]:
    """The same of a function that runs in a process of its own, for it and for the coroutine that it may return."""
    here = _here.get()
    return function if here is None else functools.partial(_run_apart, here.carrier, function)


def environment() -> dict[str, str]:
    """What the environment of a program says that the call here starts: ``TRACEPARENT`` and the like."""
    here = _here.get()
    if here is None:
        return {}
    return {re.sub(r"[^A-Z0-9]", "_", name.upper()): value for name, value in here.carrier.items()}


@contextmanager
def attached(carrier: Carrier | None) -> Iterator[None]:
    """Spans that are begun inside belong where `carrier` says; nothing changes where OpenTelemetry is not installed."""
    if carrier is None or (tools := _tools()) is None:
        yield
        return
    context, propagate = tools
    token = context.attach(propagate.extract(carrier))
    try:
        yield
    finally:
        context.detach(token)


def _entered(here: _Here, function: Callable[..., Any], *args: Any) -> Any:
    token = _here.set(here)
    try:
        return function(*args)
    finally:
        _here.reset(token)


def _run(here: _Here, body: Callable[..., Any], *args: Any) -> Any:
    with attached(here.carrier):
        return _entered(here._replace(is_attached=True), body, *args)


def _run_apart(carrier: Carrier, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    if (tools := _tools()) is not None:
        context, propagate = tools
        context.attach(propagate.extract(carrier))  # to the end of the process
    return function(*args, **kwargs)


def _tools() -> tuple[Any, Any] | None:
    try:
        from opentelemetry import context, propagate
    except ImportError:  # workers may do without
        return None
    return context, propagate
