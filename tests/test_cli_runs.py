"""``asyncflow run --run-id`` and ``--resume``, ``asyncflow runs`` and ``asyncflow results``: as a user calls them."""

import json
import signal
import subprocess
import sys
from textwrap import dedent

import pytest

from asyncflow.cli import _runs
from asyncflow.store import ResultStore
from conftest import eventually
from terminal import asyncflow

WORKFLOW = dedent("""
    import asyncio, os, pathlib, sys
    from asyncflow import WorkflowEngine

    CONFIG = {"cluster": {"kind": "local", "processes": False, "n_workers": 1, "threads_per_worker": 2,
                          "dashboard_address": None, "memory_limit": 0}}
    FACTOR, mode = int(sys.argv[1]), sys.argv[2:]

    async def main():
        async with WorkflowEngine.create(CONFIG) as flow:
            @flow.function_task(checkpoint=True)
            def prepare(seed):
                return seed

            @flow.function_task(checkpoint=True)
            def scale(value):
                return value * FACTOR

            @flow.function_task
            def wait():
                pathlib.Path("waiting").touch()
                import time
                time.sleep(600)

            values = await asyncio.gather(*[scale(prepare(seed)) for seed in (1, 2)])
            print(values, flush=True)
            if mode:
                await wait()

    asyncio.run(main())
""")


@pytest.fixture
def script(tmp_path):
    """A workflow that scales two numbers by its argument, and with a second argument then waits."""
    file = tmp_path / "campaign.py"
    file.write_text(WORKFLOW)
    return file.name


def names(directory):
    return sorted(path.name for path in directory.iterdir())


def listed(tmp_path):
    return {run["name"]: run for run in json.loads(asyncflow("runs", "--json", cwd=tmp_path)[0])}


def test_a_run_is_named_and_gone_on_with(script, tmp_path):
    """The second time nothing that is kept is computed; both times it is said how to go on."""
    out, err = asyncflow("run", "--run-id", "one", script, "2", cwd=tmp_path)
    assert out == "[2, 4]\n"
    words = f"asyncflow run --resume one --work-dir {tmp_path}/asyncflow-runs campaign.py -- 2"
    assert f"asyncflow: this was run one; to go on with it: {words}\n" in err
    out, _ = asyncflow("run", script, "2", "--resume", "one", cwd=tmp_path)
    assert out == "[2, 4]\n"
    run = listed(tmp_path)["one"]
    assert (run["state"], run["sessions"], run["counts"]["found"], run["resumable"]) == ("ended", 2, 4, False)


def test_a_run_without_a_name_gets_one(script, tmp_path):
    """Of the script and the time; the last line of standard error tells it, and it works."""
    _, err = asyncflow("run", "--work-dir", "here", script, "2", cwd=tmp_path)
    (name,) = names(tmp_path / "here")
    assert name.startswith("campaign-20")
    last = err.splitlines()[-1]
    assert f"this was run {name};" in last
    words = last.partition("go on with it: asyncflow ")[2].split()
    assert asyncflow(*words, cwd=tmp_path)[0] == "[2, 4]\n"
    assert json.loads(asyncflow("runs", "--json", "--work-dir", "here", cwd=tmp_path)[0])[0]["sessions"] == 2


def test_resuming_begins_what_does_not_exist(script, tmp_path):
    """The same command serves the first time."""
    assert asyncflow("run", "--resume", "new", script, "2", cwd=tmp_path)[0] == "[2, 4]\n"
    assert listed(tmp_path)["new"]["sessions"] == 1


def test_a_name_that_is_taken_is_refused(script, tmp_path):
    """With what to give instead; exit status 2."""
    asyncflow("run", "--run-id", "one", script, "2", cwd=tmp_path)
    out, err = asyncflow("run", "--run-id", "one", script, "2", cwd=tmp_path, status=2)
    assert not out
    assert "run one exists already in" in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--run-id", "a", "--resume", "b"], "give one of them"),
        (["--run-id", "a/b"], "a run cannot be called 'a/b'"),
        (["--resume", ".."], "a run cannot be called '..'"),
    ],
)
def test_names_are_checked_before_the_script_begins(script, tmp_path, words, message):
    """By run and by submit; exit status 2."""
    out, err = asyncflow("run", *words, script, "2", cwd=tmp_path, status=2)
    assert (out, message in err) == ("", True)
    (tmp_path / "c.yaml").write_text("cluster: {kind: slurm, cores: 1, memory: 1GB}")
    _, err = asyncflow("submit", "-c", "c.yaml", "--time", "1h", *words, script, cwd=tmp_path, status=2)
    assert message in err


