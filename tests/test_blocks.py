"""Blocks: coroutines on the driver that compose tasks, and are called, awaited and passed on like tasks."""

import asyncio

import pytest

from asyncflow import DependencyFailureError, OptionError, TaskExitError, TaskFuture, TaskState
from gates import Gate, on_scheduler, until


def add(*parts):
    """A body."""
    return sum(parts)


async def test_a_block_is_called_like_a_task(any_flow):
    """A block returns a future at once, runs on this loop, and resolves to what it returns."""
    loop = asyncio.get_running_loop()
    task = any_flow.function_task(add)

    @any_flow.block
    async def campaign(count, *, offset):
        assert asyncio.get_running_loop() is loop
        return sum(await asyncio.gather(*[task(number, offset) for number in range(count)]))

    future = campaign(3, offset=10)
    assert isinstance(future, TaskFuture)
    assert future.state is TaskState.PENDING
    assert (future.name, future.dask_future) == ("campaign", None)
    assert await future == 33
    assert future.state is TaskState.DONE


async def test_blocks_nest(any_flow):
    """A block may call blocks to any depth."""
    task = any_flow.function_task(add)

    @any_flow.block
    async def tree(depth):
        if depth == 0:
            return await task(1)
        return await task(tree(depth - 1), tree(depth - 1))

    assert await tree(5) == 32


async def test_blocks_run_at_the_same_time(flow):
    """Two blocks that wait for each other both end."""
    one, two = asyncio.Event(), asyncio.Event()

    @flow.block
    async def meet(mine, other):
        mine.set()
        await other.wait()
        return "met"

    assert await asyncio.gather(meet(one, two), meet(two, one)) == ["met", "met"]


async def test_tasks_and_blocks_depend_on_each_other_both_ways(any_flow):
    """Futures of tasks go into blocks, those of blocks into tasks and blocks, nested in arguments too."""
    task = any_flow.function_task(add)

    @any_flow.block
    async def double(number):
        assert isinstance(number, int)
        return await task(number, number)

    @any_flow.block
    async def total(parts, *, more):
        assert all(isinstance(part, int) for part in (*parts, more["key"]))
        return sum(parts) + more["key"]

    one = task(1)
    two = double(one)
    four = task(two, 2)
    eight = double(double(two))
    assert await total([one, two, four], more={"key": eight}) == 15
    assert await task(total((one,), more={"key": two}), 1) == 4


async def test_a_command_uses_what_a_block_made(any_flow):
    """A block's value arrives in the body of an executable task."""

    @any_flow.block
    async def word():
        return "hello"

    @any_flow.executable_task
    def echo(word):
        return ["echo", "-n", word]

    assert await echo(word()) == "hello"


async def test_a_block_waits_for_its_inputs_and_after(flow, tmp_path):
    """The coroutine begins when what it depends on is there, not before."""
    gate, begun = Gate(tmp_path / "gate"), []

    @flow.function_task
    def hold(gate):
        gate.wait()

    async def late(_=None):
        begun.append(held.state)

    held = hold(gate)
    by_value, by_order = flow.block(late)(held), flow.block(after=[held])(late)()
    await until(lambda: held.state is TaskState.RUNNING)
    assert begun == []
    gate.open()
    await asyncio.gather(by_value, by_order)
    assert begun == [TaskState.DONE] * 2


async def test_a_block_that_returns_a_future_resolves_to_its_value(any_flow):
    """Whoever awaits the block gets the value of the future that it returned, through nested blocks too."""
    task = any_flow.function_task(add)

    @any_flow.block
    async def inner():
        return task(1, 2)

    @any_flow.block
    async def outer():
        return inner()

    future = outer()
    assert await task(future, 10) == 13
    assert await future == 3
    assert future.state is TaskState.DONE


