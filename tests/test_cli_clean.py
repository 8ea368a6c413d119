"""``asyncflow clean``: what dead drivers left in the queue is cancelled, what lives is left alone."""

import json
import os
import pty
import signal
import subprocess
from pathlib import Path

import psutil
import pytest

from asyncflow.queues.run import RunDirectory
from conftest import eventually
from fakes import home_in
from slurm_engine import Driver
from terminal import asyncflow, configured

#: A job that stays in the queue until it is cancelled.
HELD = ["--hold", "--mem=100M", "--time=10", "--wrap=true"]


def dead_run(shared, kind, **owner):
    """A directory of a run whose driver is no more."""
    run = RunDirectory.make(str(shared), kind)
    told = json.loads((run.path / "run.json").read_text())
    (run.path / "run.json").write_text(json.dumps({**told, "pid": 2**22 + 1, **owner}))
    return run


def lines(out):
    """What was said of each run, by its name."""
    return dict(line.split("  ", 1) for line in out.splitlines())


def janitor_of(process):
    """The helper of a driver."""
    return next(
        (child for child in psutil.Process(process.pid).children() if "_janitor.py" in str(child.cmdline())), None
    )


def test_what_a_killed_driver_and_its_killed_janitor_left_is_cancelled(slurm, tmp_path):
    """While the driver lives its run is left alone; afterwards jobs and directory go."""
    keys = {"job_extra_directives": ["--hold"]}
    file = configured(tmp_path, "slurm", queue="debug", **keys)
    with Driver(tmp_path, "await asyncio.Event().wait()", **keys) as driver:
        assert eventually(lambda: len(slurm.jobs()) == 2, 30)
        (run,) = (path.name for path in (tmp_path / "shared").iterdir())
        out, _ = asyncflow("clean", file)
        assert lines(out)[run].endswith(
            f"alive: its driver, process {driver.process.pid} on {os.uname().nodename}; left alone"
        )
        assert "2 jobs" in out
        asyncflow("clean", file, "--run", run, "--yes")
        assert len(slurm.jobs()) == 2
        janitor_of(driver.process).send_signal(signal.SIGKILL)
        driver.process.kill()
        driver.process.wait()
    out, _ = asyncflow("clean", file, "--dry-run")
    assert lines(out)[run].endswith("would be cleaned")
    assert len(slurm.jobs()) == 2
    out, _ = asyncflow("clean", file)
    assert "dead: its driver" in lines(out)[run]
    assert lines(out)[run].endswith("; cleaned")
    assert eventually(slurm.is_empty)
    assert not list((tmp_path / "shared").iterdir())


@pytest.mark.parametrize("system", ["pbs", "lsf"])
def test_the_jobs_of_other_queues_are_found(system, tmp_path):
    """Many of them in few commands, and none that is not ours."""
    submit = {"pbs": "qsub -N {} --", "lsf": "bsub -J {}"}[system]
    with home_in(tmp_path, system) as queue:
        queue.hold_jobs()
        run = dead_run(tmp_path / ".asyncflow", system)
        for name in (run.name, run.name, "mine"):
            subprocess.run([*submit.format(name).split(), "/bin/sleep", "30"], check=True, capture_output=True)
        out, _ = asyncflow("clean", PATH=str(queue.directory / "bin"))
        assert lines(out)[run.name].startswith("2 jobs (")
        assert lines(out)[run.name].endswith("; cleaned")
        assert eventually(lambda: [job.name for job in queue.live_jobs()] == ["mine"])
        assert not run.path.exists()


def test_jobs_without_a_directory_are_cancelled_by_name_only(slurm, tmp_path):
    """Nothing is known of them; they are left alone until they are named."""
    slurm.submit("--job-name=aflow-00c0ffee", *HELD)
    other = slurm.submit("--job-name=mine", *HELD)
    out, _ = asyncflow("clean", "--directory", tmp_path)
    assert lines(out)["aflow-00c0ffee"].endswith(
        "unknown: no directory of it is known here; left alone; --run aflow-00c0ffee cleans it"
    )
    assert len(slurm.jobs()) == 2
    out, _ = asyncflow("clean", "--directory", tmp_path, "--run", "aflow-00c0ffee")
    assert lines(out)["aflow-00c0ffee"].endswith("; cleaned")
    assert eventually(lambda: [job.id for job in slurm.jobs()] == [other])
    slurm.cancel(other)
    assert eventually(slurm.is_empty)


def test_a_driver_on_another_host_is_asked_about(slurm, tmp_path):
    """On a terminal; ``no`` leaves it alone, ``yes`` cleans it, and ``--yes`` does not ask."""
    run = dead_run(tmp_path, "slurm", host="elsewhere")
    assert "of which nothing is known here; left alone; --run" in asyncflow("clean", "--directory", tmp_path)[0]
    for answer, is_left in ((b"n\n", True), (b"y\n", False)):
        main, other = pty.openpty()
        os.write(main, answer)
        out, _ = asyncflow("clean", "--directory", tmp_path, stdin=other)
        assert "is its driver dead" in out
        assert run.path.exists() == is_left
        os.close(main)
        os.close(other)
    run = dead_run(tmp_path, "slurm", host="elsewhere")
    asyncflow("clean", "--directory", tmp_path, "--yes")
    assert not run.path.exists()


def test_a_queue_that_does_not_answer_keeps_its_runs(tmp_path):
    """Their jobs cannot be seen: nothing is removed, and the exit status is 1."""
    with home_in(tmp_path, "pbs") as queue:
        run = dead_run(tmp_path / ".asyncflow", "pbs")
        queue.make_busy()
        out, err = asyncflow("clean", status=1, PATH=str(queue.directory / "bin"))
        assert "the queue of pbs does not answer" in err
        assert "NOT cleaned" in lines(out)[run.name]
        assert run.path.exists()


def test_a_queue_that_is_not_here_keeps_its_runs(tmp_path):
    """On a machine without its commands the jobs of a run may still be there."""
    run = dead_run(tmp_path, "pbs")
    out, err = asyncflow("clean", "--directory", tmp_path, status=1, PATH=str(tmp_path))
    assert "its queue cannot be asked here" in err
    assert "NOT cleaned" in out
    assert run.path.exists()


def test_kept_logs_are_left_to_be_read(tmp_path):
    """A run that ended and left its logs is none that has to be cleaned; by name it is."""
    run = RunDirectory.make(str(tmp_path), "slurm")
    (run.logs / "1.err").write_text("why")
    run.remove(keep_logs=True)
    out, _ = asyncflow("clean", "--directory", tmp_path, PATH=str(tmp_path))
    assert "it left only its logs; left to be read" in lines(out)[run.name]
    asyncflow("clean", "--directory", tmp_path, "--run", run.name, PATH=str(tmp_path))
    assert not Path(run.path).exists()
    assert "nothing is left in" in asyncflow("clean", "--directory", tmp_path, PATH=str(tmp_path))[0]


def test_a_run_that_is_not_there_is_a_usage_error(tmp_path):
    """The message lists those there are."""
    run = dead_run(tmp_path, "local")
    _, err = asyncflow("clean", "--directory", tmp_path, "--run", "aflow-1", status=2, PATH=str(tmp_path))
    assert f"there is no run 'aflow-1' in the queue or in the directories looked at; found: {run.name}" in err
