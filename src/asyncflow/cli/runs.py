"""``asyncflow runs``: what became of the runs below a directory."""

import json
import time
from typing import TYPE_CHECKING, Any

import click

from asyncflow.cli import _runs

if TYPE_CHECKING:
    from asyncflow.runs import Listed

_COUNTS = ("done", "found", "failed", "cancelled", "retried", "lost")


@click.command("runs", short_help="List runs, and what became of them.")
@_runs.work_dir_option
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def command(work_dir: str | None, *, as_json: bool) -> None:
    """List the runs below DIR, the one that changed last first.

    A run is running, ended (its driver gave it up in order), killed, unknown (its driver was on another host, and
    nothing tells whether it lives), or damaged. The counts are of its last session; "found" are the results that were
    kept already, "left" the calls that came to no end. What can be resumed says so.
    """
    from asyncflow.runs import list_runs

    root = _runs.work_directory(work_dir)
    found = list_runs(root)
    if as_json:
        click.echo(json.dumps([_data(run) for run in found], indent=1))
        return
    if not found:
        click.echo(f"there are no runs in {root}")
        return
    head = ("run", "state", "sessions", *_COUNTS, "left", "changed", "about")
    _runs.show(head, [_row(run) for run in found])


def _row(run: "Listed") -> list[str]:
    state = f"{run.state}, resumable" if run.is_resumable else str(run.state)
    counts = [str(run.counts.get(name, 0)) for name in _COUNTS]
    return [run.name, state, str(run.sessions), *counts, str(run.unfinished), _runs.age(run.changed), run.about]


def _data(run: "Listed") -> dict[str, Any]:
    return {
        "name": run.name,
        "path": str(run.path),
        "state": str(run.state),
        "resumable": run.is_resumable,
        "sessions": run.sessions,
        "counts": dict(run.counts),
        "unfinished": run.unfinished,
        "changed": time.strftime("%Y-%m-%dT%H:%M:%S%z", time.localtime(run.changed)),
        "about": run.about,
    }
