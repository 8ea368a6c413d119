"""asyncflow with a run directory, and so a journal; `keeping` is what else a run is asked for."""

import os
import tempfile
from contextlib import contextmanager
from functools import partial

import bodies

from contestants import _engine
from contestants.asyncflow_dask import create


@contextmanager
def opened(**keeping):
    folder = tempfile.mkdtemp(dir=os.environ["BENCH_RUNS"])  # which goes when all rounds are over
    with _engine.opened(partial(create, work_dir=folder, **keeping), bodies) as engine:
        yield engine
