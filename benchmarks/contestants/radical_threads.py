"""radical.asyncflow on its own backend for executors."""

from concurrent.futures import ThreadPoolExecutor

import bodies_async
from radical.asyncflow import LocalExecutionBackend, WorkflowEngine

from contestants import _engine


async def create():
    return await WorkflowEngine.create(backend=await LocalExecutionBackend(ThreadPoolExecutor(2)))


def opened():
    return _engine.opened(create, bodies_async)
