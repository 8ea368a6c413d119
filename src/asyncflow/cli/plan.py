"""``asyncflow plan``: what a pipeline would do, and what a resumed run would skip."""

import asyncio
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from asyncflow.cli import _runs
from asyncflow.cli._pipelines import read_asked, value_options

if TYPE_CHECKING:
    from asyncflow.pipelines.planning import Plan, Planned


@click.command("plan", short_help="Show what a pipeline would do.")
@click.argument("pipeline", type=click.Path(dir_okay=False))
@value_options
@click.option("--config", "-c", type=click.Path(), metavar="FILE", help="The configuration that it would use.")
@click.option("--only", multiple=True, metavar="TASK", help="This task and what it needs, and no other.")
@click.option("--until", multiple=True, metavar="TASK", help="Nothing that needs this task.")
@click.option("--resume", metavar="RUN", help="Say what that run has done already.")
@_runs.work_dir_option
@click.option("--graph", type=click.Path(dir_okay=False), metavar="FILE", help="Draw the tasks, as SVG.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def command(pipeline: str, *, config: str | None, graph: str | None, as_json: bool, **given: Any) -> None:
    """Go through PIPELINE, run nothing, and list its tasks: how many calls, in which pool, what they ask for.

    The exit status is 2 if anything is wrong with it, and every problem is listed. A number of calls that is known only
    when other tasks have ended has a + behind it.
    """
    from asyncflow.cli._configs import refuse
    from asyncflow.errors import ConfigError

    try:
        found = _plan(pipeline, config, given)
    except ConfigError as error:
        refuse(str(error))
    if graph is not None:
        found.graph.save(graph)
    if as_json:
        click.echo(json.dumps([_data(task) for task in found.tasks], indent=1, default=str))
        return
    is_resumed = given["resume"] is not None
    head = ("task", "what", "calls", *(("kept", "left") if is_resumed else ()), "pool", "needs", "asks for")
    _runs.show(head, [_row(task, is_resumed=is_resumed) for task in found.tasks])
    calls = sum(task.calls for task in found.tasks)
    kept = sum(task.kept for task in found.tasks)
    more = ", and more when it is known how many" if any(task.is_open for task in found.tasks) else ""
    click.echo(f"\n{calls} call{'' if calls == 1 else 's'}{f', of which {kept} are kept' if is_resumed else ''}{more}")


def _plan(path: str, config: str | None, given: dict[str, Any]) -> "Plan":
    from asyncflow.pipelines.planning import plan

    asked = read_asked(path, given, config)
    run: Path | None = None
    if given["resume"] is not None:
        run = _runs.directory_of(given["resume"], given["work_dir"])
    return asyncio.run(plan(asked.pipeline, asked.params, asked.settings, run, asked.names))


def _row(task: "Planned", *, is_resumed: bool) -> list[str]:
    calls = f"{task.calls}+" if task.is_open else str(task.calls)
    asked = ", ".join(f"{name}={value}" for name, value in task.options.items())
    kept = [str(task.kept), str(task.calls - task.kept)] if is_resumed else []
    return [task.name, task.kind, calls, *kept, task.pool, " ".join(task.needs), asked]


def _data(task: "Planned") -> dict[str, Any]:
    return {
        "name": task.name,
        "kind": task.kind,
        "help": task.help,
        "calls": task.calls,
        "open": task.is_open,
        "kept": task.kept,
        "pool": task.pool,
        "options": dict(task.options),
        "needs": list(task.needs),
    }
