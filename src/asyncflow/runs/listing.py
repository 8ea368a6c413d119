"""The runs below a directory: how each stands, and what came of its calls."""

import os
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from asyncflow.errors import RunDirectoryError
from asyncflow.runs.directory import JOURNAL
from asyncflow.runs.entries import BEGUN, read_end, read_journal
from asyncflow.runs.owner import OWNER, Owner, lives, read_owner
from asyncflow.runs.record import RECORD, read_record

#: States after which a call is over; what is found is done as well.
_OVER = ("done", "failed", "cancelled")


class RunState(StrEnum):
    """What became of the last session of a run."""

    RUNNING = "running"  #: its driver lives
    ENDED = "ended"  #: its driver gave it up in order
    KILLED = "killed"  #: its driver died
    UNKNOWN = "unknown"  #: its driver is on another host, and nothing tells whether it lives
    DAMAGED = "damaged"  #: a file of it is


@dataclass
class Listed:
    """One run, as it stands.

    Attributes
    ----------
    name : str
        Of the run.
    path : Path
        Of its directory.
    state : RunState
        Of its last session.
    about : str
        What is damaged; else who drives it, or did last.
    sessions : int
        How often it was begun and resumed.
    counts : mapping of str to int
        How often each state was reached in the last session.
    changed : float
        When something was written last, in seconds since the epoch.
    """

    name: str
    path: Path
    state: RunState
    about: str = ""
    sessions: int = 0
    counts: Mapping[str, int] = field(default_factory=dict)
    changed: float = 0.0

    @property
    def unfinished(self) -> int:
        """Calls of the last session that came to no end."""
        return max(0, self.counts.get("called", 0) - sum(self.counts.get(state, 0) for state in _OVER))

    @property
    def is_resumable(self) -> bool:
        """Whether there is something to go on with: its driver is gone, and not every call was done."""
        if self.state is RunState.KILLED:
            return True
        left = self.unfinished + self.counts.get("failed", 0) + self.counts.get("cancelled", 0)
        return self.state in {RunState.ENDED, RunState.UNKNOWN} and left > 0


def list_runs(work_dir: str | os.PathLike[str]) -> list[Listed]:
    """All runs below `work_dir`, the one that changed last first; none where it does not exist."""
    try:
        paths = [path for path in Path(work_dir).expanduser().absolute().iterdir() if path.is_dir()]
    except FileNotFoundError:
        return []
    return sorted(filter(None, map(look_at, paths)), key=lambda run: -run.changed)


def look_at(path: Path) -> Listed | None:
    """The run whose directory is `path`; None where that is no run."""
    names = (RECORD, OWNER, JOURNAL)
    if not any((path / name).is_file() for name in names):
        return None
    try:
        owner = read_owner(path)
        record = read_record(path)
        state = state_of(path, owner)
        about = str(owner or "")
        sessions = max(record.get("session", 0), owner.session if owner else 0)
    except (RunDirectoryError, OSError) as error:
        state, about, sessions = RunState.DAMAGED, str(error), 0
    counts: Mapping[str, int] = {}
    with suppress(OSError):
        counts = _counts(path / JOURNAL)
    return Listed(path.name, path, state, about, sessions, counts, _changed([path / name for name in names]))


def state_at(path: Path) -> RunState:
    """What became of the last session of the run at `path`."""
    try:
        return state_of(path, read_owner(path))
    except (RunDirectoryError, OSError):
        return RunState.DAMAGED


def state_of(path: Path, owner: Owner | None) -> RunState:
    """What became of the last session of the run at `path`, which `owner` drives, or did last."""
    if owner is None:  # its file was deleted: nobody drives it
        return RunState.KILLED
    if owner.ended is not None:
        return RunState.ENDED
    alive = lives(path, owner)
    return {True: RunState.RUNNING, False: RunState.KILLED, None: RunState.UNKNOWN}[alive]


def _counts(journal: Path) -> Mapping[str, int]:
    """Of the last session, which has told them itself if it ended in order."""
    end = read_end(journal)
    if end is not None and isinstance(told := end.facts.get("counts"), dict):
        return {state: count for state, count in told.items() if isinstance(count, int)}
    counts: Counter[str] = Counter()
    for entry in read_journal(journal):
        if entry.state == BEGUN:
            counts.clear()
        elif entry.key:
            counts[entry.state] += 1
    return counts


def _changed(paths: list[Path]) -> float:
    times = [0.0]
    for path in paths:
        with suppress(OSError):
            times.append(path.stat().st_mtime)
    return max(times)
