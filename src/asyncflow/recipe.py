"""What calls of one task share: the function, and how it is to be run."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from pathlib import PurePath
from typing import Any

from asyncflow.options import RetryOn, TaskOptions


class Kind(StrEnum):
    """What is done with what the body returns."""

    FUNCTION = "function"  #: it is the result
    COMMAND = "command"  #: it is run
    PROMPT = "prompt"  #: it is handed to a backend that serves prompts
    BLOCK = "block"  #: the body is a coroutine on the driver; it never travels


@dataclass(frozen=True)
class Recipe:
    """All that calls of one task share: the function and how to run it."""

    function: Callable[..., Any]
    kind: Kind
    name: str
    cores: int = 1
    devices: int = 0
    retries: int = 0
    retry_delay: float = 0.0
    retry_backoff: float = 2.0
    retry_on: RetryOn | None = None
    timeout: float | None = None
    isolated: bool = False
    memory_limit: int | None = None  #: of the process of its own, in bytes
    shell: bool = False
    env: Mapping[str, str] = field(default_factory=dict)
    cwd: str | None = None
    captures: bool = False  #: what it writes goes to files below `root`
    capture_limit: int = 0  #: bytes of each of them
    is_file: bool = False  #: a command resolves to the path of the file with its standard output
    workdir: bool = False
    root: str = ""  #: below which captured output and working directories go

    @classmethod
    def of(cls, function: Callable[..., Any], kind: Kind, name: str, options: TaskOptions, root: str) -> "Recipe":
        """The recipe of a decorated `function` with these `options`; below `root` captured output would go."""
        return cls(
            function=function,
            kind=kind,
            name=name,
            cores=options.cores,
            devices=int(options.resources.get("gpu", 0)),
            retries=0 if options.retry_with is not None else options.retries,  # else the driver decides on each
            retry_delay=options.retry_delay,
            retry_backoff=options.retry_backoff,
            retry_on=options.retry_on,
            timeout=options.timeout,
            isolated=options.isolate == "process",
            memory_limit=options.memory if options.isolate == "process" else None,
            shell=options.shell,
            env=dict(options.env),
            cwd=options.cwd,
            captures=bool(options.capture_stdio),
            capture_limit=options.capture_limit,
            is_file=kind is Kind.COMMAND and options.capture_stdio is True,
            workdir=options.workdir,
            root=root,
        )

    @cached_property
    def run(self) -> str:
        """The name of the run that its calls are of; empty where they are of none."""
        return PurePath(self.root).parent.name if self.root else ""

    def with_options(self, options: TaskOptions) -> "Recipe":
        """The same function, asked for with other `options`."""
        return Recipe.of(self.function, self.kind, self.name, options, self.root)
