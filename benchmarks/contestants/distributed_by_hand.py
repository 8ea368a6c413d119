"""Hand-written Dask: a cluster, a client, `submit` and `gather`, with Dask's own settings."""

from contextlib import contextmanager
from functools import partial

from distributed import Client, LocalCluster

from contestants._cluster import LOCAL_CLUSTER
from contestants._futures import Futures


@contextmanager
def opened():
    with LocalCluster(**LOCAL_CLUSTER) as cluster, Client(cluster) as client:
        client.wait_for_workers(LOCAL_CLUSTER["n_workers"])
        yield Futures(partial(client.submit, pure=False), client.gather)
