"""Loops and threads: whose they are, what blocks whom, and where scripts may be started."""

import asyncio
import os
import subprocess
import sys
import textwrap
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from distributed import Client, LocalCluster

from asyncflow import ConcurrentExecutionBackend, DaskExecutionBackend, MissingModuleError, TaskState, WorkflowEngine
from conftest import IN_PROCESS

SMALL = {"n_workers": 1, "threads_per_worker": 2, "processes": False, "dashboard_address": ":0"}


def run_script(path, *args, cwd=None, **env):
    """The output of a script run as a program of its own."""
    done = subprocess.run(
        [sys.executable, str(path), *args],
        cwd=cwd,
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def write(path, text):
    path.write_text(textwrap.dedent(text))
    return path


async def test_dask_lives_on_a_thread_of_its_own(dask_flow):
    """Workers of an in-process cluster hear of nothing on the user's thread; the loop that calls is not Dask's."""

    @dask_flow.function_task
    def where():
        from distributed import get_worker

        worker = get_worker()
        return worker.loop.asyncio_loop is not loop_of[0], threading.current_thread().name

    loop_of = [None]
    elsewhere, name = await where()
    assert elsewhere
    assert name != threading.main_thread().name
    assert "asyncflow-dask" in {thread.name for thread in threading.enumerate()}
    future = where()
    await future
    assert future.get_loop() is asyncio.get_running_loop()
    assert future.dask_future.client.loop.asyncio_loop is not asyncio.get_running_loop()


async def test_a_cluster_handed_in_keeps_the_users_loop():
    """What the user opened stays on the user's loop; the engine connects a client of its own by address."""
    async with (
        LocalCluster(asynchronous=True, **SMALL) as cluster,
        Client(cluster, asynchronous=True) as client,
    ):
        mine = client.loop
        async with WorkflowEngine.create(backend=DaskExecutionBackend(client=client)) as flow:
            call = flow.function_task(int)("7")
            assert await call == 7
            assert call.dask_future.client is not client
            assert call.dask_future.client.loop is not mine
            assert cluster.scheduler.loop.asyncio_loop is asyncio.get_running_loop()
        assert client.loop is mine
        assert await client.submit(int, "8", pure=False) == 8


async def test_completions_of_one_moment_cross_together(thread_flow, monkeypatch):
    """Far fewer wake-ups of the user's loop than tasks: outcomes cross in batches."""
    loop = asyncio.get_running_loop()
    wakes = []
    original = loop.call_soon_threadsafe
    monkeypatch.setattr(loop, "call_soon_threadsafe", lambda *args, **kw: wakes.append(1) or original(*args, **kw))
    task = thread_flow.function_task(int)
    calls = [task("1") for _ in range(200)]
    finished = threading.Event()
    calls.append(thread_flow.function_task(finished.set).options(after=calls)())
    await asyncio.sleep(0)  # hands the batch over
    assert finished.wait(20)  # this loop sees nothing meanwhile, as a driver that computes
    blocked = len(wakes)
    assert await asyncio.gather(*calls[:-1]) == [1] * 200
    assert blocked <= 5


IMPORT = """
    import asyncio, logging, signal, sys, threading, warnings
    handlers = {number: signal.getsignal(number) for number in signal.valid_signals()}
    levels = dict(logging.root.manager.loggerDict)
    filters = list(warnings.filters)
    import asyncflow
    from asyncflow import WorkflowEngine, TaskState, ConcurrentExecutionBackend, NoopExecutionBackend
    assert handlers == {number: signal.getsignal(number) for number in signal.valid_signals()}, "signals"
    assert threading.enumerate() == [threading.main_thread()], "threads"
    assert logging.root.handlers == [] and logging.root.level == logging.WARNING, "root logger"
    assert logging.getLogger("asyncflow").handlers == [] and logging.getLogger("asyncflow").level == 0, "our logger"
    loaded = {"dask", "distributed", "dask_jobqueue", "tornado", "click", "bokeh"} & set(sys.modules)
    assert not loaded, loaded
    assert warnings.filters == filters, "warnings"
    print("quiet")
"""


def test_importing_does_nothing(tmp_path):
    """No signal handler, thread, logging handler or warning filter at import, and no Dask."""
    assert run_script(write(tmp_path / "quiet.py", IMPORT)) == "quiet\n"


def test_running_an_engine_leaves_the_process_as_it_was(tmp_path):
    """Signal handlers, Dask's configuration, logging handlers and the root logger are the user's, before and after."""
    script = write(
        tmp_path / "asitwas.py",
        f"""
        import asyncio, copy, logging, signal
        import dask, distributed
        from asyncflow import WorkflowEngine
        def looks():
            signals = {{number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}}
            return signals, copy.deepcopy(dask.config.config), list(logging.root.handlers), logging.root.level
        before = looks()
        async def main():
            during = looks()
            async with WorkflowEngine.create({IN_PROCESS!r}) as flow:
                assert await flow.function_task(int)("1") == 1
                assert (looks()[0], looks()[2:]) == (during[0], during[2:])
        asyncio.run(main())
        assert looks() == before
        print("as it was")
        """,
    )
    assert run_script(script) == "as it was\n"


async def test_it_works_where_a_loop_runs_already(flow):
    """Inside another task of a running loop, as in a notebook cell, calls work."""

    async def cell():
        return await flow.function_task(int)("5")

    assert await asyncio.create_task(cell()) == 5


async def create(pool):
    if pool is None:
        return await WorkflowEngine.create(IN_PROCESS)
    return await WorkflowEngine.create(backend=ConcurrentExecutionBackend(pool))


@pytest.mark.parametrize("kind", ["dask", "threads"])
def test_one_engine_serves_several_loops_one_after_the_other(kind):
    """Created under one asyncio.run, called in two more, shut down in a last; a future belongs to its caller's loop."""

    async def call(flow):
        future = flow.function_task(int)("3")
        assert future.get_loop() is asyncio.get_running_loop()
        return await future

    with ThreadPoolExecutor(1) as pool:
        flow = asyncio.run(create(pool if kind == "threads" else None))
        assert asyncio.run(call(flow)) == 3
        assert asyncio.run(call(flow)) == 3
        asyncio.run(flow.shutdown())


@pytest.mark.parametrize("kind", ["dask", "threads"])
def test_calls_of_a_loop_that_has_ended_hinder_nobody(kind):
    """Whoever calls and leaves keeps neither the next loop's calls nor draining and closing from working."""
    gate = threading.Event()

    async def call_and_leave(flow):
        return flow.function_task(int if kind == "dask" else gate.wait)()

    async def call_and_close(flow):
        assert await flow.function_task(int)("4") == 4
        gate.set()
        await flow.drain()
        await flow.shutdown()

    with ThreadPoolExecutor(2) as pool:
        flow = asyncio.run(create(pool if kind == "threads" else None))
        left = asyncio.run(call_and_leave(flow))
        asyncio.run(call_and_close(flow))
        assert left.state is TaskState.DONE


def test_a_script_without_a_main_guard_works(tmp_path):
    """The default engine starts worker programs, so that a script needs no ``if __name__ == "__main__":``."""
    script = write(
        tmp_path / "bare.py",
        """
        import asyncio, os
        from asyncflow import WorkflowEngine
        print("once")
        async def main():
            async with WorkflowEngine.create() as flow:
                @flow.function_task
                def where():
                    return os.getpid()
                assert await where() != os.getpid()
        asyncio.run(main())
        """,
    )
    assert run_script(script) == "once\n"


CLUSTERS = {
    "programs": "WorkflowEngine.create({'cluster': {'kind': 'local', 'n_workers': 1, 'threads_per_worker': 1}})",
    "in-process": f"WorkflowEngine.create({IN_PROCESS!r})",
    "processes": "WorkflowEngine.create(backend=ConcurrentExecutionBackend(ProcessPoolExecutor(1)))",
}


@pytest.mark.parametrize("kind", CLUSTERS)
def test_a_module_beside_the_script_is_found(tmp_path, kind):
    """Started from another directory, a script's own modules import on every worker."""
    write(tmp_path / "beside.py", "def double(number):\n    return 2 * number\n")
    script = write(
        tmp_path / "script.py",
        f"""
        import asyncio
        from concurrent.futures import ProcessPoolExecutor
        from asyncflow import ConcurrentExecutionBackend, WorkflowEngine
        import beside
        async def main():
            async with {CLUSTERS[kind]} as flow:
                print(await flow.function_task(beside.double)(21))
        if __name__ == "__main__":
            asyncio.run(main())
        """,
    )
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    assert run_script(script, cwd=elsewhere) == "42\n"


async def test_a_module_missing_on_the_worker_is_named(dask_flow, monkeypatch):
    """The error says which module the worker cannot import, where, and what to do."""
    import types

    gone = types.ModuleType("only_on_the_driver")
    exec("def body():\n    return 1\n", gone.__dict__)
    monkeypatch.setitem(sys.modules, "only_on_the_driver", gone)
    call = dask_flow.function_task(gone.body)()
    monkeypatch.delitem(sys.modules, "only_on_the_driver")
    with pytest.raises(MissingModuleError, match=r"only_on_the_driver.*install it there") as caught:
        await call
    assert caught.value.module == "only_on_the_driver"
    assert caught.value.worker
    assert isinstance(caught.value, ImportError)


async def block_the_loop(seconds, tasks, body_seconds):
    """Block the driver's loop while `tasks` run; facts about what the workers did meanwhile."""
    config = {"cluster": {"kind": "local", "n_workers": 2, "threads_per_worker": 2, "dashboard_address": None}}
    async with WorkflowEngine.create(config) as flow:

        @flow.function_task
        def work(index):
            time.sleep(body_seconds)
            return os.getpid(), time.time()

        async def pids():
            return {pid for pid, _ in await asyncio.gather(*[work(index) for index in range(8)])}

        before = await pids()
        chain = work(0)
        for _ in range(10):  # a running graph goes on, link by link, while nobody on the driver can look
            chain = work(chain)
        calls = [chain, *[work(index) for index in range(tasks)]]
        await asyncio.sleep(0)  # hands the batch over
        time.sleep(seconds)
        woke = time.time()
        results = await asyncio.gather(*calls)
        return before, await pids(), woke, results


async def test_a_driver_that_blocks_its_loop_delays_only_itself():
    """While the loop is blocked for 2 s, all tasks run to their ends, on the same workers as before and after."""
    before, after, woke, results = await block_the_loop(2.0, 50, 0.01)
    assert max(end for _, end in results) < woke
    assert before == after == {pid for pid, _ in results}


@pytest.mark.slow
async def test_a_driver_that_blocks_its_loop_for_long_delays_only_itself():
    """``time.sleep(30)`` while 500 tasks run: their own end times lie before the waking, and no worker is lost."""
    before, after, woke, results = await block_the_loop(30.0, 500, 0.1)
    assert max(end for _, end in results) < woke
    assert before == after == {pid for pid, _ in results}


async def test_the_loop_of_a_thread_is_closed_with_it_whoever_keeps_an_error_of_its_bodies():
    """A worker thread's private loop closes when the thread ends, also where a body's error is still held."""
    loops = []
    with ThreadPoolExecutor(1) as pool:
        async with WorkflowEngine.create(backend=ConcurrentExecutionBackend(pool)) as flow:

            @flow.function_task
            async def fail():
                loops.append(asyncio.get_running_loop())
                raise ValueError("held")

            with pytest.raises(ValueError, match="held") as held:
                await fail()
    assert held.value.__traceback__ is not None
    assert loops[0].is_closed()
