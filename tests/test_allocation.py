"""Everything inside one batch job: what its environment tells, what starts the workers, and how all of it ends."""

import asyncio
import os
import re
import signal
import sys
from contextlib import suppress
from pathlib import Path

import pytest
import yaml
from distributed import Client

from asyncflow import ConfigError, PoolError, StartError, WorkflowEngine
from asyncflow.clusters import allocation
from asyncflow.clusters._environment import Allocation, allocation_of
from asyncflow.clusters._launchers import from_template, pbsdsh, srun_environment
from asyncflow.config import load_settings
from conftest import eventually
from fakes import becomes, home_in, submit

ROOT = Path(__file__).parents[1]
SLURM_SCRIPT = ROOT / "hpc_scripts" / "slurm_allocation.sbatch"
MIB = 2**20

WORK = """
import asyncio, os, time
from asyncflow import WorkflowEngine

async def main():
    async with WorkflowEngine.create() as flow:
        @flow.function_task
        def where(number):
            time.sleep({seconds})
            return os.environ[{variable!r}], os.getcwd()

        print("ready", flush=True)
        found = set()
        while len(found) < {nodes}:  # workers come one after the other
            found |= set(await asyncio.gather(*(where(number) for number in range(10))))
        print("found", *sorted(node for node, _ in found), {{path for _, path in found}}, flush=True)
        {then}

asyncio.run(main())
"""


@pytest.fixture(autouse=True)
def no_job(monkeypatch):
    """The suite itself may run in a job."""
    for name in os.environ:
        if re.match(r"(SLURM|PBS|LSB)_", name):
            monkeypatch.delenv(name)


def config(tmp_path, **keys):
    """Two workers on this machine, started by a command that needs no batch system."""
    common = {
        "kind": "allocation",
        "launcher": """sh -c '"$@" & "$@" & wait' sh {worker}""",
        "interface": "lo",
        "nodes": 2,
        "cores": 2,
        "memory": "600MB",
        "start_timeout": 60,
        "shared_temp_directory": str(tmp_path / "shared"),
    }
    return {"cluster": {**common, **keys}}


def left(tmp_path):
    """What runs have left in their shared directory."""
    return [path for path in (tmp_path / "shared").rglob("*") if path.is_file()]


def work(tmp_path, variable="SLURMD_NODENAME", n_nodes=1, seconds=0.1, then="pass", **keys):
    """A script whose tasks tell where they ran until they have run on `n_nodes`, and its configuration."""
    script, file = tmp_path / "work.py", tmp_path / "work.yaml"
    script.write_text(WORK.format(variable=variable, nodes=n_nodes, seconds=seconds, then=then))
    keys = {"shared_temp_directory": str(tmp_path / "shared"), "interface": "lo", **keys}
    file.write_text(yaml.safe_dump({"cluster": {"kind": "allocation", **keys}}))
    return script, file


# What the environment tells

SLURM = {"SLURM_JOB_ID": "7", "SLURM_JOB_NUM_NODES": "3", "SLURM_JOB_CPUS_PER_NODE": "8(x3)"}
PBS = {"PBS_JOBID": "12.server", "PBS_NODEFILE": "nodes", "NCPUS": "8"}
LSF = {"LSB_JOBID": "9", "LSB_DJOB_NUMPROC": "12"}


