"""``asyncflow status``: how a run stands, live or finished, as its journal tells."""

import json
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from asyncflow.cli import _configs, _runs
from asyncflow.cli._sections import Section, drawn, plain

if TYPE_CHECKING:
    from asyncflow.runs.facts import Call
    from asyncflow.runs.history import History
    from asyncflow.runs.status import Named, PoolStatus, Status

#: Seconds between two looks of ``--watch``.
EVERY = 2.0


@click.command("status", short_help="Say how a run stands: calls, workers, jobs, failures.")
@click.argument("run", metavar="RUN")
@_runs.work_dir_option
@click.option("--watch", is_flag=True, help=f"Look again every {EVERY:g} s, until the run is over.")
@click.option("--json", "as_json", is_flag=True, help="For programs; with --watch a line each time.")
def command(run: str, work_dir: str | None, *, watch: bool, as_json: bool) -> None:
    """Say how RUN, a name or a directory, stands: calls by name and state, workers and jobs, failures.

    All is read from the journal of the last session, so it can be asked on any node that sees the run directory, while
    it goes on and when it has ended. ``asyncflow why RUN TASK`` says more of one call.

    \b
        asyncflow status campaign --watch
    """
    from asyncflow.runs.following import Following

    following = Following(_runs.directory_of(run, work_dir))
    if not following.directory.joinpath("journal.jsonl").is_file():
        _configs.refuse(f"{following.directory} has no journal: it is no run; asyncflow runs lists those there are")
    try:
        _show(following, watch=watch, as_json=as_json)
    except KeyboardInterrupt:
        raise SystemExit(130) from None


def _show(following: Any, *, watch: bool, as_json: bool) -> None:
    looks = _looks(following) if watch else iter([_look(following)])
    if as_json:
        for history, status in looks:
            click.echo(json.dumps(_data(status, history), indent=None if watch else 1))
    elif sys.stdout.isatty():
        from rich.console import Console
        from rich.live import Live

        console = Console(highlight=False)
        with Live(console=console, auto_refresh=False) as live:
            for history, status in looks:
                live.update(drawn(_sections(status, history)), refresh=True)
    else:
        for number, (history, status) in enumerate(looks):
            click.echo(("\n" if number else "") + plain(_sections(status, history)))


def _look(following: Any) -> "tuple[History, Status]":
    from asyncflow.runs.status import status

    scene = following.look()
    return following.history, status(following.history, scene)


def _looks(following: Any) -> "Iterator[tuple[History, Status]]":
    """One after the other; the last is of a run that is over."""
    while True:
        history, status = _look(following)
        yield history, status
        if not status.scene.is_live or status.ended is not None:
            return
        time.sleep(EVERY)


# For people


def _sections(status: "Status", history: "History") -> list[Section]:
    from asyncflow.runs.words import place, span

    now = status.scene.now
    running = [(each.id, span(now - (each.started or now)), place(history, each.worker)) for each in status.longest]
    failed = [(each.id, _at(each.ended), _first_line(each.error)) for each in status.failures]
    return [
        Section("", (), [(line,) for line in _header(status)]),
        Section(
            "calls",
            ("task", "waiting", "running", "done", "found", "failed", "cancelled", "mean", "a minute"),
            [_calls(each) for each in status.names],
        ),
        Section(
            "workers and jobs", ("pool", "workers", "slots", "jobs", "what"), [_pool(each) for each in status.pools]
        ),
        Section("running for longest", ("call", "for", "on"), running),
        Section("last failures", ("call", "at", "error"), failed),
    ]


def _header(status: "Status") -> list[str]:
    from asyncflow.runs.facts import CallState
    from asyncflow.runs.words import moment, span

    scene, counts = status.scene, status.counts
    lines = [f"run {scene.directory.name}: {scene.state}, session {status.session}, driven by {scene.driver}"]
    if status.began is not None:
        until = "" if scene.is_live and status.ended is None else f", until {moment(status.ended or scene.now)}"
        length = span((status.ended or scene.now) - status.began)
        lines.append(f"since {moment(status.began)}{until}: {length}")
    over = counts[CallState.DONE] + counts[CallState.FOUND]
    told = [f"{counts[state]} {state}" for state in CallState if counts[state]]
    lines.append(f"{over} of {counts.total()} calls are done" + (f" ({', '.join(told)})" if told else ""))
    if not status.is_whole:
        lines.append("the journal is damaged: lines of it are missing here")
    return lines


def _calls(named: "Named") -> list[str]:
    from asyncflow.runs.facts import CallState
    from asyncflow.runs.words import span

    counts = named.counts
    failed = str(counts[CallState.FAILED]) + (f" ({named.upstream} for others)" if named.upstream else "")
    before = [str(counts[state]) for state in (CallState.WAITING, CallState.RUNNING, CallState.DONE, CallState.FOUND)]
    mean = span(named.mean) if named.mean is not None else ""
    return [named.name, *before, failed, str(counts[CallState.CANCELLED]), mean, f"{named.rate:.3g}"]


def _pool(each: "PoolStatus") -> list[str]:
    from asyncflow.runs.words import waiting_for

    pool = each.pool
    most = f" of {pool.most}" if pool.most is not None else ""
    jobs = f"{each.running} running, {each.pending} waiting{most}" if most or each.running or each.pending else ""
    said = []
    if each.pending:
        said.append(waiting_for(pool.reasons) or "the queueing system does not say what jobs wait for")
    if each.unasked:
        said.append(f"{each.unasked} jobs ended by themselves")
    if pool.stopped:
        said.append(f"stopped: {_first_line(pool.stopped)}")
    return [pool.name or "(none)", str(each.workers), f"{each.busy} of {each.slots} busy", jobs, "; ".join(said)]


def _first_line(text: str) -> str:
    return text.splitlines()[0] if text else ""


def _at(when: float | None) -> str:
    return time.strftime("%H:%M:%S", time.localtime(when)) if when is not None else ""


# For programs


def _data(status: "Status", history: "History") -> dict[str, Any]:
    scene = status.scene
    return {
        "run": scene.directory.name,
        "state": str(scene.state),
        "driver": scene.driver,
        "session": status.session,
        "began": status.began,
        "ended": status.ended,
        "now": scene.now,
        "whole": status.is_whole,
        "counts": {str(state): count for state, count in status.counts.items()},
        "tasks": [
            {
                "name": each.name,
                "counts": {str(state): count for state, count in each.counts.items()},
                "failed_upstream": each.upstream,
                "mean": each.mean,
                "per_minute": each.rate,
            }
            for each in status.names
        ],
        "pools": [asdict(each) for each in status.pools],
        "running": [_call(each, history) for each in status.longest],
        "failures": [_call(each, history) for each in status.failures],
    }


def _call(call: "Call", history: "History") -> dict[str, Any]:
    job = history.job_of(call.worker)
    return {
        "task": call.id,
        "name": call.name,
        "started": call.started,
        "ended": call.ended,
        "worker": call.worker,
        "job": job.id if job is not None else None,
        "error": call.error or None,
    }
