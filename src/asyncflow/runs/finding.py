"""A call of a run, by what somebody remembers of it."""

from asyncflow.runs.facts import Call
from asyncflow.runs.history import History
from asyncflow.suggest import hint

_SHOWN = 5


def find_call(history: History, task: str) -> Call:
    """The call with that id; else the newest of the task with that name; else the one whose id so begins or ends.

    Raises
    ------
    LookupError
        With what there is, where there is none or more than one.
    """
    if task in history.calls:
        return history.calls[task]
    if of_name := list(history.of_name(task)):
        return of_name[-1]
    found = [call for name, call in history.calls.items() if name.startswith(task) or name.endswith(task)]
    if len(found) == 1:
        return found[0]
    if found:
        listed = ", ".join(call.id for call in found[:_SHOWN])
        more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
        raise LookupError(f"{task!r} is part of the ids of {len(found)} calls: {listed}{more}; write more of it")
    names = sorted({call.name for call in history.calls.values()})
    about = hint(task, names) if names else "the journal of the run names none"
    raise LookupError(f"no call has the name or id {task!r}; {about}")
