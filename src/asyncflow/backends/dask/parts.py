"""The values of a bundle, which are one value for Dask, and how each is taken out of them."""

import pickle
import sys
from typing import Any

from asyncflow.call import RemoteFailure, failure_of
from asyncflow.errors import LostError
from asyncflow.pickles import dumps


class Carried:
    """A value of a bundle that is not plain data: it goes with the others as bytes, which only who takes it opens.

    So a value that cannot be pickled, or not be opened again, costs no other one.

    Parameters
    ----------
    data : bytes or RemoteFailure
        The value pickled, or what it is elsewhere as that cannot be done.
    *held
        The value, where it is at hand.
    """

    __slots__ = ("_held", "data")

    def __init__(self, data: bytes | RemoteFailure, *held: Any) -> None:
        self.data = data
        self._held = held

    @property
    def is_stuck(self) -> bool:
        """Whether it cannot be brought elsewhere."""
        return isinstance(self.data, RemoteFailure)

    def light(self) -> "Carried":
        """The same without the value, if there are bytes for it."""
        return self if self.is_stuck else Carried(self.data)

    def open(self) -> Any:
        """The value.

        Raises
        ------
        RemoteFailure
            Where it could not be brought here.
        """
        if self._held:
            return self._held[0]
        if isinstance(self.data, RemoteFailure):
            raise self.data
        return pickle.loads(self.data)

    def __reduce__(self) -> tuple[Any, ...]:
        """What is held stays."""
        return Carried, (self.data,)

    def __sizeof__(self) -> int:
        """With its bytes, by which Dask decides where to run what takes it."""
        return object.__sizeof__(self) + sys.getsizeof(self.data)


def picked(value: Any, index: int | None) -> Any:
    """The value of a call: `value` itself, or the one at `index` where that is of a bundle.

    Raises
    ------
    RemoteFailure
        Where the call failed.
    """
    found = value if index is None else value[index]
    if isinstance(found, RemoteFailure):
        raise found
    return found.open() if isinstance(found, Carried) else found


def carried(value: Any, key: str, data: bytes | None) -> Carried:
    """`value` of the call `key` ready to go with others; `data` is the same pickled, where that is at hand."""
    try:
        return Carried(data if data is not None else dumps(value), value)
    except Exception as error:
        text = (
            f"the value of {key!r}, a {type(value).__name__}, could not be brought elsewhere ({error}); return "
            "something that can be pickled, or pass the future on without awaiting it"
        )
        return Carried(failure_of(LostError(text), key, key), value)
