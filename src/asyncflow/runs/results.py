"""The kept results of one run: which there are, why a call was not among them, and which may go."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from asyncflow.errors import CorruptResultError
from asyncflow.identity import explain
from asyncflow.runs.directory import JOURNAL
from asyncflow.runs.entries import BEGUN, read_journal
from asyncflow.runs.record import read_record
from asyncflow.store import ResultStore

#: Calls of one task that are explained; a changed function has thousands that ran again for one reason.
EXPLAINED = 100


@dataclass
class KeptResult:
    """A file of the store.

    Attributes
    ----------
    key : str
        What it is called.
    name : str
        The task; empty where it is damaged.
    size : int
        Bytes of the file.
    made : float
        When, in seconds since the epoch; 0 where it is damaged.
    session : int
        Which wrote it.
    parts : mapping of str to str
        What the call was.
    problem : str
        What is damaged; empty where nothing is known to be.
    """

    key: str
    size: int
    name: str = ""
    made: float = 0.0
    session: int = 0
    parts: Mapping[str, str] = field(default_factory=dict)
    problem: str = ""


class Miss(NamedTuple):
    """A call of the last session whose result was not kept: its key, what was, and why that was another."""

    key: str
    nearest: str
    reasons: list[str]


class LastSession:
    """What the journal says of the checkpointed calls of the last session.

    Attributes
    ----------
    calls : dict of str to (str, mapping)
        The name and the parts of each, by the key of its result.
    found : set of str
        The keys whose results were kept already.
    corrupt : list of str
        What was said of those that were damaged.
    """

    def __init__(self, directory: Path) -> None:
        self.calls: dict[str, tuple[str, Mapping[str, str]]] = {}
        self.found: set[str] = set()
        self.corrupt: list[str] = []
        for entry in read_journal(directory / JOURNAL):
            result = entry.facts.get("result")
            if entry.state == BEGUN:
                self.calls, self.found, self.corrupt = {}, set(), []
            elif entry.state == "keyed" and isinstance(result, str) and isinstance(entry.facts.get("parts"), dict):
                self.calls[result] = (entry.name, entry.facts["parts"])
            elif entry.state == "found" and isinstance(result, str):
                self.found.add(result)
            elif entry.state == "corrupt":
                self.corrupt.append(str(entry.facts))

    def ran(self, task: str) -> Iterator[tuple[str, Mapping[str, str]]]:
        """The calls of `task` that were not found: the key and the parts of each."""
        for key, (name, parts) in self.calls.items():
            if name == task and (key not in self.found or self.is_corrupt(key)):
                yield key, parts

    def is_corrupt(self, key: str) -> bool:
        """Whether the result of that key was damaged, or gone."""
        return any(key in text for text in self.corrupt)


def store_of(directory: Path) -> ResultStore:
    """Where the run at `directory` keeps its results.

    Raises
    ------
    RunDirectoryError
        When its record is damaged.
    """
    return ResultStore(read_record(directory).get("results") or str(directory / "results"))


def kept_results(store: ResultStore, *, whole: bool = False) -> list[KeptResult]:
    """All of them, by name and age; `whole` reads each to its end, which alone shows every damage."""
    found = (_kept(store, key, size, whole=whole) for key, size in store.keys().items())
    return sorted(filter(None, found), key=lambda kept: (kept.name, kept.made, kept.key))


def misses(task: str, last: LastSession, kept: Iterable[KeptResult], session: int) -> list[Miss]:
    """Why calls of `task` ran in the last `session`: what of each differs from the result that is most like it."""
    earlier = [each for each in kept if each.name == task and each.session != session and not each.problem]
    told: list[Miss] = []
    for key, parts in last.ran(task):
        if len(told) == EXPLAINED:
            break
        if last.is_corrupt(key):
            told.append(Miss(key, key, ["its kept result was damaged or gone"]))
        elif not earlier:
            told.append(Miss(key, "", [f"no result of {task} from an earlier session is kept"]))
        else:
            nearest = min(earlier, key=lambda each: _distance(parts, each.parts))
            reasons = explain(parts, nearest.parts) or ["its result came after the session had listed what is kept"]
            told.append(Miss(key, nearest.key, reasons))
    return told


def to_prune(
    kept: Iterable[KeptResult], *, before: float | None = None, used: Iterable[str] | None = None
) -> dict[str, str]:
    """Which may go, and why each: damaged ones; those made `before`; those that are not `used`, where that is given."""
    needed = None if used is None else set(used)
    reasons = {}
    for each in kept:
        if each.problem:
            reasons[each.key] = "damaged"
        elif before is not None and each.made < before:
            reasons[each.key] = "old"
        elif needed is not None and each.key not in needed:
            reasons[each.key] = "unused"
    return reasons


def _kept(store: ResultStore, key: str, size: int, *, whole: bool) -> KeptResult | None:
    try:
        facts = store.verify(key) if whole else store.header(key)
    except CorruptResultError as error:
        return KeptResult(key, size, problem=str(error))
    if facts is None:  # it has gone since the listing
        return None
    problem = "" if size > facts["size"] else f"{store.path(key)} is cut off"
    parts = facts.get("parts") or {}
    return KeptResult(key, size, str(facts.get("name", "")), facts["made"], facts.get("session", 0), parts, problem)


def _distance(parts: Mapping[str, str], older: Mapping[str, str]) -> int:
    return sum(parts.get(name) != older.get(name) for name in {*parts, *older})
