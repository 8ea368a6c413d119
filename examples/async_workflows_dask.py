"""Five workflows of task3(task1(), task2()), concurrently, on an embedded Dask cluster."""

import asyncio
import time

from asyncflow import WorkflowEngine


async def main():
    async with WorkflowEngine.create() as flow:

        @flow.function_task
        def task1(*args):
            return time.time()

        @flow.function_task
        def task2(*args):
            return time.time()

        @flow.function_task
        async def task3(*args):
            return time.time()

        async def run_wf(wf_id):
            print(f"Starting workflow {wf_id} at {time.time()}")
            await task3(task1(), task2())
            print(f"Workflow {wf_id} completed at {time.time()}")

        start_time = time.time()
        await asyncio.gather(*[run_wf(i) for i in range(5)])
        print(f"\nTotal time running asynchronously is: {time.time() - start_time}")


asyncio.run(main())
