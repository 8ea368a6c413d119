"""The program of a function that runs in a process of its own, and the parcels in which call and outcome cross.

Run by path, and all that it imports before the function is of the standard library and small: each call waits for it.
"""

import faulthandler
import mmap
import os
import pickle
import resource
import struct
import sys
import types
from contextlib import suppress

TYPE_CHECKING = False  # that of `typing` costs more than all the rest
if TYPE_CHECKING:
    import logging
    from collections.abc import Callable, Sequence
    from typing import Any

#: Bytes of arrays and the like from which they are kept apart from the pickle.
APART = 64_000

#: Bytes kept apart from which they stay where the other process put them; a mapping may hold a file descriptor.
MAPPED = 64_000_000

_HEADER = struct.Struct("<QQ")  # where the index stands, and its length
_ALIGNED = 64
_PART = 1 << 30  # one system call writes at most 2 GB


class Parcel:
    """One value, and a note in plain data, in a file that two processes have open; large arrays are copied once.

    Parameters
    ----------
    file : int
        Its descriptor, which belongs to the caller; it can be closed once the value was taken out.
    """

    def __init__(self, file: int) -> None:
        self._file = file

    def put(self, value: "Any", note: "Any") -> None:
        """Put both in; what was put in before is replaced when all is there, and not before.

        Raises
        ------
        Exception
            Where the value cannot be pickled.
        """
        payload, buffers = _dump(value)
        end = os.fstat(self._file).st_size
        spans = []
        for part in (memoryview(payload), *buffers):
            start = -(-max(end, _HEADER.size) // _ALIGNED) * _ALIGNED
            self._write(part, start)
            end = start + part.nbytes
            spans.append((start, part.nbytes))
        index = pickle.dumps((note, spans))
        self._write(memoryview(index), end)
        self._write(memoryview(_HEADER.pack(end, len(index))), 0)

    def note(self) -> "Any":
        """The note; None where nothing was put in."""
        index = self._index()
        return None if index is None else index[0]

    def take(self) -> "Any":
        """The value; large arrays stay in the file, which then lives as long as they do."""
        index = self._index()
        assert index is not None
        first, *others = index[1]
        if sum(size for _, size in others) >= MAPPED:
            # Shared: the other process has ended or will not look again, and a private one would copy when written to.
            whole = memoryview(_map(self._file))
            return pickle.loads(_cut(whole, first), buffers=[_cut(whole, span) for span in others])
        return pickle.loads(self._read(first), buffers=[self._read(span) for span in others])

    def _index(self) -> "tuple[Any, list[tuple[int, int]]] | None":
        header = os.pread(self._file, _HEADER.size, 0)
        if len(header) < _HEADER.size:
            return None
        start, size = _HEADER.unpack(header)
        if not size:  # the beginning is empty until all is there
            return None
        note, spans = pickle.loads(self._read((start, size)))
        return note, spans

    def _write(self, data: memoryview, start: int) -> None:
        while data:
            written = os.pwrite(self._file, data[:_PART], start)
            data, start = data[written:], start + written

    def _read(self, span: "tuple[int, int]") -> bytearray:
        start, size = span
        data = bytearray(size)
        left = memoryview(data)
        while left:
            count = os.preadv(self._file, [left[:_PART]], start)
            if not count:
                raise EOFError("the file of an isolated function's outcome was cut short")
            left, start = left[count:], start + count
        return data


def _map(file: int) -> mmap.mmap:
    if sys.version_info >= (3, 13):
        return mmap.mmap(file, 0, trackfd=False)
    return mmap.mmap(file, 0)


def _cut(whole: memoryview, span: "tuple[int, int]") -> memoryview:
    start, size = span
    return whole[start : start + size]


def _dump(value: "Any") -> "tuple[bytes, list[memoryview]]":
    try:
        payload, buffers = _dump_with(pickle.dumps, value)
        if b"__main__" not in payload:
            return payload, buffers
    except MemoryError:
        raise
    except Exception:  # noqa: S110 - what lives in a script or a function goes by value
        pass
    from asyncflow.byvalue import dump_by_value

    return _dump_with(dump_by_value, value)


def _dump_with(dumps: "Any", value: "Any") -> "tuple[bytes, list[memoryview]]":
    buffers: list[memoryview] = []

    def keep_apart(buffer: pickle.PickleBuffer) -> bool:
        with suppress(BufferError):  # not contiguous
            data = buffer.raw()
            if data.nbytes >= APART:
                buffers.append(data)
                return False
        return True

    return dumps(value, protocol=5, buffer_callback=keep_apart), buffers


def peak_memory() -> int:
    """The most memory that this process has had, in bytes."""
    with suppress(OSError, ValueError), open("/proc/self/status", "rb") as status:  # noqa: PTH123 - pathlib costs time
        for line in status:
            if line.startswith(b"VmHWM"):  # of this program alone; the other way counts who started it too
                return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def set_limit(limit: int) -> int:
    """Refuse this process more than `limit` bytes of data (0: as many as it likes); what was allowed before.

    Data is what a program writes for itself: heap, arrays, stacks of threads. The address space is not limited, for
    much of it is only reserved: 64 MB with each thread that allocates, terabytes by the libraries of GPUs.
    """
    before, most = resource.getrlimit(resource.RLIMIT_DATA)
    if limit:
        allowed = limit if most == resource.RLIM_INFINITY else min(limit, most)
        resource.setrlimit(resource.RLIMIT_DATA, (allowed, most))
    return before


def is_refusal(error: BaseException) -> bool:
    """Whether `error` is how Python tells that it was refused memory."""
    if isinstance(error, OSError):
        return error.errno == 12  # ENOMEM
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and "start new thread" in str(error))


