"""Whole runs on LSF: what works, what is refused and how it is told, and what becomes of jobs that go wrong."""

import asyncio

import pytest

from asyncflow import StartError, SubmitError
from conftest import eventually
from fakes import home_in, run
from queued import create, ends_empty, faults, gathered, live, make_tasks, only_logs_are_left, until, without


@pytest.fixture
def lsf(tmp_path):
    """LSF with four nodes of eight cores; nothing stays in it."""
    with home_in(tmp_path, "lsf", kill_delay=1.0) as queue:
        yield queue
        assert ends_empty(queue)


# What works


@pytest.mark.parametrize("use_stdin", [True, False])
async def test_functions_and_commands_run_over_two_jobs(lsf, tmp_path, use_stdin):
    """Encrypted, on the workers of both, whichever way bsub takes the script; nothing is left of the run."""
    async with create("lsf", use_stdin=use_stdin) as flow:
        where, _, _ = make_tasks(flow)

        @flow.executable_task
        def echo(value):
            return ["echo", value[2]]

        ran = await gathered([where(str(number)) for number in range(5)])
        assert [value for _, _, value in ran] == ["0", "1", "2", "3", "4"]
        assert {name for name, _, _ in ran} <= {"lsf-0", "lsf-1"}
        assert all(address.startswith("tls://127.0.0.1:") for _, address, _ in ran)
        assert await echo(where("from a job")) == "from a job\n"
        assert live(lsf) == ["1", "2"]
        assert len({job.name for job in lsf.jobs()}) == 1
    assert eventually(lambda: live(lsf) == [])
    assert only_logs_are_left(tmp_path)


async def test_tasks_go_to_the_pool_that_suits_them(lsf):
    """By the resource that they ask for or by name; values flow from pool to pool."""
    pools = {"cpu": {"cores": 4, "processes": 2}, "gpu": {"resources": {"gpu": 1}, "project": "learning"}}
    async with create("lsf", pools=pools, jobs=1) as flow:
        where, _, _ = make_tasks(flow)
        on_gpu = where.options(resources={"gpu": 1})
        there = await gathered([where(), on_gpu(where()), where.options(pool="gpu")()])
        assert [name.partition("-")[0] for name, _, _ in there] == ["cpu", "gpu", "gpu"]
        assert there[1][2][0].startswith("cpu-")


async def test_a_busy_server_only_delays(lsf):
    """Questions and submissions that fail for want of an answer are tried again, and no job is taken for gone."""
    lsf.make_busy(1, commands=["bsub"])
    async with create("lsf", jobs=1) as flow:
        _, add, _ = make_tasks(flow)
        lsf.make_busy(2)
        assert await gathered([add(number, 1) for number in range(5)]) == [1, 2, 3, 4, 5]
        await until(lambda: not faults(lsf))
        assert await add(1, 1) == 2
        assert len(lsf.jobs()) == 1


# What is refused


async def test_an_unknown_queue_is_told_as_bsub_tells_it(lsf):
    """With the command, its exit status and what it said, which dask-jobqueue would throw away."""
    with pytest.raises(SubmitError) as caught:
        async with create("lsf", queue="nope"):
            pass
    assert (caught.value.command, caught.value.returncode) == (["bsub"], 255)
    assert "nope: No such queue. Job not submitted." in caught.value.stderr
    assert lsf.jobs() == []


async def test_a_host_without_lsf_is_told(lsf, monkeypatch):
    """There is no such command."""
    monkeypatch.setenv("PATH", without(lsf.directory / "bin"))
    with pytest.raises(SubmitError, match="bsub: no such command on PATH") as caught:
        async with create("lsf"):
            pass
    assert caught.value.returncode is None


async def test_a_full_machine_says_so(lsf):
    """The error says why LSF lets the job wait, its id, and where the scheduler listens."""
    lsf.hold_jobs()
    with pytest.raises(StartError) as caught:
        async with create("lsf", start_timeout=3, jobs=1):
            pass
    said = str(caught.value)
    assert "no worker came within start_timeout (3 s)" in said
    assert "1 (PEND Job slot limit reached" in said
    assert "tls://127.0.0.1:" in said


async def test_jobs_that_die_at_once_end_the_wait(lsf):
    """After three, with the last lines of the log of the last."""
    with pytest.raises(StartError) as caught:
        async with create("lsf", python="/nowhere/python", jobs=1):
            pass
    assert "'lsf' has stopped: its last 3 jobs died soon after they began" in str(caught.value)
    assert "exit status 127" in str(caught.value)
    assert "/nowhere/python: No such file or directory" in str(caught.value)
    assert [job.state for job in lsf.jobs()] == ["EXIT", "EXIT", "EXIT"]


# What goes wrong with jobs


async def test_a_job_that_ends_is_replaced(lsf, tmp_path):
    """The work goes on in another; what ran is begun again."""
    async with create("lsf", jobs=1) as flow:
        _, add, hold = make_tasks(flow)
        note, gate = tmp_path / "note", tmp_path / "gate"
        held = hold(str(note), str(gate))
        later = add(1, 2)
        await until(lambda: note.exists() and note.read_text() == "lsf-0")
        run("bkill", "1")
        await until(lambda: note.read_text() == "lsf-1")
        gate.touch()
        assert await gathered([held, later]) == ["lsf-1", 3]
        assert [job.state for job in lsf.jobs()] == ["EXIT", "RUN"]


async def test_jobs_that_others_kill_end_no_campaign(lsf):
    """Neither those that have worked nor, in a pool that has, those that wait: each is replaced."""
    async with create("lsf", jobs=1) as flow:
        where, _, _ = make_tasks(flow)
        for number in range(3):
            assert (await asyncio.wait_for(where(), 60))[0] == f"lsf-{number}"
            if number == 2:
                lsf.hold_jobs()
            run("bkill", str(number + 1))
            await until(lambda number=number: str(number + 1) not in live(lsf))
        for number in range(3, 6):
            await until(lambda number=number: live(lsf) == [str(number + 1)])
            run("bkill", str(number + 1))
        lsf.release_jobs()
        assert (await asyncio.wait_for(where(), 60))[0] == "lsf-6"


async def test_a_lost_node_costs_no_work(lsf, tmp_path):
    """LSF ends the job when the node is back, and another one takes its place."""
    async with create("lsf", jobs=1) as flow:
        _, _, hold = make_tasks(flow)
        note, gate = tmp_path / "note", tmp_path / "gate"
        held = hold(str(note), str(gate))
        await until(note.exists)
        note.unlink()
        lsf.lose_node("node1", notice_after=0.5)
        await until(lambda: lsf.jobs()[0].state == "UNKWN")
        lsf.return_node("node1")
        await until(note.exists)
        gate.touch()
        assert await asyncio.wait_for(held, 30) == "lsf-1"


# The end


async def test_leaving_by_an_exception_empties_the_queue(lsf, tmp_path):
    """Running and waiting jobs alike."""
    with pytest.raises(ZeroDivisionError):
        async with create("lsf", pools={"cpu": {}, "never": {"cores": 99}}, jobs=1) as flow:
            _, add, _ = make_tasks(flow)
            add(1)
            assert len(live(lsf)) == 2
            raise ZeroDivisionError
    assert eventually(lambda: live(lsf) == [])
    assert only_logs_are_left(tmp_path)
