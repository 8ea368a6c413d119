"""How long the bodies of each task took, and how long its calls waited."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from asyncflow.views.report.timeline import Timeline

#: The parts of a box: whiskers, box and line in it, and the dots beyond.
_QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)


@dataclass(frozen=True)
class Spread:
    """How times of one task are spread, in seconds; all but `low` and `high` are quantiles.

    Attributes
    ----------
    name : str
        Of the task.
    count : int
        How many.
    total : float
        Their sum.
    low, q05, q25, q50, q75, q95, high : float
        The least, 5 %, 25 %, the median, 75 %, 95 % and the most.
    """

    name: str
    count: int
    total: float
    low: float
    q05: float
    q25: float
    q50: float
    q75: float
    q95: float
    high: float


def durations(timeline: Timeline) -> list[Spread]:
    """Of the bodies that are over, by the name of their task, that with the largest sum first."""
    found = defaultdict[str, list[float]](list)
    for body in timeline.bodies:
        if body.how != "running":
            found[body.call.name].append(body.seconds)
    return _spreads(found)


def waits(timeline: Timeline) -> list[Spread]:
    """Of the calls that began, from the end of what they depend on: for a worker, and on the way there."""
    found = defaultdict[str, list[float]](list)
    for call in timeline.calls:
        if call.task_type != "block" and (waited := timeline.waited(call)) is not None:
            found[call.name].append(waited)
    return _spreads(found)


def _spreads(found: Mapping[str, Sequence[float]]) -> list[Spread]:
    spreads = []
    for name, values in found.items():
        told = np.asarray(values)
        spreads.append(Spread(name, len(told), float(told.sum()), *np.quantile(told, _QUANTILES).tolist()))
    return sorted(spreads, key=lambda spread: -spread.total)
