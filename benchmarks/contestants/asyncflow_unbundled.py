"""asyncflow on its embedded Dask cluster, each call a Dask task of its own."""

from functools import partial

import bodies

from contestants import _engine
from contestants.asyncflow_dask import create


def opened():
    return _engine.opened(partial(create, bundle=False), bodies)
