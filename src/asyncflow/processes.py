"""Processes as others on the same file system see them: which one it is, and whether it still runs."""

import os
import socket
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, Protocol


class Process(NamedTuple):
    """What tells one process from all others.

    Attributes
    ----------
    host : str
        Where it runs.
    pid : int
        Its number, which means something for one boot of that host.
    boot : str
        That boot; empty where there is no ``/proc``.
    began : int
        Clock ticks after boot at which it began, as numbers are used again; -1 where there is no ``/proc``.
    """

    host: str
    pid: int
    boot: str
    began: int


class Known(Protocol):
    """Whatever knows as much of a process."""

    @property
    def host(self) -> str: ...
    @property
    def pid(self) -> int: ...
    @property
    def boot(self) -> str: ...
    @property
    def began(self) -> int: ...


def this_process() -> Process:
    """The one that asks."""
    return Process(socket.gethostname(), os.getpid(), _boot(), _began(os.getpid()))


def is_alive(process: Known) -> bool | None:
    """Whether that process still runs; None where that cannot be told, as of another host."""
    if process.host != socket.gethostname() or process.began < 0:
        return None
    return process.boot == _boot() and process.began == _began(process.pid)


def _boot() -> str:
    with suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return ""


def _began(pid: int) -> int:
    """Clock ticks after boot at which process `pid` began; -1 where there is none."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return -1
    return -1 if fields[0] == "Z" else int(fields[19])
