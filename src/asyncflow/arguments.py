"""Futures in and out of arguments: found when a call is made, exchanged for values when it runs."""

import dataclasses
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Any

#: Types that hold nothing: most arguments are of these, and cost one set look-up.
_ATOMS: frozenset[type] = frozenset({int, float, complex, bool, str, bytes, bytearray, range, type(None), type})


class Ref:
    """Stands in the arguments where the value of dependency `index` belongs."""

    __slots__ = ("index",)

    def __init__(self, index: int) -> None:
        self.index = index

    def __reduce__(self) -> tuple[Any, ...]:
        """Small and quick: refs travel with every dependent call."""
        return Ref, (self.index,)


def is_flat(args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Whether all arguments are of types that hold nothing: then there is nothing to look for."""
    return _ATOMS.issuperset(map(type, args)) and (not kwargs or _ATOMS.issuperset(map(type, kwargs.values())))


def replace(value: Any, is_match: Callable[[Any], bool], exchange: Callable[[Any], Any]) -> Any:
    """`value` with everything that `is_match` inside lists, tuples, sets, dicts and dataclasses exchanged.

    The very same object comes back where nothing matches; otherwise containers on the way are copied.
    """
    if type(value) in _ATOMS:
        return value
    if is_match(value):
        return exchange(value)
    rebuild = _REBUILD.get(type(value)) or _rebuilder(value)
    return value if rebuild is None else rebuild(value, lambda item: replace(item, is_match, exchange))


def found(value: Any, is_match: Callable[[Any], bool]) -> list[Any]:
    """Everything that `is_match` where `replace` looks, in order; what stands there twice, twice.

    Unlike `replace` it may be asked about any value, not only about what a caller wrote down: it comes back from
    what holds itself, and from any depth.
    """
    matching, waiting, seen = [], [value], set[int]()
    while waiting:
        each = waiting.pop()
        if type(each) in _ATOMS:
            continue
        if is_match(each):
            matching.append(each)
        elif id(each) not in seen and (inside := _inside(each)):
            seen.add(id(each))
            waiting.extend(reversed(inside))
    return matching


def fill(args: tuple[Any, ...], kwargs: dict[str, Any], values: list[Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Arguments with every `Ref` exchanged for its value."""
    if not values:
        return args, kwargs

    def value_of(ref: Ref) -> Any:
        return values[ref.index]

    filled = replace((args, kwargs), _is_ref, value_of)
    return filled[0], filled[1]


def _is_ref(value: Any) -> bool:
    return type(value) is Ref


def _changed(old: Iterable[Any], new: Iterable[Any]) -> bool:
    return any(before is not after for before, after in zip(old, new, strict=True))


def _inside(value: Any) -> list[Any]:
    """What `value` holds; nothing where that is all atoms, which long lists of numbers tell quickly."""
    if isinstance(value, dict):
        inside = [part for pair in value.items() for part in pair] if type(value) in _REBUILD else []
    elif type(value) in _REBUILD or (isinstance(value, tuple) and hasattr(value, "_make")):
        inside = value
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        inside = [getattr(value, each.name) for each in dataclasses.fields(value) if hasattr(value, each.name)]
    else:
        return []
    return [] if _ATOMS.issuperset(map(type, inside)) else list(inside)


def _sequence(value: Any, exchange: Callable[[Any], Any]) -> Any:
    items = [exchange(item) for item in value]
    if not _changed(value, items):
        return value
    return type(value)._make(items) if hasattr(value, "_make") else type(value)(items)


def _set(value: Any, exchange: Callable[[Any], Any]) -> Any:
    old = list(value)
    items = [exchange(item) for item in old]
    return type(value)(items) if _changed(old, items) else value


def _dict(value: Any, exchange: Callable[[Any], Any]) -> Any:
    flat = [part for pair in value.items() for part in pair]
    parts = [exchange(part) for part in flat]
    return type(value)(zip(parts[::2], parts[1::2], strict=True)) if _changed(flat, parts) else value


def _dataclass(value: Any, exchange: Callable[[Any], Any]) -> Any:
    # Field by field into a copy: __init__ may take other arguments, or check that a future would not pass.
    names = [each.name for each in dataclasses.fields(value) if hasattr(value, each.name)]
    old = [getattr(value, name) for name in names]
    new = [exchange(item) for item in old]
    if not _changed(old, new):
        return value
    made = object.__new__(type(value))
    if hasattr(value, "__dict__"):
        made.__dict__.update(value.__dict__)
    for name, item in zip(names, new, strict=True):
        object.__setattr__(made, name, item)
    return made


_REBUILD: dict[type, Callable[[Any, Callable[[Any], Any]], Any]] = {
    list: _sequence,
    tuple: _sequence,
    set: _set,
    frozenset: _set,
    dict: _dict,
    OrderedDict: _dict,
}


def _rebuilder(value: Any) -> Callable[[Any, Callable[[Any], Any]], Any] | None:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _dataclass
    return _sequence if isinstance(value, tuple) and hasattr(value, "_make") else None
