"""Jobs that end under a task: what the queueing system says of it is in the error of the task."""

import asyncio
import os
import time
from pathlib import Path

import pytest

from asyncflow import OutOfMemoryError, PreemptedError, WalltimeError, WorkerLostError, WorkflowEngine
from fakes import home_in
from queued import create, ends_empty, until
from slurm_engine import config


def hold(note):
    """Tell the job and the node, then hang."""
    job = os.environ.get("SLURM_JOB_ID") or os.environ.get("PBS_JOBID") or os.environ["LSB_JOBID"]
    Path(note).write_text(f"{job} {os.environ.get('SLURMD_NODENAME', '-')}\n")
    time.sleep(600)


async def begun(note):
    """The job and the node that a held task tells."""
    await until(lambda: note.exists() and note.read_text().endswith("\n"))
    return note.read_text().split()


async def lost(call):
    """What a call is lost with, within the time that whoever asks may be kept waiting."""
    with pytest.raises(WorkerLostError) as caught:
        await asyncio.wait_for(call, 20)
    return caught.value


def held(flow, note):
    """A task that hangs, on its way."""
    return asyncio.ensure_future(_awaited(flow.function_task(lost_retries=0)(hold)(str(note))))


async def _awaited(call):
    return await call


# Slurm


async def test_a_job_that_slurm_cancels_is_told(slurm, tmp_path):
    """With scancel, by whomever."""
    async with WorkflowEngine.create(config(tmp_path, jobs=1)) as flow:
        call = held(flow, tmp_path / "note")
        job, node = await begun(tmp_path / "note")
        await asyncio.to_thread(slurm.cancel, job)
        error = await lost(call)
    assert (error.job, error.reason, error.host) == (job, f"CANCELLED {node}", node)
    assert f"of job {job} in pool 'slurm': its job was cancelled (CANCELLED {node})" in str(error)
    assert f"JOB {job} ON {node} CANCELLED AT" in error.log


@pytest.mark.parametrize("extra", [[], ["--no-requeue"]], ids=["requeued", "ended"])
async def test_a_node_of_slurm_that_fails_is_told(slurm, tmp_path, extra):
    """Also where Slurm has put the job back into its queue, which then only says that it waits."""
    async with WorkflowEngine.create(config(tmp_path, jobs=1, job_extra_directives=extra)) as flow:
        call = held(flow, tmp_path / "note")
        job, node = await begun(tmp_path / "note")
        try:
            await asyncio.to_thread(slurm.fail_node, node)
            error = await lost(call)
        finally:
            await asyncio.to_thread(slurm.return_node, node)
    assert type(error) is WorkerLostError
    assert error.job == job
    assert error.reason.startswith("NODE_FAIL")
    assert "the node of its job failed (NODE_FAIL" in str(error)
    assert node in error.reason


async def test_a_task_too_large_for_its_job_says_so(slurm, tmp_path):
    """Whoever notices first; the nanny of the worker here."""

    def take_memory():
        taken = []
        while True:
            taken.append(os.urandom(10_000_000))
            time.sleep(0.01)

    async with WorkflowEngine.create(config(tmp_path, jobs=1, memory="400MB")) as flow:
        error = await lost(flow.function_task(lost_retries=0)(take_memory)())
    assert type(error) is OutOfMemoryError
    assert error.job
    assert error.reason.startswith(("RUNNING", "queued"))  # what the queue had said last; it began a moment ago
    assert "95% of its memory limit" in str(error)


@pytest.mark.slow
@pytest.mark.timeout(180)
async def test_a_time_limit_of_slurm_is_told(slurm, tmp_path):
    """Also one that asyncflow was not told of."""
    cut = config(tmp_path, jobs=1, job_extra_directives=["--time=1"])
    async with WorkflowEngine.create(cut) as flow:
        call = held(flow, tmp_path / "note")
        job, _ = await begun(tmp_path / "note")
        with pytest.raises(WalltimeError, match=f"the last of them job {job}") as caught:
            await call
    assert "TimeLimit" in caught.value.reason


# PBS and LSF


@pytest.fixture(params=["pbs", "lsf"])
def queue(request, tmp_path):
    """A stand-in; nothing stays in it."""
    with home_in(tmp_path, request.param, kill_delay=1.0) as queue:
        yield queue
        assert ends_empty(queue)


def words(queue, pbs, lsf):
    """What that system says."""
    return {"pbs": pbs, "lsf": lsf}[queue.system]


async def test_memory_that_the_queue_does_not_grant_is_told(queue, tmp_path):
    """PBS by an exit status of -27, LSF by TERM_MEMLIMIT."""
    async with create(queue.system, jobs=1) as flow:
        call = held(flow, tmp_path / "note")
        job, _ = await begun(tmp_path / "note")
        queue.run_out_of_memory(job)
        error = await lost(call)
    assert type(error) is OutOfMemoryError
    assert error.job == job
    assert words(queue, "F memory", "EXIT TERM_MEMLIMIT") in error.reason


async def test_a_walltime_that_the_queue_ends_is_told(queue, tmp_path):
    """PBS by an exit status of -29, LSF by TERM_RUNLIMIT; also one that asyncflow was not told of."""
    async with create(queue.system, jobs=1) as flow:
        call = held(flow, tmp_path / "note")
        job, _ = await begun(tmp_path / "note")
        queue.reach_walltime(job)
        error = await lost(call)
    assert type(error) is WalltimeError
    assert words(queue, "F walltime", "EXIT TERM_RUNLIMIT") in error.reason


async def test_a_job_that_somebody_deletes_is_told(queue, tmp_path):
    """With qdel and bkill."""
    async with create(queue.system, jobs=1) as flow:
        call = held(flow, tmp_path / "note")
        job, _ = await begun(tmp_path / "note")
        await asyncio.create_subprocess_exec(words(queue, "qdel", "bkill"), job, stdout=asyncio.subprocess.DEVNULL)
        error = await lost(call)
    assert type(error) is WorkerLostError
    assert "its job was cancelled" in str(error)


async def test_a_job_that_is_preempted_is_told(queue, tmp_path):
    """LSF says so; PBS puts it back into the queue."""
    async with create(queue.system, jobs=1) as flow:
        call = held(flow, tmp_path / "note")
        job, _ = await begun(tmp_path / "note")
        queue.preempt(job)
        error = await lost(call)
    assert isinstance(error, words(queue, WorkerLostError, PreemptedError))
    assert words(queue, "put back into the queue", "was preempted (EXIT TERM_PREEMPT") in str(error)


async def test_a_node_that_is_lost_is_told(queue, tmp_path):
    """PBS puts its jobs back into the queue, LSF calls them UNKWN."""
    async with create(queue.system, jobs=1) as flow:
        call = held(flow, tmp_path / "note")
        job, _ = await begun(tmp_path / "note")
        node = next(one.nodes[0] for one in queue.jobs() if one.id == job)
        queue.lose_node(node, notice_after=0.5)
        error = await lost(call)
        queue.return_node(node)
    assert type(error) is WorkerLostError
    assert words(queue, "put back into the queue", "the node of its job failed (UNKWN") in str(error)


async def test_a_queue_that_does_not_answer_keeps_nobody_waiting(queue, tmp_path):
    """The task fails a few seconds later with what is known without it."""
    async with create(queue.system, jobs=1) as flow:
        call = held(flow, tmp_path / "note")
        job, _ = await begun(tmp_path / "note")
        queue.make_busy()
        queue.run_out_of_memory(job)
        error = await lost(call)
        queue.clear_faults()
    assert type(error) is WorkerLostError
    assert error.job == job
