"""asyncflow on its embedded Dask cluster; the bodies are the plain functions that are submitted by hand, too."""

import bodies

from asyncflow import WorkflowEngine
from contestants import _engine
from contestants._cluster import ARGUMENTS


async def create(*, bundle=True, **arguments):
    config = {"cluster": {"kind": "local", "security": "none", **ARGUMENTS}, "defaults": {"bundle": bundle}}
    return await WorkflowEngine.create(config=config, **arguments)


def opened():
    return _engine.opened(create, bodies)
