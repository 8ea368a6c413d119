"""What failed and why: failures of one kind together."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from asyncflow.runs.facts import UPSTREAM, CallState
from asyncflow.runs.history import History

#: Calls that are named of each group.
_EXAMPLES = 3

_DIFFERS = re.compile(r"0x[0-9a-fA-F]+|\b[0-9a-f]{8,}\b|\d+(?:\.\d+)?(?:e[+-]?\d+)?")


@dataclass
class Failures:
    """Those of one task that say the same but for numbers.

    Attributes
    ----------
    name : str
        Of the task.
    how : str
        ``failed``; ``retried``, ``lost`` or ``corrupt`` where another attempt followed; ``cancelled``.
    type : str
        Of the error; empty where it is not known.
    text : str
        Of the first one.
    count : int
        How many.
    examples : list of str
        Ids of the first ones.
    """

    name: str
    how: str
    type: str
    text: str
    count: int = 0
    examples: list[str] = field(default_factory=list)


def failures(history: History) -> list[Failures]:
    """Of all calls: those that failed of their own first, then what failed because of others, then the rest."""
    groups: dict[tuple[str, str, str, str], Failures] = {}
    for name, how, kind, text, key in _told(history):
        alike = _DIFFERS.sub("#", text)
        group = groups.setdefault((name, how, kind, alike), Failures(name, how, kind, text))
        group.count += 1
        if len(group.examples) < _EXAMPLES:
            group.examples.append(key)
    return sorted(groups.values(), key=lambda group: (_rank(group), -group.count))


def is_of_others(group: Failures) -> bool:
    """Whether they failed because something that they depend on did."""
    return group.type == UPSTREAM


def _told(history: History) -> Iterator[tuple[str, str, str, str, str]]:
    for call in history.calls.values():
        for attempt in call.attempts:
            yield (
                call.name,
                attempt.how,
                attempt.why.partition(":")[0] if ":" in attempt.why else "",
                attempt.why,
                call.id,
            )
        if call.state is CallState.FAILED:
            yield call.name, "failed", call.error_type, call.error, call.id
        elif call.state is CallState.CANCELLED:
            yield call.name, "cancelled", "", "", call.id


def _rank(group: Failures) -> int:
    order = ("failed", "lost", "retried", "corrupt", "cancelled")
    return 1 if is_of_others(group) else 2 * order.index(group.how) if group.how in order else len(order) * 2
