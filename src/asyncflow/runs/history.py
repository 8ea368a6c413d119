"""What happened in a run, put together from its journal."""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from asyncflow.runs.entries import BEGUN, ENDED, Entry, read_journal
from asyncflow.runs.facts import Attempt, Call, CallState, Job, Pool, Worker

_AGAIN = frozenset({"retried", "lost", "corrupt"})

_ENDS = {"done": CallState.DONE, "failed": CallState.FAILED, "cancelled": CallState.CANCELLED}


class History:
    """Calls, workers, jobs and pools of one session, or of all.

    Attributes
    ----------
    calls : dict of str to Call
        By id, in the order in which they were called.
    workers, jobs, pools : dict
        By address, id and name.
    session : int
        The last one that was read.
    began, ended : float or None
        When that session did; None for `ended` while it goes on, or if its driver was killed.
    last : float
        The time of the last line.
    reason : str
        Why it ended: ``terminated``, where somebody ended it.
    is_whole : bool
        Whether every line was readable, and said what such a line says.
    max_in_flight : int
        How many calls may be at the backends at once; 0 where that is not told.
    """

    def __init__(self) -> None:
        self.calls: dict[str, Call] = {}
        self.workers: dict[str, Worker] = {}
        self.jobs: dict[str, Job] = {}
        self.pools: dict[str, Pool] = {}
        self.session = 0
        self.began: float | None = None
        self.ended: float | None = None
        self.last = 0.0
        self.reason = ""
        self.is_whole = True
        self.max_in_flight = 0
        self._renamed: dict[str, str] = {}
        self._take: Mapping[str, Callable[[Entry], None]] = {
            "session": self._session,
            "called": self._called,
            "keyed": self._keyed,
            "found": self._found,
            "queued": self._queued,
            "waits": self._waits,
            "running": self._running,
            **dict.fromkeys(_ENDS, self._ended),
            **dict.fromkeys(_AGAIN, self._again),
            "resent": self._resent,
            "terminated": self._terminated,
            "worker-joined": self._worker_joined,
            "worker-left": self._worker_left,
            "resources": self._resources,
            "pool": self._pool,
            "pool-stopped": self._pool_stopped,
            "job-submitted": self._job_submitted,
            "jobs-pending": self._jobs_pending,
            "job-started": self._job_started,
            "job-ended": self._job_ended,
        }

    @classmethod
    def read(cls, journal: str | os.PathLike[str], *, sessions: str = "last") -> "History":
        """What the journal at that path tells; nothing where there is none.

        Parameters
        ----------
        sessions : {"last", "all"}
            Of the last session only, or of all; those who called the same in several sessions called it several times.
        """
        history = cls()
        entries = read_journal(Path(journal))
        for entry in entries:
            if entry.state == BEGUN and sessions == "last":
                history = cls()
            history.take(entry)
        history.is_whole = history.is_whole and not entries.damaged
        return history

    def take(self, entry: Entry) -> None:
        """The next line; what it says that nobody knows is passed over, and what says not enough as well."""
        self.last = max(self.last, entry.time)
        try:
            self._fold(entry)
        except (KeyError, TypeError, ValueError):  # its facts were cut, or are none of ours
            self.is_whole = False

    def _fold(self, entry: Entry) -> None:
        if entry.state == BEGUN:
            self.session, self.began, self.ended, self.reason = entry.session, entry.time, None, ""
        elif entry.state == ENDED:
            self.ended, self.reason = entry.time, str(entry.facts.get("reason", ""))
        elif (take := self._take.get(entry.state)) is not None:
            take(entry)

    def call(self, key: str) -> Call | None:
        """The call with that id, or that had it before it was sent again; None where nothing is told of it."""
        while key not in self.calls and key in self._renamed:
            key = self._renamed[key]
        return self.calls.get(key)

    def of_name(self, name: str) -> Iterator[Call]:
        """The calls of the task with that name."""
        return (call for call in self.calls.values() if call.name == name)

    def job_of(self, worker: str) -> Job | None:
        """The job of the worker at that address; None where it has none."""
        found = self.workers.get(worker)
        if found is None:
            return None
        names = {found.name, found.name.rpartition("-")[0]}
        return next((job for job in self.jobs.values() if job.worker_name in names), None)

    def pool_of(self, worker: Worker) -> str:
        """The name of the pool that `worker` is of: the only one, where it does not say; empty where it has none."""
        return worker.pool or (next(iter(self.pools)) if len(self.pools) == 1 else "")

    # Calls

    def _session(self, entry: Entry) -> None:
        self.max_in_flight = int(entry.facts.get("max_in_flight", 0))

    def _called(self, entry: Entry) -> None:
        facts = entry.facts
        self.calls[entry.key] = Call(
            entry.key,
            entry.name,
            entry.time,
            task_type=str(facts.get("task_type", "function")),
            depends_on=tuple(facts.get("depends_on", ())),
            backend=str(facts.get("backend", "")),
            block=str(facts.get("block", "")),
            workflow_id=str(facts.get("workflow_id", "")),
            needs=facts.get("needs", {}),
        )

    def _call(self, entry: Entry) -> Call:
        """That which a line is about; made where the line that tells of the call is damaged, or is yet to come."""
        found = self.calls.get(entry.key)
        if found is None:
            found = self.calls[entry.key] = Call(entry.key, entry.name, entry.time)
        return found

    def _keyed(self, entry: Entry) -> None:
        self._call(entry).result = str(entry.facts.get("result", ""))

    def _found(self, entry: Entry) -> None:
        call = self._call(entry)
        call.state, call.ended = CallState.FOUND, entry.time

    def _queued(self, entry: Entry) -> None:
        self._call(entry).queued = entry.time

    def _waits(self, entry: Entry) -> None:
        call = self._call(entry)
        if call.state is CallState.WAITING:
            call.held, call.expected = entry.time, float(entry.facts.get("expected", 0.0))

    def _running(self, entry: Entry) -> None:
        call = self._call(entry)
        if call.is_over:  # the line was late
            return
        call.state, call.started, call.worker = CallState.RUNNING, entry.time, str(entry.facts.get("worker", ""))
        call.queued = call.held = None

    def _ended(self, entry: Entry) -> None:
        call, facts = self._call(entry), entry.facts
        if call.state is CallState.FOUND:  # and so done at once
            return
        call.state, call.ended, call.queued = _ENDS[entry.state], entry.time, None
        call.held = None
        call.started = _moment(facts, call.started)
        call.worker = facts.get("worker", call.worker)
        call.cpu, call.peak_memory, call.size = facts.get("cpu"), facts.get("peak_memory"), facts.get("size")
        call.error, call.error_type = str(facts.get("error", "")), str(facts.get("error_type", ""))

    def _again(self, entry: Entry) -> None:
        facts = entry.facts
        call = self._sent_again(entry)
        worker, started = str(facts.get("worker", call.worker)), _moment(facts, call.started)
        is_late = call.is_over or (entry.state == "lost" and call.worker not in {"", worker})
        if is_late:  # why it was lost is looked for, and meanwhile it has begun elsewhere
            started = None
        why = str(facts.get("cause") or facts.get("error") or "")
        delay = float(facts.get("delay", 0.0))
        call.attempts.append(Attempt(entry.state, entry.time, started, worker, why, delay))
        if not is_late:
            call.state, call.started, call.worker = CallState.WAITING, None, ""

    def _sent_again(self, entry: Entry) -> Call:
        """The call, under the id that it has from now on."""
        call = self.calls.pop(entry.key, None) or Call(entry.key, entry.name, entry.time)
        call.id = str(entry.facts.get("again", entry.key))
        if call.id != entry.key:
            self._renamed[entry.key] = call.id
        self.calls[call.id] = call
        return call

    def _resent(self, entry: Entry) -> None:
        call = self._sent_again(entry)
        call.state, call.queued = CallState.WAITING, None

    def _terminated(self, entry: Entry) -> None:
        self.reason = str(entry.facts.get("reason", "terminated"))

    # Workers, pools and jobs

    def _worker_joined(self, entry: Entry) -> None:
        facts = dict(entry.facts)
        address, name = str(facts.pop("worker")), str(facts.pop("worker_name", ""))
        self.workers[address] = Worker(address, name, joined=entry.time, **_known(facts, Worker))

    def _worker_left(self, entry: Entry) -> None:
        if (worker := self.workers.get(str(entry.facts.get("worker")))) is not None:
            worker.left = entry.time

    def _resources(self, entry: Entry) -> None:
        if (worker := self.workers.get(str(entry.facts.get("worker")))) is not None:
            worker.uses.append((entry.time, entry.facts.get("cpu", 0.0), entry.facts.get("memory", 0)))

    def _pool(self, entry: Entry) -> None:
        facts = dict(entry.facts)
        name = str(facts.pop("pool"))
        self.pools[name] = Pool(name, **_known(facts, Pool))

    def _pool_of(self, entry: Entry) -> Pool:
        name = str(entry.facts.get("pool", ""))
        return self.pools.setdefault(name, Pool(name))

    def _pool_stopped(self, entry: Entry) -> None:
        self._pool_of(entry).stopped = str(entry.facts.get("error", ""))

    def _jobs_pending(self, entry: Entry) -> None:
        self._pool_of(entry).reasons = entry.facts.get("reasons", {})

    def _job_submitted(self, entry: Entry) -> None:
        facts = dict(entry.facts)
        number, pool = str(facts.pop("job")), str(facts.pop("pool", ""))
        self.jobs[number] = Job(number, pool, submitted=entry.time, **_known(facts, Job))

    def _job(self, entry: Entry) -> Job:
        number = str(entry.facts.get("job", ""))
        return self.jobs.setdefault(number, Job(number, str(entry.facts.get("pool", ""))))

    def _job_started(self, entry: Entry) -> None:
        job = self._job(entry)
        job.started, job.nodes = entry.time, str(entry.facts.get("nodes", ""))

    def _job_ended(self, entry: Entry) -> None:
        job, facts = self._job(entry), entry.facts
        job.ended, job.state = entry.time, str(facts.get("state", ""))
        job.nodes = str(facts.get("nodes", job.nodes))
        job.is_asked, job.log = bool(facts.get("is_asked")), str(facts.get("log", ""))


def _moment(facts: Mapping[str, Any], otherwise: float | None) -> float | None:
    """When a body began."""
    return float(facts["started"]) if "started" in facts else otherwise


def _known(facts: Mapping[str, Any], kind: type) -> dict[str, Any]:
    """Those of `facts` that `kind` has a place for: a later version may tell more."""
    names: Iterable[str] = kind.__slots__  # type: ignore[attr-defined]
    return {name: facts[name] for name in names if name in facts}
