"""``asyncflow clean``: what dead drivers left in the queue, and on disk."""

import asyncio
import sys
from typing import TYPE_CHECKING

import click

from asyncflow.cli import _configs
from asyncflow.queues.paths import SHARED

if TYPE_CHECKING:
    from collections.abc import Sequence

    from asyncflow.queues.cleaning import Found
    from asyncflow.queues.system import QueueSystem


@click.command("clean", short_help="Cancel what dead drivers left in the queue.")
@click.argument("files", nargs=-1, metavar="[FILE]...")
@click.option("--directory", "directories", multiple=True, metavar="DIR", help="One more place of runs; repeatable.")
@click.option("--run", "names", multiple=True, metavar="NAME", help="This run only, whose driver you know to be dead.")
@click.option("--dry-run", is_flag=True, help="Only say what would be done.")
@click.option("--yes", is_flag=True, help="Clean runs too of whose drivers nothing is known, without asking.")
def command(
    files: tuple[str, ...], directories: tuple[str, ...], names: tuple[str, ...], *, dry_run: bool, yes: bool
) -> None:
    """Cancel the jobs of runs whose drivers are dead, and remove their directories.

    Runs are looked for in every queue whose commands are here, and in the shared_temp_directory of each
    configuration FILE and each --directory; ~/.asyncflow where none is given. Runs whose drivers live are left alone.
    Of a driver on another host, or of jobs without a directory, nothing is known here: such runs are cleaned if you
    say so when asked, or name them with --run. One line is printed for each run.

    The exit status is 1 if a queue did not answer or something could not be cleaned, 2 for a faulty configuration.
    """
    from asyncflow import logs

    logs.configure("warning", shows_run=False)
    shared = [*(_shared(file) for file in files), *directories] or [SHARED]
    if not asyncio.run(_clean(shared, names, dry_run=dry_run, yes=yes)):
        raise SystemExit(1)


async def _clean(shared: "Sequence[str]", names: "Sequence[str]", *, dry_run: bool, yes: bool) -> bool:
    """Whether all went well."""
    from asyncflow.clusters._systems import systems
    from asyncflow.queues import cleaning

    known = systems()
    here = cleaning.on_path(known)
    answers = await cleaning.listed(here)  # before the directories: whoever has a job has one by then
    found = await asyncio.to_thread(cleaning.find, shared, answers, known)
    if names:
        try:
            found = cleaning.chosen(found, names)
        except ValueError as error:
            _configs.refuse(str(error))
    is_well = None not in answers.values()
    for one in found:
        done = await _deal_with(one, here, is_named=bool(names), is_dry=dry_run, yes=yes)
        click.echo(f"{one.name}  {_jobs(one)}  {one.driver}: {one.about}; {done or 'NOT cleaned, see above'}")
        is_well = is_well and done is not None
    if not found:
        queues = ", ".join(here) or "there is none here"
        click.echo(f"nothing is left in {', '.join(shared)}, nor in the queue ({queues})")
    return is_well


async def _deal_with(
    one: "Found", systems: "dict[str, QueueSystem]", *, is_named: bool, is_dry: bool, yes: bool
) -> str | None:
    """What was done with a run, in words; None where it should have been cleaned, and was not."""
    from asyncflow.queues.cleaning import clean

    if left := _left(one, is_named=is_named, may_ask=not is_dry and sys.stdin.isatty(), yes=yes):
        return left
    if one.is_hidden:
        click.echo(f"{one.name}: its queue cannot be asked here, and may hold jobs of it", err=True)
        return None
    if is_dry:
        return "would be cleaned"
    return "cleaned" if await clean(one, systems) else None


def _left(one: "Found", *, is_named: bool, may_ask: bool, yes: bool) -> str:
    """Why a run is not to be cleaned; empty where it is."""
    from asyncflow.queues.cleaning import Life

    if one.driver is Life.ALIVE:
        return "left alone"
    if one.driver is Life.CLOSED and not is_named:
        return f"left to be read; --run {one.name} removes them"
    if one.driver is Life.UNKNOWN and not (is_named or yes):
        question = f"{one.name}  {_jobs(one)}  {one.about}; is its driver dead, and is it to be cleaned?"
        if not may_ask or not click.confirm(question):
            return f"left alone; --run {one.name} cleans it"
    return ""


def _jobs(one: "Found") -> str:
    ids = one.job_ids
    more = " ..." if len(ids) > 5 else ""
    return f"{len(ids)} job{'' if len(ids) == 1 else 's'}" + (f" ({' '.join(ids[:5])}{more})" if ids else "")


def _shared(file: str) -> str:
    """Where the runs of a configuration have their directories."""
    shared: str = getattr(_configs.read(file).cluster, "shared_temp_directory", SHARED)
    return shared
