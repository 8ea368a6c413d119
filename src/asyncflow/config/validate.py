"""Plain values to a typed model, and pydantic's findings to sentences with a place and a remedy."""

from collections.abc import Iterable, Iterator, Mapping
from types import UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from asyncflow.config.source import Document, Place, resolve
from asyncflow.suggest import did_you_mean, hint

M = TypeVar("M", bound=BaseModel)

#: What pydantic wanted, in words that go with "must be"; several for one place are joined with "or".
_WANTED = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "string_type": "text (put it in quotes)",
    "string_too_short": "text that is not empty",
    "dict_type": "a mapping of keys to values",
    "mapping_type": "a mapping of keys to values",
    "model_type": "a mapping of keys to values",
    "list_type": "a list",
    "tuple_type": "a list",
    "literal_error": "{expected}",
    "greater_than": "more than {gt:g}",
    "greater_than_equal": "at least {ge:g}",
    "less_than": "less than {lt:g}",
    "less_than_equal": "at most {le:g}",
}

#: Where the text of an environment variable stands and one of these was wanted, it is read as YAML reads it.
_NOT_TEXT = frozenset({"int_type", "float_type", "bool_type"})


def validated(model: type[M], data: dict[str, Any], document: Document, place: Place) -> M | None:
    """`data`, found at `place` of `document`, as a `model`; None when there were problems, which `document` gets.

    Nothing is converted silently (``yes`` is no number, and neither is ``"2"``), except that the text of an
    environment variable may stand for a number or a truth value.
    """
    try:
        return model.model_validate(data, strict=True, context={"directory": document.directory})
    except ValidationError as error:
        findings = error.errors()
    if _read_references(data, findings, document, place):
        return validated(model, data, document, place)
    grouped: dict[Place, list[Any]] = {}
    for finding in findings:
        grouped.setdefault(_place_in(data, finding), []).append(finding)
    for inner, group in grouped.items():
        # Of a union the branch that got furthest is meant: what is wrong inside it is worth telling, the rest not.
        deeper = any(other[: len(inner)] == inner and other != inner for other in grouped)
        if not deeper and (*place, *inner) not in document.unresolved:
            document.complain(_sentence(model, inner, group), (*place, *inner))
    return None


def unknown_key(key: str, known: Iterable[str]) -> str:
    """What is wrong with a key that is none of `known`."""
    return f"unknown key {key!r}; {hint(key, sorted(known))}"


def shown(value: object) -> str:
    """`value` as the file spells it, at a length that fits a message."""
    text = str(value).lower() if isinstance(value, bool) else "null" if value is None else repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _read_references(data: Any, findings: list[Any], document: Document, place: Place) -> bool:
    """Turn text from the environment into what was wanted there; whether anything changed."""
    changed = False
    for finding in findings:
        inner = _place_in(data, finding)
        if (*place, *inner) not in document.references:
            continue
        *outer, last = inner
        container = data
        for part in outer:
            container = container[part]
        text = container[last]
        if finding["type"] in _NOT_TEXT and isinstance(text, str):
            value = resolve(text)
            if value is None or isinstance(value, (int, float)):
                container[last], changed = value, True
        elif finding["type"] == "string_type" and text is None:
            container[last], changed = "", True
    return changed


def _place_in(data: Any, finding: Any) -> Place:
    """Where a finding is in `data`: pydantic's own location names branches of unions as well."""
    place: list[str | int] = []
    for index, part in enumerate(finding["loc"]):
        inside = part in data if isinstance(data, Mapping) else isinstance(data, list) and isinstance(part, int)
        if inside:
            place.append(part)
            data = data[part]
        elif index == len(finding["loc"]) - 1 and isinstance(data, Mapping) and _about_a_key(finding):
            place.append(part)
    return tuple(place)


def _about_a_key(finding: Any) -> bool:
    """Whether the last part names a key that is not there (and no branch of a union)."""
    return finding["type"] == "missing" or (finding["type"] == "value_error" and finding["input"] is None)


def _sentence(model: type[BaseModel], place: Place, group: list[Any]) -> str:
    finding = group[0]
    if finding["type"] == "extra_forbidden":
        return _outdated(model, place) or unknown_key(str(place[-1]), _keys_at(model, place[:-1]))
    if finding["type"] == "missing":
        return f"is missing; give {place[-1]}:"
    wanted = [_WANTED[each["type"]].format(**each.get("ctx", {})) for each in group if each["type"] in _WANTED]
    if wanted:
        return f"must be {' or '.join(dict.fromkeys(wanted))}, not {shown(finding['input'])}{_nearest(finding)}"
    message = finding["msg"].removeprefix("Value error, ")
    if finding["type"] == "value_error":
        return str(message)
    return f"{message[0].lower()}{message[1:]}, not {shown(finding['input'])}"


def _nearest(finding: Any) -> str:
    if finding["type"] != "literal_error" or not isinstance(finding["input"], str):
        return ""
    words = finding["ctx"]["expected"].replace(" or ", ", ").split(", ")
    nearest = did_you_mean(finding["input"], [word.strip("'") for word in words])
    return f"; {nearest}" if nearest else ""


def _outdated(model: type[BaseModel], place: Place) -> str | None:
    """What to write instead of a key that the model knows to have been valid once, or elsewhere."""
    key = str(place[-1])
    found = [each.instead[key] for each in _models_at(model, place[:-1]) if key in getattr(each, "instead", {})]
    return f"{key!r} is no key of this kind; {found[0]}" if found else None


def _keys_at(model: type[BaseModel], place: Place) -> set[str]:
    """The keys that are valid at `place` of `model`."""
    return {name for each in _models_at(model, place) for name in each.model_fields}


def _models_at(model: type[BaseModel], place: Place) -> list[Any]:
    annotations: list[Any] = [model]
    for part in place:
        annotations = [inner for annotation in annotations for inner in _inside(annotation, part)]
    return [each for annotation in annotations for each in _alternatives(annotation) if _is_model(each)]


def _inside(annotation: Any, part: str | int) -> Iterator[Any]:
    for each in _alternatives(annotation):
        if _is_model(each):
            if part in each.model_fields:
                yield each.model_fields[part].annotation
        elif get_args(each):  # the values of a mapping, the items of a list
            yield get_args(each)[-1]


def _alternatives(annotation: Any) -> Iterator[Any]:
    """`annotation` without Annotated, and a union's branches one by one."""
    if get_origin(annotation) is Annotated:
        yield from _alternatives(get_args(annotation)[0])
    elif get_origin(annotation) in {Union, UnionType}:
        for branch in get_args(annotation):
            yield from _alternatives(branch)
    else:
        yield annotation


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)