@pytest.mark.parametrize(
    ("environ", "nodes", "expected"),
    [
        ({}, "", None),
        ({"PBS_JOBID": "12.server"}, "", None),
        (SLURM, "", ("SLURM", 3, 8, None)),
        (SLURM | {"SLURM_MEM_PER_NODE": "16000"}, "", ("SLURM", 3, 8, 16000 * MIB)),
        (SLURM | {"SLURM_MEM_PER_CPU": "500"}, "", ("SLURM", 3, 8, 4000 * MIB)),
        (SLURM | {"SLURM_MEM_PER_NODE": "0"}, "", ("SLURM", 3, 8, None)),
        (SLURM | {"SLURM_MEM_PER_GPU": "1000", "SLURM_GPUS_ON_NODE": "2"}, "", ("SLURM", 3, 8, 2000 * MIB)),
        (SLURM | {"SLURM_JOB_CPUS_PER_NODE": "8(x2),4"}, "", ("SLURM", 3, 4, None)),
        (SLURM | {"SLURM_JOB_CPUS_PER_NODE": "4,8(x2)", "SLURM_MEM_PER_CPU": "100"}, "", ("SLURM", 3, 4, 400 * MIB)),
        (SLURM | {"SLURM_NNODES": "1", "SLURM_CPUS_ON_NODE": "1"}, "", ("SLURM", 3, 8, None)),
        ({"SLURM_JOB_ID": "7", "SLURM_CPUS_ON_NODE": "6"}, "", ("SLURM", 1, 6, None)),
        (PBS, "a b c", ("PBS", 3, 8, None)),
        (PBS, "a a b b", ("PBS", 2, 8, None)),
        (PBS | {"NCPUS": "1"}, "a a a a b b b b", ("PBS", 2, 4, None)),
        (PBS | {"PBS_NUM_PPN": "4"}, "a a a a", ("PBS", 1, 4, None)),
        (PBS, "", ("PBS", 1, 8, None)),
        (LSF | {"LSB_MCPU_HOSTS": "a 8 b 4"}, "", ("LSF", 2, 4, None)),
        (LSF, "", ("LSF", 1, 12, None)),
    ],
)
def test_nodes_cores_and_memory_are_read_from_the_environment(environ, nodes, expected):
    """Of a job of SLURM, PBS or LSF; where nodes differ, the smallest counts, and a step's variables never do."""
    found = allocation_of(environ, read=lambda path: nodes)
    assert expected == (found and (found.system, found.nodes, found.cores, found.memory))


def test_a_list_of_hosts_that_is_not_here_is_no_error():
    """PBS's file is on the first node only; a driver elsewhere still knows its job."""
    assert allocation_of(PBS | {"PBS_NODEFILE": "/nowhere/nodes"}) == Allocation("PBS", "12.server", 1, 8)


def test_what_the_configuration_says_counts_more_than_the_job():
    """Cores and memory of each node are shared out among its processes."""
    environ = SLURM | {"SLURM_MEM_PER_NODE": "1000"}
    plan = allocation.plan(allocation.Config(processes=2), environ)
    assert (plan.pool.workers, plan.pool.cores, plan.pool.memory) == (6, 4, 500 * MIB)
    keys = allocation.Config(processes=3, nodes=2, cores=6, memory=9000, resources={"gpu": 1})
    pool = allocation.plan(keys, environ).pool
    assert (pool.workers, pool.cores, pool.memory, pool.resources) == (6, 2, 3000, {"gpu": 1})


