"""A driver that is killed and resumed does what was missing, and nothing twice that was finished."""

import os
import random
import signal
import subprocess
import sys
from collections import Counter
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from distributed import LocalCluster

from asyncflow.runs import list_runs, read_journal
from asyncflow.runs.listing import RunState
from asyncflow.store import ResultStore
from conftest import eventually
from gates import Gate, Notes, is_alive

TESTS = Path(__file__).parent
TASKS = 300
KILLS = 5
THREADS = 4  # of both workers

sys.path.append(str(TESTS / "drivers"))
import campaign  # noqa: E402


class Campaign:
    """A run in `place` whose driver is a process of its own, and what its bodies have said."""

    def __init__(self, place, script="campaign.py"):
        place.mkdir(exist_ok=True)
        self.script = script
        self.work_dir = place / "runs"
        self.log, self.keys, self.errors = place / "log", place / "keys", place / "errors"
        self.keys.mkdir()
        self.session = 0
        self.workers = []

    def drive(self, *words):
        """Start a driver."""
        self.session += 1
        environ = {
            **os.environ,
            "CAMPAIGN_LOG": str(self.log),
            "CAMPAIGN_KEYS": str(self.keys),
            "CAMPAIGN_SESSION": str(self.session),
            "PYTHONPATH": str(TESTS),
        }
        command = [sys.executable, str(TESTS / "drivers" / self.script), str(self.work_dir), *words]
        with self.errors.open("a") as errors:
            return subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, stderr=errors, text=True)

    def finish(self, *words):
        """Drive to the end; what the driver prints."""
        driver = self.drive(*words)
        try:
            printed, _ = driver.communicate(timeout=90)
        finally:
            driver.kill()
            driver.wait()
        assert driver.returncode == 0, self.errors.read_text()
        return printed.strip()

    def kill_when(self, driver, condition, *, with_workers=False):
        """Kill the driver with SIGKILL as soon as `condition()` holds; its workers may live on, or are killed as well."""
        try:
            assert eventually(lambda: condition() or driver.poll() is not None, 60)
            assert driver.poll() is None, self.errors.read_text()
            workers = psutil.Process(driver.pid).children(recursive=True)
            for worker in workers if with_workers else ():  # stopped, so that they neither end nor begin anything
                with suppress(psutil.NoSuchProcess):
                    worker.suspend()
            self.workers += workers
        finally:
            driver.send_signal(signal.SIGKILL)
            driver.wait()
            driver.stdout.close()
        if with_workers:
            self.end()

    @property
    def starts(self):
        """One entry a body that began: task, session, whether its own result was there."""
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        return [tuple(map(int, line.split())) for line in lines]

    def unkept(self):
        """The tasks that have begun and whose results are not there."""
        return {task for task, *_ in self.starts if not Path((self.keys / str(task)).read_text()).exists()}

    def know_keys_of(self, other):
        """Tell bodies, and this test, where the result of each task will be: equal calls have equal keys."""
        entries = list(read_journal(other.work_dir / "campaign" / "journal.jsonl"))
        keys = {entry.name: entry.facts["result"] for entry in entries if entry.state == "keyed"}
        assert len(keys) == TASKS
        for name, key in keys.items():
            (self.keys / name.removeprefix("task")).write_text(str(self.work_dir / "campaign" / "results" / key))

    def end(self):
        """End what killed drivers left; workers would end by themselves, only later."""
        for worker in self.workers:
            with suppress(psutil.NoSuchProcess):
                worker.kill()
        assert eventually(lambda: not any(is_alive(worker.pid) for worker in self.workers))


@pytest.fixture
def killed(tmp_path):
    """A campaign whose drivers will be killed."""
    run = Campaign(tmp_path / "killed")
    yield run
    run.end()


@pytest.fixture
def fenced(tmp_path):
    """A run of three tasks that wait in the first session."""
    run = Campaign(tmp_path / "fenced", "fenced.py")
    yield run
    run.end()


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_campaign_killed_five_times_does_only_what_is_missing(killed, tmp_path):
    """No body begins after its own result was kept, and no more begin than there are tasks and calls cut off.

    In turns the workers of the killed driver live on, as on other machines, or die with it, as on its own.
    """
    whole = Campaign(tmp_path / "whole")
    assert whole.finish("threads") == str(campaign.serial())
    assert len(whole.starts) == TASKS
    killed.know_keys_of(whole)

    seed = random.randrange(10**6)
    sys.stdout.write(f"seed {seed}\n")
    rng = random.Random(seed)
    cut = []
    for kill in range(KILLS):
        line = 50 * kill + rng.randrange(10, 50)
        driver = killed.drive("processes")
        killed.kill_when(driver, lambda: len(killed.starts) >= line, with_workers=kill % 2 == 1)  # noqa: B023
        cut.append(killed.unkept())
    assert killed.finish("processes") == str(campaign.serial())

    starts = killed.starts
    sys.stdout.write(f"{len(starts)} starts of {TASKS} tasks; cut off by the kills: {[len(each) for each in cut]}\n")
    assert {task for task, *_ in starts} == set(range(TASKS))
    assert not [each for each in starts if each[2]], "bodies began although their results were kept"
    assert len(starts) <= TASKS + sum(map(len, cut))
    assert max(map(len, cut)) <= 2 * THREADS  # those that ran, and those that took their place before the workers knew
    assert max(Counter(each[:2] for each in starts).values()) == 1, "a task began twice in one session"

    assert killed.finish("processes") == str(campaign.serial())
    assert len(killed.starts) == len(starts)
    entries = list(read_journal(killed.work_dir / "campaign" / "journal.jsonl"))
    assert [entry.session for entry in entries if entry.state == "begun"] == list(range(1, KILLS + 3))
    assert list_runs(killed.work_dir)[0].state is RunState.ENDED


def test_what_an_earlier_worker_finishes_late_is_not_kept(fenced):
    """What a killed driver had begun, on workers that live on, is not kept once the run has been resumed."""
    place = fenced.log.parent
    notes, gate, session = Notes(fenced.log), Gate(place / "gate"), place / "session"
    with LocalCluster(
        n_workers=1, threads_per_worker=8, processes=False, protocol="tcp", dashboard_address=":0"
    ) as cluster:
        words = (cluster.scheduler_address, str(place))
        session.write_text("1")
        fenced.kill_when(fenced.drive(*words), lambda: len(notes.lines) == 3)
        session.write_text("2")
        assert fenced.finish(*words) == "of 2 of 2 of 2"
        assert Counter(line[2:] for line in notes.lines) == {"begins in 1": 3, "begins in 2": 3, "ends in 2": 3}
        gate.open()
        assert eventually(lambda: len(notes.lines) == 12, 20)  # on their worker, which still is there
        worker = next(iter(cluster.workers.values()))
        assert eventually(lambda: not worker.state.executing_count and not worker.state.tasks)
        session.write_text("3")
        assert fenced.finish(*words) == "of 2 of 2 of 2"
    assert len(notes.lines) == 12
    store = ResultStore(fenced.work_dir / "campaign" / "results")
    kept = list(map(store.read, store.keys()))
    assert [(each.value, each.facts["session"]) for each in kept] == [("of 2", 2)] * 3
