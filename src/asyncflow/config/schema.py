"""The JSON schema of a configuration file, for editors."""

from typing import Any

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue, models_json_schema

from asyncflow import clusters
from asyncflow.options import DEFAULTABLE, TaskOptions
from asyncflow.units import seconds, size

#: Text that is a reference, and nothing else.
REFERENCE: JsonSchemaValue = {"type": "string", "pattern": r"^\$\{.+\}$"}


_BOUNDS = {"ge": "minimum", "gt": "exclusiveMinimum", "le": "maximum", "lt": "exclusiveMaximum"}


class FileSchema(GenerateJsonSchema):
    """Durations and sizes may be text, and so may whatever a reference to the environment stands for."""

    def function_before_schema(self, schema: Any) -> JsonSchemaValue:
        if schema["function"]["function"] in {seconds, size}:
            return {"type": ["number", "string"]}
        return super().function_before_schema(schema)

    def int_schema(self, schema: Any) -> JsonSchemaValue:
        return {"anyOf": [super().int_schema(schema), REFERENCE]}

    def float_schema(self, schema: Any) -> JsonSchemaValue:
        return {"anyOf": [super().float_schema(schema), REFERENCE]}

    def bool_schema(self, schema: Any) -> JsonSchemaValue:
        return {"anyOf": [super().bool_schema(schema), REFERENCE]}

    def handle_invalid_for_json_schema(self, schema: Any, error_info: str) -> JsonSchemaValue:
        return {}  # options of one task, which no file can hold and which are left out below


def json_schema() -> dict[str, Any]:
    """The schema of a whole file: ``cluster`` is any of the kinds there are, ``defaults`` what tasks may share."""
    configs = {kind: clusters.load(kind).Config for kind in clusters.kinds()}
    models: list[Any] = [(model, "validation") for model in (*configs.values(), TaskOptions)]
    references, schema = models_json_schema(models, schema_generator=FileSchema)
    definitions = schema["$defs"]

    def definition(model: type) -> tuple[dict[str, str], dict[str, Any]]:
        reference = references[model, "validation"]
        return reference, definitions[reference["$ref"].rpartition("/")[2]]

    for kind, model in configs.items():
        body = definition(model)[1]
        body["properties"] = {"kind": {"const": kind}, **body["properties"]}
        body["required"] = ["kind", *body.get("required", [])]
    defaults, body = definition(TaskOptions)
    body["properties"] = {name: body["properties"][name] for name in body["properties"] if name in DEFAULTABLE}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "asyncflow configuration",
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "cluster": {"anyOf": [definition(model)[0] for model in configs.values()] + [{"type": "null"}]},
            "defaults": {"anyOf": [defaults, {"type": "null"}]},
        },
        "$defs": with_plain_bounds(definitions),
    }


def with_plain_bounds(schema: Any) -> Any:
    """Bounds under JSON schema's own names: of a value that is read by a function first, pydantic keeps its own."""
    if isinstance(schema, dict):
        return {_BOUNDS.get(key, key): with_plain_bounds(value) for key, value in schema.items()}
    return [with_plain_bounds(item) for item in schema] if isinstance(schema, list) else schema
