"""Pipelines as people run them: from the command line, planned, stopped, resumed, over jobs."""

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from textwrap import dedent

import pytest
import yaml

import slurm_engine
from asyncflow.runs import read_journal
from asyncflow.runs.history import History
from conftest import eventually
from gates import Gate
from terminal import asyncflow

EXAMPLES = Path(__file__).parents[1] / "examples" / "pipelines"

#: One small worker of this machine.
CONFIG = {"cluster": {"kind": "local", "processes": False, "n_workers": 1, "threads_per_worker": 2}}

ENDS = {
    "sweep": {"report": "pi is about 3.141, from 12 estimates"},
    "sort": {"checksum": "2637196517 791034"},
    "campaign": {"hottest": "rounds at temperature 1.0"},
}


@pytest.fixture
def place(tmp_path):
    """A directory with a configuration."""
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(CONFIG))
    return tmp_path


def written(place, run):
    """The outputs that a run has written."""
    return json.loads((place / "asyncflow-runs" / run / "outputs.json").read_text())


@pytest.mark.parametrize("name", ENDS)
def test_an_example_runs_with_one_command(place, name):
    """It prints its outputs, and writes them into the run directory: together, and each by itself."""
    out, _ = asyncflow("run", EXAMPLES / f"{name}.yaml", "--config", "config.yaml", "--run-id", name, cwd=place)
    outputs = written(place, name)
    for output, text in ENDS[name].items():
        assert text in outputs[output]
        assert text in (place / "asyncflow-runs" / name / "outputs" / f"{output}.txt").read_text()
    assert yaml.safe_load(out) == outputs
    assert yaml.safe_load((place / "asyncflow-runs" / name / "outputs.yaml").read_text()) == outputs


@pytest.mark.slow
@pytest.mark.timeout(200)
def test_the_same_file_runs_over_jobs(slurm, tmp_path):
    """Unchanged, on the real Slurm."""
    pool = {"queue": "debug", "cores": 2, "memory": "1GB", "jobs": 2}
    (tmp_path / "slurm.yaml").write_text(yaml.safe_dump(slurm_engine.config(tmp_path, **pool)))
    words = ("run", EXAMPLES / "sweep.yaml", "--config", "slurm.yaml", "--run-id", "jobs")
    asyncflow(*words, cwd=tmp_path)
    assert ENDS["sweep"]["report"] in written(tmp_path, "jobs")["report"]
    history = History.read(tmp_path / "asyncflow-runs" / "jobs" / "journal.jsonl")
    assert history.jobs
    assert all(history.job_of(call.worker) for call in history.calls.values())


STOPPED = """
defaults: {{checkpoint: true, workdir: true}}
tasks:
  make:
    foreach: [1, 2, 3]
    shell: true
    makes: [part.txt]
    run: printf '%s\\n' ${{item}} > part.txt; echo make >> {notes}
  sort:
    shell: true
    makes: [sorted.txt]
    run: |
      echo sort >> {notes}
      touch {notes}.sorting
      while ! test -e {gate}; do sleep 0.05; done
      sort -r -o sorted.txt ${{tasks.make[0].files["part.txt"]}} ${{tasks.make[2].files["part.txt"]}}
  show: {{run: [cat, '${{tasks.sort.files["sorted.txt"]}}']}}
outputs: {{shown: "${{tasks.show}}"}}
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_what_was_done_before_the_end_is_not_done_again(place, how):
    """A pipeline that is killed, or interrupted, and resumed does the rest; a plan says beforehand what that is."""
    gate, notes = Gate(place / "gate"), place / "notes"
    (place / "p.yaml").write_text(STOPPED.format(notes=notes, gate=gate.path))
    words = [sys.executable, "-m", "asyncflow", "run", "p.yaml", "--config", "config.yaml", "--resume", "r"]
    with subprocess.Popen(words, cwd=place, stderr=subprocess.DEVNULL) as driver:
        kept = place / "asyncflow-runs" / "r" / "results"
        there = eventually(lambda: Path(f"{notes}.sorting").exists() and len(list(kept.glob("c*"))) == 3, 30)
        driver.send_signal(how)
        driver.wait(30)
    assert there
    out, _ = asyncflow("plan", "p.yaml", "--resume", "r", "--config", "config.yaml", cwd=place)
    rows = {line.split()[0]: line.split()[2:5] for line in out.splitlines() if line}
    assert rows["make"] == ["3", "3", "0"]
    assert rows["sort"] == ["1", "0", "1"]
    gate.open()
    asyncflow("run", "p.yaml", "--config", "config.yaml", "--resume", "r", cwd=place)
    assert written(place, "r")["shown"] == "3\n1\n"
    assert Counter(notes.read_text().split()) == {"make": 3, "sort": 2}
    states = Counter(entry.state for entry in read_journal(place / "asyncflow-runs" / "r" / "journal.jsonl"))
    assert states["found"] == 3


FAILING = """
params: {text: {type: str, default: no luck}, count: 2}
tasks:
  good: {run: [printf, "%s", "${params.text}"], foreach: {range: "${params.count}"}}
  bad: {run: ["false"]}
  behind: {run: [echo, "${tasks.bad}"]}
