"""Opening, leaving and closing engines; two of them side by side; nothing lost silently."""

import asyncio
import gc
import logging
import re
import subprocess
import sys
import textwrap
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from urllib.request import urlopen

import psutil
import pytest

from asyncflow import (
    ConcurrentExecutionBackend,
    EngineClosedError,
    NoEventLoopError,
    NoopExecutionBackend,
    TaskState,
    WorkflowEngine,
)
from conftest import IN_PROCESS, eventually, open_engine

LOG = "asyncflow"


async def test_create_is_awaited_or_entered():
    """``await create()`` gives an open engine, which is itself a context manager; ``async with create()`` the same."""
    flow = await WorkflowEngine.create(IN_PROCESS)
    async with flow as same:
        assert same is flow
        assert await flow.function_task(int)("1") == 1
    with pytest.raises(EngineClosedError):
        flow.function_task(int)("1")


async def test_leaving_normally_waits_for_what_was_called(any_flow):
    """Calls that nobody awaited have come to their ends when the block is left."""
    async with any_flow:
        calls = [any_flow.function_task(int)("1") for _ in range(10)]
        last = any_flow.function_task(int)(calls[0])
    assert {call.state for call in (*calls, last)} == {TaskState.DONE}


async def test_leaving_by_an_exception_cancels(flow):
    """An exception that leaves the block cancels what is unfinished, and comes out."""
    gate = asyncio.get_running_loop().create_future()
    with pytest.raises(KeyError, match="out"):
        async with flow:
            waiting = flow.function_task(int)(gate)
            behind = flow.function_task(int)(waiting)
            raise KeyError("out")
    assert (waiting.state, behind.state) == (TaskState.CANCELLED, TaskState.CANCELLED)
    assert behind.cancelled()


async def test_shutdown_cancels_what_is_unfinished(flow):
    """After shutdown no call is unfinished, whoever awaits one is told, and what was finished stays so."""
    gate = asyncio.get_running_loop().create_future()
    done = flow.function_task(int)("1")
    await done
    waiting = asyncio.ensure_future(asyncio.wait([flow.function_task(int)(gate)]))
    await asyncio.sleep(0)
    await flow.shutdown()
    (ended,), _ = await waiting
    assert ended.cancelled()
    assert (done.state, await done) == (TaskState.DONE, 1)


async def test_shutdown_again_and_twice_at_once(any_flow):
    """Shutting down more than once, at once or later, is one shutdown."""
    await asyncio.gather(*[any_flow.shutdown() for _ in range(3)])
    await any_flow.shutdown()
    await any_flow.drain()


async def test_whoever_is_cancelled_in_shutdown_leaves_nothing_half_closed(dask_flow):
    """Cancelling one who waits for the shutdown does not stop it."""
    impatient = asyncio.ensure_future(dask_flow.shutdown())
    await asyncio.sleep(0)
    impatient.cancel()
    with pytest.raises(asyncio.CancelledError):
        await impatient
    await dask_flow.shutdown()
    assert "asyncflow-dask" not in {thread.name for thread in threading.enumerate()}


async def test_shutdown_from_another_loop_is_waited_for(dask_flow):
    """Two loops that shut down one engine at once both see it closed."""
    mine = asyncio.ensure_future(dask_flow.shutdown())
    await asyncio.gather(mine, asyncio.to_thread(asyncio.run, dask_flow.shutdown()))
    with pytest.raises(EngineClosedError):
        dask_flow.function_task(int)("1")


@pytest.mark.parametrize("kind", ["dask", "threads"])
async def test_closing_is_bounded_and_keeps_the_loop_free(kind, caplog):
    """A body that never ends does not keep `shutdown` longer than ``close_timeout``, and the loop runs on meanwhile."""
    gate, begun = threading.Event(), threading.Event()
    blocker = (gate, begun) if kind == "threads" else None
    config = {"cluster": {"kind": "local", "n_workers": 1, "threads_per_worker": 1, "dashboard_address": None}}
    pool = ThreadPoolExecutor(1)
    backend = ConcurrentExecutionBackend(pool) if kind == "threads" else None
    flow = await WorkflowEngine.create(None if backend else config, backend=backend, close_timeout=1.0)

    @flow.function_task
    def never_ends():
        if blocker is None:
            threading.Event().wait()
        blocker[1].set()
        blocker[0].wait()

    call = never_ends()
    while call.state is not TaskState.RUNNING:
        await asyncio.sleep(0.01)  # the worker's message
    laps = []

    async def heart():
        while True:
            laps.append(time.monotonic())
            await asyncio.sleep(0.005)

    beating = asyncio.ensure_future(heart())
    started = time.monotonic()
    await flow.shutdown()
    took = time.monotonic() - started
    beating.cancel()
    assert took < 1.0 * 3 + 3, "the drain, the backend, and the end of its worker programs"
    assert max(b - a for a, b in pairwise(laps)) < 0.5
    assert call.state is TaskState.CANCELLED
    gate.set()
    await asyncio.to_thread(pool.shutdown)