async def test_the_value_of_a_returned_future_never_passes_the_driver(dask_flow, tmp_path):
    """A call that takes such a block is an edge to the call inside; nothing of the value is fetched."""
    gate = Gate(tmp_path / "gate")
    members = []

    @dask_flow.function_task
    def make(gate):
        gate.wait()
        return object()

    @dask_flow.function_task
    def kind(value):
        return type(value).__name__

    @dask_flow.block
    async def made():
        members.append(make(gate))
        return members[0]

    block = made()
    last = kind(block)
    await until(lambda: members and members[0].state is TaskState.RUNNING)

    def edges(dask_scheduler, key):
        return [str(each.key) for each in dask_scheduler.tasks[key].dependencies]

    found = await on_scheduler(members[0].dask_future.client, edges, key=last.id)
    assert found == [members[0].id]
    assert block.dask_future.key == members[0].id
    gate.open()
    assert await last == "object"
    await until(lambda: block.state is TaskState.DONE)
    assert not asyncio.Future.done(members[0])
    assert not asyncio.Future.done(block)
    assert type(await block) is object


async def test_a_block_that_raises_fails_with_that_error(flow):
    """The exception of the coroutine comes out as it is; dependents get the way."""
    original = ValueError("planned")

    @flow.block
    async def campaign():
        raise original

    block = campaign()
    report = flow.function_task(name="report")(add)(block)
    with pytest.raises(ValueError) as caught:
        await block
    assert caught.value is original
    with pytest.raises(DependencyFailureError, match="report <- campaign: ValueError: planned"):
        await report


async def test_a_block_with_a_failed_input_never_starts(flow):
    """A block is not run without its inputs."""
    started = []

    def fail():
        raise ValueError("bad seed")

    @flow.block
    async def campaign(value):
        started.append(value)

    with pytest.raises(DependencyFailureError, match="campaign <- fail"):
        await campaign(flow.function_task(fail)())
    assert started == []


@pytest.mark.parametrize("original", [SystemExit(2), KeyboardInterrupt()])
async def test_a_block_that_exits_ends_neither_loop_nor_engine(flow, original):
    """What no future can carry fails the block with TaskExitError."""

    @flow.block
    async def leave():
        raise original

    with pytest.raises(TaskExitError) as caught:
        await leave()
    assert type(caught.value.__cause__) is type(original)
    assert await flow.function_task(add)(1, 2) == 3


async def test_a_block_may_go_on_after_a_failed_member(flow):
    """A member's failure is an exception that the block may handle."""

    def fail():
        raise ValueError("one of many")

    @flow.block
    async def campaign():
        results = await asyncio.gather(*[flow.function_task(fail)() for _ in range(3)], return_exceptions=True)
        return len(results)

    assert await campaign() == 3


async def test_members_belong_to_the_workflow_of_their_block(flow):
    """Calls made in a block, and in blocks inside it, carry its workflow id; those outside do not."""
    members = []

    @flow.block
    async def inner():
        members.append(flow.function_task(add)(1))
        await members[-1]

    @flow.block
    async def outer():
        members.append(flow.function_task(add)(2))
        await inner()

    async with flow.workflow_scope("wf-mine"):
        scoped = outer()
    await scoped
    assert {each.workflow_id for each in members} == {"wf-mine"}
    members.clear()
    first, second = outer(), outer()
    await asyncio.gather(first, second)
    assert {each.workflow_id for each in members} == {first.id, second.id}
    assert flow.function_task(add)(3).workflow_id is None


async def test_a_block_is_a_coroutine_function(flow):
    """A plain function is refused where it is decorated, with what to write."""
    with pytest.raises(TypeError, match=r"write `async def add\(\.\.\.\)`"):
        flow.block(add)


@pytest.mark.parametrize(
    "given", [{"retries": 2}, {"timeout": 3}, {"cores": 2}, {"nam": "x"}, {"shell": True}], ids=str
)
async def test_options_that_mean_nothing_for_blocks_are_refused(flow, given):
    """A block runs on the driver: what only a worker could grant is refused where it is written."""
    with pytest.raises(OptionError, match=next(iter(given))):
        flow.block(**given)


async def test_many_blocks_of_many_calls(flow):
    """A hundred blocks in flight end with their own values."""
    task = flow.function_task(add)

    @flow.block
    async def pipeline(number):
        first = task(number, 1)
        return await task(first, task(first))

    assert await asyncio.gather(*[pipeline(number) for number in range(100)]) == [2 * (n + 1) for n in range(100)]
