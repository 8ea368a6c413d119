"""What the attempts of a call write, in files: where they lie, written up to a limit, and read while they grow."""

import io
import itertools
import logging
import os
import threading
import traceback
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from asyncflow.units import show_size
from asyncflow.workdir import directory_name

logger = logging.getLogger("asyncflow")

#: The files of an attempt.
STREAMS = ("stdout", "stderr", "log")


def output_directory(root: str, key: str) -> Path:
    """Where the call with `key` writes, below the ``tasks/`` of its run at `root`."""
    return Path(root, directory_name(key))


def find_output(root: str | os.PathLike[str], key: str) -> Path | None:
    """Where the last attempt of the call with `key` has written; None where nothing is.

    A command that resolves to a file in a directory of its own (``workdir=True``) has it there.
    """
    directory = output_directory(os.fspath(root), key)
    if directory.is_dir():
        return directory
    found = None
    for number in itertools.count(1):
        each = directory.with_name(f"{directory.name}-{number}")
        if not each.is_dir():
            return found
        found = each
    raise AssertionError("itertools.count ended")


def read_output(root: str | os.PathLike[str], key: str, stream: str) -> str:
    """What the last attempt of the call with `key` has written so far; nothing where there is no file. Blocks."""
    directory = find_output(root, key)
    if directory is None:
        return ""
    try:
        return (directory / stream).read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return ""


class Sink(io.RawIOBase):
    """A file that is made when something is written, and takes no more than `limit` bytes; for any thread.

    Writing never fails: a task does not fail for the sake of what it says. What comes after `end` is dropped.
    """

    def __init__(self, path: Path, limit: int) -> None:
        super().__init__()
        self._path = path
        self._limit = limit
        self._lock = threading.RLock()  # a signal handler may print, too
        self._file: int | None = None
        self._size = self._dropped = 0
        self._is_over = False
        self._last = b"\n"

    def open(self) -> None:
        """Make the file now.

        Raises
        ------
        OSError
            When it cannot be made.
        """
        with self._lock:
            if self._file is None and not self._is_over:
                self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                self._file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)

    def writable(self) -> bool:
        """Yes."""
        return True

    def fileno(self) -> int:
        """For programs that are to write here as well; of these the limit is not kept."""
        self.open()
        if self._file is None:
            raise io.UnsupportedOperation("this attempt is over, and writes no more")
        return self._file

    def write(self, data: Any) -> int:
        """Take `data`, bytes or the like; how many there were."""
        view = memoryview(data).cast("B")
        with self._lock:
            if not self._is_over:
                self._take(view)
        return view.nbytes

    def end(self) -> None:
        """Nothing more is to come; the last line says what is missing. Safe to call again."""
        with self._lock:
            if not self._is_over and self._dropped:
                self._say_what_is_missing()
            self._is_over = True
            file, self._file = self._file, None
            if file is not None:
                os.close(file)

    def close(self) -> None:
        """As `end`; whoever wraps a file calls it so."""
        self.end()
        super().close()

    def _take(self, view: memoryview) -> None:
        taken = view[: max(0, self._limit - self._size)]
        try:
            if taken:
                self._write(taken)
                self._last = bytes(taken[-1:])
        except OSError as error:
            self._limit, taken = self._size, view[:0]  # a part of it may be there, and is counted as missing
            logger.warning("what a task writes cannot be kept in %s (%s); the rest of it is dropped", self._path, error)
        self._size += taken.nbytes
        self._dropped += view.nbytes - taken.nbytes

    def _write(self, view: memoryview) -> None:
        self.open()
        assert self._file is not None
        while view:
            view = view[os.write(self._file, view) :]

    def _say_what_is_missing(self) -> None:
        cut = f"output was cut: {self._dropped} bytes more than {show_size(self._limit)} were dropped"
        text = f"[asyncflow: {cut}; see capture_limit]\n"
        with suppress(OSError):
            self._write(memoryview((text if self._last == b"\n" else f"\n{text}").encode()))


class Output:
    """The files of one attempt, of which each is made when there is something to write.

    Those of earlier attempts of the call that lie there are set aside: ``stdout.1`` is of the first, and so on.

    Parameters
    ----------
    directory : Path
        Of the call.
    limit : int
        Bytes that each file takes.
    """

    def __init__(self, directory: Path, limit: int) -> None:
        self.directory = directory
        self.stdout, self.stderr, self.log = (Sink(directory / stream, limit) for stream in STREAMS)
        _set_aside(directory)

    def __enter__(self) -> Self:
        """Ends with the block."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """The attempt is over."""
        for sink in (self.stdout, self.stderr, self.log):
            sink.end()

    def tell(self, error: Exception) -> None:
        """Write the traceback of `error` to the standard error, as the end of a program would."""
        with suppress(Exception):  # its text is a user's method
            lines = traceback.format_exception(type(error), error, _users_part(error.__traceback__))
            self.stderr.write("".join(lines).encode(errors="backslashreplace"))


def _set_aside(directory: Path) -> None:
    if not directory.is_dir():
        return
    there = [stream for stream in STREAMS if (directory / stream).exists()]
    if there:
        free = (n for n in itertools.count(1) if not any((directory / f"{each}.{n}").exists() for each in STREAMS))
        number = next(free)
        for stream in there:
            with suppress(OSError):  # what cannot be moved is appended to
                (directory / stream).rename(directory / f"{stream}.{number}")


def _users_part(trace: TracebackType | None) -> TracebackType | None:
    """`trace` from the first frame that is not ours; all of it where there is none."""
    ours, part = str(Path(__file__).parent) + os.sep, trace
    while part is not None and part.tb_frame.f_code.co_filename.startswith(ours):
        part = part.tb_next
    return part or trace
