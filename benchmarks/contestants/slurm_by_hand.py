"""Hand-written Dask over Slurm: a SLURMCluster with TLS, scaled to two jobs, `submit` and `gather`."""

import tempfile
from contextlib import contextmanager
from functools import partial

from dask_jobqueue import SLURMCluster
from distributed import Client, Security

from contestants._futures import Futures
from contestants._slurm import JOBS, KEYS


@contextmanager
def opened():
    with tempfile.TemporaryDirectory() as shared:
        keys = {**KEYS, "processes": 1, "shared_temp_directory": shared, "log_directory": shared}
        options = {"dashboard_address": "127.0.0.1:0"}
        with SLURMCluster(security=Security.temporary(), scheduler_options=options, **keys) as cluster:
            cluster.scale(JOBS)
            with Client(cluster) as client:
                yield Futures(partial(client.submit, pure=False), client.gather)
