"""The declared files of one attempt: checked before its body begins, and settled when it has ended."""

import dataclasses
import functools
import inspect
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path
from types import FunctionType
from typing import Any, NamedTuple

from asyncflow.arguments import found, replace
from asyncflow.digests import TICK, Stamp, stamp_of
from asyncflow.errors import FileError, TaskError
from asyncflow.files import DIGESTS, CommandOutput, InputFile, OutputFile, by_name, declared_in, difference
from asyncflow.recipe import Kind, Recipe
from asyncflow.workdir import make_workdir

#: Seconds in which a file that is there before the body counts as recent.
_RECENT = 60.0

#: How many files a directory is told to hold, and how many are looked at for that.
_LISTED, _LOOKED_AT = 10, 1000


def with_files(recipe: Recipe, key: str, args: tuple[Any, ...], kwargs: dict[str, Any], run: Callable[..., Any]) -> Any:
    """What `run(recipe, args, kwargs)` returns, between the checks of the files that the arguments declare.

    A recipe that asks for a directory of its own is handed on with that as its ``cwd``.

    Raises
    ------
    FileError
        When a declared file is missing, or is not what it was.
    """
    if recipe.workdir:
        recipe = dataclasses.replace(recipe, cwd=make_workdir(recipe.root, key))
    files = Declared(recipe.name, recipe.function, args, kwargs, recipe.cwd)
    files.check()
    try:
        value = run(recipe, files.args, files.kwargs)
    except TaskError as error:
        if recipe.workdir:
            error.add_note(f"its directory is kept: {recipe.cwd}")
        raise
    return files.settle_command(value) if recipe.kind is Kind.COMMAND else files.settle(value)


class Output(NamedTuple):
    """One declared output."""

    parameter: str
    declared: OutputFile
    path: str


class Declared:
    """The files that one attempt declares by its arguments; all methods block, on the worker.

    Parameters
    ----------
    task : str
        The name, for errors.
    function : callable
        The body; default values of its parameters declare files as well.
    base : str or None
        Where relative outputs lie; the current directory where None.

    Attributes
    ----------
    args, kwargs
        What the body is to be called with: outputs have absolute paths.
    """

    def __init__(
        self,
        task: str,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        base: str | None = None,
    ) -> None:
        self.args, self.kwargs = args, kwargs
        self._task = task
        self._base = base
        self._inputs: dict[InputFile, str] = {}  # and the parameter of each
        self._outputs: list[Output] = []
        self._before: dict[str, Stamp | None] = {}
        if declared_in((args, kwargs)) or _default_files(function):
            self._bind(function)

    def check(self) -> None:
        """Before the body: inputs are there and are what they were made as; outputs can be made.

        Raises
        ------
        FileError
            Naming every file that is not as it should be.
        """
        if not self._inputs and not self._outputs:
            return
        wrong: dict[str, str] = {}
        for file, parameter in self._inputs.items():
            self._before[file.path] = stamp_of(file.path)
            if (fact := difference(file)) is not None:
                wrong[file.path] = f"input {parameter!r}, {file.path!r}, {fact}"
        real = {os.path.realpath(file.path) for file in self._inputs}
        for output in self._outputs:
            if os.path.realpath(output.path) in real:
                wrong[output.path] = f"output {output.parameter!r}, {output.path!r}, is one of its inputs as well"
            elif (fact := self._prepare(output)) is not None:
                wrong[output.path] = f"output {output.parameter!r}, {output.path!r}, {fact}"
        if wrong:
            raise FileError(
                f"task {self._task!r} cannot begin on {socket.gethostname()}: {'; '.join(wrong.values())}; keep files "
                "where all workers see them, let only one call write to each, and make again what is gone or changed",
                tuple(wrong),
            )

    def settle(self, value: Any) -> Any:
        """After the body of a function: what it returned, each `OutputFile` in it as the `InputFile` that was made.

        Raises
        ------
        FileError
            Naming every output that was not made, and every input that was changed.
        """
        returned = found(value, _is_output)
        if not (self._inputs or self._outputs or returned):
            return value
        known = {output.path for output in self._outputs}
        more = [Output("returned", each, path) for each in returned if (path := self._placed(each)) not in known]
        made = self._made([*self._outputs, *more])
        return replace(value, _is_output, lambda each: made[self._placed(each)]) if returned else value

    def settle_command(self, text: str) -> str:
        """After a command that wrote `text`: that, with the files where some were declared.

        Raises
        ------
        FileError
            As `settle`.
        """
        made = self._made(self._outputs)
        if not self._outputs:
            return text
        return CommandOutput(
            text, by_name([(each.parameter, each.declared, made[each.path]) for each in self._outputs])
        )

    def _bind(self, function: Callable[..., Any]) -> None:
        try:
            bound = inspect.signature(function).bind(*self.args, **self.kwargs)
        except (TypeError, ValueError):  # wrong arguments: calling the body says so in the usual words
            named = _unbound(self.args, self.kwargs)
        else:
            bound.apply_defaults()
            self.args, self.kwargs = bound.args, bound.kwargs
            named = _bound(bound)
        for parameter, value in named:
            for file in declared_in(value):
                if isinstance(file, InputFile):
                    self._inputs.setdefault(file, parameter)
                else:
                    self._outputs.append(Output(parameter, file, self._placed(file)))
        if self._outputs:
            self.args, self.kwargs = replace(
                (self.args, self.kwargs), _is_output, lambda each: OutputFile(self._placed(each))
            )

    def _placed(self, file: OutputFile) -> str:
        return str(Path(self._base or "", file.path).absolute())

    def _prepare(self, output: Output) -> str | None:
        """Make room for `output`, and remember what lies there; what is wrong, in words that follow its name."""
        path = Path(output.path)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.is_dir():
                return "is a directory"
            self._before[output.path] = _aged(path)
        except OSError as error:
            return f"cannot be made ({error.strerror})"
        return None

    def _made(self, outputs: list[Output]) -> dict[str, InputFile]:
        """What the body has made, by path."""
        wrong = {
            file.path: f"its input {parameter!r}, {file.path!r}, was changed meanwhile"
            for file, parameter in self._inputs.items()
            if stamp_of(file.path) != self._before[file.path]
        }
        missing: list[str] = []
        for output in outputs:
            stamp = stamp_of(output.path)
            if stamp is None:
                missing.append(output.path)
                wrong[output.path] = f"it did not make its output {output.parameter!r}, {output.path!r}"
            elif stamp == self._before.get(output.path):
                wrong[output.path] = (
                    f"it did not write its output {output.parameter!r}, {output.path!r}, which was there before"
                )
        if wrong:
            facts = "; ".join(wrong.values())
            raise FileError(
                f"task {self._task!r} ended on {socket.gethostname()}, but {facts}{_hint(missing)}; declare outputs by "
                "the names that it gives them, and let nothing write to an input",
                tuple(wrong),
            )
        return {output.path: InputFile(output.path, *DIGESTS.content_of(output.path)) for output in outputs}


