"""Who drives a run: one process at a time, known by its host, its number and a token of its own.

Two things tell whether an earlier driver still lives. On its own host ``/proc`` does. On all others only a lock that
it holds does: the kernel gives it up with the process, and the file servers of clusters hand it from host to host. A
time that the driver writes every few seconds would tell less, as caches of file systems and clocks differ by more.
Where both fail, the run is taken over with a warning. That is safe: the workers of the earlier driver find another
token beside the results and keep nothing more.
"""

import errno
import fcntl
import json
import logging
import os
import struct
import time
import uuid
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from asyncflow.errors import RunDirectoryError
from asyncflow.processes import is_alive, this_process
from asyncflow.runs.sealed import replace, seal, unsealed

logger = logging.getLogger("asyncflow")

OWNER = "owner.json"
LOCK = "owner.lock"

_HELD = {errno.EACCES, errno.EAGAIN}
_FLOCK = "hhqqi"  # struct flock of 64-bit Linux: type, whence, start, length, process


class Owner(NamedTuple):
    """A driver of a run.

    Attributes
    ----------
    session : int
        How many drivers the run has had, this one included.
    host, pid, boot, began : str, int, str, int
        Its process, as `asyncflow.processes.Process` has them.
    token : str
        Made up for this session: what its workers are known by.
    since : float
        When it began, in seconds since the epoch.
    ended : float or None
        When it gave the run up in order; None while it drives it, and for ever if it was killed.
    locked : bool
        Whether it could lock the run, so that other hosts can tell whether it lives.
    """

    session: int
    host: str
    pid: int
    boot: str
    began: int
    token: str
    since: float
    ended: float | None
    locked: bool

    def __str__(self) -> str:
        """The process, for messages."""
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(self.since))
        return f"process {self.pid} on {self.host} (since {since})"


class Ownership:
    """The run at `directory` belongs to this process until `release`.

    Attributes
    ----------
    owner : Owner
        This process.
    earlier : Owner or None
        Who drove the run before.
    """

    def __init__(self, directory: Path, owner: Owner, earlier: Owner | None, lock: int | None) -> None:
        self.owner = owner
        self.earlier = earlier
        self._directory = directory
        self._lock = lock

    @classmethod
    def claim(cls, directory: Path, sessions: int, *, resume: bool) -> "Ownership":
        """Own the run; `sessions` is how many it has had at least.

        Raises
        ------
        RunDirectoryError
            When another driver has it, its ``owner.json`` is damaged, or it has been used and is not to be resumed.
        OSError
            When the directory cannot be written.
        """
        # First without the lock: opening and closing its file would give up a lock that this very process holds.
        _refuse_living(directory, read_owner(directory))
        lock, locked = _lock(directory)
        try:
            earlier = read_owner(directory)
            _refuse_living(directory, earlier, is_ours=locked)
            if not resume:
                _refuse_used(directory)
            if (
                earlier is not None
                and earlier.ended is None
                and is_alive(earlier) is None
                and not (locked and earlier.locked)
            ):
                logger.warning(
                    "run %s: whether its driver, %s, still lives cannot be told from here; what it does is not kept",
                    directory.name,
                    earlier,
                )
            session = max(sessions, earlier.session if earlier else 0) + 1
            owner = Owner(session, *this_process(), uuid.uuid4().hex, time.time(), None, locked)
            _write(directory, owner)
        except BaseException:
            os.close(lock)
            raise
        return cls(directory, owner, earlier, lock)

    def release(self) -> None:
        """Give it up; whoever has taken it over meanwhile keeps it. Safe to call again, and never raises."""
        lock, self._lock = self._lock, None
        if lock is None:
            return
        try:
            now = read_owner(self._directory)
            if now is not None and now.token == self.owner.token:
                _write(self._directory, self.owner._replace(ended=time.time()))
        except (OSError, RunDirectoryError) as error:
            logger.warning("run %s cannot be marked as ended (%s)", self._directory.name, error)
        finally:
            os.close(lock)


def read_owner(directory: Path) -> Owner | None:
    """Who drives the run, or did last; None where it has had no driver.

    Raises
    ------
    RunDirectoryError
        When its ``owner.json`` is damaged.
    """
    path = directory / OWNER
    with suppress(ValueError, TypeError):
        try:
            facts = unsealed(json.loads(path.read_bytes()))
        except FileNotFoundError:
            return None
        if facts is not None:
            return Owner(**facts)
    raise RunDirectoryError(
        f"{path} is damaged, so who drives run {directory.name} cannot be told; make sure that no driver of it runs "
        "any more, then delete that file and resume again",
        str(path),
    )


def lives(directory: Path, owner: Owner) -> bool | None:
    """Whether `owner` still drives the run; None where that cannot be told from here."""
    if owner.ended is not None:
        return False
    if owner[1:5] == this_process():
        return True
    alive = is_alive(owner)
    if alive is None and owner.locked:
        return _is_held(directory / LOCK)
    return alive


def driven_here(directory: Path) -> bool:
    """Whether this very process drives the run at `directory`, or did before."""
    with suppress(RunDirectoryError, OSError):
        owner = read_owner(directory)
        return owner is not None and owner[1:5] == this_process()
    return False


def _refuse_living(directory: Path, owner: Owner | None, *, is_ours: bool = False) -> None:
    """Refuse to take the run from a driver that lives; one on another host does not if the lock `is_ours`."""
    if owner is None:
        return
    if is_ours and is_alive(owner) is None:
        return
    if lives(directory, owner):
        raise RunDirectoryError(
            f"run {directory.name} is driven by {owner}; wait for it, end it, or give another name. If that machine "
            f"is gone for good, delete {directory / LOCK}",
            str(directory / OWNER),
        )


def _refuse_used(directory: Path) -> None:
    """Refuse a directory with anything in it, but for what whoever died while beginning the run left."""
    if any(entry.name != LOCK and not entry.name.startswith(".") for entry in directory.iterdir()):
        raise RunDirectoryError(
            f"run {directory.name} exists already in {directory.parent}; go on with it (--resume {directory.name}, "
            "resume=True), or give another name",
            str(directory),
        )


def _lock(directory: Path) -> tuple[int, bool]:
    """The open lock file, and whether it could be locked, which some file systems cannot."""
    path = directory / LOCK
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in _HELD:
            return descriptor, False
        os.close(descriptor)
        raise RunDirectoryError(
            f"run {directory.name} is just being taken by another driver, which holds {path}; wait for it, end it, or "
            "give another name. If its machine is gone for good, delete that file",
            str(path),
        ) from None
    return descriptor, True


def _is_held(path: Path) -> bool | None:
    """Whether a living process holds the lock, without touching it; None where that cannot be told."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    except OSError:
        return None
    try:
        answer = fcntl.fcntl(descriptor, fcntl.F_GETLK, struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0))
        return bool(struct.unpack(_FLOCK, answer)[0] != fcntl.F_UNLCK)
    except (OSError, struct.error):
        return None
    finally:
        os.close(descriptor)


def _write(directory: Path, owner: Owner) -> None:
    facts: dict[str, Any] = owner._asdict()
    replace(directory / OWNER, json.dumps(seal(facts), indent=1) + "\n")