async def test_a_call_after_shutdown_is_refused_at_once(flow):
    """Tasks, commands, prompts and blocks of a closed engine raise where they are called."""

    async def body():
        return 1

    made = [flow.function_task(body), flow.executable_task(body), flow.prompt_task(body), flow.block(body)]
    await flow.shutdown()
    for each in made:
        with pytest.raises(EngineClosedError, match="create a new engine"):
            each()


def test_a_call_where_no_loop_runs_is_refused():
    """Calling a task outside asyncio says what to do instead."""
    flow = asyncio.run(_create_noop())
    task = flow.function_task(int)
    with pytest.raises(NoEventLoopError, match=r"asyncio\.run\(main\(\)\)"):
        task("1")
    asyncio.run(flow.shutdown())


async def _create_noop():
    return await WorkflowEngine.create(backend=NoopExecutionBackend())


LEFT_OPEN = """
    import asyncio, sys
    from asyncflow import WorkflowEngine
    CONFIG = {"cluster": {"kind": "local", "n_workers": 2, "threads_per_worker": 1}}
    async def main():
        flow = await WorkflowEngine.create(CONFIG)
        @flow.function_task
        def pid():
            import os, time
            return os.getpid()
        print(*{await pid() for _ in range(8)}, flush=True)
        return flow
"""