def _is_output(value: Any) -> bool:
    return isinstance(value, OutputFile)


def _default_files(function: Callable[..., Any]) -> bool:
    """Whether default values of parameters declare files."""
    return _looked_up(function) if isinstance(function, FunctionType) else _looked_up.__wrapped__(function)


@functools.lru_cache(maxsize=256)
def _looked_up(function: Callable[..., Any]) -> bool:
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return False
    return bool(declared_in([each.default for each in parameters]))


def _bound(bound: inspect.BoundArguments) -> Iterator[tuple[str, Any]]:
    for name, value in bound.arguments.items():
        if bound.signature.parameters[name].kind is inspect.Parameter.VAR_KEYWORD:
            yield from value.items()
        else:
            yield name, value


def _unbound(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    yield from ((f"#{position}", value) for position, value in enumerate(args, 1))
    yield from kwargs.items()


def _aged(path: Path) -> Stamp | None:
    """The stamp of what lies at `path`; made older where it is so new that writing it again might not show."""
    stamp = stamp_of(str(path))
    if stamp is not None and abs(time.time_ns() - stamp.modified) < _RECENT * 1e9:
        with suppress(OSError):  # somebody else's
            os.utime(path, ns=(stamp.modified - TICK, stamp.modified - TICK))
            return stamp_of(str(path))
    return stamp


def _hint(missing: list[str]) -> str:
    """What there is instead of the `missing`."""
    if not missing:
        return ""
    directory = Path(missing[0]).parent
    with suppress(OSError), os.scandir(directory) as entries:
        names = sorted(entry.name for entry in islice(entries, _LOOKED_AT))
        more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
        listed = f"holds {', '.join(map(repr, names[:_LISTED]))}{more}" if names else "is empty"
        return f" ({str(directory)!r} {listed})"
    return f" ({str(directory)!r} is gone)"
