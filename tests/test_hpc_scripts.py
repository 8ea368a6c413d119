"""The batch scripts that we ship do what their first lines say: each is submitted as it is."""

import os
import re
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from conftest import eventually
from fakes import becomes, home_in, run
from slurm import give_up

ROOT = Path(__file__).parents[1]
SCRIPTS = sorted([*(ROOT / "hpc_scripts").glob("*.sbatch"), *(ROOT / "hpc_scripts").glob("*.pbs")])

SCRIPT = """
import asyncio, sys
from asyncflow import WorkflowEngine

async def main():
    try:
        async with WorkflowEngine.create() as flow:
            @flow.function_task
            def add(left, right):
                return left + right

            print("sum", await add(1, int(sys.argv[1])), sys.argv[2:], flush=True)
            if "wait" in sys.argv:
                await asyncio.sleep(600)
    finally:
        print("closed in order", flush=True)

asyncio.run(main())
"""

JUPYTER = """#!/bin/sh
echo "jupyter $*"
echo "token of $(printf %s "$JUPYTER_TOKEN" | wc -c) signs, config $ASYNCFLOW_CONFIG, port $ASYNCFLOW_DASHBOARD_PORT"
"""


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A directory to submit from, at home, with a script in it; jobs find the suite's own asyncflow."""
    monkeypatch.chdir(tmp_path)
    for name, value in {"HOME": tmp_path, "ASYNCFLOW_VENV": Path(sys.executable).parents[1]}.items():
        monkeypatch.setenv(name, str(value))
    (tmp_path / "script.py").write_text(SCRIPT)
    return tmp_path


def configure(place, **keys):
    """A configuration of small workers on loopback."""
    common = {"interface": "lo", "shared_temp_directory": str(place / "shared"), "start_timeout": 60}
    file = place / "small.yaml"
    file.write_text(yaml.safe_dump({"cluster": {**common, **keys}}))
    return file


def script(name):
    return str(ROOT / "hpc_scripts" / name)


