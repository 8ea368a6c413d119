"""Decorated functions and commands become Dask futures: asyncio workflows from a laptop to a cluster.

Names are loaded when they are first used, so that importing the package, and the command line's help, stay quick.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from asyncflow import events
    from asyncflow.backends.base import ExecutionBackend
    from asyncflow.backends.dask import DaskExecutionBackend
    from asyncflow.backends.executor import ConcurrentExecutionBackend
    from asyncflow.backends.executor import ConcurrentExecutionBackend as LocalExecutionBackend
    from asyncflow.backends.noop import NoopExecutionBackend
    from asyncflow.engine import WorkflowEngine
    from asyncflow.errors import (
        AsyncflowError,
        BackendNameError,
        CheckpointError,
        CommandError,
        CommandNotFoundError,
        ConfigError,
        CorruptResultError,
        DependencyFailureError,
        EmptyBodyError,
        EngineClosedError,
        FencedError,
        FieldError,
        FileError,
        LostError,
        MissingModuleError,
        NoEventLoopError,
        OptionError,
        OutOfMemoryError,
        PoolError,
        PreemptedError,
        Problem,
        ProcessDiedError,
        RefusedError,
        RemoteError,
        RunDirectoryError,
        SchedulerLostError,
        SerializationError,
        StartError,
        SubmitError,
        TaskError,
        TaskExitError,
        TaskTimeoutError,
        WalltimeError,
        WorkerLostError,
    )
    from asyncflow.files import CommandOutput, InputFile, OutputFile
    from asyncflow.futures import TaskFuture
    from asyncflow.options import TaskOptions
    from asyncflow.pipelines import Pipeline, load_pipeline
    from asyncflow.states import TaskState

__version__ = "0.1.0"

_HOMES = {
    "CommandOutput": "asyncflow.files",
    "ConcurrentExecutionBackend": "asyncflow.backends.executor",
    "DaskExecutionBackend": "asyncflow.backends.dask",
    "ExecutionBackend": "asyncflow.backends.base",
    "InputFile": "asyncflow.files",
    "NoopExecutionBackend": "asyncflow.backends.noop",
    "OutputFile": "asyncflow.files",
    "TaskFuture": "asyncflow.futures",
    "TaskOptions": "asyncflow.options",
    "TaskState": "asyncflow.states",
    "Pipeline": "asyncflow.pipelines",
    "WorkflowEngine": "asyncflow.engine",
    "load_pipeline": "asyncflow.pipelines",
}

__all__ = [
    "AsyncflowError",
    "BackendNameError",
    "CheckpointError",
    "CommandError",
    "CommandNotFoundError",
    "CommandOutput",
    "ConcurrentExecutionBackend",
    "ConfigError",
    "CorruptResultError",
    "DaskExecutionBackend",
    "DependencyFailureError",
    "EmptyBodyError",
    "EngineClosedError",
    "ExecutionBackend",
    "FencedError",
    "FieldError",
    "FileError",
    "InputFile",
    "LocalExecutionBackend",
    "LostError",
    "MissingModuleError",
    "NoEventLoopError",
    "NoopExecutionBackend",
    "OptionError",
    "OutOfMemoryError",
    "OutputFile",
    "Pipeline",
    "PoolError",
    "PreemptedError",
    "Problem",
    "ProcessDiedError",
    "RefusedError",
    "RemoteError",
    "RunDirectoryError",
    "SchedulerLostError",
    "SerializationError",
    "StartError",
    "SubmitError",
    "TaskError",
    "TaskExitError",
    "TaskFuture",
    "TaskOptions",
    "TaskState",
    "TaskTimeoutError",
    "WalltimeError",
    "WorkerLostError",
    "WorkflowEngine",
    "__version__",
    "events",
    "load_pipeline",
]


def __getattr__(name: str) -> Any:
    if name == "LocalExecutionBackend":
        return __getattr__("ConcurrentExecutionBackend")
    if name not in __all__:
        raise AttributeError(f"module 'asyncflow' has no attribute {name!r}")
    if name == "events":
        return import_module("asyncflow.events")
    value = getattr(import_module(_HOMES.get(name, "asyncflow.errors")), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
