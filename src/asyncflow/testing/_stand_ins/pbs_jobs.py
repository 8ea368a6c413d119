"""What OpenPBS does with a job: its environment, where output goes, how it is ended and what is told of it."""

import shutil
import signal
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

from .machine import Lack
from .state import Job, file_of

_TERM_THEN_KILL = ((0.0, signal.SIGTERM), (1.0, signal.SIGKILL))

#: Signals by what ends the job, with the share of the kill delay after which each comes.
SIGNALS = {"deleted": _TERM_THEN_KILL, "walltime": _TERM_THEN_KILL}

#: The state of a job while nobody hears from its node: the server believes that it runs.
LOST = "R"

_STATUS = {"walltime": -29, "memory": -27}

_ENDINGS = {
    "walltime": "and exceeded resource walltime",
    "memory": "and exceeded resource mem",
    "deleted": "and terminated",
}


def environment(directory: Path, job: Job, submitted: dict[str, str]) -> dict[str, str]:
    """What a job sees: a login's variables, what ``-v`` and ``-V`` passed on, and PBS's own."""
    node_file = file_of(directory, job, "nodes")
    node_file.write_text("".join(f"{node}\n" for node in job["nodes"]), encoding="utf-8")
    return {
        **submitted,
        "PBS_ENVIRONMENT": "PBS_BATCH",
        "PBS_JOBID": job["id"],
        "PBS_JOBNAME": job["name"],
        "PBS_JOBDIR": submitted.get("HOME", "/"),
        "PBS_QUEUE": job["queue"],
        "PBS_NODEFILE": str(node_file),
        "PBS_NODENUM": "0",
        "PBS_TASKNUM": "1",
        "NCPUS": str(job["chunks"][0][0]),
        "OMP_NUM_THREADS": str(job["chunks"][0][0]),
        "TMPDIR": str(directory / "tmp" / job["id"]),
    }


def working_directory(job: Job, env: dict[str, str]) -> str:
    """Jobs start at home."""
    return env.get("HOME", "/")


def open_outputs(directory: Path, job: Job) -> tuple[BinaryIO, BinaryIO]:
    """The spool files, which are delivered at the end; with ``-k d`` what ``-o`` and ``-e`` name."""
    output, error = _spooled(directory, job)
    mode = "ab" if job["runs"] > 1 else "wb"
    if job["join"] == "oe":
        error = output
    elif job["join"] == "eo":
        output = error
    return output.open(mode), error.open("ab" if output == error else mode)  # type: ignore[return-value]


def _spooled(directory: Path, job: Job) -> tuple[Path, Path]:
    if job["direct"]:
        return Path(job["output"]), Path(job["error"])
    return file_of(directory, job, "OU"), file_of(directory, job, "ER")


def deliver(directory: Path, job: Job) -> None:
    """Bring the output to where it belongs; what cannot be brought stays in the spool, as the real one's does."""
    if job["kill"] is not None and job["kill"]["why"] == "walltime":
        error = _spooled(directory, job)[0 if job["join"] == "oe" else 1]
        with suppress(OSError), error.open("a", encoding="utf-8") as file:
            file.write(
                f"=>> PBS: job killed: walltime {job['kill']['ran']} exceeded limit {job['walltime'] or 0:.0f}\n"
            )
    if not job["direct"]:
        wanted = {"oe": ["OU"], "eo": ["ER"]}.get(job["join"], ["OU", "ER"])
        for kind in wanted:
            with suppress(OSError):
                shutil.copyfile(file_of(directory, job, kind), job["output" if kind == "OU" else "error"])
                file_of(directory, job, kind).unlink()
    shutil.rmtree(directory / "tmp" / job["id"], ignore_errors=True)


def tell_start(job: Job) -> None:
    """The comment of a job that runs."""
    at = time.strftime("%a %b %d at %H:%M", time.localtime(job["started"]))
    job["comment"] = f"Job run at {at} on {exec_vnode(job)}"


def exec_vnode(job: Job) -> str:
    """Where the chunks of `job` run, with what they have there."""
    memory = (f":mem={mem // 1024}kb" if mem else "" for _, mem in job["chunks"])
    cores = (cores for cores, _ in job["chunks"])
    return "+".join(f"({node}:ncpus={n}{m})" for node, n, m in zip(job["nodes"], cores, memory, strict=True))


def judge(job: Job, code: int, kill: dict[str, Any] | None) -> None:
    """The end of a job that ran: ``256 + signal`` for one that a signal ended."""
    why = kill["why"] if kill else ""
    status = kill["status"] if kill and why == "died" else _STATUS.get(why, code if code >= 0 else 256 - code)
    job.update(state="F", exit_status=status)
    job["comment"] += " " + _ENDINGS.get(why, "and finished" if status == 0 else "and failed")


def delete_waiting(job: Job) -> None:
    """The end of a job that does not run."""
    job.update(state="F", ended=time.time(), comment="Not Running: job was deleted")


def comment(lack: Lack) -> str:
    """Why a job waits."""
    start = "Can Never Run" if lack.never else "Not Running"
    if lack.resource == "nodes":
        return f"{start}: Not enough total nodes available"
    amounts = [f"{n // 1024}kb" if lack.resource == "mem" else str(n) for n in (lack.asked, lack.free, lack.total)]
    r, a, t = amounts
    return f"{start}: Insufficient amount of resource: {lack.resource} (R: {r} A: {a} T: {t})"


def gives_up(job: Job, *, is_back: bool) -> bool:
    """Whether a job of a lost node is put back into its queue: after a while, or when the node says it has no job."""
    return is_back or bool(time.time() >= job["lost"])


def judge_lost(job: Job) -> None:
    """The end of a job of a lost node that may not run twice."""
    job.update(state="F", exit_status=-4, comment=job["comment"] + " and failed")
