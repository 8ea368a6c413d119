"""What log lines look like, and which body they are of: run, task and job, in plain text or as JSON.

Nothing here happens by itself. The command line, engines where ``ASYNCFLOW_LOG_LEVEL`` is set, and our own workers call
`configure`; `Fields` is for handlers of anybody's own.
"""

import json
import logging
import os
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple, TextIO

#: What a level may be called.
LEVELS = ("debug", "info", "warning", "error", "critical")

#: What lines may look like.
FORMATS = ("text", "json")

#: Where the environment says so.
LEVEL, FORMAT = "ASYNCFLOW_LOG_LEVEL", "ASYNCFLOW_LOG_FORMAT"

#: What batch systems call the job, in its environment.
_JOBS = ("SLURM_JOB_ID", "PBS_JOBID", "LSB_JOBID")


class Body(NamedTuple):
    """What runs here: names of run and task, and the id of the call; empty where there is none."""

    run: str = ""
    task: str = ""
    id: str = ""


_NOBODY = Body()
_body: ContextVar[Body] = ContextVar("asyncflow_body", default=_NOBODY)


@contextmanager
def inside(body: Body | None) -> Iterator[None]:
    """What is logged inside, in this context, is of `body`; where that is None, of whichever it is of anyway."""
    token = _body.set(body or _body.get())
    try:
        yield
    finally:
        _body.reset(token)


class Fields(logging.Filter):
    """Gives each record that passes a handler the attributes ``run``, ``task``, ``task_id`` and ``job``.

    They are empty where there is none: in the driver there is no task, and outside of a batch job no job.

    Parameters
    ----------
    run : str
        Where nothing runs that is of another.

    Examples
    --------
    >>> handler = logging.StreamHandler()
    >>> handler.addFilter(Fields())
    >>> handler.setFormatter(logging.Formatter("%(run)s %(task)s %(message)s"))
    """

    def __init__(self, run: str = "") -> None:
        super().__init__()
        self._run = run
        self._job = job_of(os.environ)

    def filter(self, record: logging.LogRecord) -> bool:
        """Let it pass."""
        body = _body.get()
        record.run = body.run or self._run
        record.task = body.task
        record.task_id = body.id
        record.job = self._job
        return True


class TextFormatter(logging.Formatter):
    """``12:30:00 WARNING run r, task t-17, job 42: message``; of the middle only what is known."""

    def __init__(self, *, run: bool = True) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(where)s%(message)s", "%H:%M:%S")
        self._shows_run = run

    def format(self, record: logging.LogRecord) -> str:
        """With where it comes from."""
        said = {"task": getattr(record, "task_id", "")}
        if self._shows_run or said["task"]:
            said = {"run": getattr(record, "run", ""), **said, "job": getattr(record, "job", "")}
        parts = [f"{name} {value}" for name, value in said.items() if value]
        record.where = f"{', '.join(parts)}: " if parts else ""
        return super().format(record)


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, logger, message; run, task, task_id, job and error where there are any."""

    def format(self, record: logging.LogRecord) -> str:
        """As one line."""
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        said: dict[str, Any] = {
            "time": f"{stamp}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        said |= {name: value for name in ("run", "task", "task_id", "job") if (value := getattr(record, name, ""))}
        if record.exc_info:
            said["error"] = self.formatException(record.exc_info)
        return json.dumps(said, ensure_ascii=False)


class StderrHandler(logging.StreamHandler[TextIO]):
    """Writes to whatever ``sys.stderr`` is at that moment: a display may stand in for it."""

    def __init__(self, run: str = "", form: str = "text", *, shows_run: bool = True) -> None:
        super().__init__(sys.stderr)
        self.addFilter(Fields(run))
        self.setFormatter(JsonFormatter() if form == "json" else TextFormatter(run=shows_run))

    @property
    def stream(self) -> TextIO:
        """That of now."""
        return sys.stderr

    @stream.setter
    def stream(self, _: TextIO) -> None:
        """It is not set."""


def configure(level: str, form: str = "text", run: str = "", *, shows_run: bool = True) -> None:
    """Show on standard error what our loggers say, from `level` up; nothing where somebody has done that before.

    Where somebody configures the root logger, records go there, and not twice.
    """
    logger = logging.getLogger("asyncflow")
    if not any(isinstance(each, StderrHandler) for each in logger.handlers):
        handler = StderrHandler(run, form, shows_run=shows_run)
        handler.addFilter(lambda _: not logging.getLogger().handlers)
        logger.addHandler(handler)
        logger.setLevel(level.upper())


def configure_worker(environ: Mapping[str, str]) -> None:
    """The same in a worker's process that is ours, where `environ` asks for it.

    In any case lines of warnings and worse, which Python shows where nobody configures logging, tell of which body they
    are; a body that does configure it is not disturbed.
    """
    configure_from(environ)
    last = logging.lastResort
    if last is not None and not any(isinstance(each, Fields) for each in last.filters):
        last.addFilter(Fields())
        last.setFormatter(JsonFormatter() if environ.get(FORMAT) == "json" else TextFormatter())


def configure_from(environ: Mapping[str, str]) -> None:
    """Show what `environ` asks for; nothing is done where it asks for nothing.

    Raises
    ------
    ValueError
        Naming the variable whose value means nothing.
    """
    level, form = environ.get(LEVEL, "").lower(), environ.get(FORMAT, "").lower()
    if level or form:
        configure(checked(level or "warning", LEVEL, LEVELS), checked(form or "text", FORMAT, FORMATS))


def settings_of(environ: Mapping[str, str]) -> dict[str, str]:
    """What `environ` says of logging, for `configure_worker` elsewhere."""
    return {name: environ[name] for name in (LEVEL, FORMAT) if environ.get(name)}


def checked(value: str, name: str, choices: tuple[str, ...]) -> str:
    """`value` of the variable `name`, if it is one of `choices`.

    Raises
    ------
    ValueError
        Where it is not.
    """
    if value not in choices:
        raise ValueError(f"{name} is {value!r}; set it to {', '.join(choices[:-1])} or {choices[-1]}")
    return value


def job_of(environ: Mapping[str, str]) -> str:
    """The id of the batch job that this is in; empty where it is in none."""
    return next((environ[name] for name in _JOBS if environ.get(name)), "")
