"""The states of a call."""

from enum import StrEnum


class TaskState(StrEnum):
    """Where a call stands; it only moves forward, from the first to one of the last three, unless it is sent again."""

    PENDING = "PENDING"  #: called; its body has not begun, as far as the driver has heard
    RUNNING = "RUNNING"  #: the worker said that the body began; the word may be 0.2 s late
    DONE = "DONE"  #: the body returned; the value may still be on a worker
    FAILED = "FAILED"  #: the body, or something it depends on, raised
    CANCELLED = "CANCELLED"  #: somebody cancelled it, or something it depends on


#: States that nothing follows.
FINAL = frozenset({TaskState.DONE, TaskState.FAILED, TaskState.CANCELLED})
