"""What a pipeline has made, written for people and programs: one file for all, and one for each."""

import dataclasses
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from asyncflow.files import InputFile


def plain_data(value: Any) -> Any:
    """`value` as JSON and YAML have it: files by their paths, records as mappings; what else there is, as text."""
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    inner = _taken_apart(value)
    if isinstance(inner, Mapping):
        return {str(key): plain_data(item) for key, item in inner.items()}
    if isinstance(inner, list):
        return [plain_data(item) for item in inner]
    return str(inner) if inner is value else plain_data(inner)


def _taken_apart(value: Any) -> Any:
    """Records as mappings, everything like a list as one."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {each.name: getattr(value, each.name) for each in dataclasses.fields(value)}
    if hasattr(value, "_asdict"):
        return value._asdict()
    if hasattr(value, "tolist"):  # numbers and arrays of NumPy
        return value.tolist()
    return list(value) if isinstance(value, (tuple, set, frozenset)) else value


def as_text(outputs: Mapping[str, Any]) -> str:
    """All of them, as YAML."""
    return yaml.dump(plain_data(outputs), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)


class _Dumper(yaml.SafeDumper):
    """Writes text of several lines as lines."""

    def represent_text(self, text: str) -> yaml.ScalarNode:
        """Say how it is written; where YAML cannot do so, it is in quotes."""
        return self.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _Dumper.represent_text)


def write_outputs(directory: Path, outputs: Mapping[str, Any]) -> None:
    """Write ``outputs.yaml`` and ``outputs.json``, and each by itself below ``outputs/``; blocks.

    There, a file that was made is a copy with the name of the output, text is ``NAME.txt``, and anything else is
    ``NAME.json``.

    Raises
    ------
    OSError
        When they cannot be written.
    """
    (directory / "outputs.yaml").write_text(as_text(outputs), encoding="utf-8")
    (directory / "outputs.json").write_text(_json(outputs), encoding="utf-8")
    files = directory / "outputs"
    files.mkdir(mode=0o700, exist_ok=True)
    for name, value in outputs.items():
        if isinstance(value, InputFile):
            shutil.copyfile(value, files / f"{name}{Path(value.path).suffix}")
        elif isinstance(value, str):
            (files / f"{name}.txt").write_text(value, encoding="utf-8")
        else:
            (files / f"{name}.json").write_text(_json(value), encoding="utf-8")


def _json(value: Any) -> str:
    return json.dumps(plain_data(value), indent=1, ensure_ascii=False) + "\n"
