"""``asyncflow why``: what a call waits for, or what came of it."""

import json
from typing import TYPE_CHECKING, Any

import click

from asyncflow.cli import _configs, _runs

if TYPE_CHECKING:
    from asyncflow.runs.answers import Answer, Scene


@click.command("why", short_help="Say what a call waits for, or what came of it.")
@click.argument("run", metavar="RUN")
@click.argument("task", metavar="TASK")
@_runs.work_dir_option
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def command(run: str, task: str, work_dir: str | None, *, as_json: bool) -> None:
    """Say why the call TASK of RUN, a name or a directory, is where it is.

    TASK is the id of a call, a part of it, or the name of a task: of its calls the newest that is unfinished, else the
    newest that failed, else the newest. Of an unfinished call it is said what it waits for: inputs, a worker, a job and
    why that waits. Of a finished one: its attempts, worker, job and cause, and where its output lies.

    All is read from the journal of the last session, so it can be asked on any node, and when the run has ended.
    """
    from asyncflow.runs.following import Following
    from asyncflow.runs.picking import pick
    from asyncflow.runs.why import why

    following = Following(_runs.directory_of(run, work_dir))
    scene = following.look()
    try:
        picked = pick(following.history, task)
    except LookupError as error:
        _configs.refuse(str(error.args[0]))
    answer = why(following.history, picked.call, scene)
    if as_json:
        click.echo(json.dumps(_data(answer, scene, picked.others), indent=1))
        return
    _say(answer, picked.others)


def _say(answer: "Answer", others: int) -> None:
    click.echo(f"{answer.call.id}: {answer.text}")
    width = max((len(what) for what, _ in answer.details), default=0)
    for what, said in answer.details:
        first, *rest = said.splitlines() or [""]
        click.echo(f"  {what.ljust(width)}  {first}")
        for line in rest:
            click.echo(f"  {' ' * width}  {line}")
    if others:
        calls = "1 other call" if others == 1 else f"{others} other calls"
        click.echo(f"there are {calls} of {answer.call.name}; give an id for another of them")


def _data(answer: "Answer", scene: "Scene", others: int) -> dict[str, Any]:
    call = answer.call
    return {
        "run": scene.directory.name,
        "run_state": str(scene.state),
        "task": call.id,
        "name": call.name,
        "state": str(call.state),
        "reason": str(answer.reason),
        "text": answer.text,
        "root": answer.root or None,
        "details": dict(answer.details),
        "others": others,
    }
