"""Tokens: equal values have equal ones, in every process; different values have different ones.

The door to `dask.base.tokenize`, which answers for whatever defines ``__dask_tokenize__``, and for what has a
normalizer registered and cannot be taken apart. Everything else is taken apart here, as pickle would do it: dask's own
tokens of sets hang on the hash seed, those of classes in ``__main__`` on the process, and an array and its transpose
share one.
"""

import copyreg
import pathlib
import pickle
import sys
import types
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from hashlib import blake2b
from typing import Any, ClassVar

from asyncflow.errors import CheckpointError

#: Types whose repr says all, and which no other type's repr equals.
_ATOMS: frozenset[type] = frozenset({int, float, complex, bool, str, bytes, type(None), type(Ellipsis), range})

_CALLABLES = (types.FunctionType, types.BuiltinFunctionType, types.MethodType, types.ModuleType, type)

#: How often one look is taken: a pickle that differs from one time to the next is no ground for a token.
_LOOKS = 2

Describe = Callable[[Any], str]


class UnhashableError(Exception):
    """Something inside a value has no token; `value` is that."""

    def __init__(self, value: Any, reason: str = "") -> None:
        super().__init__(value, reason)
        self.value = value
        self.reason = reason


def token(
    value: Any, describe: Describe | None = None, exchange: Mapping[type, Callable[[Any], str]] | None = None
) -> str:
    """What stands for `value`: 32 hexadecimal digits.

    Sets and dicts are taken without their order, NaN equals NaN, and the same thing twice equals two equal things.

    Parameters
    ----------
    describe : callable
        Says in text what a function, method, class or module is; by default its module and name.
    exchange : mapping
        For objects of just these types: the text that stands for them.

    Raises
    ------
    CheckpointError
        When there is nothing to tell the value from others by: locks, generators, bare objects.
    """
    if type(value) in _ATOMS:
        return _hash(repr(value).encode()).hex()
    try:
        return look(value, describe or by_name, exchange or {})
    except UnhashableError as error:
        raise CheckpointError(f"{kind_of(value)} cannot be hashed{because(error, value)}") from None


def look(value: Any, describe: Describe, exchange: Mapping[type, Callable[[Any], str]]) -> str:
    """`token`, for those who name the value themselves.

    Raises
    ------
    UnhashableError
        With what it is that cannot be hashed.
    """
    try:
        walk = _Walk(describe, exchange)
        found = walk.digest(value)
        if walk.asked and any(_Walk(describe, exchange).digest(value) != found for _ in range(_LOOKS - 1)):
            raise UnhashableError(value, "its pickle differs from one time to the next")
    except RecursionError:
        raise UnhashableError(value, "it is nested too deeply") from None
    return found.hex()


def by_name(value: Any) -> str:
    """The module and qualified name of a function, class or module."""
    if isinstance(value, types.ModuleType):
        return value.__name__
    return f"{getattr(value, '__module__', None)}:{getattr(value, '__qualname__', type(value).__name__)}"


def kind_of(value: Any) -> str:
    """The type of `value` as errors show it: ``a _thread.lock``, ``an object``."""
    kind = type(value)
    prefix = "" if kind.__module__ in {"builtins", "__main__"} else f"{kind.__module__}."
    name = prefix + kind.__qualname__
    return f"{'an' if name[0].lower() in 'aeiou' else 'a'} {name}"


def because(error: UnhashableError, value: Any) -> str:
    """The rest of a sentence that said that `value` cannot be hashed."""
    holds = "" if error.value is value else f": it holds {kind_of(error.value)}"
    return f"{holds} ({error.reason})" if error.reason else holds


