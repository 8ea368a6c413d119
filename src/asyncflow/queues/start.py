"""The start of a run: the first jobs of each pool, and the wait for the first worker."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence

from asyncflow.errors import StartError, SubmitError
from asyncflow.queues.queue import Queue
from asyncflow.queues.roster import Roster
from asyncflow.queues.template import PoolPlan

logger = logging.getLogger("asyncflow")


class Start:
    """Submits what is wanted from the beginning, and knows whether a worker has come.

    Made on the run's loop.

    Parameters
    ----------
    plans : sequence of PoolPlan
        In the order of the configuration.
    submit : callable
        Submits one job of a pool.
    queue : Queue
        Where it goes.
    roster : Roster
        Knows the jobs that have been submitted; somebody else keeps it.
    """

    def __init__(
        self, plans: Sequence[PoolPlan], submit: Callable[[PoolPlan], Awaitable[None]], queue: Queue, roster: Roster
    ) -> None:
        self._plans = plans
        self._submit = submit
        self._queue = queue
        self._roster = roster
        self._first: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def submit(self) -> None:
        """The first jobs of all pools.

        Raises
        ------
        SubmitError
            When the queueing system refuses the first of a pool, and not only for now.
        """
        for plan in self._plans:
            for _ in range(min(plan.keys.limits.min, plan.keys.max_queued)):
                if not await self._is_submitted(plan):
                    break

    async def wait(self, patience: float) -> None:
        """Wait for the first worker, where any pool keeps jobs.

        Raises
        ------
        StartError
            When the jobs of all pools that keep any have died.
        TimeoutError
            When no worker comes within `patience` seconds.
        """
        if self._keeping():
            await asyncio.wait_for(self._first, patience)

    def came(self) -> None:
        """A worker has."""
        if not self._first.done():
            self._first.set_result(None)

    def died(self, error: Exception) -> None:
        """A pool has stopped for that reason; where it was the last, no worker will come."""
        if all(self._roster.crews[name].is_given_up for name in self._keeping()):
            self.give_up(StartError(str(error)))

    def give_up(self, error: StartError) -> None:
        """No worker will come."""
        if not self._first.done():
            self._first.set_exception(error)

    def close(self) -> None:
        """Nobody waits any more."""
        if not self._first.cancel() and not self._first.cancelled():
            self._first.exception()  # where nobody waited for the first worker, nobody has looked

    def _keeping(self) -> list[str]:
        return [plan.pool.name for plan in self._plans if plan.keys.limits.min]

    async def _is_submitted(self, plan: PoolPlan) -> bool:
        """A refusal is the caller's to hear, unless it is only for now, or of a limit."""
        try:
            await self._submit(plan)
        except SubmitError as error:
            if not (self._queue.is_busy(error) or self._roster.crews[plan.pool.name].jobs):
                raise
            logger.warning("pool %r: %s", plan.pool.name, error)
            return False
        return True
