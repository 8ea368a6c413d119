"""What functions refer to: globals, closure values and defaults, and whether any of it has changed."""

import dis
import types
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from typing import Any, NamedTuple

#: Types whose objects never change, and are equal where they are the same.
PLAIN = (int, float, complex, bool, str, bytes, type(None))

_GLOBAL = frozenset({"LOAD_GLOBAL", "LOAD_NAME", "STORE_GLOBAL", "DELETE_GLOBAL"})
_LOCAL = frozenset({"LOAD_FAST", "LOAD_DEREF", "LOAD_FAST_BORROW", "LOAD_FAST_CHECK", "LOAD_CLOSURE"})
_ATTRIBUTE = frozenset({"LOAD_ATTR", "LOAD_METHOD"})


class Reference(NamedTuple):
    """One thing that a function refers to."""

    kind: str  #: ``global``, ``closure``, ``default`` or ``attribute``
    name: str  #: ``SCALE``; ``helpers.SCALE`` for what it takes out of a module
    value: Any


def references(function: types.FunctionType) -> Iterator[Reference]:
    """What `function`, and the functions and classes made in it, name outside of themselves.

    Of a module also the attributes that the code takes from it, as ``module.name``.
    """
    code = function.__code__
    for path in global_paths(code):
        if path[0] in function.__globals__:
            yield from _along(path, function.__globals__[path[0]])
    for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
        try:
            yield Reference("closure", name, cell.cell_contents)
        except ValueError:  # not bound yet
            yield Reference("closure", name, None)
    given = function.__defaults__ or ()
    positional = code.co_varnames[: code.co_argcount]
    for name, value in zip(positional[len(positional) - len(given) :], given, strict=True):
        yield Reference("default", name, value)
    for name, value in (function.__kwdefaults__ or {}).items():
        yield Reference("default", name, value)
    for name, value in function.__dict__.items():
        yield Reference("attribute", name, value)


def _along(path: tuple[str, ...], value: Any) -> Iterator[Reference]:
    yield Reference("global", path[0], value)
    for end, attribute in enumerate(path[1:], start=2):
        # Other things than modules may run code when they are asked.
        if not isinstance(value, types.ModuleType) or attribute not in vars(value):
            return
        value = vars(value)[attribute]
        yield Reference("global", ".".join(path[:end]), value)


@lru_cache(maxsize=1024)
def global_paths(code: types.CodeType) -> tuple[tuple[str, ...], ...]:
    """The globals that `code` and the code in it name, each with the attributes taken from it: ``("np", "sin")``."""
    found: dict[tuple[str, ...], None] = {}
    path: tuple[str, ...] = ()
    for each in dis.get_instructions(code):
        if each.opname in _ATTRIBUTE and path:
            path = (*path, each.argval)
            continue
        if path:
            found[path] = None
        path = (each.argval,) if each.opname in _GLOBAL else ()
    if path:
        found[path] = None
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            found.update(dict.fromkeys(global_paths(constant)))
    return tuple(found)


@lru_cache(maxsize=1024)
def imports(code: types.CodeType) -> tuple[str, ...]:
    """The modules that `code` and the code in it import when they run, by absolute name."""
    found = {each.argval: None for each in dis.get_instructions(code) if each.opname == "IMPORT_NAME"}
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            found.update(dict.fromkeys(imports(constant)))
    return tuple(found)


class Fingerprint:
    """Tells whether a function, and all that it refers to, is what it was.

    Parameters
    ----------
    is_fixed : callable
        Whether a function or class counts as itself, without a look at what it refers to.
    inside : callable or None
        What of any other class can change; where None, nothing cheap can tell.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        is_fixed: Callable[[Any], bool],
        inside: Callable[[type], Iterable[Any]] | None = None,
    ) -> None:
        self._function = function
        self._is_fixed = is_fixed
        self._inside = inside

    def take(self) -> list[Any] | None:
        """What is equal to what was taken before, while nothing has changed; None where nothing cheap can tell."""
        marks: list[Any] = []
        return marks if self._mark(self._function, marks, set()) else None

    def _mark(self, value: Any, marks: list[Any], seen: set[int]) -> bool:
        """Append what tells `value` from a changed one; False where that would need a look at all of it."""
        value = getattr(value, "__asyncflow_function__", value)
        marks.append(type(value))
        if isinstance(value, (*PLAIN, types.ModuleType, types.BuiltinFunctionType)):
            marks.append(value.hex() if type(value) is float else value)  # 0.0 equals -0.0, and NaN not itself
            return True
        if id(value) in seen:
            return True
        seen.add(id(value))
        inside = self._look(value, marks)
        return inside is not None and all(self._mark(each, marks, seen) for each in inside)

    def _look(self, value: Any, marks: list[Any]) -> Iterable[Any] | None:
        """What must be looked into besides `value` itself, which is marked; None where nothing cheap can tell."""
        if type(value) is tuple:
            marks.append(len(value))
            return value
        if isinstance(value, (types.FunctionType, type)) and self._is_fixed(value):
            marks.append(value)
            return ()
        if isinstance(value, types.FunctionType):
            marks.append(value.__code__)
            return (each.value for each in references(value))
        if isinstance(value, type) and self._inside is not None:
            marks.append(value)
            return self._inside(value)
        return None
