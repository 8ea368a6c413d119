"""Jobs that die, drivers that are killed, walltimes: on a real Slurm work goes on, or fails with its cause."""

import asyncio
import contextlib
import os
import signal
import time
from pathlib import Path

import psutil
import pytest

from asyncflow import PoolError, StartError, WalltimeError, WorkflowEngine
from asyncflow.states import FINAL
from conftest import eventually
from slurm_engine import Driver, config, left


def job_after(path, seconds):
    """Write the job's id to `path`, work for a while, and return the id of the job that got to the end."""
    job = os.environ["SLURM_JOB_ID"]
    with Path(path).open("a") as file:
        file.write(f"{job}\n")
    time.sleep(seconds)
    return job


def lines(path):
    return path.read_text().split() if path.exists() else []


async def test_work_of_a_cancelled_job_is_done_again_and_the_job_replaced(slurm, tmp_path):
    """scancel of a running worker job costs its running tasks one more go; another job takes its place."""
    begun = tmp_path / "begun"
    async with WorkflowEngine.create(config=config(tmp_path, jobs=2)) as flow:
        work = flow.function_task(job_after)
        calls = [work(str(begun), 3) for _ in range(4)]
        assert await asyncio.to_thread(eventually, lambda: len(lines(begun)) >= 2)
        victim = lines(begun)[0]
        await asyncio.to_thread(slurm.cancel, victim)
        assert victim not in await asyncio.gather(*calls)

        def is_replaced():
            running = {job.id for job in slurm.jobs() if job.state == "RUNNING"} - {victim}
            return len(running) == 2

        assert await asyncio.to_thread(eventually, is_replaced, 20)


async def test_a_job_of_several_workers_is_replaced_and_none_thrashes(slurm, tmp_path, monkeypatch):
    """With processes: 2 jobs are counted, not workers: no more are submitted than are wanted, lost ones come back."""
    monkeypatch.setattr("asyncflow.queues.demand.WORTH", 0.1)  # seconds of work that are worth a worker
    scaled = config(tmp_path, cores=2, processes=2, jobs={"min": 0, "max": 2}, idle_timeout=600)
    async with WorkflowEngine.create(config=scaled) as flow:
        work = flow.function_task(job_after)
        begun = tmp_path / "begun"

        async def worked_in(number):
            """Waves with pauses, under which dask's own scaling submits and cancels for ever, until so many jobs work."""
            waves = 0
            async with asyncio.timeout(60):
                while waves < 3 or len(set(lines(begun))) < number:
                    await asyncio.gather(*(work(str(begun), 0.5) for _ in range(8)))
                    waves += 1
            return set(lines(begun))

        mine = await worked_in(2)
        jobs = await asyncio.to_thread(slurm.all_jobs)
        (run,) = {job.name for job in jobs if job.id in mine}
        await asyncio.to_thread(slurm.cancel, min(mine))
        worked = await worked_in(3)
        jobs = await asyncio.to_thread(slurm.all_jobs)
        assert {job.id for job in jobs if job.name == run} == worked


async def test_idle_jobs_above_the_minimum_are_given_back_with_their_results_kept(slurm, tmp_path, monkeypatch):
    """A job that has had nothing to do goes; what it had computed can still be had."""
    monkeypatch.setattr("asyncflow.queues.scaling.YOUNG", 2.0)
    scaled = config(tmp_path, jobs={"min": 1, "max": 3}, idle_timeout=2)
    async with WorkflowEngine.create(config=scaled) as flow:
        work = flow.function_task(job_after)
        calls = [work(str(tmp_path / "begun"), 2) for _ in range(6)]
        held = [flow.function_task(str.upper)(each) for each in calls]
        await asyncio.wait(calls)
        assert len(set(lines(tmp_path / "begun"))) == 3

        def one_is_left():
            return len([job for job in slurm.jobs() if job.state == "RUNNING"]) == 1

        assert await asyncio.to_thread(eventually, one_is_left, 30)
        begun = len(lines(tmp_path / "begun"))
        assert set(await asyncio.gather(*held)) <= set(lines(tmp_path / "begun"))
        assert len(lines(tmp_path / "begun")) == begun


async def test_three_jobs_that_die_at_once_stop_the_pool_with_their_log(slurm, tmp_path):
    """Where every job dies at its start, create() says so with the last lines of the log, and keeps the logs."""
    broken = config(tmp_path, jobs=1, job_script_prologue=["echo 'module: no such module: physics' >&2", "exit 3"])
    with pytest.raises(StartError, match="no such module: physics") as caught:
        await WorkflowEngine.create(config=broken)
    assert "3 jobs died" in str(caught.value)
    assert any("physics" in path.read_text() for path in left(tmp_path))
    assert not [path for path in left(tmp_path) if path.suffix == ".pem"]


async def test_calls_of_a_pool_that_has_stopped_fail_with_its_log(slurm, tmp_path):
    """A call that only a stopped pool could run fails; it does not wait for ever."""
    pools = {
        "cpu": {"queue": "debug", "jobs": 1},
        "bad": {"queue": "debug", "jobs": {"min": 0, "max": 1}, "python": "/no/such/python"},
    }
    async with WorkflowEngine.create(config=config(tmp_path, cores=1, memory="1GB", pools=pools)) as flow:
        work = flow.function_task(job_after)
        with pytest.raises(PoolError, match="/no/such/python") as caught:
            await work.options(pool="bad")(str(tmp_path / "begun"), 0)
        assert caught.value.pool == "bad"
        with pytest.raises(PoolError):
            await work.options(pool="bad")(str(tmp_path / "begun"), 0)
        assert await work(str(tmp_path / "begun"), 0)


