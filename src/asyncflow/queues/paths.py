"""Paths as users write them, and as programs elsewhere can use them."""

import os
import shlex
from pathlib import Path

#: Where runs have their directories, unless told otherwise; homes are shared by nearly all clusters.
SHARED = "~/.asyncflow"


def expanded(path: str) -> Path:
    """`path` with its ``$VARIABLES`` and ``~`` replaced."""
    return Path(os.path.expandvars(path)).expanduser()


def absolute(paths: str) -> str:
    """Each of `paths`, as ``PATH`` has them, from the root: elsewhere another directory is the current one."""
    return os.pathsep.join(str(Path(path).absolute()) for path in paths.split(os.pathsep) if path)


def export_pythonpath() -> list[str]:
    """The line of a job script that hands on a ``PYTHONPATH`` of this process; queueing systems may drop it."""
    paths = absolute(os.environ.get("PYTHONPATH", ""))
    return [f"export PYTHONPATH={shlex.quote(paths)}"] if paths else []
