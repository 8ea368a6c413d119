"""What pickle refers to by name and nobody else can find, pickled by value; the only door to cloudpickle."""

import io
import types
from collections.abc import Callable
from typing import Any

import cloudpickle

_reduce = cloudpickle.Pickler.dispatch_table[types.CodeType]

#: What cloudpickle (from 3.1.3 on) writes in place of the name of a file.
_NOWHERE = "<dynamic-code>"


def dump_by_value(value: Any, protocol: int = 5, buffer_callback: Callable[[Any], Any] | None = None) -> bytes:
    """`value` pickled; functions and classes of ``__main__`` or inside functions go with what they are made of."""
    with io.BytesIO() as file:
        ValuePickler(file, protocol=protocol, buffer_callback=buffer_callback).dump(value)
        return file.getvalue()


def _reduce_code(code: types.CodeType) -> Any:
    """With the name of its file, or tracebacks from workers would show no line of the user's."""
    make, parts, *rest = _reduce(code)
    return make, tuple(code.co_filename if part == _NOWHERE else part for part in parts), *rest


class ValuePickler(cloudpickle.Pickler):  # type: ignore[misc]
    """Cloudpickle's, which knows where code comes from."""

    dispatch_table = cloudpickle.Pickler.dispatch_table.new_child({types.CodeType: _reduce_code})
