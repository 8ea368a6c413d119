"""An exception made ready to travel: type, facts, cause and traceback survive, or the text does."""

import io
import pickle
import traceback
from collections.abc import Callable, Sequence
from typing import IO, Any, NamedTuple

from tblib import Traceback

from asyncflow.byvalue import ValuePickler
from asyncflow.errors import RemoteError, TaskExitError, rebuild

_MAX_CHAIN = 16  # causes of causes; more tells nobody anything

#: Frames of a traceback that travel, half of them from each end: those of an endless recursion are too many to pickle.
_MAX_FRAMES = 100


class PackedError(NamedTuple):
    """One exception of a chain: pickled (or None), its text, its traceback as plain data, and how it hangs on."""

    pickled: bytes | None
    type_name: str
    text: str
    frames: dict[str, Any] | None
    is_cause: bool


def pack(error: BaseException) -> list[PackedError]:
    """`error` and its causes, outermost first, as plain data that any process can open."""
    chain: list[PackedError] = []
    current: BaseException | None = error
    is_cause = True
    while current is not None and len(chain) < _MAX_CHAIN:
        chain.append(_pack_one(current, is_cause))
        is_cause = current.__cause__ is not None
        current = current.__cause__ if is_cause else (None if current.__suppress_context__ else current.__context__)
    return chain


def unpack(chain: Sequence[PackedError]) -> BaseException:
    """The exception that was packed, traceback and causes in place; a `RemoteError` where it cannot be pickled."""
    errors = [_unpack_one(link) for link in chain]
    for above, below, link in zip(errors, errors[1:], chain[1:], strict=False):
        if link.is_cause:
            above.__cause__ = below
        else:
            above.__context__ = below
    return errors[0]


def told(error: BaseException | None) -> str:
    """Type and text of `error` in one line; the text is a user's method, and may itself fail."""
    try:
        return f"{type(error).__name__}: {error}"
    except Exception:
        return f"{type(error).__name__} (its text cannot be made)"


def carried(error: BaseException, name: str) -> BaseException:
    """`error` itself where an asyncio future can carry it, else a `TaskExitError` caused by it."""
    if isinstance(error, Exception) and not isinstance(error, StopIteration):
        return error
    text = f"task {name!r} raised what no future can carry ({told(error)}); raise an Exception instead"
    wrapped = TaskExitError(text)
    wrapped.__cause__ = error
    return wrapped


def _pack_one(error: BaseException, is_cause: bool) -> PackedError:
    frames = _shortened(Traceback(error.__traceback__)).as_dict() if error.__traceback__ else None
    text = "".join(traceback.format_exception(type(error), error, error.__traceback__, chain=False))
    kind = type(error)
    return PackedError(_pickled(error), f"{kind.__module__}.{kind.__qualname__}", text, frames, is_cause)


def _shortened(trace: Traceback) -> Traceback:
    links, link = [], trace
    while link is not None:
        links.append(link)
        link = link.tb_next
    if len(links) > _MAX_FRAMES:
        links[_MAX_FRAMES // 2 - 1].tb_next = links[-_MAX_FRAMES // 2]
    return trace


def _pickled(error: BaseException) -> bytes | None:
    for reduce in (_own_way, _bare):
        try:
            data = _dumps(error, reduce)
            copy = pickle.loads(data)
        except Exception:  # noqa: S112 - the other way may do, and text always does
            continue
        # Many exceptions pickle and then open as something else, as their constructors want other arguments.
        if type(copy).__qualname__ == type(error).__qualname__ and told(copy) == told(error):
            return data
    return None


class _Pickler(ValuePickler):
    """Pickles exceptions as told.

    Distributed registers tblib's way for all of them: it drops what builtin ones hold outside of their attributes, and
    takes causes along, which here are links of the chain.
    """

    def __init__(self, file: IO[bytes], reduce: Callable[[BaseException], Any]) -> None:
        super().__init__(file, protocol=5)
        self._reduce = reduce

    def reducer_override(self, obj: Any) -> Any:
        return self._reduce(obj) if isinstance(obj, BaseException) else super().reducer_override(obj)


def _dumps(error: BaseException, reduce: Callable[[BaseException], Any]) -> bytes:
    with io.BytesIO() as file:
        _Pickler(file, reduce).dump(error)
        return file.getvalue()


def _own_way(error: BaseException) -> Any:
    return error.__reduce_ex__(5)


def _bare(error: BaseException) -> Any:
    return rebuild, (type(error), error.args, dict(error.__dict__))


def _unpack_one(link: PackedError) -> BaseException:
    error = _opened(link)
    return error.with_traceback(Traceback.from_dict(link.frames).as_traceback()) if link.frames else error


def _opened(link: PackedError) -> BaseException:
    reason = "cannot be pickled"
    if link.pickled is not None:
        try:
            error = pickle.loads(link.pickled)
        except Exception as failure:
            reason = f"cannot be opened here ({failure})"
        else:
            if isinstance(error, BaseException):
                return error
    summary = link.text.strip().rsplit("\n", 1)[-1]
    return RemoteError(f"{summary} (the exception itself {reason}; this is its text)", link.type_name, link.text)
