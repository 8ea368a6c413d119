"""asyncflow on its embedded Dask cluster, each call a Dask task of its own."""

import bodies

from contestants import _engine
from contestants.asyncflow_dask import create


async def _create():
    return await create(bundle=False)


def opened():
    return _engine.opened(_create, bodies)
