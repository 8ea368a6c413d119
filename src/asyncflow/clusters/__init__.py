"""Cluster kinds: one module each; the YAML's ``kind:`` is the module's name.

A kind module has a ``Config`` (a `ClusterSettings`), a function ``pools(config)`` that names the shapes of its workers,
and an ``async def open_cluster(config)`` that makes a `Cluster` of it on Dask's thread. Modules whose names begin with
an underscore are no kinds. Importing a kind imports neither dask nor the queue's own tools.
"""

from importlib import import_module
from pkgutil import iter_modules
from types import ModuleType

from asyncflow.suggest import hint


def kinds() -> list[str]:
    """The names of all kinds, sorted."""
    return sorted(module.name for module in iter_modules(__path__) if not module.name.startswith("_"))


def load(kind: str) -> ModuleType:
    """The module of `kind`.

    Raises
    ------
    ValueError
        When there is no such kind; the message lists those there are.
    """
    known = kinds()
    if kind not in known:
        raise ValueError(f"unknown kind {kind!r}; {hint(kind, known)}")
    return import_module(f"{__name__}.{kind}")
