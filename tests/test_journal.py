"""The journal of a run: cheap to write, whole up to its last line, readable whatever became of it."""

import asyncio
import errno
import json
import logging
import math
import os
import signal
import subprocess
import sys

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from asyncflow.runs import journal as journal_module
from asyncflow.runs import read_journal
from asyncflow.runs.entries import LINE
from asyncflow.runs.journal import Journal
from asyncflow.runs.journal import Line as Event
from conftest import eventually


@pytest.fixture
def journals(tmp_path):
    """Open journals of one file, which the test need not close."""
    opened = []

    def _open(session=1):
        opened.append(Journal(tmp_path / "journal.jsonl", session))
        return opened[-1]

    yield _open
    for each in opened:
        each.close()


def event(number, kind="called", **facts):
    return Event(1700000000.0 + number, kind, f"task-{number}", "task", facts)


def told(path):
    return [(entry.session, entry.state, entry.key) for entry in read_journal(path)]


def test_a_session_is_written_from_its_beginning_to_its_end(journals):
    """In order, with time, session, state, key, name and facts; the end counts the states."""
    journal = journals()
    journal.take(event(1, attempt=1))
    journal.take(event(1, "done"))
    journal.close()
    begun, called, done, ended = read_journal(journal.path)
    assert (begun.state, begun.facts["pid"]) == ("begun", os.getpid())
    assert called == (1700000001.0, 1, "called", "task-1", "task", {"attempt": 1})
    assert done.state == "done"
    assert (ended.state, ended.facts["counts"]) == ("ended", {"called": 1, "done": 1})


def test_lines_are_there_while_the_run_goes_on(journals):
    """Nothing need be closed for others to read it."""
    journal = journals()
    journal.take(event(1))
    assert eventually(lambda: told(journal.path) == [(1, "begun", ""), (1, "called", "task-1")])


async def test_taking_an_event_does_not_block_the_loop(journals):
    """The user's loop hands it over, and a thread writes."""
    journal = await asyncio.to_thread(journals)
    for number in range(100):
        journal.take(event(number))


def test_a_quiet_journal_does_nothing(journals, monkeypatch):
    """Its thread sleeps until something happens: no write without an event."""
    journal = journals()
    writes = []
    write = journal._write
    monkeypatch.setattr(journal, "_write", lambda events: (writes.append(len(events)), write(events)))
    for number in range(50):
        journal.take(event(number))
    assert eventually(lambda: sum(writes) == 50)
    assert len(writes) <= 3


def test_closing_twice_and_taking_afterwards_is_harmless(journals):
    """Late events of workers have nowhere to go."""
    journal = journals()
    journal.close()
    journal.close()
    journal.take(event(1))
    assert told(journal.path) == [(1, "begun", ""), (1, "ended", "")]


class Odd:
    def __repr__(self):
        raise ValueError("cannot be shown")


def test_facts_that_json_does_not_know_do_no_harm(journals):
    """They become text, or are left out by name; the line stays valid JSON."""
    circle = []
    circle.append(circle)
    journal = journals()
    odd = [Odd(), circle, math.nan, {(1, 2): 3}, b"bytes", "\udc80", {1, 2}, ValueError("no")]
    for number, value in enumerate(odd):
        journal.take(event(number, odd=value))
    journal.take(event(99, long="x" * LINE))
    journal.close()
    entries = read_journal(journal.path)
    assert [entry.key for entry in entries if entry.key] == [f"task-{number}" for number in [*range(8), 99]]
    assert entries.damaged == 0
    for line in journal.path.read_text().splitlines():
        json.loads(line, parse_constant=pytest.fail)
        assert len(line) < LINE


def test_a_torn_last_line_harms_no_other(journals):
    """A session that resumes after it starts on a fresh line; one line is counted as damaged."""
    journal = journals()
    journal.take(event(1))
    journal.close()
    with journal.path.open("ab") as file:
        file.write(b'{"time":1,"sess')
    again = journals(2)
    again.take(event(2))
    again.close()
    entries = read_journal(again.path)
    assert [(entry.session, entry.state) for entry in entries] == [
        (1, "begun"),
        (1, "called"),
        (1, "ended"),
        (2, "begun"),
        (2, "called"),
        (2, "ended"),
    ]
    assert entries.damaged == 1


