"""How a run stands: calls by name, pools with their workers and jobs, what runs longest, what failed last."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import fmean

from asyncflow.runs.answers import Scene
from asyncflow.runs.facts import Call, CallState, Pool
from asyncflow.runs.history import History

#: Seconds over which the rate of a run that goes on is taken.
WINDOW = 60.0

#: How many calls of a sort are named.
NAMED = 5


@dataclass
class Named:
    """The calls of one task.

    Attributes
    ----------
    name : str
        Of the task.
    counts : mapping of CallState to int
        How many are in each state.
    upstream : int
        How many of those that failed did because something that they depend on failed.
    mean : float or None
        Seconds that the bodies took which ended well.
    rate : float
        Ends a minute: of the last minute of a run that goes on, else of its whole time.
    """

    name: str
    counts: Counter[CallState] = field(default_factory=Counter)
    upstream: int = 0
    mean: float | None = None
    rate: float = 0.0


@dataclass
class PoolStatus:
    """One pool as it stands; without a queueing system there are no jobs.

    Attributes
    ----------
    pool : Pool
        As it was declared; its `reasons` say what jobs wait for.
    workers, slots, busy : int
        Those that are connected, how many bodies they run at once, and how many of these run.
    pending, running, ended, unasked : int
        Jobs; the last are those of the ended that nobody asked to end.
    """

    pool: Pool
    workers: int = 0
    slots: int = 0
    busy: int = 0
    pending: int = 0
    running: int = 0
    ended: int = 0
    unasked: int = 0


@dataclass
class Status:
    """How a run stands.

    Attributes
    ----------
    scene : Scene
        Of the run, and when.
    session, began, ended : int, float or None, float or None
        The last session.
    names : list of Named
        In the order of their first calls.
    pools : list of PoolStatus
        Those that are declared, and one without a name for workers that are of none.
    longest : list of Call
        Those that have been running for longest.
    failures : list of Call
        Those that failed by themselves, the last first.
    is_whole : bool
        Whether all of the journal could be read.
    """

    scene: Scene
    session: int
    began: float | None
    ended: float | None
    names: list[Named]
    pools: list[PoolStatus]
    longest: list[Call]
    failures: list[Call]
    is_whole: bool

    @property
    def counts(self) -> Counter[CallState]:
        """Of all calls."""
        return sum((named.counts for named in self.names), Counter())


def status(history: History, scene: Scene) -> Status:
    """How the run of `history` stands in `scene`."""
    calls = list(history.calls.values())
    running = [call for call in calls if call.state is CallState.RUNNING and call.started is not None]
    failed = [call for call in calls if call.failed_itself]
    return Status(
        scene,
        history.session,
        history.began,
        history.ended,
        _by_name(history, scene),
        _pools(history),
        sorted(running, key=lambda call: call.started or 0.0)[:NAMED],
        sorted(failed, key=lambda call: -(call.ended or 0.0))[:NAMED],
        history.is_whole,
    )


def _by_name(history: History, scene: Scene) -> list[Named]:
    since = max(history.began or 0.0, scene.now - WINDOW) if scene.is_live else (history.began or 0.0)
    found: dict[str, Named] = {}
    took: dict[str, list[float]] = {}
    ends: Counter[str] = Counter()
    for call in history.calls.values():
        named = found.setdefault(call.name, Named(call.name))
        named.counts[call.state] += 1
        named.upstream += call.state is CallState.FAILED and not call.failed_itself
        if call.state is CallState.DONE and call.duration is not None:
            took.setdefault(call.name, []).append(call.duration)
        if call.state in {CallState.DONE, CallState.FAILED} and (call.ended or 0.0) >= since:
            ends[call.name] += 1
    minutes = max(scene.now - since, 1.0) / 60
    for named in found.values():
        named.mean = fmean(took[named.name]) if named.name in took else None
        named.rate = ends[named.name] / minutes
    return list(found.values())


def _pools(history: History) -> list[PoolStatus]:
    found = {name: PoolStatus(pool) for name, pool in history.pools.items()}
    busy = _busy(history)
    for worker in history.workers.values():
        if worker.left is None:
            name = history.pool_of(worker)
            pool = found.setdefault(name, PoolStatus(Pool(name)))
            pool.workers += 1
            pool.slots += worker.slots
            pool.busy += busy.get(worker.address, 0)
    for job in history.jobs.values():
        pool = found.setdefault(job.pool, PoolStatus(Pool(job.pool)))
        if job.ended is not None:
            pool.ended += 1
            pool.unasked += not job.is_asked
        elif job.started is not None:
            pool.running += 1
        else:
            pool.pending += 1
    return list(found.values())


def _busy(history: History) -> Mapping[str, int]:
    return Counter(call.worker for call in history.calls.values() if call.state is CallState.RUNNING)
