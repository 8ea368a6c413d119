"""What is wrong before anything runs: a configuration, an option, a call, a cluster that does not come up."""

from asyncflow.errors.root import AsyncflowError


class Problem:
    """One thing wrong with a configuration, or with a pipeline.

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
    column : int or None
        The column in that line, counted from 1.
    """

    def __init__(
        self,
        message: str,
        path: str = "",
        source: str | None = None,
        line: int | None = None,
        column: int | None = None,
    ) -> None:
        self.message = message
        self.path = path
        self.source = source
        self.line = line
        self.column = column

    def __str__(self) -> str:
        """``file:line:column: path: message``, leaving out what is not known."""
        place = ":".join(str(part) for part in (self.source, self.line, self.column) if part is not None)
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


class RunDirectoryError(AsyncflowError):
    """A run directory is in use by another driver, or ``path``, a file of it, is damaged or unreadable."""

    def __init__(self, message: str, path: str = "") -> None:
        super().__init__(message)
        self.path = path


class CheckpointError(AsyncflowError, TypeError):
    """A call cannot be told from others by what it is made of; ``part`` names what cannot be hashed."""

    def __init__(self, message: str, part: str = "") -> None:
        super().__init__(message)
        self.part = part


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
