"""``asyncflow run``: a script, with the configuration that its engine finds."""

from pathlib import Path
from typing import Any

import click

from asyncflow.cli import _runs
from asyncflow.cli._either_side import EitherSide
from asyncflow.cli._telling import Telling, telling_options


@click.command(
    "run",
    cls=EitherSide,
    context_settings={"allow_interspersed_args": False},
    short_help="Run a script, or a pipeline, with a configuration.",
)
@click.option("--config", "-c", type=click.Path(), metavar="FILE", help="The configuration its engine uses.")
@_runs.run_options
@_runs.ending_options
@telling_options
@click.argument("script", type=click.Path(exists=True, dir_okay=False))
@click.argument("args", nargs=-1, type=click.UNPROCESSED)
def command(
    script: str,
    args: tuple[str, ...],
    *,
    config: str | None,
    grace: str | None,
    requeue: bool,
    **others: Any,
) -> None:
    """Run SCRIPT with ARGS, as python would, so that its WorkflowEngine.create() finds the configuration FILE.

    SCRIPT may be a pipeline as well, a YAML file; see asyncflow run PIPELINE.yaml --help for its ARGS.

    After SCRIPT only the options below, spelt out, belong to asyncflow; everything else, -c and --help included,
    goes to the script. After a -- all of it does.

    \b
        asyncflow run script.py input.dat --steps 5 --config configs/local.yaml
        asyncflow run -c configs/local.yaml script.py -- --config the-scripts-own.ini
        asyncflow run pipeline.yaml --set samples=1000 --config configs/slurm.yaml

    The engine has a run directory. Results of tasks with checkpoint=True are kept there, and not computed again when
    the run is resumed. How to do so is said at the end.

    While it runs, progress is shown on standard error: bars on a terminal, elsewhere a line every 30 s; at the end a
    table.

    The exit status is the script's own: 2 for a faulty configuration or a run that cannot be had, 130 after SIGINT
    (Ctrl-C), 143 after SIGTERM.

    Both signals cancel what runs and close the engine in order; a second Ctrl-C does not wait for that. Before that,
    SIGTERM gives what runs a grace period to end, in which nothing else begins; Ctrl-C ends the period at once.

    With --requeue a batch job whose time is over submits itself again, as long as each job keeps results that were
    not there before. The exit status is 143 all the same.
    """
    from asyncflow.cli import _configs, _requeue, _script, _termination

    telling = Telling.taken_from(others)
    if config is not None:
        _configs.read(config)  # a faulty one is refused before the script begins
        config = str(Path(config).expanduser().absolute())  # the script may change its directory
    chosen = _runs.choose(script, _runs.Naming.taken_from(others))
    telling.configure(chosen.name)
    environ = {**chosen.environ(), **telling.environ(), **({} if config is None else {"ASYNCFLOW_CONFIG": config})}
    termination = _termination.Termination(_termination.grace_of(grace))
    job = _requeue.Requeue.prepare(chosen) if requeue else None
    try:
        _script.run(script, list(args), environ, termination, telling.shown())
    finally:
        if not telling.is_quiet:
            chosen.tell(script, args, config)
        if job is not None and termination.has_ended_it:
            job.submit(chosen)
