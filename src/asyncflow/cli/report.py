"""``asyncflow report``: what went on in a run, as one HTML file."""

from pathlib import Path

import click

from asyncflow.cli import _configs, _runs


@click.command("report", short_help="Write what went on in a run, as one HTML file.")
@click.argument("run")
@_runs.work_dir_option
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False),
    metavar="FILE",
    help="Where to write; by default report.html in the run directory.",
)
@click.option(
    "--session",
    type=click.Choice(["last", "all"]),
    default="last",
    show_default=True,
    help="Of the last session, or of all: calls that are made in each are then there as often.",
)
def command(run: str, work_dir: str | None, output: str | None, session: str) -> None:
    """Write the report of RUN, a name or the path of a run directory.

    The file needs nothing else and loads nothing: what ran when on which worker, what waited, what failed and why, what
    to speed up first, and what tasks asked for and used. RUN may still be going on; then it is what its journal tells
    so far.

    \b
        asyncflow report campaign
        asyncflow report campaign -o /tmp/campaign.html --session all
    """
    from asyncflow.views.report import report

    directory = _runs.directory_of(run, work_dir)
    path = Path(output) if output is not None else directory / "report.html"
    text = report(directory, sessions=session)
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        _configs.refuse(f"{path} cannot be written ({error.strerror}); give another file with -o")
    click.echo(path)
