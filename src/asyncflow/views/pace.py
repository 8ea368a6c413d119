"""How fast calls end, of late."""

from collections import deque

#: Seconds that are of late.
WINDOW = 30.0

#: Ends in the window below which they say less than all ends together.
ENOUGH = 10


class Pace:
    """Counts ends by the second; bounded by the window. Times are seconds of any one clock."""

    def __init__(self) -> None:
        self.began: float | None = None
        self._ended = 0
        self._seconds: deque[list[int]] = deque()  # pairs of second and count

    def begin(self, now: float) -> None:
        """The first call was made, if this is the first."""
        if self.began is None:
            self.began = now

    def end(self, now: float) -> None:
        """A call has ended."""
        self._ended += 1
        second = int(now)
        if self._seconds and self._seconds[-1][0] == second:
            self._seconds[-1][1] += 1
        else:
            self._seconds.append([second, 1])
            self._forget(now)

    def rate(self, now: float) -> float:
        """Ends in a second: of late, or since the first call where few have ended of late."""
        if self.began is None or now <= self.began:
            return 0.0
        self._forget(now)
        recent = sum(count for _, count in self._seconds)
        if recent < ENOUGH:
            return self._ended / (now - self.began)
        return recent / min(WINDOW, now - self.began)

    def elapsed(self, now: float) -> float:
        """Seconds since the first call."""
        return 0.0 if self.began is None else now - self.began

    def _forget(self, now: float) -> None:
        while self._seconds and self._seconds[0][0] < now - WINDOW:
            self._seconds.popleft()
