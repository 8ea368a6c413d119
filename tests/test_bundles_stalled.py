"""Bundles of which one call takes long after all: the other calls are not held up by it."""

import asyncio
import os
import time

import pytest

from asyncflow import TaskState, WorkflowEngine
from asyncflow.events import TaskResent
from conftest import open_engine
from gates import Gate, until
from test_bundles import PROGRAMS, known

pytestmark = pytest.mark.usefixtures("with_bundles")


def held(number, gate, *inputs):
    """Wait at a gate, if there is one; the sum of the numbers so far."""
    if gate is not None:
        gate.wait()
    return number + sum(inputs)


async def test_what_has_ended_is_told_while_another_call_of_its_bundle_runs(dask_flow, tmp_path):
    """Its value comes, its Dask future is done, and calls that were sent behind it run, before the long one ends."""
    gate, task = Gate(tmp_path / "gate"), dask_flow.function_task(held)
    await known(task, call=lambda each: each(0, None))
    quick, other = task(1, None), task(5, None)
    calls = [quick, other, task(2, gate), task(3, None)]
    alone = task.options(bundle=False)(10, None, quick, quick)
    behind = [task(10, None, call) for call in calls]
    assert await asyncio.wait_for(quick, 10) == 1
    assert await asyncio.wait_for(asyncio.gather(alone, behind[0], behind[1], behind[3]), 10) == [12, 11, 15, 13]
    assert await asyncio.wait_for(asyncio.wrap_future(_value(other.dask_future)), 10) == 5
    assert calls[2].state in {TaskState.PENDING, TaskState.RUNNING}
    gate.open()
    assert await behind[2] == 12


def _value(future):
    async def get():
        return await future

    return asyncio.run_coroutine_threadsafe(get(), future.client.loop.asyncio_loop)


async def test_the_first_of_several_is_known_when_it_has_ended(dask_flow, tmp_path):
    """``asyncio.wait`` for the first to complete does not wait for the last."""
    gate, task = Gate(tmp_path / "gate"), dask_flow.function_task(held)
    await known(task, call=lambda each: each(0, None))
    calls = [task(0, None), task(1, gate)]
    done, left = await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED, timeout=10)
    assert (done, left) == ({calls[0]}, {calls[1]})
    gate.open()
    assert await calls[1] == 1


async def test_a_failure_is_told_while_another_call_of_its_bundle_runs(dask_flow, tmp_path):
    """What depends on it fails as well, at once."""
    gate = Gate(tmp_path / "gate")

    @dask_flow.function_task
    def divide(number, by):
        if number == 2:
            gate.wait()
        return number / by

    await known(divide, call=lambda each: each(1, 1))
    bad, long = divide(1, 0), divide(2, 1)
    behind = divide(bad, 1)
    found = await asyncio.wait_for(asyncio.gather(bad, behind, return_exceptions=True), 10)
    assert [type(each).__name__ for each in found] == ["ZeroDivisionError", "DependencyFailureError"]
    assert not asyncio.Future.done(long)
    gate.open()
    assert await long == 2


async def test_each_call_of_a_stalled_bundle_ends_once_in_events(tmp_path):
    """Whatever leaves the bundle early: one TaskCompleted for each call, with its worker and a size."""
    gate, told = Gate(tmp_path / "gate"), []
    async with open_engine("dask") as flow:
        flow.events.subscribe(told.append)
        task = flow.function_task(held)
        await known(task, call=lambda each: each(0, None))
        calls = [task(1, None), task(2, gate), task(3, None)]
        behind = [task(10, None, call) for call in calls]
        await asyncio.wait_for(asyncio.gather(calls[0], calls[2], behind[0], behind[2]), 10)
        gate.open()
        await asyncio.gather(*calls, *behind)
        keys = [call.id for call in (*calls, *behind)]
    done = [event for event in told if type(event).__name__ == "TaskCompleted" and event.id in keys]
    assert sorted(event.id for event in done) == sorted(keys)
    assert all(event.worker and 0 < event.size < 1000 and event.started <= event.time for event in done)


def nap(number, *inputs):
    if number == -1:
        time.sleep(0.4)
    return 1


async def test_many_stalled_bundles_are_renewed_together(dask_flow):
    """All that is behind hundreds of calls that are handed back is sent again a few times, not once for each."""
    task, total = dask_flow.function_task(nap), dask_flow.function_task(lambda *values: len(values))
    await known(task, call=lambda each: each(0))
    resent = []
    dask_flow.events.subscribe(resent.append, kinds=TaskResent)
    calls = [task(-1 if number % 60 == 0 else number) for number in range(300)]
    last = total(*calls)
    behind = [task(number, last) for number in range(100)]
    assert await asyncio.wait_for(asyncio.gather(*behind), 60) == [1] * 100
    assert len(resent) < 5000


async def test_a_stalled_bundle_whose_worker_is_lost_costs_what_runs(tmp_path):
    """What was told before is not lost with the worker, and its value is there."""
    gate, begun = Gate(tmp_path / "gate"), Gate(tmp_path / "begun")
    async with WorkflowEngine.create(PROGRAMS) as flow:
        task = flow.function_task(die_once)
        await known(task, call=lambda each: each(0, None, None))
        calls = [task(1, None, None), task(2, begun, gate)]
        assert await asyncio.wait_for(calls[0], 20) == 1
        await until(lambda: calls[0].state is TaskState.DONE)
        gate.open()
        assert await asyncio.wait_for(calls[1], 40) == 2
        assert await asyncio.wait_for(task(5, None, None, calls[0]), 20) == 6


def die_once(number, begun, gate, *inputs):
    """End the worker the first time, when the gate is open."""
    if gate is not None and not begun.is_open:
        gate.wait()
        begun.open()
        os._exit(3)
    return number + sum(inputs)
