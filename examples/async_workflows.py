"""Five workflows of task3(task1(), task2()), concurrently, on the threads of this process."""

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor

from asyncflow import ConcurrentExecutionBackend, WorkflowEngine


async def main():
    backend = await ConcurrentExecutionBackend(ThreadPoolExecutor())
    flow = await WorkflowEngine.create(backend=backend)

    @flow.function_task
    async def task1(*args):
        return time.time()

    @flow.function_task
    async def task2(*args):
        return time.time()

    @flow.function_task
    async def task3(*args):
        return time.time()

    async def run_wf(wf_id):
        print(f"Starting workflow {wf_id} at {time.time()}")
        t3 = task3(task1(), task2())
        await t3
        print(f"Workflow {wf_id} completed at {time.time()}")

    start_time = time.time()
    await asyncio.gather(*[run_wf(i) for i in range(5)])
    print(f"\nTotal time running asynchronously is: {time.time() - start_time}")
    await flow.shutdown()


asyncio.run(main())
