"""What travels to a worker in the arguments of a pipeline's calls, and becomes values there, before the body begins."""

import functools
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from asyncflow.arguments import found, replace
from asyncflow.errors import FieldError
from asyncflow.pipelines.expressions import ALL, Step

_SHOWN = 8  # fields that a message lists


@dataclass(frozen=True)
class Pick:
    """What stands at `steps` of `value`, which is a future on the driver, and what came of it on the worker.

    Attributes
    ----------
    text : str
        The reference as it is written, for errors.
    """

    value: Any
    steps: tuple[Step, ...]
    text: str


@dataclass(frozen=True)
class Text:
    """A text with values in it; `parts` are joined on the worker."""

    parts: tuple[Any, ...]

    def joined(self) -> str:
        """The text, where all parts are values."""
        return "".join(map(_word, map(settled, self.parts)))


def is_late(value: Any) -> bool:
    """Whether `value` becomes another on the worker."""
    return isinstance(value, (Pick, Text))


def has_late(*values: Any) -> bool:
    """Whether there is such a thing anywhere inside."""
    return bool(found(values, is_late))


def settled(value: Any) -> Any:
    """`value` with everything that is late made what it stands for.

    Raises
    ------
    FieldError
        Naming the field that is not there, and those that are.
    """
    return replace(value, is_late, _settle)


def dig(value: Any, steps: Sequence[Step], text: str) -> Any:
    """What stands at `steps` of `value`: keys of mappings, attributes of objects, items of lists.

    Raises
    ------
    FieldError
        Where it has no such thing.
    """
    for index, step in enumerate(steps):
        if step is ALL:
            return [dig(item, steps[index + 1 :], text) for item in _items(value, text)]
        value = _step(value, step, text)
    return value


def prepared(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function`, given its arguments when they are settled."""

    @functools.wraps(function)
    def body(*args: Any, **kwargs: Any) -> Any:
        args, kwargs = settled((args, kwargs))
        return function(*args, **kwargs)

    return body


def command_words(words: list[Any], needs: Sequence[Any] = (), makes: Sequence[Any] = ()) -> list[str]:
    """The body of a command: each word one argument, whatever is in it; of a list each item is one.

    The files that it `needs` and `makes` are declared by being passed.

    Raises
    ------
    FieldError
        For what is no argument: null, or a mapping.
    """
    listed: list[str] = []
    for word in settled(words):
        listed.extend(map(_word, word) if isinstance(word, (list, tuple)) else [_word(word)])
    return listed


def parsed(output: str, form: str) -> Any:
    """What a command wrote, in the form that its task names.

    Raises
    ------
    ValueError
        When it is not in that form.
    """
    if form == "lines":
        return output.splitlines()
    if form == "json":
        return json.loads(output)
    return {"int": int, "float": float}[form](output.strip())


def truth(value: Any) -> bool:
    """Whether `value` is true, as a task of its own, so that it need not come to the driver."""
    return bool(settled(value))


def nothing() -> bool:
    """The body of a call that only waits for others; true, which no dry run says."""
    return True


def count(value: Any) -> int:
    """How many items there are to do something for.

    Raises
    ------
    FieldError
        Where that is no list.
    """
    return len(_items(settled(value), value.text if isinstance(value, Pick) else "foreach"))


def _settle(value: Pick | Text) -> Any:
    if isinstance(value, Pick):
        return dig(settled(value.value), value.steps, value.text)
    return value.joined()


def _word(value: Any) -> str:
    if value is None or isinstance(value, (Mapping, list, tuple)):
        kind = "nothing" if value is None else "a mapping" if isinstance(value, Mapping) else "a list"
        remedy = (
            "name an item of it, or give it as an item of run: by itself" if kind == "a list" else "name a field of it"
        )
        raise FieldError(f"{kind} cannot be part of a command or a text; {remedy}")
    if isinstance(value, bool):
        return str(value).lower()  # as the file writes it
    return os.fspath(value) if isinstance(value, os.PathLike) else str(value)


def _items(value: Any, text: str) -> Sequence[Any]:
    if isinstance(value, (list, tuple, range)):
        return value
    raise FieldError(f"{text}: a {type(value).__name__} is no list, of whose items something could be done")


def _step(value: Any, step: Step, text: str) -> Any:
    try:
        if isinstance(step, int) or isinstance(value, Mapping):
            return value[step]
        if not str(step).startswith("_"):
            return getattr(value, str(step))
    except (LookupError, TypeError, AttributeError):
        pass
    raise FieldError(f"{text}: a {type(value).__name__} has no {step!r}; {_has(value)}")


def _has(value: Any) -> str:
    if isinstance(value, Mapping):
        names = [str(key) for key in value]
    elif isinstance(value, (list, tuple)):
        return f"it has {len(value)} items, counted from 0"
    else:
        names = [name for name in dir(value) if not name.startswith("_")]
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"it has {', '.join(names[:_SHOWN])}{more}" if names else "it has no fields"
