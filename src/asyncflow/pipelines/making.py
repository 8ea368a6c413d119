"""What a task of a pipeline has become while it runs, and what references to it stand for."""

from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from asyncflow.errors import FieldError
from asyncflow.files import InputFile, OutputFile
from asyncflow.pipelines.expressions import ALL, Reference, Template
from asyncflow.pipelines.expressions import Step as Hop
from asyncflow.pipelines.travel import Pick, Text, dig, is_late

#: What is wrong with a file that only a result could name.
LATE_FILE = (
    "a declared file must have its name before any task has run; refer to parameters or listed items, and pass what a "
    'task has made by itself, as ${tasks.name.files["file"]}'
)


class Skipped:
    """A task whose ``when`` did not hold, or that needs one."""


@dataclass
class Many:
    """What became of a task that is done for each of some items: futures, or outputs of pipelines."""

    parts: list[Any]


@dataclass
class Outputs:
    """What an inner pipeline gives, by name; `over` is a future of nothing that is done when all of its calls are."""

    values: Mapping[str, Any]
    over: Any = None


@dataclass
class Scope:
    """What references mean at one place.

    Attributes
    ----------
    early : dict of str to mapping
        ``params``, ``env`` and ``run``.
    made : dict
        What tasks have become, by name.
    directory : str
        Where relative paths of input files begin.
    local : dict
        ``item``, ``previous``, ``round`` and ``result``, as far as there are.
    """

    early: Mapping[str, Mapping[str, Any]]
    made: Mapping[str, Any]
    directory: str
    local: Mapping[str, Any] = field(default_factory=dict)

    def within(self, **local: Any) -> "Scope":
        """The same with some more."""
        return Scope(self.early, self.made, self.directory, {**self.local, **local})

    def value(self, tree: Any, *, has_files: bool = False) -> Any:
        """What a parsed tree stands for: futures where results belong, and `Pick` and `Text` where parts of them do.

        With `has_files`, ``{input: PATH}`` and ``{output: PATH}`` are files.
        """
        if isinstance(tree, Template):
            return self._text(tree)
        if isinstance(tree, list):
            return [self.value(item, has_files=has_files) for item in tree]
        if isinstance(tree, dict):
            if has_files and (file := self._file(tree)) is not None:
                return file
            return {key: self.value(item, has_files=has_files) for key, item in tree.items()}
        return tree

    def arguments(self, tree: Any) -> tuple[list[Any], dict[str, Any]]:
        """What a function is called with, in order and by name."""
        if isinstance(tree, list):
            return self.value(tree, has_files=True), {}
        return [], {name: self.value(item, has_files=True) for name, item in tree.items()}

    def files(self, trees: Mapping[str, Any]) -> dict[str, list[InputFile | OutputFile]]:
        """What the parts ``needs`` and ``makes`` of a task declare."""
        found: dict[str, list[InputFile | OutputFile]] = {
            "needs": [self._input(path) for path in trees.get("needs") or []],
            "makes": [OutputFile(self._path(path)) for path in trees.get("makes") or []],
        }
        return {name: files for name, files in found.items() if files}

    def _path(self, tree: Any) -> str:
        path = self.value(tree)
        if isinstance(path, str):
            return path
        if is_future_or_late(path):
            raise FieldError(LATE_FILE)
        raise FieldError(f"a {type(path).__name__} names no file; give a path as text")

    def _input(self, tree: Any) -> InputFile:
        path = self._path(tree)
        return InputFile(path if path.startswith(("/", "~")) else f"{self.directory}/{path}")

    def refer(self, reference: Reference) -> Any:
        """What one reference stands for."""
        if reference.root in self.early:
            return follow(self.early[reference.root][reference.name], reference.rest, reference.text)
        if reference.root == "tasks":
            return follow(self.made[reference.name], reference.rest, reference.text)
        return follow(self.local[reference.root], reference.steps, reference.text)

    def _text(self, template: Template) -> Any:
        if (alone := template.alone) is not None:
            return plain(self.refer(alone))
        parts = [part if isinstance(part, str) else plain(self.refer(part)) for part in template.parts]
        text = Text(tuple(parts))
        return text if any(map(is_future_or_late, parts)) else text.joined()

    def _file(self, tree: Mapping[str, Any]) -> InputFile | OutputFile | None:
        if tree.keys() == {"input"}:
            return self._input(tree["input"])
        if tree.keys() == {"output"}:
            return OutputFile(self._path(tree["output"]))
        return None


def follow(value: Any, steps: Sequence[Hop], text: str) -> Any:
    """What stands at `steps` of `value`, which may be something that is not known yet.

    Raises
    ------
    FieldError
        Where there is no such thing.
    """
    if not steps:
        return value
    step, rest = steps[0], steps[1:]
    if isinstance(value, Many):
        return _of_many(value, step, rest, text)
    if isinstance(value, Outputs):
        return follow(value.values[str(step)], rest, text)
    if isinstance(value, (Pick, Awaitable, Text)):
        inner, before = (value.value, value.steps) if isinstance(value, Pick) else (value, ())
        return Pick(inner, (*before, *steps), text)
    if step is ALL:
        return [follow(part, rest, text) for part in dig(value, (ALL,), text)]
    return follow(dig(value, (step,), text), rest, text)


def _of_many(value: Many, step: Hop, rest: Sequence[Hop], text: str) -> Any:
    if step is ALL:
        return Many([follow(part, rest, text) for part in value.parts])
    if not isinstance(step, int) or not -len(value.parts) <= step < len(value.parts):
        raise FieldError(f"{text}: there are {len(value.parts)} of it, counted from 0; not {step!r}")
    return follow(value.parts[step], rest, text)


def plain(value: Any) -> Any:
    """`value` as an argument has it: lists and mappings of futures."""
    if isinstance(value, Many):
        return [plain(part) for part in value.parts]
    if isinstance(value, Outputs):
        return {name: plain(part) for name, part in value.values.items()}
    return value


def is_future_or_late(value: Any) -> bool:
    """Whether `value`, or anything in it, is not known yet."""
    if isinstance(value, (list, tuple)):
        return any(map(is_future_or_late, value))
    if isinstance(value, dict):
        return any(map(is_future_or_late, value.values()))
    return isinstance(value, Awaitable) or is_late(value)
