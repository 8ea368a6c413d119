"""What calls asked of a worker, what they used of it, and what would fit better."""

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from asyncflow.runs.history import History
from asyncflow.views.report.lanes import Lanes
from asyncflow.views.report.timeline import Body, Timeline

#: What is put on top of the largest peak.
_HEADROOM = 1.25

#: Seconds that a body must take for its processor time to tell anything.
_TELLING = 0.1

_NICE = (1, 1.5, 2, 3, 4, 5, 6, 8, 10)


@dataclass
class Fit:
    """One task, or pool.

    Attributes
    ----------
    name : str
        Of it.
    calls : int
        Bodies that ended well.
    cores : int
        Asked for, at most.
    memory : int or None
        Asked for, at most, in bytes; None where nothing was.
    peak : int or None
        The most memory that one had, in bytes; None where nobody knows.
    is_own : bool
        Whether that is theirs: of other bodies in the same process nothing is in it.
    cpu : float
        Seconds of processor time of all.
    busy : float or None
        Cores that 95 % of them kept busy at most; None where they were too short to tell.
    advice : list of str
        Options that would fit better.
    reasons : list of str
        Why, one for each.
    """

    name: str
    calls: int = 0
    cores: int = 1
    memory: int | None = None
    peak: int | None = None
    is_own: bool = False
    cpu: float = 0.0
    busy: float | None = None
    advice: list[str] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)

    def advise(self, option: str, reason: str) -> None:
        """Say what would fit better, and why."""
        self.advice.append(option)
        self.reasons.append(reason)


def fits(timeline: Timeline, lanes: Lanes) -> list[Fit]:
    """Of each task whose bodies ended well, in the order of their processor time."""
    found = defaultdict[str, list[tuple[Body, bool]]](list)
    for body, is_alone in zip(timeline.bodies, lanes.is_alone, strict=True):
        if body.how == "done":
            found[body.call.name].append((body, is_alone or body.call.task_type == "command"))
    told = [_fit(name, bodies) for name, bodies in found.items()]
    return sorted(told, key=lambda fit: -fit.cpu)


def _fit(name: str, bodies: Sequence[tuple[Body, bool]]) -> Fit:
    calls = [body.call for body, _ in bodies]
    fit = Fit(name, len(bodies), max(body.cores for body, _ in bodies))
    fit.memory = max((int(call.needs["memory"]) for call in calls if "memory" in call.needs), default=None)
    own = [body.call.peak_memory for body, is_own in bodies if is_own and body.call.peak_memory]
    fit.is_own = bool(own)
    fit.peak = max(own or [call.peak_memory for call in calls if call.peak_memory], default=None)
    fit.cpu = sum(call.cpu or 0.0 for call in calls)
    busy = sorted(body.call.cpu / body.seconds for body, _ in bodies if body.call.cpu and body.seconds >= _TELLING)
    fit.busy = busy[min(len(busy) - 1, int(0.95 * len(busy)))] if busy else None
    _advise_memory(fit)
    _advise_cores(fit, is_command=calls[0].task_type == "command")
    return fit


def _advise_memory(fit: Fit) -> None:
    if fit.peak is None or fit.memory is None:
        return
    fitting = nice_size(fit.peak * _HEADROOM)
    if fit.memory >= 1.5 * fitting:
        fit.advise(f"memory: {written(fitting)}", f"none had more than {written(fit.peak)} of {written(fit.memory)}")
    elif fit.is_own and fit.peak > fit.memory:
        fit.advise(
            f"memory: {written(fitting)}", f"one had {written(fit.peak)}, and {written(fit.memory)} were asked for"
        )


def _advise_cores(fit: Fit, *, is_command: bool) -> None:
    if fit.busy is None:
        return
    fitting = max(1, math.ceil(fit.busy - 0.25))
    if fit.cores >= 2 * fitting:
        # The processor time of a function is that of its own thread; threads that it starts are nobody's.
        unless = "" if is_command else ", unless its libraries start threads of their own"
        fit.advise(f"cores: {fitting}", f"{fit.busy:.2f} of {fit.cores} cores were busy{unless}")
    elif fitting > fit.cores:
        fit.advise(f"cores: {fitting}", f"{fit.busy:.2f} cores were busy, and {fit.cores} asked for")


def pool_fits(history: History) -> list[Fit]:
    """Of the workers of each pool that declare a limit of memory: the most that one had of it."""
    told = []
    for pool in dict.fromkeys(worker.pool for worker in history.workers.values()):
        workers = [worker for worker in history.workers.values() if worker.pool == pool]
        looks = [look for worker in workers for look in worker.uses]
        fit = Fit(pool, len(workers), max(worker.slots for worker in workers))
        fit.memory = max(worker.memory for worker in workers) or None
        fit.peak = max((memory for _, _, memory in looks), default=None)
        fit.is_own = True
        cpus = sorted(cpu / 100 for _, cpu, _ in looks)
        fit.busy = cpus[min(len(cpus) - 1, int(0.95 * len(cpus)))] if cpus else None
        _advise_memory(fit)
        told.append(fit)
    return told


def nice_size(count: float) -> int:
    """The least round number of bytes that is not below `count`: 2 GB, 150 MB."""
    scale = 10 ** math.floor(math.log10(max(1.0, count)))
    return next(int(step * scale) for step in _NICE if step * scale >= count * (1 - 1e-9))


def written(count: float) -> str:
    """`count` bytes as configurations have them: ``1.3GB``, ``150MB``."""
    for unit, size in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= size:
            amount = count / size
            return f"{amount:.0f}{unit}" if amount >= 100 else f"{amount:.3g}{unit}"
    return f"{int(count)}B"
