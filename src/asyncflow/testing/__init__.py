"""The public test kit: a suite that tells whether a backend keeps its contract, and stand-ins for batch systems.

All is loaded when it is first used: workers import `asyncflow.testing.bodies`, and need no pytest for it. Only the
suite needs pytest.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from asyncflow.testing.conformance import BackendConformance
    from asyncflow.testing.queue import FakeJob, FakeQueue
    from asyncflow.testing.stand_in import fake_queue

__all__ = ["BackendConformance", "FakeJob", "FakeQueue", "fake_queue"]

_HOMES = {"BackendConformance": "conformance", "FakeJob": "queue", "FakeQueue": "queue", "fake_queue": "stand_in"}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'asyncflow.testing' has no attribute {name!r}")
    module = f"asyncflow.testing.{_HOMES[name]}"
    if name == "BackendConformance":
        import pytest

        pytest.register_assert_rewrite(module)  # failures show what was compared
    return getattr(import_module(module), name)
