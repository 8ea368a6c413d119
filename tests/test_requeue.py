"""Drivers that submit their own job again, when that ends before their run does."""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from textwrap import dedent

import pytest

from asyncflow.cli._requeue import newly_kept
from asyncflow.clusters._systems import systems
from asyncflow.queues.jobs import JobState, Report
from asyncflow.queues.requeueing import is_due, own_job
from asyncflow.queues.system import Driver
from asyncflow.runs import Run, read_journal
from conftest import eventually
from fakes import home_in
from gates import Gate, Notes
from terminal import asyncflow

#: Three calls, one after the other; each notes its job and ends when its gate is open.
CAMPAIGN = dedent("""
    import asyncio, os, pathlib, time
    from asyncflow import WorkflowEngine

    here = pathlib.Path.cwd()

    async def main():
        async with WorkflowEngine.create(checkpoint=True) as flow:
            @flow.function_task(version="1")
            def body(number):
                with open(here / "began", "a") as file:
                    file.write(f"{number} in {os.environ.get('SLURM_JOB_ID') or os.environ.get('PBS_JOBID')}\\n")
                while not (here / f"go-{number}").exists():
                    time.sleep(0.01)
                return number

            print("sum", sum([await body(number) for number in range(3)]), flush=True)

    asyncio.run(main())
""")

