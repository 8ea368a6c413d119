"""A pipeline file as it was read: what each task says, parsed, and where it stands."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from asyncflow.config.source import Document, Place
from asyncflow.pipelines.expressions import Reference, parse_tree, references_in
from asyncflow.pipelines.models import Param, Repeat, TaskModel

#: Parts of a task that may hold references, and the roots that mean something in each, beside params, tasks, env, run.
PARTS: Mapping[str, frozenset[str]] = {
    "args": frozenset({"item", "previous", "round"}),
    "run": frozenset({"item", "previous", "round"}),
    "params": frozenset({"item", "previous", "round"}),
    "needs": frozenset({"item"}),
    "makes": frozenset({"item"}),
    "when": frozenset({"item"}),
    "until": frozenset({"item", "round", "result"}),
    "start": frozenset({"item"}),
    "foreach": frozenset(),
    "options": frozenset(),
}


@dataclass
class Step:
    """One task of a pipeline.

    Attributes
    ----------
    name : str
        Of the task.
    model : TaskModel
        What the file says.
    trees : dict of str to object
        Those of `PARTS` that it has, parsed.
    function : callable or None
        What ``call`` names, once that was imported.
    inner : Source or None
        What ``pipeline`` names, once that was read.
    """

    name: str
    model: TaskModel
    trees: dict[str, Any] = field(default_factory=dict)
    function: Callable[..., Any] | None = None
    inner: "Source | None" = None

    @property
    def kind(self) -> str:
        """``function``, ``command`` or ``pipeline``."""
        return "function" if self.model.call is not None else "command" if self.model.run is not None else "pipeline"

    @property
    def repeat(self) -> Repeat | None:
        """How it is repeated, if it is."""
        return self.model.repeat

    @property
    def is_many(self) -> bool:
        """Whether it is done for each of some items."""
        return self.model.foreach is not None

    def place(self, part: str) -> Place:
        """Where that part of it stands."""
        return ("tasks", self.name, *(("repeat", part) if part in {"until", "start"} else (part,)))

    def references(self) -> Iterator[Reference]:
        """All that it refers to."""
        for tree in self.trees.values():
            yield from references_in(tree)

    def upstream(self) -> list[str]:
        """The tasks that it needs, in the order in which it names them."""
        named = [reference.name for reference in self.references() if reference.root == "tasks"]
        return list(dict.fromkeys([*named, *self.model.after]))


@dataclass
class Source:
    """One pipeline file.

    Attributes
    ----------
    name : str
        Of the pipeline.
    path : Path
        Of the file.
    document : Document
        Where things stand in it.
    steps : dict of str to Step
        By name, in the order of the file.
    broken : set of str
        Names of tasks that could not be read; what refers to them is not wrong for that.
    outputs : dict of str to object
        Parsed.
    """

    name: str
    path: Path
    document: Document
    help: str = ""
    params: dict[str, Param] = field(default_factory=dict)
    defaults: dict[str, Any] = field(default_factory=dict)
    config: str | None = None
    steps: dict[str, Step] = field(default_factory=dict)
    broken: set[str] = field(default_factory=set)
    outputs: dict[str, Any] = field(default_factory=dict)

    @property
    def directory(self) -> Path:
        """Where relative paths in it begin."""
        return self.path.parent

    def has_default(self, param: str) -> bool:
        """Whether the file gives the parameter a value, be it null."""
        declared = self.document.data.get("params", {}).get(param)
        return not isinstance(declared, dict) or "default" in declared

    def parse(self, value: Any, place: Place) -> Any:
        """`value` with its references read; what cannot be becomes a problem at `place`."""
        try:
            return parse_tree(value)
        except ValueError as error:
            self.document.complain(str(error), self.where(value, place, str(error)))
            return None

    @staticmethod
    def where(value: Any, place: Place, message: str) -> Place:
        """The innermost place below `place` at which parsing `value` says `message`."""
        inner: Iterator[tuple[str | int, Any]] = iter(())
        if isinstance(value, dict):
            inner = iter(value.items())
        elif isinstance(value, list):
            inner = iter(enumerate(value))
        for key, item in inner:
            try:
                parse_tree(item)
            except ValueError as error:
                if str(error) == message:
                    return Source.where(item, (*place, key), message)
        return place

    def ordered(self) -> list[Step]:
        """The steps, each behind those that it needs; of those in a circle, none."""
        done: dict[str, Step] = {}
        waiting = dict(self.steps)
        while True:
            ready = [
                step for step in waiting.values() if all(n in done or n not in self.steps for n in step.upstream())
            ]
            if not ready:
                return list(done.values())
            for step in ready:
                done[step.name] = waiting.pop(step.name)
