"""A few numbers of calls: how many there were, how they ended, how long they took."""

from typing import Any

from asyncflow.events import Event, TaskCanceled, TaskCompleted, TaskCreated, TaskFailed, TaskRetried

_STATES = {TaskCompleted: "DONE", TaskFailed: "FAILED", TaskCanceled: "CANCELLED"}


class Metrics:
    """Counts calls, by the name of their task and by how they end.

    Parameters
    ----------
    provider
        Of the SDK's kind.
    """

    def __init__(self, provider: Any) -> None:
        meter = provider.get_meter("asyncflow")
        self._called = meter.create_counter("asyncflow.tasks.called", description="calls of tasks and blocks")
        self._ended = meter.create_counter("asyncflow.tasks.ended", description="calls that have ended, by state")
        self._retried = meter.create_counter("asyncflow.tasks.retried", description="attempts that another followed")
        self._took = meter.create_histogram("asyncflow.task.duration", "s", "what bodies took")

    def take(self, event: Event) -> None:
        """Count it, from any thread."""
        about = {"asyncflow.task.name": event.name}
        if isinstance(event, TaskCreated):
            self._called.add(1, about)
        elif isinstance(event, TaskRetried):
            self._retried.add(1, about)
        elif isinstance(event, TaskCompleted | TaskFailed | TaskCanceled):
            about["asyncflow.task.state"] = _STATES[type(event)]
            self._ended.add(1, about)
            if event.duration is not None:
                self._took.record(max(event.duration, 0.0), about)
