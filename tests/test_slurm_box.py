"""The Slurm of the test suite behaves like a cluster's, and the scripts around it are sound."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from conftest import eventually
from slurm import BOX, give_up

ROOT = Path(__file__).parents[1]
SCRIPTS = sorted(
    [
        *(ROOT / "ci" / "slurm").iterdir(),
        *(ROOT / "ci" / "browser").iterdir(),
        ROOT / "ci" / "venv",
        ROOT / ".ci" / "run",
    ]
)


def output(*command):
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout


def written(file, text):
    """Wait for the fact that a job wrote this to a file."""
    return eventually(lambda: file.exists() and file.read_text() == text, 20)


def test_a_job_runs_and_ends(slurm, tmp_path):
    """A submitted job runs, leaves the queue, and is remembered with its name and how it ended."""
    file = tmp_path / "out"
    good = slurm.submit("--job-name=a|b", f"--output={file}", "--wrap", "echo hello")
    bad = slurm.submit("--wrap", "exit 7")
    assert slurm.wait_for(good, "COMPLETED").name == "a|b"
    assert slurm.wait_for(bad, "FAILED").reason == "NonZeroExitCode"
    assert file.read_text() == "hello\n"
    assert slurm.is_empty()


def test_one_command_runs_on_three_nodes(slurm):
    """srun -N3 starts one task on each of three nodes."""
    nodes = output("srun", "-N3", "bash", "-c", "echo $SLURMD_NODENAME").split()
    assert len(set(nodes)) == len(nodes) == 3


def test_jobs_spread_over_the_nodes(slurm):
    """Small jobs go to different nodes, as on a cluster that favours the least loaded."""
    jobs = [slurm.submit("--wrap", "sleep 600") for _ in range(3)]
    assert len({slurm.wait_for(job, "RUNNING").nodes for job in jobs}) == 3
    slurm.cancel(*jobs)


@pytest.mark.parametrize("partition", ["debug", "gpu"])
def test_a_gpu_job_gets_gpus(slurm, partition):
    """A job that asks for a GPU sees that one, on a node of the gpu partition."""
    command = "echo $SLURMD_NODENAME $CUDA_VISIBLE_DEVICES"
    node, devices = output("srun", f"--partition={partition}", "--gres=gpu:1", "bash", "-c", command).split()
    assert node in {"node3", "node4"}
    assert devices in {"0", "1"}


@pytest.mark.parametrize("argument", ["--gres=gpu:3", "--mem=17000", "--partition=nowhere"])
def test_what_no_node_has_is_refused(slurm, argument):
    """A job that could never run is refused by sbatch."""
    with pytest.raises(AssertionError, match="Batch job submission failed"):
        slurm.submit(argument, "--wrap", "true")


@pytest.mark.parametrize(("argument", "reason"), [("--hold", "JobHeldUser"), ("--nodes=5", "PartitionNodeLimit")])
def test_a_job_can_wait_for_ever(slurm, argument, reason):
    """A held job, and one with more nodes than its partition has, are pending and say why."""
    job = slurm.submit(argument, "--wrap", "true")
    assert eventually(lambda: slurm.wait_for(job, "PENDING").reason == reason)
    assert [each.id for each in slurm.jobs()] == [job]
    slurm.cancel(job)


def test_scancel_ends_the_processes(slurm):
    """A cancelled job leaves no process, neither of its script nor of its steps."""
    job = slurm.submit("-N2", "--wrap", "srun -N2 sleep 600 & sleep 600; wait")

    def sleepers():
        commands = slurm.processes(job).values()
        return [each for each in commands if each.endswith("sleep 600") and not each.startswith("srun")]

    assert eventually(lambda: len(sleepers()) == 3, 20), slurm.processes(job)
    slurm.cancel(job)
    slurm.wait_for(job, "CANCELLED")
    assert eventually(lambda: not slurm.processes(job))


def test_a_signal_reaches_the_job(slurm, tmp_path):
    """A signal by name reaches the batch script, and the job goes on."""
    file = tmp_path / "out"
    script = "trap 'echo got it; exit 0' USR1; echo ready; while :; do sleep 0.1; done"
    job = slurm.submit(f"--output={file}", "--wrap", script)
    assert written(file, "ready\n")
    output("scancel", "--batch", "--signal=USR1", job)
    slurm.wait_for(job, "COMPLETED")
    assert file.read_text() == "ready\ngot it\n"


@pytest.mark.parametrize("environment", ["ALL", "NONE"])
def test_a_stray_process_ends_with_its_job(slurm, tmp_path, environment):
    """A process that left its job's process group and ignores SIGTERM is killed once the job has ended."""
    file = tmp_path / "pid"
    stray = tmp_path / "stray"
    stray.write_text(f"trap '' TERM\necho $$ > {file}\nwhile :; do sleep 0.1; done\n")
    script = f"setsid sh {stray} > /dev/null 2>&1 &\nuntil [ -s {file} ]; do sleep 0.05; done"
    job = slurm.submit(f"--export={environment}", "--wrap", script)
    slurm.wait_for(job, "COMPLETED")
    assert file.exists()
    assert not slurm.processes(job)


def test_a_job_left_behind_is_found_and_ended(slurm, monkeypatch):
    """What a test leaves is reported, and does not reach the next test."""
    monkeypatch.setattr("conftest.eventually", lambda condition, timeout: eventually(condition, min(timeout, 3)))
    job = slurm.submit("--wrap", "sleep 600")
    slurm.wait_for(job, "RUNNING")
    left = slurm.left_over()
    assert job in {each.id for each in left if hasattr(each, "id")}
    assert slurm.left_over() == []


def test_a_controller_that_stopped_comes_back(slurm):
    """`up` starts what is down; the other daemons go on, and the queue is what it was."""
    job = slurm.submit("--hold", "--wrap", "true")
    before = slurm.status()
    assert before.count(" runs, pid ") == 6
    output("scontrol", "shutdown", "slurmctld")
    assert eventually(lambda: "slurmctld is down" in slurm.status())
    slurm.start()
    after = slurm.status()
    assert [line for line in before.splitlines() if "slurmd." in line or "munged" in line] == [
        line for line in after.splitlines() if "slurmd." in line or "munged" in line
    ]
    assert [each.id for each in slurm.jobs()] == [job]
    slurm.cancel(job)


@pytest.mark.parametrize("box", ["/", "relative", "/tmp/with space", "/" + "x" * 64, str(ROOT)])
def test_only_its_own_directory_is_used(box):
    """A directory that is not the box's is refused, and never deleted."""
    environ = {**os.environ, "ASYNCFLOW_SLURM_BOX": box}
    up = subprocess.run([BOX, "up"], env=environ, capture_output=True, text=True, check=False)
    assert up.returncode == 1
    assert "ci/slurm/box: " in up.stderr
    subprocess.run([BOX, "wipe"], env=environ, capture_output=True, check=False)
    assert BOX.exists()


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_shellcheck_has_nothing_to_say(script):
    """shellcheck finds nothing in our shell scripts."""
    if not shutil.which("shellcheck"):
        give_up("shellcheck is not installed: run ci/slurm/install as root")
    done = subprocess.run(["shellcheck", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
