"""radical.asyncflow on the Dask backend of rhapsody, which starts a `LocalCluster` of the same arguments."""

import bodies_async
from radical.asyncflow import WorkflowEngine
from rhapsody.backends import DaskExecutionBackend

from contestants import _engine
from contestants._cluster import LOCAL_CLUSTER


async def create():
    return await WorkflowEngine.create(backend=await DaskExecutionBackend(resources=LOCAL_CLUSTER))


def opened():
    return _engine.opened(create, bodies_async)
