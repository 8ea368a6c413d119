"""What is finished and dropped is gone; large values stay where they are, and travel once."""

import asyncio
import gc
import linecache
import threading
import time
import tracemalloc
import weakref
from collections import deque

import pytest
from dask.utils import key_split

from asyncflow import TaskFuture, TaskState, WorkflowEngine
from asyncflow.events import Event
from asyncflow.queues import bounds
from conftest import IN_PROCESS, open_engine

PROGRAMS = {"cluster": {"kind": "local", "n_workers": 2, "threads_per_worker": 1, "dashboard_address": None}}
MB = 2**20


async def on_scheduler(client, look):
    """What `look` finds on the scheduler of an engine's own client, which lives on another loop."""
    return await asyncio.to_thread(client.run_on_scheduler, look)


def keys_of(dask_scheduler):
    return {str(key): task.nbytes for key, task in dask_scheduler.tasks.items()}


def values_of(dask_scheduler):
    """Keys whose values are in memory; others may be known only as the way to make a descendant again."""
    return {str(key) for key, task in dask_scheduler.tasks.items() if task.state == "memory"}


async def until(fact, timeout=10.0):
    """Whether the awaitable `fact()` becomes true."""
    deadline = time.monotonic() + timeout
    while not await fact():
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(0.01)  # between looks at a fact of another process
    return True


def alive(*kinds):
    gc.collect()
    return [each for each in gc.get_objects() if isinstance(each, kinds)]


@pytest.mark.parametrize("kind", ["dask", "threads", "processes"])
async def test_awaited_tasks_leave_nothing(kind):
    """After many calls are awaited and dropped, the driver keeps neither their records nor futures, nor Dask a key."""
    async with open_engine(kind) as flow:
        task = flow.function_task(abs)
        first = task(0)
        await first
        client = first.dask_future.client if kind == "dask" else None
        record = type(first.node)
        del first
        before = len(alive(record, TaskFuture))
        for _ in range(3):
            assert await asyncio.gather(*[task(number) for number in range(200)]) == list(range(200))
        chain = task(0)
        for _ in range(100):
            chain = task(chain)
        await chain
        del chain

        async def nothing_left():
            await asyncio.sleep(0)  # the last callbacks hold what they were called with
            return len(alive(record, TaskFuture)) <= before

        assert await until(nothing_left), alive(record, TaskFuture)[:3]
        if client is not None:

            async def no_key_left():
                return not await on_scheduler(client, keys_of)

            assert await until(no_key_left), await on_scheduler(client, keys_of)


def identity(value):
    return value


def containers():
    """Sizes and contents of all tables without a limit, in driver, client, scheduler and workers: one process here."""
    gc.collect()
    found = [each for each in gc.get_objects() if isinstance(each, (dict, list, set, deque))]
    sources = {id(entry[2]) for entry in linecache.cache.values() if len(entry) > 2}  # which Dask's profiler reads
    unlimited = (each for each in found if getattr(each, "maxlen", None) is None and id(each) not in sources)
    return {id(each): (len(each), each) for each in unlimited}


@pytest.mark.parametrize("is_kept", [False, True], ids=["plain", "kept"])
async def test_a_long_stream_leaves_nothing_behind(tmp_path, monkeypatch, is_kept):
    """Thousands of calls through `map` leave no record, key or event, and no table anywhere grows with their number."""
    monkeypatch.setattr(bounds, "NAMES", 500)
    options = {"work_dir": tmp_path, "checkpoint": True} if is_kept else {}
    async with WorkflowEngine.create(IN_PROCESS, **options) as flow:
        task = flow.function_task(identity)
        first = task(-1)
        await first
        client, record = first.dask_future.client, type(first.node)
        del first
        before = len(alive(record, TaskFuture, Event))
        async for _ in flow.map(task, range(400), window=100):
            pass
        early = {name: size for name, (size, _) in containers().items()}
        total = 0
        async for value in flow.map(task, range(400, 3000), window=100):
            total += value
        assert total == sum(range(400, 3000))
        # The scheduler looks through the thousand bodies it has heard of last.
        grown = [each for name, (size, each) in containers().items() if size > early.get(name, 0) + 1500]
        assert not [repr(each)[:200] for each in grown if each is not early], "tables that grow with the calls"
        del grown
        assert key_split.cache_info().currsize < 1000

        async def nothing_left():
            await asyncio.sleep(0)
            return len(alive(record, TaskFuture, Event)) <= before and not await on_scheduler(client, keys_of)

        assert await until(nothing_left), alive(record, TaskFuture, Event)[:3]


async def test_waves_of_calls_leave_no_record_on_the_scheduler():
    """What Dask notes of each graph and each time there was nothing to do does not add up."""
    async with WorkflowEngine.create(IN_PROCESS) as flow:
        task = flow.function_task(identity)
        first = task(0)
        await first
        client = first.dask_future.client
        del first

        def noted(dask_scheduler):
            spans = dask_scheduler.extensions["spans"].spans.values()
            return [(len(span.groups), len((span.metadata or {}).get("collections", ()))) for span in spans]

        for number in range(130):
            await task(number)
        ((groups, graphs),) = await on_scheduler(client, noted)
        assert groups <= 102
        assert graphs == 0


