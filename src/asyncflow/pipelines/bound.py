"""A pipeline with values for its parameters, in which nothing is wrong."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from asyncflow.config.source import Place
from asyncflow.errors import ConfigError, OptionError, Problem
from asyncflow.options import TaskOptions, parse_options, with_defaults
from asyncflow.pipelines.making import Scope
from asyncflow.pipelines.params import settle
from asyncflow.pipelines.source import Source, Step
from asyncflow.recipe import Kind

KINDS = {"function": Kind.FUNCTION, "command": Kind.COMMAND, "pipeline": Kind.BLOCK}


@dataclass(frozen=True)
class Bound:
    """One pipeline, about to run.

    Attributes
    ----------
    source : Source
        The file.
    early : mapping
        What ``params``, ``env`` and ``run`` mean.
    options : dict of str to dict
        What each task asks for, by its name; its own and those of ``defaults:``.
    """

    source: Source
    early: Mapping[str, Mapping[str, Any]]
    options: Mapping[str, Mapping[str, Any]]

    def typed(self, step: Step) -> TaskOptions:
        """The options of `step`, for whoever asks whether a pool can serve them."""
        return parse_options(self.options[step.name], KINDS[step.kind])


def bind(
    source: Source, given: Mapping[str, Any], run: Mapping[str, Any], environ: Mapping[str, str] = os.environ
) -> Bound:
    """Give the parameters of `source` their values.

    Raises
    ------
    ConfigError
        Listing every value that is of a wrong type or missing, and every option that follows from one and cannot be.
    """
    problems: list[Problem] = []

    def complain(name: str, message: str) -> None:
        place: Place = ("params", name)
        lines, columns = source.document.lines, source.document.columns
        problems.append(
            Problem(message, ".".join(map(str, place)), source.document.source, lines.get(place), columns.get(place))
        )

    values = settle(source.params, given, complain, has_default=source.has_default)
    early = {"params": values, "env": dict(environ), "run": dict(run)}
    options: dict[str, Mapping[str, Any]] = {}
    if not problems:
        scope = Scope(early, {}, str(source.directory))
        for step in source.steps.values():
            options[step.name] = _options(source, step, scope, problems)
    if problems:
        raise ConfigError(problems)
    return Bound(source, early, options)


def _options(source: Source, step: Step, scope: Scope, problems: list[Problem]) -> Mapping[str, Any]:
    kind = KINDS[step.kind]
    own = scope.value(step.trees.get("options") or {})
    try:
        parsed = parse_options(own, kind)
        if kind is not Kind.BLOCK:
            parsed = with_defaults(parsed, source.defaults, kind)
    except OptionError as error:
        place: Place = ("tasks", step.name, "options")
        lines, columns = source.document.lines, source.document.columns
        where = source.document.source, lines.get(place), columns.get(place)
        problems.append(Problem(str(error), ".".join(map(str, place)), *where))
        return {}
    return {name: getattr(parsed, name) for name in parsed.model_fields_set}


def refusals(bound: Bound, refuse: Callable[[TaskOptions], str | None]) -> list[Problem]:
    """Tasks that no pool can ever run, as `refuse` says of options."""
    found = []
    for step in bound.source.steps.values():
        if step.kind == "pipeline" or (reason := refuse(bound.typed(step))) is None:
            continue
        document = bound.source.document
        place = next((p for p in (("tasks", step.name, "options"), ("tasks", step.name)) if p in document.lines), ())
        where = document.source, document.lines.get(place), document.columns.get(place)
        text = f"task {step.name!r} can never run: it {reason}; change its options, or the pools of the configuration"
        found.append(Problem(text, ".".join(map(str, place)), *where))
    return found
