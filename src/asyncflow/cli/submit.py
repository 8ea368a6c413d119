"""``asyncflow submit``: a script as a batch job of its own."""

import shlex
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from asyncflow.cli import _configs, _runs
from asyncflow.cli._either_side import EitherSide

if TYPE_CHECKING:
    from asyncflow.queues.system import Driver


@click.command(
    "submit",
    cls=EitherSide,
    context_settings={"allow_interspersed_args": False},
    short_help="Submit a script as a batch job.",
)
@click.option("--config", "-c", required=True, type=click.Path(), metavar="FILE", help="The configuration it uses.")
@click.option("--time", "seconds", required=True, type=_configs.DURATION, help="How long it may run: 90m, 2h, 1d.")
@click.option("--nodes", type=click.IntRange(1), default=1, show_default=True, help="How many nodes it gets.")
@click.option("--cores", type=click.IntRange(1), help="Cores of each node.")
@click.option("--memory", type=_configs.SIZE, help="Memory of each node: 8GB.")
@click.option("--queue", metavar="NAME", help="The queue or partition.")
@click.option("--account", metavar="NAME", help="The account or project that is charged.")
@click.option("--name", help="The name of the job; that of the script by default.")
@click.option("--log", type=click.Path(dir_okay=False), metavar="FILE", help="Where its output goes.")
@click.option(
    "--directive", "directives", multiple=True, metavar="TEXT", help='One more directive: "--gres=gpu:1"; repeatable.'
)
@click.option(
    "--system", metavar="KIND", help="Where to submit it, if the configuration does not say: slurm, pbs, lsf."
)
@_runs.run_options
@_runs.ending_options
@click.option("--dry-run", is_flag=True, help="Print the job script and submit nothing.")
@click.argument("script", type=click.Path(exists=True, dir_okay=False))
@click.argument("args", nargs=-1, type=click.UNPROCESSED)
def command(
    script: str,
    args: tuple[str, ...],
    *,
    config: str,
    system: str | None,
    directives: tuple[str, ...],
    dry_run: bool,
    grace: str | None,
    requeue: bool,
    **asked: Any,
) -> None:
    """Submit a job in which `asyncflow run --config FILE SCRIPT ARGS` runs, in this directory and with this Python.

    Its id, its log and the commands that follow and cancel it are printed. A minute before its time is over the job
    gets SIGTERM: what runs has 30 s to end, then the script closes its engine in order. More --grace makes it sooner.
    With --requeue the job then submits itself again and goes on with its run. Options may stand after SCRIPT, spelt
    out, as in asyncflow run; everything else there goes to the script.

    \b
        asyncflow submit campaign.py --seeds 100 --config configs/slurm.yaml --time 12h --cores 2 --memory 4GB

    The exit status is 2 for a faulty configuration, 1 if the job is refused.
    """
    import asyncio

    from asyncflow.cli import _requeue
    from asyncflow.clusters._systems import systems
    from asyncflow.errors import SubmitError
    from asyncflow.queues import cleaning, driving, requeueing

    naming = _runs.Naming.taken_from(asked)
    settings = _configs.read(config)
    known = systems()
    if system is not None and system not in known:
        _configs.refuse(f"--system {system}: there is no such system; choose one of {', '.join(known)}")
    try:
        chosen = driving.choose_system(settings.kind, known, system, list(cleaning.on_path(known)))
    except ValueError as error:
        _configs.refuse(f"{config}: kind {settings.kind} does not say where to submit a job, and {error}")
    driver = _driver(script, directives, {**asked, "grace": grace, "goes_on": requeue})
    words = [sys.executable, "-m", "asyncflow", "run", "--config", str(Path(config).expanduser().absolute())]
    words.append(f"--grace={driver.fitting_grace:g}s")
    stored, variables = None, {}
    if requeue:
        naming = _to_resume(script, naming)
        stored = _runs.choose(script, naming).path / _requeue.STORED
        variables = {requeueing.JOB_SCRIPT: str(stored)}
        words.append("--requeue")
    words += naming.words()
    words += [script, "--", *args]  # after it, nothing of args is taken for an option of run
    text = driving.driver_script(chosen, driver, words, str(Path.cwd()), directives, variables)
    if dry_run:
        click.echo(text, nl=False)
        return
    try:
        if stored is not None:
            _requeue.store(text, stored)
        job_id = asyncio.run(driving.submit_script(chosen, text))
    except (SubmitError, OSError) as error:
        click.echo(str(error), err=True)
        raise SystemExit(1) from None
    click.echo(f"job {job_id}")
    click.echo(f"log: {driver.log}")
    for line in (*chosen.follow(job_id), f"tail -F {shlex.quote(driver.log)}"):
        click.echo(f"  {line}")


def _to_resume(script: str, naming: _runs.Naming) -> _runs.Naming:
    """The same run, named so that one job after the other can go on with it; exit status 2 where it is another's."""
    run = _runs.choose(script, naming)
    if not run.is_resumed and run.path.exists():
        _configs.refuse(f"there is a run {run.name} in {run.work_dir}; go on with it with --resume, or give a new name")
    return _runs.Naming(str(run.work_dir), None, run.name)


def _driver(script: str, directives: tuple[str, ...], asked: dict[str, Any]) -> "Driver":
    """What the job asks for; refused where it cannot be a line of a job script."""
    from asyncflow.cli._termination import grace_of
    from asyncflow.queues.driving import job_name
    from asyncflow.queues.run import PREFIX
    from asyncflow.queues.system import Driver

    given, asked["grace"] = asked["grace"], grace_of(asked["grace"])
    name = asked.pop("name") or job_name(script)
    log = Path(asked.pop("log") or f"{name}-{time.strftime('%Y%m%d-%H%M%S')}.log").expanduser().absolute()
    for option, word in {"name": name, "queue": asked["queue"], "account": asked["account"]}.items():
        if word is not None and (not word or word.split() != [word]):
            _configs.refuse(f"--{option} {word!r} must be one word")
    for option, lines in {"log": (str(log),), "directive": directives}.items():
        if any(len(line.splitlines()) != 1 for line in lines):
            _configs.refuse(f"--{option} must be one line of text")
    if name.startswith(PREFIX):
        _configs.refuse(f"--name {name}: names of workers' jobs begin with {PREFIX}; choose another for the driver's")
    driver = Driver(name=name, time=asked.pop("seconds"), log=str(log), **asked)
    if given is not None and driver.fitting_grace < driver.grace:
        text = f"--grace {given} is too much for --time: SIGTERM comes when a quarter of that is left"
        _configs.refuse(f"{text}, and {driver.warning - driver.fitting_grace:g} s of it are for closing")
    return driver
