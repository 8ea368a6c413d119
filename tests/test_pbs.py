"""Whole runs on PBS: what works, what is refused and how it is told, and what becomes of jobs that go wrong."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from asyncflow import LostError, StartError, SubmitError, WalltimeError, WorkflowEngine
from conftest import eventually
from fakes import home_in, run
from queued import create, ends_empty, faults, gathered, live, make_tasks, only_logs_are_left, until, without

CONFIGS = Path(__file__).parent.parent / "configs"


@pytest.fixture
def pbs(tmp_path):
    """OpenPBS with four nodes of eight cores; nothing stays in it."""
    with home_in(tmp_path, "pbs", kill_delay=1.0) as queue:
        yield queue
        assert ends_empty(queue)


# What works


async def test_functions_and_commands_run_over_two_jobs(pbs, tmp_path):
    """Encrypted, on the workers of both, and nothing is left of the run."""
    async with create("pbs") as flow:
        where, _, _ = make_tasks(flow)

        @flow.executable_task
        def echo(value):
            return ["echo", value[2]]

        ran = await gathered([where(str(number)) for number in range(5)])
        assert [value for _, _, value in ran] == ["0", "1", "2", "3", "4"]
        assert {name for name, _, _ in ran} <= {"pbs-0", "pbs-1"}
        assert all(address.startswith("tls://127.0.0.1:") for _, address, _ in ran)
        assert await echo(where("from a job")) == "from a job\n"
        assert live(pbs) == ["1.server", "2.server"]
        assert len({job.name for job in pbs.jobs()}) == 1
    assert eventually(lambda: live(pbs) == [])
    assert list(Path(tmp_path, ".asyncflow").iterdir()) == []


async def test_the_shipped_configuration_runs_unchanged(pbs):
    """``configs/pbs.yaml``, with two workers in its first job."""
    async with WorkflowEngine.create(CONFIGS / "pbs.yaml") as flow:
        where, _, _ = make_tasks(flow)
        (name, address, _), *_ = await gathered([where(), where()])
        assert name in {"pbs-0-0", "pbs-0-1"}
        assert address.startswith("tls://")
        assert pbs.jobs()[0].queue == "workq"


async def test_tasks_go_to_the_pool_that_suits_them(pbs):
    """By the resource that they ask for or by name; values flow from pool to pool, and plain tasks stay in the first."""
    pools = {
        "cpu": {"cores": 4, "processes": 2},
        "gpu": {"cores": 1, "resources": {"gpu": 1}, "job_extra_directives": ["-l place=excl"]},
        "big": {"memory": "4GB", "jobs": {"min": 0, "max": 1}},
    }
    async with create("pbs", pools=pools, jobs=1) as flow:
        where, _, _ = make_tasks(flow)
        on_gpu, on_big = where.options(resources={"gpu": 1}), where.options(pool="big")
        plain = where()
        chain = on_big(on_gpu(plain))
        there = await gathered(
            [plain, where(), on_gpu(), where.options(pool="gpu")(), chain, where.options(memory="3GB")()]
        )
        pools = [name.partition("-")[0] for name, _, _ in there]
        assert pools == ["cpu", "cpu", "gpu", "gpu", "big", "big"]
        name, _, (second, _, (first, _, _)) = there[4]
        assert [name.partition("-")[0] for name in (name, second, first)] == ["big", "gpu", "cpu"]
        assert there[0][0] in {"cpu-0-0", "cpu-0-1"}
        assert any("-l place=excl" in job.directives for job in pbs.jobs())


async def test_jobs_come_with_the_first_call_where_none_is_kept(pbs):
    """``min: 0`` opens at once, with an empty queue."""
    async with create("pbs", jobs={"min": 0, "max": 2}) as flow:
        assert pbs.jobs() == []
        _, add, _ = make_tasks(flow)
        assert await gathered([add(1, 2)]) == [3]
        assert live(pbs) == ["1.server"]


async def test_a_busy_server_only_delays(pbs):
    """Questions and submissions that fail for want of an answer are tried again, and no job is taken for gone."""
    pbs.make_busy(1, commands=["qsub"])
    async with create("pbs", jobs=1) as flow:
        _, add, _ = make_tasks(flow)
        pbs.make_busy(2)
        assert await gathered([add(number, 1) for number in range(5)]) == [1, 2, 3, 4, 5]
        await until(lambda: not faults(pbs))
        assert await add(1, 1) == 2
        assert len(pbs.jobs()) == 1


# What is refused


async def test_an_unknown_queue_is_told_as_qsub_tells_it(pbs):
    """With the command, its exit status and what it said, before anything else is tried."""
    with pytest.raises(SubmitError) as caught:
        async with create("pbs", queue="nope"):
            pass
    error = caught.value
    assert (error.command[0], error.returncode, error.pool) == ("qsub", 170, "pbs")
    assert error.stderr == "qsub: Unknown queue\n"
    assert str(error).startswith("the job was not submitted (qsub ")
    assert "exit status 170: qsub: Unknown queue); mend what it names" in str(error)
    assert pbs.jobs() == []


async def test_a_host_without_pbs_is_told(pbs, monkeypatch):
    """There is no such command."""
    monkeypatch.setenv("PATH", without(pbs.directory / "bin"))
    with pytest.raises(SubmitError, match=r"qsub .*: no such command on PATH") as caught:
        async with create("pbs"):
            pass
    assert caught.value.returncode is None


async def test_a_request_that_nothing_can_meet_says_so(pbs):
    """It stays in the queue; the error says what PBS says of it, the job's id, and where the scheduler listens."""
    with pytest.raises(StartError) as caught:
        async with create("pbs", cores=99, start_timeout=3, jobs=1):
            pass
    said = str(caught.value)
    assert not isinstance(caught.value, SubmitError)
    assert "no worker came within start_timeout (3 s)" in said
    assert "1.server (Q Can Never Run: Insufficient amount of resource: ncpus (R: 99 A: 8 T: 8))" in said
    assert "tls://127.0.0.1:" in said
    assert "interface lo" in said
    assert eventually(lambda: live(pbs) == [])


