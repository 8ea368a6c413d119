"""Small files that are replaced whole, and that tell when they are damaged."""

import hashlib
import json
import math
import os
import uuid
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

_CHECKSUM = "checksum"


def seal(facts: Mapping[str, Any]) -> dict[str, Any]:
    """`facts`, which are plain data, with a checksum of them as the last entry."""
    return {**facts, _CHECKSUM: _digest(facts)}


def unsealed(data: Any) -> dict[str, Any] | None:
    """The facts that were sealed; None where they are not what they were."""
    if not isinstance(data, dict):
        return None
    facts = {key: value for key, value in data.items() if key != _CHECKSUM}
    try:
        return facts if data.get(_CHECKSUM) == _digest(facts) else None
    except TypeError:  # keys of several types, which nothing that was sealed had
        return None


def replace(path: Path, text: str) -> None:
    """Put a file with `text` in the place of `path`: whoever reads sees the old one or the new one."""
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())  # or a crash of the machine might leave the new name with nothing below it
        temporary.replace(path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise


def plain(value: Any) -> Any:
    """`value` as mappings, lists, text, numbers, truth values and None; anything else as its text."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)  # JSON has no word for it
    return value if value is None or type(value) in {bool, int, float, str} else str(value)


def _digest(facts: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()[:16]