async def test_cores_that_stay_idle_are_told(tmp_path, monkeypatch, caplog):
    """Where nodes differ, a warning says how many of them each worker takes."""
    for name, value in {"SLURM_JOB_ID": "7", "SLURM_JOB_CPUS_PER_NODE": "5,1"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(StartError, match="ended with exit status 1"):
        await WorkflowEngine.create(config=config(tmp_path, launcher="false {worker}", nodes=None, cores=None))
    assert "SLURM job 7 has 5 cores on one node, and 1 of each are used" in caplog.text


# What is refused


async def test_outside_a_job_the_message_says_where_to_go(tmp_path):
    """The configuration is in order anywhere; an engine with it starts in a job only."""
    given = config(tmp_path, launcher=None, nodes=None)
    assert (await asyncio.to_thread(load_settings, given)).kind == "allocation"
    with pytest.raises(StartError, match=r"runs inside a batch job.*sbatch hpc_scripts/slurm_allocation\.sbatch"):
        await WorkflowEngine.create(config=given)


@pytest.mark.parametrize(
    ("environ", "keys", "message"),
    [
        (SLURM, {"nodes": 4}, "nodes is 4, and SLURM job 7 has 3; ask for more, or leave it out"),
        (SLURM, {"processes": 9}, "processes is 9, and there are 8 cores on each node"),
        (LSF, {}, "LSF job 9 needs a launcher:, for instance mpiexec -n {nodes} -ppn 1 {worker}"),
        ({}, {"launcher": "mpiexec {worker}"}, "or another batch system give launcher:, nodes: and cores:"),
    ],
)
def test_what_the_job_has_not_is_refused(environ, keys, message):
    """With what is asked for, what there is, and what to do."""
    with pytest.raises(StartError, match=re.escape(message)):
        allocation.plan(allocation.Config(**keys), environ)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"launcher": "mpiexec -n {nodes}"}, "does not say where the worker's command goes; write {worker} there"),
        ({"launcher": "mpiexec -n {node} {worker}"}, "has the unknown place {node}; did you mean 'nodes'?"),
        ({"launcher": "sh -c '{worker}"}, "cannot be split into words (No closing quotation); mend its quotes"),
        ({"processes": 4, "cores": 2}, "2 cores are too few for 4 processes; give at least one for each"),
    ],
)
def test_a_faulty_configuration_is_refused_when_it_is_loaded(tmp_path, keys, message):
    """Before anything is submitted."""
    with pytest.raises(ConfigError, match=re.escape(message)):
        load_settings(config(tmp_path, **keys))


# What starts the workers


def test_a_template_is_split_into_words_and_no_shell_sees_it():
    """The worker's command keeps its words; inside a longer word it is quoted."""
    worker = ["python", "-m", "dask worker"]
    words = from_template("mpiexec -n {nodes} -c{cores} {worker}", worker, 3, 8)
    assert words == ["mpiexec", "-n", "3", "-c8", *worker]
    assert from_template("bash -lc 'exec {worker}; # $X'", worker, 1, 1)[2] == "exec python -m 'dask worker'; # $X"


@pytest.mark.parametrize(
    ("slots", "nodes", "places"),
    [("a b c", 3, None), ("", 1, None), ("a a b b", 2, "0 2"), ("a b c", 2, "0 1")],
)
def test_pbsdsh_starts_once_on_each_host(slots, nodes, places):
    """Where a host is listed several times its first place is named: OpenPBS has no option for that."""
    words = pbsdsh(["python"], Allocation("PBS", "1", nodes, 1, slots=tuple(slots.split())), nodes, {})
    start, task = words[:-6], words[-6:]
    assert task == ["sh", "-c", 'cd "$0" && exec "$@"', str(Path.cwd()), "env", "python"]
    assert start == (["pbsdsh", "--"] if places is None else [*start[:3], places])


def test_pbsdsh_carries_paths_and_nothing_else():
    """Its tasks have a login's environment; command lines are for everybody to read, so secrets stay at home."""
    environ = {"PATH": "/bin:rel", "PYTHONPATH": "", "SECRET": "x", "LD_LIBRARY_PATH": "/lib"}
    words = pbsdsh(["python"], Allocation("PBS", "1", 1, 1, slots=("a",)), 1, environ)
    assert words[words.index("env") :] == ["env", f"PATH=/bin:{Path.cwd()}/rel", "LD_LIBRARY_PATH=/lib", "python"]


def test_options_of_the_job_do_not_reach_srun():
    """They were about the job's script; what else Slurm set stays."""
    kept = {"SLURM_JOB_ID": "7", "SLURM_CONF": "x", "PATH": "/bin", "SLURM_MEM": "1"}
    dropped = dict.fromkeys(("SLURM_CPUS_PER_TASK", "SRUN_CPUS_PER_TASK", "SLURM_MEM_PER_CPU", "SLURM_EXPORT_ENV"), "1")
    assert srun_environment({**kept, **dropped, "SLURM_NTASKS_PER_NODE": "8"}) == kept


