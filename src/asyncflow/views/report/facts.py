"""What a run directory says of a run, for the head of its report."""

import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from asyncflow.errors import RunDirectoryError
from asyncflow.runs.history import History
from asyncflow.runs.listing import look_at
from asyncflow.runs.record import read_record


@dataclass(frozen=True)
class Facts:
    """The head.

    Attributes
    ----------
    name : str
        Of the run.
    rows : dict of str to str
        What there is to say, by what it is.
    config : str
        Its configuration, as YAML.
    notes : list of str
        What the reader has to know of the journal.
    """

    name: str
    rows: Mapping[str, str]
    config: str = ""
    notes: list[str] = field(default_factory=list)


def facts_of(directory: Path, history: History, sessions: str) -> Facts:
    """Of the run at `directory`, whose journal is `history`; a damaged record is a note and no error."""
    notes = [] if history.is_whole else ["Some lines of the journal could not be read; what they told is missing here."]
    record: Mapping[str, Any] = {}
    try:
        record = read_record(directory)
    except RunDirectoryError as error:
        notes.append(str(error))
    listed = look_at(directory)
    began = history.began if history.began is not None else history.last
    ended = history.ended if history.ended is not None else history.last
    count = max(history.session, record.get("session", 0))
    rows = {
        "state": _state(str(listed.state) if listed is not None else "unknown", history),
        "began": _when(began),
        "ended" if history.ended is not None else "last heard of": f"{_when(ended)}, after {duration(ended - began)}",
        "session": f"all {count}" if sessions == "all" else f"{history.session} of {count}",
        "calls": counts(history),
        "workers": _workers(history),
        "command": " ".join(map(str, record.get("command", ()))),
        "host": f"{record.get('user', '')}@{record.get('host', '')}" if record else "",
        "directory": str(directory),
        "versions": ", ".join(f"{name} {each}" for name, each in record.get("versions", {}).items() if each),
    }
    config = record.get("config") or {}
    text = yaml.safe_dump(config, sort_keys=False, width=120) if config else ""
    return Facts(directory.name, {name: told for name, told in rows.items() if told}, text, notes)


def counts(history: History) -> str:
    """How many calls there are, and what came of them."""
    states = Counter(str(call.state) for call in history.calls.values())
    told = ", ".join(f"{count:,} {state}" for state, count in states.most_common())
    return f"{sum(states.values()):,}: {told}" if states else "none"


def duration(seconds: float) -> str:
    """For people: ``3.21 s``, ``4 m 05 s``, ``2 h 03 m``."""
    if seconds < 60:
        return f"{seconds:.3g} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} m {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} m"


def _state(state: str, history: History) -> str:
    return f"{state} ({history.reason})" if history.reason else state


def _workers(history: History) -> str:
    workers = history.workers.values()
    if not workers:
        return ""
    hosts = len({worker.host for worker in workers})
    jobs = f", {len(history.jobs):,} jobs" if history.jobs else ""
    slots = sum(worker.slots for worker in workers)
    return f"{len(workers):,} with {slots:,} slots, on {hosts:,} host{'s' * (hosts > 1)}{jobs}"


def _when(at: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S %z", time.localtime(at))
