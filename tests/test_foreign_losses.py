"""Workers lost on a scheduler that is not ours: what Dask gives up, the engine sends again."""

import os
import signal

import pytest
from distributed import Scheduler
from distributed.deploy.spec import SpecCluster
from distributed.deploy.subprocess import SubprocessWorker

from asyncflow import DaskExecutionBackend, WorkerLostError, WorkflowEngine
from gates import Notes

OPTIONS = {"host": "127.0.0.1", "dashboard": False, "dashboard_address": "127.0.0.1:0"}


@pytest.fixture
async def foreign():
    """A user's cluster of three worker programs, whose scheduler gives a task up at the first loss."""
    given = {"worker_kwargs": {"host": "127.0.0.1", "nthreads": 1}}
    workers = {number: {"cls": SubprocessWorker, "options": given} for number in range(3)}
    scheduler = {"cls": Scheduler, "options": {**OPTIONS, "allowed_failures": 0}}
    async with SpecCluster(workers=workers, scheduler=scheduler, asynchronous=True, name="theirs") as cluster:
        yield cluster


def dies(path, times):
    """A body that ends its worker so many times."""
    notes = Notes(path)
    notes.add("begun")
    if len(notes.lines) <= times:
        os.kill(os.getpid(), signal.SIGKILL)
    return len(notes.lines)


async def test_a_call_that_dask_gives_up_is_sent_again(foreign, tmp_path):
    """Where Dask blames a task for its worker's death, ``lost_retries`` counts, and dependents get the value."""
    async with WorkflowEngine.create(backend=DaskExecutionBackend(cluster=foreign)) as flow:
        task = flow.function_task(lost_retries=2)(dies)
        double = flow.function_task(lambda value: 2 * value)
        assert await double(task(str(tmp_path / "notes"), 2)) == 6


async def test_a_call_that_is_lost_too_often_fails(foreign, tmp_path):
    """When ``lost_retries`` are used up, the call fails with the loss, and says how often."""
    async with WorkflowEngine.create(backend=DaskExecutionBackend(cluster=foreign)) as flow:
        task = flow.function_task(lost_retries=1)(dies)
        with pytest.raises(WorkerLostError, match="'dies' was lost with"):
            await task(str(tmp_path / "notes"), 5)
        assert len(Notes(tmp_path / "notes").lines) == 2
