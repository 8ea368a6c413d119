"""Who is measured, in which table, and what its column is called.

A contestant is a module of this package. It says how it is `opened()`: a context manager that yields an object with one
method for each workload. Modules whose name begins with `_` are what contestants share.
"""

import importlib

# The first of each table is what the others are compared with.
TABLES = {
    "dask": {
        "distributed_by_hand": "distributed by hand",
        "asyncflow_dask": "asyncflow",
        "asyncflow_dask_async": "asyncflow, async def",
        "asyncflow_unbundled": "asyncflow, bundle=False",
        "radical_dask": "radical.asyncflow, rhapsody",
        "parsl_processes": "Parsl, processes",
        "ray_processes": "Ray",
    },
    "runs": {
        "asyncflow_dask": "asyncflow",
        "asyncflow_journal": "with a run directory",
        "asyncflow_checkpoint": "with checkpoint=True",
    },
    "watched": {
        "asyncflow_dask": "asyncflow",
        "asyncflow_watched": "with events and progress",
        "asyncflow_journal": "with a run directory",
    },
    "slurm": {
        "slurm_by_hand": "SLURMCluster by hand",
        "asyncflow_slurm": "asyncflow",
    },
    "threads": {
        "radical_threads": "radical.asyncflow",
        "asyncflow_threads": "asyncflow",
        "parsl_threads": "Parsl",
    },
}


def load(name):
    return importlib.import_module(f"{__name__}.{name}")
