"""Processes of jobs: found by a mark in their environment, their session or their parents, and ended."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

#: Set for every process of a job, to the directory of the stand-in.
MARK = "ASYNCFLOW_FAKE_QUEUE"

#: Set for every process of a job, to the job's id.
JOB_MARK = "ASYNCFLOW_FAKE_JOB"


def members(directory: Path, job: str | None = None, session: int | None = None) -> set[int]:
    """Living processes of one job, or of every job of the stand-in at `directory`."""
    marks = {f"{MARK}={directory}".encode()}
    if job is not None:
        marks.add(f"{JOB_MARK}={job}".encode())
    found, parents = set[int](), dict[int, int]()
    for pid, environ, parent, its_session in _processes():
        parents[pid] = parent
        if marks <= set(environ.split(b"\0")) or (session is not None and its_session == session):
            found.add(pid)
    grown = True
    while grown:  # children of members, even those that threw their environment away
        more = {pid for pid, parent in parents.items() if parent in found} - found
        found |= more
        grown = bool(more)
    return found - {os.getpid()}


def _processes() -> Iterator[tuple[int, bytes, int, int]]:
    """The id, environment, parent and session of each process that is no zombie and may be looked into."""
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        with suppress(OSError):
            environ = (entry / "environ").read_bytes()
            state, parent, _, session = (entry / "stat").read_text().rpartition(")")[2].split()[:4]
            if state not in "ZX":
                yield int(entry.name), environ, int(parent), int(session)


def send(pids: set[int], number: int) -> None:
    """Send the signal `number` to those of `pids` that are left."""
    for pid in pids:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


def sweep(directory: Path, job: str | None = None, session: int | None = None, patience: float = 10.0) -> set[int]:
    """Kill until nothing is left, or `patience` seconds are over; what is left then."""
    deadline = time.monotonic() + patience
    while (left := members(directory, job, session)) and time.monotonic() < deadline:
        send(left, signal.SIGKILL)
        time.sleep(0.005)
    return left
