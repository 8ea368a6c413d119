"""A campaign that stops half way and is resumed: what it has kept is not computed again."""

import asyncio
import tempfile
from pathlib import Path

from asyncflow import WorkflowEngine

CONFIG = {"cluster": {"kind": "local", "n_workers": 2, "threads_per_worker": 1}}


async def campaign(work_dir, log, seeds):
    """Begin the run, or go on with it: to the program it is the same."""
    async with WorkflowEngine.create(CONFIG, work_dir=work_dir, resume="seeds") as flow:

        @flow.function_task(checkpoint=True)
        def simulate(seed):
            with Path(log).open("a") as file:
                file.write(f"simulate {seed}\n")
            return seed**2

        @flow.function_task(checkpoint=True)
        def total(values):
            return sum(values)

        return await total([simulate(seed) for seed in seeds])


def begun(log):
    return len(Path(log).read_text().splitlines())


async def main():
    with tempfile.TemporaryDirectory() as place:
        log = f"{place}/log"
        for seeds in (range(3), range(3), range(5)):  # stopped, resumed, and resumed with more to do
            print("the total is", await campaign(f"{place}/runs", log, seeds))
            print("bodies that began so far:", begun(log))


if __name__ == "__main__":
    asyncio.run(main())
