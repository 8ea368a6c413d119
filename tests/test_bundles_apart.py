"""Bundles that come apart: calls handed back, sent again, recomputed; what they need of each other is still there."""

import asyncio
import os
import signal
import threading
import time
from contextvars import ContextVar
from dataclasses import dataclass

import pytest
from distributed import secede

from asyncflow import EngineClosedError, LostError, WorkflowEngine
from asyncflow.events import TaskCompleted
from conftest import open_engine
from gates import Gate, Notes, until
from test_bundles import PROGRAMS, known

pytestmark = pytest.mark.usefixtures("with_bundles")

SEEN = ContextVar("seen", default=None)


def slow_once(notes, number, *inputs):
    """Long for one number, the first time that any process does it; the sum of the numbers so far."""
    noted = Notes(notes)
    noted.add(f"{number} {os.getpid()}")
    if number == 3 and sum(line.startswith("3 ") for line in noted.lines) == 1:
        time.sleep(0.6)
    return sum(inputs) + number


async def test_what_is_handed_back_finds_values_that_nobody_else_could_ask_for(dask_flow, notes):
    """The futures of the inputs are gone, and the call that takes them is sent again: their values are kept for it."""
    task = dask_flow.function_task(slow_once)
    await known(task, call=lambda each: each(notes.path, 0))
    total = task(notes.path, 0, *(task(notes.path, number) for number in range(1, 7)))
    assert await asyncio.wait_for(total, 10) == 21


async def test_a_call_that_asks_for_more_finds_its_inputs(dask_flow):
    """A call of a bundle fails and is sent again with other options: the value it takes is kept for that."""
    failed = []

    @dask_flow.function_task
    def first():
        return 7

    def second(value):
        if value == 7 and not failed:
            failed.append(value)
            raise ValueError(value)
        return value

    task = dask_flow.function_task(retries=1, retry_with={"priority": 1})(second)
    await known(first)
    await known(task, call=lambda each: each(0))
    assert await task(first()) == 7


async def test_a_value_that_cannot_travel_costs_only_its_own_call():
    """One call of a bundle returns a lock: whoever awaits that is told, and the values beside it are there."""
    async with WorkflowEngine.create(PROGRAMS) as flow:

        @flow.function_task
        def make(number):
            return threading.Lock() if number == 3 else number

        @flow.function_task(bundle=False)
        def total(*numbers):
            return sum(numbers)

        await known(make, call=lambda each: each(0))
        calls = [make(number) for number in range(6)]
        await until(lambda: all(str(call.state) == "DONE" for call in calls))
        assert await calls[5] == 5
        assert await asyncio.wait_for(total(*(call for call in calls if call is not calls[3])), 20) == 12
        with pytest.raises(LostError, match="could not be brought"):
            await calls[3]


def where_and_slow(notes, number):
    """As `slow_once`, with the process."""
    slow_once(notes, number)
    if number == 0 and sum(line.startswith("0 ") for line in Notes(notes).lines) > 1:
        time.sleep(0.5)
    return number, os.getpid()


async def test_a_bundle_whose_values_are_lost_is_made_again_whole(tmp_path):
    """The worker dies that has the values of a finished bundle: they are made again, however long one takes then."""
    notes = Notes(tmp_path / "notes")
    config = {"cluster": {**PROGRAMS["cluster"], "n_workers": 1}}
    async with WorkflowEngine.create(config) as flow:
        task = flow.function_task(where_and_slow)
        await known(task, call=lambda each: each(notes.path, -1))
        calls = [task(notes.path, number) for number in (0, 1, 2, 4, 5)]
        await until(lambda: all(str(call.state) == "DONE" for call in calls))
        workers = {int(line.split()[1]) for line in notes.lines}
        for worker in workers:
            os.kill(worker, signal.SIGKILL)
        await asyncio.wait_for(task(notes.path, 9), 30)  # on the next worker
        found = await asyncio.wait_for(asyncio.gather(*calls), 30)
    assert [number for number, _ in found] == [0, 1, 2, 4, 5]
    assert not {process for _, process in found} & workers


@dataclass
class Scale:
    """A callable that has no hash: it may change."""

    factor: int

    def __call__(self, number):
        return self.factor * number


@pytest.mark.parametrize(("function", "argument", "value"), [(str.upper, "a", "A"), (Scale(2), 3, 6)])
async def test_functions_that_cannot_be_told_apart_hold_up_nothing(dask_flow, function, argument, value):
    """Calls of a callable without a weak reference, or a hash, are sent as they are, and so is what comes after them."""
    task, add = dask_flow.function_task(name="odd")(function), dask_flow.function_task(max)
    assert set(await asyncio.wait_for(asyncio.gather(*[task(argument) for _ in range(50)]), 10)) == {value}
    assert await asyncio.wait_for(add(1, 2), 10) == 2


