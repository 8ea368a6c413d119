"""Parsl on worker processes of its HighThroughputExecutor; no Dask, but the nearest it has."""

from parsl import HighThroughputExecutor
from parsl.providers import LocalProvider

from contestants import _parsl
from contestants._cluster import WORKERS


def opened():
    return _parsl.opened(
        HighThroughputExecutor(
            address="127.0.0.1",
            max_workers_per_node=WORKERS,
            provider=LocalProvider(init_blocks=1, min_blocks=1, max_blocks=1),
            encrypted=False,
        )
    )
