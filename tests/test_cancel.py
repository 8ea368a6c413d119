"""Cancelling stops the work: of the call, of what depends on it, of a block's members, and of nobody else."""

import asyncio

import pytest

from asyncflow import ConcurrentExecutionBackend, TaskState, WorkflowEngine
from conftest import IN_PROCESS
from gates import Gate, Notes, on_scheduler, until


def hold(gate, value=None):
    """A body that runs until its gate opens."""
    gate.wait()
    return value


def note(notes, line, *_):
    """A body that tells that it ran."""
    notes.add(line)
    return line


def known_keys(dask_scheduler):
    """What the scheduler knows."""
    return [str(key) for key in dask_scheduler.tasks]


async def test_a_pending_task_never_starts(any_flow, tmp_path):
    """What waits for a worker or for an input is not run once it is cancelled."""
    gate, notes = Gate(tmp_path / "gate"), Notes(tmp_path / "notes")
    holds, notes_down = any_flow.function_task(hold), any_flow.function_task(note)
    busy = [holds(gate) for _ in range(4)]
    await until(lambda: sum(each.state is TaskState.RUNNING for each in busy) >= 2)
    await until(lambda: any_flow.backend.name == "processes" or {each.state for each in busy} == {TaskState.RUNNING})
    doomed = [notes_down(notes, "doomed"), notes_down(notes, "doomed", busy[0])]
    kept = [notes_down(notes, "kept"), notes_down(notes, "kept", busy[0])]
    for future in doomed:
        assert future.cancel()
    if any_flow.backend.name == "dask":  # which hears of it a little later
        client, ids = busy[0].dask_future.client, {future.id for future in doomed}
        async with asyncio.timeout(10):
            while ids & set(await on_scheduler(client, known_keys)):
                await asyncio.sleep(0.01)
    gate.open()
    await asyncio.gather(*kept, *busy)
    assert notes.lines == ["kept", "kept"]
    assert all(future.cancelled() for future in doomed)


async def test_cancelling_in_the_turn_of_the_call_sends_nothing(flow, tmp_path):
    """A call cancelled before its turn ends never reaches the backend."""
    notes = Notes(tmp_path / "notes")
    notes_down = flow.function_task(note)
    future = notes_down(notes, "never")
    future.cancel()
    await notes_down(notes, "other")
    assert notes.lines == ["other"]


async def test_dependents_are_cancelled_and_nobody_else(any_flow, tmp_path):
    """Everything downstream of a cancelled call is CANCELLED; siblings, inputs and strangers come to their values."""
    gate = Gate(tmp_path / "gate")
    holds = any_flow.function_task(hold)

    @any_flow.function_task
    def add(*parts):
        return sum(parts)

    source = holds(gate, 1)
    middle = add(source, 1)
    low, deep = add(middle), add(add([middle][0]), 5)
    sibling, stranger = add(source, 10), add(1, 2)
    assert middle.cancel()
    assert {each.state for each in (middle, low, deep)} == {TaskState.CANCELLED}
    assert {each.state for each in (source, sibling, stranger)} <= {TaskState.PENDING, TaskState.RUNNING}
    gate.open()
    assert await asyncio.gather(source, sibling, stranger) == [1, 11, 3]
    for each in (low, deep):
        with pytest.raises(asyncio.CancelledError):
            await each


async def test_a_running_functions_result_is_dropped(any_flow, tmp_path):
    """A `def` that runs cannot be stopped; its future is CANCELLED at once and stays so, and its slot serves again."""
    gate = Gate(tmp_path / "gate")
    future = any_flow.function_task(hold)(gate, 1)
    await until(lambda: future.state is TaskState.RUNNING)
    future.cancel()
    assert future.state is TaskState.CANCELLED
    gate.open()

    @any_flow.function_task
    def one():
        return 1

    assert await asyncio.gather(*[one() for _ in range(20)]) == [1] * 20
    assert future.state is TaskState.CANCELLED


async def test_a_running_coroutine_is_stopped(flow, tmp_path):
    """The body of an `async def` gets CancelledError where it waits, and may tidy up."""
    began, ended = Gate(tmp_path / "began"), Gate(tmp_path / "ended")

    @flow.function_task
    async def wait(began, ended):
        began.open()
        try:
            await asyncio.sleep(1000)
        except asyncio.CancelledError:
            ended.open()
            raise

    future = wait(began, ended)
    await began.reached()
    future.cancel()
    await ended.reached()
    assert future.state is TaskState.CANCELLED


async def test_no_attempt_follows_a_cancellation(flow, tmp_path):
    """A task cancelled in the delay before its next attempt is not tried again."""
    notes = Notes(tmp_path / "notes")

    @flow.function_task(retries=3, retry_delay=0.3)
    def fail(notes):
        notes.add("tried")
        raise ValueError("again")

    doomed = fail(notes)
    await until(lambda: notes.lines == ["tried"])
    doomed.cancel()
    other = fail.options(name="other", retries=2)
    with pytest.raises(ValueError, match="again"):  # takes twice the delay
        await other(Notes(tmp_path / "others"))
    assert notes.lines == ["tried"]


