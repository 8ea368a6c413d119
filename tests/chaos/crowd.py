"""Bursts of calls that take a moment, beside the graph: they travel together, and each has to end right all the same."""

import asyncio

from chaos import bodies
from chaos.bodies import Diverged

_WIDE, _LONG = 30, 10

#: Seconds between bursts: the graph is to get on as well.
_PAUSE = 0.1

#: More than the faults of one seed.
_PATIENCE = 50


class Crowd:
    """Makes bursts on an engine until it is told to end.

    Attributes
    ----------
    calls, together : int
        How many calls ended, and how many of them ran in one Dask task with others.
    problems : list of str
        What ended otherwise than it should.
    """

    def __init__(self, flow):
        self.calls = self.together = 0
        self.problems = []
        self._tick = flow.function_task(lost_retries=_PATIENCE)(bodies.tick)

    async def run(self):
        """One burst after the other; cancelling this ends it after the last one."""
        is_over = False
        while not is_over:
            burst = asyncio.ensure_future(self._burst())
            try:
                await asyncio.shield(burst)
            except asyncio.CancelledError:
                is_over = True
                await burst

    async def _burst(self):
        wide = [self._tick(number) for number in range(_WIDE)]
        bad = self._tick(-1)
        link = self._tick(0)
        for _ in range(_LONG):
            link = self._tick(1, link)
        found = await asyncio.gather(*wide, link, bad, return_exceptions=True)
        for wanted, each in zip([*range(_WIDE), _LONG], found[:-1], strict=True):
            self.calls += 1
            if isinstance(each, tuple) and each[0] == wanted:
                self.together += each[1]
            else:
                self.problems.append(f"a tick of {wanted} ended with {each!r}")
        await asyncio.sleep(_PAUSE)
        if not isinstance(found[-1], Diverged):
            self.problems.append(f"a tick that diverges ended with {found[-1]!r}")
