"""Spans made of events: session, workflow, block and task, each with the times of what really happened."""

import threading
from collections.abc import Mapping, Sequence
from typing import Any

from opentelemetry import context, propagate, trace

from asyncflow.events import (
    Event,
    SessionEnded,
    SessionStarted,
    TaskCanceled,
    TaskCompleted,
    TaskCorrupt,
    TaskCreated,
    TaskEvent,
    TaskFailed,
    TaskFound,
    TaskLost,
    TaskQueued,
    TaskResent,
    TaskResolved,
    TaskRetried,
    TaskStarted,
    TaskSubmitted,
)
from asyncflow.telemetry.workflows import Workflows

Carrier = Mapping[str, str]

_STATES = {TaskCompleted: "DONE", TaskFailed: "FAILED", TaskCanceled: "CANCELLED"}

#: Told as they are, as events of the call's span.
_STEPS = (TaskResolved, TaskSubmitted, TaskQueued, TaskStarted, TaskFound)

#: After which a call goes on, perhaps under another id.
_AGAIN = (TaskRetried, TaskLost, TaskCorrupt, TaskResent)


class _Call:
    """The span of one unfinished call."""

    __slots__ = ("attempts", "is_found", "span", "started", "workflow_id")

    def __init__(self, span: Any, started: int, workflow_id: str) -> None:
        self.span = span
        self.started = started
        self.workflow_id = workflow_id  # if its span is a child of the workflow's
        self.attempts = 1
        self.is_found = False