outputs: {good: "${tasks.good}", behind: "${tasks.behind}"}
"""


@pytest.fixture
def failing(place):
    """Run the pipeline of which one task fails; what it says."""
    (place / "f.yaml").write_text(FAILING)

    def _failing(*words, status, run="r"):
        return asyncflow(
            "run", "f.yaml", "-q", "--config", "config.yaml", "--run-id", run, *words, cwd=place, status=status
        )

    return _failing


def test_the_exit_status_says_whether_every_output_was_made(place, failing):
    """1 where one is missing; with --keep-going the others are there all the same, and failures are told."""
    _, err = failing(status=1)
    assert "task 'bad'" in err
    assert "not made: good, behind" in err
    out, err = failing("--keep-going", status=1, run="s")
    assert yaml.safe_load(out) == {"good": ["no luck", "no luck"]}
    assert "not made: behind" in err
    out, _ = failing("--only", "good", status=0, run="t")
    assert yaml.safe_load(out) == {"good": ["no luck", "no luck"]}
    _, err = failing("--until", "god", status=2, run="u")
    assert "there is no task 'god'; did you mean 'good'" in err


def test_parameters_come_from_words_and_files(place, failing):
    """Words win over files; types are those of the parameters; nonsense is refused before anything runs."""
    (place / "values.yaml").write_text("{text: from a file, count: 1}")
    out, _ = failing("--only", "good", "--params", "values.yaml", status=0)
    assert yaml.safe_load(out) == {"good": ["from a file"]}
    out, _ = failing(
        "--only", "good", "--params", "values.yaml", "--set", "text=5", "--set", "count=3", status=0, run="s"
    )
    assert yaml.safe_load(out) == {"good": ["5", "5", "5"]}
    for words, text in (
        (("--set", "count=many"), "the parameter 'count' must be a whole number, not 'many'"),
        (("--set", "cuont=1"), "did you mean 'count'"),
        (("--set", "count"), "--set takes NAME=VALUE"),
        (("--params", "missing.yaml"), "missing.yaml"),
    ):
        _, err = failing(*words, status=2, run="w")
        assert text in err


def test_a_dry_run_goes_through_everything(place):
    """Nothing is run, whatever the tasks are; outputs are not written."""
    for name in ENDS:
        words = ("run", EXAMPLES / f"{name}.yaml", "--dry-run", "--run-id", name, "--config", "config.yaml")
        _, err = asyncflow(*words, cwd=place)
        assert "nothing was run" in err
        assert not (place / "asyncflow-runs" / name / "outputs.json").exists()


def test_a_broken_file_is_refused_before_anything_begins(place):
    """By run and by plan: all that is wrong, exit status 2, no traceback."""
    (place / "b.yaml").write_text("tasks: {a: {run: [echo, '${tasks.b}'], option: {}}}")
    for command in ("run", "plan"):
        _, err = asyncflow(command, "b.yaml", status=2, cwd=place)
        assert "b.yaml:1:" in err
        assert "did you mean 'options'" in err
        assert "Traceback" not in err


def test_a_plan_lists_tasks_calls_and_pools(place):
    """With numbers that are known only later marked; as data too, and drawn."""
    (place / "p.yaml").write_text(
        dedent("""
        tasks:
          list: {run: [printf, "a\\nb"], result: lines, help: finds names}
          each: {run: [echo, "${item}"], foreach: "${tasks.list}", options: {cores: 2}}
          gpu: {run: ["true"], options: {resources: {gpu: 1}}}
    """)
    )
    config = Path(__file__).parents[1] / "configs" / "slurm-pools.yaml"
    words = ("plan", "p.yaml", "--config", config)
    environ = {"HOME": os.environ.get("HOME", "/"), "USER": os.environ.get("USER", "root")}
    out, _ = asyncflow(*words, cwd=place, **environ)
    assert "1+" in out
    found = {task["name"]: task for task in json.loads(asyncflow(*words, "--json", cwd=place, **environ)[0])}
    assert (found["each"]["open"], found["each"]["needs"], found["each"]["pool"]) == (True, ["list"], "cpu")
    assert (found["gpu"]["pool"], found["gpu"]["options"]["resources"]) == ("gpu", {"gpu": 1})
    asyncflow(*words, "--graph", "g.svg", cwd=place, **environ)
    drawn = (place / "g.svg").read_text()
    assert drawn.startswith("<svg")
    assert "each" in drawn


def test_help_is_of_the_pipeline(place):
    """The words behind a pipeline file are its own."""
    (place / "f.yaml").write_text(FAILING)
    out, _ = asyncflow("run", "f.yaml", "--", "--help", cwd=place)
    assert "--keep-going" in out
    _, err = asyncflow("run", "f.yaml", "--no-such-word", status=2, cwd=place)
    assert "--no-such-word" in err
