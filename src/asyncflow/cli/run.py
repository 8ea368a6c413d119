"""``asyncflow run``: a script, with the configuration that its engine finds."""

from pathlib import Path

import click

_LEVELS = ["debug", "info", "warning", "error", "critical"]


class _Run(click.Command):
    """A command whose options may stand on either side of a script that has options of its own."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        return super().parse_args(ctx, own_first(args))


@click.command(
    "run",
    cls=_Run,
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
    from asyncflow.cli import _script

    _script.configure_logging(log_level)
    if config is not None:
        _script.check_config(config)
        config = str(Path(config).expanduser().absolute())  # the script may change its directory
    _script.run(script, list(args), config)


def own_first(args: list[str]) -> list[str]:
    """`args` with asyncflow's own options moved before the script, and a ``--`` that keeps click off the rest."""
    before, after = _split(args)
    if not after:
        return before
    script, *rest = after
    own: list[str] = []
    theirs: list[str] = []
    words = iter(rest)
    for word in words:
        if word == "--":
            theirs.extend(words)
        elif word in {"--config", "--log-level"}:
            value = next(words, None)
            if value is None:
                raise click.BadOptionUsage(word, f"Option {word!r} requires an argument.")
            own.append(f"{word}={value}")
        elif word.startswith(("--config=", "--log-level=")):
            own.append(word)
        else:
            theirs.append(word)
    return [*before, *own, "--", script, *theirs]


def _split(args: list[str]) -> tuple[list[str], list[str]]:
    """What stands before the script, and the script with what follows."""
    words = enumerate(args)
    for index, word in words:
        if word == "--":
            return args[:index], args[index + 1 :]
        if not word.startswith("-"):
            return args[:index], args[index:]
        if word in {"--config", "-c", "--log-level"}:
            next(words, None)  # its value
    return args, []
