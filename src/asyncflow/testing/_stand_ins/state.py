"""The state of a stand-in: one JSON file, changed under a lock and written whole."""

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

#: Plain data: commands start faster without dataclasses.
Job = dict[str, Any]
State = dict[str, Any]

WAITING = frozenset({"Q", "PEND"})
RUNNING = frozenset({"R", "RUN"})
FINISHED = frozenset({"F", "DONE", "EXIT"})

#: How each system calls it.
QUEUED = {"pbs": "Q", "lsf": "PEND"}
STARTED = {"pbs": "R", "lsf": "RUN"}


def read(directory: Path) -> State:
    """The state as it is now; writers replace the file, so that it is always whole."""
    state: State = json.loads((directory / "state.json").read_text(encoding="utf-8"))
    return state


def write(directory: Path, state: State) -> None:
    """Replace the state; for who holds the lock, or is alone."""
    fresh = directory / "state.json.new"
    fresh.write_text(json.dumps(state), encoding="utf-8")
    fresh.replace(directory / "state.json")


@contextmanager
def change(directory: Path) -> Iterator[State]:
    """The state, to be changed in place while nobody else can; not written when the block raises or changes nothing."""
    with (directory / "lock").open("a", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        state = read(directory)
        before = json.dumps(state)
        yield state
        if json.dumps(state) != before:
            write(directory, state)


def wake(directory: Path) -> None:
    """Let the server look at once; nobody need be there."""
    with suppress(OSError):
        pipe = os.open(directory / "wake", os.O_WRONLY | os.O_NONBLOCK)
        try:
            os.write(pipe, b".")
        finally:
            os.close(pipe)


def find(state: State, name: str) -> Job | None:
    """The job called ``12`` or ``12.server``."""
    return next((job for key, job in state["jobs"].items() if name in {key, key.split(".", 1)[0]}), None)


def new_job(state: State, **facts: Any) -> Job:
    """A job that waits, with the next number."""
    number, state["next"] = state["next"], state["next"] + 1
    job: Job = {
        "id": f"{number}.server" if state["system"] == "pbs" else str(number),
        "number": number,
        "state": QUEUED[state["system"]],
        "comment": "",
        "nodes": [],
        "submitted": time.time(),
        "started": None,
        "ended": None,
        "exit_status": None,
        "pid": None,
        "runs": 0,
        "kill": None,
        "lost": None,
        **facts,
    }
    state["jobs"][job["id"]] = job
    return job


def file_of(directory: Path, job: Job, kind: str) -> Path:
    """Where the server keeps a thing of `job`: its script ``SC``, environment ``env`` or output ``OU`` and ``ER``."""
    return directory / "jobs" / f"{job['id']}.{kind}"


def keep(directory: Path, job: Job, script: str, env: dict[str, str]) -> None:
    """Copy what was submitted: its files may be gone when the job starts."""
    file_of(directory, job, "SC").write_text(script, encoding="utf-8")
    file_of(directory, job, "env").write_text(json.dumps(env), encoding="utf-8")


def spend(state: State, fault: str, command: str) -> dict[str, Any] | None:
    """What `fault` says to `command`, taking one from the times it happens; None where it does not."""
    told: dict[str, Any] | None = state["faults"].get(fault)
    if told is None or command not in told["commands"]:
        return None
    if told["times"] is not None:
        told["times"] -= 1
        if told["times"] <= 0:
            del state["faults"][fault]
    return told
