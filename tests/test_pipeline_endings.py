"""How ``asyncflow run PIPELINE`` ends: by signals, by failures, with outputs; and what a plan refuses."""

import json
import os
import signal
import subprocess
import sys
from textwrap import dedent

import pytest
import yaml

from asyncflow.pipelines.outputs import as_text

# A shell in whose background the tests run has SIGINT ignored.
FUNCTIONS = """
import signal
import threading

if threading.current_thread() is threading.main_thread():  # of the driver
    signal.signal(signal.SIGINT, signal.default_int_handler)


def none():
    return None
"""


@pytest.fixture
def write(tmp_path):
    """Write a pipeline, with functions beside it and a small local cluster; the words that run it."""
    (tmp_path / "interruptible.py").write_text(FUNCTIONS)
    (tmp_path / "c.yaml").write_text("cluster: {kind: local, n_workers: 1, threads_per_worker: 2}")

    def _write(text):
        (tmp_path / "pipeline.yaml").write_text(dedent(text))
        return [sys.executable, "-m", "asyncflow", "run", "--config", "c.yaml", "pipeline.yaml"]

    return _write


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals_end_a_pipeline_as_they_end_a_script(write, tmp_path, number, status):
    """With the same exit status and no traceback; so a batch job that was warned can submit itself again."""
    words = write("""
        tasks:
          none: {call: "interruptible:none"}
          endless: {shell: true, run: "echo > ${params.ready}; exec sleep 600", after: none}
        params: {ready: {type: str}}
        outputs: {endless: "${tasks.endless}"}
    """)
    ready = tmp_path / "ready"
    os.mkfifo(ready)
    process = subprocess.Popen(
        [*words, "--set", f"ready={ready}"],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"ASYNCFLOW_GRACE": "1"},
    )
    try:
        ready.read_text()
        process.send_signal(number)
        _, err = process.communicate(timeout=60)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == status, err
    assert "Traceback" not in err
    assert "to go on with it: asyncflow run --resume" in err


def test_a_failure_is_told_once_and_what_was_made_is_written(write, tmp_path):
    """The exit status is 1, the missing output is named, and the others are printed and in the run directory."""
    words = write("""
        tasks:
          bad: {run: ["false"]}
          good: {run: [printf, 'a\\nb\\n']}
        outputs: {bad: "${tasks.bad}", good: "${tasks.good}"}
    """)
    words[4:4] = ["--run-id", "r"]
    done = subprocess.run([*words, "--keep-going"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stdout == "good: |\n  a\n  b\n"
    assert done.stderr.count("command 'false' exited with 1") == 1, done.stderr
    assert "asyncflow: not made: bad" in done.stderr
    assert json.loads((tmp_path / "asyncflow-runs" / "r" / "outputs.json").read_text()) == {"good": "a\nb\n"}


@pytest.mark.parametrize("text", ["a\nb\n", "a\nb", " a\n b \n\n", "a \n", "\ttab\n", "x: y\n# z", "\n", "é\u200b\n"])
def test_text_of_several_lines_comes_back_from_what_is_printed(text):
    """However it is written, it is YAML for the same text."""
    assert yaml.safe_load(as_text({"a": text})) == {"a": text}


def test_a_plan_refuses_items_that_are_not_there(write, tmp_path):
    """With the place; those that earlier tasks make may be there later."""
    write('tasks: {each: {run: [cat, "${item}"], foreach: {glob: "*.nothing"}}}')
    plan = [sys.executable, "-m", "asyncflow", "plan", "pipeline.yaml"]
    done = subprocess.run(plan, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "pipeline.yaml:1:39: tasks.each.foreach: glob *.nothing finds no file below" in done.stderr
    write("""
        tasks:
          make: {run: [touch, a.nothing]}
          each: {run: [cat, "${item}"], foreach: {glob: "*.nothing"}, after: make}
          rounds: {run: [date], repeat: {until: "${result}", at_most: 3}}
          inner: {pipeline: inner.yaml}
    """)
    (tmp_path / "inner.yaml").write_text(
        'tasks: {a: {run: [ls], result: lines}, b: {run: [cat, "${item}"], foreach: "${tasks.a}"}}'
    )
    done = subprocess.run([*plan, "--json"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert {task["name"]: task["open"] for task in json.loads(done.stdout)} == {
        "make": False,
        "each": True,
        "rounds": True,
        "inner": True,
    }
