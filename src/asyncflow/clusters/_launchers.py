"""The one command that starts the workers of an allocation on all its nodes."""

import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from asyncflow.clusters._environment import Allocation
from asyncflow.queues.paths import absolute
from asyncflow.suggest import hint

_PLACE = re.compile(r"\{(\w+)\}")
_NUMBERS = ("nodes", "cores")

#: Variables by which Slurm's commands pass options on: those of the job are about its script, not about our step.
_STEP_OPTIONS = re.compile(
    r"S(LURM|RUN)_(CPUS_PER_TASK|TRES_PER_TASK|NTASKS\w*|NPROCS|TASKS_PER_NODE|MEM_PER_(CPU|GPU|NODE)|MEM_BIND\w*|"
    r"CPU_BIND\w*|DISTRIBUTION|GPUS_PER_TASK|NTASKS_PER_GPU|EXPORT_ENV|EXACT|EXCLUSIVE|WHOLE|KILL_BAD_EXIT|WAIT)"
)

#: What PBS's tasks, which begin with a login's environment, need to find programs and modules. Nothing else: command
#: lines are open to every user of the node.
_CARRIED = ("PATH", "LD_LIBRARY_PATH", "PYTHONPATH")

_IN_DIRECTORY = 'cd "$0" && exec "$@"'
_ON_EACH = 'for node in $0; do pbsdsh -n "$node" -- "$@" & done; wait'


def check_template(template: str) -> str:
    """Refuse a ``launcher:`` that could start nothing."""
    try:
        words = shlex.split(template)
    except ValueError as error:
        raise ValueError(f"{template!r} cannot be split into words ({error}); mend its quotes") from None
    names = {name for word in words for name in _PLACE.findall(word)}
    for name in sorted(names - {"worker", *_NUMBERS}):
        known = ("worker", *_NUMBERS)
        raise ValueError(f"{template!r} has the unknown place {{{name}}}; {hint(name, known)}")
    if "worker" not in names:
        raise ValueError(f"{template!r} does not say where the worker's command goes; write {{worker}} there")
    return template


def from_template(template: str, worker: Sequence[str], nodes: int, cores: int) -> list[str]:
    """The words of a ``launcher:``; inside a longer word, as for ``bash -c``, the worker's command is quoted."""
    values: Mapping[str, str] = {"nodes": str(nodes), "cores": str(cores), "worker": shlex.join(worker)}
    found: list[str] = []
    for word in shlex.split(template):
        found += worker if word == "{worker}" else [_PLACE.sub(lambda place: values[place[1]], word)]
    return found


def srun(worker: Sequence[str], nodes: int, cores: int) -> list[str]:
    """One task on each node, with all that the job has there, which other steps may use as well."""
    return [
        "srun",
        f"--nodes={nodes}",
        f"--ntasks={nodes}",
        "--ntasks-per-node=1",
        f"--cpus-per-task={cores}",
        "--mem=0",  # all of the job's
        "--overlap",  # the driver may be a step itself, and so may be what tasks start
        "--kill-on-bad-exit=0",  # one worker lost is no reason to lose all
        "--wait=0",
        "--export=ALL",
        "--label",
        *worker,
    ]


def srun_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """`environ` without what would speak against the options of `srun`."""
    return {name: value for name, value in environ.items() if not _STEP_OPTIONS.fullmatch(name)}


def pbsdsh(worker: Sequence[str], allocation: Allocation, nodes: int, environ: Mapping[str, str]) -> list[str]:
    """Once on each host, here and with this environment's paths; OpenPBS has no option for once on each."""
    carried = [f"{name}={absolute(environ[name])}" for name in _CARRIED if environ.get(name)]
    task = ["sh", "-c", _IN_DIRECTORY, str(Path.cwd()), "env", *carried, *worker]
    first: dict[str, int] = {}
    for number, host in enumerate(allocation.slots):
        first.setdefault(host, number)
    chosen = list(first.values())[:nodes]
    if chosen == list(range(len(allocation.slots))):
        return ["pbsdsh", "--", *task]
    return ["sh", "-c", _ON_EACH, " ".join(map(str, chosen)), *task]
