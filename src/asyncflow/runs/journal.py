"""The writer of a journal: what happens in a run, one line of JSON each."""

import json
import logging
import os
import threading
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

from asyncflow.runs.entries import BEGUN, DROPPED, ENDED, LINE
from asyncflow.runs.sealed import plain

logger = logging.getLogger("asyncflow")

#: Seconds that an event waits for others to be written with it.
PAUSE = 0.1

#: Events that wait at most; further ones are dropped, and counted.
WAITING = 100_000

#: Events that one write holds at most.
BATCH = 1000

#: Seconds that closing waits for a disk that does not answer.
PATIENCE = 10.0


class Told(Protocol):
    """What a line is made of: any `asyncflow.events.Event`, and any `Line`."""

    @property
    def time(self) -> float:
        """Seconds since the epoch."""

    @property
    def kind(self) -> str:
        """What the line calls its state."""

    @property
    def key(self) -> str:
        """The call that it is about."""

    @property
    def name(self) -> str:
        """The task that it is about."""

    @property
    def facts(self) -> Mapping[str, Any]:
        """All else."""


class Line(NamedTuple):
    """What the journal itself has to say."""

    time: float
    kind: str
    key: str = ""
    name: str = ""
    facts: Mapping[str, Any] = MappingProxyType({})


class Journal:
    """The file at `path`, to which one thread of its own appends in batches.

    Nothing that goes wrong with the file fails the run: what cannot be written is counted, warned of once, and noted
    in the file as soon as it can be written again.

    Attributes
    ----------
    path : Path
        Of the file.
    counts : Counter of str
        How often each state was written in this session.
    dropped : int
        How many lines were not.
    ending : dict of str
        What its last line says beside the counts; whoever drives the run puts it there before `close`.
    """

    def __init__(self, path: Path, session: int) -> None:
        self.path = path
        self.counts: Counter[str] = Counter()
        self.dropped = 0
        self.ending: dict[str, Any] = {}
        self._session = session
        self._waiting: SimpleQueue[Told | None] = SimpleQueue()  # None is the end
        self._overflow = 0
        self._closing = threading.Event()
        self._encoder = json.JSONEncoder(default=str, allow_nan=False, separators=(",", ":"))
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._is_torn = _ends_within_a_line(path)
        self._untold = 0
        self._write([Line(time.time(), BEGUN, facts={"pid": os.getpid()})])
        self._thread = threading.Thread(target=self._work, name=f"Journal-{path.parent.name}", daemon=True)
        self._thread.start()

    def take(self, event: Told) -> None:
        """Write it soon; from any thread. Its facts must not change until then. Never raises and never waits."""
        if self._closing.is_set():
            return
        if self._waiting.qsize() < WAITING:
            self._waiting.put(event)
        else:
            self._overflow += 1

    def close(self) -> None:
        """Write what waits, and the end of the session. Safe to call again, and never raises."""
        if self._closing.is_set():
            return
        self._closing.set()
        self._waiting.put(None)
        self._thread.join(PATIENCE)
        if self._thread.is_alive():
            logger.warning("%s cannot be written for %g s; its end is missing", self.path, PATIENCE)
        elif self.dropped:
            logger.warning("%s lacks %d lines that could not be written", self.path, self.dropped)

    def _work(self) -> None:
        """Write until the end."""
        while self._write_some():
            pass
        self._write([Line(time.time(), ENDED, facts={"counts": dict(self.counts), **self.ending})])
        os.close(self._file)

    def _write_some(self) -> bool:
        """Sleep until something happens, and write it together with what follows at once; whether there may be more.

        On its own, so that what was written is not held while nothing happens.
        """
        batch = [self._waiting.get()]
        if batch[0] is not None:
            self._closing.wait(PAUSE)
        batch += [self._waiting.get_nowait() for _ in range(self._waiting.qsize())]
        events = [event for event in batch if event is not None]
        for start in range(0, len(events), BATCH):
            self._write(events[start : start + BATCH])
        return len(events) == len(batch)

    def _write(self, events: list[Told]) -> None:
        overflow, self._overflow = self._overflow, 0
        if overflow:
            self._drop(overflow, "more happens than it takes")
        if self._untold:
            events = [Line(time.time(), DROPPED, facts={"lines": self._untold}), *events]
        lines = [self._line(event) for event in events]
        data = (b"\n" if self._is_torn else b"") + b"".join(lines)
        try:
            written = os.write(self._file, data)
        except OSError as error:
            self._drop(len([event for event in events if event.kind != DROPPED]), str(error))
            return
        if written == len(data):
            self._is_torn, self._untold = False, 0
            self.counts.update(event.kind for event in events if event.key)
        else:
            self._settle_short(events, lines, written - self._is_torn)

    def _settle_short(self, events: list[Told], lines: list[bytes], written: int) -> None:
        """The disk took `written` bytes of `lines` and is full: some lines are whole, one may be torn."""
        whole = 0
        while written >= len(lines[whole]):
            written -= len(lines[whole])
            whole += 1
        self._is_torn = self._is_torn if written < 0 else written > 0
        self.counts.update(event.kind for event in events[:whole] if event.key)
        if whole and events[0].kind == DROPPED:
            self._untold = 0
        self._drop(len([event for event in events[whole:] if event.kind != DROPPED]), "the disk is full")

    def _drop(self, lines: int, reason: str) -> None:
        if not self.dropped:
            logger.warning("%s cannot be written (%s); the run goes on without these lines", self.path, reason)
        self.dropped += lines
        self._untold += lines

    def _line(self, event: Told) -> bytes:
        entry: dict[str, Any] = {"time": round(event.time, 3), "session": self._session, "state": event.kind}
        if event.key:
            entry |= {"key": event.key, "name": event.name}
        if event.facts:
            entry["facts"] = event.facts
        try:
            line = self._encoder.encode(entry)
        except Exception:  # keys that are no text, circles, NaN, objects that cannot even be shown
            line = json.dumps({**entry, "facts": _writable(event.facts)})
        if len(line) > LINE:
            line = json.dumps({**entry, "facts": {"cut": f"{len(line)} bytes"}})
        return line.encode() + b"\n"


def _ends_within_a_line(path: Path) -> bool:
    """Whether a line was torn when its writer was killed: the next one must not be joined to it."""
    with path.open("rb") as file:
        if not file.seek(0, os.SEEK_END):
            return False
        file.seek(-1, os.SEEK_END)
        return file.read(1) != b"\n"


def _writable(facts: Mapping[str, Any]) -> Any:
    """`facts` as plain data, whatever is in them."""
    with suppress(Exception):  # of an object that cannot be shown, or that contains itself
        told = plain(facts)
        json.dumps(told, allow_nan=False)
        return told
    return {"unwritable": [str(name) for name in facts]}
