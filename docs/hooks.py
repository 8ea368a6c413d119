"""What the pages show of the code itself: tables of keys and options, the error tree, the commands' help.

A line ``<!-- generated: NAME -->`` of a page is replaced by what the function ``NAME`` of `PARTS` returns. Each build
also writes ``config.schema.json`` and ``pipeline.schema.json``, JSON schemas of the two kinds of files, for editors.
"""

import dataclasses
import json
import re
import types
import typing
from collections.abc import Mapping
from pathlib import Path

from pydantic import BeforeValidator, WithJsonSchema

from asyncflow import TaskOptions, cli, clusters, config, errors, events
from asyncflow.options import COMMAND_ONLY, DEFAULTABLE
from asyncflow.pipelines import expressions, models, source
from asyncflow.pipelines.schema import json_schema as pipeline_schema
from asyncflow.units import seconds, size

SCHEMAS = {"config.schema.json": config.json_schema, "pipeline.schema.json": pipeline_schema}
ROOT = Path(__file__).parent.parent
MARKER = re.compile(r"<!-- generated: ([^>]*) -->")

_NAMES = {bool: "true or false", int: "whole number", float: "number", str: "text", type(None): "null"}
_NAMES |= {type: "exception type", tuple: "tuple of them", typing.Any: "anything", list: "list", dict: "mapping"}
_HEADINGS = {
    models.PipelineModel: "The file",
    models.Param: "A parameter",
    models.TaskModel: "A task",
    models.Repeat: "`repeat:`",
}
_JSON_NAMES = {"number": "number", "string": "text", "null": "null"}
_BOUNDS = {"ge": "at least {}", "gt": "more than {}", "le": "at most {}"}


def on_pre_build(**_):
    for name, schema in SCHEMAS.items():
        path, text = Path(__file__).with_name(name), json.dumps(schema(), indent=2) + "\n"
        if not path.exists() or path.read_text() != text:  # or `mkdocs serve` would build for ever
            path.write_text(text)


def on_page_markdown(markdown, **_):
    return MARKER.sub(lambda found: PARTS[found[1]](), markdown)


def kinds():
    """Every cluster kind with its keys."""
    return "\n\n".join(_kind(name, clusters.load(name)) for name in clusters.kinds())


def options():
    """Every option of a task."""
    fields = TaskOptions.model_fields
    return _table(
        ["option", "what it takes", "default", "meaning", "in `defaults:`"],
        [[*_row(name, field), "yes" if name in DEFAULTABLE else ""] for name, field in fields.items()],
    )


def defaults():
    """The options that a configuration may set for every task."""
    return ", ".join(f"`{name}`" for name in sorted(DEFAULTABLE))


def command_options():
    """The options that only commands have."""
    return ", ".join(f"`{name}`" for name in sorted(COMMAND_ONLY))


def kinds_of_events():
    """Every kind of event, what it tells, and its fields beside those that all have."""
    found = [each for part in (events.calls, events.places) for each in vars(part).values() if isinstance(each, type)]
    shown = [each for each in found if issubclass(each, events.Event) and each.kind]
    return _table(
        ["event", "what happened", "what else it says"],
        [[f"`{each.__name__}`", _first_line(each), _own_fields(each)] for each in shown],
    )


def pipeline():
    """Every key of a pipeline file."""
    return "\n\n".join(f"### {title}\n\n{_keys(model)}" for model, title in _HEADINGS.items())


def pipeline_grammar():
    """The grammar that the module of references opens with."""
    grammar = (expressions.__doc__ or "").split("::\n\n")[1].split("\n\n")[0]
    return f"```text\n{_dedented(grammar)}\n```"


def pipeline_places():
    """Which roots mean something in which part of a task, beside those that do everywhere."""
    early = ["params", "env", "run"]
    rows = []
    for part, roots in source.PARTS.items():
        named = early if part == "options" else [*early, "tasks"]
        known = [root for root in expressions.ROOTS if root in roots or root in named]
        rows.append([f"`{part}`", ", ".join(f"`{root}`" for root in known)])
    return _table(["in", "may stand"], rows)


def error_tree():
    """The tree that `asyncflow.errors` opens with."""
    tree = (errors.__doc__ or "").split("::\n\n")[1].split("\n\n")[0]
    return f"```text\n{_dedented(tree)}\n```"


def command_line():
    """The help of every command."""
    group = cli.main
    with group.make_context("asyncflow", [], resilient_parsing=True) as context:
        names = group.list_commands(context)
        helps = [(name, _help(group.get_command(context, name), name, context)) for name in names]
    return "\n\n".join(f"## asyncflow {name}\n\n```text\n{text}\n```" for name, text in helps)


def changelog():
    """The changelog, without its title."""
    return (ROOT / "CHANGELOG.md").read_text().partition("\n")[2]


