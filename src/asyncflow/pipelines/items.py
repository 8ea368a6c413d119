"""What a task is done for each of: the forms of ``foreach``."""

import glob
import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from asyncflow.suggest import hint

#: Forms that are a mapping of one key.
FORMS = ("range", "glob", "product", "zip")


def problem_of(tree: Any) -> str | None:
    """What is wrong with the form of a parsed ``foreach``; None where nothing is. References may stand for anything."""
    if tree is None or isinstance(tree, (list, tuple)):
        return None
    if not isinstance(tree, dict):
        return f"foreach takes a list, a reference to one, or one of {', '.join(FORMS)}; not {tree!r}"
    if len(tree) != 1 or not tree.keys() <= set(FORMS):
        given = ", ".join(map(str, tree))
        return f"foreach has one key of {', '.join(FORMS)}, not {given or 'none'}; {hint(given, FORMS)}"
    ((form, inner),) = tree.items()
    if form in {"product", "zip"}:
        if not isinstance(inner, dict) or not inner:
            return f"{form} takes a mapping of names to lists"
        return next(filter(None, map(problem_of, inner.values())), None)
    return None


def looks_at_files(tree: Any) -> bool:
    """Whether a ``foreach`` depends on which files there are."""
    if not isinstance(tree, Mapping):
        return False
    lists = [each for inner in tree.values() if isinstance(inner, Mapping) for each in inner.values()]
    return "glob" in tree or any(map(looks_at_files, lists))


def items_of(value: Any, directory: str) -> list[Any]:
    """The items, of a ``foreach`` whose references are values by now.

    Raises
    ------
    ValueError
        When it stands for no items.
    """
    if isinstance(value, (list, tuple, range)):
        return list(value)
    if not isinstance(value, Mapping) or len(value) != 1:
        raise ValueError(f"foreach takes a list, not {value!r}")
    ((form, inner),) = value.items()
    if form == "range":
        return _range(inner)
    if form == "glob":
        return _glob(inner, directory)
    if form in {"product", "zip"}:
        return _together(form, {name: items_of(each, directory) for name, each in inner.items()})
    raise ValueError(f"foreach knows no {form!r}; {hint(str(form), FORMS)}")


def _range(inner: Any) -> list[Any]:
    bounds = inner if isinstance(inner, list) else [inner]
    if not (1 <= len(bounds) <= 3 and all(type(bound) is int for bound in bounds)) or bounds[2:] == [0]:
        raise ValueError(f"range takes a whole number, or [start, stop] or [start, stop, step]; not {inner!r}")
    return list(range(*bounds))


def _glob(inner: Any, directory: str) -> list[Any]:
    patterns = inner if isinstance(inner, list) else [inner]
    if not all(isinstance(pattern, str) for pattern in patterns):
        raise ValueError(f"glob takes a pattern, or a list of them; not {inner!r}")
    found = [path for pattern in patterns for path in glob.glob(pattern, root_dir=directory, recursive=True)]  # noqa: PTH207
    if not found:
        told = f"glob {', '.join(patterns)} finds no file below {directory}"
        raise ValueError(f"{told}; mend it, or name in after: the task that makes them")
    return [str(Path(directory, path)) for path in sorted(set(found))]


def _together(form: str, lists: Mapping[str, list[Any]]) -> list[Any]:
    if form == "product":
        rows: Any = itertools.product(*lists.values())
    else:
        if len({len(each) for each in lists.values()}) > 1:
            counts = ", ".join(f"{name} has {len(each)}" for name, each in lists.items())
            raise ValueError(f"zip takes lists of one length; {counts}")
        rows = zip(*lists.values(), strict=True)
    return [dict(zip(lists, row, strict=True)) for row in rows]
