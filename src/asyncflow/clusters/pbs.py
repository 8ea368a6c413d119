"""Workers in jobs of a PBS cluster (OpenPBS, PBS Pro), under a scheduler that runs beside the script."""

import getpass
import json
import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from pydantic import Field

from asyncflow.clusters._queued import queue_kind
from asyncflow.queues.causes import Cause
from asyncflow.queues.commands import Ran
from asyncflow.queues.jobs import JobState, Report
from asyncflow.queues.poolkeys import Line, Name, PoolKeys, QueueSettings
from asyncflow.queues.system import Driver, QueueSystem
from asyncflow.units import clock, seconds

_STATES = dict.fromkeys("QHWTM", JobState.QUEUED) | dict.fromkeys("FX", JobState.ENDED)

#: What negative exit statuses mean (pbs_server_attributes(7B), "Job Exit Status Codes").
_ENDS = {
    -29: "walltime",
    -28: "CPU time",
    -27: "memory",
    -26: "virtual memory",
    -14: "put back into the queue, as another of its nodes failed",
    -11: "put back into the queue",
    -4: "lost with its node",
    -3: "could not be started, and is tried again",
}

#: Exit statuses of qstat and qdel that concern single jobs: unknown, finished.
_UNKNOWN, _FINISHED = 153, 35

#: What a server says to ``-x`` where job_history_enable is not set; finished jobs are unknown to it at once.
_NO_HISTORY = re.compile("not configured to maintain job history", re.IGNORECASE)


class Pbs(QueueSystem):
    """PBS, by ``qsub``, ``qstat``, ``qselect`` and ``qdel``."""

    job_class = "PBSJob"
    submit: ClassVar[list[str]] = ["qsub"]
    directive = "#PBS"
    causes: ClassVar[Mapping[str, Cause]] = {
        r"^F walltime": Cause.WALLTIME,
        r"^F (virtual )?memory": Cause.MEMORY,
        r"^F exit status 271\b": Cause.CANCELLED,  # 256 and SIGTERM, as qdel sends it
        r"^\S+ put back": Cause.REQUEUED,
        r"^F lost with its node": Cause.NODE,
    }
    logged: ClassVar[Mapping[str, Cause]] = {
        r"PBS: job killed: walltime .* exceeded limit": Cause.WALLTIME,
        r"PBS: job killed: v?mem .* exceeded limit|oom[-_]kill": Cause.MEMORY,
    }
    busy = re.compile(r"cannot connect to (specified )?server|connection refused|timed out|try again", re.IGNORECASE)
    gone = re.compile(r"unknown job id|job has finished|request invalid for state", re.IGNORECASE)
    own_variables = ("PBS_JOBID", "PBS_JOBNAME", "PBS_O_WORKDIR")
    inner = re.compile(r"PBS_(O_|JOB|NODE|TASK|MOM|QUEUE|ENVIRONMENT|NUM_|ARRAY|COOKIE)|NCPUS$|OMP_NUM_THREADS$")
    job_id = re.compile(r"^(?P<job_id>\d+\S*)\s*$", re.MULTILINE)

    def __init__(self) -> None:
        self._finished = ["-x"]

    def walltime(self, seconds: float) -> str:
        """``hours:minutes:seconds``."""
        return clock(seconds, days=False)

    def query(self, run: str, ids: Sequence[str]) -> list[str]:
        """Finished ones show with ``-x`` only, which a server without job history does not know."""
        return ["qstat", *self._finished, "-f", "-F", "json", *ids]

    def reports(self, ran: Ran) -> dict[str, Report] | None:
        """Jobs that are not known any more are an error beside the answer about the others."""
        if _NO_HISTORY.search(ran.stderr):
            self._finished = []
            return None
        if ran.returncode not in {0, _UNKNOWN, _FINISHED}:
            return None
        jobs = _jobs(ran.stdout)
        return None if jobs is None else {job_id: _report(job) for job_id, job in jobs.items()}

    def cancel(self, ids: Sequence[str]) -> list[str]:
        """TERM, then KILL after the queue's kill_delay."""
        return ["qdel", *ids]

    def find(self, run: str) -> list[str]:
        """Unfinished ones by name."""
        return ["qselect", "-N", run]

    def own(self) -> list[str]:
        """All of the server's; those of this user are picked from them, as ``qstat -u`` cuts names short."""
        return ["qstat", "-f", "-F", "json"]

    def names(self, ran: Ran) -> dict[str, str] | None:
        """By id."""
        jobs = _jobs(ran.stdout)
        if ran.returncode != 0 or jobs is None:
            return None
        mine = f"{getpass.getuser()}@"
        return {job_id: str(job.get("Job_Name", "")) for job_id, job in jobs.items() if _owner(job).startswith(mine)}

    def driver_directives(self, driver: Driver) -> list[str]:
        """One chunk a node, the driver on the first."""
        select = f"select={driver.nodes}" + (f":ncpus={driver.cores}" if driver.cores else "")
        select += f":mem={-(-driver.memory // 2**20)}mb" if driver.memory else ""
        asked = [f"-N {driver.name}", f"-l {select}", f"-l walltime={clock(driver.time, days=False)}", "-j oe"]
        asked += [f"-o {shlex.quote(driver.log)}"]
        asked += [f"-q {driver.queue}"] if driver.queue else []
        asked += [f"-A {driver.account}"] if driver.account else []
        return asked

    def follow(self, job_id: str) -> list[str]:
        """Where it stands, and how to end it."""
        return [f"qstat -x {job_id}", f"qdel {job_id}"]


