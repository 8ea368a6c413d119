"""What a call writes, as it comes, over all its attempts, until it is over."""

import codecs
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple, Self

from asyncflow.output import find_output
from asyncflow.runs.directory import JOURNAL
from asyncflow.runs.entries import Tail
from asyncflow.runs.facts import Call
from asyncflow.runs.history import History
from asyncflow.runs.listing import RunState, state_at
from asyncflow.runs.picking import pick


class Piece(NamedTuple):
    """Something that was written; `is_first` where an attempt begins with it."""

    stream: str
    text: str
    is_first: bool


class Followed:
    """One call of the run at `directory`, looked at again and again. Use it in ``with``, as it holds files open.

    Raises
    ------
    LookupError
        Where there is no such call.
    """

    def __init__(self, directory: Path, task: str, streams: Sequence[str]) -> None:
        self._directory = directory
        self._journal = Tail(directory / JOURNAL)
        self._history = History()
        self._read_journal()
        self.call: Call = pick(self._history, task).call
        self._streams = [_Growing(stream) for stream in streams]

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the files."""
        for stream in self._streams:
            stream.close()

    def look(self) -> tuple[bool, list[Piece]]:
        """Whether nothing more will come, and what came since the last look."""
        # Both are asked before the files are: what was written by then is in them.
        is_over = state_at(self._directory) not in {RunState.RUNNING, RunState.UNKNOWN}
        self._read_journal()
        is_over = is_over or self.call.is_over
        where = find_output(self._directory / "tasks", self.call.id)
        return is_over, [piece for stream in self._streams for piece in stream.news(where)]

    def _read_journal(self) -> None:
        for entry in self._journal:
            self._history.take(entry)


class _Growing:
    """One stream: a file, which is put aside and followed by another where the call is tried again."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._file: BinaryIO | None = None
        self._is_new = False
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def news(self, directory: Path | None) -> Iterator[Piece]:
        """What came; of a file that was put aside first what is left of it."""
        yield from self._rest()
        if directory is not None and self._open(directory / self._name):
            yield from self._rest()

    def close(self) -> None:
        """Let go of the file."""
        if self._file is not None:
            self._file.close()

    def _open(self, path: Path) -> bool:
        """Whether there is a file that was not read before."""
        try:
            file = path.open("rb")
        except OSError:
            return False
        if self._file is not None and _same(file, self._file):
            file.close()
            return False
        self.close()
        self._file, self._is_new = file, True
        self._decoder.reset()
        return True

    def _rest(self) -> Iterator[Piece]:
        data = self._file.read() if self._file is not None else b""
        text = self._decoder.decode(data)
        if text:
            yield Piece(self._name, text, self._is_new)
            self._is_new = False


def _same(one: BinaryIO, other: BinaryIO) -> bool:
    return os.path.sameopenfile(one.fileno(), other.fileno())
