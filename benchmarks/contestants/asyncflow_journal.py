"""asyncflow with a run directory, and so a journal; `keeping` is what else a run is asked for."""

import tempfile
from contextlib import contextmanager
from functools import partial

import bodies

from contestants import _engine
from contestants.asyncflow_dask import create


@contextmanager
def opened(**keeping):
    with (
        tempfile.TemporaryDirectory() as folder,
        _engine.opened(partial(create, work_dir=folder, **keeping), bodies) as engine,
    ):
        yield engine
