"""How many calls are at the backends at once."""

import asyncio

import pytest

from asyncflow import TaskState, WorkflowEngine
from conftest import open_engine


def double(number):
    """A body."""
    return 2 * number


@pytest.mark.parametrize("kind", ["dask", "threads"])
async def test_calls_beyond_the_limit_wait_on_the_driver(kind):
    """With ``max_in_flight`` no more calls than that are at the backend, and all come to their end."""
    async with open_engine(kind, max_in_flight=10) as flow:
        alive, most, submit = set(), [], flow.backend.submit

        def counted(nodes):
            alive.update(nodes)
            most.append(sum(not node.is_final for node in alive))
            submit(nodes)

        flow.backend.submit = counted
        task = flow.function_task(double)
        assert await asyncio.gather(*map(task, range(300))) == [2 * n for n in range(300)]
        assert max(most) == 10


@pytest.mark.parametrize("kind", ["dask", "threads"])
async def test_chains_and_blocks_pass_a_limit_of_one(kind):
    """Dependents, and blocks whose members wait, never wait for each other however low the limit is."""
    async with open_engine(kind, max_in_flight=1) as flow:
        task = flow.function_task(double)

        @flow.block
        async def twice(number):
            return await task(await task(number))

        chains = [task(task(task(number))) for number in range(5)]
        assert await asyncio.gather(*chains, *map(twice, range(5))) == [8 * n for n in range(5)] + [
            4 * n for n in range(5)
        ]


async def test_a_call_that_waits_on_the_driver_can_be_cancelled():
    """Cancelling what has not been sent yet ends it, and what follows is sent."""
    async with open_engine("threads", max_in_flight=1) as flow:

        @flow.function_task
        async def hold():
            await asyncio.sleep(3600)

        held, waiting = hold(), [flow.function_task(double)(n) for n in range(3)]
        await asyncio.sleep(0)
        waiting[0].cancel()
        held.cancel()
        assert await asyncio.gather(*waiting[1:]) == [2, 4]
        assert waiting[0].state is TaskState.CANCELLED


async def test_a_limit_below_one_is_refused():
    """``max_in_flight=0`` would run nothing."""
    with pytest.raises(ValueError, match="max_in_flight must be at least 1"):
        WorkflowEngine.create(max_in_flight=0)
