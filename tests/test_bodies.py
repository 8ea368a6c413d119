"""Where bodies run: in worker threads, coroutines on private loops, never where they would stall somebody else."""

import asyncio
import threading
import time

import pytest

from asyncflow import ConcurrentExecutionBackend, TaskExitError, WorkflowEngine
from conftest import IN_PROCESS
from gates import Gate, Notes, on_scheduler, until


async def test_a_function_runs_in_a_worker_thread(flow):
    """The body of a `def` runs neither on the user's thread nor on that of Dask's loop."""

    @flow.function_task
    def where():
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return threading.get_ident()
        return None

    ident = await where()
    dask = {thread.ident for thread in threading.enumerate() if thread.name == "asyncflow-dask"}
    assert ident is not None
    assert ident not in {threading.get_ident(), *dask}


async def test_a_coroutine_runs_on_a_private_loop_of_a_worker_thread(flow):
    """The body of an `async def` has a running loop, which is neither the user's nor Dask's."""

    @flow.function_task
    async def where():
        await asyncio.sleep(0)
        return threading.get_ident(), id(asyncio.get_running_loop())

    ident, loop = await where()
    dask = {thread.ident for thread in threading.enumerate() if thread.name == "asyncflow-dask"}
    assert ident not in {threading.get_ident(), *dask}
    assert loop != id(asyncio.get_running_loop())


async def test_coroutines_of_one_worker_run_at_the_same_time(flow, tmp_path):
    """Two coroutine bodies that wait for each other both end."""
    one, two = Gate(tmp_path / "one"), Gate(tmp_path / "two")

    @flow.function_task
    async def meet(mine, other):
        mine.open()
        await other.reached()
        return "met"

    assert await asyncio.gather(meet(one, two), meet(two, one)) == ["met", "met"]


@pytest.mark.parametrize("kind", ["def", "async def"])
async def test_a_busy_body_stalls_neither_heartbeat_nor_user(dask_flow, tmp_path, kind):
    """While a body computes without pause, its worker's loop answers and the user's loop turns."""
    started, enough = Gate(tmp_path / "started"), Gate(tmp_path / "enough")

    def spin():
        started.open()
        while not enough.is_open:
            sum(range(1000))

    @dask_flow.function_task
    def busy():
        spin()

    @dask_flow.function_task
    async def busy_async():
        spin()

    future = (busy if kind == "def" else busy_async)()
    await started.reached()

    def heartbeats(dask_scheduler):
        return {address: state.last_seen for address, state in dask_scheduler.workers.items()}

    client = future.dask_future.client
    before = await on_scheduler(client, heartbeats)
    async with asyncio.timeout(20):
        while not all(at > before[address] for address, at in (await on_scheduler(client, heartbeats)).items()):
            await asyncio.sleep(0.05)
    assert not asyncio.Future.done(future)
    enough.open()
    await future


async def test_what_a_coroutine_started_and_did_not_await_ends_with_it(flow, tmp_path):
    """Background tasks of a body are cancelled when the body returns, as `asyncio.run` does."""
    notes = Notes(tmp_path / "notes")

    @flow.function_task
    async def leave(notes):
        async def linger():
            try:
                await asyncio.sleep(1000)
            except asyncio.CancelledError:
                notes.add("ended")
                raise

        lingering = asyncio.create_task(linger())
        await asyncio.sleep(0)
        return lingering.get_name() is not None

    assert await leave(notes)
    assert notes.lines == ["ended"]


async def test_async_generators_and_context_of_one_body_do_not_reach_the_next(flow):
    """A context variable set in one coroutine body is not seen in another on the same thread."""

    @flow.function_task
    async def mark(value):
        from contextvars import ContextVar

        import gates

        variable = gates.__dict__.setdefault("_marker", ContextVar("marker", default=None))
        before = variable.get()
        variable.set(value)
        return before

    assert await asyncio.gather(*[mark(number) for number in range(8)]) == [None] * 8


async def test_a_child_that_exits_does_not_break_the_threads_loop(tmp_path):
    """SystemExit out of a task that a coroutine body started fails that call; the next on that thread works."""
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as pool:
        async with WorkflowEngine.create(backend=ConcurrentExecutionBackend(pool)) as flow:

            @flow.function_task
            async def exits():
                async def child():
                    raise SystemExit(3)

                await asyncio.create_task(child())

            @flow.function_task
            async def works():
                await asyncio.sleep(0.01)
                return threading.get_ident()

            before = await works()
            with pytest.raises(TaskExitError):
                await exits()
            assert await works() == before
            assert await asyncio.gather(works(), works()) == [before, before]


async def test_a_generator_or_class_call_is_just_a_call(flow):
    """Anything callable can be decorated; what it returns is the result."""
    from functools import partial

    assert await flow.function_task(partial(int, base=2))("101") == 5
    assert await flow.function_task(str)(12) == "12"


async def test_a_blocked_user_loop_delays_nothing_but_its_own_awaits(tmp_path):
    """While the driver blocks its loop, a chain of calls that was sent goes on to its end."""
    notes = Notes(tmp_path / "notes")
    async with WorkflowEngine.create(IN_PROCESS) as flow:

        @flow.function_task
        def step(notes, before):
            notes.add(before + 1)
            return before + 1

        last = step(notes, 0)
        for _ in range(9):
            last = step(notes, last)
        await asyncio.sleep(0)  # the turn ends, and the graph is sent
        deadline = time.monotonic() + 10
        while len(notes.lines) < 10:  # blocks this loop on purpose
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert last.state == "PENDING"
        assert await last == 10
        await until(lambda: last.state == "DONE")
