"""The content of files as digests, each file read once by a process while it stays as it is."""

import hashlib
import os
import socket
import stat
import threading
import time
from collections import OrderedDict
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from asyncflow.errors import FileError

#: How many files a process remembers.
REMEMBERED = 4096

#: Nanoseconds that must lie between the last change of a file and its reading for the digest to be trusted later: a
#: change within one tick of the file system's clock does not show. Two seconds is the coarsest tick in use.
TICK = 2_000_000_000

#: As many files as are read at once, at most.
_READERS = 16


class Stamp(NamedTuple):
    """What shows that a file is another, or was written to, without reading it."""

    inode: int
    size: int
    modified: int


class Content(NamedTuple):
    """What is in a file; the digest is BLAKE2b, in hexadecimal digits."""

    size: int
    digest: str


def stamp_of(path: str) -> Stamp | None:
    """The stamp of the file at `path`; None where there is no regular file."""
    # Opened, not only looked up: on NFS that asks the server, where a look-up answers from what this host remembers.
    try:
        return _opened(path)
    except FileNotFoundError:
        with suppress(OSError):
            _opened(os.path.dirname(path))  # noqa: PTH120 - as text; the host now forgets what was not there
            return _opened(path)
    except OSError:
        with suppress(OSError):  # it may not be read: what is wrong is said by whoever tries to
            return _stamp(os.stat(path))  # noqa: PTH116
    return None


class Digests:
    """Contents of files that are known; any thread may ask."""

    def __init__(self, remembered: int = REMEMBERED) -> None:
        self._remembered = remembered
        self._known: OrderedDict[tuple[str, Stamp], str] = OrderedDict()
        self._lock = threading.Lock()
        self._readers = [threading.Lock() for _ in range(_READERS)]

    def content_of(self, path: str) -> Content:
        """Size and digest of the file at `path`, which is read unless it is known.

        Raises
        ------
        FileError
            Where there is no file that can be read.
        """
        stamp = stamp_of(path)
        if stamp is None:
            raise FileError(f"there is no file {path!r} on {socket.gethostname()}; make it first", (path,))
        key = (path, stamp)
        with self._readers[hash(key) % _READERS]:  # whoever asks for the same file meanwhile waits for its digest
            digest = self._recall(key)
            if digest is None:
                digest = self._read(key)
        return Content(stamp.size, digest)

    def _recall(self, key: tuple[str, Stamp]) -> str | None:
        with self._lock:
            if key in self._known:
                self._known.move_to_end(key)
            return self._known.get(key)

    def _read(self, key: tuple[str, Stamp]) -> str:
        path, stamp = key
        began = time.time_ns()
        digest = read_digest(path)
        if abs(began - stamp.modified) > TICK and stamp_of(path) == stamp:
            with self._lock:
                self._known[key] = digest
                if len(self._known) > self._remembered:
                    self._known.popitem(last=False)
        return digest


def read_digest(path: str) -> str:
    """The digest of the file at `path`; reads all of it.

    Raises
    ------
    FileError
        Where there is no file that can be read.
    """
    try:
        with Path(path).open("rb") as file:
            return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=32)).hexdigest()
    except OSError as error:
        where, reason = socket.gethostname(), error.strerror
        raise FileError(
            f"cannot read {path!r} on {where}: {reason}; make the file first, readable where it is needed",
            (path,),
        ) from error


def _opened(path: str) -> Stamp | None:
    handle = os.open(path or ".", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a pipe would block
    try:
        return _stamp(os.fstat(handle))
    finally:
        os.close(handle)


def _stamp(facts: os.stat_result) -> Stamp | None:
    return Stamp(facts.st_ino, facts.st_size, facts.st_mtime_ns) if stat.S_ISREG(facts.st_mode) else None