async def test_calls_that_wait_for_the_first_of_their_task_can_be_cancelled(tmp_path):
    """Most calls of an unknown task are kept back for a moment; cancelled then, they never begin."""
    notes = Notes(tmp_path / "notes")
    gate = Gate(tmp_path / "gate")
    async with open_engine("dask") as flow:

        @flow.function_task
        def step(number):
            notes.add(number)
            gate.wait()
            return number

        calls = [step(number) for number in range(100)]
        await asyncio.sleep(0)
        for call in calls[20:]:
            call.cancel()
        gate.open()
        assert await asyncio.gather(*calls[:20]) == list(range(20))
    assert len(notes.lines) == 20


class Stubborn(Exception):
    """Pickles, and does not open: its constructor wants two arguments."""

    def __init__(self, one, two):
        super().__init__(f"{one} {two}")


@pytest.mark.parametrize("is_awaited", [True, False])
async def test_a_value_that_does_not_open_costs_only_its_own_call(is_awaited):
    """One call of a bundle returns an exception that pickles and does not open: the values beside it are there."""
    async with WorkflowEngine.create(PROGRAMS) as flow:

        @flow.function_task
        def make(number):
            return Stubborn(1, 2) if number == 3 else [number]

        @flow.function_task(bundle=False)
        def total(*lists):
            return sum(sum(each) for each in lists)

        await known(make, call=lambda each: each(0))
        calls = [make(number) for number in range(6)]
        if not is_awaited:
            await until(lambda: all(str(call.state) == "DONE" for call in calls))
        rest = [call for call in calls if call is not calls[3]]
        assert await asyncio.wait_for(asyncio.gather(*rest), 20) == [[0], [1], [2], [4], [5]]
        assert await asyncio.wait_for(total(*rest), 20) == 12
        with pytest.raises(LostError, match="could not be brought"):
            await calls[3]


def seen_before(number):
    before = SEEN.get()
    SEEN.set(number)
    return before


async def test_what_one_call_sets_in_its_context_is_not_there_for_the_next(dask_flow):
    """Context variables are a call's own, as where each runs in a Dask task."""
    look = dask_flow.function_task(seen_before)
    await known(look, call=lambda each: each(-1))
    assert await asyncio.gather(*[look(number) for number in range(20)]) == [None] * 20


class Model:
    """A callable with a hash, whose comparison has no truth."""

    def __call__(self, number):
        return number + 1

    def __eq__(self, other):
        raise ValueError("ambiguous")

    def __hash__(self):
        return 1


async def test_nobody_asks_whether_two_functions_are_equal(dask_flow):
    """A callable is known by what it is: its own ``==`` may raise."""
    task = dask_flow.function_task(name="model")(Model())
    for _ in range(3):
        assert await asyncio.wait_for(asyncio.gather(*[task(number) for number in range(50)]), 10) == list(range(1, 51))


async def test_a_body_may_leave_dasks_pool(dask_flow):
    """``distributed.secede()`` in each call of a bundle: the thread comes back for the next."""

    @dask_flow.function_task
    def leave(number):
        secede()
        return number

    await known(leave, call=lambda each: each(0))
    assert await asyncio.wait_for(asyncio.gather(*[leave(number) for number in range(20)]), 20) == list(range(20))


def endless(number):
    return endless(number) if number == 1 else number


@pytest.mark.parametrize("bundle", [True, False])
async def test_an_endless_recursion_is_its_own_calls_failure(bundle):
    """Its traceback is too long to be pickled whole, and nothing waits for it."""
    async with WorkflowEngine.create(PROGRAMS) as flow:
        task = flow.function_task(bundle=bundle)(endless)
        if bundle:
            await known(task, call=lambda each: each(0))
        found = await asyncio.wait_for(asyncio.gather(*[task(n) for n in range(6)], return_exceptions=True), 20)
    assert isinstance(found.pop(1), RecursionError)
    assert found == [0, 2, 3, 4, 5]


async def test_the_size_told_of_a_value_that_cannot_travel_is_its_size(dask_flow):
    """Events tell what it takes in memory."""
    told = []

    @dask_flow.function_task
    def make():
        return threading.Lock()

    dask_flow.events.subscribe(told.append, kinds=TaskCompleted)
    await known(make, call=_until_done)
    calls = [make() for _ in range(10)]
    await until(lambda: {call.id for call in calls} <= {event.id for event in told})
    assert all(event.size < 1000 for event in told)


async def _until_done(task):
    call = task()
    await until(lambda: str(call.state) == "DONE")


async def test_a_value_left_on_a_cluster_that_is_closed_is_told(tmp_path):
    """Whoever awaits it after the end of its engine learns where it was."""
    async with open_engine("dask") as flow:
        call = flow.function_task(max)(1, 2)
        await until(lambda: str(call.state) == "DONE")
    with pytest.raises(EngineClosedError, match="still on the cluster"):
        await call
