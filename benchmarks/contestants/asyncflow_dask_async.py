"""asyncflow on its embedded Dask cluster, with `async def` bodies."""

import bodies_async

from contestants import _engine
from contestants.asyncflow_dask import create


def opened():
    return _engine.opened(create, bodies_async)