@pytest.mark.parametrize("kind", ["dask", "threads"])
async def test_failed_and_cancelled_tasks_leave_nothing(kind):
    """Errors, with the frames they hold, and cancelled calls go as soon as nobody holds their futures."""
    async with open_engine(kind) as flow:
        bang, task = flow.function_task(lambda: 1 / 0), flow.function_task(abs)
        gate = asyncio.get_running_loop().create_future()
        record = type(task(0).node)
        await flow.drain()
        before = len(alive(record, TaskFuture))
        calls = [task(bang()) for _ in range(50)] + [task(task(gate)) for _ in range(50)]
        for call in calls[50:]:
            call.cancel()
        await asyncio.wait(calls)
        gate.set_result(1)
        await flow.drain()
        del calls, call

        async def nothing_left():
            await asyncio.sleep(0)
            return len(alive(record, TaskFuture)) <= before

        assert await until(nothing_left), alive(record, TaskFuture)[:3]


async def test_dropped_intermediates_are_released_while_the_chain_goes_on(dask_flow):
    """A value that no live future and no unfinished call needs leaves the cluster, though its descendants do not."""
    gate = asyncio.get_running_loop().create_future()
    make, pass_on = (
        dask_flow.function_task(bytes),
        dask_flow.function_task(lambda value, *_: value + b"1"),
    )
    first = make(MB)
    second = pass_on(first)
    third = pass_on(second)
    last = pass_on(third, gate)
    names = {"first": first.id, "second": second.id, "third": third.id}
    client = first.dask_future.client

    async def is_done():
        return third.state is TaskState.DONE  # looking does not fetch

    async def dropped():
        held = await on_scheduler(client, values_of)
        return names["first"] not in held and names["second"] not in held

    try:
        assert await until(is_done)
        assert set(names.values()) <= await on_scheduler(client, values_of), "held by their futures"
        del first, second
        assert await until(dropped)
        assert names["third"] in await on_scheduler(client, values_of)
    finally:
        gate.set_result(None)
    assert len(await last) == MB + 3


async def test_threads_release_dropped_intermediates_too(thread_flow):
    """On threads the objects themselves go, while their descendants go on."""
    made = []

    class Value:
        pass

    @thread_flow.function_task
    def make(*inputs):
        value = Value()
        made.append(weakref.ref(value))
        return value

    gate, arrived = threading.Event(), threading.Event()

    @thread_flow.function_task
    def wait(value):
        arrived.set()
        del value
        gate.wait()

    waiting = wait(make(make(make())))
    assert await asyncio.to_thread(arrived.wait, 10)
    try:

        async def first_two_gone():
            gc.collect()
            return [ref() for ref in made[:2]] == [None, None]

        assert await until(first_two_gone)
    finally:
        gate.set()
    await waiting


async def test_a_value_handed_along_never_comes_to_the_driver():
    """20 MB through three tasks on worker programs cost the driver next to nothing; awaiting them does cost."""
    async with WorkflowEngine.create(PROGRAMS) as flow:
        make = flow.function_task(bytes)
        same = flow.function_task(lambda value: value)
        size = flow.function_task(len)
        assert await size(same(make(10))) == 10
        assert await peak(lambda: size(same(same(make(20 * MB))))) < 4 * MB
        assert await peak(lambda: same(make(20 * MB))) > 20 * MB, "the measure sees what does come"


async def peak(call):
    """The most memory that this process came to hold while `call` was made and awaited."""
    tracemalloc.start()
    try:
        await call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


RELEASE = threading.Event()


def wait_for_release(large, number):
    RELEASE.wait(30)
    return id(large), len(large)


async def test_a_large_argument_travels_once(dask_flow):
    """However many calls are given it, in one turn or several, the cluster holds a large argument as one value."""
    hold, large = dask_flow.function_task(wait_for_release), bytes(range(256)) * (MB // 256)
    RELEASE.clear()
    calls = [hold(large, number) for number in range(10)]
    client = calls[0].dask_future.client

    async def count():
        return len(await on_scheduler(client, keys_of))

    try:
        assert await until(lambda: is_equal(count(), 11)), "ten calls and one argument"
        calls.extend(hold(large, number) for number in range(10))
        assert await until(lambda: is_equal(count(), 21)), "ten calls more"
    finally:
        RELEASE.set()
    answers = await asyncio.gather(*calls)
    assert {length for _, length in answers} == {MB}
    assert len({place for place, _ in answers}) <= 2, "opened once on each of two workers at most"
    del calls
    assert await until(lambda: is_equal(count(), 0))


async def is_equal(awaitable, value):
    return await awaitable == value


async def test_an_argument_changed_between_calls_arrives_as_it_was():
    """Sharing goes by content: a large list changed in place between two calls is two values."""
    async with WorkflowEngine.create(IN_PROCESS) as flow:
        total = flow.function_task(sum)
        numbers = [1] * 200_000
        before = total(numbers)
        numbers[0] = 5
        after = total(numbers)
        assert await asyncio.gather(before, after) == [200_000, 200_004]
