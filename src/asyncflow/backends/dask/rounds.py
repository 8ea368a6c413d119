"""How several short calls run inside a Dask worker, one after the other in one task."""

import pickle
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import CancelledError
from contextvars import copy_context
from typing import TYPE_CHECKING, Any, NamedTuple

from distributed import get_worker, rejoin
from distributed.threadpoolexecutor import thread_state

from asyncflow.backends.dask.experience import SMALL
from asyncflow.backends.dask.parts import Carried, carried, picked
from asyncflow.backends.dask.running import Word, run_call
from asyncflow.call import RemoteFailure, failure_of
from asyncflow.carrier import Carrier, within
from asyncflow.errors import LostError
from asyncflow.keep import Ticket
from asyncflow.references import PLAIN
from asyncflow.stop import Stop

if TYPE_CHECKING:
    from asyncflow.backends.dask.remote import WorkerSite


class Input(NamedTuple):
    """Where a value is that a call depends on.

    Attributes
    ----------
    place : int
        Among the inputs of the Dask task, or with `is_member` among the calls of the bundle.
    part : int or None
        Which value of the bundle that the input is; None where the input is the value itself.
    """

    place: int
    part: int | None = None
    is_member: bool = False


class Member(NamedTuple):
    """One call of a bundle."""

    key: str
    recipe: int  #: which of the bundle's recipes
    arguments: bytes
    inputs: tuple[Input, ...]
    is_wanted: bool  #: whether somebody waits for its value
    is_kept: bool  #: whether anybody outside the bundle can ask for its value
    ticket: Ticket | None = None
    carrier: Carrier | None = None


class Round:
    """The calls of a bundle, one after the other, until the others are handed back as one of them takes too long.

    Attributes
    ----------
    results : list
        The values of those that have ended, and failures.
    words : list of Word
        What is to be said of them.
    """

    def __init__(self, members: Sequence[Member]) -> None:
        self.results: list[Any] = []
        self.words: list[Word] = []
        self._members = members
        self._next = 0
        self._lock = threading.Lock()

    def __iter__(self) -> Iterator[Member]:
        """Each that is to be run now."""
        while True:
            with self._lock:
                if self._next >= len(self._members):
                    return
                self._next += 1
                member = self._members[self._next - 1]
            yield member

    def hand_back(self) -> list[str]:
        """Keys of those that have not begun, and will not; from any thread."""
        with self._lock:
            left, self._members = self._members[self._next :], self._members[: self._next]
        return [member.key for member in left]

    def ended(self) -> list[tuple[tuple[Any, ...], bytes | None]]:
        """What is to be said of those that have ended while another runs, and their values pickled; from any thread.

        Those whose values are large, or cannot travel, are left out.
        """
        found = list(zip(self.words, self.results, strict=False))
        if len(found) == len(self._members):  # it is said at the end, which is now
            return []
        pickled = [(word, _light(word, result)) for word, result in found]
        return [(tuple(word), data) for word, data in pickled if word.failure is not None or data is not None]


def _light(word: Word, result: Any) -> bytes | None:
    """The value of a call pickled, where it is as small as those in bundles are thought to be."""
    if word.failure is not None or word.size > SMALL:
        return None
    if word.value is not None:
        return word.value
    data = result.data if isinstance(result, Carried) else pickle.dumps(result, protocol=5)
    return data if isinstance(data, bytes) and len(data) <= SMALL else None


def run_bundle(plugin: str, key: str, data: bytes, *values: Any) -> tuple[Any, ...]:
    """The body of the Dask task of several calls: each fails for itself, and has its value or failure here."""
    site: WorkerSite = get_worker().plugins[plugin].site
    recipes, members = pickle.loads(data)
    stop = site.begin(key)
    current = Round(members)
    site.hand_back_later(key, current)
    try:
        for member in current:
            if stop.is_set():  # nobody wants any of it, or the worker ends
                raise failure_of(CancelledError(), key, key)
            copy_context().run(_run_member, site, recipes[member.recipe], member, stop, values, current)
            if not thread_state.proceed:  # the body has left Dask's pool, which would miss this thread
                rejoin()
    finally:
        site.end(key)
    site.report(key, current.words)
    return _kept(key, members, current.results)


def _kept(key: str, members: Sequence[Member], results: Sequence[Any]) -> tuple[Any, ...]:
    """What others can ask for: nobody can for what only calls of the bundle take, all of which have taken it."""
    left = range(len(results), len(members))  # they were handed back
    failed = (place for place, result in enumerate(results) if isinstance(result, RemoteFailure))
    again = {each.place for place in (*left, *failed) for each in members[place].inputs if each.is_member}
    kept = [member.is_kept or place in again for place, member in enumerate(members)]
    found = [result.light() if isinstance(result, Carried) else result for result in results]
    if len(found) == len(members) and all(kept):
        return tuple(found)
    gone = failure_of(LostError(f"a value of bundle {key!r} was not kept, as nobody could ask for it"), key, key)
    sent = failure_of(LostError("its call was sent again, as another Dask task: ask for dask_future anew"), key, key)
    values = (result if is_kept else gone for is_kept, result in zip(kept, found, strict=False))
    return (*values, *(sent for _ in left))


def _run_member(
    site: "WorkerSite",
    recipe: bytes,
    member: Member,
    outer: Stop,
    values: Sequence[Any],
    current: Round,
) -> None:
    """Run one call of a bundle, and note what it comes to; `outer` is the stop sign of the bundle."""
    try:
        inputs = [_input(each, values, current.results) for each in member.inputs]
        what = (site, member.key, recipe, member.arguments, member.ticket, member.is_wanted, inputs, outer)
        value, word = within(member.carrier, run_call, *what)
    except BaseException as error:  # an input that does not open here, for one
        failure = error if isinstance(error, RemoteFailure) else failure_of(error, member.key, member.key)
        value, word = failure, Word(member.key, 0.0, failure=pickle.dumps(failure))
    if word.failure is None and type(value) not in PLAIN:
        value = carried(value, member.key, word.value)
        if value.is_stuck:  # the next one of its task travels alone
            word = word._replace(is_stuck=True)
    current.words.append(word)
    current.results.append(value)


def _input(each: Input, values: Sequence[Any], results: Sequence[Any]) -> Any:
    if each.is_member:
        return picked(results, each.place)
    return picked(values[each.place], each.part)
