"""How a driver ends when SIGTERM tells it to: what runs may end, nothing else begins, and the run goes on later."""

import asyncio
import logging
import re
import signal
import subprocess
import sys
from collections import Counter
from textwrap import dedent

import pytest

from asyncflow import TaskState
from asyncflow.runs import read_journal
from conftest import eventually, open_engine
from gates import Gate, Notes, until

#: Six calls, two at a time: each says that it began, and ends when its gate is open.
CAMPAIGN = """
    import asyncio, pathlib, signal, time
    from asyncflow import WorkflowEngine

    signal.signal(signal.SIGINT, signal.default_int_handler)  # the suite may run in a shell's background

    here = pathlib.Path.cwd()

    def note(line):
        with open(here / "began", "a") as file:
            file.write(line + "\\n")

    async def main():
        async with WorkflowEngine.create(checkpoint=True) as flow:
            @flow.function_task(version="1")
            def body(number):
                note(f"body {number}")
                while not (here / f"go-{number}").exists():
                    time.sleep(0.01)
                return number

            @flow.executable_task(cwd=str(here))
            def command(number):
                return ["sh", "-c", f"echo command {number} >> began; until test -e go-{number}; do sleep 0.01; done; "
                        f"echo {number}"]

            calls = [body(0), command(1)]
            while any(call.state == "PENDING" for call in calls):
                await asyncio.sleep(0.01)
            calls += [body(2), command(3), body(4)]
            try:
                print(await asyncio.gather(*calls), flush=True)
            finally:
                print("closing", [call.state.lower() for call in calls], flush=True)

    asyncio.run(main())
"""

LOCAL = "cluster: {kind: local, n_workers: 1, threads_per_worker: 2, dashboard_address: null}"


