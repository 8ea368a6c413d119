"""When the workers of a job with a walltime leave: in order, before the queueing system kills them."""

import math
from typing import NamedTuple


class Lifetime(NamedTuple):
    """The last part of a worker's life, in seconds since its job began.

    Attributes
    ----------
    drain : float
        From here on the worker takes no new task and hands its results to others.
    end : float
        What it still runs now is cut, counted against ``lost_retries``, and begun again elsewhere.
    limit : float
        ``--lifetime`` of the worker, by which it would leave even without its driver; spread by `stagger`.
    stagger : float
        Keeps jobs that began together from leaving in the same second.
    """

    drain: float
    end: float
    limit: float
    stagger: float

    @property
    def longest(self) -> float:
        """The longest task that a fresh worker is sure to end, however long its start took within reason."""
        return self.limit - 2 * self.stagger

    def sure_end(self, started: float | None, joined: float | None) -> float:
        """Until when a worker lasts in any case.

        Parameters
        ----------
        started, joined : float or None
            When its job began, and when its first worker connected; None where that is still to come.
        """
        if started is None or joined is None:
            return math.inf
        return min(started + self.end, joined + self.limit - self.stagger)

    def time_for_task(self, started: float | None, joined: float | None, now: float) -> float:
        """Seconds that a task may take which begins at `now`; `started` and `joined` as for `sure_end`.

        A worker that has come just now is taken for good enough for anything: there may be no better one, where jobs
        take long from their start to their first worker, and a task must not wait for ever.
        """
        if joined is not None and now <= joined + self.stagger:
            return math.inf
        return self.sure_end(started, joined) - now


def lifetime_of(walltime: float, margin: float | None = None) -> Lifetime:
    """How workers of jobs with `walltime` leave.

    Parameters
    ----------
    walltime : float
        Of the job, in seconds.
    margin : float, optional
        How long before the end a worker takes no new task; a tenth of the walltime by default, between 15 s and 10 min.
    """
    grace = min(_between(10, walltime / 20, 120), walltime / 4)
    margin = _between(15, walltime / 10, 600) if margin is None else margin
    end = walltime - grace
    stagger = grace / 2
    return Lifetime(drain=max(end - margin, walltime / 4), end=end, limit=end - stagger, stagger=stagger)


def _between(least: float, value: float, most: float) -> float:
    return max(least, min(value, most))
