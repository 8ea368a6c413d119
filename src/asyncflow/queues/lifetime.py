"""When the workers of a job with a walltime leave: in order, before the queueing system kills them."""

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
