"""What a call returns: an asyncio future with a state, whose value comes when somebody is interested."""

import asyncio
import gc
import logging
import random

import pytest

from asyncflow import TaskFuture, TaskState, WorkflowEngine
from conftest import IN_PROCESS
from gates import Gate, Notes, until


class Precious:
    """A value that says when it is pickled, which is when it leaves its worker."""

    def __init__(self, notes):
        self.notes = notes

    def __reduce__(self):
        self.notes.add("fetched")
        return Precious, (self.notes,)


@pytest.fixture
async def far_flow():
    """An engine on worker programs, from which values must travel."""
    cluster = {"kind": "local", "n_workers": 1, "threads_per_worker": 2, "dashboard_address": None}
    async with WorkflowEngine.create({"cluster": cluster}) as flow:
        yield flow


def square(number):
    """A body."""
    return number * number


async def test_all_facts_exist_the_moment_the_call_returns(any_flow):
    """Id, name, state and Dask future are there before anything has been sent."""
    future = any_flow.function_task(square)(3)
    assert isinstance(future, asyncio.Future)
    assert isinstance(future, TaskFuture)
    assert future.state is TaskState.PENDING
    assert future.name == "square"
    assert future.id.startswith("square-")
    assert (future.dask_future is not None) == (any_flow.backend.name == "dask")
    assert await future == 9


async def test_the_dask_future_is_the_one_of_its_key(dask_flow):
    """`.dask_future` is a `distributed.Future` of the call's own key, with its value."""
    import distributed

    future = dask_flow.function_task(square)(4)
    assert isinstance(future.dask_future, distributed.Future)
    assert future.dask_future.key == future.id
    assert await future == 16
    assert future.dask_future.status == "finished"


async def test_states_are_words(flow):
    """A state compares and prints as its name, for progress lines and JSON."""
    future = flow.function_task(square)(2)
    assert future.state == "PENDING"
    await future
    assert f"{future.state}" == "DONE"
    assert {str(state) for state in TaskState} == {"PENDING", "RUNNING", "DONE", "FAILED", "CANCELLED"}


async def test_running_is_said_only_after_the_body_began(any_flow, tmp_path):
    """A call that waits for a worker stays PENDING; RUNNING comes when its body has begun, DONE when it ended."""
    gate, notes = Gate(tmp_path / "gate"), Notes(tmp_path / "notes")

    @any_flow.function_task
    def hold(number, notes, gate):
        notes.add(number)
        gate.wait()

    futures = [hold(number, notes, gate) for number in range(12)]
    await until(lambda: sum(future.state is TaskState.RUNNING for future in futures) >= 2)
    while any(future.state is TaskState.RUNNING for future in futures) and not gate.is_open:
        running = {number for number, future in enumerate(futures) if future.state is TaskState.RUNNING}
        if any_flow.backend.name == "dask":
            assert running <= {int(line) for line in notes.lines}
        elif any_flow.backend.name == "threads":  # which says so an instant before
            await until(lambda running=running: running <= {int(line) for line in notes.lines})
        assert len(notes.lines) <= 4
        gate.open()
    await asyncio.gather(*futures)
    assert {future.state for future in futures} == {TaskState.DONE}


async def test_a_call_behind_another_is_pending_until_that_ends(flow, tmp_path):
    """A dependent is PENDING while what it needs is RUNNING."""
    gate = Gate(tmp_path / "gate")

    @flow.function_task
    def hold(gate):
        gate.wait()
        return 3

    first = hold(gate)
    second = flow.function_task(square)(first)
    await until(lambda: first.state is TaskState.RUNNING)
    assert second.state is TaskState.PENDING
    gate.open()
    assert await second == 9
    assert first.state is TaskState.DONE


