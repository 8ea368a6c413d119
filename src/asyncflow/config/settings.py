"""What a configuration says, typed: which cluster, and which options every task has."""

import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from asyncflow import clusters
from asyncflow.config.source import Document, Place, read_file, read_mapping
from asyncflow.config.validate import shown, unknown_key, validated
from asyncflow.errors import ConfigError
from asyncflow.options import DEFAULTABLE, TaskOptions
from asyncflow.queues.settings import ClusterSettings
from asyncflow.suggest import one_of

#: The sections of a file.
SECTIONS = ("cluster", "defaults")


@dataclass(frozen=True)
class Settings:
    """A configuration that has no problems.

    Attributes
    ----------
    cluster : ClusterSettings or None
        The ``Config`` of the kind; None where the configuration has no ``cluster:``.
    kind : str
        The name of the kind, ``local`` where there is no ``cluster:``.
    defaults : mapping of str to Any
        Options of every task, checked; only those that were given.
    source : str or None
        The file they came from, None for a mapping or nothing.
    written : mapping of tuple to str
        What stood where references to the environment were expanded, by place.
    """

    cluster: ClusterSettings | None = None
    kind: str = "local"
    defaults: Mapping[str, Any] = field(default_factory=dict)
    source: str | None = None
    written: Mapping[Place, str] = field(default_factory=dict)

    def as_data(self) -> dict[str, Any]:
        """What was given, as plain data, for the record of a run: without what came from the environment."""
        cluster = self.cluster.model_dump(mode="json", exclude_unset=True) if self.cluster is not None else {}
        data = {"source": self.source, "cluster": {"kind": self.kind, **cluster}, "defaults": dict(self.defaults)}
        for place, text in self.written.items():
            _put(data, place, text)
        return data


def environment_config(environ: Mapping[str, str] = os.environ) -> str | None:
    """The file that ``ASYNCFLOW_CONFIG`` names, None where it is unset or empty."""
    return environ.get("ASYNCFLOW_CONFIG") or None


def load_settings(
    config: str | os.PathLike[str] | Mapping[str, Any] | None, environ: Mapping[str, str] = os.environ
) -> Settings:
    """The settings of a YAML file, of a mapping with the same content, or of nothing at all.

    References to the environment (``${NAME}``, ``${NAME:-default}``) are taken from `environ`.

    Raises
    ------
    ConfigError
        Listing every problem, each with its file, line, dotted path and value.
    TypeError
        When `config` is neither.
    """
    if config is None:
        return Settings()
    if isinstance(config, Mapping):
        document = read_mapping(config, environ)
    elif isinstance(config, (str, os.PathLike)):
        document = read_file(os.fspath(config), environ)
    else:
        raise TypeError(f"config must be the path of a YAML file, a mapping or None, not {config!r}")
    settings = _settings(document)
    if document.problems:
        raise ConfigError(sorted(document.problems, key=lambda problem: problem.line or 0))
    return settings


def _settings(document: Document) -> Settings:
    sections = _mapping(document, document.data, ())
    for key in sections:
        if key not in SECTIONS:
            document.complain(unknown_key(key, SECTIONS), (key,))
    kind, cluster = "local", None
    if sections.get("cluster") is not None:
        kind, cluster = _cluster(document, _mapping(document, sections["cluster"], ("cluster",)))
    defaults = _defaults(document, _mapping(document, sections.get("defaults"), ("defaults",)))
    return Settings(cluster, kind, defaults, document.source, document.written)


def _cluster(document: Document, data: dict[str, Any]) -> tuple[str, ClusterSettings | None]:
    """The kind, and what its own ``Config`` makes of the other keys."""
    if not data:  # told already, or nothing below the key
        return "local", None
    kind = data.get("kind")
    if ("cluster", "kind") in document.unresolved:
        return "", None
    if not isinstance(kind, str):
        known = one_of(clusters.kinds())
        message = f"is missing; {known}" if kind is None else f"must be the name of a kind, not {shown(kind)}; {known}"
        document.complain(message, ("cluster", "kind"))
        return "", None
    try:
        module = clusters.load(kind)
    except ValueError as error:
        document.complain(str(error), ("cluster", "kind"))
        return kind, None
    rest = {key: value for key, value in data.items() if key != "kind"}
    return kind, validated(module.Config, rest, document, ("cluster",))


def _defaults(document: Document, data: dict[str, Any]) -> Mapping[str, Any]:
    for key in data:
        if key in TaskOptions.model_fields and key not in DEFAULTABLE:
            document.complain(f"{key!r} belongs to one task; give it in the script", ("defaults", key))
        elif key not in DEFAULTABLE:
            document.complain(unknown_key(key, DEFAULTABLE), ("defaults", key))
    given = {key: value for key, value in data.items() if key in DEFAULTABLE}
    options = validated(TaskOptions, given, document, ("defaults",))
    return options.model_dump(exclude_unset=True) if options else {}


def _mapping(document: Document, data: Any, place: tuple[str, ...]) -> dict[str, Any]:
    """`data` if it is a mapping; a key with nothing below it is an empty one."""
    if isinstance(data, dict):
        return data
    if data is not None:
        document.complain(f"must be a mapping of keys to values, not {shown(data)}", place)
    return {}


def _put(data: Any, place: Place, text: str) -> None:
    """Put `text` at `place` of `data`; where there is no such place, it was not kept at all."""
    *outer, last = place
    with suppress(KeyError, IndexError, TypeError):
        for part in outer:
            data = data[part]
        data[last] = text if data[last] is not None else None
