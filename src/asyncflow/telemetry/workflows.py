"""Spans of workflows: begun with the first call, ended when no more calls are to be expected."""

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

#: How many workflows without an unfinished call are kept open, as another call may follow.
IDLE = 100


class _Workflow:
    """One that is open."""

    __slots__ = ("last", "span", "unfinished")

    def __init__(self, span: Any) -> None:
        self.span = span
        self.unfinished = 0
        self.last = 0  # when its last call ended


class Workflows:
    """The open workflows. Nothing tells when one is over, so those that have been idle longest are ended, if too many.

    A call that comes still later begins another span of the same workflow.

    Parameters
    ----------
    begin : callable
        Begins the span of a workflow, from its id and the time.
    """

    def __init__(self, begin: Callable[[str, int], Any]) -> None:
        self._begin = begin
        self._busy: dict[str, _Workflow] = {}
        self._idle: OrderedDict[str, _Workflow] = OrderedDict()

    def enter(self, workflow_id: str, now: int) -> Any:
        """A call is made in it; its span."""
        found = self._busy.get(workflow_id) or self._idle.pop(workflow_id, None)
        if found is None:
            found = _Workflow(self._begin(workflow_id, now))
        self._busy[workflow_id] = found
        found.unfinished += 1
        return found.span

    def leave(self, workflow_id: str, now: int) -> None:
        """A call in it has ended."""
        found = self._busy[workflow_id]
        found.unfinished -= 1
        found.last = max(found.last, now)
        if not found.unfinished:
            self._idle[workflow_id] = self._busy.pop(workflow_id)
            if len(self._idle) > IDLE:
                _, oldest = self._idle.popitem(last=False)
                oldest.span.end(oldest.last)

    def close(self, now: int) -> None:
        """End all."""
        for each in self._idle.values():
            each.span.end(each.last)
        for each in self._busy.values():
            each.span.end(now)
        self._idle.clear()
        self._busy.clear()
