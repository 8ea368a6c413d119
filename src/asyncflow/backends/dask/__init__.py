"""The Dask backend: this package is the only part of asyncflow that knows `distributed.Client`."""

from asyncflow.backends.dask.backend import DaskExecutionBackend

__all__ = ["DaskExecutionBackend"]
