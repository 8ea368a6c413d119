"""Functions and arguments as bytes: pickled on the driver, opened on the worker, never by a scheduler."""

import inspect
import pickle
import sys
import types
from collections.abc import Callable, Iterator, Sequence
from hashlib import blake2b
from typing import Any, NamedTuple

from asyncflow.byvalue import dump_by_value
from asyncflow.errors import SerializationError
from asyncflow.references import PLAIN, Fingerprint, references

#: Arguments whose pickle is larger travel once, as a value of their own, however many calls have them.
LARGE = 64_000


_NUMBERS = frozenset({int, float, bool, type(None)})

#: In the pickle of what holds the place of an input, which is filled in the arguments themselves, and not in pieces.
_REF = b"asyncflow.arguments"


class Piece(NamedTuple):
    """A large argument on its own; equal bytes have equal keys."""

    key: str
    data: bytes


def dumps(value: Any) -> bytes:
    """`value` pickled; what lives in ``__main__`` or inside functions goes by value."""
    try:
        data = pickle.dumps(value, protocol=5)
    except Exception:
        return dump_by_value(value)
    # A class or function of the script pickles by a reference that no worker can follow.
    return dump_by_value(value) if b"__main__" in data else data


def dump_arguments(
    function: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    make_ref: Callable[[int], Any],
) -> tuple[bytes, list[Piece]]:
    """Arguments as bytes, and the large ones among them apart.

    Parameters
    ----------
    function : callable
        Whose parameters name the arguments in errors.
    make_ref : callable
        Makes what stands for piece ``i`` in the bytes.

    Raises
    ------
    SerializationError
        Naming the argument that cannot be pickled.
    """
    try:
        if not any(map(_looks_large, (*args, *kwargs.values()))):
            data = dumps((args, kwargs))
            if len(data) <= LARGE:
                return data, []
        return _split(args, kwargs, make_ref)
    except Exception as error:
        raise _blame_argument(function, args, kwargs, error) from error


def open_piece(data: bytes) -> Any:
    """The value of a `Piece`."""
    return pickle.loads(data)


def dump_whole(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> bytes:
    """Arguments as bytes, however large.

    Raises
    ------
    SerializationError
        Naming the argument that cannot be pickled.
    """
    try:
        return dumps((args, kwargs))
    except Exception as error:
        raise _blame_argument(function, args, kwargs, error) from error


def _looks_large(value: Any) -> bool:
    if type(value) in _NUMBERS:
        return False
    if isinstance(value, (bytes, bytearray, str)):
        return len(value) > LARGE
    count = getattr(value, "nbytes", 0)
    return isinstance(count, int) and count > LARGE


def _split(args: tuple[Any, ...], kwargs: dict[str, Any], make_ref: Callable[[int], Any]) -> tuple[bytes, list[Piece]]:
    pieces: list[Piece] = []

    def apart(value: Any) -> Any:
        if isinstance(value, PLAIN) and not _looks_large(value):
            return value
        data = dumps(value)
        if len(data) <= LARGE or _REF in data:
            return value
        # By content, not by identity: an array may be changed in place between two calls.
        pieces.append(Piece(f"argument-0{blake2b(data, digest_size=16).hexdigest()}", data))
        return make_ref(len(pieces) - 1)

    split_args = tuple(apart(value) for value in args)
    split_kwargs = {name: apart(value) for name, value in kwargs.items()}
    return dumps((split_args, split_kwargs)), pieces


def _blame_argument(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], error: Exception
) -> SerializationError:
    for name, value in named(function, args, kwargs):
        try:
            dumps(value)
        except Exception as reason:
            return SerializationError(
                f"argument {name!r} of {_name(function)!r} cannot be pickled ({type(value).__name__}: {reason}); "
                "pass something that can travel to a worker, or make it inside the task",
                name,
            )
    return SerializationError(f"the arguments of {_name(function)!r} cannot be pickled: {error}")


def named(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Arguments by the names of `function`'s parameters; ``#3`` where there is none."""
    names = _positional(function)
    for position, value in enumerate(args):
        yield names[position] if position < len(names) else f"#{position + 1}", value
    yield from kwargs.items()


def _positional(function: Callable[..., Any]) -> Sequence[str]:
    """The parameters that positional arguments go to."""
    if type(function) is types.FunctionType and function.__dict__.keys().isdisjoint(("__wrapped__", "__signature__")):
        return function.__code__.co_varnames[: function.__code__.co_argcount]  # a signature takes 50 times as long
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return ()
    return [each.name for each in parameters if each.kind in {each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD}]


def _name(function: Callable[..., Any]) -> str:
    return getattr(function, "__name__", type(function).__name__)


class FunctionPickle:
    """The pickle of one function (or a thing made of one), made again when what it refers to has changed.

    A function of a script or notebook is pickled by value, with the globals of that moment. So the pickle is kept only
    while every global, default and closure value the function names is the same unchangeable thing.
    """

    def __init__(self, function: Callable[..., Any], wrap: Callable[[], Any]) -> None:
        self._function = function
        self._wrap = wrap  # what is pickled: the function with its recipe around it
        self._fingerprint = Fingerprint(function, _importable)
        self._marks: list[Any] | None = None
        self._data = b""

    def data(self) -> bytes:
        """The bytes; the same object as last time where nothing has changed.

        Raises
        ------
        SerializationError
            Naming what the function refers to that cannot be pickled.
        """
        marks = self._fingerprint.take()
        if marks is None or marks != self._marks:
            try:
                self._data = dump_by_value(self._wrap())
            except Exception as error:
                raise self._blame(error) from error
            self._marks = marks
        return self._data

    def _blame(self, error: Exception) -> SerializationError:
        name = _name(self._function)
        parts = references(self._function) if isinstance(self._function, types.FunctionType) else ()
        for part in parts:
            try:
                dump_by_value(part.value)
            except Exception:
                return SerializationError(
                    f"task {name!r} cannot be pickled: it refers to {part.name!r}, a {type(part.value).__name__} "
                    f"({error}); "
                    "make that inside the body, or pass it as an argument that can travel",
                )
        return SerializationError(f"task {name!r} cannot be pickled: {error}")


def _importable(value: Any) -> bool:
    """Whether a pickle of `value` is only a reference that workers can follow."""
    if value.__module__ == "__main__" or "<locals>" in value.__qualname__:
        return False
    found: Any = sys.modules.get(value.__module__)
    for part in value.__qualname__.split("."):
        found = getattr(found, part, None)
    return found is value