def test_a_script_without_an_engine_has_no_run(tmp_path):
    """No directory, and nothing is said."""
    (tmp_path / "plain.py").write_text("print('hello')")
    assert asyncflow("run", "plain.py", cwd=tmp_path) == ("hello\n", "")
    assert names(tmp_path) == ["plain.py"]


def test_the_environment_names_a_run_as_well(script, tmp_path):
    """As for a script that python runs; options win."""
    asyncflow("run", script, "2", cwd=tmp_path, ASYNCFLOW_RUN_ID="mine", ASYNCFLOW_WORK_DIR="there")
    asyncflow(
        "run", script, "2", "--resume", "other", cwd=tmp_path, ASYNCFLOW_RUN_ID="mine", ASYNCFLOW_WORK_DIR="there"
    )
    assert names(tmp_path / "there") == ["mine", "other"]


def test_a_submitted_script_has_its_run(script, tmp_path):
    """The job's command line names it."""
    (tmp_path / "c.yaml").write_text("cluster: {kind: slurm, cores: 1, memory: 1GB}")
    words = ["--resume", "one", "--work-dir", "there", "--dry-run"]
    out, _ = asyncflow("submit", "-c", "c.yaml", "--time", "1h", script, "2", *words, cwd=tmp_path)
    assert f"--work-dir={tmp_path}/there --resume=one campaign.py -- 2" in out


