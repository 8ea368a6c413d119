"""The lines of a journal, readable while it is written and after its writer met any end."""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

#: What the lines of a session itself say in place of the state of a call.
BEGUN, ENDED, DROPPED = "begun", "ended", "dropped"

#: Bytes of a line at most; the facts of longer ones are cut.
LINE = 2**17


class Entry(NamedTuple):
    """One line of a journal.

    Attributes
    ----------
    time : float
        Seconds since the epoch.
    session : int
        Which one it belongs to.
    state : str
        What the call came to, the ``kind`` of an `Event`; or what the session did: ``begun``, ``dropped``,
        ``terminated`` (somebody ends it, and what runs may end before), ``ended``.
    key, name : str
        The call and its task; empty where it is about the session.
    facts : mapping
        What else is known.
    """

    time: float
    session: int
    state: str
    key: str
    name: str
    facts: Mapping[str, Any]


class Entries:
    """The readable lines of the journal at `path`, in order, each time they are iterated over.

    Attributes
    ----------
    damaged : int
        How many lines of the last iteration were not readable. That may be the last one while it is written.
    """

    def __init__(self, path: Path, start: int = 0) -> None:
        self.path = path
        self.damaged = 0
        self._start = start

    def __iter__(self) -> Iterator[Entry]:
        """Read the file, from the beginning; nothing where there is none."""
        self.damaged = 0
        with suppress(FileNotFoundError), self.path.open("rb") as file:
            file.seek(self._start)
            for line in _lines(file):
                entry = _entry(line)
                if entry is not None:
                    yield entry
                elif line.strip():
                    self.damaged += 1


class Tail:
    """The readable lines of the journal at `path` that are whole and have come since the last iteration.

    Attributes
    ----------
    damaged : int
        How many lines were not readable.
    """

    def __init__(self, path: Path) -> None:
        self.damaged = 0
        self._path = path
        self._read = 0

    def __iter__(self) -> Iterator[Entry]:
        """Read on; nothing where there is none."""
        with suppress(FileNotFoundError), self._path.open("rb") as file:
            file.seek(self._read)
            for line in _lines(file):
                if not line.endswith(b"\n") and len(line) < 2 * LINE:  # it is being written
                    return
                self._read += len(line)
                entry = _entry(line)
                if entry is not None:
                    yield entry
                elif line.strip():
                    self.damaged += 1


def read_journal(path: str | os.PathLike[str]) -> Entries:
    """The journal at `path`, of a run that goes on or has ended in any way; damaged lines are counted and left out."""
    return Entries(Path(path))


def read_end(path: Path) -> Entry | None:
    """The last line of the journal at `path`, if it is the end of a session: it has the counts of all states."""
    try:
        size = path.stat().st_size
    except FileNotFoundError:
        return None
    last = None
    for last in Entries(path, max(0, size - LINE)):  # noqa: B007
        pass
    return last if last is not None and last.state == ENDED else None


def _lines(file: BinaryIO) -> Iterator[bytes]:
    """The lines, in pieces where they are longer than any that is written."""
    while line := file.readline(2 * LINE):
        yield line


def _entry(line: bytes) -> Entry | None:
    try:
        data = json.loads(line)
        entry = Entry(
            data["time"],
            data["session"],
            data["state"],
            data.get("key", ""),
            data.get("name", ""),
            data.get("facts", {}),
        )
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None
    is_whole = (
        isinstance(entry.time, (int, float))
        and isinstance(entry.session, int)
        and all(isinstance(text, str) for text in (entry.state, entry.key, entry.name))
        and isinstance(entry.facts, dict)
    )
    return entry if is_whole else None
