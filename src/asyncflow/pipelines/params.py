"""Parameters of a pipeline: declared with types, given by name, checked before anything runs."""

from collections.abc import Callable, Mapping
from typing import Any

import yaml

from asyncflow.pipelines.making import is_future_or_late
from asyncflow.pipelines.models import Param
from asyncflow.suggest import hint

#: Types by the name that a file uses.
_TYPES: Mapping[str, type] = {"int": int, "float": float, "str": str, "bool": bool, "list": list, "dict": dict}

Complain = Callable[[str, str], None]


def type_of(param: Param) -> str | None:
    """What the parameter must be; None where that is not said."""
    if param.type is not None:
        return param.type
    return next((name for name, kind in _TYPES.items() if type(param.default) is kind), None)


def settle(
    declared: Mapping[str, Param], given: Mapping[str, Any], complain: Complain, *, has_default: Callable[[str], bool]
) -> dict[str, Any]:
    """The value of each parameter: what is given for it, else its default.

    Parameters
    ----------
    complain : callable
        Given the name of a parameter and what is wrong with it.
    has_default : callable
        Whether the file gives a parameter a default, be it null.
    """
    for name in given:
        if name not in declared:
            complain(name, f"there is no parameter {name!r}; {hint(name, list(declared))}")
    values: dict[str, Any] = {}
    for name, param in declared.items():
        if name in given:
            values[name] = _checked(name, param, given[name], complain)
        elif has_default(name):
            values[name] = _checked(name, param, param.default, complain)
        else:
            complain(name, f"the parameter {name!r} has no default and is not given; give --set {name}=VALUE")
    return values


def read_word(text: str, param: Param | None) -> Any:
    """What ``--set name=text`` means for `param`: text where text is wanted, else as YAML reads it."""
    if param is not None and type_of(param) == "str":
        return text
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return text


def _checked(name: str, param: Param, value: Any, complain: Complain) -> Any:
    wanted = type_of(param)
    if is_future_or_late(value):  # of an inner pipeline: nobody knows yet
        return value
    if wanted is not None and value is not None:
        if wanted == "float" and type(value) is int:
            value = float(value)
        if type(value) is not _TYPES[wanted]:
            complain(name, f"the parameter {name!r} must be {_article(wanted)}, not {value!r}")
            return value
    if param.choices is not None and value not in param.choices:
        complain(name, f"the parameter {name!r} must be one of {', '.join(map(repr, param.choices))}, not {value!r}")
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        if param.min is not None and value < param.min:
            complain(name, f"the parameter {name!r} must be at least {param.min:g}, not {value!r}")
        if param.max is not None and value > param.max:
            complain(name, f"the parameter {name!r} must be at most {param.max:g}, not {value!r}")
    return value


def _article(kind: str) -> str:
    words = {"int": "a whole number", "float": "a number", "str": "text", "bool": "true or false"}
    return words.get(kind, f"a {'mapping' if kind == 'dict' else kind}")