class _Walk:
    """One way through one value."""

    def __init__(self, describe: Describe, exchange: Mapping[type, Callable[[Any], str]]) -> None:
        self.asked = False  # whether anything had to say itself what it is made of
        self._describe = describe
        self._exchange = exchange
        self._depths: dict[int, int] = {}  # of what the walk is inside of
        self._known: dict[int, tuple[Any, bytes]] = {}  # by identity, each kept alive so that none gets its identity
        self._lowest = sys.maxsize  # the outermost value that what was just walked refers back to

    def digest(self, value: Any) -> bytes:
        kind = type(value)
        if kind in _ATOMS:
            return _hash(repr(value).encode())
        if (says := self._exchange.get(kind)) is not None:
            return _hash(b"exchanged", says(value).encode())
        if id(value) in self._known:
            return self._known[id(value)][1]
        depth = len(self._depths)
        if (above := self._depths.get(id(value))) is not None:
            self._lowest = min(self._lowest, above)
            return _hash(b"inside", str(depth - above).encode())
        self._depths[id(value)] = depth
        around, self._lowest = self._lowest, sys.maxsize
        found = self._parts(value, kind)
        del self._depths[id(value)]
        if self._lowest < depth:  # part of a circle: what it is depends on the way here, so it is told by number
            self._known[id(value)] = value, _hash(b"again", str(len(self._known)).encode())
        else:
            self._known[id(value)] = value, found
        self._lowest = min(around, self._lowest) if self._lowest < depth else around
        return found

    def _parts(self, value: Any, kind: type) -> bytes:
        if (take := self._CONTAINERS.get(kind)) is not None:
            return take(self, value)
        if isinstance(value, _CALLABLES):
            return self._callable(value)
        if hasattr(kind, "__asyncflow_function__"):
            return self.digest(value.__asyncflow_function__)
        if hasattr(kind, "__dask_tokenize__"):
            self.asked = True
            _ask_dask(value)  # which refuses what has no fixed token, but takes the answer itself as it is
            return _hash(b"dask", by_name(kind).encode(), self.digest(value.__dask_tokenize__()))
        numpy = sys.modules.get("numpy")
        if numpy is not None and (kind is numpy.ndarray or kind is numpy.memmap):
            return self._array(value)
        return self._object(value, kind)

    def _sequence(self, value: Any) -> bytes:
        name = type(value).__name__.encode()
        if _ATOMS.issuperset(map(type, value)):  # much quicker, for long lists of numbers
            return _hash(name, b"atoms", repr(value).encode("utf-8", "surrogatepass"))
        return _hash(name, *self._each(value))

    def _set(self, value: Any) -> bytes:
        return _hash(type(value).__name__.encode(), *sorted(self._each(value)))

    def _dict(self, value: Any) -> bytes:
        return _hash(b"dict", *self._pairs(value.items()))

    def _bytes(self, value: Any) -> bytes:
        return _hash(b"bytearray", value)

    _CONTAINERS: ClassVar[dict[type, Callable[[Any, Any], bytes]]] = {
        list: _sequence,
        tuple: _sequence,
        dict: _dict,
        set: _set,
        frozenset: _set,
        bytearray: _bytes,
    }

    def _callable(self, value: Any) -> bytes:
        if isinstance(value, types.MethodType):
            return _hash(b"method", self.digest(value.__self__), self.digest(value.__func__))
        if isinstance(value, types.BuiltinMethodType) and not isinstance(value.__self__, types.ModuleType | None):
            return _hash(b"method", self.digest(value.__self__), value.__name__.encode())
        return _hash(b"callable", self._describe(value).encode())

    def _each(self, values: Iterable[Any]) -> list[bytes]:
        return [self.digest(value) for value in values]

    def _pairs(self, pairs: Iterable[tuple[Any, Any]]) -> list[bytes]:
        return sorted(self.digest(name) + self.digest(value) for name, value in pairs)

    def _array(self, array: Any) -> bytes:
        about = repr((array.shape, array.dtype)).encode()
        if array.dtype.hasobject:
            return _hash(b"array", about, *self._each(array.ravel().tolist()))
        try:
            data = memoryview(array.ravel().view("u1"))
        except (TypeError, ValueError):  # items without bytes, or without a view of them
            data = array.tobytes()
        return _hash(b"array", about, data)

    def _object(self, value: Any, kind: type) -> bytes:
        """Whatever its pickle would be made of."""
        if kind is object:
            raise UnhashableError(value, "nothing tells it from another")
        if isinstance(value, pathlib.PurePath) and kind.__module__.startswith("pathlib"):
            return _hash(kind.__name__.encode(), str(value).encode("utf-8", "surrogateescape"))
        self.asked = True
        try:
            # tblib, where it has been loaded, makes of exceptions something else than they make of themselves.
            reduce = copyreg.dispatch_table.get(kind) if not isinstance(value, BaseException) else None
            reduced = value.__reduce_ex__(4) if reduce is None else reduce(value)
        except Exception:
            return _ask_dask(value)
        if isinstance(reduced, str):
            return _hash(b"global", str(pickle.whichmodule(value, reduced)).encode(), reduced.encode())  # type: ignore[attr-defined]
        make, args, state, items, pairs, setter = (*reduced, None, None, None, None)[:6]
        about = [b"object", self.digest(make), self.digest(args), self.digest(state), self.digest(setter)]
        entries: list[bytes] = self._each(items) if items is not None else []
        if pairs is not None:
            entries += self._each(map(tuple, pairs)) if issubclass(kind, OrderedDict) else self._pairs(pairs)
        return _hash(*about, *entries)


def _ask_dask(value: Any) -> bytes:
    from dask.base import tokenize

    try:
        return _hash(b"dask", tokenize(value, ensure_deterministic=True).encode())
    except Exception as error:
        if hasattr(type(value), "__dask_tokenize__"):
            raise UnhashableError(value, f"{type(error).__name__}: {error}") from error
        raise UnhashableError(value) from error


def _hash(*parts: bytes | bytearray | memoryview) -> bytes:
    if len(parts) == 1:
        return blake2b(parts[0], digest_size=16).digest()
    found = blake2b(digest_size=16)
    for part in parts:
        found.update(len(part).to_bytes(8, "big"))  # so that no two ways of parting the same bytes are equal
        found.update(part)
    return found.digest()
