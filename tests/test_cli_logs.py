"""`asyncflow logs`: what tasks of a run have printed and logged, as a user asks for it."""

import subprocess
import sys
from textwrap import dedent

import pytest

from conftest import eventually
from gates import Gate
from terminal import asyncflow

WORKFLOW = dedent("""
    import asyncio, logging, pathlib, sys, time
    from asyncflow import WorkflowEngine

    CONFIG = {"cluster": {"kind": "local", "processes": False, "n_workers": 1, "threads_per_worker": 2,
                          "dashboard_address": None, "memory_limit": 0}}

    async def main(mode):
        async with WorkflowEngine.create(CONFIG, uid=mode, work_dir="runs") as flow:
            @flow.function_task(capture_stdio=True)
            def talk(number):
                print("out", number)
                print("err", number, file=sys.stderr)
                logging.getLogger("mine").warning("logged %s", number)

            @flow.function_task(capture_stdio=True)
            def fail():
                for line in range(30):
                    print("line", line)
                raise ArithmeticError("no such number")

            @flow.function_task
            def silent():
                return 1

            @flow.function_task(capture_stdio=True, retries=1, retry_delay=0)
            def wait(begun=pathlib.Path("begun")):
                if not begun.exists():
                    begun.touch()
                    print("first")
                    raise ArithmeticError("once")
                print("second", flush=True)
                while not pathlib.Path("gate").exists():
                    time.sleep(0.01)
                print("third")

            if mode == "waits":
                return await wait()
            await asyncio.gather(talk(1), talk(2), silent())
            if mode == "fails":
                await asyncio.wait([fail()])

    asyncio.run(main(sys.argv[1]))
""")


@pytest.fixture
def script(tmp_path):
    """A workflow: ``ends``, ``fails``, or ``waits`` for a gate, as its argument says; that is its run's name, too."""
    file = tmp_path / "campaign.py"
    file.write_text(WORKFLOW)
    return file


@pytest.fixture
def run(script, tmp_path):
    """Run it to its end."""

    def _run(mode):
        subprocess.run([sys.executable, script, mode], cwd=tmp_path, check=True, capture_output=True, timeout=60)
        return tmp_path / "runs" / mode

    return _run


def ids(run, name):
    return sorted(path.name for path in (run / "tasks").glob(f"{name}-*"))


def test_one_task_is_shown(run):
    """By id, by the end of it or by name, all streams or some; of a name the newest call."""
    path = run("ends")
    first, _ = ids(path, "talk")
    out, _ = asyncflow("logs", path, first, "--stdout")
    number = out.split()[1]
    assert out == f"out {number}\n"
    assert asyncflow("logs", path, first[-6:], "--stderr", "-n", 2)[0] == f"err {number}\nlogged {number}\n"
    out, _ = asyncflow("logs", path, "talk")
    assert out.startswith("==> talk-")
    assert "out 2\n" in out
    assert "err 2\n" in out
    assert "WARNING mine: logged 2\n" in out
    assert asyncflow("logs", path, "talk", "--log", "--stdout")[0].count("==>") == 2


def test_without_a_name_there_is_a_table_of_what_there_is(run, tmp_path):
    """Where nothing failed: which calls wrote how much; runs are found by name, too."""
    run("ends")
    out, _ = asyncflow("logs", "ends", "--work-dir", tmp_path / "runs")
    head, *rows = out.splitlines()
    assert head.split() == ["call", "task", "state", "stdout", "stderr", "log"]
    assert [row.split()[1:6] for row in rows] == [["talk", "done", "6", "B", "15"]] * 2


def test_without_a_name_failed_tasks_are_shown(run):
    """The end of what each wrote, with its error and its traceback."""
    path = run("fails")
    out, _ = asyncflow("logs", path)
    assert "failed: ArithmeticError: no such number" in out
    assert "line 29\n" in out
    assert "line 19\n" not in out
    assert "Traceback" in out
    assert "talk" not in out
    assert asyncflow("logs", path, "-n", 1, "--stdout")[0].endswith("<==\nline 29\n")


def test_what_is_not_there_says_what_to_do(run):
    """A task that was not captured, one that does not exist, an id that is part of several."""
    path = run("ends")
    _, err = asyncflow("logs", path, "silent", status=1)
    assert "capture_stdio=True" in err
    _, err = asyncflow("logs", path, "tolk", status=2)
    assert "did you mean 'talk'" in err
    common = next(path.glob("tasks/*")).name.rpartition("-")[2][:10]
    _, err = asyncflow("logs", path, common, status=2)
    assert "give more of the id, or a name" in err
    _, err = asyncflow("logs", path, "-f", status=2)
    assert "-f follows one task" in err
    _, err = asyncflow("logs", path / "nowhere", status=2)
    assert "there is no run" in err


def _second_attempt(run):
    """Wait until the journal tells of the task, too, which what it writes may come before; where output lies."""
    tasks = run / "tasks"
    assert eventually(lambda: any(file.read_text() == "second\n" for file in tasks.glob("wait-*/stdout")), 30)
    assert eventually(lambda: '"running"' in (run / "journal.jsonl").read_text())
    return tasks


def test_following_goes_on_until_the_task_is_over(script, tmp_path):
    """Over attempts, while it runs, and no longer; what was there before is shown first."""
    gate = Gate(tmp_path / "gate")
    with subprocess.Popen([sys.executable, script, "waits"], cwd=tmp_path) as driver:
        tasks = _second_attempt(tmp_path / "runs" / "waits")
        words = [sys.executable, "-m", "asyncflow", "logs", tmp_path / "runs" / "waits", "wait", "-f", "--stdout"]
        with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as follower:
            assert follower.stdout.readline() == "second\n"
            gate.open()
            assert follower.stdout.read() == "third\n"
        assert follower.returncode == 0
    assert driver.returncode == 0
    (first,) = tasks.glob("wait-*/stdout.1")
    assert first.read_text() == "first\n"


def test_following_ends_with_the_run(script, tmp_path):
    """Where the driver was killed, nothing more can come."""
    with subprocess.Popen([sys.executable, script, "waits"], cwd=tmp_path) as driver:
        _second_attempt(tmp_path / "runs" / "waits")
        driver.kill()
    _, err = asyncflow("logs", tmp_path / "runs" / "waits", "wait", "-f")
    assert "came to no end" in err
