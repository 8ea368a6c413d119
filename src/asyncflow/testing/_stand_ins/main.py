"""The door of all the programs: what the commands on PATH run."""

import sys
import time
from importlib import import_module
from pathlib import Path

from . import state

#: In which module each command is, by system.
COMMANDS = {
    "pbs": {"qsub": "pbs", "qdel": "pbs", "qselect": "qstat", "qstat": "qstat", "pbsdsh": "pbsdsh"},
    "lsf": {"bsub": "lsf", "bkill": "lsf", "bjobs": "bjobs"},
}

#: Commands that only ask.
QUERIES = {"pbs": ("qstat", "qselect"), "lsf": ("bjobs",)}

#: The command that submits.
SUBMITS = {"pbs": "qsub", "lsf": "bsub"}

_UNREACHABLE = {
    "pbs": ("Connection refused\n{command}: cannot connect to server server (errno=111)", 111),
    "lsf": ("Failed in an LSF library call: LIM is down; try later", 255),
}


def main(system: str, command: str, directory: str) -> None:
    """Run `command` with the arguments of this process, and exit as it does."""
    place = Path(directory)
    now = state.read(place)
    if command != "pbsdsh" and now["faults"]:
        _suffer(place, system, command)
    module = import_module(f".{COMMANDS[system][command]}", __package__)
    status: int = getattr(module, command)(place, sys.argv[1:])
    sys.stdout.flush()
    sys.exit(status)


def _suffer(directory: Path, system: str, command: str) -> None:
    """Be slow, or fail as if nobody answered or the queue would not have it, where a test asked for it."""
    with state.change(directory) as now:
        slow = now["faults"].get("slow", 0)
        busy = state.spend(now, "busy", command)
        refusal = None if busy else state.spend(now, "submit", command)
    time.sleep(slow)
    if busy:
        message, status = _UNREACHABLE[system]
        sys.stderr.write(message.format(command=command) + "\n")
        sys.exit(status)
    if refusal:
        prefix = f"{command}: " if system == "pbs" else ""
        sys.stderr.write(f"{prefix}{refusal['message']}\n")
        sys.exit(refusal["status"])