def hang_in_the_first_job(path):
    """Write the job's id to `path`; return the ids written where another job was there before, else never."""
    with Path(path).open("a+") as file:
        file.write(f"{os.environ['SLURM_JOB_ID']}\n")
        file.seek(0)
        begun = file.read().split()
    while len(begun) == 1:
        time.sleep(1)
    return begun


@pytest.mark.slow
@pytest.mark.timeout(240)
async def test_workers_leave_before_their_walltime_and_jobs_cut_by_slurm_are_replaced(slurm, tmp_path, caplog):
    """Jobs of a minute: long work fails with the walltime named, short work and results go on in the next jobs.

    Beside them a job that Slurm cuts off, because its limit is not the one that asyncflow was told: it is named with
    Slurm's word, replaced, and its work done again.
    """
    pools = {
        "short": {"cores": 2, "walltime": 60, "jobs": 2},
        "cut": {"cores": 1, "jobs": 1, "job_extra_directives": ["--time=1"]},
    }
    async with WorkflowEngine.create(config=config(tmp_path, queue="debug", memory="1GB", pools=pools)) as flow:
        cut = flow.function_task(hang_in_the_first_job, pool="cut")(str(tmp_path / "cut"))
        work = flow.function_task(job_after)
        early = work(str(tmp_path / "early"), 0)
        endless = work.options(lost_retries=0, name="endless")(str(tmp_path / "endless"), 600)
        begun = tmp_path / "begun"
        done = []
        while endless.state not in FINAL:
            done += await asyncio.gather(*(work(str(begun), 1) for _ in range(3)))
        with pytest.raises(WalltimeError, match="'endless' was cut off once by the walltime of its jobs \\(60 s"):
            await endless
        assert len(lines(begun)) == len(done)  # no short task was begun twice
        assert len(set(done)) > 2  # replacements took over
        assert lines(tmp_path / "early") == [await early]  # its job handed the result on before it left
        first, second = await cut
        assert first != second
    states = {job.id: job.state for job in await asyncio.to_thread(slurm.all_jobs)}
    assert states[first] == "TIMEOUT"
    assert f"job {first} (TIMEOUT" in caplog.text
    assert "TIMEOUT" not in {states[job] for job in done}


KILLED = [signal.SIGKILL, signal.SIGTERM, signal.SIGINT]


@pytest.mark.parametrize("number", KILLED, ids=lambda number: number.name)
def test_a_driver_that_is_killed_leaves_nothing_in_the_queue(slurm, tmp_path, number):
    """One job running, one starting, one pending: whatever ends the driver, all are cancelled."""
    pools = {
        "running": {"jobs": 1},
        "starting": {"jobs": 1, "job_script_prologue": ["sleep 60"]},
        "pending": {"jobs": 1, "job_extra_directives": ["--hold"]},
    }
    body = """
    print("open", flush=True)
    work = flow.function_task(time.sleep)
    await work(600)
    """
    with Driver(tmp_path, body, queue="debug", cores=1, memory="1GB", pools=pools) as driver:
        assert eventually(lambda: driver.said("open"), 30), driver.log.read_text()
        assert eventually(lambda: sorted(job.state for job in slurm.jobs()) == ["PENDING", "RUNNING", "RUNNING"])
        driver.process.send_signal(number)
        status = driver.process.wait(60)
        assert status == {signal.SIGKILL: -9, signal.SIGTERM: 143, signal.SIGINT: 130}[number]
        assert eventually(slurm.is_empty, 90)
        assert eventually(lambda: not left(tmp_path), 30)
        assert eventually(lambda: not _janitors(), 30)


def test_a_driver_killed_while_it_submits_leaves_nothing_in_the_queue(slurm, tmp_path):
    """A job that is accepted after its driver's death is cancelled too."""
    with Driver(tmp_path, "pass", jobs=6, submit_interval=0.2) as driver:
        assert eventually(lambda: driver.said("submitted job"), 30)
        driver.process.kill()
        driver.process.wait()
        assert eventually(lambda: not _janitors(), 60)
        assert slurm.is_empty()
        assert left(tmp_path) == []


def test_ctrl_c_while_jobs_are_awaited_leaves_nothing_in_the_queue(slurm, tmp_path):
    """Ctrl-C during create() cancels what has been submitted."""
    with Driver(tmp_path, "pass", jobs=1, job_extra_directives=["--hold"]) as driver:
        assert eventually(lambda: driver.said("submitted job"), 30)
        driver.process.send_signal(signal.SIGINT)
        assert driver.process.wait(30) == 130
        assert slurm.is_empty()
        assert left(tmp_path) == []


def _janitors():
    """The command lines of janitors of this Slurm's runs; other tests beside this one may have theirs."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):  # it ended meanwhile
            command = " ".join(process.cmdline())
            ours = process.environ().get("SLURM_CONF") == os.environ["SLURM_CONF"]
            if ours and "_janitor.py" in command and process.status() != psutil.STATUS_ZOMBIE:
                found.append(command)
    return found
