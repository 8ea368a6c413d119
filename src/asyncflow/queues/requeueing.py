"""A driver that submits its own job again, when that ends before its run does."""

import asyncio
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from asyncflow.queues import commands
from asyncflow.queues.causes import Cause
from asyncflow.queues.driving import id_in
from asyncflow.queues.jobs import Report
from asyncflow.queues.records import in_words
from asyncflow.queues.system import QueueSystem

#: What names the file with the script of the job that a driver runs in.
JOB_SCRIPT = "ASYNCFLOW_JOB_SCRIPT"

#: Seconds that the queue has to say how the job stands, of the few that are left.
PATIENCE = 10.0

#: What queueing systems call a job that nobody ends.
_RUNS = frozenset({"RUNNING", "R", "RUN"})


class OwnJob(NamedTuple):
    """The job that this process runs in.

    Attributes
    ----------
    system : QueueSystem
        Where it runs.
    id, name : str
        Of the job.
    directory : str
        Where it was submitted.
    """

    system: QueueSystem
    id: str
    name: str
    directory: str


def own_job(systems: Iterable[QueueSystem], environ: Mapping[str, str]) -> OwnJob | None:
    """The job whose processes have the environment `environ`; None where it is of no job."""
    for system in systems:
        job_id, name, directory = (environ.get(variable, "") for variable in system.own_variables)
        if job_id:
            return OwnJob(system, job_id, name, directory or str(Path.cwd()))
    return None


async def script_of(job: OwnJob, environ: Mapping[str, str]) -> str:
    """The script that `job` was submitted with.

    Raises
    ------
    LookupError
        When it is not to be had, with what to do.
    """
    remedy = f"put `export {JOB_SCRIPT}=/path/of/the/script` into the script, or use `asyncflow submit --requeue`"
    if file := environ.get(JOB_SCRIPT):
        try:
            return await asyncio.to_thread(Path(file).read_text, encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise LookupError(f"{JOB_SCRIPT} names a file that cannot be read ({error}); {remedy}") from None
    command = job.system.own_script(job.id)
    if not command:
        raise LookupError(f"job {job.id} cannot be submitted again, as its script is not known here; {remedy}")
    ran = await commands.run(command)
    if ran.returncode != 0 or not ran.stdout.startswith("#!"):
        raise LookupError(f"job {job.id} cannot be submitted again, as its script cannot be had ({ran}); {remedy}")
    return ran.stdout


async def ended_by(job: OwnJob) -> str:
    """Who ends `job` for good, as its queue puts it; empty where its time is over, or nobody can tell."""
    try:
        ran = await asyncio.wait_for(commands.run(job.system.query(job.name, [job.id])), PATIENCE)
    except TimeoutError:
        return ""
    reports = job.system.reports(ran) or {}
    return "" if job.id not in reports or is_due(job.system, reports[job.id]) else str(reports[job.id])


def is_due(system: QueueSystem, report: Report) -> bool:
    """Whether a job that was sent SIGTERM, of which the queue says this, ends because others decided about its time.

    Such a one runs still, or its time is over, or it makes room for another. All others somebody has cancelled, or the
    queue itself will run them again.
    """
    if report.word in _RUNS:
        return True
    return in_words(system.causes, f"{report.word} {report.reason}") in {Cause.WALLTIME, Cause.PREEMPTED}


async def submit_again(job: OwnJob, script: str, environ: Mapping[str, str]) -> str:
    """Submit `script` where `job` was submitted, and as if from outside of it; the id of the new job.

    Raises
    ------
    SubmitError
        When the queueing system refuses it, or says no id.
    """
    outside = {name: value for name, value in environ.items() if not job.system.inner.match(name)}
    said = await commands.submit(job.system.submit, script.encode(), env=outside, cwd=job.directory)
    return id_in(job.system, said)