async def test_jobs_that_die_at_once_end_the_wait(pbs):
    """After three, with the last lines of the log of the last."""
    with pytest.raises(StartError) as caught:
        async with create("pbs", python="/nowhere/python", jobs=1):
            pass
    assert "'pbs' has stopped: its last 3 jobs died soon after they began" in str(caught.value)
    assert "/nowhere/python: No such file or directory" in str(caught.value)
    assert [job.state for job in pbs.jobs()] == ["F", "F", "F"]


async def test_a_later_refusal_fails_the_calls_that_wait(pbs):
    """There is no other pool for them; when PBS accepts again, so does the engine."""
    async with create("pbs", jobs={"min": 0, "max": 1}) as flow:
        _, add, _ = make_tasks(flow)
        pbs.fail_submissions("Maximum number of jobs already in queue", status=57)
        for call in (add(1), add(2)):
            with pytest.raises(SubmitError, match="Maximum number of jobs already in queue") as caught:
                await asyncio.wait_for(call, 20)
            assert caught.value.returncode == 57
        pbs.clear_faults()
        assert await asyncio.wait_for(add(1, 2), 60) == 3


# What goes wrong with jobs


async def test_a_job_that_ends_is_replaced(pbs, tmp_path):
    """The work goes on in another; what ran is begun again."""
    async with create("pbs", jobs=1) as flow:
        _, add, hold = make_tasks(flow)
        note, gate = tmp_path / "note", tmp_path / "gate"
        held = hold(str(note), str(gate))
        later = add(1, 2)
        await until(lambda: note.exists() and note.read_text() == "pbs-0")
        run("qdel", "1.server")
        await until(lambda: note.read_text() == "pbs-1")
        gate.touch()
        assert await gathered([held, later]) == ["pbs-1", 3]
        assert [job.state for job in pbs.jobs()] == ["F", "R"]


async def test_a_job_that_ends_is_replaced_without_job_history(pbs, tmp_path, monkeypatch):
    """Servers that keep none refuse ``qstat -x``, and forget a job as soon as it has ended."""
    real = pbs.directory / "bin" / "qstat"
    here = tmp_path / "bin"
    here.mkdir()
    (here / "qstat").write_text(
        f"""#!/bin/sh
        case "$*" in *-x*) echo "qstat: PBS is not configured to maintain job history" >&2; exit 36;; esac
        {real} "$@" && touch {here}/answered
        """
    )
    (here / "qstat").chmod(0o755)
    monkeypatch.setenv("PATH", f"{here}{os.pathsep}{os.environ['PATH']}")
    async with create("pbs", jobs=1) as flow:
        where, _, _ = make_tasks(flow)
        assert (await where())[0] == "pbs-0"
        await until((here / "answered").exists)  # a job that was never listed may still be on its way into the queue
        run("qdel", "1.server")
        await until(lambda: len(pbs.jobs()) == 2)
        assert (await where())[0] == "pbs-1"


