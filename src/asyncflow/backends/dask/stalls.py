"""Bundles of which one call takes long after all: the other calls leave them."""

from collections.abc import Mapping, Sequence
from typing import Any

from asyncflow.accounts import Account
from asyncflow.backends.base import ExecutionBackend
from asyncflow.backends.dask.bundle import Bundle
from asyncflow.backends.dask.news import measured
from asyncflow.backends.dask.outcomes import Outcomes
from asyncflow.backends.dask.running import Word
from asyncflow.backends.dask.sending import Sender
from asyncflow.node import Node, Outcome
from asyncflow.states import TaskState


class Stalls:
    """Lets calls go whose bundle waits for one of them; on Dask's thread.

    What has ended is told, and its value becomes that of a Dask task of its own: otherwise who waits for it would wait
    for the call that takes long. What has not begun is sent again by itself.

    Parameters
    ----------
    backend : ExecutionBackend
        Who is told.
    sender : Sender
        Knows the bundles.
    outcomes : Outcomes
        Makes outcomes of what workers say.
    """

    def __init__(self, backend: ExecutionBackend, sender: Sender, outcomes: Outcomes) -> None:
        self._backend = backend
        self._sender = sender
        self._outcomes = outcomes

    def take(self, news: Mapping[str, Any]) -> None:
        """A worker says of which bundle, what has ended, and what it does not begin."""
        bundle = self._sender.bundle(news["of"])
        if bundle is None:
            return
        ended = [(Word(*word), data) for word, data in news["ended"]]
        stuck = self._sender.set_apart({word.key: data for word, data in ended if data is not None})
        waiting: dict[str, Node] = {}
        for word, data in ended:
            if word.key not in stuck:
                waiting |= self._tell(bundle, word, data)
        waiting |= self._hand_back(bundle, news["handed"])
        self._backend.post((node, _again(key)) for key, node in waiting.items())

    def _tell(self, bundle: Bundle, word: Word, data: bytes | None) -> dict[str, Node]:
        """Say what came of one call; the calls that wait for its value as part of the bundle, by key."""
        node = bundle.node(word.key)
        if node is None:  # it was cancelled
            return {}
        bundle.drop(word.key)
        if word.failure is None and self._backend.accounts_later:
            self._backend.account(word.key, Account(measured(word.measure), word.size))
        self._outcomes.on_word(node, word._replace(value=data) if node.awaited else word)
        behind = {each.key: each for each in list(node.dependents) if bundle.node(each.key) is None}
        return {key: each for key, each in behind.items() if self._sender.node(key) is each}

    def _hand_back(self, bundle: Bundle, keys: Sequence[str]) -> dict[str, Node]:
        """Take out of the bundle what is not begun."""
        found = {key: node for key in keys if (node := bundle.node(key)) is not None}
        # Now, or the end of the bundle would settle them; and on workers, where the bundle may be begun again.
        self._sender.forget({bundle.key: [key for key in found if bundle.drop(key)]})
        return found


def _again(key: str) -> Outcome:
    return Outcome(TaskState.PENDING, about=key, again=0)
