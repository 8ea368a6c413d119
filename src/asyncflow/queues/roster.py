"""The jobs of a run, pool by pool: which workers are theirs, and what the queue's reports mean for them."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from asyncflow.queues.causes import Cause
from asyncflow.queues.jobs import Job, JobState, Report

#: A job that ends by itself within so many seconds of its first worker, or without one, died quickly, unless it worked.
QUICK = 60.0

#: Quick deaths in a row after which a pool is given up.
STRIKES = 3

#: Seconds that a queueing system may take to list what it has accepted.
LAG = 60.0

#: Ends that are somebody else's doing, as far as the pool's jobs are known to work. Until then what looks like it may
#: follow from the configuration: a queueing system cancels as well what breaks its rules.
OUTSIDE = frozenset({Cause.PREEMPTED, Cause.NODE, Cause.REQUEUED, Cause.CANCELLED})


@dataclass
class Crew:
    """The jobs of one pool that have not ended.

    Attributes
    ----------
    pool : str
        Its name.
    jobs : list of Job
        Oldest first.
    deaths : list of Job
        Those that died quickly, one after the other, since one last lived.
    is_proven : bool
        Whether any job has ever lived or worked.
    """

    pool: str
    jobs: list[Job] = field(default_factory=list)
    deaths: list[Job] = field(default_factory=list)
    is_proven: bool = False

    @property
    def is_given_up(self) -> bool:
        """Whether too many died quickly."""
        return len(self.deaths) >= STRIKES

    def prove(self, job: Job) -> None:
        """That job has lived for long enough, or worked: forget the deaths before it.

        Those only: one that is well says nothing of jobs that came after it, on other nodes perhaps.
        """
        self.is_proven = True
        if self.deaths and job.submitted > self.deaths[-1].submitted:
            self.deaths.clear()

    def live(self) -> list[Job]:
        """The jobs that may still run a task: neither cancelled nor on their way out."""
        return [job for job in self.jobs if not job.is_cancelled and not job.is_leaving]


class Roster:
    """All crews of a run."""

    def __init__(self, pools: Iterable[str]) -> None:
        self.crews = {pool: Crew(pool) for pool in pools}
        self._by_name: dict[str, Job] = {}
        self._by_worker: dict[str, Job] = {}

    def __iter__(self) -> Iterator[Job]:
        """All jobs that have not ended."""
        for crew in self.crews.values():
            yield from crew.jobs

    def add(self, job: Job) -> None:
        """A job was submitted."""
        self.crews[job.pool].jobs.append(job)
        self._by_name[job.name] = job

    def job_of(self, worker: str) -> Job | None:
        """The job of the worker at that address, connected or gone just now."""
        return self._by_worker.get(worker)

    def worker_came(self, name: str, address: str, now: float) -> Job | None:
        """A worker connected; its job, None where it is none of ours."""
        job = self._by_name.get(name) or self._by_name.get(name.rpartition("-")[0])
        if job is None:
            return None
        if job.started is None:
            job.is_cancelled = False  # it began before the queue could cancel it
        job.workers.add(address)
        job.is_seen = True  # a worker proves that the queue has it
        job.deserted = None
        job.started = now if job.started is None else job.started
        job.joined = now if job.joined is None else job.joined
        self._by_worker[address] = job
        return job

    def worker_left(self, address: str, now: float) -> Job | None:
        """A worker is gone; its job."""
        job = self._by_worker.pop(address, None)
        if job is not None:
            job.workers.discard(address)
            job.deserted = now if not job.workers else None
        return job

    def worked(self, address: str) -> None:
        """A task has ended well on the worker at that address."""
        job = self._by_worker.get(address)
        if job is not None and not job.has_worked:
            job.has_worked = True
            self.crews[job.pool].prove(job)

    def deserted(self, now: float, patience: float) -> list[Job]:
        """Jobs that run without a worker: all have been gone for long, as on a node that hangs, or none ever came.

        Those that have had none in `patience` seconds count as having died quickly.
        """
        running = [job for job in self if job.is_running and not job.is_cancelled]
        gone = [job for job in running if job.deserted is not None and now - job.deserted >= LAG]
        barren = [job for job in running if job.joined is None and now - (job.started or now) >= patience]
        for job in barren:
            self.crews[job.pool].deaths.append(job)
        return gone + barren

    def take(self, reports: Mapping[str, Report], now: float) -> list[Job]:
        """Note what the queue says of each job.

        Returns
        -------
        list of Job
            Those that have ended, and are no longer in their crews; `bury` them once it is known why.
        """
        ended = []
        for job in list(self):
            report = reports.get(job.id)
            if report is None and not job.is_seen and now - job.submitted < LAG:
                continue
            self._note(job, report or Report(JobState.ENDED, "", "gone from the queue"), now)
            if job.has_ended:
                self.crews[job.pool].jobs.remove(job)
                self._by_name.pop(job.name, None)
                ended.append(job)
        return ended

    def bury(self, job: Job, now: float, cause: Cause | None = None) -> None:
        """Count a job that has ended: whether it died quickly, and that says something against its pool.

        Parameters
        ----------
        cause : Cause, optional
            Why it ended, as far as the queueing system or its books say so.
        """
        crew = self.crews[job.pool]
        if _has_lived(job, now):
            crew.prove(job)
        elif not (job.is_cancelled or job.is_leaving or (crew.is_proven and cause in OUTSIDE)):
            crew.deaths.append(job)

    def lived(self, now: float) -> None:
        """Forget the quick deaths of pools where a later job has lived for long enough."""
        for crew in self.crews.values():
            for job in crew.jobs:
                if _has_lived(job, now):
                    crew.prove(job)

    def _note(self, job: Job, report: Report, now: float) -> None:
        job.is_seen = True
        job.report = report
        if report.state is JobState.RUNNING:
            # Not merely when we first heard of it: the walltime has been counted from there.
            if job.started is None:
                job.is_cancelled = False  # it began before the queue could cancel it
            began = now - report.elapsed
            job.started = began if job.started is None else min(job.started, began)
        elif report.state is JobState.QUEUED and not job.workers:
            job.started = job.joined = job.deserted = job.idle_since = None  # requeued, perhaps after having run
            job.is_leaving = job.has_worked = False


def _has_lived(job: Job, now: float) -> bool:
    return job.has_worked or (job.joined is not None and now - job.joined >= QUICK)


def reasons(jobs: Iterable[Job]) -> dict[str, list[Job]]:
    """Jobs that wait in the queue, by the queueing system's own reason."""
    found: dict[str, list[Job]] = {}
    for job in jobs:
        if job.report.state is JobState.QUEUED and job.report.reason:
            found.setdefault(job.report.reason, []).append(job)
    return found
