"""``asyncflow logs``: what tasks have printed and logged, also while they run."""

import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from asyncflow.cli import _configs, _runs

if TYPE_CHECKING:
    from asyncflow.runs.facts import Call
    from asyncflow.runs.history import History

#: Lines of each stream that are shown of a failed task, unless told otherwise.
_LINES = 10

_INTERVAL = 0.25

_ASK = (
    "ask for it with capture_stdio=True on the task, with create(capture_stdio=True) for all, or with `capture_stdio: "
    "beside` below defaults: of the configuration"
)


@click.command("logs", short_help="Show what tasks have printed and logged.")
@click.argument("run", metavar="RUN")
@click.argument("task", metavar="[TASK]", required=False)
@_runs.work_dir_option
@click.option("--stdout", "streams", flag_value="stdout", multiple=True, help="Only standard output.")
@click.option("--stderr", "streams", flag_value="stderr", multiple=True, help="Only standard error.")
@click.option("--log", "streams", flag_value="log", multiple=True, help="Only what was logged.")
@click.option("-f", "--follow", is_flag=True, help="Go on until the task is over.")
@click.option("-n", "--lines", type=click.IntRange(0), metavar="LINES", help="Only so many of the last lines of each.")
def command(
    run: str, task: str | None, work_dir: str | None, streams: tuple[str, ...], lines: int | None, *, follow: bool
) -> None:
    """Show what TASK of RUN has written: standard output, standard error, log.

    TASK is the id of a call, the beginning or end of one, or the name of a task, whose newest call is meant. Without
    it the ends of what failed tasks of the last session wrote are shown; where none failed, which tasks wrote how much.

    Tasks are captured that were asked to be: with capture_stdio=True. Of one that was tried several times the last
    attempt is shown, and those before lie beside its files, as stdout.1 and so on.

    \b
        asyncflow logs campaign simulate -f
        asyncflow logs campaign 000042 --stderr -n 20
    """
    from asyncflow.output import STREAMS

    directory = _runs.directory_of(run, work_dir)
    chosen = [stream for stream in STREAMS if not streams or stream in streams]
    try:
        if task is None:
            if follow:
                _configs.refuse("-f follows one task; name it, as in asyncflow logs RUN TASK -f")
            _show_all(directory, chosen, lines)
        elif follow:
            _follow(directory, task, chosen, lines)
        else:
            _show_one(directory, task, chosen, lines)
    except LookupError as error:
        _configs.refuse(str(error))


def _history(directory: Path, sessions: str) -> "History":
    from asyncflow.runs.directory import JOURNAL
    from asyncflow.runs.history import History

    return History.read(directory / JOURNAL, sessions=sessions)


def _written(directory: Path, call: "Call", streams: Iterable[str], lines: int | None) -> dict[str, str]:
    """The end of each stream in which there is something."""
    from asyncflow.output import read_output

    texts = {stream: _end_of(read_output(directory / "tasks", call.id, stream), lines) for stream in streams}
    return {stream: text for stream, text in texts.items() if text}


def _end_of(text: str, lines: int | None) -> str:
    if lines is None:
        return text
    return "".join(text.splitlines(keepends=True)[-lines:]) if lines else ""


def _show_one(directory: Path, task: str, streams: list[str], lines: int | None) -> None:
    from asyncflow.runs.picking import pick

    call = pick(_history(directory, "all"), task).call
    written = _written(directory, call, streams, lines)
    if not written:
        click.echo(_why_nothing(call, streams), err=True)
        raise SystemExit(1)
    for stream, text in written.items():
        if len(streams) > 1:
            click.secho(f"==> {call.id} {stream} <==", bold=True)
        click.echo(text, nl=not text.endswith("\n"))


def _why_nothing(call: "Call", streams: list[str]) -> str:
    from asyncflow.runs.facts import CallState

    what = " or ".join(streams)
    if call.task_type == "block":
        return f"{call.id} is a block, which runs in the driver; what it prints is in the output of that"
    if call.state is CallState.FOUND:
        return f"{call.id} did not run: an earlier session has kept its result, and has what it wrote"
    if call.started is None and not call.is_over:
        return f"{call.id} has not begun"
    failed = f"\nit failed with {call.error}" if call.error else ""
    return f"nothing of {what} was captured of {call.id}: it has written nothing, or was not asked to; {_ASK}{failed}"


def _show_all(directory: Path, streams: list[str], lines: int | None) -> None:
    from asyncflow.runs.facts import CallState

    history = _history(directory, "last")
    failed = [call for call in history.calls.values() if call.state is CallState.FAILED]
    if not failed:
        _list(directory, history, streams)
        return
    is_any = False
    for call in failed:
        click.secho(f"{call.id} failed: {call.error}", bold=True)
        for stream, text in _written(directory, call, streams, _LINES if lines is None else lines).items():
            is_any = True
            click.secho(f"==> {call.id} {stream} <==", bold=True)
            click.echo(text, nl=not text.endswith("\n"))
    if not is_any:
        click.echo(f"none of them was captured; {_ASK}", err=True)


def _list(directory: Path, history: "History", streams: list[str]) -> None:
    from asyncflow.output import find_output
    from asyncflow.units import show_size

    rows = []
    for call in history.calls.values():
        where = find_output(directory / "tasks", call.id)
        if where is not None:
            sizes = [(where / stream).stat().st_size if (where / stream).exists() else 0 for stream in streams]
            rows.append([call.id, call.name, str(call.state), *(show_size(size) if size else "" for size in sizes)])
    if rows:
        _runs.show(("call", "task", "state", *streams), rows)
    else:
        click.echo(f"no task failed, and nothing that tasks wrote was captured; {_ASK}")


def _follow(directory: Path, task: str, streams: list[str], lines: int | None) -> None:
    from asyncflow.cli._following import Followed

    shown, is_any = "", False
    with Followed(directory, task, streams) as followed:
        while True:
            is_over, pieces = followed.look()
            for piece in pieces:
                text = piece.text if is_any else _end_of(piece.text, lines)
                if len(streams) > 1 and (piece.is_first or piece.stream != shown):
                    click.secho(f"==> {followed.call.id} {piece.stream} <==", bold=True)
                shown, is_any = piece.stream, True
                click.echo(text, nl=False)
            if is_over:
                break
            time.sleep(_INTERVAL)
        call = followed.call
    if not call.is_over:
        click.echo(f"the run has ended, and {call.id} came to no end", err=True)
    elif not is_any:
        click.echo(_why_nothing(call, streams), err=True)
