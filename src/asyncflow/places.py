"""Where the files of a result store lie: a directory of this machine, or whatever fsspec reaches by a URL."""

import os
import secrets
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from asyncflow.errors import RunDirectoryError

Buffer = bytes | memoryview

#: Bytes that one system call is asked for at most; Linux stops at 2 GB.
_ONE_CALL = 2**30


class Place(Protocol):
    """A flat set of files.

    A name has all of one writing's bytes or is not there. Names that begin with a dot are half-written files; no
    method shows them but `sweep`.
    """

    def put(self, name: str, pieces: Sequence[Buffer]) -> None:
        """Make or replace one file of these bytes, one after the other."""

    def get(self, name: str, limit: int | None = None) -> bytes | None:
        """The file, or the first `limit` bytes of it; None where there is none."""

    def sizes(self) -> dict[str, int]:
        """All names and how many bytes each has, from one listing."""

    def remove(self, names: Iterable[str]) -> None:
        """Remove these; those that have gone already do not matter."""

    def sweep(self) -> int:
        """Remove what broken-off writings left; how many files.

        A writing that is under way meanwhile begins again.
        """


def place_of(url: str) -> Place:
    """The directory or the foreign store at `url`, which need not be there yet."""
    for prefix in ("file://", "local://"):
        url = url.removeprefix(prefix)
    return Objects(url) if "://" in url else Directory(url)


def _temporary(name: str) -> str:
    return f".{name}.{secrets.token_hex(8)}"


class Directory:
    """A directory that only its owner can read; plain system calls, for fsspec would double the cost of a write."""

    def __init__(self, path: str) -> None:
        self._root = os.path.abspath(os.path.expanduser(path))  # noqa: PTH100, PTH111 - a plain string is wanted

    def put(self, name: str, pieces: Sequence[Buffer]) -> None:
        """Write under a temporary name, then rename."""
        try:
            self._put(name, pieces)
        except FileNotFoundError:  # the first file, or somebody swept the temporary one away
            os.makedirs(self._root, mode=0o700, exist_ok=True)  # noqa: PTH103
            self._put(name, pieces)

    def get(self, name: str, limit: int | None = None) -> bytes | None:
        """Read."""
        # System calls and no file object, which makes twice as many: at each the thread may wait for its turn.
        try:
            file = os.open(self._path(name), os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        try:
            return _read(file, limit)
        finally:
            os.close(file)

    def sizes(self) -> dict[str, int]:
        """One pass over the directory."""
        found: dict[str, int] = {}
        with suppress(FileNotFoundError), os.scandir(self._root) as entries:
            for entry in entries:
                with suppress(FileNotFoundError):  # removed meanwhile
                    if not entry.name.startswith(".") and entry.is_file():
                        found[entry.name] = entry.stat().st_size
        return found

    def remove(self, names: Iterable[str]) -> None:
        """Unlink."""
        for name in names:
            with suppress(FileNotFoundError):
                os.unlink(self._path(name))  # noqa: PTH108

    def sweep(self) -> int:
        """Unlink names that begin with a dot."""
        names: list[str] = []
        with suppress(FileNotFoundError):
            names = [name for name in os.listdir(self._root) if name.startswith(".")]  # noqa: PTH208
        self.remove(names)
        return len(names)

    def _put(self, name: str, pieces: Sequence[Buffer]) -> None:
        # Not synced to the disk: what a power cut tears, its digest tells.
        temporary = self._path(_temporary(name))
        number = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            try:
                _write(number, pieces)
            finally:
                os.close(number)
            os.replace(temporary, self._path(name))  # noqa: PTH105
        except BaseException:
            with suppress(OSError):
                os.unlink(temporary)  # noqa: PTH108
            raise

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}"


class Objects:
    """Anything that fsspec has a file system for: object stores, other machines, memory."""

    def __init__(self, url: str) -> None:
        try:
            from fsspec.core import url_to_fs

            self._fs, self._root = url_to_fs(url)
        except (ImportError, ValueError) as error:
            raise RunDirectoryError(
                f"results cannot be kept at {url!r}: {error}; install what fsspec needs for it, or give a directory",
                url,
            ) from error
        self._made = False

    def put(self, name: str, pieces: Sequence[Buffer]) -> None:
        """Write under a temporary name, then move."""
        if not self._made:
            self._fs.makedirs(self._root, exist_ok=True)
            self._made = True
        data = b"".join(pieces)
        try:
            self._put(name, data)
        except FileNotFoundError:  # somebody swept the temporary one away
            self._fs.makedirs(self._root, exist_ok=True)
            self._put(name, data)

    def get(self, name: str, limit: int | None = None) -> bytes | None:
        """Read, of large files only what is wanted."""
        try:
            return bytes(self._fs.cat_file(self._path(name), start=0 if limit else None, end=limit))
        except FileNotFoundError:
            return None

    def sizes(self) -> dict[str, int]:
        """One listing, never a remembered one."""
        return {name: int(info.get("size") or 0) for name, info in self._listing().items() if not name.startswith(".")}

    def remove(self, names: Iterable[str]) -> None:
        """Remove one by one: where one of many has gone, stores differ in what they do with the rest."""
        for name in names:
            with suppress(FileNotFoundError):
                self._fs.rm_file(self._path(name))

    def sweep(self) -> int:
        """Remove names that begin with a dot."""
        names = [name for name in self._listing() if name.startswith(".")]
        self.remove(names)
        return len(names)

    def _listing(self) -> dict[str, dict[str, Any]]:
        self._fs.invalidate_cache(self._root)
        try:
            infos = self._fs.ls(self._root, detail=True)
        except FileNotFoundError:
            return {}
        return {str(info["name"]).rsplit("/", 1)[-1]: info for info in infos if info.get("type") == "file"}

    def _put(self, name: str, data: bytes) -> None:
        temporary = self._path(_temporary(name))
        try:
            self._fs.pipe_file(temporary, data)
            self._fs.mv(temporary, self._path(name))
        except BaseException:
            with suppress(Exception):
                self._fs.rm_file(temporary)
            raise

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}"


def show(url: str) -> str:
    """`url` as errors show it: a directory as an absolute path."""
    for prefix in ("file://", "local://"):
        url = url.removeprefix(prefix)
    return url.rstrip("/") if "://" in url else str(Path(url).expanduser().absolute())


def _read(file: int, limit: int | None) -> bytes:
    """At most `limit` bytes; all where that is None. Files are never changed, but replaced."""
    size = os.fstat(file).st_size
    missing = size if limit is None else min(size, limit)
    pieces = []
    while missing and (piece := os.read(file, min(missing, _ONE_CALL))):
        pieces.append(piece)
        missing -= len(piece)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def _write(file: int, pieces: Sequence[Buffer]) -> None:
    rest = [memoryview(piece).cast("B") for piece in pieces if len(piece)]
    while rest:
        written = os.writev(file, [piece[:_ONE_CALL] for piece in rest])
        while rest and written >= len(rest[0]):
            written -= len(rest.pop(0))
        if rest:
            rest[0] = rest[0][written:]
