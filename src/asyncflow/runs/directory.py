"""A run: its directory, begun once and resumed any number of times."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from asyncflow.errors import RunDirectoryError
from asyncflow.events import Event, SessionEnded, TaskQueued, TaskResolved, TaskStarted, TaskSubmitted
from asyncflow.runs.journal import Journal
from asyncflow.runs.log import RunLog
from asyncflow.runs.owner import Ownership
from asyncflow.runs.record import read_record, write_record

JOURNAL = "journal.jsonl"


class Run:
    """``<work_dir>/<name>/``, for its owner's eyes only, driven by this process until `close`.

    Whoever made it goes on in this order: take the results over with `token`, then list them. A result that the
    workers of an earlier session write after that is refused, so the list misses nothing that is kept.

    Attributes
    ----------
    name : str
        Of the run, and of its directory.
    path : Path
        Of the directory.
    session : int
        1 where it was begun, one more each time it is resumed.
    token : str
        What workers of this session are known by beside the results.
    resumed : bool
        Whether there was a session before.
    journal : Journal
        What happens in it.
    log : RunLog
        What the ``asyncflow`` logger says of it.
    logs, tasks, results : Path
        What lies in them says their name; `make` makes them.
    store_url : str
        Where the results lie: `results`, unless told otherwise.
    """

    def __init__(self, path: Path, ownership: Ownership, journal: Journal, log: RunLog, results: str | None) -> None:
        self.name = path.name
        self.path = path
        self.session = ownership.owner.session
        self.token = ownership.owner.token
        self.resumed = self.session > 1
        self.journal = journal
        self.logs = path / "logs"
        self.tasks = path / "tasks"
        self.results = path / "results"
        self.store_url = results or str(self.results)
        self.log = log
        self._ownership = ownership

    @classmethod
    def begin(
        cls,
        work_dir: str | os.PathLike[str],
        name: str,
        *,
        resume: bool = False,
        config: Mapping[str, Any] | None = None,
        results: str | None = None,
    ) -> "Run":
        """Begin the run `name`, or with `resume` go on with it, which begins it where it does not exist.

        Parameters
        ----------
        config : mapping, optional
            The configuration, for the record, without values of the environment.
        results : str, optional
            A directory or URL for results, if not below the run.

        Raises
        ------
        RunDirectoryError
            When it exists and is not to be resumed, another driver has it, a file of it is damaged, or its directory
            cannot be written.
        """
        path = Path(work_dir).expanduser().absolute() / checked_name(name)
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            earlier = read_record(path)
            ownership = Ownership.claim(path, earlier.get("session", 0), resume=resume)
            try:
                write_record(path, earlier, ownership.owner, config or {}, results)
                logs = path / "logs"
                logs.mkdir(mode=0o700, exist_ok=True)
                log = RunLog(logs / f"session-{ownership.owner.session}.log")
                journal = Journal(path / JOURNAL, ownership.owner.session)
            except BaseException:
                ownership.release()
                raise
        except OSError as error:
            raise RunDirectoryError(
                f"run {name} cannot be kept in {path} ({error}); set work_dir=, --work-dir or ASYNCFLOW_WORK_DIR to a "
                "directory that you may write",
                str(error.filename or path),
            ) from error
        return cls(path, ownership, journal, log, results)

    def note(self, event: Event) -> None:
        """Write `event` into the journal, if it says what no other line does."""
        if is_written(event):
            self.journal.take(event)

    def make(self, name: str) -> Path:
        """The subdirectory `name`, made where it is not there yet.

        Raises
        ------
        OSError
            When it cannot be.
        """
        path = self.path / name
        path.mkdir(mode=0o700, exist_ok=True)
        return path

    def close(self) -> None:
        """Write what is left to log and journal, and give the run up. Safe to call again, and never raises."""
        self.log.close()
        self.journal.close()
        self._ownership.release()

    def __repr__(self) -> str:
        """The directory and the session."""
        return f"<Run {self.path}, session {self.session}>"


def is_written(event: Event) -> bool:
    """Whether the journal has a line for `event`: calls have as few as tell all."""
    if isinstance(event, TaskQueued):
        return event.state == "no-worker"
    if isinstance(event, TaskStarted):
        return not event.is_late
    return not isinstance(event, (TaskResolved, TaskSubmitted, SessionEnded))


def checked_name(name: str) -> str:
    """`name`, if a run may be called so.

    Raises
    ------
    RunDirectoryError
        When it is no name of a directory that is seen.
    """
    if not name or name.startswith(".") or "/" in name or not name.isprintable() or len(os.fsencode(name)) > 200:
        raise RunDirectoryError(
            f"a run cannot be called {name!r}; give a name without slashes that does not begin with a dot, of at most "
            "200 bytes"
        )
    return name
