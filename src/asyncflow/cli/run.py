"""``asyncflow run``: a script, with the configuration that its engine finds."""

from pathlib import Path

import click

from asyncflow.cli._either_side import EitherSide

_LEVELS = ["debug", "info", "warning", "error", "critical"]


@click.command(
    "run",
    cls=EitherSide,
    context_settings={"allow_interspersed_args": False},
    short_help="Run a script with a configuration.",
)
@click.option("--config", "-c", type=click.Path(), metavar="FILE", help="The configuration its engine uses.")
@click.option(
    "--log-level",
    type=click.Choice(_LEVELS, case_sensitive=False),
    default="info",
    show_default=True,
    help="How much asyncflow tells on standard error.",
)
@click.argument("script", type=click.Path(exists=True, dir_okay=False))
@click.argument("args", nargs=-1, type=click.UNPROCESSED)
def command(script: str, args: tuple[str, ...], config: str | None, log_level: str) -> None:
    """Run SCRIPT with ARGS, as python would, so that its WorkflowEngine.create() finds the configuration FILE.

    After SCRIPT only --config and --log-level, spelt out, belong to asyncflow; everything else, -c and --help
    included, goes to the script. After a -- all of it does.

    \b
        asyncflow run script.py input.dat --steps 5 --config configs/local.yaml
        asyncflow run -c configs/local.yaml script.py -- --config the-scripts-own.ini

    The exit status is the script's own: 2 for a faulty configuration, 130 after SIGINT (Ctrl-C), 143 after SIGTERM.
    Both signals cancel what runs and close the engine in order; a second Ctrl-C does not wait for that.
    """
    from asyncflow.cli import _configs, _script

    _script.configure_logging(log_level)
    if config is not None:
        _configs.read(config)  # a faulty one is refused before the script begins
        config = str(Path(config).expanduser().absolute())  # the script may change its directory
    _script.run(script, list(args), config)
