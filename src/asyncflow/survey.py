"""What functions and classes are made of: a flat mapping from parts to what stands for them."""

import functools
import types
from collections.abc import Callable, Iterator
from typing import Any

from asyncflow.errors import CheckpointError
from asyncflow.references import imports, references
from asyncflow.sources import code_of, imported, installed, qualified
from asyncflow.tokens import UnhashableError, because, kind_of, look, token

#: Descriptors that a class has because of what else it has.
_MADE = (types.MemberDescriptorType, types.GetSetDescriptorType, types.WrapperDescriptorType)

#: What classes have beside their members.
_ABOUT = frozenset(
    {"__module__", "__qualname__", "__doc__", "__dict__", "__weakref__", "__slots__", "_abc_impl"}
    | {"__firstlineno__", "__static_attributes__", "__annotate_func__", "__annotations_cache__"}
)


class Survey:
    """Collects what one function is made of, and the user's functions and classes it reaches.

    Functions and classes of installed packages count by name and version (without `versions` by name), the user's own
    by what they are made of.

    Attributes
    ----------
    parts : dict
        ``code``, ``default x``, ``closure n``, ``global SCALE``; the same of what is reached: ``code of lib.helper``.
    """

    def __init__(self, task: str, *, versions: bool = True) -> None:
        self.parts: dict[str, str] = {}
        self._versions = versions
        self._task = task
        self._labels: dict[int, str] = {}
        self._taken: dict[str, Any] = {}  # keeps alive what has a label, so that no other thing gets its identity

    def start(self, function: Callable[..., Any]) -> None:
        """Collect what `function` itself is made of.

        Raises
        ------
        CheckpointError
            Naming the part that cannot be hashed.
        """
        if isinstance(function, types.FunctionType) and self._package(function) is None:
            self._labels[id(function)] = qualified(function)
            self._taken[qualified(function)] = function
            self._function(function, "")
        else:
            self._value("code", function)

    def describe(self, value: Any) -> str:
        """What stands for a function, class or module; what it is made of is collected too."""
        if isinstance(value, types.ModuleType):
            package = installed(value.__name__) if self._versions else None
            return f"module {package or value.__name__}"
        package = self._package(value)
        if package is not None:
            return f"{qualified(value)} of {package}" if self._versions else qualified(value)
        if (label := self._labels.get(id(value))) is None:
            label = self._labels[id(value)] = self._new_label(value)
            collect = self._class if isinstance(value, type) else self._function
            collect(value, f" of {label}")
        return label

    @staticmethod
    def _package(value: Any) -> str | None:
        """The package of a function or class; None where it is the user's own."""
        package = installed(getattr(value, "__module__", None))
        if isinstance(value, types.FunctionType):
            # A library's wrapper of a user's function has the user's name, and the other way round.
            return package if package == installed(value.__globals__.get("__name__")) else None
        return package if isinstance(value, type) else package or "builtins"

    def _new_label(self, value: Any) -> str:
        name = label = qualified(value)
        number = 1
        while label in self._taken:  # lambdas of one function
            number += 1
            label = f"{name}#{number}"
        self._taken[label] = value
        return label

    def _function(self, function: types.FunctionType, suffix: str) -> None:
        code = function.__code__
        self.parts[f"code{suffix}"] = _code_token(code, code.co_filename)
        for each in references(function):
            if each.kind != "attribute" and each.value is not function:
                self._value(f"{each.kind} {each.name}{suffix}", each.value)
        for module in imports(code):
            self.parts[f"import {module}{suffix}"] = imported(module)

    def _class(self, kind: type, suffix: str) -> None:
        bases = [self.describe(base) for base in (*kind.__bases__, type(kind))]
        self.parts[f"code{suffix}"] = token([qualified(kind), *bases])
        for name, value in members(kind):
            self._value(f"member {name}{suffix}", value, optional=name.startswith("__"))

    def _value(self, part: str, value: Any, *, optional: bool = False) -> None:
        value = getattr(value, "__asyncflow_function__", value) if not isinstance(value, type) else value
        try:
            self.parts[part] = self.token(value)
        except UnhashableError as error:
            if not optional:
                raise self._refuse(part, value, error) from None

    def token(self, value: Any) -> str:
        """What stands for `value`, readable where it is a function, class or module.

        Raises
        ------
        UnhashableError
            With what cannot be hashed.
        """
        value = _unwrapped(value)
        if isinstance(value, (types.FunctionType, types.BuiltinFunctionType, types.ModuleType, type)):
            return self.describe(value)
        return look(value, self.describe, {})

    def _refuse(self, part: str, value: Any, error: UnhashableError) -> CheckpointError:
        kind, _, name = part.partition(" ")
        name, _, owner = name.partition(" of ")
        what = f"its {kind} {name!r}" if name else "what it is made of"
        return CheckpointError(
            f"task {self._task!r} cannot be checkpointed: {what}{' of ' + owner if owner else ''} ({kind_of(value)}) "
            f"cannot be hashed{because(error, value)}; pass it as an argument, make it in the body, or give "
            "version='1'",
            part,
        )


@functools.lru_cache(maxsize=4096)
def _code_token(code: types.CodeType, _: str) -> str:
    # Equal code may stand in two files with different annotations or decorators.
    return token(code_of(code))


def _unwrapped(value: Any) -> Any:
    """The function inside what `functools.cache` and its kin, which have no parts of their own, make of one."""
    wrapped = getattr(value, "__wrapped__", None)
    return wrapped if isinstance(value, functools._lru_cache_wrapper) and callable(wrapped) else value  # noqa: SLF001


def members(kind: type) -> Iterator[tuple[str, Any]]:
    """What stands in a class, without what every class has; of properties and their like the functions in them."""
    for name, member in vars(kind).items():
        if (
            name not in _ABOUT
            and not isinstance(member, _MADE)
            and not name.startswith(("__pydantic_", "__dataclass_"))
        ):
            yield from _inside(name, member)


def changeable(kind: type) -> Iterator[Any]:
    """What of a class a program may exchange while it runs."""
    yield from kind.__bases__
    for name, value in members(kind):
        if not name.startswith("__") or isinstance(value, types.FunctionType):
            yield value


def _inside(name: str, member: Any) -> list[tuple[str, Any]]:
    """The functions in what stands in a class, each with a name."""
    if isinstance(member, (staticmethod, classmethod)):
        return [(name, member.__func__)]
    if isinstance(member, functools.cached_property):
        return [(name, member.func)]
    if isinstance(member, property):
        ways = {"get": member.fget, "set": member.fset, "delete": member.fdel}
        return [(f"{name}.{way}", function) for way, function in ways.items() if function is not None]
    return [(name, member)]