# Running, on this machine


async def test_workers_are_encrypted_and_nothing_is_left(tmp_path):
    """Functions and commands run on all workers; without the run's certificate nobody is let in."""
    async with WorkflowEngine.create(
        config=config(tmp_path, launcher="{worker}", nodes=1, processes=2, resources={"gpu": 1})
    ) as flow:

        @flow.function_task(resources={"gpu": 1})
        def who(number):
            import time

            time.sleep(0.1)
            return os.getpid()

        @flow.executable_task
        def say(number):
            return ["echo", str(number)]

        assert (await say(3)).strip() == "3"
        assert eventually(lambda: len(flow.backend._cluster._scheduler.workers) == 2, 60)
        assert len(set(await asyncio.gather(*(who(number) for number in range(40))))) == 2
        address = flow.backend._cluster.target.address
        assert address.startswith("tls://")
        with pytest.raises(OSError):
            await Client(address.replace("tls://", "tcp://"), asynchronous=True, timeout=2)
        for path in left(tmp_path):
            assert path.stat().st_mode & 0o077 == 0
    assert left(tmp_path) == []


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (
            {"launcher": "sh -c 'echo no such account >&2; exit 3' {worker}"},
            r"no worker came: sh -c .*ended with exit status 3; its log ends:\nno such account",
        ),
        ({"launcher": "/nowhere/mpiexec {worker}"}, r"the launcher '/nowhere/mpiexec' could not be started"),
        (
            {"launcher": "sh -c 'echo waits; sleep 600' {worker}", "start_timeout": 0.5},
            r"within start_timeout \(0\.5 s\); the launcher still runs: sh -c .*its log ends:\nwaits",
        ),
    ],
)
async def test_a_launcher_that_brings_no_worker_is_told_and_ended(tmp_path, keys, message):
    """With its command, its exit status and the end of its log; nothing of it is left."""
    with pytest.raises(StartError, match=f"(?s){message}"):
        await WorkflowEngine.create(config=config(tmp_path, **keys))
    assert left(tmp_path) == []


async def test_a_start_that_is_cancelled_leaves_nothing(tmp_path):
    """Neither processes nor files."""
    given = config(tmp_path, launcher="sh -c 'sleep 600' {worker}")
    starting = asyncio.ensure_future(WorkflowEngine.create(config=given))
    while not left(tmp_path):
        await asyncio.sleep(0.01)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert eventually(lambda: left(tmp_path) == [])


async def test_when_the_launcher_ends_calls_fail_instead_of_waiting(tmp_path, caplog):
    """What runs and what is called later fails with the launcher's last words, which stay to be read."""
    launcher = """sh -c '"$@"; echo the node is on fire; exit 9' sh {worker}"""
    async with WorkflowEngine.create(config=config(tmp_path, launcher=launcher, nodes=1)) as flow:

        @flow.function_task(lost_retries=0)
        def die(number):
            os.kill(os.getppid(), signal.SIGKILL)  # the nanny, which would start another
            os.kill(os.getpid(), signal.SIGKILL)

        @flow.function_task
        def later(number):
            return number

        with suppress(Exception):
            await die(1)
        with pytest.raises(PoolError, match=r"(?s)the workers have ended:.*exit status 9.*the node is on fire"):
            await later(2)
    assert "the node is on fire" in caplog.text
    assert [path.name for path in left(tmp_path)] == ["launcher.log"]


# Inside jobs


