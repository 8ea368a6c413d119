"""Workers in jobs of an LSF cluster, under a scheduler that runs beside the script."""

import json
import math
import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Annotated, ClassVar

from pydantic import Field

from asyncflow.clusters._queued import queue_kind
from asyncflow.options import Size
from asyncflow.queues.causes import Cause
from asyncflow.queues.commands import Ran
from asyncflow.queues.jobs import JobState, Report
from asyncflow.queues.poolkeys import Line, Name, PoolKeys, QueueSettings
from asyncflow.queues.system import Driver, QueueSystem

_STATES = dict.fromkeys(("PEND", "PSUSP", "WAIT"), JobState.QUEUED)
_STATES |= dict.fromkeys(("DONE", "EXIT", "ZOMBI"), JobState.ENDED)
_FIELDS = "jobid stat exit_code exit_reason pend_reason exec_host run_time"


class Lsf(QueueSystem):
    """LSF 10.1, by ``bsub``, ``bjobs`` and ``bkill``."""

    job_class = "LSFJob"
    submit: ClassVar[list[str]] = ["bsub"]
    directive = "#BSUB"
    causes: ClassVar[Mapping[str, Cause]] = {
        r"\bTERM_(RUNLIMIT|DEADLINE|WINDOW)\b": Cause.WALLTIME,
        r"\bTERM_(MEMLIMIT|SWAP)\b": Cause.MEMORY,
        r"\bTERM_(PREEMPT|LOAD|RC_RECLAIM)\b": Cause.PREEMPTED,
        r"^UNKWN\b": Cause.NODE,  # the server hears nothing of it
        r"\bTERM_REQUEUE_(OWNER|ADMIN)\b": Cause.REQUEUED,
        r"\bTERM_(FORCE_)?(OWNER|ADMIN)\b": Cause.CANCELLED,
    }
    logged: ClassVar[Mapping[str, Cause]] = {
        r"TERM_RUNLIMIT": Cause.WALLTIME,
        r"TERM_(MEMLIMIT|SWAP)|oom[-_]kill": Cause.MEMORY,
        r"TERM_PREEMPT": Cause.PREEMPTED,
    }
    busy = re.compile(r" is down|please wait|cannot connect|not responding|timed out|try (again|later)", re.IGNORECASE)
    gone = re.compile(r"job has already finished|is not found|no matching job found", re.IGNORECASE)
    own_variables = ("LSB_JOBID", "LSB_JOBNAME", "LS_SUBCWD")
    inner = re.compile(r"LSB_(?!DEFAULT)|LS_(SUBCWD|JOBPID|EXEC_T)|LSFUSER$")
    job_id = re.compile(r"Job <(?P<job_id>\d+)>")

    def walltime(self, seconds: float) -> str:
        """``hours:minutes``, rounded up."""
        hours, minutes = divmod(math.ceil(seconds / 60), 60)
        return f"{hours:02d}:{minutes:02d}"

    def query(self, run: str, ids: Sequence[str]) -> list[str]:
        """Ended ones too, for as long as LSF remembers them (CLEAN_PERIOD, an hour by default)."""
        return ["bjobs", "-a", "-J", run, "-json", "-o", _FIELDS]

    def reports(self, ran: Ran) -> dict[str, Report] | None:
        """One record a job; none at all is an error to bjobs, and an answer to us."""
        if self.gone.search(ran.stderr) and not ran.stdout.strip():
            return {}
        if ran.returncode != 0:
            return None
        try:
            records = json.loads(ran.stdout)["RECORDS"]
        except (ValueError, KeyError):
            return None
        return {str(record["JOBID"]): _report(record) for record in records}

    def cancel(self, ids: Sequence[str]) -> list[str]:
        """INT and TERM, then KILL."""
        return ["bkill", *ids]

    def find(self, run: str) -> list[str]:
        """Unfinished ones are what bjobs shows by itself."""
        return ["bjobs", "-J", run, "-noheader", "-o", "jobid"]

    def own(self) -> list[str]:
        """Of this user."""
        return ["bjobs", "-noheader", "-o", "jobid job_name delimiter='|'"]

    def queues(self) -> list[str]:
        """Of the whole cluster."""
        return ["bqueues", "-noheader", "-o", "queue_name"]

    def names(self, ran: Ran) -> dict[str, str] | None:
        """``id|name``; having none is an error to bjobs."""
        if ran.returncode != 0 and not re.search("no unfinished job", ran.stderr, re.IGNORECASE):
            return None
        return dict(line.split("|", 1) for line in ran.stdout.splitlines() if "|" in line)

    def driver_directives(self, driver: Driver) -> list[str]:
        """As many slots as the nodes have together."""
        cores = driver.cores or 1
        asked = [f"-J {driver.name}", f"-W {self.walltime(driver.time)}", f"-n {driver.nodes * cores}"]
        asked += [f'-R "span[ptile={cores}]"', f"-o {shlex.quote(driver.log)}"]
        asked += [f"-M {-(-driver.memory // 1000)}KB"] if driver.memory else []
        asked += [f"-q {driver.queue}"] if driver.queue else []
        asked += [f"-P {driver.account}"] if driver.account else []
        return asked

    def follow(self, job_id: str) -> list[str]:
        """Where it stands, and how to end it."""
        return [f"bjobs {job_id}", f"bpeek -f {job_id}", f"bkill {job_id}"]


SYSTEM = Lsf()


class Keys(PoolKeys):
    """Keys of one pool of LSF jobs."""

    job_class = "LSFJob"
    not_ours = r"(-J|-K|-I\w*)\b"
    instead: ClassVar[Mapping[str, str]] = {**PoolKeys.instead, "account": "it is called project here"}

    queue: Line | None = None
    """The queue (``-q``)."""

    project: Line | None = None
    """The project that is charged (``-P``)."""

    ncpus: Annotated[int, Field(ge=1)] | None = None
    """Slots to ask for (``-n``), where they differ from ``cores``."""

    mem: Size | None = None
    """Memory to ask for (``-M``), where it differs from ``memory``."""

    lsf_units: Line | None = None
    """The unit of ``-M`` at the site (``kb``, ``mb``); read from its lsf.conf by default."""

    use_stdin: bool = True
    """Hand the script to ``bsub`` on standard input; ``false`` names the file instead."""


class Config(QueueSettings, Keys):
    """Keys of ``kind: lsf``, spelt as `dask_jobqueue.LSFCluster` spells them; one pool, or several by name."""

    pools: Mapping[Name, Keys] = Field(default_factory=dict, validate_default=True)
    """Several shapes of jobs by name, each with its own keys; keys beside ``pools:`` hold for all of them."""


plans, pools, open_cluster = queue_kind("lsf", Lsf)


def _report(record: Mapping[str, str]) -> Report:
    word = str(record.get("STAT", ""))
    state = _STATES.get(word, JobState.RUNNING)
    reason = record.get("PEND_REASON", "") if state is JobState.QUEUED else ""
    if word == "EXIT":
        reason = record.get("EXIT_REASON") or f"exit status {record.get('EXIT_CODE', '?')}"
    ran = re.match(r"\d+", str(record.get("RUN_TIME", "")))
    return Report(
        state, word, " ".join(reason.split()), str(record.get("EXEC_HOST", "")), float(ran[0]) if ran else 0.0
    )
