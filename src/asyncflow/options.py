"""What a task may ask for: typed, checked where it is written, merged from general to particular."""

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from asyncflow.errors import OptionError
from asyncflow.suggest import hint, one_of
from asyncflow.units import seconds, size

Duration = Annotated[float, Field(allow_inf_nan=False), BeforeValidator(seconds)]
Size = Annotated[int, BeforeValidator(size)]
RetryOn = type[BaseException] | tuple[type[BaseException], ...] | Callable[[BaseException], bool]
RetryWith = Mapping[str, Any] | Callable[[BaseException, int], Mapping[str, Any]]


class TaskOptions(BaseModel):
    """What a task may ask for.

    Given in ``defaults:`` of a configuration, to a decorator, to ``task.options(...)``, or at a call as
    ``task_description={...}``; the later of these wins, option by option.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True, use_attribute_docstrings=True)

    name: Annotated[str, Field(min_length=1)] | None = None
    """What the task is called in keys, dashboards and errors; the function's own name by default."""

    backend: str | None = None
    """The name of the backend that runs it; the engine's first backend by default."""

    retries: Annotated[int, Field(ge=0)] = 0
    """How often the body is tried again after an error of its own."""

    retry_delay: Annotated[Duration, Field(ge=0)] = 0.0
    """Seconds (or ``30s``, ``5m``) before the second attempt; the delay holds no slot of a worker."""

    retry_backoff: Annotated[float, Field(ge=1, allow_inf_nan=False)] = 2.0
    """By how much each further delay is longer than the one before; delays vary at random by a quarter."""

    retry_on: RetryOn | None = None
    """Exception types, or a function of the exception, that are worth another attempt; all errors by default."""

    retry_with: RetryWith | None = None
    """What an attempt asks for after one that failed: options (``{"memory": "8GB"}``), or a function of the error and
    the number of failed attempts that returns some; the call is sent again, to where that fits."""

    timeout: Annotated[Duration, Field(gt=0)] | None = None
    """Seconds (or ``10m``) for each attempt, from its start; commands are killed, results of functions dropped."""

    priority: int = 0
    """Larger runs earlier, where work waits for a worker."""

    cores: Annotated[int, Field(ge=1)] = 1
    """Cores of one worker; a command sees ``OMP_NUM_THREADS`` and its kin equal to it."""

    memory: Annotated[Size, Field(gt=0)] | None = None
    """Memory of one worker (``4GB``) set aside while it runs."""

    resources: Mapping[str, Annotated[float, Field(gt=0)]] = Field(default_factory=dict)
    """Declared resources of one worker, for instance ``{"gpu": 1}``.

    A task that gets some of its worker's GPUs sees these in ``CUDA_VISIBLE_DEVICES``; a function then runs in a process
    of its own, for that variable is read once for a process.
    """

    pool: Annotated[str, Field(min_length=1)] | None = None
    """The pool of workers that runs it, where the configuration names pools; the first that can, by default."""

    lost_retries: Annotated[int, Field(ge=0)] = 3
    """How often it is begun again after the worker that ran it was lost, or cut off by its walltime."""

    expected: Annotated[Duration, Field(gt=0)] | None = None
    """Seconds (or ``45m``) that it takes: it is not begun on a worker whose job ends sooner."""

    bundle: bool = True
    """Whether calls that turn out to be short travel together with others; each keeps its own state and outcome."""

    isolate: Literal["process"] | None = None
    """``"process"``: a function runs in a process of its own, which timeouts and cancelling kill, and which ends where
    it takes more than ``memory``."""

    checkpoint: bool = False
    """Whether the result is kept in the run directory, so that a resumed run does not compute it again."""

    version: Annotated[str, Field(min_length=1)] | None = None
    """With ``checkpoint``: what stands for the function's code; results are kept while it stays the same."""

    after: Any = ()
    """Futures that must have finished before it begins; their values are not passed."""

    workflow_id: str | None = None
    """The workflow the call belongs to; the surrounding ``workflow_scope()`` by default."""

    shell: bool = False
    """Commands only: the body returns one string for ``/bin/sh``; quoting is then yours."""

    env: Mapping[str, str] = Field(default_factory=dict)
    """Commands only: variables added to the worker's environment."""

    cwd: str | None = None
    """Commands only: the working directory on the worker."""

    workdir: bool = False
    """Commands only: each attempt runs in a new directory of its own below ``tasks/`` of the run directory."""

    capture_stdio: bool | Literal["beside"] = False
    """Whether what it prints and logs goes to files below ``tasks/`` of the run directory; a command then resolves to
    the path of that with its standard output, unless it is ``"beside"``, which leaves alone what calls return."""

    capture_limit: Annotated[Size, Field(gt=0)] = 10_000_000
    """How much is captured of each stream of an attempt (``100MB``); a file that a command resolves to is never cut."""


