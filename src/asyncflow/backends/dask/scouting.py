"""Calls of which nothing is known yet: a few go ahead, and the others wait a moment for what those tell."""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from asyncflow.backends.dask.experience import Experience
from asyncflow.backends.dask.graph import Sent
from asyncflow.node import Node

#: Seconds after which a task is not short, whose first calls have not ended. Those keep the workers busy meanwhile.
MOMENT = 0.2

#: Calls that go ahead for each slot of the workers, so that none of them is idle meanwhile.
AHEAD = 2

#: Calls that go ahead at least.
LEAST = 8


class Scouting:
    """Sends calls on in the order in which they come, all of them within a moment; all methods on Dask's thread.

    Parameters
    ----------
    send : callable
        Takes the calls that go now.
    experience : Experience
        What is known.
    slots : callable
        How many bodies the workers run at once.
    """

    def __init__(
        self, send: Callable[[Sequence[Sent]], object], experience: Experience, slots: Callable[[], int]
    ) -> None:
        self._send = send
        self._experience = experience
        self._slots = slots
        self._waiting: list[Sent] = []
        self._unknown: list[Any] = []  # functions whose first calls are under way
        self._timer: asyncio.TimerHandle | None = None

    def send(self, calls: Sequence[Sent]) -> None:
        """Send `calls`, most of those that nothing is known of a little later."""
        if self._waiting:  # nothing overtakes what it may depend on
            self._waiting += calls
            return
        count = self._ahead(calls)
        if count < len(calls):
            self._waiting = list(calls[count:])
            self._timer = asyncio.get_running_loop().call_later(MOMENT, self._go)
        self._send(calls[:count])

    def look(self) -> None:
        """Calls have ended."""
        if self._waiting and all(self._experience.is_known(function) for function in self._unknown):
            self._go()

    def drop(self, nodes: Iterable[Node]) -> None:
        """These are not to be sent any more."""
        if self._waiting:
            dropped = set(nodes)
            self._waiting = [sent for sent in self._waiting if sent.node not in dropped]
            if not self._waiting:
                self._stop()
                self._unknown = []

    def close(self) -> None:
        """Send nothing more."""
        self._waiting = []
        self._stop()

    def _ahead(self, calls: Sequence[Sent]) -> int:
        """How many of `calls` go now."""
        enough = max(LEAST, AHEAD * self._slots())
        if len(calls) <= enough:
            return len(calls)
        functions = {id(function): function for function in (sent.node.recipe.function for sent in calls)}
        unknown = {name: each for name, each in functions.items() if not self._experience.is_known(each)}
        counts: Counter[int] = Counter()
        for place, sent in enumerate(calls if unknown else ()):
            name = id(sent.node.recipe.function)
            if name in unknown and sent.may_travel:
                counts[name] += 1
                if counts[name] > enough:
                    ahead = {id(each.node.recipe.function) for each in calls[:place]}
                    self._unknown = [each for name, each in unknown.items() if name in ahead]
                    return place
        return len(calls)

    def _go(self) -> None:
        self._stop()
        calls, self._waiting = self._waiting, []
        unknown, self._unknown = self._unknown, []
        self._experience.give_up(unknown)
        self._send(calls)

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
