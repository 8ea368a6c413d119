"""The critical path: the chain of moments that made the run as long as it was, and what would shorten it."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from asyncflow.views.report.events import Moments, Spent
from asyncflow.views.report.timeline import Body

#: Task names whose effect is computed: those with most time on the path.
_NAMES = 12


@dataclass(frozen=True)
class Step:
    """A part of the path.

    Attributes
    ----------
    spent : Spent
        On what.
    body : Body
        Which ran, or which it is that came next.
    began, ended : float
        Seconds since the epoch.
    """

    spent: Spent
    body: Body
    began: float
    ended: float

    @property
    def seconds(self) -> float:
        """How long it took."""
        return self.ended - self.began


@dataclass(frozen=True)
class Lever:
    """What comes of making a task faster.

    Attributes
    ----------
    name : str
        Of the task.
    seconds : float
        That its bodies take of the path.
    bodies : int
        How many of the path are its.
    shorter : float
        Seconds by which the run would be shorter at most, were each of its bodies twice as fast.
    """

    name: str
    seconds: float
    bodies: int
    shorter: float


@dataclass(frozen=True)
class Critical:
    """The path from the first call to the last end, without a gap; `levers` are those that help most first."""

    steps: Sequence[Step] = ()
    levers: Sequence[Lever] = ()

    @property
    def seconds(self) -> float:
        """From its beginning to its end."""
        return self.steps[-1].ended - self.steps[0].began if self.steps else 0.0

    def spent(self, on: Spent) -> float:
        """Seconds of the path that were spent so."""
        return sum(step.seconds for step in self.steps if step.spent is on)


def critical_path(moments: Moments) -> Critical:
    """The path through `moments` that ends last, and what each task name on it has to do with that.

    From the last moment it goes back, each time to the last of those that had to come before. What would be shorter is
    found by going through all moments again, with the bodies of one name taking half the time: so other chains count,
    which become the longest then. What is told is the most, as it is assumed that what lies between two moments stays
    as long as it was, that the script and blocks called what they did because their last call had ended, and that
    bodies keep their places on the workers, in the same order. Work that other orders would let begin earlier is not
    in it.
    """
    if not moments.times:
        return Critical()
    lags = _lags(moments)
    last = max(range(len(moments.times)), key=moments.times.__getitem__)
    steps = _steps(moments, last)
    seconds, counts = defaultdict[str, float](float), Counter[str]()
    for step in steps:
        if step.spent is Spent.BODY:
            seconds[step.body.call.name] += step.seconds
            counts[step.body.call.name] += 1
    total = moments.times[last]
    names = sorted(seconds, key=lambda name: -seconds[name])[:_NAMES]
    levers = [
        Lever(name, seconds[name], counts[name], max(0.0, total - _end_if_twice_as_fast(moments, lags, name)))
        for name in names
    ]
    return Critical(steps, sorted(levers, key=lambda lever: (-lever.shorter, -lever.seconds)))


def _lags(moments: Moments) -> list[float]:
    """Seconds between each moment and the last of those before it; of a first one its time."""
    times = moments.times
    return [
        time - max(times[each] for each in before) if before else time
        for time, before in zip(times, moments.after, strict=True)
    ]


def _steps(moments: Moments, last: int) -> list[Step]:
    times, steps, at = moments.times, [], last
    while before := moments.after[at]:
        earlier = max(before, key=times.__getitem__)
        if times[at] > times[earlier]:
            steps.append(Step(moments.spent[at], moments.bodies[at], times[earlier], times[at]))
        at = earlier
    return steps[::-1]


def _end_if_twice_as_fast(moments: Moments, lags: Sequence[float], name: str) -> float:
    """When the last moment would be, if the bodies of that name took half the time."""
    times: list[float] = []
    for before, lag, spent, body in zip(moments.after, lags, moments.spent, moments.bodies, strict=True):
        is_faster = spent is Spent.BODY and body.call.name == name
        reached = max([times[each] for each in before]) if before else 0.0
        times.append(reached + (lag / 2 if is_faster else lag))
    return max(times)
