"""The public test kit: a suite that tells whether a backend keeps its contract. It needs pytest.

The suite is loaded when it is first used: workers import `asyncflow.testing.bodies`, and need no pytest for it.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from asyncflow.testing.conformance import BackendConformance

__all__ = ["BackendConformance"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'asyncflow.testing' has no attribute {name!r}")
    import pytest

    pytest.register_assert_rewrite("asyncflow.testing.conformance")  # failures show what was compared
    return getattr(import_module("asyncflow.testing.conformance"), name)
