"""``asyncflow check``: what is wrong with configuration files, without starting anything."""

from typing import Any

import click


@click.command("check", short_help="List what is wrong with configuration files.")
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
def command(files: tuple[str, ...]) -> None:
    """Say of each configuration FILE that it is ok, or list every problem it has.

    Nothing is started. The exit status is 1 if any file has a problem.
    """
    from asyncflow.config import load_settings
    from asyncflow.errors import ConfigError

    failed = False
    for file in files:
        try:
            click.echo(f"{file}: ok ({_summary(load_settings(file))})")
        except ConfigError as error:
            click.echo(str(error))
            failed = True
    if failed:
        raise SystemExit(1)


def _summary(settings: Any) -> str:
    """The kind, and the names of what is set: values may be nobody else's business."""
    given = sorted(settings.cluster.model_fields_set) if settings.cluster else []
    parts = [f"kind {settings.kind}", *given]
    if settings.defaults:
        parts.append(f"defaults {' '.join(sorted(settings.defaults))}")
    return ", ".join(parts)
