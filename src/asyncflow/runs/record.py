"""``run.yaml``: what a run is, for people and for whoever goes on with it."""

import getpass
import os
import sys
import time
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import yaml

from asyncflow.errors import RunDirectoryError
from asyncflow.runs.owner import Owner
from asyncflow.runs.sealed import plain, replace, seal, unsealed

RECORD = "run.yaml"

_PACKAGES = ("asyncflow", "dask", "distributed")

#: Sessions that the record lists; of a run that was resumed more often, the last ones.
_SESSIONS = 100


def read_record(directory: Path) -> dict[str, Any]:
    """What the ``run.yaml`` of the run at `directory` says; empty where there is none.

    Raises
    ------
    RunDirectoryError
        When it is damaged.
    """
    path = directory / RECORD
    try:
        facts = unsealed(yaml.safe_load(path.read_bytes()))
    except FileNotFoundError:
        return {}
    except (yaml.YAMLError, ValueError, RecursionError):
        facts = None
    if facts is None:
        raise RunDirectoryError(
            f"{path} is damaged; delete it, and resume again: it is written anew, and kept results do not depend on it",
            str(path),
        )
    return facts


def write_record(
    directory: Path, earlier: Mapping[str, Any], owner: Owner, config: Mapping[str, Any], results: str | None
) -> None:
    """Write it for the session of `owner`; `earlier` is what it said before.

    `config` is written as it is: values of the environment must not be in it any more. Neither is the environment.
    """
    began = time.strftime("%Y-%m-%dT%H:%M:%S%z", time.localtime(owner.since))
    session = {
        "session": owner.session,
        "began": began,
        "host": owner.host,
        "pid": owner.pid,
        "command": list(sys.argv),
    }
    facts = {
        "run": directory.name,
        "created": earlier.get("created", began),
        **session,
        "directory": _cwd(),
        "user": _user(),
        "results": results,
        "versions": {"python": sys.version.split()[0], **{name: _version(name) for name in _PACKAGES}},
        "config": plain(config),
        "sessions": [*earlier.get("sessions", []), session][-_SESSIONS:],
    }
    replace(directory / RECORD, yaml.dump(seal(facts), Dumper=_Dumper, sort_keys=False, width=120))


class _Dumper(yaml.SafeDumper):
    """Repeats what stands in several places, in place of anchors."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a number without a name, as in containers
        return str(os.getuid())


def _cwd() -> str:
    try:
        return str(Path.cwd())
    except OSError:  # it was deleted
        return ""
