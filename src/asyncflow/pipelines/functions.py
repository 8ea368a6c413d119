"""Functions that tasks call: imported, and held against their arguments."""

import importlib
import inspect
import typing
from collections.abc import Callable
from types import ModuleType, NoneType
from typing import Any

from asyncflow.config.source import Place
from asyncflow.pipelines.expressions import Template
from asyncflow.pipelines.params import type_of
from asyncflow.pipelines.source import Source
from asyncflow.pipelines.source import Step as Task
from asyncflow.suggest import hint

#: Types whose values a file can write.
PLAIN = (int, float, str, bool)


def check_functions(source: Source) -> None:
    """Import what tasks call; complain of what is not there, and of arguments that do not fit."""
    for step in source.steps.values():
        if step.model.call is None:
            continue
        place: Place = ("tasks", step.name, "call")
        try:
            step.function = found(step.model.call)
        except ValueError as error:
            source.document.complain(str(error), place)
            continue
        _check_arguments(source, step)


def found(name: str) -> Callable[..., Any]:
    """The function ``package.module:function``.

    Raises
    ------
    ValueError
        Saying what is not there, or cannot be imported.
    """
    module_name, colon, attribute = name.partition(":")
    if not colon or not attribute or not module_name:
        raise ValueError(f"{name!r} names no function; write package.module:function")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        raise ValueError(f"there is no module {error.name!r}; put it beside the pipeline file, or install it") from None
    except Exception as error:
        raise ValueError(
            f"module {module_name!r} cannot be imported ({type(error).__name__}: {error}); mend it"
        ) from error
    value: Any = module
    for part in attribute.split("."):
        if not hasattr(value, part):
            names = [each for each, thing in vars(value).items() if not each.startswith("_") and _is_own(thing, module)]
            raise ValueError(f"{module_name!r} has no {attribute!r}; {hint(part, names)}")
        value = getattr(value, part)
    if not callable(value):
        told = f"{name!r} is {an(type(value))}, which cannot be called; name a function"
        raise ValueError(told)  # noqa: TRY004 - one for all that is wrong
    return getattr(value, "__asyncflow_function__", value)  # type: ignore[no-any-return]


def _check_arguments(source: Source, step: Task) -> None:
    assert step.function is not None
    place: Place = ("tasks", step.name, "args")
    tree = step.trees.get("args") or {}
    args, kwargs = (tree, {}) if isinstance(tree, list) else ((), tree)
    try:
        signature = inspect.signature(step.function)
    except (TypeError, ValueError):  # some functions of C
        return
    parameters = signature.parameters
    takes_any = any(each.kind is inspect.Parameter.VAR_KEYWORD for each in parameters.values())
    unknown = [name for name in kwargs if name not in parameters and not takes_any]
    for name in unknown:
        problem = f"{step.model.call!r} has no parameter {name!r}; {hint(name, list(parameters))}"
        source.document.complain(problem, (*place, name))
    known = {name: value for name, value in kwargs.items() if name not in unknown}
    try:
        bound = (signature.bind_partial if unknown else signature.bind)(*args, **known)
    except TypeError as error:
        told = f"{step.model.call}{signature} cannot be called with these: {error}; give what it takes"
        source.document.complain(told, place)
        return
    hints = hints_of(step.function)
    positions = list(parameters)
    for name, value in bound.arguments.items():
        where: Place = (*place, positions.index(name)) if isinstance(tree, list) else (*place, name)
        wrong = _type_problem(source, hints.get(name), value)
        if wrong is not None:
            source.document.complain(f"the parameter {name!r} of {step.model.call!r} is {wrong}", where)


def _type_problem(source: Source, wanted: Any, value: Any) -> str | None:
    """What speaks against `value` where a plain type is `wanted`; None where nothing does, or nobody can say."""
    if wanted not in PLAIN:
        return None
    if isinstance(value, Template):
        alone = value.alone
        if alone is None:
            return None
        given = type_of(source.params[alone.name]) if alone.root == "params" and alone.name in source.params else None
        if given is None or given == wanted.__name__ or (given, wanted) == ("int", float) or alone.rest:
            return None
        return f"{an(wanted)}, and {alone.text} is {given}; make the parameter one"
    if (
        isinstance(value, (*PLAIN, list, dict, NoneType))
        and type(value) is not wanted
        and (type(value), wanted) != (int, float)
    ):
        return f"{an(wanted)}, and {value!r} is none; give one"
    return None


def an(kind: type) -> str:
    """Its name with an article."""
    return f"{'an' if kind.__name__[:1] in 'aeiou' else 'a'} {kind.__name__}"


def _is_own(thing: Any, module: ModuleType) -> bool:
    return callable(thing) and getattr(thing, "__module__", None) == module.__name__


def hints_of(annotated: Any) -> dict[str, Any]:
    """Annotations by name, with `return`; nothing where they cannot be read."""
    try:
        return typing.get_type_hints(annotated)
    except Exception:  # names that only a type checker knows
        return {}
