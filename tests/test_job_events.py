"""What is told of pools and jobs: their shapes, each submission, reason, start and end, once, and to those who come later."""

import asyncio
import subprocess
import time
from pathlib import Path

import pytest

from asyncflow import WorkflowEngine, events
from conftest import IN_PROCESS, eventually, open_engine
from fakes import home_in
from queued import create, ends_empty, make_tasks, until
from slurm_engine import config
from test_placement import site, where


@pytest.fixture
def pbs(tmp_path):
    """OpenPBS with four nodes of eight cores; nothing stays in it."""
    with home_in(tmp_path, "pbs", kill_delay=1.0) as queue:
        yield queue
        assert ends_empty(queue)


class Told(list):
    """Every event of an engine that tells of pools and jobs, from before to after."""

    def listen(self, flow):
        flow._dispatch.events.listen(self.append)

    def of(self, kind):
        return [event for event in self if isinstance(event, kind)]

    def jobs(self, kind):
        return [event.job for event in self.of(kind)]


async def test_a_local_cluster_declares_its_pool():
    """With the shape of one worker, to whoever asks however late, and no number of jobs."""
    told = Told()
    async with open_engine("dask") as flow:
        told.listen(flow)
        await until(lambda: told.of(events.PoolDeclared))
    (pool,) = told.of(events.PoolDeclared)
    assert (pool.pool, pool.cores, pool.memory, pool.least, pool.most) == ("local", 2, 0, None, None)


async def test_the_journal_has_what_was_told_before_it_was_opened(tmp_path):
    """A run that is asked for by the first checkpointed call knows its pools all the same."""
    journal = tmp_path / "late" / "journal.jsonl"
    async with WorkflowEngine.create(IN_PROCESS, uid="late", work_dir=tmp_path) as flow:
        assert await flow.function_task(lambda: 1)() == 1
    assert '"state":"pool"' in journal.read_text()
    assert '"max_in_flight":10000' in journal.read_text()


async def test_jobs_are_told_from_submission_to_end(pbs):
    """Pool, submission, start on a node with its true time, and an end that was asked for."""
    told, began = Told(), time.time()
    async with create("pbs", jobs=1) as flow:
        told.listen(flow)
        _, add, _ = make_tasks(flow)
        assert await add(1, 2) == 3
        await until(lambda: told.of(events.JobStarted))
    (pool,) = told.of(events.PoolDeclared)
    assert (pool.pool, pool.cores, pool.memory, pool.least, pool.most) == ("pbs", 2, 10**9, 1, 1)
    assert 0 < pool.longest < 600
    assert [told.jobs(kind) for kind in (events.JobSubmitted, events.JobStarted, events.JobEnded)] == [["1.server"]] * 3
    (submitted,), (started,), (ended,) = (
        told.of(kind) for kind in (events.JobSubmitted, events.JobStarted, events.JobEnded)
    )
    assert submitted.worker_name == "pbs-0"
    assert began < submitted.time <= started.time + 1 < ended.time + 1
    assert ended.is_asked


async def test_what_jobs_wait_for_is_told_in_the_queues_words(pbs):
    """How many for what, once; and that none waits any more."""
    told = Told()
    async with create("pbs", jobs={"min": 0, "max": 2}) as flow:
        told.listen(flow)
        pbs.hold_jobs()
        _, add, _ = make_tasks(flow)
        call = add(1, 2)
        await until(lambda: told.of(events.JobsPending))
        (pending,) = told.of(events.JobsPending)
        assert (pending.pool, list(pending.reasons.values())) == ("pbs", [1])
        assert all(pending.reasons)
        pbs.release_jobs()
        assert await call == 3
        await until(lambda: len(told.of(events.JobsPending)) > 1)
        assert told.of(events.JobsPending)[-1].reasons == {}


async def test_a_job_that_dies_is_told_with_its_end_and_its_log(pbs):
    """And so is the pool that submits no more of them."""
    told = Told()
    async with create("pbs", jobs={"min": 0, "max": 1}, job_script_prologue=["echo broken >&2", "exit 3"]) as flow:
        told.listen(flow)
        _, add, _ = make_tasks(flow)
        with pytest.raises(Exception, match="has stopped"):
            await asyncio.wait_for(add(1, 2), 60)
        await until(lambda: told.of(events.PoolStopped))
        ended = told.of(events.JobEnded)
        assert len(ended) == 3
        assert all(event.state and not event.is_asked for event in ended)
        logs = [await asyncio.to_thread(Path(event.log).read_text) for event in ended]
        assert all("broken" in text for text in logs)
        (stopped,) = told.of(events.PoolStopped)
        assert stopped.pool == "pbs"
        assert "died soon after they began" in stopped.error


async def test_a_task_that_waits_for_a_worker_that_lasts_is_held():
    """The placement names it, with what it is expected to take, and no other that waits."""
    async with site() as made:
        await made.add(left=50)
        long, other = made.flow.function_task(where).options(expected=200), made.flow.function_task(where)
        waits, nowhere = long(), other.options(resources={"nothing": 1})()
        await made.waits(waits, nowhere)
        assert made.placement.held() == {waits.id: 200.0}
        await made.add()
        await made.add()
        made.placement.note_workers()
        nowhere.cancel()
        assert await waits in {"cpu-1", "cpu-2"}
        assert made.placement.held() == {}


async def test_on_slurm_jobs_wait_start_and_end_in_its_own_words(slurm, tmp_path):
    """Held jobs are told with the reason of squeue, released ones start on a node, one that is cancelled ends so."""
    told = Told()
    pool = config(tmp_path, jobs={"min": 0, "max": 1}, job_extra_directives=["--hold"])
    async with WorkflowEngine.create(config=pool) as flow:
        told.listen(flow)
        call = flow.function_task(lambda: 1)()
        await until(lambda: told.of(events.JobsPending))
        (pending,), (job,) = told.of(events.JobsPending), told.jobs(events.JobSubmitted)
        assert pending.reasons == {"JobHeldUser": 1}
        await asyncio.to_thread(subprocess.run, ["scontrol", "release", job], check=True)
        assert await asyncio.wait_for(call, 60) == 1
        assert told.jobs(events.JobStarted) == [job]
        await asyncio.to_thread(slurm.cancel, job)
        await until(lambda: told.of(events.JobEnded))
    ended = told.of(events.JobEnded)[0]
    assert (ended.job, ended.is_asked) == (job, False)
    assert ended.state.startswith("CANCELLED")
    assert ended.nodes
    assert eventually(lambda: not slurm.left_over())
