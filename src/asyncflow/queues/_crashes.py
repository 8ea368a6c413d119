"""In each worker process, as a preload of Dask: let a crash of compiled code write where in Python it was."""

import faulthandler
from typing import Any


def dask_setup(worker: Any) -> None:
    """Called by Dask as the worker starts."""
    del worker
    if not faulthandler.is_enabled():
        faulthandler.enable()
