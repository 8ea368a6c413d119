"""What LSF does with a job: its environment, where output goes, how it is ended and what is told of it."""

import shutil
import signal
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

from .machine import Lack
from .state import Job, file_of

_INT_TERM_KILL = ((0.0, signal.SIGINT), (0.5, signal.SIGTERM), (1.0, signal.SIGKILL))

#: Signals by what ends the job, with the share of the kill delay after which each comes.
SIGNALS = {
    "deleted": _INT_TERM_KILL,
    "walltime": ((0.0, signal.SIGUSR2), (0.4, signal.SIGINT), (0.7, signal.SIGTERM), (1.0, signal.SIGKILL)),
}

#: The state of a job while nobody hears from its node.
LOST = "UNKWN"

_REASONS = {
    "walltime": "TERM_RUNLIMIT: job killed after reaching LSF run time limit",
    "memory": "TERM_MEMLIMIT: job killed after reaching LSF memory usage limit",
    "deleted": "TERM_OWNER: job killed by owner",
    "preempted": "TERM_PREEMPT: job killed after preemption",
}


def environment(directory: Path, job: Job, submitted: dict[str, str]) -> dict[str, str]:
    """What a job sees: the submitter's variables and LSF's own."""
    slots = hosts_of(job)
    host_file = file_of(directory, job, "nodes")
    host_file.write_text("".join(f"{node}\n" for node in slots), encoding="utf-8")
    return {
        **submitted,
        "LSB_JOBID": job["id"],
        "LSB_BATCH_JID": job["id"],
        "LSB_JOBINDEX": "0",
        "LSB_JOBNAME": job["name"],
        "LSB_QUEUE": job["queue"],
        "LSB_HOSTS": " ".join(slots),
        "LSB_MCPU_HOSTS": " ".join(f"{node} {count}" for node, count in Counter(slots).items()),
        "LSB_DJOB_HOSTFILE": str(host_file),
        "LSB_DJOB_NUMPROC": str(len(slots)),
        "LSB_MAX_NUM_PROCESSORS": str(len(slots)),
        "LSB_SUB_HOST": "server",
        "LS_SUBCWD": job["cwd"],
        "LSB_OUTPUTFILE": job["output"],
        "TMPDIR": str(directory / "tmp" / job["id"]),
    }


def hosts_of(job: Job) -> list[str]:
    """The host of each slot."""
    return [node for node, (cores, _) in zip(job["nodes"], job["chunks"], strict=True) for _ in range(cores)]


def working_directory(job: Job, env: dict[str, str]) -> str:
    """Jobs start where they were submitted."""
    return str(job["cwd"])


def open_outputs(directory: Path, job: Job) -> tuple[BinaryIO, BinaryIO]:
    """The files that ``-o`` and ``-e`` name, to be appended to; without ``-o`` what LSF would send as mail."""
    output = Path(job["output"] or file_of(directory, job, "OU"))
    error = Path(job["error"] or output)
    for path in {output, error} if job["overwrite"] else ():
        path.write_bytes(b"")
    return output.open("ab"), error.open("ab")


def deliver(directory: Path, job: Job) -> None:
    """Append LSF's report to the output."""
    shutil.rmtree(directory / "tmp" / job["id"], ignore_errors=True)
    status = job["exit_status"]
    verdict = "Successfully completed." if status == 0 else f"Exited with exit code {status}."
    lines = [
        "",
        "-" * 60,
        f"Sender: LSF System <lsfadmin@{job['nodes'][0]}>",
        f"Subject: Job {job['id']}: <{job['name']}> in cluster <asyncflow> {'Done' if status == 0 else 'Exited'}",
        "",
        *([f"{job['exit_reason']}."] if job["exit_reason"] else []),
        verdict,
        "",
    ]
    with suppress(OSError), Path(job["output"] or file_of(directory, job, "OU")).open("a", encoding="utf-8") as file:
        file.write("\n".join(lines))


def tell_start(job: Job) -> None:
    """A job that runs has no reason to wait."""
    job["comment"] = ""


def judge(job: Job, code: int, kill: dict[str, Any] | None) -> None:
    """The end of a job that ran: ``128 + signal`` for one that a signal ended."""
    why = kill["why"] if kill else None
    status = kill["status"] if kill and why == "died" else code if code >= 0 else 128 - code
    job["exit_reason"] = job["comment"] = _REASONS.get(why or "", "")
    job.update(state="DONE" if status == 0 else "EXIT", exit_status=status)


def delete_waiting(job: Job) -> None:
    """The end of a job that does not run."""
    reason = "TERM_OWNER: job killed by owner"
    job.update(state="EXIT", ended=time.time(), exit_status=0, comment=reason, exit_reason=reason)


def comment(lack: Lack) -> str:
    """Why a job waits; LSF does not tell what will never run."""
    if lack.never:
        return "There are no suitable hosts for the job;"
    if lack.resource == "mem":
        return "Job requirements for reserving resource (mem) not satisfied;"
    return "Job slot limit reached;"


def gives_up(job: Job, *, is_back: bool) -> bool:
    """Whether a job of a lost node is over: when the node is back; at once when it may run again elsewhere."""
    return is_back or bool(job["rerunnable"] and time.time() >= job["lost"])


def judge_lost(job: Job) -> None:
    """The end of a job of a lost node."""
    reason = "TERM_UNKNOWN: unknown reason"
    job.update(state="EXIT", exit_status=1, comment=reason, exit_reason=reason)