class Spans:
    """The open spans of one session: its own, those of workflows, and one for each unfinished call.

    Parameters
    ----------
    provider
        Who makes them.
    """

    def __init__(self, provider: Any) -> None:
        self._tracer = provider.get_tracer("asyncflow")
        self._lock = threading.Lock()
        self._outer = trace.get_current_span().get_span_context()
        self._around = context.get_current()
        self._session: Any = trace.INVALID_SPAN
        self._uid = ""
        self._calls: dict[str, _Call] = {}
        self._workflows = Workflows(self._begin_workflow)

    def called(self, event: TaskCreated, upstream: Sequence[Carrier]) -> Carrier | None:
        """Begin the span of a call, on the loop where it is made; what carries it to the body."""
        now = _ns(event.time)
        with self._lock:
            parent, workflow_id = self._parent(event, now)
            around = trace.set_span_in_context(parent)
            links = [trace.Link(each) for each in self._related(parent, upstream)]
            span = self._tracer.start_span(
                event.name, around, attributes=self._about(event), links=links, start_time=now
            )
            self._calls[event.id] = _Call(span, now, workflow_id)
        carrier: dict[str, str] = {}
        propagate.inject(carrier, trace.set_span_in_context(span))  # and the user's baggage, which is current here
        return carrier or None

    def take(self, event: Event) -> None:
        """It happened; from any thread."""
        if isinstance(event, TaskEvent):
            call = self._calls.get(event.id)
            if call is not None:
                self._go_on(call, event)
        elif isinstance(event, SessionStarted):
            self._uid = event.session_id
            about = {"asyncflow.kind": "session", "asyncflow.session_id": self._uid}
            about["asyncflow.backends"] = event.backends  # type: ignore[assignment]
            self._session = self._tracer.start_span(
                "session", self._around, attributes=about, start_time=_ns(event.time)
            )
        elif isinstance(event, SessionEnded):
            self.close(event.time)

    def close(self, time: float) -> None:
        """End whatever is open."""
        with self._lock:
            now = _ns(time)
            for call in self._calls.values():
                call.span.end(max(now, call.started))
            self._calls.clear()
            self._workflows.close(now)
            if self._session.is_recording():
                self._session.end(now)

    # Beginnings

    def _parent(self, event: TaskCreated, now: int) -> tuple[Any, str]:
        """The span that a call belongs to, and its workflow where that is it."""
        if event.block:
            block = self._calls.get(event.block)
            return (self._session if block is None else block.span), ""
        if event.workflow_id:
            return self._workflows.enter(event.workflow_id, now), event.workflow_id
        return self._session, ""

    def _begin_workflow(self, workflow_id: str, now: int) -> Any:
        about = {"asyncflow.kind": "workflow", "asyncflow.workflow_id": workflow_id, "asyncflow.session_id": self._uid}
        around = trace.set_span_in_context(self._session)
        return self._tracer.start_span("workflow", around, attributes=about, start_time=now)

    def _related(self, parent: Any, upstream: Sequence[Carrier]) -> list[Any]:
        """Spans that a new one is linked to: of what it depends on, and the user's own around the call."""
        found = [trace.get_current_span(propagate.extract(each)).get_span_context() for each in upstream]
        own = trace.get_current_span().get_span_context()
        if own.is_valid and own.span_id not in {parent.get_span_context().span_id, self._outer.span_id}:
            found.append(own)
        return [each for each in found if each.is_valid]

    def _about(self, event: TaskCreated) -> dict[str, Any]:
        about: dict[str, Any] = {
            "asyncflow.kind": "block" if event.task_type == "block" else "task",
            "asyncflow.session_id": self._uid,
            "asyncflow.task.id": event.id,
            "asyncflow.task.name": event.name,
            "asyncflow.task.type": event.task_type,
        }
        about |= {"asyncflow.workflow_id": event.workflow_id} if event.workflow_id else {}
        about |= {"asyncflow.task.backend": event.backend} if event.backend else {}
        needs = {f"asyncflow.task.needs.{name}": value for name, value in event.needs.items() if name != "resources"}
        given = event.needs.get("resources", {})
        return about | needs | {f"asyncflow.task.needs.{name}": value for name, value in given.items()}

    # What happens to a call

    def _go_on(self, call: _Call, event: TaskEvent) -> None:
        if isinstance(event, _STEPS):
            call.is_found |= isinstance(event, TaskFound)
            facts = {f"asyncflow.task.{name}": value for name, value in event.facts.items() if name != "workflow_id"}
            call.span.add_event(event.event_type, facts, _ns(event.time))
        elif isinstance(event, _AGAIN):
            self._again(call, event)
        elif isinstance(event, TaskCompleted | TaskFailed | TaskCanceled):
            self._end(call, event)

    def _again(self, call: _Call, event: TaskRetried | TaskLost | TaskCorrupt | TaskResent) -> None:
        if event.again:
            with self._lock:
                self._calls.pop(event.id, None)
                self._calls[event.again] = call
            call.span.set_attribute("asyncflow.task.id", event.again)
        if isinstance(event, TaskResent):
            return
        call.attempts += 1
        told = {"worker", "error", "delay", "attempt", "cause", "cpu", "peak_memory"}
        facts = {f"asyncflow.task.{name}": value for name, value in event.facts.items() if name in told}
        call.span.add_event(event.event_type, facts, _ns(event.time))

    def _end(self, call: _Call, event: TaskCompleted | TaskFailed | TaskCanceled) -> None:
        ended = max(_ns(event.time), call.started)
        facts = {
            "state": _STATES[type(event)],
            "attempt": call.attempts,
            "worker": event.worker,
            "cpu": event.cpu,
            "peak_memory": event.peak_memory,
            "duration": event.duration,
            "size": getattr(event, "size", None),
            "found": call.is_found,
        }
        call.span.set_attributes({f"asyncflow.task.{name}": value for name, value in facts.items() if value})
        if isinstance(event, TaskFailed):
            text = event.error.removeprefix(f"{event.error_type}: ")
            error = {"exception.type": event.error_type, "exception.message": text}
            call.span.add_event("exception", error, ended)
            call.span.set_status(trace.Status(trace.StatusCode.ERROR, event.error))
        call.span.end(ended)
        with self._lock:
            if self._calls.pop(event.id, None) is not None and call.workflow_id:
                self._workflows.leave(call.workflow_id, ended)


def _ns(seconds: float) -> int:
    """As spans have it, to the microsecond, which is all that such a number knows."""
    return int(seconds * 1_000_000) * 1000
