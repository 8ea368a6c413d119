"""How calls run inside a Dask worker: one in a task of its own, or several short ones one after the other in one."""

import pickle
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError
from contextlib import suppress
from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple

from distributed import get_worker
from distributed.sizeof import safe_sizeof

from asyncflow.call import RemoteFailure, RetryLater, attempt, failure_of, open_call
from asyncflow.carrier import Carrier, within
from asyncflow.errors import LostError
from asyncflow.keep import Ticket
from asyncflow.pickles import dumps, open_piece
from asyncflow.references import PLAIN

if TYPE_CHECKING:
    from asyncflow.backends.dask.remote import WorkerSite

#: Said of the size of a value that must not be in a bundle.
ALONE = 1 << 60

#: Bytes of a value that is sent along with the word that its call is done; a larger one is fetched.
SMALL = 10_000


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


class Word(NamedTuple):
    """What a worker says of a call that has ended, as it goes to the driver with the word that its Dask task has."""

    key: str
    seconds: float  #: that its body took
    size: int = 0  #: of its value in memory, in bytes
    value: bytes | None = None  #: pickled, where somebody waits for it and it is small
    failure: bytes | None = None  #: pickled, of one in a bundle
    measure: tuple[Any, ...] | None = None  #: where somebody wants to know what bodies take


def run(
    plugin: str,
    key: str,
    recipe: bytes,
    arguments: bytes,
    ticket: Ticket | None,
    is_wanted: bool,
    picks: Sequence[int | None] | None,
    *values: Any,
) -> Any:
    """The body of the Dask task of one call.

    Parameters
    ----------
    picks : sequence of int or None, optional
        Which value of a bundle each of `values` stands for, where some are bundles.

    Raises
    ------
    RemoteFailure
        With whatever the body raised.
    """
    site: WorkerSite = get_worker().plugins[plugin].site
    try:
        inputs = list(values) if picks is None else [picked(*each) for each in zip(values, picks, strict=True)]
        value, word = _run(site, key, recipe, arguments, ticket, is_wanted, inputs)
    except RemoteFailure as error:
        failure = error
    else:
        site.report(key, [word])
        return value
    # Outside the handler: as its context the original would travel along, which perhaps cannot be pickled.
    raise failure


class Round:
    """The calls of a bundle, one after the other, until the others are handed back as one of them takes too long."""

    def __init__(self, members: Sequence[Member]) -> None:
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


def run_bundle(plugin: str, key: str, data: bytes, *values: Any) -> tuple[Any, ...]:
    """The body of the Dask task of several calls: each fails for itself, and has its value or failure here."""
    site: WorkerSite = get_worker().plugins[plugin].site
    recipes, members = pickle.loads(data)
    results: list[Any] = []
    words: list[Word] = []
    stop = site.begin(key)
    current = Round(members)
    site.hand_back_later(key, current)
    try:
        for member in current:
            if stop.is_set():  # nobody wants any of it, or the worker ends
                raise failure_of(CancelledError(), key, key)
            results.append(_run_member(site, recipes[member.recipe], member, stop.add, values, results, words))
    finally:
        site.end(key)
    site.report(key, words)
    return _kept(key, members, results)


def _kept(key: str, members: Sequence[Member], results: Sequence[Any]) -> tuple[Any, ...]:
    """What others can ask for: nobody can for what only calls of the bundle take, all of which have taken it."""
    left = range(len(results), len(members))  # they were handed back
    failed = (place for place, result in enumerate(results) if isinstance(result, RemoteFailure))
    again = {each.place for place in (*left, *failed) for each in members[place].inputs if each.is_member}
    kept = [member.is_kept or place in again for place, member in enumerate(members)]
    if len(results) == len(members) and all(kept):
        return tuple(results)
    gone = failure_of(LostError(f"a value of bundle {key!r} was not kept, as nobody could ask for it"), key, key)
    sent = failure_of(LostError("its call was sent again, as another Dask task: ask for dask_future anew"), key, key)
    found = (result if is_kept else gone for is_kept, result in zip(kept, results, strict=False))
    return (*found, *(sent for _ in left))


