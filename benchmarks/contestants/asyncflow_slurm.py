"""asyncflow over Slurm, with the same two jobs; TLS is its default."""

import tempfile
from contextlib import contextmanager

import bodies

from asyncflow import WorkflowEngine
from contestants import _engine
from contestants._slurm import JOBS, KEYS


@contextmanager
def opened():
    with tempfile.TemporaryDirectory() as shared:
        cluster = {"kind": "slurm", "jobs": JOBS, "shared_temp_directory": shared, **KEYS}

        async def create():
            return await WorkflowEngine.create(config={"cluster": cluster})

        with _engine.opened(create, bodies) as engine:
            yield engine
