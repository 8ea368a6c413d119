"""A configuration as plain values, together with the line that each came from."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from asyncflow.errors import ConfigError, Problem
from asyncflow.suggest import did_you_mean

Place = tuple[str | int, ...]

_MERGE = "tag:yaml.org,2002:merge"
_REFERENCE = re.compile(r"(\$?)\$\{([^}]*)\}")
_NAME_AND_DEFAULT = re.compile(r"([A-Za-z_]\w*)(?::-(.*))?", re.DOTALL)


@dataclass
class Document:
    """One configuration on its way to settings.

    Attributes
    ----------
    source : str or None
        The file as it was named; None for a mapping.
    data : Any
        Dictionaries, lists and scalars, with references to the environment expanded.
    lines : dict of tuple to int
        The line of each place, counted from 1; empty for a mapping.
    columns : dict of tuple to int
        The same of columns, where somebody wants them.
    references : set of tuple
        Places whose whole text came from the environment: there ``2`` may stand for a number.
    unresolved : set of tuple
        Places with a reference that could not be expanded; what else is wrong there only follows from it.
    written : dict of tuple to str
        What stands at places with references, as it was written.
    problems : list of Problem
        What is wrong so far.
    """

    source: str | None = None
    data: Any = None
    lines: dict[Place, int] = field(default_factory=dict)
    columns: dict[Place, int] = field(default_factory=dict)
    references: set[Place] = field(default_factory=set)
    unresolved: set[Place] = field(default_factory=set)
    written: dict[Place, str] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    @property
    def directory(self) -> str:
        """Where relative paths begin."""
        return str(Path(self.source).expanduser().absolute().parent) if self.source else str(Path.cwd())

    def complain(self, message: str, place: Place = (), line: int | None = None, column: int | None = None) -> None:
        """Add a problem at `place`; one that is not in the file gets the line of what surrounds it."""
        known = place
        while known and known not in self.lines:
            known = known[:-1]
        dotted = ".".join(map(str, place))
        column = self.columns.get(known) if line is None else column if self.columns else None
        self.problems.append(Problem(message, dotted, self.source, line or self.lines.get(known), column))


def read_file(path: str, environ: Mapping[str, str] | None) -> Document:
    """The YAML file at `path`.

    Parameters
    ----------
    environ : mapping or None
        What references are expanded from; None to leave all text as it is, and note columns as well.

    Raises
    ------
    ConfigError
        When there is no such file or it does not parse; everything else becomes a problem of the document.
    """
    document = Document(source=path)
    # One loader for parsing and for giving scalars their types, as yaml.safe_load would.
    try:
        loader = yaml.SafeLoader(_bytes_of(path))
        root = loader.get_single_node()
        if root is not None:
            document.lines[()] = root.start_mark.line + 1
            if environ is None:
                document.columns[()] = root.start_mark.column + 1
            document.data = _Reader(document, environ, loader).value(root, ())
    except yaml.YAMLError as error:
        problem = _syntax_problem(error, path)
        if environ is not None:
            problem.column = None
        raise ConfigError([problem]) from None
    return document


def read_mapping(mapping: Mapping[Any, Any], environ: Mapping[str, str]) -> Document:
    """The same from a mapping of Python, which means what the file of that content would mean."""
    document = Document()
    document.data = _plain(document, mapping, (), environ)
    return document


def resolve(text: str) -> Any:
    """`text` with the type that YAML gives it when it stands without quotes."""
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return text


class _Reader:
    """From YAML nodes to plain values."""

    def __init__(self, document: Document, environ: Mapping[str, str] | None, loader: yaml.SafeLoader) -> None:
        self.document = document
        self.environ = environ
        self.loader = loader
        self.inside: list[yaml.Node] = []

    def value(self, node: yaml.Node, place: Place) -> Any:
        if any(node is outer for outer in self.inside):
            self.document.complain("refers to itself; write it out", place)
            self.document.unresolved.add(place)
            return None
        self.inside.append(node)
        try:
            if isinstance(node, yaml.MappingNode):
                return self.mapping(node, place)
            if isinstance(node, yaml.SequenceNode):
                return list(self.sequence(node, place))
            return self.scalar(node, place)
        finally:
            self.inside.pop()

    def mapping(self, node: yaml.MappingNode, place: Place) -> dict[str, Any]:
        merged: dict[str, Any] = {}
        own: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if key_node.tag == _MERGE:
                merged = {**self.merged(value_node, place), **merged}
                continue
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode):
                self.document.complain("a key must be text", place, line)
                continue
            key, inner = key_node.value, (*place, key_node.value)
            if key in own:
                first = self.document.lines[inner]
                column = key_node.start_mark.column + 1
                self.document.complain(f"{key!r} is given twice, first on line {first}; keep one", inner, line, column)
                continue
            self.note(key_node, inner)
            own[key] = self.value(value_node, inner)
        return {**merged, **own}

    def merged(self, node: yaml.Node, place: Place) -> dict[str, Any]:
        """What ``<<: *anchor`` brings in; in a list the first wins, and own keys win over all."""
        nodes = node.value if isinstance(node, yaml.SequenceNode) else [node]
        values = [self.value(each, place) for each in nodes]
        if not all(isinstance(value, dict) for value in values):
            self.document.complain("<<: takes a mapping, or a list of mappings", place, node.start_mark.line + 1)
            return {}
        return {key: value for mapping in reversed(values) for key, value in mapping.items()}

    def sequence(self, node: yaml.SequenceNode, place: Place) -> Iterator[Any]:
        for index, item in enumerate(node.value):
            self.note(item, (*place, index))
            yield self.value(item, (*place, index))

    def note(self, node: yaml.Node, place: Place) -> None:
        self.document.lines[place] = node.start_mark.line + 1
        if self.environ is None:
            self.document.columns[place] = node.start_mark.column + 1

    def scalar(self, node: yaml.Node, place: Place) -> Any:
        try:
            value = self.loader.construct_object(node)
        except ValueError as error:  # 2026-13-45 looks like a date
            self.document.complain(f"{node.value!r} cannot be read ({error}); put it in quotes if it is text", place)
            return node.value
        if self.environ is None or not isinstance(value, str):
            return value
        return _expand(self.document, value, place, self.environ)


def _plain(document: Document, value: Any, place: Place, environ: Mapping[str, str]) -> Any:
    if isinstance(value, Mapping):
        if wrong := [key for key in value if not isinstance(key, str)]:
            document.complain(f"the key {wrong[0]!r} must be text", place)
        return {str(key): _plain(document, item, (*place, str(key)), environ) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(document, item, (*place, index), environ) for index, item in enumerate(value)]
    return _expand(document, value, place, environ) if isinstance(value, str) else value


def _expand(document: Document, text: str, place: Place, environ: Mapping[str, str]) -> str | None:
    """`text` with ``${NAME}`` and ``${NAME:-default}`` replaced; ``$${`` stands for ``${``."""

    def replacement(match: re.Match[str]) -> str:
        escape, inner = match.groups()
        if escape:
            return match[0][1:]
        parts = _NAME_AND_DEFAULT.fullmatch(inner)
        if parts is None or "${" in inner:
            document.unresolved.add(place)
            document.complain(f"{match[0]!r} is no reference; write ${{NAME}} or ${{NAME:-default}}", place)
            return match[0]
        name, default = parts.groups()
        # As in a shell, :- also stands in for a variable that is set and empty.
        value = environ.get(name, "") or default if default is not None else environ.get(name)
        if value is None:
            message = f"the environment variable {name!r} is not set; set it, or write ${{{name}:-default}}"
            document.unresolved.add(place)
            document.complain(message, place)
            return match[0]
        return value

    whole = _REFERENCE.fullmatch(text)
    expanded = _REFERENCE.sub(replacement, text)
    if expanded != text:
        document.written[place] = text
    if whole and not whole[1] and expanded != text:
        document.references.add(place)
        return expanded or None  # nothing where a value stands is null in YAML
    return expanded


def _bytes_of(path: str) -> bytes:
    file = Path(path).expanduser()
    try:
        return file.read_bytes()
    except FileNotFoundError:
        near = sorted(other.name for other in file.parent.glob("*.y*ml"))
        hint = did_you_mean(file.name, near) or "give the path of a YAML file to config= or --config"
        message = f"there is no such file ({file.absolute()}); {hint}"
    except IsADirectoryError:
        message = "is a directory; give the path of a YAML file"
    except OSError as error:
        message = f"cannot be read: {error.strerror}; give the path of a YAML file that you may read"
    raise ConfigError([Problem(message, source=path)])


def _syntax_problem(error: yaml.YAMLError, path: str) -> Problem:
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    if mark is None:  # bytes that are no text
        return Problem("is not a text file in UTF-8; save it as YAML text", source=path)
    told = str(getattr(error, "problem", None) or error)
    hint = "indent with spaces, not tabs" if "\\t" in told else "see to the indentation, colons and quotes near here"
    return Problem(f"does not parse: {told}; {hint}", source=path, line=mark.line + 1, column=mark.column + 1)
