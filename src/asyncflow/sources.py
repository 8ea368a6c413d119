"""Where code comes from: its source, its package, and the files that it imports."""

import ast
import importlib.metadata
import inspect
import linecache
import os
import sys
import threading
import types
from collections.abc import Iterator
from functools import lru_cache
from hashlib import blake2b
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any

#: Decorators of ours: they say how a function is run, not what it is.
_OURS = frozenset({"function_task", "executable_task", "prompt_task", "block"})

_SITE = ("site-packages", "dist-packages")


def code_of(code: types.CodeType) -> str | tuple[Any, ...]:
    """What `code` does, as source where that can be had."""
    source = _source_of(code)
    return source if source is not None else _bytecode_of(code)


def _source_of(code: types.CodeType) -> str | None:
    """The source of a ``def`` without our decorators, comments and layout; None where it cannot be had.

    Also None where the file has been edited since it was loaded: what runs is not what it says.
    """
    if code.co_name == "<lambda>":
        return None
    name = code.co_filename
    linecache.checkcache(name)
    lines = linecache.getlines(name)
    if not lines:
        return None
    found = _parsed(name, "".join(lines), os.path.exists(name))  # noqa: PTH110
    if found is None or (found.codes is not None and code not in found.codes):
        return None
    return found.functions.get((code.co_name, code.co_firstlineno))


class _Parsed:
    def __init__(self, functions: dict[tuple[str, int], str], codes: frozenset[types.CodeType] | None) -> None:
        self.functions = functions
        self.codes = codes  # None: a cell of a notebook, which cannot be edited in its place


_parsing = threading.Lock()  # two threads that parse at once end in a SystemError (Python before 3.12)


@lru_cache(maxsize=64)
def _parsed(name: str, text: str, is_file: bool) -> _Parsed | None:
    try:
        with _parsing:
            tree = ast.parse(text)
        codes = frozenset(_codes(compile(text, name, "exec", dont_inherit=True))) if is_file else None
    except (SyntaxError, ValueError):
        return None
    except SystemError:  # somebody else's thread parses as well
        return _parsed.__wrapped__(name, text, is_file)
    functions = {}
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            first = min([node.lineno, *(each.lineno for each in node.decorator_list)])
            node.decorator_list = [each for each in node.decorator_list if not _is_ours(each)]
            functions[node.name, first] = ast.unparse(node)
    return _Parsed(functions, codes)


def _codes(code: types.CodeType) -> Iterator[types.CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _codes(constant)


def _is_ours(decorator: ast.expr) -> bool:
    if isinstance(decorator, ast.Call):
        decorator = decorator.func
    return isinstance(decorator, ast.Attribute) and decorator.attr in _OURS


def _bytecode_of(code: types.CodeType) -> tuple[Any, ...]:
    """What code does where there is no source; differs between versions of Python."""
    constants = tuple(_bytecode_of(each) if isinstance(each, types.CodeType) else each for each in code.co_consts)
    counts = code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags
    return code.co_code, constants, code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars, counts


def installed(module: str | None) -> str | None:
    """``name version`` of the package or library that has `module`; None for code of the user's own."""
    top = (module or "").partition(".")[0]
    if not top or top == "__main__":
        return None
    return _package(top, getattr(sys.modules.get(top), "__file__", None))


@lru_cache(maxsize=1024)
def _package(top: str, file: str | None) -> str | None:
    if top in sys.stdlib_module_names or top in sys.builtin_module_names:
        return top
    if top != "asyncflow" and not (file and any(part in Path(file).parts for part in _SITE)):
        return None
    version = getattr(sys.modules.get(top), "__version__", None)
    return f"{top} {version}" if isinstance(version, str) else _released(top)


def imported(module: str) -> str:
    """What stands for a module that code imports when it runs: of the user's own the content of its file.

    Nothing is imported to find out, and whether it has been imported makes no difference.
    """
    top = module.partition(".")[0]
    if top in sys.stdlib_module_names:
        return top
    file = _file_of(module)
    if file is not None and not any(part in Path(file).parts for part in _SITE):
        try:
            return blake2b(Path(file).read_bytes(), digest_size=16).hexdigest()
        except OSError:
            return module
    return _released(top)


def _file_of(module: str) -> str | None:
    path: list[str] | None = None
    origin = None
    for name in module.split("."):
        try:
            found = PathFinder.find_spec(name, path)
        except (ImportError, ValueError, OSError):
            return None
        if found is None:
            return None
        origin, path = found.origin, list(found.submodule_search_locations or ())
    return origin


@lru_cache(maxsize=1024)
def _released(top: str) -> str:
    try:
        return f"{top} {importlib.metadata.version(top)}"
    except importlib.metadata.PackageNotFoundError:
        return top


def qualified(value: Any) -> str:
    """The module and qualified name of a function or class."""
    value = inspect.unwrap(value) if not hasattr(value, "__qualname__") else value
    return f"{getattr(value, '__module__', None)}.{getattr(value, '__qualname__', type(value).__qualname__)}"
