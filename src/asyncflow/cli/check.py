"""``asyncflow check``: what is wrong with configuration files, and with what they name."""

from typing import Any

import click

from asyncflow.cli._configs import DURATION


@click.command("check", short_help="List what is wrong with configuration files.")
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option("--probe", is_flag=True, help="Submit one tiny job for each pool, and tell what it finds.")
@click.option(
    "--timeout", type=DURATION, default="10m", show_default=True, help="How long probes may take, queueing included."
)
def command(files: tuple[str, ...], probe: bool, timeout: float) -> None:
    """Say of each configuration FILE that it is ok, or list every problem it has.

    Without --probe nothing is started. With it each pool gets one job, made as its worker jobs are, that tells how
    long it waited, its node, Python and package versions, whether it sees the shared directory, and whether it can
    connect to this machine and over which interface. For what fails, the line of YAML that mends it is printed.

    The exit status is 1 if any file has a problem, or any probe fails.
    """
    from asyncflow.config import load_settings
    from asyncflow.errors import ConfigError

    failed = False
    for file in files:
        try:
            settings = load_settings(file)
        except ConfigError as error:
            click.echo(str(error))
            failed = True
            continue
        click.echo(f"{file}: ok ({_summary(settings)})")
        if probe:
            from asyncflow.cli import _probes

            failed |= not _probes.probe(file, settings, timeout)
    if failed:
        raise SystemExit(1)


def _summary(settings: Any) -> str:
    """The kind, and the names of what is set: values may be nobody else's business."""
    given = sorted(settings.cluster.model_fields_set) if settings.cluster else []
    parts = [f"kind {settings.kind}", *given]
    if settings.defaults:
        parts.append(f"defaults {' '.join(sorted(settings.defaults))}")
    return ", ".join(parts)