class Apart:
    """A value that cannot travel, among others that can: where it goes with them all the same, it is a failure."""

    def __init__(self, value: Any, failure: RemoteFailure) -> None:
        self.value = value
        self._failure = failure

    def __reduce__(self) -> tuple[Any, ...]:
        return _same, (self._failure,)


def _same(value: Any) -> Any:
    return value


def _run_member(
    site: "WorkerSite",
    recipe: bytes,
    member: Member,
    on_stop: Callable[[Callable[[], object]], object],
    values: Sequence[Any],
    results: Sequence[Any],
    words: list[Word],
) -> Any:
    """The value of one call of a bundle, or how it failed."""
    on_stop(lambda: site.stop(member.key))
    try:
        inputs = [_input(each, values, results) for each in member.inputs]
        what = (site, member.key, recipe, member.arguments, member.ticket, member.is_wanted, inputs)
        value, word = within(member.carrier, _run, *what)
    except RemoteFailure as failure:
        words.append(Word(member.key, 0.0, failure=pickle.dumps(failure)))
        return failure
    if word.value is None and type(value) not in PLAIN:
        value, word = _checked(value, word)
    words.append(word)
    return value


def _checked(value: Any, word: Word) -> tuple[Any, Word]:
    """`value`, apart where it cannot be pickled; the next one of its task then travels alone."""
    try:
        dumps(value)
    except Exception as error:
        text = (
            f"the value of {word.key!r}, a {type(value).__name__}, could not be brought elsewhere ({error}); return "
            "something that can be pickled, or pass the future on without awaiting it"
        )
        return Apart(value, failure_of(LostError(text), word.key, word.key)), word._replace(size=ALONE)
    return value, word


def _input(each: Input, values: Sequence[Any], results: Sequence[Any]) -> Any:
    if each.is_member:
        return picked(results, each.place)
    return picked(values[each.place], each.part)


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
    return found.value if isinstance(found, Apart) else found


def _run(
    site: "WorkerSite",
    key: str,
    recipe: bytes,
    arguments: bytes,
    ticket: Ticket | None,
    is_wanted: bool,
    values: list[Any],
) -> tuple[Any, Word]:
    """Open the call and run it, again while its recipe grants it.

    Raises
    ------
    RemoteFailure
        With whatever the body raised.
    """
    stop = site.begin(key)
    name = key
    failed_before = 0
    try:
        opened, args, kwargs = open_call(recipe, arguments, values)
        name = opened.name
        begun = perf_counter()  # not before: the first call of a task on each worker imports what the others find there
        while True:
            try:
                value = attempt(opened, key, args, kwargs, site, stop, failed_before, ticket)
            except RetryLater as later:
                failed_before += 1
                site.retried(key, later)
                if later.delay:
                    site.pause(key, later.delay, stop)
            else:
                return value, _word(site, key, perf_counter() - begun, value, is_wanted=is_wanted)
    except BaseException as error:
        failure = error if isinstance(error, RemoteFailure) else failure_of(error, key, name, site.take_measure(key))
    finally:
        site.end(key)
    raise failure


def _word(site: "WorkerSite", key: str, seconds: float, value: Any, *, is_wanted: bool) -> Word:
    size = safe_sizeof(value)
    data = None
    if is_wanted and size <= SMALL:
        with suppress(Exception):  # then it is fetched, and whoever waits hears what is wrong with it
            data = dumps(value)
    measure = site.take_measure(key)
    return Word(key, seconds, size, data if data is not None and len(data) <= SMALL else None, None, measure)


def open_large(data: bytes) -> Any:
    """The value of a large argument, opened once on a worker and shared by its consumers."""
    return open_piece(data)
