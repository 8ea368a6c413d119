"""``asyncflow results``: what a run has kept, why something ran again, and what can be removed."""

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from asyncflow.cli import _configs, _runs

if TYPE_CHECKING:
    from asyncflow.runs.results import KeptResult
    from asyncflow.store import ResultStore


@click.command("results", short_help="List, explain and prune the kept results of a run.")
@click.argument("run", metavar="RUN")
@_runs.work_dir_option
@click.option("--why", metavar="TASK", help="Why calls of TASK ran in the last session: what differs from kept ones.")
@click.option("--prune", is_flag=True, help="Remove damaged results, and what broken-off writings left.")
@click.option("--older-than", type=_configs.DURATION, metavar="TIME", help="With --prune: those made before that too.")
@click.option("--unused", is_flag=True, help="With --prune: those too that the last session had no use for.")
@click.option("--dry-run", is_flag=True, help="With --prune: only say what would be removed.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def command(run: str, work_dir: str | None, why: str | None, *, prune: bool, as_json: bool, **pruning: Any) -> None:
    """List the results that RUN, a name or a directory, has kept: task, key, size, age, and whether it is damaged.

    Of each result only the beginning is read; --prune reads them whole, and so finds every damage. It asks nothing:
    what is removed is computed again when it is needed.

    \b
        asyncflow results campaign --why simulate
        asyncflow results campaign --prune --older-than 30d --dry-run
    """
    from asyncflow.errors import RunDirectoryError
    from asyncflow.runs.results import store_of

    if why is not None and prune:
        _configs.refuse("--why explains and --prune removes; give one of them")
    if not prune and (given := [f"--{name.replace('_', '-')}" for name, value in pruning.items() if value]):
        _configs.refuse(f"{given[0]} belongs to --prune; give both")
    directory = _runs.directory_of(run, work_dir)
    try:
        store = store_of(directory)
        if why is not None:
            _explain(directory, store, why, as_json=as_json)
        elif prune:
            _prune(directory, store, as_json=as_json, **pruning)
        else:
            _list(store, as_json=as_json)
    except RunDirectoryError as error:
        _configs.refuse(str(error))


def _list(store: "ResultStore", *, as_json: bool) -> None:
    from asyncflow.runs.results import kept_results
    from asyncflow.units import show_size

    kept = kept_results(store)
    if as_json:
        click.echo(json.dumps([_data(each) for each in kept], indent=1))
    elif kept:
        rows = [
            (each.name, each.key, show_size(each.size), _runs.age(each.made) if each.made else "", each.problem or "ok")
            for each in kept
        ]
        _runs.show(("task", "result", "size", "age", "state"), rows)
    else:
        click.echo(f"nothing is kept in {store.url}")


def _data(each: "KeptResult") -> dict[str, Any]:
    return {
        "task": each.name,
        "key": each.key,
        "size": each.size,
        "made": time.strftime("%Y-%m-%dT%H:%M:%S%z", time.localtime(each.made)) if each.made else None,
        "session": each.session,
        "problem": each.problem,
    }


def _explain(directory: Path, store: "ResultStore", task: str, *, as_json: bool) -> None:
    from asyncflow.runs.record import read_record
    from asyncflow.runs.results import LastSession, kept_results, misses
    from asyncflow.suggest import hint

    last = LastSession(directory)
    known = {name for name, _ in last.calls.values()}
    if task not in known:
        about = hint(task, known) if known else "no call was"
        _configs.refuse(f"no call of {task!r} was checkpointed in the last session; {about}")
    found = misses(task, last, kept_results(store), read_record(directory).get("session", 0))
    if as_json:
        click.echo(json.dumps([miss._asdict() for miss in found], indent=1))
    elif not found:
        click.echo(f"no call of {task} ran in the last session: all were kept")
    for miss in found if not as_json else ():
        click.echo(f"{miss.key}: {'; '.join(miss.reasons)}" + (f" (nearest: {miss.nearest})" if miss.nearest else ""))


def _prune(
    directory: Path,
    store: "ResultStore",
    *,
    older_than: float | None,
    unused: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    from asyncflow.runs.results import kept_results, to_prune

    kept = kept_results(store, whole=True)
    before = None if older_than is None else time.time() - older_than
    reasons = to_prune(kept, before=before, used=_used(directory) if unused else None)
    left = 0
    if not dry_run:
        store.delete(reasons)
        left = store.sweep()
    if as_json:
        click.echo(json.dumps({"removed": reasons, "leftovers": left, "dry_run": dry_run}, indent=1))
        return
    for key, reason in reasons.items():
        click.echo(f"{key}: {reason}, {'would be removed' if dry_run else 'removed'}")
    click.echo(
        f"{len(kept) - len(reasons)} results stay, {len(reasons)} {'would go' if dry_run else 'went'}"
        + (f", and {left} files of broken-off writings" if left else "")
    )


def _used(directory: Path) -> list[str]:
    """What the last session had use for; refused where it did not come to its end, as nobody knows then."""
    from asyncflow.runs.listing import RunState, look_at
    from asyncflow.runs.results import LastSession

    listed = look_at(directory)
    if listed is None or listed.state is not RunState.ENDED or listed.is_resumable:
        state = "unknown" if listed is None else listed.state
        _configs.refuse(
            f"run {directory.name} is {state}, and its last session did not finish all calls, so what it has no use "
            "for is not known; resume it, or prune with --older-than"
        )
    calls = LastSession(directory).calls
    if not calls:
        _configs.refuse(f"the journal of run {directory.name} names no result; prune with --older-than")
    return list(calls)
