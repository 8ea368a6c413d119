"""Every error that asyncflow raises of its own.

::

    AsyncflowError
    ├── ConfigError                  a configuration file or mapping has problems; all of them are listed
    ├── OptionError                  an option of a task is misspelt or has an impossible value   (also ValueError)
    ├── NoEventLoopError             a task was called where no event loop runs                   (also RuntimeError)
    ├── EngineClosedError            a task was called after shutdown                             (also RuntimeError)
    ├── BackendNameError             no backend of that name, or two of one name                  (also KeyError)
    ├── RefusedError                 no declared pool can ever run the task
    ├── SerializationError           a function or an argument cannot be pickled                  (also TypeError)
    ├── StartError                   a cluster did not come up
    │   └── SubmitError              the queueing system refused a job
    ├── TaskError                    the body of one task went wrong
    │   ├── CommandError             a command exited non-zero or was killed
    │   │   └── CommandNotFoundError there is no such program, or no such working directory
    │   ├── EmptyBodyError           a body returned no command or no prompt                      (also ValueError)
    │   ├── MissingModuleError       a module cannot be imported on the worker                    (also ImportError)
    │   ├── RemoteError              the body raised something that cannot be pickled
    │   ├── TaskExitError            the body raised what asyncio cannot carry (SystemExit, …)
    │   └── TaskTimeoutError         the body took longer than its timeout                        (also TimeoutError)
    ├── DependencyFailureError       something the task depends on failed
    └── LostError                    the machinery failed, not the task
        ├── PoolError                no job of a pool lives, and no other is submitted
        ├── SchedulerLostError       the connection to the scheduler is gone
        └── WorkerLostError          the workers that ran the task died
            └── WalltimeError        their jobs reached their walltime

Errors of users' own code are not here: they come out as they went in.
"""

from typing import Any, TypeVar

E = TypeVar("E", bound=BaseException)


def rebuild(cls: type[BaseException], args: tuple[Any, ...], facts: dict[str, Any]) -> BaseException:
    """An exception of `cls` without calling its constructor, which may want other arguments."""
    error = cls.__new__(cls, *args)
    error.args = args
    error.__dict__.update(facts)
    return error


class AsyncflowError(Exception):
    """The root of the tree: catch it to catch everything that is asyncflow's own."""

    def __reduce__(self) -> tuple[Any, ...]:
        """Survive pickling whatever the constructor takes: facts are attributes."""
        return rebuild, (type(self), self.args, self.__dict__)

    def __str__(self) -> str:
        """The message (KeyError, a base of one class, would show its repr)."""
        return str(self.args[0]) if self.args else ""


class Problem:
    """One thing wrong with a configuration.

    Attributes
    ----------
    message : str
        What is wrong and what to write instead.
    path : str
        The dotted place inside the configuration, ``cluster.n_workers``.
    source : str or None
        The file, or None for a mapping.
    line : int or None
        The line in that file, counted from 1.
    """

    def __init__(self, message: str, path: str = "", source: str | None = None, line: int | None = None) -> None:
        self.message = message
        self.path = path
        self.source = source
        self.line = line

    def __str__(self) -> str:
        """``file:line: path: message``, leaving out what is not known."""
        place = ":".join(str(part) for part in (self.source, self.line) if part is not None)
        return ": ".join(part for part in (place, self.path, self.message) if part)


class ConfigError(AsyncflowError):
    """A configuration has problems; ``problems`` lists all of them."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = problems


class OptionError(AsyncflowError, ValueError):
    """An option of a task is misspelt or has an impossible value."""


class NoEventLoopError(AsyncflowError, RuntimeError):
    """A task was called where no event loop runs."""


class EngineClosedError(AsyncflowError, RuntimeError):
    """A task was called after shutdown."""


class BackendNameError(AsyncflowError, KeyError):
    """No backend has that name, or two have it; ``known`` lists the names."""

    def __init__(self, message: str, known: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.known = known


class RefusedError(AsyncflowError):
    """No declared pool can ever run the task; ``reason`` says which need is not met."""

    def __init__(self, message: str, reason: str = "") -> None:
        super().__init__(message)
        self.reason = reason


class SerializationError(AsyncflowError, TypeError):
    """A function or an argument cannot be pickled; ``argument`` names it (None: the function itself)."""

    def __init__(self, message: str, argument: str | None = None) -> None:
        super().__init__(message)
        self.argument = argument


class StartError(AsyncflowError):
    """A cluster did not come up."""


class SubmitError(StartError):
    """The queueing system refused a job, or has no such command here.

    Attributes
    ----------
    command : list of str
        What was run.
    returncode : int or None
        Its exit status; None where it could not be run at all.
    stderr : str
        What it said.
    pool : str
        The pool that the job was for.
    """

    def __init__(
        self, message: str, command: list[str] | None = None, returncode: int | None = None, stderr: str = ""
    ) -> None:
        super().__init__(message)
        self.command = command or []
        self.returncode = returncode
        self.stderr = stderr
        self.pool = ""


class TaskError(AsyncflowError):
    """The body of one task went wrong in a way that is not an exception of the user's."""