async def test_the_state_never_moves_back(any_flow):
    """Over many calls, each state seen is at or behind the one seen before."""
    rank = {TaskState.PENDING: 0, TaskState.RUNNING: 1, TaskState.DONE: 2, TaskState.FAILED: 2}
    chance = random.Random(3)

    @any_flow.function_task
    def sometimes(fails):
        if fails:
            raise ValueError("asked for")

    futures = [sometimes(chance.random() < 0.3) for _ in range(60)]
    waiting = asyncio.gather(*futures, return_exceptions=True)
    seen = [0] * len(futures)
    while not waiting.done():
        now = [rank[future.state] for future in futures]
        assert all(before <= after for before, after in zip(seen, now, strict=True))
        seen = now
        await asyncio.sleep(0)
    await waiting


async def test_interest_fetches_and_the_state_does_not(far_flow, tmp_path):
    """A finished call's value stays on its worker through any look at `.state`, and comes when it is awaited."""
    notes = Notes(tmp_path / "notes")

    @far_flow.function_task
    def make(notes):
        return Precious(notes)

    @far_flow.function_task
    def name(value):
        return type(value).__name__

    made, awaited, asked, called = make(notes), make(notes), make(notes), make(notes)
    assert await name(made) == "Precious"
    await until(lambda: {each.state for each in (made, awaited, asked, called)} == {TaskState.DONE})
    assert repr(made).endswith("DONE>")
    assert notes.lines == []
    assert isinstance(await awaited, Precious)
    assert len(notes.lines) == 1
    assert not asked.done()
    await until(asked.done)
    assert isinstance(asked.result(), Precious)
    heard = asyncio.Event()
    called.add_done_callback(lambda _: heard.set())
    await heard.wait()
    assert len(notes.lines) == 3
    assert made.state is TaskState.DONE
    assert len(notes.lines) == 3


async def test_an_unpicklable_result_fails_its_call_only_when_it_must_travel(far_flow):
    """A result that cannot travel serves dependents on its worker; whoever awaits it is told why it cannot come."""
    import threading

    from asyncflow import LostError

    @far_flow.function_task
    def make():
        return threading.Lock()

    @far_flow.function_task
    def kind(value):
        return type(value).__name__

    made, other = make(), far_flow.function_task(square)(3)
    assert await kind(made) == "lock"
    with pytest.raises(LostError, match="'make' could not be brought to the driver"):
        await made
    assert await other == 9


async def test_result_and_exception_before_the_end_are_refused_as_by_asyncio(flow, tmp_path):
    """Asking too early raises InvalidStateError, and the value comes all the same."""
    gate = Gate(tmp_path / "gate")

    @flow.function_task
    def hold(gate):
        gate.wait()
        return 5

    future = hold(gate)
    with pytest.raises(asyncio.InvalidStateError):
        future.result()
    with pytest.raises(asyncio.InvalidStateError):
        future.exception()
    gate.open()
    await until(future.done)
    assert future.result() == 5
    assert future.exception() is None


async def test_gather_wait_and_as_completed_work(any_flow):
    """The combinators of asyncio take these futures as they take their own."""
    task = any_flow.function_task(square)
    assert await asyncio.gather(*[task(number) for number in range(5)]) == [0, 1, 4, 9, 16]
    done, pending = await asyncio.wait([task(1), task(2)])
    assert {future.result() for future in done} == {1, 4}
    assert not pending
    assert sorted([await each for each in asyncio.as_completed([task(2), task(3)])]) == [4, 9]


async def test_first_completed_leaves_the_others_running(flow, tmp_path):
    """`asyncio.wait` returns at the first end; what is pending goes on."""
    gate = Gate(tmp_path / "gate")

    @flow.function_task
    def hold(gate):
        gate.wait()
        return "late"

    quick, late = flow.function_task(square)(2), hold(gate)
    done, pending = await asyncio.wait([quick, late], return_when=asyncio.FIRST_COMPLETED)
    assert done == {quick}
    assert pending == {late}
    gate.open()
    assert await late == "late"


