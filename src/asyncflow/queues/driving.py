"""A script as a batch job of its own: the job script, and what it is submitted with."""

import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from asyncflow.errors import SubmitError
from asyncflow.queues.commands import submit as submit_command
from asyncflow.queues.paths import export_pythonpath
from asyncflow.queues.system import Driver, QueueSystem


def job_name(script: str) -> str:
    """A name that every queueing system takes, made of that of `script`."""
    name = re.sub(r"[^A-Za-z0-9_.-]", "_", Path(script).stem)
    return name if name[:1].isalpha() else f"run-{name}"


def driver_script(
    system: QueueSystem,
    driver: Driver,
    command: Sequence[str],
    directory: str,
    directives: Sequence[str] = (),
    variables: Mapping[str, str] = MappingProxyType({}),
) -> str:
    """The job script that runs `command` in `directory`.

    Parameters
    ----------
    system : QueueSystem
        Where it is submitted.
    driver : Driver
        What it asks for.
    command : sequence of str
        What runs; it takes the place of the shell, so that signals reach it.
    directory : str
        Where it runs.
    directives : sequence of str
        Further ones, as they follow ``#SBATCH``, ``#PBS`` or ``#BSUB``.
    variables : mapping of str to str
        Added to its environment.
    """
    asked = [*system.driver_directives(driver), *directives]
    lines = [
        "#!/bin/sh",
        *(f"{system.directive} {line}" for line in asked),
        "",
        f"cd {shlex.quote(directory)} || exit 1",
        *export_pythonpath(),
        *(f"export {name}={shlex.quote(value)}" for name, value in variables.items()),
        f"exec {shlex.join([*system.before_limit(driver), *command])}",
    ]
    return "\n".join(lines) + "\n"


async def submit_script(system: QueueSystem, script: str) -> str:
    """Submit a job script; the id of the job.

    Raises
    ------
    SubmitError
        When the queueing system refuses it, or says no id.
    """
    return id_in(system, await submit_command(system.submit, script.encode()))


def id_in(system: QueueSystem, said: str) -> str:
    """The id of the job that was submitted, in what `system` said.

    Raises
    ------
    SubmitError
        When there is none.
    """
    found = system.job_id.search(said)
    if found is None:
        command = " ".join(system.submit)
        raise SubmitError(f"{command} printed no job id, but {said.strip()!r}; look for the job in the queue")
    return found[1]


def choose_system(
    kind: str, systems: Mapping[str, QueueSystem], wanted: str | None, on_path: Sequence[str]
) -> QueueSystem:
    """The system that takes the driver of a configuration of `kind`.

    Parameters
    ----------
    kind : str
        Of the configuration.
    systems : mapping of str to QueueSystem
        All there are, by kind.
    wanted : str or None
        The one that was asked for.
    on_path : sequence of str
        Those whose commands are here.

    Raises
    ------
    ValueError
        When that is none, or one of several.
    """
    if wanted or kind in systems:
        return systems[wanted or kind]
    if len(on_path) == 1:
        return systems[on_path[0]]
    commands = ", ".join(system.submit[0] for system in systems.values())
    if not on_path:
        raise ValueError(f"none of {commands} is on PATH; run this where jobs are submitted")
    raise ValueError(f"commands of {' and '.join(on_path)} are on PATH; choose one with --system")
