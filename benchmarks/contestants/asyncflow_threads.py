"""asyncflow on the same executor, with the same `async def` bodies as radical.asyncflow."""

from concurrent.futures import ThreadPoolExecutor

import bodies_async

from asyncflow import ConcurrentExecutionBackend, WorkflowEngine
from contestants import _engine


async def create():
    return await WorkflowEngine.create(backend=await ConcurrentExecutionBackend(ThreadPoolExecutor(2)))


def opened():
    return _engine.opened(create, bodies_async)
