"""Whole engines over a real Slurm: work runs in jobs, where it belongs, encrypted, and nothing is left."""

import asyncio
import signal
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest
from distributed import Client, Security

from asyncflow import StartError, SubmitError, WorkflowEngine
from slurm_engine import Driver, config, left

EXAMPLES = Path(__file__).parents[1] / "examples"


def where():
    """The node and the job that a body runs in."""
    import os

    return os.environ["SLURMD_NODENAME"], os.environ["SLURM_JOB_ID"], os.environ["SLURM_JOB_PARTITION"]


async def test_functions_and_commands_run_in_jobs_and_nothing_is_left(slurm, tmp_path):
    """A script that knows nothing of Slurm runs in its jobs; afterwards queue and shared directory are empty."""
    handler = signal.getsignal(signal.SIGINT)
    async with WorkflowEngine.create(config=config(tmp_path)) as flow:
        place = flow.function_task(where)

        @flow.function_task
        def add(left, right):
            return left + right

        @flow.executable_task
        def say(number):
            return ["echo", str(number)]

        found = await asyncio.gather(*(place() for _ in range(8)))
        assert {job for _, job, _ in found} <= {job.id for job in await asyncio.to_thread(slurm.jobs)}
        assert (await say(add(add(1, 2), 3))).strip() == "6"
    assert signal.getsignal(signal.SIGINT) is handler
    assert left(tmp_path) == []


async def test_pools_share_one_scheduler_and_data_flows_between_them(slurm, tmp_path):
    """200 tasks over two pools that scale from nothing run where they are sent, and give the right answer."""
    pools = {
        "cpu": {"queue": "debug", "cores": 2, "jobs": {"min": 0, "max": 4}},
        "gpu": {
            "queue": "gpu",
            "cores": 1,
            "jobs": {"min": 0, "max": 4},
            "job_extra_directives": ["--gres=gpu:1"],
            "resources": {"gpu": 1},
        },
    }
    async with WorkflowEngine.create(config=config(tmp_path, memory="1GB", pools=pools)) as flow:
        place = flow.function_task(where)

        @flow.function_task
        def double(number):
            return 2 * number

        @flow.function_task(pool="gpu")
        def total(*numbers):
            return sum(numbers), where()[2]

        chunks = [[double(double(i)) for i in range(j, j + 10)] for j in range(0, 90, 10)]
        sums = await asyncio.gather(*(total(*chunk) for chunk in chunks))
        assert sum(each for each, _ in sums) == 4 * sum(range(90))
        assert {partition for _, partition in sums} == {"gpu"}

        @flow.function_task(resources={"gpu": 1})
        def devices():
            import os

            return os.environ["CUDA_VISIBLE_DEVICES"], where()[2]

        found = await asyncio.gather(*(devices() for _ in range(4)))
        assert {partition for _, partition in found} == {"gpu"}
        assert {device for device, _ in found} <= {"0", "1"}
        assert (await place())[2] == "debug"
    assert left(tmp_path) == []


async def test_plain_and_foreign_clients_are_refused(slurm, tmp_path):
    """Whoever has no certificate of the run's own authority reaches neither scheduler nor workers."""
    async with WorkflowEngine.create(config=config(tmp_path, jobs=1)) as flow:

        @flow.function_task
        def address():
            from distributed import get_worker

            return get_worker().address, get_worker().scheduler.address

        worker, scheduler = await address()
        assert worker.startswith("tls://")
        assert scheduler.startswith("tls://")
        for target in (worker, scheduler):
            for how, security in (("tcp", None), ("tls", Security.temporary())):
                with pytest.raises((OSError, RuntimeError)):
                    await Client(
                        target.replace("tls", how),
                        security=security,
                        asynchronous=True,
                        timeout="2s",
                        set_as_default=False,
                    )


async def test_the_dashboard_answers_on_this_machine_only_and_the_log_tells_the_tunnel(slurm, tmp_path, caplog):
    """Wherever the scheduler listens; the line of ssh is the way from elsewhere."""
    keys = config(tmp_path, jobs={"min": 0, "max": 1})
    del keys["cluster"]["interface"]
    caplog.set_level("INFO", "asyncflow")
    async with WorkflowEngine.create(config=keys) as flow:
        link = flow.dashboard_link
        port = urlsplit(link).port
        assert link == f"http://127.0.0.1:{port}/status"
        assert f"ssh -N -L {port}:127.0.0.1:{port} " in caplog.text
        listening = {each.laddr.ip for each in psutil.Process().net_connections() if each.laddr.port == port}
        assert listening == {"127.0.0.1"}


async def test_an_unknown_partition_is_told_by_create(slurm, tmp_path):
    """A refused submission raises from create(), with the command, its exit status and what it said."""
    with pytest.raises(SubmitError, match="invalid partition specified: nosuch") as caught:
        await WorkflowEngine.create(config=config(tmp_path, queue="nosuch"))
    assert caught.value.command[0] == "sbatch"
    assert caught.value.returncode == 1
    assert left(tmp_path) == []


async def test_a_request_no_node_can_meet_is_told_by_create(slurm, tmp_path):
    """Slurm refuses what no node has; its words reach the user."""
    with pytest.raises(SubmitError, match=r"(?i)memory|not available"):
        await WorkflowEngine.create(config=config(tmp_path, memory="900GB"))


async def test_a_job_that_waits_is_named_with_slurms_reason(slurm, tmp_path):
    """start_timeout bounds the wait for the first worker; the error tells address, job and reason."""
    held = config(tmp_path, jobs=1, job_extra_directives=["--hold"], start_timeout=4)
    with pytest.raises(StartError, match="JobHeldUser") as caught:
        await WorkflowEngine.create(config=held)
    assert "tls://127.0.0.1" in str(caught.value)
    assert "interface lo" in str(caught.value)


async def test_later_refusals_fail_what_waits_for_that_pool_only(slurm, tmp_path):
    """A pool that cannot have jobs fails its calls with Slurm's words; calls of other pools go on."""
    pools = {
        "cpu": {"queue": "debug", "jobs": 1},
        "gone": {"queue": "nosuch", "jobs": {"min": 0, "max": 1}},
    }
    async with WorkflowEngine.create(config=config(tmp_path, cores=1, memory="1GB", pools=pools)) as flow:
        place = flow.function_task(where)
        lost = place.options(pool="gone")
        first, fine = lost(), place()
        with pytest.raises(SubmitError, match="invalid partition"):
            await first
        assert (await fine)[2] == "debug"
        with pytest.raises(SubmitError, match="invalid partition"):  # tried again for later calls
            await lost()


def test_the_example_of_the_laptop_runs_unchanged(slurm, tmp_path):
    """The five-workflow example knows of no cluster; the configuration alone moves it to Slurm."""
    with Driver(tmp_path, script=EXAMPLES / "async_workflows_dask.py") as driver:
        assert driver.process.wait(60) == 0, driver.log.read_text()
        assert driver.said("Workflow 4 completed")
        assert driver.said("pool 'slurm': submitted job")
    assert left(tmp_path) == []


def test_modules_beside_the_script_import_in_jobs(slurm, tmp_path):
    """A project's own module is found by the workers, wherever the script was started from."""
    project = tmp_path / "project"
    project.mkdir()
    (project / "physics.py").write_text("def energy(mass):\n    return 9 * mass\n")
    body = """
    import physics
    print("energy", await flow.function_task(physics.energy)(2))
    """
    with Driver(project, body, jobs=1) as driver:
        assert driver.process.wait(60) == 0, driver.log.read_text()
        assert driver.said("energy 18")