async def test_cancelling_a_block_cancels_its_members_at_any_depth(flow, tmp_path):
    """The coroutine of a cancelled block ends, with everything called in it and in blocks inside it."""
    gate, notes = Gate(tmp_path / "gate"), Notes(tmp_path / "notes")
    members, ended = [], []
    holds, notes_down = flow.function_task(hold), flow.function_task(note)

    @flow.block
    async def inner():
        members.append(holds(gate))
        members.append(notes_down(notes, "member", members[-1]))
        try:
            await members[-1]
        except asyncio.CancelledError:
            ended.append("inner")
            raise

    @flow.block
    async def outer():
        members.append(holds(gate))
        members.append(inner())
        try:
            await members[-1]
        except asyncio.CancelledError:
            ended.append("outer")
            raise

    stranger = holds(gate, "fine")
    block = outer()
    after = notes_down(notes, "after", block)
    await until(lambda: len(members) == 4)
    block.cancel()
    assert {each.state for each in (*members, block, after)} == {TaskState.CANCELLED}
    await until(lambda: sorted(ended) == ["inner", "outer"])
    gate.open()
    assert await stranger == "fine"
    assert notes.lines == []


async def test_a_block_that_awaits_a_cancelled_child_ends(flow, tmp_path):
    """A block whose awaited member is cancelled from outside is CANCELLED too; it never hangs."""
    gate = Gate(tmp_path / "gate")
    holds = flow.function_task(hold)
    children = []

    @flow.block
    async def parent():
        children.append(holds(gate))
        return await children[0]

    block = parent()
    await until(lambda: children)
    children[0].cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(block, 10)
    assert block.state is TaskState.CANCELLED
    gate.open()


async def test_a_block_may_go_on_without_a_cancelled_child(flow, tmp_path):
    """A block that catches the cancellation of a member returns what it likes."""
    gate = Gate(tmp_path / "gate")
    holds = flow.function_task(hold)

    @flow.block
    async def parent():
        child = holds(gate)
        child.cancel()
        try:
            await child
        except asyncio.CancelledError:
            return "without it"

    assert await parent() == "without it"
    gate.open()


async def test_cancelling_a_block_that_returned_a_future_cancels_what_it_became(flow, tmp_path):
    """A block that has become its member is cancelled with it, from either end."""
    gate = Gate(tmp_path / "gate")
    holds = flow.function_task(hold)
    members = []

    @flow.block
    async def become():
        members.append(holds(gate))
        return members[-1]

    one, two = become(), become()
    await until(lambda: len(members) == 2)
    await asyncio.sleep(0)
    one.cancel()
    members[1].cancel()
    for block in (one, two):
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(block, 10)
    assert {each.state for each in (one, two, *members)} == {TaskState.CANCELLED}
    gate.open()


async def test_a_call_that_waits_for_a_cancelled_awaitable_is_cancelled(flow):
    """A plain future cancelled by its owner cancels the calls that need it."""
    bare = asyncio.get_running_loop().create_future()

    @flow.function_task
    def use(value):
        return value

    first = use(bare)
    second = use(first)
    bare.cancel()
    with pytest.raises(asyncio.CancelledError):
        await second
    assert first.state is TaskState.CANCELLED


async def test_cancelling_a_call_leaves_the_awaitable_it_waits_for(flow):
    """What a user made and passed stays the user's: cancelling the call does not cancel it."""
    bare = asyncio.get_running_loop().create_future()

    @flow.function_task
    def use(value):
        return value

    doomed, kept = use(bare), use(bare)
    doomed.cancel()
    await asyncio.sleep(0)
    assert not bare.cancelled()
    bare.set_result(3)
    assert await kept == 3


async def test_cancelling_the_gather_cancels_its_calls(flow, tmp_path):
    """`gather(...).cancel()` reaches every call, and an asyncio task that awaits one passes its cancellation on."""
    gate = Gate(tmp_path / "gate")
    holds = flow.function_task(hold)
    futures = [holds(gate) for _ in range(3)]

    async def wait():
        await futures[2]

    waiting = asyncio.create_task(wait())
    gathered = asyncio.gather(*futures[:2])
    await asyncio.sleep(0)
    gathered.cancel()
    waiting.cancel()
    await asyncio.gather(gathered, waiting, return_exceptions=True)
    assert {future.state for future in futures} == {TaskState.CANCELLED}
    gate.open()


async def test_cancelled_calls_leave_the_scheduler(dask_flow, tmp_path):
    """The scheduler forgets a cancelled chain, and serves what comes after it."""
    gate = Gate(tmp_path / "gate")
    holds = dask_flow.function_task(hold)
    first = holds(gate)
    client = first.dask_future.client
    second = holds(gate, first)
    await until(lambda: first.state is TaskState.RUNNING)
    first.cancel()
    gate.open()

    async with asyncio.timeout(10):
        while await on_scheduler(client, known_keys):
            await asyncio.sleep(0.01)
    assert second.cancelled()
    assert await holds(gate, "served") == "served"


@pytest.mark.parametrize("kind", ["dask", "threads"])
async def test_leaving_the_engine_by_an_exception_cancels(kind, tmp_path):
    """An exception out of the engine's block cancels what is unfinished and comes out itself."""
    from concurrent.futures import ThreadPoolExecutor

    began = Gate(tmp_path / "began")

    class Left(Exception):
        pass

    with ThreadPoolExecutor(1) as pool:
        given = {"config": IN_PROCESS} if kind == "dask" else {"backend": ConcurrentExecutionBackend(pool)}
        with pytest.raises(Left):
            async with WorkflowEngine.create(**given) as flow:

                @flow.function_task
                async def wait(began):
                    began.open()
                    await asyncio.sleep(1000)

                future = wait(began)
                await began.reached()
                raise Left
    assert future.cancelled()
