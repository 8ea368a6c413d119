"""``--requeue``: a driver that is a batch job submits that again, when it ends before the run does."""

import asyncio
import os
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

from asyncflow.cli._configs import refuse

if TYPE_CHECKING:
    from asyncflow.cli._runs import Chosen
    from asyncflow.queues.requeueing import OwnJob

#: The script of the job, in the directory of the run.
STORED = "job.sh"


class Requeue(NamedTuple):
    """The job that this process runs in, and what it was submitted with."""

    job: "OwnJob"
    script: str

    @classmethod
    def prepare(cls, chosen: "Chosen") -> "Requeue":
        """What there is to submit again; exit status 2 where it could not be done later."""
        from asyncflow.clusters._systems import systems
        from asyncflow.queues.requeueing import own_job, script_of

        if not chosen.is_resumed:
            refuse("--requeue needs --resume NAME, which begins the run or goes on with it: the next job says the same")
        job = own_job(systems().values(), os.environ)
        if job is None:
            refuse("--requeue submits the batch job again in which this runs, and this is none; use asyncflow submit")
        try:
            return cls(job, asyncio.run(script_of(job, os.environ)))
        except LookupError as error:
            refuse(f"--requeue: {error}")

    def submit(self, chosen: "Chosen") -> None:
        """Do so, unless the session kept nothing new or somebody ended the job for good; say what was done."""
        from asyncflow.errors import SubmitError
        from asyncflow.queues.requeueing import ended_by, submit_again

        if not newly_kept(chosen.path):
            why = f"since it began, run {chosen.name} has kept no result that was not there before"
        elif who := asyncio.run(ended_by(self.job)):
            why = f"the queue says {who}"
        else:
            try:
                job_id = asyncio.run(submit_again(self.job, self.script, os.environ))
            except SubmitError as error:
                click.echo(f"asyncflow: run {chosen.name} does not go on by itself: {error}", err=True)
            else:
                click.echo(f"asyncflow: job {job_id} goes on with run {chosen.name}", err=True)
            return
        click.echo(f"asyncflow: job {self.job.id} is not submitted again: {why}", err=True)


def store(script: str, path: Path) -> None:
    """Keep the script of a job at `path`, in the directory of the run, for nobody else: it may have secrets in it.

    Raises
    ------
    OSError
        When it cannot be written.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    new = path.with_name(f".{path.name}.new")
    new.unlink(missing_ok=True)
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o700)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(script)
    new.replace(path)


def newly_kept(directory: Path) -> int:
    """How many results the last sessions of the run at `directory` kept that were not there before.

    A script may have made several engines; the runs of the later ones have a number behind their names.
    """
    from asyncflow.runs import driven_here
    from asyncflow.runs.directory import JOURNAL
    from asyncflow.runs.entries import read_end

    kept, number, path = 0, 1, directory
    while driven_here(path):
        end = read_end(path / JOURNAL)
        kept += int(end.facts.get("kept", 0)) if end is not None else 0
        number += 1
        path = directory.with_name(f"{directory.name}-{number}")
    return kept