def run(call: Parcel, outcome: Parcel, limit: int) -> None:
    """Take the call out, run it, and put in what came of it.

    The note of the outcome is (what the value is, the peak memory): ``value``, ``error``, or ``memory``, an error that
    came of the limit.
    """
    sys.path[:] = call.note()
    before = set_limit(limit)
    try:
        function, args, kwargs = call.take()
        value = function(*args, **kwargs)
        if type(value) is types.CoroutineType:
            import asyncio

            value = asyncio.run(value)
        _hand_in(value, outcome)
    except BaseException as error:
        kind = "memory" if limit and is_refusal(error) else "error"
        resource.setrlimit(resource.RLIMIT_DATA, (before, resource.getrlimit(resource.RLIMIT_DATA)[1]))
        from asyncflow.failures import pack

        trace = error.__traceback__
        error.__traceback__ = trace.tb_next if trace is not None and trace.tb_next is not None else trace
        outcome.put(pack(error), (kind, peak_memory()))


def _hand_in(value: "Any", outcome: Parcel) -> None:
    try:
        outcome.put(value, ("value", peak_memory()))
    except (MemoryError, OSError):
        raise
    except Exception as error:
        from asyncflow.errors import SerializationError

        text = f"the function returned a {type(value).__name__} that cannot be pickled"
        remedy = "return something that can leave its process"
        raise SerializationError(f"{text} ({type(error).__name__}: {error}); {remedy}") from error


def teed(make: "Callable[..., Any]", take: "Callable[[logging.LogRecord], None]") -> "Callable[..., Any]":
    """A factory of log records as `make` is, of which `take` is told those that somebody logs."""

    def make_and_tell(*args: "Any", **kwargs: "Any") -> "Any":
        record = make(*args, **kwargs)
        if record.name is not None:  # so made are those that only came from elsewhere
            with suppress(Exception):  # a text that cannot be made is told by whoever handles the record
                take(record)
        return record

    return make_and_tell


def log_line(record: "logging.LogRecord") -> bytes:
    """How `record` is written."""
    import logging

    text = logging.Formatter("%(asctime)s %(levelname)-7s %(name)s: %(message)s").format(record)
    record.exc_text = None  # which others would take for what their own format makes
    return f"{text}\n".encode(errors="backslashreplace")


def log_to(file: int) -> None:
    """Write what this process logs to `file` as well."""
    import logging

    def take(record: logging.LogRecord) -> None:
        os.write(file, log_line(record))

    logging.setLogRecordFactory(teed(logging.getLogRecordFactory(), take))


def main(arguments: "Sequence[str]") -> None:
    """Run the call in the first file; its outcome goes to the second, and the limit of memory is the third.

    The fourth, if it is not 0, is where log records go.
    """
    call, outcome, limit, log = (int(each) for each in arguments)
    for file in (call, outcome, *([log] if log else [])):
        os.set_inheritable(file, False)  # nothing to the programs that the function starts
    with suppress(OSError), open("/proc/self/oom_score_adj", "w", encoding="ascii") as score:  # noqa: PTH123
        score.write("500")  # where the machine runs out of memory, this goes before the worker
    faulthandler.enable()
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    if log:
        log_to(log)
    run(Parcel(call), Parcel(outcome), limit)
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):
            stream.flush()
    os._exit(0)  # threads that the function left do not hold the call


if __name__ == "__main__":
    main(sys.argv[1:])
