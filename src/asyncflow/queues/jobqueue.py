"""The only door to dask-jobqueue: its job classes and their keys."""

import inspect
import shlex
import signal
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from importlib import import_module, metadata, resources
from pathlib import Path
from typing import Any

from asyncflow.queues.commands import submit

#: Keys of a pool that are asyncflow's own and no job class's.
OURS = frozenset({"idle_timeout", "jobs", "max_queued", "resources", "walltime_margin"})

#: Parameters of the job classes that are ours to set.
SET_BY_US = frozenset({"config_name", "job_name", "name", "nanny", "protocol", "scheduler", "security"})

_SECTION = "asyncflow"
_importing = threading.Lock()
_making = threading.Lock()  # Dask's configuration is the process's, and engines may have threads of their own


def version() -> str:
    """Of the installed dask-jobqueue."""
    return metadata.version("dask-jobqueue")


@cache
def job_class(name: str) -> type[Any]:
    """The job class `name` of dask-jobqueue, submitting through our own runner of commands."""
    with _importing, _signals_held_back():
        module = import_module(f"dask_jobqueue.{name.removesuffix('Job').lower()}")
    return type(name, (getattr(module, name),), {"_submit_job": _submit})


@cache
def known_keys(name: str) -> frozenset[str]:
    """The keywords that the job class `name` of the installed version takes."""
    found: set[str] = set()
    for cls in job_class(name).__mro__:
        if cls is not object and "__init__" in vars(cls):
            parameters = inspect.signature(vars(cls)["__init__"]).parameters.values()
            found |= {each.name for each in parameters if each.kind is not each.VAR_KEYWORD}
    return frozenset(found - {"self"} - SET_BY_US)


def make_job(class_name: str, scheduler: str, name: str, job_name: str, keys: Mapping[str, Any]) -> Any:
    """A job of dask-jobqueue, not submitted yet.

    Parameters
    ----------
    class_name : str
        ``SLURMJob``, ``PBSJob``, ...
    scheduler : str
        The address that its workers connect to.
    name : str
        Of its worker.
    job_name : str
        Of the job, in the queue.
    keys : mapping of str to Any
        Keywords of the class.
    """
    import dask

    cls = job_class(class_name)
    # dask-jobqueue fills what is not given from files of the user's and the site's, where a misspelt key is ignored
    # and an old one may wait for years; here one file decides, and this section holds the package's own defaults.
    with _making, dask.config.set({f"jobqueue.{_SECTION}": dict(_defaults(cls.config_name))}):
        return cls(scheduler=scheduler, name=name, job_name=job_name, config_name=_SECTION, **keys)


@cache
def _defaults(section: str) -> Mapping[str, Any]:
    import yaml

    text = resources.files("dask_jobqueue").joinpath("jobqueue.yaml").read_text()
    defaults: Mapping[str, Any] = yaml.safe_load(text)["jobqueue"][section]
    return {**defaults, "python": shlex.quote(sys.executable)}


async def _submit(self: Any, script: str) -> str:
    """Instead of the class's own, which drops the exit status, and for LSF goes through a shell without stderr."""
    command: Sequence[str] = self.submit_command.split()
    if getattr(self, "use_stdin", False):
        return await submit(command, Path(script).read_bytes())  # noqa: ASYNC240 - the class wrote it just now
    return await submit([*command, script])


@contextmanager
def _signals_held_back() -> Iterator[None]:
    """Importing dask_jobqueue replaces the process's SIGINT handler (in runner.py), and so fails off the main thread.

    What other threads do with signals meanwhile goes through.
    """
    real, here = signal.signal, threading.get_ident()

    def held_back(number: Any, handler: Any) -> Any:
        return signal.getsignal(number) if threading.get_ident() == here else real(number, handler)

    signal.signal = held_back  # type: ignore[assignment]
    try:
        yield
    finally:
        signal.signal = real