class Driver:
    """``asyncflow run`` of a script in a directory, as process."""

    def __init__(self, directory, *words):
        self.directory = directory
        self.began = Notes(directory / "began")
        words = [sys.executable, "-m", "asyncflow", "run", "--resume=it", "--config=c.yaml", *words, "script.py"]
        self.process = subprocess.Popen(
            words,
            cwd=directory,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def open(self, *numbers):
        for number in numbers:
            Gate(self.directory / f"go-{number}").open()

    def runs(self, *calls):
        """Wait until exactly these calls have begun, and the driver knows it."""

        def states():
            entries = self.journal()
            session = max((entry.session for entry in entries), default=0)
            return Counter(entry.state for entry in entries if entry.session == session)

        assert eventually(lambda: states()["running"] == len(calls) and states()["keyed"] == 5, 30), self.began.lines
        assert sorted(self.began.lines[-len(calls) :]) == sorted(calls)

    def send(self, number):
        self.process.send_signal(number)

    def says(self, text):
        """Wait for a line on standard error."""
        line = self.process.stderr.readline()
        while text not in line:
            assert line, f"{text} never came"
            line = self.process.stderr.readline()
        return line

    def end(self, status):
        """Wait for its end; both streams."""
        out, err = self.process.communicate(timeout=60)
        assert self.process.returncode == status, out + err
        return out, err

    def journal(self):
        return list(read_journal(self.directory / "asyncflow-runs" / "it" / "journal.jsonl"))


@pytest.fixture
def driver(tmp_path):
    """Start drivers of the campaign, one after the other."""
    (tmp_path / "script.py").write_text(dedent(CAMPAIGN))
    (tmp_path / "c.yaml").write_text(LOCAL)
    started = []

    def _driver(*words):
        started.append(Driver(tmp_path, *words))
        return started[-1]

    yield _driver
    for each in started:
        each.process.kill()
        each.process.communicate()


def test_what_runs_ends_and_nothing_else_begins(driver):
    """After SIGTERM running functions and commands end and are kept, others never begin; resuming does just those."""
    first = driver()
    first.runs("body 0", "command 1")
    first.send(signal.SIGTERM)
    first.says("what runs has 30 s to end, and nothing else begins")
    first.says("2 calls that run may end within 30 s; no other begins")
    first.open(0, 1, 2, 3, 4)
    out, err = first.end(143)
    assert out == "closing ['done', 'done', 'cancelled', 'cancelled', 'cancelled']\n"
    assert re.search(r"to go on with it: asyncflow run --resume it --work-dir \S+ --config \S+c.yaml script.py\n", err)
    *_, told, end = [entry for entry in first.journal() if not entry.key]
    assert (told.state, told.facts) == ("terminated", {"grace": 30.0})
    assert end.state == "ended"
    assert (end.facts["reason"], end.facts["kept"]) == ("terminated", 2)
    assert end.facts["counts"]["cancelled"] == 3
    second = driver()
    assert second.end(0)[0].startswith("[0, '1\\n', 2, '3\\n', 4]\n")
    assert Counter(second.began.lines) == Counter(["body 0", "command 1", "body 2", "command 3", "body 4"])


def test_what_still_runs_after_the_grace_is_cancelled(driver):
    """What has ended by then is kept, the rest is not; further SIGTERMs change nothing."""
    first = driver("--grace=2s")
    first.runs("body 0", "command 1")
    first.send(signal.SIGTERM)
    first.says("what runs has 2 s to end")
    first.send(signal.SIGTERM)
    first.open(0)
    assert eventually(lambda: any(entry.state == "done" for entry in first.journal()))
    first.send(signal.SIGTERM)
    first.says("1 calls still run after 2 s, and are cancelled")
    assert "'done'" in first.end(143)[0]
    second = driver()
    second.open(1, 2, 3, 4)
    assert second.end(0)[0].startswith("[0, '1\\n', 2, '3\\n', 4]\n")
    assert Counter(second.began.lines)["body 0"] == 1
    assert Counter(second.began.lines)["command 1"] == 2


def test_ctrl_c_ends_the_grace_period_at_once(driver):
    """What runs is cancelled, and the exit status is still that of SIGTERM."""
    first = driver("--grace=1h")
    first.runs("body 0", "command 1")
    first.send(signal.SIGTERM)
    first.says("what runs has 3600 s to end")
    first.send(signal.SIGINT)
    first.open(0)  # a body in a thread cannot be killed
    assert "closing" in first.end(143)[0]


@pytest.mark.parametrize(
    ("words", "number", "status"), [(["--grace=0"], signal.SIGTERM, 143), ([], signal.SIGINT, 130)]
)
def test_without_a_grace_period_what_runs_is_cancelled_at_once(driver, words, number, status):
    """With ``--grace 0``, and for Ctrl-C; how to resume is said in both cases."""
    first = driver(*words)
    first.runs("body 0", "command 1")
    first.send(number)
    first.open(0)
    out, err = first.end(status)
    assert out == "closing ['cancelled', 'cancelled', 'cancelled', 'cancelled', 'cancelled']\n"
    assert "to go on with it: asyncflow run --resume it" in err
    assert not any(entry.state == "terminated" for entry in first.journal())


def test_the_journal_says_at_once_that_the_driver_is_ended(driver):
    """A driver that is killed before its grace is over leaves that line, and what ended until then."""
    first = driver()
    first.runs("body 0", "command 1")
    first.send(signal.SIGTERM)
    assert eventually(lambda: first.journal()[-1].state == "terminated")
    first.open(0)
    assert eventually(lambda: first.journal()[-1].state == "done")
    first.send(signal.SIGKILL)
    first.end(-9)
    second = driver()
    second.open(1, 2, 3, 4)
    assert second.end(0)[0].startswith("[0, '1\\n', 2, '3\\n', 4]\n")
    assert Counter(second.began.lines)["body 0"] == 1


def test_the_environment_sets_the_grace_and_nonsense_is_refused(driver, monkeypatch):
    """``ASYNCFLOW_GRACE`` counts where ``--grace`` is not given; exit status 2 for what is no duration."""
    monkeypatch.setenv("ASYNCFLOW_GRACE", "soon")
    assert "ASYNCFLOW_GRACE: 'soon' is not a duration" in driver().end(2)[1]
    assert "--grace: 'later' is not a duration" in driver("--grace=later").end(2)[1]


async def forgotten(client, keys):
    """Wait until no worker knows these calls any more."""

    def known(dask_worker):
        return [key for key in keys if key in dask_worker.state.tasks]

    while any((await asyncio.to_thread(client.run, known)).values()):
        await asyncio.sleep(0.005)


@pytest.mark.parametrize(("kind", "cores"), [("dask", 2), ("threads", 2)])
async def test_shutdown_with_grace_lets_running_calls_end(kind, cores, tmp_path, caplog):
    """Of three calls the two that run come to their end, and the one behind them never begins."""
    caplog.set_level(logging.INFO, "asyncflow")
    gate, notes = Gate(tmp_path / "gate"), Notes(tmp_path / "notes")

    async with open_engine(kind) as flow:

        @flow.function_task(cores=cores)
        def body(number):
            notes.add(number)
            gate.wait()
            return number

        calls = [body(number) for number in range(3)]
        await until(lambda: sum(call.state is TaskState.RUNNING for call in calls) == 2)
        keys = [call.id for call in calls if call.state is TaskState.PENDING]
        client = calls[0].dask_future.client if kind == "dask" else None
        shutdown = asyncio.create_task(flow.shutdown(grace=60))
        await until(lambda: "may end within 60 s; no other begins" in caplog.text)
        late = body(3)
        if kind == "dask":
            await forgotten(client, keys)
        gate.open()
        await shutdown
        assert Counter(call.state for call in calls) == {TaskState.DONE: 2, TaskState.CANCELLED: 1}
        assert late.state is TaskState.CANCELLED
        assert len(notes.lines) == 2


async def test_a_shutdown_whose_grace_is_over_cancels_what_runs():
    """A coroutine that never ends is cancelled."""
    async with open_engine("threads") as flow:

        @flow.function_task
        async def endless():
            await asyncio.Event().wait()

        call = endless()
        await until(lambda: call.state is TaskState.RUNNING)
        await flow.shutdown(grace=0.05)
        assert call.state is TaskState.CANCELLED


async def test_the_end_of_a_shut_down_engine_is_not_taken_for_that_of_its_calls(tmp_path):
    """Who waits with ``drain`` for all calls waits on while some are held back, and dependents do not fail."""
    gate = Gate(tmp_path / "gate")
    async with open_engine("threads") as flow:

        @flow.function_task(cores=4)
        def body(number):
            gate.wait()
            return number

        first = body(1)
        second = body(first)
        await until(lambda: first.state is TaskState.RUNNING)
        drained = asyncio.create_task(flow.drain())
        shutdown = asyncio.create_task(flow.shutdown(grace=60))
        await asyncio.sleep(0)
        gate.open()
        await until(lambda: first.state is TaskState.DONE)
        assert not drained.done() or second.state is TaskState.CANCELLED
        await shutdown
        await drained
        assert second.state is TaskState.CANCELLED
