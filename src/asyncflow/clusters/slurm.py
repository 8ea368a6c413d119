"""Workers in jobs of a SLURM cluster, under a scheduler that runs beside the script."""

import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Annotated, ClassVar

from pydantic import Field

from asyncflow.clusters._queued import queue_kind
from asyncflow.queues.causes import Cause
from asyncflow.queues.commands import Ran
from asyncflow.queues.jobs import JobState, Report
from asyncflow.queues.poolkeys import Line, Name, PoolKeys, QueueSettings
from asyncflow.queues.system import Driver, QueueSystem
from asyncflow.units import clock

_QUEUED = ("PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "SPECIAL_EXIT", "RESV_DEL_HOLD")
_ENDED = (
    "BOOT_FAIL",
    "CANCELLED",
    "COMPLETED",
    "DEADLINE",
    "FAILED",
    "NODE_FAIL",
    "OUT_OF_MEMORY",
    "PREEMPTED",
    "TIMEOUT",
)
_STATES = dict.fromkeys(_QUEUED, JobState.QUEUED) | dict.fromkeys(_ENDED, JobState.ENDED)
_BOOKED = "JobID,State,NodeList"
_FORMAT = "%i|%T|%M|%N|%r"  # the reason last: it may hold anything


class Slurm(QueueSystem):
    """SLURM, by ``sbatch``, ``squeue`` and ``scancel``."""

    job_class = "SLURMJob"
    submit: ClassVar[list[str]] = ["sbatch"]
    directive = "#SBATCH"
    causes: ClassVar[Mapping[str, Cause]] = {
        r"^(TIMEOUT|DEADLINE)\b|\bTimeLimit\b": Cause.WALLTIME,  # the latter while it is COMPLETING
        r"^OUT_OF_MEMORY\b|\bOutOfMemory\b": Cause.MEMORY,
        r"^PREEMPTED\b": Cause.PREEMPTED,
        r"^(NODE_FAIL|BOOT_FAIL)\b": Cause.NODE,
        r"^REQUEUED\b": Cause.REQUEUED,
        r"^CANCELLED\b": Cause.CANCELLED,
    }
    logged: ClassVar[Mapping[str, Cause]] = {
        r"CANCELLED AT .* DUE TO TIME LIMIT": Cause.WALLTIME,
        r"oom[-_]kill|[Ee]xceeded (job |step )?memory limit": Cause.MEMORY,
        r"CANCELLED AT .* DUE TO PREEMPTION": Cause.PREEMPTED,
        r"CANCELLED AT .* DUE TO NODE FAILURE": Cause.NODE,
        r"CANCELLED AT .* DUE TO JOB REQUEUE": Cause.REQUEUED,
    }
    busy = re.compile(r"timed out|temporarily|unable to contact slurm controller|try again|too many", re.IGNORECASE)
    gone = re.compile(r"invalid job id|already completing or completed", re.IGNORECASE)
    own_variables = ("SLURM_JOB_ID", "SLURM_JOB_NAME", "SLURM_SUBMIT_DIR")
    inner = re.compile(r"SLURMD?_(?!(CONF|CLUSTERS|EXIT_ERROR|UMASK)$)")  # SBATCH_ is the user's
    job_id = re.compile(r"batch job (?P<job_id>\d+)")

    def walltime(self, seconds: float) -> str:
        """``[days-]hours:minutes:seconds``."""
        return clock(seconds)

    def query(self, run: str, ids: Sequence[str]) -> list[str]:
        """By name: one of the ids may have been forgotten already, and would be an error."""
        return ["squeue", "--noheader", "--me", "--states=all", f"--name={run}", f"--format={_FORMAT}"]

    def reports(self, ran: Ran) -> dict[str, Report] | None:
        """One line a job."""
        if ran.returncode != 0:
            return None
        return dict(_report(line) for line in ran.stdout.splitlines() if line.count("|") >= 4)

    def books(self, ids: Sequence[str]) -> list[list[str]]:
        """The accounts, where the site keeps any, else its log of completed jobs; runs before a requeue included."""
        asked = ["--noheader", "--parsable2", "--duplicates", f"--jobs={','.join(ids)}", f"--format={_BOOKED}"]
        return [["sacct", "--allocations", *asked], ["sacct", "--completion", *asked]]

    def booked(self, ran: Ran) -> dict[str, str] | None:
        """The last run of each that is over."""
        if ran.returncode != 0:
            return None
        lines = (line.split("|") for line in ran.stdout.splitlines() if line.count("|") == 2)
        return {
            job_id: f"{word} {nodes}" for job_id, word, nodes in lines if word.split(" ")[0] in (*_ENDED, "REQUEUED")
        }

    def cancel(self, ids: Sequence[str]) -> list[str]:
        """TERM, then KILL after the site's KillWait."""
        return ["scancel", *ids]

    def cancel_queued(self, ids: Sequence[str]) -> list[str]:
        """Decided by the controller, at that moment."""
        return ["scancel", "--state=PENDING", *ids]

    def own_script(self, job_id: str) -> list[str]:
        """From the controller, which keeps it."""
        return ["scontrol", "write", "batch_script", job_id, "-"]

    def find(self, run: str) -> list[str]:
        """Unfinished ones are what squeue shows by itself."""
        return ["squeue", "--noheader", "--me", f"--name={run}", "--format=%i"]

    def own(self) -> list[str]:
        """Of this user."""
        return ["squeue", "--noheader", "--me", "--format=%i|%j"]

    def queues(self) -> list[str]:
        """Partitions."""
        return ["sinfo", "--noheader", "--format=%R"]

    def names(self, ran: Ran) -> dict[str, str] | None:
        """``id|name``."""
        if ran.returncode != 0:
            return None
        return dict(line.split("|", 1) for line in ran.stdout.splitlines() if "|" in line)

    def driver_directives(self, driver: Driver) -> list[str]:
        """One task, on the first of the nodes."""
        asked = [
            f"--job-name={driver.name}",
            f"--time={clock(driver.time)}",
            f"--nodes={driver.nodes}",
            "--ntasks-per-node=1",
            f"--output={shlex.quote(driver.log)}",
            f"--signal=B:TERM@{driver.warning}",
        ]
        asked += [f"--cpus-per-task={driver.cores}"] if driver.cores else []
        asked += [f"--mem={-(-driver.memory // 2**20)}M"] if driver.memory else []
        asked += [f"--partition={driver.queue}"] if driver.queue else []
        asked += [f"--account={driver.account}"] if driver.account else []
        asked += ["--open-mode=append"] if driver.goes_on else []
        return asked

    def before_limit(self, driver: Driver) -> list[str]:
        """The directive ``--signal`` does it."""
        return []

    def follow(self, job_id: str) -> list[str]:
        """Where it stands, and how to end it."""
        return [f"squeue --job {job_id}", f"scancel {job_id}"]


SYSTEM = Slurm()


class Keys(PoolKeys):
    """Keys of one pool of SLURM jobs."""

    job_class = "SLURMJob"
    not_ours = r"(-J|--job-name|-a|--array|-M|--clusters|-W|--wait|--parsable)\b"
    instead: ClassVar[Mapping[str, str]] = {
        **PoolKeys.instead,
        "project": "it is called account now",
        "partition": "it is called queue",
    }

    queue: Line | None = None
    """The partition (``-p``)."""

    account: Line | None = None
    """The account that is charged (``-A``)."""

    job_cpu: Annotated[int, Field(ge=1)] | None = None
    """Cores to ask for (``--cpus-per-task``), where they differ from ``cores``."""

    job_mem: Line | None = None
    """Memory to ask for (``--mem``) as SLURM writes it, where it differs from ``memory``."""


class Config(QueueSettings, Keys):
    """Keys of ``kind: slurm``, spelt as `dask_jobqueue.SLURMCluster` spells them; one pool, or several by name."""

    pools: Mapping[Name, Keys] = Field(default_factory=dict, validate_default=True)
    """Several shapes of jobs by name, each with its own keys; keys beside ``pools:`` hold for all of them."""


plans, pools, open_cluster = queue_kind("slurm", Slurm)


def _report(line: str) -> tuple[str, Report]:
    job_id, word, elapsed, nodes, reason = line.split("|", 4)
    state = _STATES.get(word, JobState.RUNNING)  # what a later version calls otherwise is there all the same
    return job_id, Report(state, word, "" if reason == "None" else reason, nodes, _elapsed(elapsed))


def _elapsed(text: str) -> float:
    """Seconds of ``1-02:03:04``, ``2:03:04`` or ``3:04``, where `asyncflow.units.seconds` would read hours first."""
    parts = re.fullmatch(r"(?:(?:(\d+)-)?(\d+):)?(\d+):(\d+)", text)
    if parts is None:  # INVALID, of a node whose clock is ahead
        return 0.0
    days, hours, minutes, secs = (int(part or 0) for part in parts.groups())
    return float(((days * 24 + hours) * 60 + minutes) * 60 + secs)
