"""Tasks that take long and jobs that have run for a while: on a real Slurm they wait for a fresh job, asked for in time."""

import asyncio
import os
import time
from pathlib import Path

from asyncflow import WorkflowEngine
from asyncflow.queues.lifetime import lifetime_of
from conftest import eventually
from slurm_engine import config

#: The least that leaves a fresh job much more time than one of half a minute, in seconds.
WALLTIME = 180

#: What a task may take so that a job which has run for a quarter of a minute is too old for it.
EXPECTED = lifetime_of(WALLTIME).longest - 5


def job():
    """The job that it runs in."""
    return os.environ["SLURM_JOB_ID"]


def hold(path):
    """Stay until the test says so; the job that it runs in."""
    deadline = time.monotonic() + 60
    while not Path(path).exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    return os.environ["SLURM_JOB_ID"]


def running(slurm):
    return {each.id for each in slurm.jobs() if each.state == "RUNNING"}


async def aged(task):
    """Wait until the only job is too old for the task, and return its id: no fact tells of it but the time."""
    old = await task()
    await asyncio.sleep(lifetime_of(WALLTIME).stagger + 12)
    return old


async def test_a_task_waits_for_a_fresh_job_that_is_asked_for_at_once(slurm, tmp_path):
    """The older job has time for short tasks, and goes on; the long one is not begun there, idle as it is."""
    pool = config(tmp_path, walltime=WALLTIME, jobs={"min": 1, "max": 2}, idle_timeout=600)
    async with WorkflowEngine.create(config=pool) as flow:
        task = flow.function_task(job)
        old = await aged(task)
        long = flow.function_task(expected=EXPECTED)(job)()
        assert await task() == old
        assert await asyncio.to_thread(eventually, lambda: len(slurm.jobs()) == 2, 20), "none was asked for"
        fresh = await long
        assert fresh != old
        assert await asyncio.to_thread(running, slurm) == {old, fresh}


async def test_a_task_goes_to_the_younger_of_two_jobs(slurm, tmp_path):
    """Busy as that is: with jobs of different age, it waits behind what runs there rather than begin on the older."""
    pool = config(tmp_path, walltime=WALLTIME, jobs={"min": 1, "max": 2}, idle_timeout=600)
    async with WorkflowEngine.create(config=pool) as flow:
        task, busy = flow.function_task(job), flow.function_task(hold)
        old = await aged(task)
        gates = [tmp_path / "one", tmp_path / "two"]
        held = [busy(str(gate)) for gate in gates]
        assert await asyncio.to_thread(eventually, lambda: len(running(slurm)) == 2, 30)
        long = flow.function_task(expected=EXPECTED)(job)()
        gates[0].touch()
        gates[1].touch()
        young = await long
        assert young != old
        assert set(await asyncio.gather(*held)) <= {old, young}
        assert await asyncio.to_thread(running, slurm) == {old, young}


async def test_where_a_pool_may_have_no_more_an_idle_job_makes_room(slurm, tmp_path, monkeypatch):
    """It has nothing to do, does not last for what waits, and is replaced long before its walltime."""
    monkeypatch.setattr("asyncflow.queues.scaling.YOUNG", 2.0)
    async with WorkflowEngine.create(config=config(tmp_path, walltime=WALLTIME, jobs=1)) as flow:
        old = await aged(flow.function_task(job))
        began = time.monotonic()
        assert await flow.function_task(expected=EXPECTED)(job)() != old
        assert time.monotonic() - began < WALLTIME / 2
