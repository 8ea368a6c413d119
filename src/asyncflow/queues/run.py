"""The directory of one run on the shared file system: certificates, logs of jobs, and who owns them."""

import json
import logging
import os
import re
import secrets
import shutil
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from asyncflow.errors import StartError
from asyncflow.processes import this_process
from asyncflow.queues.paths import expanded

if TYPE_CHECKING:
    from distributed import Security

logger = logging.getLogger("asyncflow")

#: What the names of all runs begin with, and so those of all jobs. PBS may cut names at 15 characters.
PREFIX = "aflow-"

#: Lines of a log that an error quotes, and bytes of it that are read for them.
TAIL = 15
TAIL_BYTES = 2**16

_OWNER = "run.json"
CERTIFICATES = {
    "tls_ca_file": "ca.pem",
    "tls_worker_cert": "worker-cert.pem",
    "tls_worker_key": "worker-key.pem",
}


class Owner(NamedTuple):
    """The driver of a run: the kind of its cluster, and a `Process`."""

    kind: str
    host: str
    pid: int
    boot: str
    began: int


class RunDirectory:
    """``<shared_temp_directory>/<run>/``, for its owner's eyes only.

    Attributes
    ----------
    name : str
        Of the run, and of each of its jobs.
    path : Path
        Of the directory.
    logs : Path
        Where jobs write.
    """

    def __init__(self, path: Path) -> None:
        self.name = path.name
        self.path = path
        self.logs = path / "logs"

    @classmethod
    def make(cls, shared: str, kind: str) -> "RunDirectory":
        """A new one below `shared`.

        Raises
        ------
        StartError
            When it cannot be written.
        """
        root = expanded(shared).absolute()
        try:
            root.mkdir(mode=0o700, parents=True, exist_ok=True)
            run = cls(root / f"{PREFIX}{secrets.token_hex(4)}")
            run.path.mkdir(mode=0o700)
            run.logs.mkdir(mode=0o700)
            _write(run.path / _OWNER, json.dumps(this_driver(kind)._asdict()))
        except OSError as error:
            raise StartError(
                f"the run cannot have a directory below {root} ({error}); set shared_temp_directory: to a directory "
                "that you may write and that all nodes see"
            ) from error
        return run

    def certify(self, security: "Security") -> dict[str, str]:
        """Write what workers need to be let in; the paths, by the names of `distributed.Security`."""
        directory = self.path / "tls"
        directory.mkdir(mode=0o700, exist_ok=True)
        for field, name in CERTIFICATES.items():
            _write(directory / name, getattr(security, field))
        return {field: str(directory / name) for field, name in CERTIFICATES.items()}

    def tail(self, job_id: str, log_directory: str | None = None, lines: int = TAIL) -> str:
        """The last `lines` that job `job_id` wrote, standard error first where there is some; empty where none."""
        with suppress(OSError):
            for path in self._logs_of(job_id, log_directory):
                if written := _end_of(path).decode(errors="replace").rstrip().splitlines():
                    return "\n".join(written[-lines:])
        return ""

    def log_of(self, job_id: str, log_directory: str | None = None) -> Path | None:
        """The file that `tail` reads; None where the job has written nothing."""
        with suppress(OSError):
            return next((path for path in self._logs_of(job_id, log_directory) if path.stat().st_size), None)
        return None

    def _logs_of(self, job_id: str, log_directory: str | None) -> list[Path]:
        """Its files, standard error first."""
        # name-12.err of Slurm and LSF, 12.server.ER and name.e12 of PBS; not the digits of a run's or a worker's name.
        number = re.compile(rf"(?:(?<![0-9A-Za-z])|(?<=\.[eo])){re.escape(job_id)}(?:\.\D.*)?$")
        directory = self.logs if log_directory is None else Path(log_directory).expanduser()
        found = [path for path in sorted(directory.iterdir()) if number.search(path.name)]
        return sorted(found, key=lambda path: not path.suffix.lower().startswith(".e"))

    def remove(self, *, keep_logs: bool = False) -> None:
        """Delete it, but for the logs where somebody will want to read them."""
        if keep_logs and any(self.logs.glob("*")):
            shutil.rmtree(self.path / "tls", ignore_errors=True)
            with suppress(OSError):
                (self.path / _OWNER).unlink()
            logger.warning("the logs of the jobs stay in %s", self.logs)
        else:
            shutil.rmtree(self.path, ignore_errors=True)

    @property
    def owner(self) -> Owner | None:
        """Who made it; None where that cannot be told any more."""
        try:
            return Owner(**json.loads((self.path / _OWNER).read_text()))
        except (OSError, ValueError, TypeError):
            return None


def runs(shared: str) -> list[RunDirectory]:
    """The runs that have a directory below `shared`."""
    return [RunDirectory(path) for path in sorted(expanded(shared).glob(f"{PREFIX}*")) if path.is_dir()]


def this_driver(kind: str) -> Owner:
    """The process that asks, as the driver of a cluster of that `kind`."""
    return Owner(kind, *this_process())


def _end_of(path: Path) -> bytes:
    with path.open("rb") as file:
        file.seek(-min(path.stat().st_size, TAIL_BYTES), os.SEEK_END)
        return file.read(TAIL_BYTES)


def _write(path: Path, text: Any) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