PARTS = {
    "kinds": kinds,
    "options": options,
    "defaults": defaults,
    "command options": command_options,
    "errors": error_tree,
    "pipeline": pipeline,
    "pipeline grammar": pipeline_grammar,
    "pipeline places": pipeline_places,
    "events": kinds_of_events,
    "command line": command_line,
    "changelog": changelog,
}


def _first_line(kind):
    return _plain((kind.__doc__ or "").split("\n\n")[0])


def _own_fields(kind):
    common = {"time", "id", "name", "workflow_id"} if issubclass(kind, events.TaskEvent) else {"time"}
    names = [each.name for each in dataclasses.fields(kind) if each.name not in common]
    if "started" in names:
        names.insert(names.index("started") + 1, "duration")
    return ", ".join(f"`{name}`" for name in names)


def _keys(model):
    about = _plain((model.__doc__ or "").split("\n\n")[0])
    rows = [_row(name, field) for name, field in model.model_fields.items()]
    rows = [[name, _without_null(takes), *others] for name, takes, *others in rows]  # it is left away instead
    return f"{about}\n\n{_table(['key', 'what it takes', 'default', 'meaning'], rows)}"


def _without_null(takes):
    words = takes.removesuffix(" or null")
    return _listed(words.rsplit(", ", 1)) if words != takes and " or " not in words else words


def _kind(name, module):
    about = " ".join((module.__doc__ or "").split("\n\n")[0].split())
    rows = [_row(key, field) for key, field in module.Config.model_fields.items()]
    return f"### kind: {name}\n\n{about}\n\n{_table(['key', 'what it takes', 'default', 'meaning'], rows)}"


def _row(name, field):
    return [f"`{name}`", _what(field), _default(field), _plain(field.description or "")]


def _what(field):
    """What may be written for `field`, in words, with its bounds."""
    if field is TaskOptions.model_fields["after"]:
        return "futures"  # which its type does not say
    takes = _shown(field.annotation, field.metadata)
    bounds = [
        text.format(f"{getattr(each, name):g}")
        for each in _all_metadata(field)
        for name, text in _BOUNDS.items()
        if getattr(each, name, None) is not None
    ]
    return ", ".join([takes, *bounds])


def _shown(annotation, metadata=()):
    return next(filter(None, map(_by_validator, metadata)), None) or _by_type(annotation)


def _by_validator(validator):
    """What is taken where text is converted on its way in; None for anything else."""
    if isinstance(validator, BeforeValidator):
        return {seconds: "duration", size: "size"}.get(validator.func)
    if isinstance(validator, WithJsonSchema):
        return _listed([_JSON_NAMES[choice["type"]] for choice in validator.json_schema["anyOf"]])
    return None


def _by_type(annotation):
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return _shown(arguments[0], arguments[1:])
    if origin in {typing.Union, types.UnionType}:
        return _listed([_shown(each) for each in arguments])
    if origin is typing.Literal:
        return _listed([f"`{value}`" for value in arguments])
    if origin in {list, dict, Mapping}:
        return _container(origin, *arguments)
    if annotation in _HEADINGS:
        return f"see {_HEADINGS[annotation]}"
    return _NAMES.get(origin or annotation, "function" if origin else "futures")


def _container(origin, first, values=None):
    if origin is list:
        return "list" if first is typing.Any else f"list of {_shown(first)}"
    if origin is dict:
        return "mapping" if values is typing.Any else f"mapping of names, {_shown(values)}"
    return f"mapping of {_shown(first)} to {_shown(values)}"


def _all_metadata(field):
    """Metadata of a field, and of what stands inside ``Annotated[...] | None``."""
    found = list(field.metadata)
    for argument in typing.get_args(field.annotation):
        if typing.get_origin(argument) is typing.Annotated:
            found += typing.get_args(argument)[1:]
    return [part for each in found for part in (getattr(each, "metadata", None) or [each])]


def _default(field):
    if field.is_required():
        return "must be given"
    value = field.get_default(call_default_factory=True)
    if value is None or (isinstance(value, (str, tuple, list, dict)) and not value):
        return ""
    return f"`{json.dumps(value) if isinstance(value, bool) else value}`"


def _listed(words):
    """``a, b or c``; null last, as it is the least."""
    words = sorted(dict.fromkeys(words), key=lambda word: word == "null")
    return ", ".join(words[:-1]) + " or " + words[-1] if len(words) > 1 else words[0]


def _table(head, rows):
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def _plain(text):
    return " ".join(text.replace("``", "`").split())


def _dedented(text):
    return "\n".join(line.removeprefix("    ") for line in text.splitlines())


def _help(command, name, context):
    with command.make_context(name, [], parent=context, resilient_parsing=True, terminal_width=80) as own:
        return command.get_help(own)
