"""A stand-in for a batch system as tests see it: its jobs, and the faults that it is asked for."""

import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from asyncflow.suggest import one_of
from asyncflow.testing._stand_ins import main, processes, state

#: What a submission fails with when the test says nothing else.
_REFUSALS = {
    "pbs": ("Job violates queue and/or server resource limits", 188),
    "lsf": ("User cannot use the queue. Job not submitted.", 255),
}


@dataclass(frozen=True)
class FakeJob:
    """A job as the stand-in knows it.

    Attributes
    ----------
    id : str
        ``12.server`` of PBS, ``12`` of LSF.
    name, queue : str
        As submitted.
    state : str
        As the system calls it: ``Q``, ``R``, ``F`` of PBS, ``PEND``, ``RUN``, ``DONE``, ``EXIT``, ``UNKWN`` of LSF.
    exit_status : int or None
        As the system tells it; None until the end.
    nodes : tuple of str
        The node of each chunk; LSF's slots are chunks of one core unless they must stay together.
    reason : str
        PBS's comment, or why LSF's job waits or was ended.
    script : str
        What was submitted, word by word.
    directives : tuple of str
        Its ``#PBS`` or ``#BSUB`` lines, without that word.
    output, error : str
        Where output goes; empty where LSF would send mail.
    submitted, started, ended : float or None
        Seconds since the epoch.
    pid : int or None
        The top process, which leads a session.
    runs : int
        How many times it was started.
    """

    id: str
    name: str
    queue: str
    state: str
    exit_status: int | None
    nodes: tuple[str, ...]
    reason: str
    script: str
    directives: tuple[str, ...]
    output: str
    error: str
    submitted: float
    started: float | None
    ended: float | None
    pid: int | None
    runs: int


class FakeQueue:
    """A batch system that `fake_queue` made: what it knows, and what shall go wrong.

    Attributes
    ----------
    system : str
        ``pbs`` or ``lsf``.
    directory : Path
        Where its state, spool and commands are.
    """

    def __init__(self, system: str, directory: Path) -> None:
        self.system = system
        self.directory = directory

    def jobs(self) -> list[FakeJob]:
        """Every job that was ever accepted, in the order of submission."""
        return [self._told(job) for job in state.read(self.directory)["jobs"].values()]

    def live_jobs(self) -> list[FakeJob]:
        """Those that wait or run, or that the system still believes to."""
        return [job for job in self.jobs() if job.state not in state.FINISHED]

    def fail_submissions(
        self, message: str | None = None, *, status: int | None = None, times: int | None = None
    ) -> None:
        """Refuse what is submitted.

        Parameters
        ----------
        message : str, optional
            What ``qsub`` (after its own name) or ``bsub`` says; a limit of the queue by default.
        status : int, optional
            What it exits with.
        times : int, optional
            How many submissions; all by default, until `clear_faults`.
        """
        default, code = _REFUSALS[self.system]
        facts = {"message": message or default, "status": code if status is None else status}
        self._fault("submit", times=times, commands=[main.SUBMITS[self.system]], **facts)

    def make_slow(self, seconds: float) -> None:
        """Let every command take `seconds` more; 0 ends it."""
        with self._change() as now:
            now["faults"]["slow"] = seconds

    def make_busy(self, times: int | None = None, *, commands: Collection[str] | None = None) -> None:
        """Let commands fail as when the server cannot be reached.

        Parameters
        ----------
        times : int, optional
            How many calls; all by default, until `clear_faults`.
        commands : collection of str, optional
            Which commands; by default those that only ask: ``qstat`` and ``qselect``, or ``bjobs``.
        """
        chosen = list(main.QUERIES[self.system] if commands is None else commands)
        if unknown := set(chosen) - set(main.COMMANDS[self.system]):
            raise ValueError(f"{self.system} has no {min(unknown)!r}; {one_of(main.COMMANDS[self.system])}")
        self._fault("busy", commands=chosen, times=times)

    def end_jobs_after(self, seconds: float, status: int = 1) -> None:
        """Let each job die `seconds` after its start, with the exit status `status`; those that run already too."""
        self._fault("end", seconds=seconds, status=status)

    def clear_faults(self) -> None:
        """Take back `fail_submissions`, `make_slow`, `make_busy` and `end_jobs_after`."""
        with self._change() as now:
            now["faults"].clear()

    def lose_node(self, name: str, *, notice_after: float = 1.0) -> None:
        """Let a node crash: its jobs are killed, and nothing starts there until `return_node`.

        PBS goes on calling them running, and queues them again after `notice_after` seconds (310 of a real one), or
        ends them with status -4 where they forbid it with ``-r n``. LSF calls them ``UNKWN`` until the node is back,
        and then ``EXIT``; after `notice_after` seconds it runs those again that allow it with ``-r``.
        """
        with self._change() as now:
            if name not in now["nodes"]:
                raise ValueError(f"there is no node {name!r}; {one_of(now['nodes'])}")
            now["lost"].append(name)
            for job in now["jobs"].values():
                if job["state"] in state.RUNNING and job["lost"] is None and name in job["nodes"]:
                    job["kill"] = {"why": "lost", "since": time.time(), "after": notice_after}

    def return_node(self, name: str) -> None:
        """Bring a lost node back, empty."""
        with self._change() as now:
            now["lost"] = [node for node in now["lost"] if node != name]

    def hold_jobs(self) -> None:
        """Start nothing more, as if the machine were full: jobs wait and say so."""
        with self._change() as now:
            now["hold"] = True

    def release_jobs(self) -> None:
        """End `hold_jobs`."""
        with self._change() as now:
            now["hold"] = False

    def run_out_of_memory(self, job: str) -> None:
        """Kill a running job as the system does when it takes more memory than it asked for; nothing watches memory."""
        self._kill(job, {"why": "memory"})

    def reach_walltime(self, job: str) -> None:
        """End a running job as if its time were over."""
        self._kill(job, {"why": "walltime", "ran": 0})

    def preempt(self, job: str) -> None:
        """End a running job in favour of others: PBS queues it again, LSF kills it."""
        self._kill(job, {"why": "lost", "after": 0.0} if self.system == "pbs" else {"why": "preempted"})

    def _kill(self, job: str, kill: dict[str, Any]) -> None:
        with self._change() as now:
            found = state.find(now, job)
            if found is None or found["state"] not in state.RUNNING:
                raise ValueError(f"no job {job!r} is running; {one_of(now['jobs'])}")
            found["kill"] = {**kill, "since": time.time()}

    def processes(self, job: str | None = None) -> set[int]:
        """The living processes of one job, or of all, with everything that they started."""
        return processes.members(self.directory, job)

    def _fault(self, name: str, *, times: int | None = None, **facts: Any) -> None:
        if times is not None and times < 1:
            raise ValueError(f"times is {times}; give a positive number, or None for always")
        with self._change() as now:
            now["faults"][name] = {**facts, "times": times}

    @contextmanager
    def _change(self) -> Iterator[state.State]:
        with state.change(self.directory) as now:
            yield now
        state.wake(self.directory)

    def _told(self, job: state.Job) -> FakeJob:
        same = ("id", "name", "queue", "state", "exit_status", "output", "error", "submitted", "started", "ended")
        return FakeJob(
            **{name: job[name] for name in same},
            pid=job["pid"],
            runs=job["runs"],
            nodes=tuple(job["nodes"]),
            reason=job["comment"],
            script=state.file_of(self.directory, job, "SC").read_text(encoding="utf-8"),
            directives=tuple(job["directives"]),
        )
