"""Containers as users pass them to tasks."""

from dataclasses import dataclass, field
from typing import Any, NamedTuple


class Pair(NamedTuple):
    """A named tuple as users pass them."""

    left: Any
    right: Any


@dataclass
class Setup:
    """A dataclass as users pass them."""

    seed: int
    label: str = "x"
    parts: list = field(default_factory=list)