async def test_a_lost_node_costs_no_work(pbs, tmp_path):
    """PBS queues the job again, and nobody submits another for it."""
    async with create("pbs", jobs=1) as flow:
        _, _, hold = make_tasks(flow)
        note, gate = tmp_path / "note", tmp_path / "gate"
        held = hold(str(note), str(gate))
        await until(note.exists)
        note.unlink()
        pbs.lose_node("node1", notice_after=0.5)
        await until(note.exists)
        gate.touch()
        assert await asyncio.wait_for(held, 30) in {"pbs-0", "pbs-1"}
        assert all(job.nodes != ("node1",) for job in pbs.live_jobs())


async def test_a_pool_whose_jobs_keep_dying_is_given_up(pbs, tmp_path):
    """Its calls fail with what the last log says, instead of waiting for ever."""
    async with create("pbs", jobs={"min": 0, "max": 1}, job_script_prologue=["echo this node is ill; exit 7"]) as flow:
        _, add, _ = make_tasks(flow)
        with pytest.raises(LostError, match="this node is ill") as caught:
            await asyncio.wait_for(add(1), 60)
        assert (caught.value.pool, len(caught.value.jobs)) == ("pbs", 3)
        assert "exit status 7" in str(caught.value)


@pytest.mark.slow
async def test_a_task_longer_than_the_walltime_fails(pbs, tmp_path):
    """It is cut before the job is killed, and begun again as often as it may be: here never. LSF is tried beside PBS."""

    async def cut(kind):
        async with create(kind, jobs=1, walltime=60) as flow:

            @flow.function_task(lost_retries=0)
            def long():
                import time

                time.sleep(100)

            began = time.monotonic()
            with pytest.raises(WalltimeError, match="cut off once by the walltime of its jobs") as caught:
                await asyncio.wait_for(long(), 90)
            assert f"(60 s in pool {kind!r}" in str(caught.value)
            assert caught.value.walltime == 60
            assert 30 < time.monotonic() - began < 60

    with home_in(tmp_path, "lsf", kill_delay=1.0) as lsf:
        await asyncio.gather(cut("pbs"), cut("lsf"))
        assert ends_empty(lsf)
    assert not any(job.exit_status == -29 for job in pbs.jobs())
    assert not any("TERM_RUNLIMIT" in job.reason for job in lsf.jobs())


# The end


async def test_leaving_by_an_exception_empties_the_queue(pbs, tmp_path):
    """Running and waiting jobs alike."""
    with pytest.raises(ZeroDivisionError):
        async with create("pbs", pools={"cpu": {}, "never": {"cores": 99}}, jobs=1) as flow:
            _, add, _ = make_tasks(flow)
            add(1)
            assert len(live(pbs)) == 2
            raise ZeroDivisionError
    assert eventually(lambda: live(pbs) == [])
    assert only_logs_are_left(tmp_path)


_DRIVER = """
import asyncio, pathlib, sys, time
sys.path.insert(0, {tests!r})
from queued import create, make_tasks

async def main():
    async with create("pbs", pools={{"cpu": {{}}, "never": {{"cores": 99}}}}, jobs=1) as flow:
        _, _, hold = make_tasks(flow)
        await hold({note!r}, "/nowhere")

asyncio.run(main())
"""


@pytest.mark.slow
def test_a_killed_driver_leaves_no_job(pbs, tmp_path, request):
    """Neither running nor waiting: the janitor sees to them, removes the run's certificates, and ends."""
    note = tmp_path / "note"
    program = _DRIVER.format(tests=str(request.path.parent), note=str(note))
    with subprocess.Popen([sys.executable, "-c", program]) as driver:
        assert eventually(note.exists, 30)
        assert len(live(pbs)) == 2
        driver.send_signal(signal.SIGKILL)
    assert ends_empty(pbs, 10)
    assert eventually(lambda: not list(tmp_path.glob(".asyncflow/*")), 30)
