"""Which bodies a worker's process runs: a page of memory that it shares with its nanny, and that outlives it."""

import mmap
import os
import sys
from typing import Any, NamedTuple

#: Where a worker finds the page, in its environment.
VARIABLE = "ASYNCFLOW_BODIES"

#: Bodies that fit; those that wait for their next attempt hold no thread, so that there may be many.
SLOTS = 1024

_SLOT = 256  # bytes; the first slot is the page's own
_MOST = _SLOT - 2  # bytes of a key; of a longer one the end, which tells calls apart
_RUNNING, _ENDED = 1, 2
_USED, _FULL = 1, 2

_EXTENSION = "asyncflow-bodies"


class Bodies(NamedTuple):
    """Stubs of the keys (see `stub`) of what ran as the process ended, and of what had ended there last."""

    running: frozenset[str]
    ended: frozenset[str]


def stub(key: str) -> str:
    """As much of `key` as the page holds."""
    return _written(key).decode(errors="ignore")


def _written(key: str) -> bytes:
    return key.encode(errors="replace")[-_MOST:]


class Page:
    """The nanny's end of it. Linux only.

    Memory without a name: nothing of it stays, however worker and nanny end.

    Attributes
    ----------
    path : str
        Where the worker opens it.
    """

    def __init__(self) -> None:
        self._file = os.memfd_create("asyncflow-bodies")
        os.ftruncate(self._file, (SLOTS + 1) * _SLOT)
        self._memory = mmap.mmap(self._file, (SLOTS + 1) * _SLOT)
        self.path = f"/proc/{os.getpid()}/fd/{self._file}"

    @property
    def worker(self) -> str | None:
        """The address of the worker that writes there; None before it has one."""
        memory = self._memory
        return memory[2 : 2 + memory[1]].decode() or None

    def take(self) -> Bodies | None:
        """What is written there, which is wiped for the next worker; None where not all bodies were written down."""
        memory = self._memory
        is_whole = memory[0] == _USED
        found: dict[int, set[str]] = {_RUNNING: set(), _ENDED: set()}
        for at in range(_SLOT, len(memory), _SLOT):
            if (state := memory[at]) in found:
                found[state].add(memory[at + 2 : at + 2 + memory[at + 1]].decode(errors="ignore"))
                memory[at] = 0
        memory[0] = memory[1] = 0
        return Bodies(frozenset(found[_RUNNING]), frozenset(found[_ENDED])) if is_whole else None

    def close(self) -> None:
        """Let go of it."""
        self._memory.close()
        os.close(self._file)


def make_page() -> Page | None:
    """A page; None where the system has no such memory."""
    if sys.platform != "linux":
        return None
    try:
        return Page()
    except OSError:
        return None


class Log:
    """The worker's end of it: a body costs a microsecond. Called by any thread.

    Parameters
    ----------
    path : str
        Of the nanny's page.

    Raises
    ------
    OSError
        When it cannot be opened.
    """

    def __init__(self, path: str) -> None:
        file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            self._memory = mmap.mmap(file, (SLOTS + 1) * _SLOT)
        finally:
            os.close(file)
        self._free = [_SLOT * number for number in range(SLOTS, 0, -1)]  # taken from its end: few are ever touched
        self._taken: dict[str, int] = {}
        self._memory[0] = _USED

    def sign(self, worker: str) -> None:
        """Write down the address of the worker, which may end before its nanny is told."""
        written = worker.encode()
        if len(written) <= _MOST:
            self._memory[2 : 2 + len(written)] = written
            self._memory[1] = len(written)

    def begin(self, key: str) -> None:
        """The body of `key` is about to begin."""
        if key in self._taken:  # called again while a cancelled body of it has not ended
            return
        try:
            at = self._free.pop()
        except IndexError:
            self._memory[0] = _FULL
            return
        self._taken[key] = at
        written = _written(key)
        self._memory[at + 1 : at + 2 + len(written)] = bytes((len(written),)) + written
        self._memory[at] = _RUNNING  # last, as the process may end at any time

    def end(self, key: str) -> None:
        """It has ended; it stays readable until another body takes its slot."""
        at = self._taken.pop(key, None)
        if at is not None:
            self._memory[at] = _ENDED
            self._free.append(at)


def log_of(worker: Any) -> Log | None:
    """That of a Dask worker; None where no nanny of ours reads one."""
    log: Log | None = worker.extensions.get(_EXTENSION)
    return log


def dask_setup(worker: Any) -> None:
    """Called by Dask as a worker starts whose nanny has a page."""
    path = os.environ.pop(VARIABLE, None)  # nothing that it starts is to write there
    if path is not None:
        try:
            log = worker.extensions[_EXTENSION] = Log(path)
        except OSError:  # then nobody has written anything there, and the nanny says nothing
            return
        log.sign(worker.contact_address or worker.address)  # it listens by now