def test_pbsdsh_starts_workers_on_all_nodes(tmp_path):
    """Two chunks on each of three nodes are one worker each, in the script's directory and with its Python."""
    script, file = work(tmp_path, "PBS_NODENUM", 3, memory="600MB", worker_extra_args=["--no-nanny"])
    with home_in(tmp_path, "pbs", nodes=3, cores=2) as queue:
        command = f"cd {tmp_path}; {sys.executable} -m asyncflow run -c {file} {script}"
        job = submit(queue, command, "-l", "select=6:ncpus=1", "-l", "place=free", "-j", "oe", "-o", f"{tmp_path}/log")
        log = tmp_path / "log"
        assert eventually(log.exists, 60)
        assert becomes(queue, job, "done").nodes == ("node1", "node1", "node2", "node2", "node3", "node3")
    assert f"found 0 2 4 {{{str(tmp_path)!r}}}" in log.read_text()
    assert left(tmp_path) == []


def sbatch(slurm, tmp_path, *arguments):
    """Submit with the suite's asyncflow; the job and its log."""
    log = tmp_path / "job.log"
    return slurm.submit(f"--output={log}", f"--chdir={tmp_path}", *map(str, arguments)), log


@pytest.fixture
def venv(monkeypatch):
    """The environment variables that the scripts read."""
    monkeypatch.setenv("ASYNCFLOW_VENV", str(Path(sys.executable).parents[1]))
    return monkeypatch


def test_a_job_over_three_nodes_runs_work_on_all_three(slurm, tmp_path, venv):
    """``sbatch --nodes=3 hpc_scripts/slurm_allocation.sbatch``, as a user would."""
    script, file = work(tmp_path, n_nodes=3)
    venv.setenv("ASYNCFLOW_CONFIG", str(file))
    job, log = sbatch(slurm, tmp_path, "--nodes=3", "--cpus-per-task=1", SLURM_SCRIPT, script)
    slurm.wait_for(job, "COMPLETED", "FAILED", timeout=60)
    text = log.read_text()
    found = re.search(r"found (node\d) (node\d) (node\d) \{'(.*)'\}\n", text)
    assert found, text
    assert found[4] == str(tmp_path)
    assert left(tmp_path) == []


def driver_of(slurm, job):
    """The process of the script."""
    return next(
        pid for pid, command in slurm.processes(job).items() if "asyncflow run" in command and "srun" not in command
    )


def test_kill_9_of_the_driver_ends_the_job(slurm, tmp_path, venv):
    """No worker and no process of the job outlives it, whatever was running."""
    script, file = work(tmp_path, seconds=600, worker_extra_args=["--no-nanny"])
    venv.setenv("ASYNCFLOW_CONFIG", str(file))
    job, log = sbatch(slurm, tmp_path, "--nodes=2", "--cpus-per-task=1", SLURM_SCRIPT, script)
    assert eventually(lambda: log.exists() and "ready" in log.read_text(), 60), log.read_text()
    os.kill(driver_of(slurm, job), signal.SIGKILL)
    slurm.wait_for(job, "FAILED", timeout=30)
    assert eventually(lambda: not slurm.processes(job))
    assert not list((tmp_path / "shared").rglob("*.pem"))


def test_a_driver_may_be_a_step_and_workers_do_not_outlive_it(slurm, tmp_path):
    """The workers' step uses the same cores; where the job goes on without the driver, it has its nodes for itself."""
    script, file = work(tmp_path, then="await asyncio.sleep(600)", worker_extra_args=["--no-nanny"])
    command = f"srun --ntasks=1 {sys.executable} -m asyncflow run -c {file} {script}; sleep 600"
    job, log = sbatch(slurm, tmp_path, "--cpus-per-task=2", "--mem=1000", "--wrap", command)
    assert eventually(lambda: log.exists() and "found" in log.read_text(), 60), log.read_text()
    os.kill(driver_of(slurm, job), signal.SIGKILL)
    assert eventually(lambda: not any("dask" in each for each in slurm.processes(job).values()), 30)
    assert eventually(lambda: not any("srun" in each for each in slurm.processes(job).values()), 10)
    assert slurm.wait_for(job, "RUNNING")
    slurm.cancel(job)
