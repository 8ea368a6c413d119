"""What the engine has learned of tasks: how long their bodies take, and how large their values are."""

from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple
from weakref import ref

#: Calls that a task is judged by, the last ones.
REMEMBERED = 8

#: Calls that must have ended before anything is said of the next. The first is left out: it may have imported much.
ENOUGH = 2

#: Seconds above which no call travels with others.
SHORT = 0.02

#: Bytes above which the value of a call travels on its own.
SMALL = 64_000


class Call(NamedTuple):
    """What one call took."""

    seconds: float
    size: int


class _Record:
    """What is remembered of one function."""

    __slots__ = ("calls", "expected", "has_begun", "is_given_up", "of")

    def __init__(self, of: ref[Callable[..., Any]]) -> None:
        self.of = of  #: held, or nobody would be told that the function is gone
        self.calls: deque[Call] = deque(maxlen=REMEMBERED)
        self.expected: Call | None = None
        self.has_begun = False  #: a call has ended, the first
        self.is_given_up = False


class Experience:
    """Remembers what calls of each function took.

    A task that has been short may be long the next time, so the longest of its last calls counts. Functions are told
    apart by what they are, not by ``==``, which is the user's where the function is an object. Of a callable that
    allows no weak reference nothing is ever known: its calls go alone.
    """

    def __init__(self) -> None:
        self._records: dict[int, _Record] = {}

    def note(self, function: Callable[..., Any], seconds: float, size: int, *, is_stuck: bool = False) -> None:
        """A call of `function` took `seconds`; its value has `size` bytes, or is stuck where it was made."""
        record = self._record(function)
        if record is None:
            return
        if not record.has_begun:
            record.has_begun = True
            return
        calls = record.calls
        calls.append(Call(seconds, size if not is_stuck else SMALL + 1))
        if len(calls) >= ENOUGH:
            record.expected = Call(max(call.seconds for call in calls), max(call.size for call in calls))

    def seconds(self, function: Callable[..., Any]) -> float | None:
        """What the next call will probably take; None where that is not known, or too much to travel with others."""
        expected = self._expected(function)
        if expected is None or expected.seconds > SHORT or expected.size > SMALL:
            return None
        return expected.seconds

    def is_small(self, function: Callable[..., Any]) -> bool:
        """Whether the value of a call of `function` is known to be small."""
        expected = self._expected(function)
        return expected is not None and expected.size <= SMALL

    def is_known(self, function: Callable[..., Any]) -> bool:
        """Whether there is nothing to wait for to know how long `function` takes, or nothing will ever be known."""
        record = self._record(function)
        return record is None or record.expected is not None or record.is_given_up

    def give_up(self, functions: Iterable[Callable[..., Any]]) -> None:
        """Do not wait for what is not known by now of `functions`: they are slow, for all that anybody can tell."""
        for function in functions:
            if (record := self._record(function)) is not None:
                record.is_given_up = True

    def _expected(self, function: Callable[..., Any]) -> Call | None:
        record = self._record(function)
        return record.expected if record is not None else None

    def _record(self, function: Callable[..., Any]) -> _Record | None:
        """What is remembered of `function`; None where nobody would say when it is gone."""
        number = id(function)
        found = self._records.get(number)
        if found is None:
            records = self._records
            try:
                found = records[number] = _Record(ref(function, lambda _: records.pop(number, None)))
            except TypeError:
                return None
        return found