def written(path):
    """A journal of two sessions with facts of all sorts."""
    for session in (1, 2):
        journal = Journal(path, session)
        for number in range(20):
            journal.take(event(number, text='"}\n{"' * number, name="ü", value={"deep": [number]}))
        journal.close()
    return path.read_bytes()


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The bytes of a whole journal."""
    return written(tmp_path_factory.mktemp("whole") / "journal.jsonl")


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_a_cut_leaves_all_whole_lines(whole, tmp_path, data):
    """Wherever the file ends, what was whole before is read, in order, and nothing else."""
    cut = data.draw(st.integers(0, len(whole)))
    file = tmp_path / "cut.jsonl"
    file.write_bytes(whole[:cut])
    lines = whole[:cut].count(b"\n")
    entries = read_journal(file)
    found = [entry._asdict() for entry in entries]
    assert len(found) - lines in {0, 1}  # the last line may lack its end only
    assert len(found) + entries.damaged - lines in {0, 1}
    full = [json.loads(line) for line in whole.splitlines()]
    assert [(each["time"], each["state"]) for each in found] == [
        (each["time"], each["state"]) for each in full[: len(found)]
    ]


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_damage_costs_the_lines_that_it_is_in(whole, tmp_path, data):
    """Bytes that are flipped, wherever they are, spoil their own lines at most, and raise nothing."""
    place = data.draw(st.integers(0, len(whole) - 1))
    byte = data.draw(st.integers(1, 255))
    damaged = bytearray(whole)
    damaged[place] ^= byte
    file = tmp_path / "damaged.jsonl"
    file.write_bytes(damaged)
    entries = read_journal(file)
    found = len(list(entries))
    assert found >= whole.count(b"\n") - 2  # a line's end may have gone, which joins two
    assert found + entries.damaged <= whole.count(b"\n") + 1


def test_without_a_file_nothing_is_read(tmp_path):
    """A journal is for people: nobody fails for want of it."""
    assert list(read_journal(tmp_path / "none")) == []


def test_a_killed_driver_leaves_whole_lines(tmp_path):
    """SIGKILL while it writes as fast as it can: all lines but the last are whole and in order."""
    path = tmp_path / "journal.jsonl"
    code = """if True:
        import itertools, pathlib, sys, time
        from asyncflow.runs.journal import Journal, Line
        journal = Journal(pathlib.Path(sys.argv[1]), 1)
        for number in itertools.count():
            journal.take(Line(time.time(), "called", f"task-{number}", "task", {"text": "x" * (number % 500)}))
    """
    for _ in range(3):
        before = path.stat().st_size if path.exists() else 0
        with subprocess.Popen([sys.executable, "-c", code, str(path)], stderr=subprocess.PIPE) as driver:
            try:
                assert eventually(lambda size=before: path.exists() and path.stat().st_size > size + 200_000)
            finally:
                driver.send_signal(signal.SIGKILL)
            driver.wait()
    entries = read_journal(path)
    sessions = []
    for entry in entries:
        if entry.state == "begun":
            sessions.append([])
        elif entry.state == "called":
            sessions[-1].append(int(entry.key.partition("-")[2]))
    assert entries.damaged <= 3
    assert len(sessions) == 3
    for numbers in sessions:
        assert numbers == sorted(numbers)
        assert len(numbers) > 100


class Disk:
    """Stands in for ``os.write`` on a disk that may be full."""

    def __init__(self, monkeypatch):
        self.room = math.inf
        self._write = os.write
        monkeypatch.setattr(journal_module.os, "write", self.write)

    def write(self, descriptor, data):
        if self.room <= 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        taken = int(min(self.room, len(data)))
        self.room -= taken
        return self._write(descriptor, data[:taken])


def test_a_full_disk_fails_nothing(journals, monkeypatch, caplog):
    """It is warned of once; the lines lost are counted in the file as soon as there is room, and at the end."""
    disk = Disk(monkeypatch)
    journal = journals()
    size = journal.path.stat().st_size
    disk.room = 0
    for number in range(2):
        journal.take(event(number))
        assert eventually(lambda number=number: journal.dropped == number + 1)
    assert journal.path.stat().st_size == size
    disk.room = math.inf
    journal.take(event(2))
    with caplog.at_level(logging.WARNING, "asyncflow"):
        journal.close()
    entries = read_journal(journal.path)
    assert [(entry.state, entry.key, entry.facts.get("lines")) for entry in entries] == [
        ("begun", "", None),
        ("dropped", "", 2),
        ("called", "task-2", None),
        ("ended", "", None),
    ]
    assert entries.damaged == 0
    warnings = [record.getMessage() for record in caplog.records]
    assert len(warnings) == 2
    assert "cannot be written ([Errno 28] No space left on device); the run goes on" in warnings[0]
    assert "lacks 2 lines" in warnings[1]


@pytest.mark.parametrize("room", range(0, 400, 23))
def test_a_disk_that_fills_up_within_a_batch_tears_one_line(journals, monkeypatch, room):
    """Whole lines before it count as written; what follows starts on a fresh line."""
    disk = Disk(monkeypatch)
    journal = journals()
    disk.room = room
    journal._write([event(number) for number in range(3)])
    kept = sum(journal.counts.values())
    assert kept + journal.dropped == 3
    disk.room = math.inf
    journal.take(event(3))
    journal.close()
    entries = read_journal(journal.path)
    keys = [entry.key for entry in entries if entry.key]
    assert keys == [*(f"task-{number}" for number in range(kept)), "task-3"]
    assert entries.damaged <= 1


def test_a_slow_disk_does_not_fill_memory(journals, monkeypatch):
    """What waits is bounded; the rest is dropped, and counted."""
    monkeypatch.setattr(journal_module, "WAITING", 10)
    journal = journals()
    for number in range(1000):
        journal.take(event(number))
    journal.close()
    called = sum(entry.state == "called" for entry in read_journal(journal.path))
    assert called + journal.dropped == 1000
    assert called < 1000
