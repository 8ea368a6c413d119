"""``asyncflow submit``: a script as a batch job of its own, and how to follow it."""

import re
import shlex
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest
from click.testing import CliRunner

from asyncflow.cli import main
from asyncflow.queues.driving import choose_system, job_name
from conftest import eventually
from fakes import home_in
from terminal import asyncflow, configured

WORKFLOW = dedent("""
    import asyncio, os, sys
    from asyncflow import WorkflowEngine

    async def main():
        async with WorkflowEngine.create() as flow:
            @flow.function_task
            def double(x):
                return 2 * x
            print(sys.argv[1:], await double(21), os.getcwd(), flush=True)
            if "wait" in sys.argv:
                try:
                    await asyncio.Event().wait()
                finally:
                    print("closing", flush=True)

    asyncio.run(main())
""")

#: Workers in the driver's own process.
LOCAL = "cluster: {kind: local, processes: false, n_workers: 1, threads_per_worker: 1, dashboard_address: null}"


@pytest.fixture
def script(tmp_path):
    """A workflow that prints its arguments and 42."""
    file = tmp_path / "my workflow.py"
    file.write_text(WORKFLOW)
    return file


def submitted(out):
    """The id and the log that were printed, and the commands."""
    found = re.match(r"job (\S+)\nlog: (.*)\n((?:  .*\n)+)", out)
    return found[1], Path(found[2]), [shlex.split(line) for line in found[3].splitlines()]


def reads(log, *texts):
    return eventually(lambda: log.exists() and all(text in log.read_text() for text in texts), 40)


@pytest.mark.parametrize("kind", ["slurm", "allocation"])
def test_the_driver_runs_as_a_job(kind, slurm, script, tmp_path):
    """Its workers come in jobs or in its own; its id, its log and commands that work are printed."""
    file = configured(tmp_path, "slurm", queue="debug", interface="lo")
    if kind == "allocation":
        file.write_text(f"cluster: {{kind: allocation, interface: lo, shared_temp_directory: {tmp_path}/shared}}")
    words = ["--cores", "1", "--memory", "1GB", "--queue", "debug", "--time", "10m", "--config", file.name]
    out, _ = asyncflow("submit", script.name, "--seeds", "a b", *words, "--", "--config", "theirs", cwd=tmp_path)
    job, log, commands = submitted(out)
    assert reads(log, f"['--seeds', 'a b', '--config', 'theirs'] 42 {tmp_path}"), log.read_text()
    assert ["scancel", job] in commands
    assert ["tail", "-F", str(log)] in commands
    shown = next(words for words in commands if words[0] == "squeue")
    assert subprocess.run(shown, capture_output=True, text=True, check=True).stdout
    assert slurm.wait_for(job, "COMPLETED").name == "my_workflow"


def test_the_signal_before_the_time_limit_closes_the_driver_in_order(slurm, script, tmp_path):
    """SLURM is asked to send SIGTERM to the shell's place a minute before, and that reaches the script."""
    file = tmp_path / "local.yaml"
    file.write_text(LOCAL)
    words = ["--time=10m", "--memory=1GB", "--system=slurm"]
    out, _ = asyncflow("submit", "-c", file, *words, script, "wait", cwd=tmp_path)
    job, log, _ = submitted(out)
    assert reads(log, "['wait'] 42")
    subprocess.run(["scancel", "--batch", "--signal=TERM", job], check=True)
    assert slurm.wait_for(job, "FAILED").reason == "NonZeroExitCode"
    assert reads(log, "closing\n", "asyncflow: terminated")
    assert eventually(slurm.is_empty)


def test_a_dry_run_prints_the_job_script(script, tmp_path):
    """Directives, then this directory, this Python and the command, quoted for the shell; nothing is submitted."""
    file = configured(tmp_path, "slurm")
    words = ["--nodes", "2", "--cores", "4", "--memory", "8GiB", "--queue", "long", "--account", "me", "--name", "mine"]
    words += ["--log", "x y.log", "--directive", "--gres=gpu:1", "--directive", "--comment=x", "--time", "2h"]
    out, _ = asyncflow("submit", "--dry-run", script, "$HOME", "it's", "-v", "--config", file, *words, cwd=tmp_path)
    *directives, empty, change, command = out.splitlines()
    assert directives[0] == "#!/bin/sh"
    assert set(directives[1:]) == {
        "#SBATCH --job-name=mine",
        "#SBATCH --time=02:00:00",
        "#SBATCH --nodes=2",
        "#SBATCH --ntasks-per-node=1",
        "#SBATCH --cpus-per-task=4",
        "#SBATCH --mem=8192M",
        "#SBATCH --partition=long",
        "#SBATCH --account=me",
        f"#SBATCH --output='{tmp_path}/x y.log'",
        "#SBATCH --signal=B:TERM@60",
        "#SBATCH --gres=gpu:1",
        "#SBATCH --comment=x",
    }
    assert (empty, change) == ("", f"cd {tmp_path} || exit 1")
    run = ["exec", sys.executable, "-m", "asyncflow", "run", "--config", str(file), "--grace=30s"]
    run += [str(script), "--"]
    assert shlex.split(command) == [*run, "$HOME", "it's", "-v"]


