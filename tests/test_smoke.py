"""The example of the README, on every backend."""

import asyncio


async def test_three_tasks(flow):
    """task3(task1(), task2()) gives the value of task3."""

    @flow.function_task
    async def one():
        return 1

    @flow.function_task
    def two():
        return 2

    @flow.function_task
    def add(*parts):
        return sum(parts)

    assert await asyncio.gather(*[add(one(), two()) for _ in range(5)]) == [3] * 5
