"""What one worker (or executor) gives to the bodies that run on it: cores, stop signs, a guardian, measures."""

from random import Random
from typing import Any

from asyncflow.groups import Guardian
from asyncflow.measure import Measure, Meter
from asyncflow.slots import Slots
from asyncflow.stop import Stop


class Site:
    """What one worker (or executor) gives to the bodies that run on it.

    Attributes
    ----------
    overdue : list of str
        The names of the tasks whose functions still run though their time is over; nobody waits for them.
    is_heard : bool
        Whether anybody wants to know what bodies take.
    """

    def __init__(self, cores: int, devices: int = 0) -> None:
        self.slots = Slots(cores, devices)
        self.guardian = Guardian()
        self.overdue: list[str] = []
        self.random = Random()  # noqa: S311 - spreads attempts over time
        self.is_heard = False
        self._stops: dict[str, Stop] = {}
        self._running: set[str] = set()
        self._measures: dict[str, Measure] = {}

    def begin(self, key: str) -> Stop:
        """A body begins; its stop sign."""
        stop = self._stops[key] = Stop()
        return stop

    def end(self, key: str) -> None:
        """It ended."""
        self._stops.pop(key, None)

    def stop(self, key: str) -> None:
        """End that body early; nothing where it does not run here."""
        stop = self._stops.get(key)
        if stop is not None:
            stop.set()

    def entered(self, key: str, meter: Meter | None) -> None:
        """The body of `key` is about to begin, in this thread: it has its cores, and its files are there."""
        if meter is not None:
            meter.begin(is_alone=not self._running)
            self._running.add(key)

    def left(self, key: str, meter: Meter | None) -> None:
        """It has ended, in this thread."""
        if meter is not None:
            self._running.discard(key)
            meter.end()

    def note(self, key: str, measure: Measure) -> None:
        """An attempt of `key` is over, and took that."""
        self._measures[key] = measure

    def take_measure(self, key: str) -> Measure | None:
        """What the last attempt of `key` took; None where that is not known."""
        return self._measures.pop(key, None)

    def prompt(self, text: str, name: str) -> Any:
        """Answer a prompt.

        Raises
        ------
        NotImplementedError
            Here: only backends that serve prompts can.
        """
        raise NotImplementedError(
            f"prompt task {name!r} reached a backend that does not serve prompts; register one that does with "
            f"create(backend=[..., it]) and route the task to it with backend='its name' (prompt: {text[:60]!r})"
        )

    def close(self) -> None:
        """End what still runs and can be ended; threads that cannot are left."""
        for stop in list(self._stops.values()):
            stop.set()
        self.guardian.close()
