"""A run looked at again and again, each time reading what its journal has more."""

import time
from pathlib import Path

from asyncflow.errors import RunDirectoryError
from asyncflow.runs.answers import Scene
from asyncflow.runs.directory import JOURNAL
from asyncflow.runs.entries import BEGUN, Tail
from asyncflow.runs.history import History
from asyncflow.runs.listing import RunState, state_of
from asyncflow.runs.owner import Owner, read_owner


class Following:
    """The last session of the run at `directory`, as it goes on.

    Attributes
    ----------
    history : History
        What happened by the last look.
    owner : Owner or None
        Who drives it, or did last.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.history = History()
        self.owner: Owner | None = None
        self._tail = Tail(directory / JOURNAL)

    def look(self) -> Scene:
        """Read on; when that was, and how the run stands."""
        try:
            self.owner = read_owner(self.directory)
            state = state_of(self.directory, self.owner)  # first: what ended before the look is read by it
        except (RunDirectoryError, OSError):
            state = RunState.DAMAGED
        for entry in self._tail:
            if entry.state == BEGUN:
                self.history = History()
            self.history.take(entry)
        if self._tail.damaged:
            self.history.is_whole = False
        now = time.time() if state in {RunState.RUNNING, RunState.UNKNOWN} else self.history.last
        return Scene(now, state, str(self.owner or "nobody that is known"), self.directory)