SYSTEM = Pbs()


class Keys(PoolKeys):
    """Keys of one pool of PBS jobs."""

    job_class = "PBSJob"
    not_ours = r"(-N|-J|-I|-W\s*block)\b"
    instead: ClassVar[Mapping[str, str]] = {**PoolKeys.instead, "project": "it is called account now"}

    queue: Line | None = None
    """The queue (``-q``)."""

    account: Line | None = None
    """The account that is charged (``-A``); ``PBS_ACCOUNT`` of the environment by default."""

    resource_spec: Line | None = None
    """What to ask for (``-l``), for instance ``select=1:ncpus=24:mem=100GB``; made of cores and memory by default."""


class Config(QueueSettings, Keys):
    """Keys of ``kind: pbs``, spelt as `dask_jobqueue.PBSCluster` spells them; one pool, or several by name."""

    pools: Mapping[Name, Keys] = Field(default_factory=dict, validate_default=True)
    """Several shapes of jobs by name, each with its own keys; keys beside ``pools:`` hold for all of them."""


plans, pools, open_cluster = queue_kind("pbs", Pbs)


def _jobs(text: str) -> dict[str, dict[str, Any]] | None:
    """What ``qstat -F json`` lists; None where it is cut short."""
    try:
        listed: dict[str, dict[str, Any]] = json.loads(text).get("Jobs", {}) if text.strip() else {}
    except ValueError:
        return None
    return listed


def _owner(job: Mapping[str, Any]) -> str:
    return str(job.get("Job_Owner", ""))


def _report(job: Mapping[str, Any]) -> Report:
    word = str(job.get("job_state", ""))
    state = _STATES.get(word, JobState.RUNNING)  # E, for instance: what it wrote is still being copied
    reason = str(job.get("comment", ""))
    if state is JobState.ENDED:
        if "Exit_status" in job:  # else it never ran, and the comment says why
            status = int(job["Exit_status"])
            reason = _ENDS.get(status, f"exit status {status}")
    elif state is JobState.RUNNING:
        reason = ""
    used = str(job.get("resources_used", {}).get("walltime", "0"))
    return Report(state, word, reason, str(job.get("exec_host", "")), seconds(used), int(job.get("run_count", 0)))
