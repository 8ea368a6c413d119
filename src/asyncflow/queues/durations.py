"""How long the tasks of each name have taken, and so what the next of them will probably take."""

import math
from collections import deque

#: Tasks of one name that must have ended before they say something of the next.
ENOUGH = 5

#: Durations of one name that are remembered, the last ones.
KEPT = 100

#: Names that are remembered, the last ones.
NAMES = 1_000

#: Part of the tasks of a name that take no longer than their estimate.
PART = 0.9

#: Seconds from which on an estimate is worth anything: what is shorter is soon begun again.
LONG = 30.0


class Durations:
    """What the tasks of a run have taken, by name.

    Attributes
    ----------
    estimates : dict of str to float
        Seconds that nearly all of the last tasks of a name took, for the names whose tasks are long.
    changes : int
        How often an estimate has become less, or been given up.
    """

    def __init__(self) -> None:
        self.estimates: dict[str, float] = {}
        self.changes = 0
        self._last: dict[str, deque[float]] = {}

    def note(self, name: str, seconds: float) -> None:
        """A task of that name has ended well; called for each, so that short ones must cost next to nothing."""
        last = self._last.get(name)
        if last is None:
            last = self._begin(name)
        last.append(seconds)
        if (seconds >= LONG or name in self.estimates) and len(last) >= ENOUGH:
            self._set(name, sorted(last)[math.ceil(PART * len(last)) - 1])

    def _begin(self, name: str) -> deque[float]:
        if len(self._last) >= NAMES:
            oldest = next(iter(self._last))
            del self._last[oldest]
            self._set(oldest, 0.0)
        last: deque[float] = deque(maxlen=KEPT)
        self._last[name] = last
        return last

    def _set(self, name: str, seconds: float) -> None:
        before = self.estimates.pop(name, 0.0)
        if seconds >= LONG:
            self.estimates[name] = seconds
        if seconds < before:
            self.changes += 1