def test_a_killed_driver_is_gone_on_with(script, tmp_path):
    """``kill -9`` loses nothing that was kept, and the list of runs knows what happened."""
    words = [sys.executable, "-m", "asyncflow", "run", "--run-id", "one", script, "2", "wait"]
    with subprocess.Popen(words, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as driver:
        try:
            assert eventually((tmp_path / "waiting").exists, 60)
            running = asyncflow("runs", cwd=tmp_path)[0]
        finally:
            driver.send_signal(signal.SIGKILL)
    assert running.splitlines()[1].split()[:3] == ["one", "running", "1"]
    run = listed(tmp_path)["one"]
    assert (run["state"], run["resumable"], run["counts"]["done"], run["unfinished"]) == ("killed", True, 4, 1)
    assert asyncflow("run", "--resume", "one", script, "2", cwd=tmp_path)[0] == "[2, 4]\n"
    assert listed(tmp_path)["one"]["counts"]["found"] == 4


def test_without_runs_the_list_says_where_it_looked(tmp_path):
    """For a wrong --work-dir."""
    assert asyncflow("runs", cwd=tmp_path) == (f"there are no runs in {tmp_path}/asyncflow-runs\n", "")
    assert json.loads(asyncflow("runs", "--json", cwd=tmp_path)[0]) == []


@pytest.fixture
def kept(script, tmp_path):
    """A run of two sessions, of which the second had another factor: two results of prepare, four of scale."""
    asyncflow("run", "--run-id", "one", script, "2", cwd=tmp_path)
    asyncflow("run", "--resume", "one", script, "3", cwd=tmp_path)
    return ResultStore(tmp_path / "asyncflow-runs" / "one" / "results")


def test_kept_results_are_listed(kept, tmp_path):
    """Task, key, size, age and state; by name or by path."""
    out, _ = asyncflow("results", "one", cwd=tmp_path)
    head, *lines = [line.split() for line in out.splitlines()]
    assert head == ["task", "result", "size", "age", "state"]
    assert [(line[0], line[-1]) for line in lines] == [("prepare", "ok")] * 2 + [("scale", "ok")] * 4
    assert {line[1] for line in lines} == set(kept.keys())
    data = json.loads(asyncflow("results", "asyncflow-runs/one", "--json", cwd=tmp_path)[0])
    assert [each["session"] for each in data] == [1] * 4 + [2] * 2


def test_a_miss_is_explained(kept, tmp_path):
    """What of each call that ran differs from the kept result that is most like it."""
    out, _ = asyncflow("results", "one", "--why", "scale", cwd=tmp_path)
    assert len(out.splitlines()) == 2
    for line in out.splitlines():
        key, told = line.split(": ", 1)
        assert kept.header(key)
        assert told.startswith("global 'FACTOR' changed (nearest: scale-")
    assert "all were kept" in asyncflow("results", "one", "--why", "prepare", cwd=tmp_path)[0]
    _, err = asyncflow("results", "one", "--why", "scales", cwd=tmp_path, status=2)
    assert "did you mean 'scale'?" in err


def test_a_damaged_result_is_told_and_computed_again(kept, script, tmp_path):
    """It is listed as damaged, made again by the next session, and that is explained."""
    damaged = next(key for key in list(kept.keys()) if kept.header(key)["name"] == "scale")
    file = tmp_path / "asyncflow-runs" / "one" / "results" / damaged
    file.write_bytes(file.read_bytes()[:-5])
    factor = "2" if kept.header(damaged)["session"] == 1 else "3"
    assert asyncflow("results", "one", cwd=tmp_path)[0].count(" ok\n") >= 5
    out, _ = asyncflow("run", "--resume", "one", script, factor, cwd=tmp_path)
    assert out == ("[2, 4]\n" if factor == "2" else "[3, 6]\n")
    out, _ = asyncflow("results", "one", "--why", "scale", cwd=tmp_path)
    assert out.startswith(f"{damaged}: its kept result was damaged or gone")


def test_pruning_removes_what_is_damaged_old_or_unused(kept, tmp_path):
    """It says what it removes; a dry run removes nothing."""
    results = tmp_path / "asyncflow-runs" / "one" / "results"
    first = [key for key in list(kept.keys()) if kept.header(key)["session"] == 1]
    unused = {key for key in first if key.startswith("scale-")}
    (results / ".half-written.0123456789abcdef").write_text("x")
    out, _ = asyncflow("results", "one", "--prune", "--unused", "--dry-run", cwd=tmp_path)
    assert "4 results stay, 2 would go" in out
    assert len(kept.keys()) == 6
    out, _ = asyncflow("results", "one", "--prune", "--unused", cwd=tmp_path)
    assert {line.split(":")[0] for line in out.splitlines()[:-1]} == unused
    assert not unused & set(kept.keys())
    assert out.endswith("4 results stay, 2 went, and 1 files of broken-off writings\n")
    flipped = next(iter(kept.keys()))
    data = bytearray((results / flipped).read_bytes())
    data[-1] ^= 1
    (results / flipped).write_bytes(data)
    told = json.loads(asyncflow("results", "one", "--prune", "--json", cwd=tmp_path)[0])
    assert told == {"removed": {flipped: "damaged"}, "leftovers": 0, "dry_run": False}
    assert "0 results stay, 3 went" in asyncflow("results", "one", "--prune", "--older-than", "1ms", cwd=tmp_path)[0]
    assert asyncflow("results", "one", cwd=tmp_path)[0] == f"nothing is kept in {kept.url}\n"


def test_what_an_unfinished_session_did_not_come_to_is_not_unused(kept, tmp_path):
    """Nobody knows what it would have had use for."""
    (tmp_path / "asyncflow-runs" / "one" / "owner.json").unlink()  # so that its driver counts as killed
    _, err = asyncflow("results", "one", "--prune", "--unused", cwd=tmp_path, status=2)
    assert "run one is killed" in err
    assert len(kept.keys()) == 6


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["two"], "there is no run 'two' in"),
        (["one", "--unused"], "--unused belongs to --prune"),
        (["one", "--why", "scale", "--prune"], "give one of them"),
    ],
)
def test_wrong_words_are_refused(tmp_path, words, message):
    """Exit status 2, before anything is read."""
    _, err = asyncflow("results", *words, cwd=tmp_path, status=2)
    assert message in err


def test_a_damaged_record_is_named(kept, tmp_path):
    """By its file, with the remedy; and the list of runs shows it."""
    record = tmp_path / "asyncflow-runs" / "one" / "run.yaml"
    record.write_text(record.read_text()[:-10])
    _, err = asyncflow("results", "one", cwd=tmp_path, status=2)
    assert f"{record} is damaged; delete it" in err
    assert listed(tmp_path)["one"]["state"] == "damaged"


def test_tables_are_drawn_on_terminals_only(monkeypatch, capsys):
    """Elsewhere columns are aligned and nothing is cut."""
    rows = [["a", "x" * 300], ["long", "[bold]"]]
    _runs.show(("name", "text"), rows)
    assert capsys.readouterr().out == f"name  text\na     {'x' * 300}\nlong  [bold]\n"
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    _runs.show(("name", "text"), rows)
    out = capsys.readouterr().out
    assert "─" in out
    assert "[bold]" in out


def test_ages_are_for_people():
    """In the largest unit of which there are two."""
    now = _runs.time.time()
    assert [_runs.age(now - age) for age in (0, 119, 150, 8000, 200_000)] == ["0s", "119s", "2m", "2h", "2d"]
