"""Fields of results: whether a task's result can have what a reference names, as far as annotations say."""

import dataclasses
import typing
from collections.abc import Mapping, Sequence
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from asyncflow.config.source import Place
from asyncflow.pipelines.expressions import ALL, Reference, Step, templates_in
from asyncflow.pipelines.functions import PLAIN, an, hints_of
from asyncflow.pipelines.source import Source
from asyncflow.pipelines.source import Step as Task
from asyncflow.suggest import hint

_RESULTS: Mapping[str, Any] = {"text": str, "lines": list[str], "json": Any, "int": int, "float": float}

_SEQUENCES = (list, tuple, Sequence, range)


def check_fields(source: Source) -> None:
    """Complain of fields that results cannot have, as far as annotations say."""
    trees: list[tuple[Place, Any]] = [
        (step.place(part), tree) for step in source.steps.values() for part, tree in step.trees.items()
    ]
    trees += [(("outputs", name), tree) for name, tree in source.outputs.items()]
    for outer, tree in trees:
        for inner, template in templates_in(tree):
            for reference in template.references:
                problem = _reference_problem(source, outer, reference)
                if problem is not None:
                    source.document.complain(problem, (*outer, *inner))


def _reference_problem(source: Source, outer: Place, reference: Reference) -> str | None:
    if reference.root == "tasks" and reference.name in source.steps:
        step = source.steps[reference.name]
        return field_problem(result_type(step), reference.rest, reference.text, step)
    if reference.root == "result" and len(outer) > 1:
        return field_problem(_one_result(source.steps[str(outer[1])]), reference.steps, reference.text)
    return None


class _Outputs:
    """The result of an inner pipeline."""

    def __init__(self, names: list[str]) -> None:
        self.names = names


def result_type(step: Task) -> Any:
    """The type of what a task gives, `Any` where nobody says."""
    one = _one_result(step)
    return _Many(one) if step.is_many else one


def _one_result(step: Task) -> Any:
    if step.inner is not None:
        return _Outputs(list(step.inner.outputs))
    if step.model.run is not None:
        return _RESULTS[step.model.result]
    return hints_of(step.function).get("return", Any) if step.function is not None else Any


class _Many:
    """A list of results."""

    def __init__(self, item: Any) -> None:
        self.item = item


def field_problem(kind: Any, steps: Sequence[Step], text: str, task: Task | None = None) -> str | None:
    """Why a value of type `kind` cannot have what stands at `steps`; None where it can, or nobody can say."""
    if not steps:
        return None
    step, rest = steps[0], steps[1:]
    if isinstance(kind, _Many):
        if step is ALL or isinstance(step, int):
            return field_problem(kind.item, rest, text)
        return f"{text}: task {task.name if task else ''!r} is done for each of some items; write [*] or a number first"
    if isinstance(kind, _Outputs):
        return (
            None
            if step in kind.names
            else f"{text}: that pipeline has no output {step!r}; {hint(str(step), kind.names)}"
        )
    branches = get_args(kind) if get_origin(kind) in {Union, UnionType} else (kind,)
    problems = [_branch_problem(branch, step, rest, text) for branch in branches if branch is not NoneType]
    return problems[0] if problems and all(problems) else None


def _branch_problem(kind: Any, step: Step, rest: Sequence[Step], text: str) -> str | None:
    if get_origin(kind) is Annotated:
        kind = get_args(kind)[0]
    origin = get_origin(kind) or kind
    if not isinstance(origin, type) or kind is Any:
        return None
    if step is ALL or isinstance(step, int):
        return _item_problem(kind, origin, step, rest, text)
    if typing.is_typeddict(kind) or dataclasses.is_dataclass(origin) or hasattr(origin, "_fields"):
        return _named_problem(kind, origin, str(step), rest, text)
    if issubclass(origin, Mapping):
        values = get_args(kind)[1:]
        return field_problem(values[0], rest, text) if values else None
    # A command's output has files; of other classes nobody can say what their objects have.
    can_have = origin not in {*PLAIN, list, tuple, NoneType} or hasattr(origin, str(step))
    return (
        None
        if can_have or (origin is str and step == "files")
        else f"{text}: {an(origin)} has no {step!r}; refer to it whole"
    )


def _named_problem(kind: Any, origin: type, step: str, rest: Sequence[Step], text: str) -> str | None:
    fields = hints_of(kind)
    if step in fields:
        return field_problem(fields[step], rest, text)
    if hasattr(origin, step) and not typing.is_typeddict(kind):
        return None
    return f"{text}: {origin.__name__} has no {step!r}; {hint(step, list(fields))}"


def _item_problem(kind: Any, origin: type, step: Step, rest: Sequence[Step], text: str) -> str | None:
    if issubclass(origin, str) or not issubclass(origin, (*_SEQUENCES, Mapping)):
        told = f"{text}: {an(origin)} is no list; refer to it whole, or give its task a foreach:"
        return told if origin in {*PLAIN, NoneType} or step is ALL else None
    inner = get_args(kind)
    if origin in {list, Sequence} and inner:
        return field_problem(inner[0], rest, text)
    return None
