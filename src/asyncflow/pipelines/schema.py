"""The JSON schema of a pipeline file, for editors."""

from collections.abc import Iterable
from typing import Any

from asyncflow.config.schema import REFERENCE, FileSchema, with_plain_bounds
from asyncflow.options import DEFAULTABLE, TaskOptions
from asyncflow.pipelines import conditions, items
from asyncflow.pipelines.models import PipelineModel

#: Options that are keys of a task themselves.
_ELSEWHERE = frozenset({"name", "after", "shell"})

#: Which of the three things that a task may be a key goes with.
_FITTING = {
    "call": ("args",),
    "run": ("shell", "result", "needs", "makes"),
    "pipeline": ("params",),
}


def json_schema() -> dict[str, Any]:
    """The schema of a whole file. Where another type is wanted, a reference to a value of that type may stand as well.

    Whether a reference means something is not for a schema to say: ``asyncflow plan`` does.
    """
    schema = PipelineModel.model_json_schema()
    options = TaskOptions.model_json_schema(schema_generator=FileSchema)
    definitions = {**schema["$defs"], **options.pop("$defs", {}), **_forms()}
    definitions["Options"] = _options(options, options["properties"].keys() - _ELSEWHERE)
    definitions["Defaults"] = _options(options, DEFAULTABLE - _ELSEWHERE)
    _refine_task(definitions["TaskModel"])
    definitions["Repeat"]["properties"]["until"] |= _ref("Condition")
    for key in ("params", "tasks", "outputs"):
        schema["properties"][key]["additionalProperties"] = False  # a name that is none
    _refine_params(schema["properties"]["params"])
    schema["properties"]["tasks"]["minProperties"] = 1
    schema["properties"]["defaults"] = _described(schema, "defaults", _ref("Defaults"))
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "asyncflow pipeline"}
    return {**schema, **head, "$defs": _plain(with_plain_bounds(definitions))}


def _forms() -> dict[str, Any]:
    """What ``foreach`` and conditions look like."""
    several = {"type": "object", "minProperties": 1, "additionalProperties": _ref("Items")}
    number = {"anyOf": [{"type": "integer"}, REFERENCE]}
    text = {"type": "string"}
    inner: dict[str, Any] = {
        "range": {"anyOf": [number, {"type": "array", "items": number, "minItems": 1, "maxItems": 3}]},
        "glob": {"anyOf": [text, {"type": "array", "items": text, "minItems": 1}]},
        "product": several,
        "zip": several,
    }
    forms = [_only(form, inner[form]) for form in items.FORMS]
    return {
        "Items": {"anyOf": [{"type": "array"}, REFERENCE, *forms]},
        "Condition": {"anyOf": [{"type": ["boolean", "string", "number", "null"]}, *_conditions()]},
    }


def _conditions() -> Iterable[dict[str, Any]]:
    for form, number in conditions.FORMS.items():
        if number == 1:
            yield _only(form, _ref("Condition"))
        elif number is not None:  # things that are compared, of any kind
            yield _only(form, {"type": "array", "minItems": number, "maxItems": number})
        else:
            yield _only(form, {"type": "array", "items": _ref("Condition")})


def _only(key: str, value: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": {key: value}, "required": [key], "additionalProperties": False}


def _options(options: dict[str, Any], names: Iterable[str]) -> dict[str, Any]:
    known = set(names)
    properties = {name: each for name, each in options["properties"].items() if name in known}
    return {"type": "object", "properties": properties, "additionalProperties": False}


def _refine_task(task: dict[str, Any]) -> None:
    """What the types of its keys do not say: which go together, and what stands in some."""
    properties = task["properties"]
    properties["foreach"] = _described(task, "foreach", _ref("Items"))
    properties["when"] = _described(task, "when", _ref("Condition"))
    properties["options"] = _described(task, "options", _ref("Options"))
    names = properties["after"]
    properties["after"] = {"anyOf": [names["items"], {"type": "array", "items": names["items"]}]}
    properties["after"]["description"] = names["description"]
    properties["run"]["anyOf"][0]["minItems"] = 1
    task["oneOf"] = [{"required": [kind]} for kind in _FITTING]
    task["dependentRequired"] = {key: [kind] for kind, keys in _FITTING.items() for key in keys}
    is_text = {"properties": {"run": {"type": "string"}}, "required": ["run"]}
    task |= {"if": is_text, "then": {"required": ["shell"]}}


def _refine_params(params: dict[str, Any]) -> None:
    """A parameter may be written short, as its default."""
    short = {"type": ["null", "boolean", "number", "string", "array"]}
    for pattern, declared in params["patternProperties"].items():
        params["patternProperties"][pattern] = {"anyOf": [declared, short]}


def _described(model: dict[str, Any], key: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"description": model["properties"][key].get("description", ""), **schema}


def _ref(name: str) -> dict[str, Any]:
    return {"$ref": f"#/$defs/{name}"}


def _plain(schema: Any) -> Any:
    """Without the titles that pydantic makes of names, which editors would show."""
    if isinstance(schema, dict):
        return {key: _plain(value) for key, value in schema.items() if key != "title" or not isinstance(value, str)}
    return [_plain(item) for item in schema] if isinstance(schema, list) else schema
