"""What the engine has learned of tasks: how long their bodies take, and how large their values are."""

import weakref
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary, WeakSet

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


class Experience:
    """Remembers what calls of each function took.

    A task that has been short may be long the next time, so the longest of its last calls counts.
    """

    def __init__(self) -> None:
        self._calls: WeakKeyDictionary[Callable[..., Any], deque[Call] | None] = WeakKeyDictionary()
        self._expected: WeakKeyDictionary[Callable[..., Any], Call] = WeakKeyDictionary()
        self._slow: WeakSet[Callable[..., Any]] = WeakSet()

    def note(self, function: Callable[..., Any], seconds: float, size: int) -> None:
        """A call of `function` took `seconds`, and its value has `size` bytes."""
        try:
            calls = self._calls.get(function)
            if calls is None:
                self._calls[function] = deque(maxlen=REMEMBERED)
                return
        except TypeError:  # a callable that cannot be told from others: nothing is known of it, and it travels alone
            return
        calls.append(Call(seconds, size))
        if len(calls) >= ENOUGH:
            self._expected[function] = Call(max(call.seconds for call in calls), max(call.size for call in calls))

    def seconds(self, function: Callable[..., Any]) -> float | None:
        """What the next call will probably take; None where that is not known, or too much to travel with others."""
        try:
            expected = self._expected.get(function)
        except TypeError:
            return None
        if expected is None or expected.seconds > SHORT or expected.size > SMALL:
            return None
        return expected.seconds

    def is_known(self, function: Callable[..., Any]) -> bool:
        """Whether there is nothing to wait for to know how long `function` takes, or nothing will ever be known."""
        try:
            weakref.ref(function)
        except TypeError:
            return True
        return function in self._expected or function in self._slow

    def give_up(self, functions: Iterable[Callable[..., Any]]) -> None:
        """Do not wait for what is not known by now of `functions`: they are slow, for all that anybody can tell."""
        self._slow.update(each for each in functions if each not in self._expected)

    def is_small(self, function: Callable[..., Any]) -> bool:
        """Whether the value of a call of `function` is known to be small."""
        try:
            expected = self._expected.get(function)
        except TypeError:
            return False
        return expected is not None and expected.size <= SMALL