def run_left_open(tmp_path, ending):
    script = tmp_path / "left.py"
    script.write_text(textwrap.dedent(LEFT_OPEN) + textwrap.dedent(ending))
    program = subprocess.Popen(
        [sys.executable, "-W", "default", str(script)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    workers = [psutil.Process(int(pid)) for pid in program.stdout.readline().split()]
    family = psutil.Process(program.pid).children(recursive=True)
    assert workers
    program.stdin and program.stdin.close()
    started = time.monotonic()
    _, errors = program.communicate(timeout=40)
    took = time.monotonic() - started
    assert eventually(lambda: not any(each.is_running() for each in family), 10), "worker processes left"
    return program.returncode, errors, took


@pytest.mark.parametrize(
    "ending",
    {
        "kept to the end": "flow = asyncio.run(main())\n",
        "dropped": "asyncio.run(main())\nimport gc; gc.collect(); print('on')\n",
        "left by an exception": "async def oops():\n    flow = await main()\n    raise KeyError\ntry:\n    asyncio.run(oops())\nexcept KeyError:\n    pass\n",
    }.items(),
    ids=lambda pair: pair[0],
)
def test_an_engine_left_open_closes_at_exit(tmp_path, ending):
    """An engine that nobody shut down ends with its workers within 5 s, says so, and keeps the exit status."""
    status, errors, took = run_left_open(tmp_path, ending[1])
    assert status == 0, errors
    assert re.search(r"ResourceWarning: engine \S+ was left open", errors), errors
    assert "Traceback" not in errors
    assert took < 5 + 2, "5 s, and the end of the interpreter"


def test_a_driver_that_is_killed_takes_its_workers_along(tmp_path):
    """After SIGKILL of the driver its worker programs end by themselves."""
    ending = "import os, signal\nflow = asyncio.run(main())\nos.kill(os.getpid(), signal.SIGKILL)\n"
    status, _, _ = run_left_open(tmp_path, ending)
    assert status == -9


async def test_dropping_the_engine_in_a_running_loop_closes_it():
    """An engine that is garbage while the loop runs on closes its thread without blocking the loop."""
    flow = await WorkflowEngine.create(IN_PROCESS)
    assert await flow.function_task(int)("1") == 1
    with pytest.warns(ResourceWarning, match="left open"):
        del flow
        gc.collect()
    assert await asyncio.to_thread(eventually, lambda: "asyncflow-dask" not in {t.name for t in threading.enumerate()})


async def test_a_task_alone_keeps_its_engine_alive(recwarn):
    """An engine of which only a decorated task is left still serves it."""
    flow = await WorkflowEngine.create(backend=NoopExecutionBackend())
    task, shutdown = flow.function_task(int), flow.shutdown
    del flow
    gc.collect()
    assert await task("1") == "Dummy Output"
    await shutdown()


async def test_two_engines_never_disturb_each_other():
    """Ids, values, cancelling and closing of one engine leave the other alone, and values cross between them."""
    async with open_engine("dask") as one, open_engine("dask") as other:
        assert one.uid != other.uid
        gate = asyncio.get_running_loop().create_future()
        mine = [one.function_task(int)(gate) for _ in range(5)]
        theirs = [other.function_task(int)(gate) for _ in range(5)]
        assert len({call.id for call in (*mine, *theirs)}) == 10
        async with one.workflow_scope("mine"):
            assert other.function_task(int)("1").workflow_id is None
        await one.shutdown()
        gate.set_result("3")
        assert await asyncio.gather(*theirs) == [3] * 5
        assert all(call.cancelled() for call in mine)


async def test_engines_of_one_uid_prefix_do_not_share_keys():
    """Two engines on one cluster, even with ids that end alike, have keys of their own."""
    from distributed import LocalCluster

    from asyncflow import DaskExecutionBackend

    async with LocalCluster(
        asynchronous=True, n_workers=1, threads_per_worker=2, processes=False, dashboard_address="127.0.0.1:0"
    ) as cluster:
        create = WorkflowEngine.create
        async with (
            create(backend=DaskExecutionBackend(cluster=cluster), uid="first-campaign") as one,
            create(backend=DaskExecutionBackend(cluster=cluster), uid="second-campaign") as other,
        ):
            a, b = one.function_task(int)("1"), other.function_task(int)("2")
            assert await asyncio.gather(a, b) == [1, 2]
            assert a.id != b.id


async def test_a_failure_nobody_awaited_is_logged_once(caplog):
    """At shutdown each task that failed unseen has one line with its name and error; one that was awaited has none."""
    caplog.set_level(logging.ERROR, LOG)
    async with open_engine("threads") as flow:

        @flow.function_task
        def lonely(number):
            raise ValueError(f"unseen {number}")

        lonely(1)
        dependent = flow.function_task(int)(lonely(2))  # one line for the cause, none for what hung on it
        seen = lonely(3)
        with pytest.raises(ValueError, match="unseen 3"):
            await seen
        del dependent
        await flow.drain()
        await flow.shutdown()
        await flow.shutdown()
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 2
    for number in (1, 2):
        assert len([line for line in lines if "'lonely'" in line and f"ValueError: unseen {number}" in line]) == 1


async def test_the_log_tells_beginning_and_end(caplog):
    """The log says which backend started, and that the shutdown is orderly."""
    caplog.set_level(logging.INFO, LOG)
    async with open_engine("threads"):
        pass
    messages = [record.getMessage() for record in caplog.records]
    assert "ThreadPool execution backend started successfully" in messages
    assert messages[-1] == "Shutdown is triggered, terminating the resources gracefully"


async def test_uid_and_work_dir(tmp_path, monkeypatch):
    """The id and the place of the run directory are the user's to choose; nothing is made that nobody asked for."""
    async with open_engine("threads", uid="campaign-7", work_dir=tmp_path / "runs") as flow:
        assert (flow.uid, flow.work_dir) == ("campaign-7", tmp_path / "runs")
        assert await asyncio.to_thread((tmp_path / "runs" / "campaign-7" / "run.yaml").exists)
        say = flow.executable_task(lambda: [sys.executable, "-c", "print(5)"], capture_stdio=True)
        path = await say()
        assert path.startswith(str(tmp_path / "runs" / "campaign-7"))
        assert await asyncio.to_thread(Path(path).read_text) == "5\n"
    monkeypatch.setenv("ASYNCFLOW_WORK_DIR", str(tmp_path / "elsewhere"))
    async with open_engine("threads") as flow:
        assert flow.work_dir == tmp_path / "elsewhere"
        assert not await asyncio.to_thread(flow.work_dir.exists)


async def test_the_dashboard_answers_where_the_engine_says(thread_flow):
    """``dashboard_link`` is the address of Dask's dashboard; None where there is none."""
    config = {"cluster": {**IN_PROCESS["cluster"], "dashboard_address": "127.0.0.1:0"}}
    async with WorkflowEngine.create(config) as flow:
        assert flow.dashboard_link.startswith("http://")
        page = await asyncio.to_thread(lambda: urlopen(flow.dashboard_link, timeout=20).read())
        assert b"Dask" in page
    assert thread_flow.dashboard_link is None
    async with open_engine("dask") as flow:
        assert flow.dashboard_link is None
