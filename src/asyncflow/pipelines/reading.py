"""A pipeline file read and checked, as far as that goes without the values of its parameters."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from asyncflow.config.source import Document, Place, read_file
from asyncflow.config.validate import validated
from asyncflow.errors import ConfigError, Problem
from asyncflow.pipelines import checks, fields, functions
from asyncflow.pipelines.conditions import problem_of as condition_problem
from asyncflow.pipelines.items import problem_of as items_problem
from asyncflow.pipelines.models import Name, Param, PipelineModel, TaskModel
from asyncflow.pipelines.script import script_words
from asyncflow.pipelines.source import PARTS, Source, Step

_TASK = TaskModel.model_fields.keys()


class _Outer(PipelineModel):
    """The file without what is inside its tasks and parameters, each of which is looked at by itself."""

    params: dict[str, Any] = {}  # noqa: RUF012 - pydantic copies it
    tasks: dict[str, Any]
    outputs: dict[str, Any] = {}  # noqa: RUF012


class _Named(PipelineModel):
    """Only names."""

    tasks: dict[Name, Any]


def read_source(path: str, environ: Mapping[str, str], outer: tuple[Path, ...] = ()) -> Source:
    """The pipeline at `path`, in which nothing is wrong.

    The directory of the file is put behind ``sys.path``, so that functions beside it are found, here and on workers of
    engines that are opened later.

    Parameters
    ----------
    environ : mapping
        What ``${env.NAME}`` is looked up in.
    outer : tuple of Path
        The files that led here.

    Raises
    ------
    ConfigError
        Listing everything that is wrong, each with file, line and column.
    """
    document = read_file(path, None)
    absolute = Path(path).expanduser().absolute()
    source = Source(absolute.stem, absolute, document)
    if str(source.directory) not in sys.path:
        sys.path.append(str(source.directory))
    if _read_outer(source):
        checks.check_references(source, environ)
        checks.check_cycles(source)
        functions.check_functions(source)
        _read_inner(source, environ, (*outer, absolute))
        fields.check_fields(source)
        checks.check_options(source)
    if document.problems:
        raise ConfigError(sorted(document.problems, key=_order))
    return source


def _order(problem: Problem) -> tuple[str, int, int]:
    return problem.source or "", problem.line or 0, problem.column or 0


def _read_outer(source: Source) -> bool:
    """Take what the file says into `source`; whether there are tasks at all."""
    document = source.document
    if not isinstance(document.data, dict):
        document.complain("is no pipeline; give tasks: with a task by each name")
        return False
    outer = validated(_Outer, document.data, document, ())
    if outer is None:
        return False
    source.name, source.help, source.config = outer.name or source.name, outer.help, outer.config
    source.defaults = outer.defaults
    for name, given in outer.params.items():
        _check_name(document, name, ("params", name))
        _read_param(source, name, given)
    for name, given in outer.tasks.items():
        _check_name(document, name, ("tasks", name))
        _read_task(source, name, given)
    for name, given in outer.outputs.items():
        source.outputs[name] = source.parse(given, ("outputs", name))
    if not outer.tasks:
        document.complain("has no tasks; give one", ("tasks",))
    return True


def _check_name(document: Document, name: str, place: Place) -> None:
    if not name.replace("-", "_").isidentifier() or not name.isascii():
        document.complain(f"{name!r} is no name; use letters, digits, _ and -, and begin with a letter", place)


def _read_param(source: Source, name: str, given: Any) -> None:
    # A mapping always is a declaration: one that were a default could hide a misspelt key.
    declared = dict(given) if isinstance(given, dict) else {"default": given}
    param = validated(Param, declared, source.document, ("params", name))
    source.params[name] = param if param is not None else Param()
    if param is None:
        source.document.unresolved.add(("params", name))


def _read_task(source: Source, name: str, given: Any) -> None:
    place: Place = ("tasks", name)
    document = source.document
    if not isinstance(given, dict):
        document.complain("must be a mapping with call:, run: or pipeline:", place)
        source.broken.add(name)
        return
    before = len(document.problems)
    model = validated(TaskModel, dict(given), document, place)
    if model is not None:
        _check_kind(document, model, place)
    if model is None or len(document.problems) > before:
        source.broken.add(name)
        return
    step = source.steps[name] = Step(name, model)
    for part in PARTS:
        value = _part(model, part)
        if value not in (None, {}, []):
            where = (*place, "repeat", part) if part in {"until", "start"} else (*place, part)
            step.trees[part] = source.parse(value, where)
    _check_forms(document, step, place)


def _part(model: TaskModel, part: str) -> Any:
    if part in {"until", "start"}:
        return getattr(model.repeat, part) if model.repeat is not None else None
    return getattr(model, part)


def _check_kind(document: Document, model: TaskModel, place: Place) -> None:
    kinds = [name for name in ("call", "run", "pipeline") if getattr(model, name) is not None]
    if len(kinds) != 1:
        found = f"has {' and '.join(kinds)}" if kinds else "says nothing to do"
        document.complain(f"{found}; give one of call: (a function), run: (a command), pipeline: (a file)", place)
        return
    fitting = {"call": {"args"}, "run": {"shell", "result", "needs", "makes"}, "pipeline": {"params"}}
    for kind, keys in fitting.items():
        for key in keys & model.model_fields_set if kind != kinds[0] else ():
            document.complain(f"{key!r} goes with {kind}:, and this task has {kinds[0]}:; take it away", (*place, key))
    if isinstance(model.run, str) and not model.shell:
        document.complain(
            "is one text; give a list, each item one argument, or shell: true if it is a script for a shell",
            (*place, "run"),
        )
    elif isinstance(model.run, list) and model.shell:
        document.complain("is a list, and a shell reads a script; give one text, or leave shell: away", (*place, "run"))
    elif model.run in ("", []):
        document.complain("is empty; give the command", (*place, "run"))


def _check_forms(document: Document, step: Step, place: Place) -> None:
    for part, problem_of in (("when", condition_problem), ("foreach", items_problem)):
        if (problem := problem_of(step.trees.get(part))) is not None:
            document.complain(problem, (*place, part))
    if step.model.shell and step.trees.get("run") is not None:
        try:
            script_words("sh", step.trees["run"])
        except ValueError as error:
            document.complain(str(error), (*place, "run"))


def _read_inner(source: Source, environ: Mapping[str, str], outer: tuple[Path, ...]) -> None:
    """Read the pipelines that tasks are; what is wrong in them is wrong in `source`."""
    for step in source.steps.values():
        if step.model.pipeline is None:
            continue
        place: Place = ("tasks", step.name, "pipeline")
        path = Path(source.document.source or "").parent / Path(step.model.pipeline).expanduser()
        if path.absolute() in outer:
            chain = " -> ".join(file.name for file in (*outer[outer.index(path.absolute()) :], path))
            source.document.complain(f"leads back to itself: {chain}; a pipeline cannot contain itself", place)
            continue
        try:
            step.inner = read_source(str(path), environ, outer)
        except ConfigError as error:
            for problem in error.problems:
                if problem.line is None:
                    source.document.complain(problem.message, place)
                else:
                    source.document.problems.append(problem)
            continue
        checks.check_inner_params(source, step)