#: Workers in the driver's own process.
LOCAL = "cluster: {kind: local, processes: false, n_workers: 1, threads_per_worker: 1, dashboard_address: null}"


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A directory with a campaign and a configuration, and in it."""
    (tmp_path / "campaign.py").write_text(CAMPAIGN)
    (tmp_path / "c.yaml").write_text(LOCAL)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def reads(log, *texts):
    return eventually(lambda: log.exists() and all(text in log.read_text() for text in texts), 40)


def successor(log):
    """The job that goes on."""
    text = log.read_text()
    found = re.search(r"asyncflow: job (\d+) goes on with run ", text)
    assert found, text
    return found[1]


def begins(place, count, run="seeds"):
    """Wait until so many calls of the run have begun, and the driver knows of each."""
    journal = place / "asyncflow-runs" / run / "journal.jsonl"
    assert eventually(lambda: sum(entry.state == "running" for entry in read_journal(journal)) == count, 40)
    return Notes(place / "began").lines


def warn(job):
    """Send what SLURM sends before the time is over."""
    subprocess.run(["scancel", "--batch", "--signal=TERM", job], check=True)


def submitted(*words):
    out, _ = asyncflow(
        *["submit", "campaign.py", "--config=c.yaml", "--time=20m", "--memory=1GB", "--system=slurm"], *words
    )
    return re.match(r"job (\d+)\n", out)[1]


def test_a_driver_whose_time_is_over_goes_on_in_the_next_job(slurm, place):
    """Each job ends what runs, and the next one does the rest, of the same run, with the same log; nothing is left."""
    log, began = place / "x.log", Notes(place / "began")
    first = submitted("--requeue", "--resume=seeds", "--log=x.log")
    assert begins(place, 1) == [f"0 in {first}"]
    script = place / "asyncflow-runs" / "seeds" / "job.sh"
    assert script.stat().st_mode & 0o777 == 0o700
    warn(first)
    assert reads(log, "what runs has 30 s to end")
    Gate(place / "go-0").open()
    slurm.wait_for(first, "FAILED")  # with status 143
    second = successor(log)
    assert begins(place, 2) == [f"0 in {first}", f"1 in {second}"]
    Gate(place / "go-1").open()
    Gate(place / "go-2").open()
    slurm.wait_for(second, "COMPLETED")
    assert reads(log, "sum 3\n")
    assert Counter(line.split()[0] for line in began.lines) == {"0": 1, "1": 1, "2": 1}
    sessions = {entry.session for entry in read_journal(script.with_name("journal.jsonl"))}
    assert sessions == {1, 2}
    assert slurm.is_empty()


def test_a_driver_that_got_nowhere_is_not_submitted_again(slurm, place):
    """When nothing new was kept since the job began, the next one would get no further."""
    log = place / "x.log"
    job = submitted("--requeue", "--resume=seeds", "--log=x.log", "--grace=1s")
    begins(place, 1)
    warn(job)
    assert reads(log, "1 calls still run after 1 s")
    Gate(place / "go-0").open()
    slurm.wait_for(job, "FAILED")
    assert f"job {job} is not submitted again: since it began, run seeds has kept no result" in log.read_text()
    assert slurm.is_empty()


def test_a_driver_that_somebody_cancels_is_not_submitted_again(slurm, place):
    """``scancel`` of the job ends the run, though it got on."""
    log = place / "x.log"
    job = submitted("--requeue", "--run-id=seeds", "--log=x.log", "--grace=1s")
    begins(place, 1)
    Gate(place / "go-0").open()
    begins(place, 2)
    slurm.cancel(job)
    Gate(place / "go-1").open()
    slurm.wait_for(job, "CANCELLED")  # it may have been killed before it could say so
    assert eventually(slurm.is_empty)
    assert "goes on with run" not in log.read_text()


def test_a_batch_script_of_ones_own_is_had_from_slurm(slurm, place):
    """Its text is that of the first job, and its directives hold again."""
    command = [sys.executable, "-m", "asyncflow", "run", "campaign.py", "--config=c.yaml", "--requeue", "--resume=mine"]
    (place / "mine.sh").write_text(f"#!/bin/sh\n#SBATCH --mem=1G --output=%j.log\nexec {shlex.join(command)}\n")
    first = subprocess.run(["sbatch", "--parsable", "mine.sh"], capture_output=True, text=True, check=True).stdout
    first = first.strip()
    begins(place, 1, "mine")
    warn(first)
    assert reads(place / f"{first}.log", "what runs has 30 s")
    for number in range(3):
        Gate(place / f"go-{number}").open()
    slurm.wait_for(first, "FAILED")
    second = successor(place / f"{first}.log")
    slurm.wait_for(second, "COMPLETED", timeout=40)
    assert "sum 3" in (place / f"{second}.log").read_text()


def test_drivers_of_other_queues_go_on_too(place):
    """By the script that was stored when the first was submitted."""
    words = ["submit", "campaign.py", "--config=c.yaml", "--time=20m", "--system=pbs", "--requeue", "--resume=seeds"]
    with home_in(place, "pbs") as queue:
        out, _ = asyncflow(*words, "--log=x.log")
        first = re.match(r"job (\S+)\n", out)[1]
        assert begins(place, 1) == [f"0 in {first}"]
        os.kill(json.loads((place / "asyncflow-runs" / "seeds" / "owner.json").read_text())["pid"], signal.SIGTERM)
        journal = place / "asyncflow-runs" / "seeds" / "journal.jsonl"
        assert eventually(lambda: any(entry.state == "terminated" for entry in read_journal(journal)))
        for number in range(3):
            Gate(place / f"go-{number}").open()
        assert eventually(lambda: len(queue.jobs()) == 2, 30), (place / "x.log").read_text()
        assert eventually(lambda: not queue.live_jobs(), 40)
        assert sorted(job.exit_status for job in queue.jobs()) == [0, 143]


@pytest.mark.parametrize(
    ("words", "environ", "said"),
    [
        (["--requeue"], {}, "--requeue needs --resume NAME"),
        (["--requeue", "--run-id=x"], {}, "--requeue needs --resume NAME"),
        (["--requeue", "--resume=x"], {}, "use asyncflow submit"),
        (["--requeue", "--resume=x"], {"PBS_JOBID": "7.server"}, "export ASYNCFLOW_JOB_SCRIPT=/path/of/the/script"),
        (
            ["--requeue", "--resume=x"],
            {"PBS_JOBID": "7.server", "ASYNCFLOW_JOB_SCRIPT": "/nowhere.sh"},
            "ASYNCFLOW_JOB_SCRIPT names a file that cannot be read",
        ),
    ],
)
def test_what_could_not_be_submitted_again_is_refused_at_the_beginning(words, environ, said, place):
    """Exit status 2, before the script begins, with what to do."""
    out, err = asyncflow("run", *words, "campaign.py", status=2, cwd=place, **environ)
    assert said in err
    assert not out
    assert not (place / "asyncflow-runs").exists()


def test_the_job_script_of_a_driver_that_goes_on(place):
    """It resumes the run by name, names its own script, and appends to one log; a name that is taken is refused."""
    words = ["--config=c.yaml", "--time=10m", "--system=slurm", "--requeue", "--dry-run"]
    out, _ = asyncflow("submit", "campaign.py", *words, "--run-id=new")
    stored = place / "asyncflow-runs" / "new" / "job.sh"
    assert f"export ASYNCFLOW_JOB_SCRIPT={stored}\n" in out
    assert f" --grace=30s --requeue --work-dir={stored.parents[1]} --resume=new campaign.py --\n" in out
    assert "#SBATCH --open-mode=append\n" in out
    assert not stored.parent.exists()
    Run.begin("asyncflow-runs", "new").close()
    _, err = asyncflow("submit", "campaign.py", *words, "--run-id=new", status=2)
    assert "there is a run new in" in err
    out, _ = asyncflow("submit", "campaign.py", *words)
    assert re.search(r"--resume=campaign-\S+", out)


def test_the_grace_fits_into_what_the_queue_warns_before(place):
    """More grace makes the warning earlier; of a short job it gets a part, and too much is refused."""
    assert [Driver("x", time, "log").warning for time in (3600, 60)] == [60, 15]
    assert [Driver("x", time, "log").fitting_grace for time in (3600, 60)] == [30, 7.5]
    words = ["submit", "campaign.py", "--config=c.yaml", "--system=slurm", "--dry-run"]
    out, _ = asyncflow(*words, "--time=2h", "--grace=10m")
    assert "#SBATCH --signal=B:TERM@630\n" in out
    assert " --grace=600s " in out
    _, err = asyncflow(*words, "--time=30m", "--grace=10m", status=2)
    assert "--grace 10m is too much for --time: SIGTERM comes when a quarter of that is left" in err


@pytest.mark.parametrize(
    ("kind", "word", "reason", "due"),
    [
        ("slurm", "RUNNING", "", True),
        ("slurm", "COMPLETING", "TimeLimit", True),
        ("slurm", "PREEMPTED", "", True),
        ("slurm", "COMPLETING", "", False),
        ("slurm", "CANCELLED", "", False),
        ("slurm", "REQUEUED", "", False),
        ("pbs", "R", "", True),
        ("pbs", "E", "", False),
        ("lsf", "RUN", "", True),
        ("lsf", "EXIT", "TERM_RUNLIMIT", True),
        ("lsf", "EXIT", "TERM_OWNER", False),
    ],
)
def test_a_job_is_submitted_again_only_where_its_time_was_over(kind, word, reason, due):
    """Not where somebody cancelled it, nor where the queue itself runs it again."""
    assert is_due(systems()[kind], Report(JobState.RUNNING, word, reason)) is due


def test_the_own_job_is_found_in_the_environment():
    """By the variables of each system; and what is true in one job only is known, user's settings are not of it."""
    known = systems()
    assert own_job(known.values(), {}) is None
    job = own_job(known.values(), {"LSB_JOBID": "7", "LSB_JOBNAME": "x", "LS_SUBCWD": "/here"})
    assert job == (known["lsf"], "7", "x", "/here")
    inner = {name for name in ("SLURM_JOB_ID", "SLURM_CONF", "SBATCH_ACCOUNT") if known["slurm"].inner.match(name)}
    assert inner == {"SLURM_JOB_ID"}
    assert known["pbs"].inner.match("PBS_O_WORKDIR")
    assert not known["pbs"].inner.match("PBS_CONF_FILE")
    assert not known["lsf"].inner.match("LSB_DEFAULTQUEUE")


def test_what_a_session_kept_is_counted_over_all_engines_of_a_script(tmp_path):
    """Its runs have numbers behind their names; runs of other processes are none of it."""
    for name, kept in {"x": 2, "x-2": 3}.items():
        run = Run.begin(tmp_path, name)
        run.journal.ending["kept"] = kept
        run.close()
    (tmp_path / "x-3").mkdir()
    assert newly_kept(Path(tmp_path / "x")) == 5
    assert newly_kept(Path(tmp_path / "y")) == 0
