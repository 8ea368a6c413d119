"""Which call somebody means by what was typed: an id, a part of one, or the name of a task."""

from typing import NamedTuple

from asyncflow.runs.facts import Call, CallState
from asyncflow.runs.history import History
from asyncflow.suggest import did_you_mean


class Picked(NamedTuple):
    """The call that is meant, and how many others were meant as well."""

    call: Call
    others: int = 0


def pick(history: History, words: str) -> Picked:
    """The call that `words` mean.

    Of all with one name the newest that is unfinished, else the newest that failed itself, else the newest.

    Raises
    ------
    LookupError
        When they mean none, or several that have different names.
    """
    if (exact := history.call(words)) is not None:
        return Picked(exact)
    found = list(history.of_name(words)) or [call for call in history.calls.values() if words in call.id]
    if not found:
        names = {call.name for call in history.calls.values()}
        near = did_you_mean(words, names) or (f"called were {', '.join(sorted(names)[:10])}" if names else "")
        raise LookupError(
            f"no call of the last session is called {words!r}, or has that in its id; {near}".rstrip("; ")
        )
    if len({call.name for call in found}) > 1:
        some = ", ".join(call.id for call in found[:5])
        raise LookupError(f"{words!r} is in the ids of {len(found)} calls ({some}, …); give more of the id, or a name")
    return Picked(max(enumerate(found), key=lambda each: (_weight(each[1]), each[0]))[1], len(found) - 1)


def _weight(call: Call) -> int:
    if not call.is_over:
        return 3
    if call.state is CallState.FAILED:
        return 2 if call.failed_itself else 1
    return 0
