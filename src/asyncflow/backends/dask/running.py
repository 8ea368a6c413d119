"""How a call runs inside a Dask worker, and what the worker says of it."""

from collections.abc import Sequence
from contextlib import suppress
from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple

from distributed import get_worker
from distributed.sizeof import safe_sizeof

from asyncflow.backends.dask.parts import picked
from asyncflow.call import RemoteFailure, RetryLater, attempt, failure_of, open_call
from asyncflow.keep import Ticket
from asyncflow.pickles import dumps, open_piece
from asyncflow.stop import Stop

if TYPE_CHECKING:
    from asyncflow.backends.dask.remote import WorkerSite

#: Bytes of a value that is sent along with the word that its call is done; a larger one is fetched.
SMALL = 10_000


class Word(NamedTuple):
    """What a worker says of a call that has ended, as it goes to the driver with the word that its Dask task has."""

    key: str
    seconds: float  #: that its body took
    size: int = 0  #: of its value in memory, in bytes
    value: bytes | None = None  #: pickled, where somebody waits for it and it is small
    failure: bytes | None = None  #: pickled, of one in a bundle
    measure: tuple[Any, ...] | None = None  #: where somebody wants to know what bodies take
    is_stuck: bool = False  #: whether the value is one that cannot be brought elsewhere


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
        value, word = run_call(site, key, recipe, arguments, ticket, is_wanted, inputs)
    except RemoteFailure as error:
        failure = error
    else:
        site.report(key, [word])
        return value
    # Outside the handler: as its context the original would travel along, which perhaps cannot be pickled.
    raise failure


def run_call(
    site: "WorkerSite",
    key: str,
    recipe: bytes,
    arguments: bytes,
    ticket: Ticket | None,
    is_wanted: bool,
    values: list[Any],
    outer: Stop | None = None,
) -> tuple[Any, Word]:
    """Open the call and run it, again while its recipe grants it, and until the `outer` stop sign is set.

    Raises
    ------
    RemoteFailure
        With whatever the body raised.
    """
    stop = site.begin(key)
    if outer is not None:
        outer.add(stop.set)
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