@pytest.mark.parametrize("system", ["pbs", "lsf"])
def test_other_queues_take_drivers_too(system, script, tmp_path):
    """``--system`` says which where the configuration does not; SIGTERM comes before the time is over."""
    file = tmp_path / "local.yaml"
    file.write_text(LOCAL)
    words = ["--config", file, "--time", "1m", "--system", system]
    with home_in(tmp_path, system) as queue:
        out, _ = asyncflow("submit", script, "x", *words, cwd=tmp_path)
        job, log, _ = submitted(out)
        assert eventually(lambda: not queue.live_jobs(), 30)
        (told,) = queue.jobs()
        assert (told.id, told.exit_status, told.name) == (job, 0, "my_workflow")
        assert "exec timeout --preserve-status --signal=TERM 45 " in told.script
        assert reads(log, "['x'] 42")


def test_what_ends_a_job_of_other_queues_reaches_the_script(script, tmp_path):
    """SIGTERM to the job's process closes the engine in order, and the status is that of the script."""
    (tmp_path / "local.yaml").write_text(LOCAL)
    words = ["--config", tmp_path / "local.yaml", "--time", "10m", "--system", "pbs", "--dry-run"]
    text, _ = asyncflow("submit", script, "wait", *words)
    with subprocess.Popen(["sh", "-c", text], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as job:
        assert "42" in job.stdout.readline()
        job.terminate()
        assert job.stdout.read() == "closing\n"
    assert job.returncode == 143


def test_a_faulty_configuration_is_refused_before_anything_is_submitted(slurm, script, write):
    """With all its problems and exit status 2, also for a dry run."""
    file = write("cluster: {kind: slurm, cores: two, memory: much}")
    out, err = asyncflow("submit", script, "--config", file, "--time", "1h", "--dry-run", status=2)
    assert not out
    assert "cluster.cores" in err
    assert "cluster.memory" in err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--time", "soon"], "is not a duration"),
        (["--time", "0"], "is not more than nothing"),
        (["--time", "1h", "--memory", "much"], "is not a size"),
        (["--time", "1h", "--queue", "two words"], "--queue 'two words' must be one word"),
        (["--time", "1h", "--directive", "a\nb"], "--directive must be one line"),
        (["--time", "1h", "--name", "aflow-x"], "names of workers' jobs begin with aflow-"),
        (["--time", "1h", "--system", "sge"], "--system sge: there is no such system; choose one of lsf, pbs, slurm"),
        ([], "Missing option '--time'"),
    ],
)
def test_what_cannot_be_asked_for_is_a_usage_error(words, said, script, tmp_path):
    """Exit status 2, and a sentence that names the value."""
    words = ["submit", str(script), "--config", str(configured(tmp_path, "slurm")), *words]
    done = CliRunner().invoke(main, words)  # in this process: each of its own costs a second
    assert done.exit_code == 2
    assert said in done.output


def test_a_refused_job_is_told_in_the_words_of_the_queue(slurm, script, tmp_path):
    """With exit status 1, and no traceback."""
    words = ["--config", configured(tmp_path, "slurm"), "--time", "1h", "--queue", "nosuch"]
    _, err = asyncflow("submit", script, *words, status=1)
    assert "invalid partition specified: nosuch" in err
    assert "Traceback" not in err


def test_the_system_is_that_of_the_configuration_or_the_one_on_path():
    """Where the kind submits nothing and there are two, or none, the user has to say."""
    from asyncflow.clusters._systems import systems

    known = systems()
    assert choose_system("pbs", known, None, ["slurm"]) is known["pbs"]
    assert choose_system("local", known, None, ["slurm"]) is known["slurm"]
    assert choose_system("local", known, "lsf", ["slurm"]) is known["lsf"]
    with pytest.raises(ValueError, match="commands of pbs and slurm are on PATH; choose one with --system"):
        choose_system("local", known, None, ["pbs", "slurm"])
    with pytest.raises(ValueError, match="none of bsub, qsub, sbatch is on PATH"):
        choose_system("local", known, None, [])


@pytest.mark.parametrize(("script", "name"), [("a b.py", "a_b"), ("dir/7up.py", "run-7up"), ("x.py", "x")])
def test_names_of_jobs_suit_every_queue(script, name):
    """Letters first, nothing that a directive would split."""
    assert job_name(script) == name
