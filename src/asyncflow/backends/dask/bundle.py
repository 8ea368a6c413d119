"""Calls that were sent as one Dask task: what the driver knows of them together, and the hold of each on its value."""

from collections.abc import Sequence
from typing import Any

from distributed import Future

from asyncflow.backends.dask.graph import Sent, Spot
from asyncflow.backends.dask.running import Word
from asyncflow.node import Node


class Bundle:
    """One bundle; its Dask future lives as long as any of its calls holds its `Share`.

    Attributes
    ----------
    key : str
        Of the Dask task.
    future : distributed.Future
        Of all values together.
    size : int
        Bytes of the values, once they are there.
    pieces : list of distributed.Future
        Its large arguments, held while it is unfinished.
    """

    def __init__(self, key: str, calls: Sequence[Sent], future: Future) -> None:
        self.key = key
        self.future = future
        self.size = 0
        self.pieces: list[Any] = []
        self._calls: dict[str, Node] = {sent.key: sent.node for sent in calls}  # those that are wanted and unfinished

    def node(self, key: str) -> Node | None:
        """The unfinished call with that key."""
        return self._calls.get(key)

    def nodes(self) -> list[tuple[str, Node]]:
        """The unfinished calls, by key, in the order in which they run."""
        return list(self._calls.items())

    def drop(self, key: str) -> bool:
        """Nobody wants that call any more; whether it was unfinished."""
        return self._calls.pop(key, None) is not None

    def end(self, words: Sequence[Word] = ()) -> dict[str, Node]:
        """All of it is over, as `words` say; what was unfinished, by key."""
        ended, self._calls = self._calls, {}
        self.pieces = []
        self.size = sum(word.size for word in words)
        return ended


class Share:
    """What one call has of a bundle; the bundle's values go when the last of these does."""

    __slots__ = ("__weakref__", "bundle", "index", "key", "picked")

    def __init__(self, bundle: Bundle, index: int, key: str) -> None:
        self.bundle = bundle
        self.index = index
        self.key = key
        self.picked: Any = None  #: the Dask future of the value alone, where somebody asked for one

    @property
    def spot(self) -> Spot:
        """Where its value is, or will be."""
        return Spot(self.bundle.key, self.index)

    @property
    def node(self) -> Node | None:
        """The call, while it is unfinished."""
        return self.bundle.node(self.key)
