"""Every error that asyncflow raises of its own.

::

    AsyncflowError
    ├── ConfigError                  a configuration file or mapping has problems; all of them are listed
    ├── OptionError                  an option of a task is misspelt or has an impossible value   (also ValueError)
    ├── NoEventLoopError             a task was called where no event loop runs                   (also RuntimeError)
    ├── EngineClosedError            a task was called after shutdown                             (also RuntimeError)
    ├── BackendNameError             no backend of that name, or two of one name                  (also KeyError)
    ├── RefusedError                 no declared pool can ever run the task
    ├── RunDirectoryError            a run directory is in use, or one of its files is damaged
    ├── CheckpointError              what a checkpointed call is cannot be told from others       (also TypeError)
    ├── SerializationError           a function or an argument cannot be pickled                  (also TypeError)
    ├── StartError                   a cluster did not come up
    │   └── SubmitError              the queueing system refused a job
    ├── TaskError                    the body of one task went wrong
    │   ├── CommandError             a command exited non-zero or was killed
    │   │   └── CommandNotFoundError there is no such program, or no such working directory
    │   ├── FieldError               a reference of a pipeline names what a value does not have (also LookupError)
    │   ├── FileError                a declared file is missing, or not what it was
    │   ├── EmptyBodyError           a body returned no command or no prompt                      (also ValueError)
    │   ├── MissingModuleError       a module cannot be imported on the worker                    (also ImportError)
    │   ├── ProcessDiedError         the process of an isolated function ended without an answer
    │   ├── RemoteError              the body raised something that cannot be pickled
    │   ├── TaskExitError            the body raised what asyncio cannot carry (SystemExit, …)
    │   └── TaskTimeoutError         the body took longer than its timeout                        (also TimeoutError)
    ├── DependencyFailureError       something the task depends on failed
    └── LostError                    the machinery failed, not the task
        ├── CorruptResultError       a kept result is damaged, or gone
        ├── FencedError              another driver has taken the run directory over
        ├── PoolError                no job of a pool lives, and no other is submitted
        ├── SchedulerLostError       the connection to the scheduler is gone
        └── WorkerLostError          the workers that ran the task died
            ├── OutOfMemoryError     they, or the task's own process, took too much memory
            ├── PreemptedError       their jobs were ended in favour of others
            └── WalltimeError        their jobs reached their walltime

Errors of users' own code are not here: they come out as they went in.
"""

from asyncflow.errors.engine import (
    BackendNameError,
    CheckpointError,
    ConfigError,
    EngineClosedError,
    NoEventLoopError,
    OptionError,
    Problem,
    RefusedError,
    RunDirectoryError,
    SerializationError,
    StartError,
    SubmitError,
)
from asyncflow.errors.lost import (
    CorruptResultError,
    FencedError,
    LostError,
    OutOfMemoryError,
    PoolError,
    PreemptedError,
    SchedulerLostError,
    WalltimeError,
    WorkerLostError,
)
from asyncflow.errors.root import (
    AsyncflowError,
    rebuild,
    with_cause,
)
from asyncflow.errors.task import (
    CommandError,
    CommandNotFoundError,
    DependencyFailureError,
    EmptyBodyError,
    FieldError,
    FileError,
    MissingModuleError,
    ProcessDiedError,
    RemoteError,
    TaskError,
    TaskExitError,
    TaskTimeoutError,
)

__all__ = [
    "AsyncflowError",
    "BackendNameError",
    "CheckpointError",
    "CommandError",
    "CommandNotFoundError",
    "ConfigError",
    "CorruptResultError",
    "DependencyFailureError",
    "EmptyBodyError",
    "EngineClosedError",
    "FencedError",
    "FieldError",
    "FileError",
    "LostError",
    "MissingModuleError",
    "NoEventLoopError",
    "OptionError",
    "OutOfMemoryError",
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
    "TaskTimeoutError",
    "WalltimeError",
    "WorkerLostError",
    "rebuild",
    "with_cause",
]
