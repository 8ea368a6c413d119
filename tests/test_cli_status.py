"""``asyncflow status`` and ``asyncflow why``: as a user calls them, on runs that go on, have ended or were killed."""

import json
import signal
import subprocess
import sys
from textwrap import dedent

import pytest

from conftest import eventually
from terminal import asyncflow

WORKFLOW = dedent("""
    import asyncio, os, pathlib, signal, time
    from asyncflow import WorkflowEngine

    CONFIG = {"cluster": {"kind": "local", "processes": False, "n_workers": 1, "threads_per_worker": 2,
                          "dashboard_address": None, "memory_limit": 0}}

    async def main():
        async with WorkflowEngine.create(CONFIG) as flow:
            @flow.function_task
            def prepare(seed):
                if seed == 3:
                    raise ValueError("three is odd")
                return seed

            @flow.function_task
            def simulate(value):
                while not pathlib.Path("gate").exists():
                    time.sleep(0.02)
                return value

            @flow.function_task
            def merge(*values):
                return len(values)

            values = [prepare(seed) for seed in range(5)]
            await asyncio.gather(*values, merge(*values), return_exceptions=True)
            runs = [simulate(seed) for seed in range(4)]
            print(await merge(*runs), flush=True)
            while not pathlib.Path("end").exists():
                await asyncio.sleep(0.02)

    asyncio.run(main())
""")


@pytest.fixture
def place(tmp_path):
    """A directory with the workflow in it."""
    (tmp_path / "campaign.py").write_text(WORKFLOW)
    return tmp_path


@pytest.fixture
def campaign(place):
    """The run ``one``, which is held while two of its calls run."""
    words = [sys.executable, "-m", "asyncflow", "run", "--run-id", "one", "campaign.py"]
    with (place / "out").open("w") as out:
        driver = subprocess.Popen(words, cwd=place, stdout=out, stderr=out, stdin=subprocess.DEVNULL)
    assert eventually(lambda: counts(place).get("running") == 2, 30), (place / "out").read_text()
    yield driver
    if driver.poll() is None:
        driver.kill()
    driver.wait()


def status(place):
    return json.loads(asyncflow("status", "one", "--json", cwd=place)[0])


def counts(place):
    if not (place / "asyncflow-runs" / "one" / "journal.jsonl").exists():
        return {}
    return status(place)["counts"]


def why(place, task):
    return json.loads(asyncflow("why", "one", task, "--json", cwd=place)[0])


def test_a_run_that_goes_on_is_told_from_its_journal(campaign, place):
    """State, driver, calls by name, workers, what runs longest, what failed; and the same of one call."""
    assert eventually(lambda: counts(place).get("done") == 4)
    out, err = asyncflow("status", "one", cwd=place)
    assert err == ""
    assert out.startswith(f"run one: running, session 1, driven by process {campaign.pid} on ")
    assert "4 of 11 calls are done (3 waiting, 2 running, 4 done, 2 failed)\n" in out
    lines = [line.split() for line in out.splitlines()]
    assert ["simulate", "2", "2", "0", "0", "0", "0", "0"] in lines
    assert any(
        line[:6] == ["merge", "1", "0", "0", "0", "1"] and line[6:9] == ["(1", "for", "others)"] for line in lines
    )
    assert ["local", "1", "2", "of", "2", "busy"] in lines
    assert any(line[:1] != [] and line[0].startswith("simulate-") and "worker" in line for line in lines)
    assert "ValueError: three is odd" in out
    data = status(place)
    assert (data["state"], data["session"], data["whole"]) == ("running", 1, True)
    assert [each["name"] for each in data["tasks"]] == ["prepare", "merge", "simulate"]
    assert data["pools"][0]["pool"]["name"] == "local"
    assert data["failures"][0]["name"] == "prepare"

    answer = why(place, "merge")
    assert (answer["reason"], answer["state"], answer["others"]) == ("inputs", "waiting", 1)
    assert answer["root"].startswith("simulate-")
    out, _ = asyncflow("why", "one", "prepare", cwd=place)
    assert ": it failed: ValueError: three is odd; it ran for " in out
    assert "there are 4 other calls of prepare; give an id for another of them\n" in out


def test_a_run_is_watched_to_its_end(campaign, place):
    """Look by look, until nothing changes any more."""
    words = [sys.executable, "-m", "asyncflow", "status", "one", "--watch", "--json"]
    with subprocess.Popen(words, cwd=place, stdout=subprocess.PIPE, text=True) as watch:
        first = json.loads(watch.stdout.readline())
        (place / "gate").touch()
        (place / "end").touch()
        rest = [json.loads(line) for line in watch.stdout]
    assert watch.returncode == 0
    assert (first["state"], first["counts"]["running"]) == ("running", 2)
    assert (rest[-1]["state"], rest[-1]["counts"]) == ("ended", {"done": 9, "failed": 2})
    assert campaign.wait() == 0
    assert why(place, "merge")["reason"] == "upstream"


def test_a_run_that_was_killed_says_what_was_going_on(campaign, place):
    """And how to go on."""
    campaign.send_signal(signal.SIGKILL)
    campaign.wait()
    assert status(place)["state"] == "killed"
    answer = why(place, "simulate")
    assert answer["reason"] == "cut-off"
    assert "go on with asyncflow run --resume one" in answer["text"]


def test_what_is_no_run_or_no_call_is_refused(campaign, place):
    """With what was probably meant, and exit status 2."""
    _, err = asyncflow("status", "ones", cwd=place, status=2)
    assert "did you mean 'one'?" in err
    _, err = asyncflow("why", "one", "simulat-", cwd=place, status=2)
    assert err.startswith(
        "no call of the last session is called 'simulat-', or has that in its id; did you mean 'simulate'?"
    )
    (place / "asyncflow-runs" / "none").mkdir()
    _, err = asyncflow("status", "none", cwd=place, status=2)
    assert "has no journal" in err


def test_on_a_terminal_it_is_drawn(campaign, place):
    """As tables."""
    command = f"{sys.executable} -m asyncflow status one"
    done = subprocess.run(
        ["script", "-qec", command, "/dev/null"], cwd=place, capture_output=True, text=True, check=True
    )
    assert "─" in done.stdout
    assert "simulate" in done.stdout
