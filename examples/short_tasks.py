"""Twenty thousand darts at a circle, in two thousand short calls: sent together, and each by itself."""

import asyncio
import random
import time

from asyncflow import WorkflowEngine

CALLS, DARTS = 2_000, 10


def throw(seed):
    chance = random.Random(seed)
    return sum(chance.random() ** 2 + chance.random() ** 2 < 1 for _ in range(DARTS))


async def main():
    async with WorkflowEngine.create() as flow:
        for label, options in (("each by itself", {"bundle": False}), ("together", {})):
            task = flow.function_task(**options)(throw)
            begin = time.perf_counter()
            hits = await asyncio.gather(*[task(seed) for seed in range(CALLS)])
            seconds = time.perf_counter() - begin
            print(f"pi is about {4 * sum(hits) / CALLS / DARTS:.3f}: {CALLS:,} calls {label} took {seconds:.2f} s")


asyncio.run(main())