#: Options that only mean something for commands: a function shares its worker's process.
COMMAND_ONLY = frozenset({"shell", "env", "cwd", "workdir"})

#: What a block may ask for: it runs on the driver, once.
BLOCK_ONLY = frozenset({"name", "after", "workflow_id"})

#: Options that a file may set for every task.
DEFAULTABLE = frozenset(TaskOptions.model_fields) - {
    "name",
    "after",
    "retry_on",
    "retry_with",
    "version",
    "workflow_id",
    "shell",
    "cwd",
}


def valid_options(kind: str) -> list[str]:
    """Names that a task of `kind` (function, command, prompt, block) may give."""
    if kind == "block":
        return sorted(BLOCK_ONLY)
    return sorted(set(TaskOptions.model_fields) - (COMMAND_ONLY if kind != "command" else set()))


def parse_options(given: Mapping[str, Any], kind: str = "function", base: TaskOptions | None = None) -> TaskOptions:
    """`base` with what is `given` laid over it, checked.

    Raises
    ------
    OptionError
        Naming every option that is misspelt or has an impossible value, and what is valid.
    """
    valid = valid_options(kind)
    if unknown := [name for name in given if name not in valid]:
        raise OptionError("; ".join(_unknown(name, kind, valid) for name in unknown))
    merged = {**(_given(base) if base else {}), **given}
    try:
        options = TaskOptions(**merged)
    except ValidationError as error:
        raise OptionError("; ".join(_describe(problem) for problem in error.errors())) from None
    if options.workdir and options.cwd is not None:
        raise OptionError(
            f"options 'workdir' and 'cwd' exclude each other: a command runs in a directory of its own, or in "
            f"{options.cwd!r}; leave one of them out, or lay workdir=False or cwd=None over it"
        )
    return options


def with_defaults(options: TaskOptions, defaults: Mapping[str, Any], kind: str) -> TaskOptions:
    """`options` over the engine's `defaults`, of which those that do not fit the kind are left out."""
    fitting = {name: value for name, value in defaults.items() if kind == "command" or name not in COMMAND_ONLY}
    if options.cwd is not None:  # said of this task; the directory of its own, of all
        fitting.pop("workdir", None)
    return parse_options({**fitting, **_given(options)}, kind)


def _given(options: TaskOptions) -> dict[str, Any]:
    # As they are: a dump would copy, and look inside the futures of `after`.
    return {name: getattr(options, name) for name in options.model_fields_set}


def _unknown(name: str, kind: str, valid: list[str]) -> str:
    if kind == "block" and name in TaskOptions.model_fields:
        return f"option {name!r} is for tasks, and a block runs on the driver; {one_of(valid)}"
    if name in COMMAND_ONLY:
        return f"option {name!r} is for executable tasks only: a {kind} task shares its worker's process; take it away"
    return f"unknown option {name!r}; {hint(name, valid)}"


def _describe(problem: Any) -> str:
    name = ".".join(str(part) for part in problem["loc"] if isinstance(part, int) or str(part).isidentifier())
    message = problem["msg"].removeprefix("Value error, ")
    return f"option {name!r}: {message[0].lower() + message[1:]} (got {problem['input']!r})"
