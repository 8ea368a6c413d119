"""What dead drivers left: directories of runs, and jobs in the queue that carry their names."""

import asyncio
import logging
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from asyncflow.processes import is_alive
from asyncflow.queues.commands import run as run_command
from asyncflow.queues.queue import cancel
from asyncflow.queues.run import PREFIX, RunDirectory, runs
from asyncflow.queues.system import QueueSystem

logger = logging.getLogger("asyncflow")


class Life(StrEnum):
    """What is known of the driver of a run."""

    ALIVE = "alive"
    DEAD = "dead"
    UNKNOWN = "unknown"
    CLOSED = "closed"


@dataclass
class Found:
    """One run that is still to be seen somewhere.

    Attributes
    ----------
    name : str
        Of the run.
    driver : Life
        Whether its driver lives.
    about : str
        What that is known from.
    directory : RunDirectory or None
        None where none is known.
    jobs : dict of str to list of str
        Ids of its unfinished jobs, by kind.
    is_hidden : bool
        Whether it may have jobs that cannot be seen, because its queueing system did not answer or is not here.
    """

    name: str
    driver: Life = Life.UNKNOWN
    about: str = "no directory of it is known here"
    directory: RunDirectory | None = None
    jobs: dict[str, list[str]] = field(default_factory=dict)
    is_hidden: bool = False

    @property
    def job_ids(self) -> list[str]:
        """Of all its jobs."""
        return [job_id for ids in self.jobs.values() for job_id in ids]


def on_path(systems: Mapping[str, QueueSystem]) -> dict[str, QueueSystem]:
    """Those of `systems` whose commands are here."""
    return {kind: system for kind, system in systems.items() if shutil.which(system.submit[0])}


async def listed(systems: Mapping[str, QueueSystem]) -> dict[str, dict[str, str] | None]:
    """The names of this user's unfinished jobs by id, of each system; None where it does not answer."""
    answers: dict[str, dict[str, str] | None] = {}
    for kind, system in systems.items():
        ran = await run_command(system.own())
        answers[kind] = names = system.names(ran)
        if names is None:
            logger.warning("the queue of %s does not answer (%s)", kind, ran)
    return answers


def find(shared: Iterable[str], answers: Mapping[str, Mapping[str, str] | None], kinds: Iterable[str]) -> list[Found]:
    """All runs that have a directory or a job, by name.

    Parameters
    ----------
    shared : iterable of str
        Where directories of runs are looked for.
    answers : mapping
        What `listed` returned.
    kinds : iterable of str
        Those that have a queueing system, asked or not.
    """
    found: dict[str, Found] = {}
    queued = set(kinds)
    for root in dict.fromkeys(shared):
        for directory in runs(root):
            found[directory.name] = one = _judged(directory)
            owner = directory.owner
            one.is_hidden = owner is not None and owner.kind in queued and answers.get(owner.kind) is None
    for kind, names in answers.items():
        for job_id, name in (names or {}).items():
            if name.startswith(PREFIX):
                found.setdefault(name, Found(name)).jobs.setdefault(kind, []).append(job_id)
    for one in found.values():
        if one.driver is Life.CLOSED and one.jobs:
            one.driver, one.about = Life.UNKNOWN, f"nothing in {one.directory and one.directory.path} tells its driver"
    return [found[name] for name in sorted(found)]


async def clean(one: Found, systems: Mapping[str, QueueSystem]) -> bool:
    """Cancel its jobs and remove its directory; whether that went well."""
    are_cancelled = [await cancel(systems[kind], ids) for kind, ids in one.jobs.items()]
    is_done = all(are_cancelled) and not one.is_hidden
    if is_done and one.directory is not None:
        await asyncio.to_thread(one.directory.remove)
    return is_done


def chosen(found: Sequence[Found], names: Sequence[str]) -> list[Found]:
    """Those that were asked for by name.

    Raises
    ------
    ValueError
        When there is none of that name.
    """
    by_name = {one.name: one for one in found}
    if missing := [name for name in names if name not in by_name]:
        known = ", ".join(by_name) or "none"
        raise ValueError(f"there is no run {missing[0]!r} in the queue or in the directories looked at; found: {known}")
    return [by_name[name] for name in dict.fromkeys(names)]


def _judged(directory: RunDirectory) -> Found:
    owner = directory.owner
    if owner is None:
        return Found(directory.name, Life.CLOSED, "it left only its logs", directory)
    where = f"process {owner.pid} on {owner.host}"
    alive = is_alive(owner)
    if alive is None:
        return Found(directory.name, Life.UNKNOWN, f"its driver is {where}, of which nothing is known here", directory)
    return Found(directory.name, Life.ALIVE if alive else Life.DEAD, f"its driver, {where}", directory)
