"""What goes wrong in the body of one task, or in what it depends on."""

from typing import Any

from asyncflow.errors.root import AsyncflowError


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


class FieldError(TaskError, LookupError):
    """A reference of a pipeline names what a value does not have."""


class FileError(TaskError):
    """A declared file is missing, or not what it was; ``paths`` lists all that are."""

    def __init__(self, message: str, paths: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.paths = paths


class EmptyBodyError(TaskError, ValueError):
    """The body of an executable or prompt task returned nothing to run or to ask."""


class MissingModuleError(TaskError, ImportError):
    """A function or an argument needs a module that the worker cannot import."""

    def __init__(self, message: str, module: str = "", worker: str = "") -> None:
        super().__init__(message)
        self.module = module
        self.worker = worker


class ProcessDiedError(TaskError):
    """The process of a function with ``isolate="process"`` ended without an answer: a signal, or an exit from C.

    Attributes
    ----------
    host : str
        Where it ran.
    task : str
        The name of the task.
    exit_code : int or None
        Its exit status, negative for a signal (as in `subprocess`).
    peak_memory : int or None
        The most memory that it had, in bytes; None where it was no more than its worker's.
    log : str
        The last 64 kB of what it wrote.
    """

    def __init__(self, message: str, **facts: Any) -> None:
        super().__init__(message)
        self.host: str = facts.pop("host", "")
        self.task: str = facts.pop("task", "")
        self.exit_code: int | None = facts.pop("exit_code", None)
        self.peak_memory: int | None = facts.pop("peak_memory", None)
        self.log: str = facts.pop("log", "")


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