class CommandError(TaskError):
    """A command exited non-zero or was killed by a signal.

    Attributes
    ----------
    command : list of str or str
        What was run; a string where ``shell=True`` was asked for.
    returncode : int or None
        The exit status, negative for a signal (as in `subprocess`), None if it never began.
    stderr : str
        The last 64 kB of its standard error.
    stderr_path : str or None
        The file with all of it, where output was captured.
    """

    def __init__(
        self,
        message: str,
        command: list[str] | str = "",
        returncode: int | None = None,
        stderr: str = "",
        stderr_path: str | None = None,
    ) -> None:
        super().__init__(message)
        self.command = command
        self.returncode = returncode
        self.stderr = stderr
        self.stderr_path = stderr_path


class CommandNotFoundError(CommandError):
    """There is no such program on the worker's PATH, or no such working directory."""


class EmptyBodyError(TaskError, ValueError):
    """The body of an executable or prompt task returned nothing to run or to ask."""


class MissingModuleError(TaskError, ImportError):
    """A function or an argument needs a module that the worker cannot import."""

    def __init__(self, message: str, module: str = "", worker: str = "") -> None:
        super().__init__(message)
        self.module = module
        self.worker = worker


class RemoteError(TaskError):
    """The body raised an exception that cannot be pickled; its type and text are kept as text.

    Attributes
    ----------
    type_name : str
        The qualified name of the exception's class.
    traceback_text : str
        The traceback as it would have been printed on the worker.
    """

    def __init__(self, message: str, type_name: str = "", traceback_text: str = "") -> None:
        super().__init__(message)
        self.type_name = type_name
        self.traceback_text = traceback_text


class TaskExitError(TaskError):
    """The body raised what an asyncio future cannot carry; the original is ``__cause__``."""


class TaskTimeoutError(TaskError, TimeoutError):
    """The body took longer than ``timeout`` seconds."""

    def __init__(self, message: str, timeout: float = 0.0) -> None:
        super().__init__(message)
        self.timeout = timeout


class DependencyFailureError(AsyncflowError):
    """Something the task depends on failed; the text is the way to the cause.

    Attributes
    ----------
    failed_dependencies : list of str
        The names from the direct dependency down to the one that failed by itself.
    root_cause : BaseException or None
        What that one raised; also ``__cause__``.
    """

    def __init__(
        self,
        message: str,
        failed_dependencies: list[str] | None = None,
        root_cause: BaseException | None = None,
    ) -> None:
        super().__init__(message)
        self.failed_dependencies = failed_dependencies or []
        self.root_cause = root_cause
        self.__cause__ = root_cause


class LostError(AsyncflowError):
    """The machinery failed, not the task."""


class PoolError(LostError):
    """No job of a pool lives, and no other is submitted: its jobs died too quickly, one after the other.

    Attributes
    ----------
    pool : str
        Its name.
    jobs : list of str
        The ids of those jobs.
    log : str
        The last lines of the log of the last of them.
    """

    def __init__(self, message: str, pool: str = "", jobs: list[str] | None = None, log: str = "") -> None:
        super().__init__(message)
        self.pool = pool
        self.jobs = jobs or []
        self.log = log


class SchedulerLostError(LostError):
    """The connection to the scheduler is gone, and with it what was unfinished."""

    def __init__(self, message: str, address: str = "") -> None:
        super().__init__(message)
        self.address = address


class WorkerLostError(LostError):
    """The workers that ran the task died."""

    def __init__(self, message: str, worker: str = "") -> None:
        super().__init__(message)
        self.worker = worker


class WalltimeError(WorkerLostError):
    """The jobs that ran the task reached their walltime, in seconds, before it was finished."""

    def __init__(self, message: str, worker: str = "", walltime: float = 0.0) -> None:
        super().__init__(message, worker)
        self.walltime = walltime


def with_cause(error: E, cause: BaseException | None) -> E:
    """`error` with ``__cause__`` set, for errors that are not raised but handed to a future."""
    error.__cause__ = cause
    return error