def ran(slurm, job, log, *states):
    """What a job has written when it has one of these states."""
    slurm.wait_for(job, *(states or ("COMPLETED", "FAILED")), timeout=60)
    return log.read_text()


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_shellcheck_has_nothing_to_say(path):
    """The scripts are what shellcheck wants of shell."""
    if shutil.which("shellcheck") is None:
        give_up("there is no shellcheck: run ci/slurm/install as root")
    done = subprocess.run(["shellcheck", path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_the_readme_names_each_script_and_nothing_else():
    """Every script is in the table that says when to take it; what it names exists."""
    text = (ROOT / "hpc_scripts" / "README.md").read_text()
    assert {path.name for path in SCRIPTS} == set(re.findall(r"`(\w+\.(?:sbatch|pbs))`", text))
    assert all((ROOT / path).exists() for path in re.findall(r"(?:configs|hpc_scripts)/[\w.-]+", text))


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_the_configuration_of_a_script_is_shipped(path):
    """What a script takes where nothing is said is in the repository."""
    found = re.findall(r"(?:configs|examples)/[\w.-]+\.(?:yaml|py)", path.read_text())
    assert found
    assert all((ROOT / each).exists() for each in found)


def test_the_allocation_ends_in_order_on_sigterm(slurm, place, monkeypatch):
    """As shipped, configuration included; Slurm sends that when the time is nearly up."""
    monkeypatch.setenv("ASYNCFLOW_CONFIG", str(ROOT / "configs" / "slurm-allocation.yaml"))
    log = place / "log"
    few = ("--nodes=1", "--cpus-per-task=1", f"--output={log}")
    job = slurm.submit(*few, script("slurm_allocation.sbatch"), "script.py", "2", "wait")
    assert eventually(lambda: log.exists() and "sum 3 ['wait']" in log.read_text(), 60), log.read_text()
    slurm.cancel("--batch", job, signal="TERM")
    text = ran(slurm, job, log, "FAILED")
    assert "closed in order" in text
    assert "asyncflow: terminated" in text
    assert list((place / ".asyncflow").iterdir()) == []


def test_the_driver_submits_jobs_of_its_own(slurm, place, monkeypatch):
    """A small job whose script runs its work in other jobs, and cancels them at the end."""
    file = configure(place, kind="slurm", cores=1, memory="600MB", jobs=1, walltime="00:10:00")
    monkeypatch.setenv("ASYNCFLOW_CONFIG", str(file))
    log = place / "log"
    job = slurm.submit(f"--output={log}", script("slurm_driver.sbatch"), "script.py", "2", "--its-own")
    text = ran(slurm, job, log)
    assert "sum 3 ['--its-own']" in text, text
    assert any(each.name.startswith("aflow-") for each in slurm.all_jobs())


@pytest.mark.parametrize("name", ["slurm_allocation.sbatch", "slurm_driver.sbatch", "slurm_jupyter.sbatch"])
def test_what_is_not_installed_is_told_in_one_line(slurm, place, monkeypatch, name):
    """Instead of a shell's error far into the script."""
    monkeypatch.setenv("ASYNCFLOW_VENV", str(place / "empty"))
    monkeypatch.setenv("PATH", _path_without("asyncflow", "jupyter"))
    log = place / "log"
    text = ran(slurm, slurm.submit("--nodes=1", f"--output={log}", script(name)), log, "FAILED")
    assert re.fullmatch(r"(asyncflow|jupyter) is not on PATH; .* ASYNCFLOW_VENV.*\n", text), text


def _path_without(*commands):
    places = os.environ["PATH"].split(os.pathsep)
    return os.pathsep.join(place for place in places if not any(Path(place, each).exists() for each in commands))


def test_jupyter_is_told_with_its_tunnels_and_without_its_token(slurm, place, monkeypatch):
    """The job's log has the ssh commands; the token is where only its owner can read it."""
    program = place / "bin" / "jupyter"
    program.parent.mkdir()
    program.write_text(JUPYTER)
    program.chmod(0o755)
    monkeypatch.setenv("ASYNCFLOW_VENV", str(place))
    monkeypatch.setenv("ASYNCFLOW_CONFIG", str(configure(place, kind="local").relative_to(place)))
    monkeypatch.setenv("LOGIN_NODE", "login.example.org")
    log = place / "log"
    job = slurm.submit("--cpus-per-task=1", f"--output={log}", script("slurm_jupyter.sbatch"))
    text = ran(slurm, job, log)
    port = 20000 + int(job) % 10000
    for each in (port, port + 10000):
        assert re.search(rf"ssh -N -L {each}:127\.0\.0\.1:{each} -J \w+@login\.example\.org \w+@node\d\n", text), text
    private = place / ".asyncflow" / f"jupyter-{job}.log"
    assert str(private) in text
    address, words, seen = private.read_text().splitlines()
    token = re.fullmatch(rf"http://127\.0\.0\.1:{port}/lab\?token=([0-9a-f]{{48}})", address)[1]
    assert token not in text
    assert words == f"jupyter lab --no-browser --ip=127.0.0.1 --port={port} --ServerApp.port_retries=0"
    assert seen == f"token of 48 signs, config {place}/small.yaml, port {port + 10000}"
    assert stat.S_IMODE(private.stat().st_mode) == 0o600


@pytest.mark.parametrize("name", ["pbs_allocation.pbs", "pbs_driver.pbs"])
def test_pbs_scripts_run_a_script_with_its_arguments(place, name):
    """From the directory that it was submitted from, with the PATH that it was submitted with."""
    kinds = {
        "pbs_allocation.pbs": {"kind": "allocation", "memory": "600MB", "worker_extra_args": ["--no-nanny"]},
        "pbs_driver.pbs": {"kind": "pbs", "cores": 1, "memory": "600MB", "jobs": 1, "poll_interval": 1},
    }
    configure(place, **kinds[name])
    given = f"SCRIPT=script.py,ARGUMENTS=2 --its-own,ASYNCFLOW_CONFIG=small.yaml,ASYNCFLOW_VENV={os.environ['ASYNCFLOW_VENV']}"
    log = place / "log"
    with home_in(place, "pbs") as queue:
        job = run("qsub", "-o", log, "-v", given, script(name)).strip()
        assert eventually(lambda: not queue.live_jobs(), 60)
        assert becomes(queue, job, "done").exit_status == 0
        text = log.read_text()
        assert "sum 3 ['--its-own']" in text, text