async def test_shield_keeps_the_call_from_the_awaiters_cancellation(flow, tmp_path):
    """Cancelling who awaits a shielded future leaves the call running."""
    gate = Gate(tmp_path / "gate")

    @flow.function_task
    def hold(gate):
        gate.wait()
        return "kept"

    future = hold(gate)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(asyncio.shield(future), 0.01)
    assert not future.cancelled()
    gate.open()
    assert await future == "kept"


async def test_wait_for_cancels_the_call_at_its_timeout(flow, tmp_path):
    """`asyncio.wait_for` cancels what it waited for, as for any future."""
    gate = Gate(tmp_path / "gate")

    @flow.function_task
    def hold(gate):
        gate.wait()

    future = hold(gate)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(future, 0.01)
    assert future.cancelled()
    assert future.state is TaskState.CANCELLED
    gate.open()


async def test_callbacks_get_the_future_on_the_users_loop(any_flow):
    """A callback is called once, with the future, in the thread of the loop; one removed is not."""
    heard = []
    done = asyncio.Event()
    future = any_flow.function_task(square)(3)

    def unwanted(_):
        heard.append("unwanted")

    future.add_done_callback(unwanted)
    future.add_done_callback(lambda each: heard.append((each, asyncio.get_running_loop())))
    future.add_done_callback(lambda _: done.set())
    assert future.remove_done_callback(unwanted) == 1
    await done.wait()
    assert heard == [(future, asyncio.get_running_loop())]
    future.add_done_callback(lambda _: heard.append("late"))
    await until(lambda: heard[-1] == "late")


async def test_cancel_takes_a_message(flow, tmp_path):
    """`cancel(msg=)` reaches who awaits; cancelling what is over says False."""
    gate = Gate(tmp_path / "gate")

    @flow.function_task
    def hold(gate):
        gate.wait()

    future = hold(gate)
    assert future.cancel(msg="not needed")
    with pytest.raises(asyncio.CancelledError, match="not needed"):
        await future
    assert future.cancel() is False
    gate.open()
    finished = flow.function_task(square)(1)
    await finished
    assert finished.cancel() is False
    assert finished.state is TaskState.DONE


async def test_awaiting_twice_and_by_two_gives_the_same(any_flow):
    """Any number of awaiters get the one value."""
    future = any_flow.function_task(square)(5)

    async def wait():
        return await future

    assert await asyncio.gather(wait(), wait(), future) == [25, 25, 25]
    assert await future == 25


async def test_a_future_that_was_dropped_lets_its_call_run(any_flow, tmp_path):
    """Whoever forgets what a call returned has called it all the same."""
    gate = Gate(tmp_path / "gate")

    @any_flow.function_task
    def tell(gate):
        gate.open()

    tell(gate)
    gc.collect()
    await gate.reached()


async def test_a_callback_alone_keeps_the_call_alive(flow, tmp_path):
    """A future with nothing but a callback is told, though nobody holds it."""
    gate, heard = Gate(tmp_path / "gate"), asyncio.Event()

    @flow.function_task
    def hold(gate):
        gate.wait()

    hold(gate).add_done_callback(lambda _: heard.set())
    await asyncio.sleep(0)
    gc.collect()
    gate.open()
    async with asyncio.timeout(10):
        await heard.wait()


async def test_a_failure_that_nobody_awaited_is_told_once_at_shutdown(caplog):
    """Nothing is lost silently: name and error are logged, and not as asyncio's `never retrieved`."""
    with caplog.at_level(logging.ERROR):
        async with WorkflowEngine.create(IN_PROCESS) as flow:

            @flow.function_task
            def fail(what):
                raise ValueError(f"unheard {what}")

            fail("of")
            with pytest.raises(ValueError, match="unheard and awaited"):
                await fail("and awaited")
        gc.collect()
    assert [record.getMessage() for record in caplog.records] == [
        "task 'fail' failed and nobody awaited it: ValueError: unheard of"
    ]
