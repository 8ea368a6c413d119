"""What travels to a worker, and how it runs there."""

import dataclasses
import functools
import os
import pickle
import socket
import uuid
from concurrent.futures import CancelledError
from typing import Any

from asyncflow.arguments import fill
from asyncflow.attempts import delay_before, worth_another
from asyncflow.body import is_inside, run_body
from asyncflow.declared import with_files
from asyncflow.errors import CorruptResultError, FencedError, MissingModuleError
from asyncflow.failures import PackedError, carried, pack, told
from asyncflow.keep import Ticket, kept
from asyncflow.logs import Body, inside
from asyncflow.measure import Measure, Meter
from asyncflow.recipe import Recipe
from asyncflow.site import Site
from asyncflow.stop import Stop


class RemoteFailure(Exception):  # noqa: N818 - it is the wrapping of an error, not an error
    """How a body's exception crosses: plain data, so that whoever carries it need not import user code.

    Dask hands the same object to every dependent; `key` tells whose it is, and `measure` what its last attempt took.
    """

    def __init__(self, key: str, chain: list[PackedError], measure: Measure | None = None) -> None:
        super().__init__(key, chain, measure)
        self.key = key
        self.chain = chain
        self.measure = measure

    def __str__(self) -> str:
        """What Dask's dashboard shows."""
        return self.chain[0].text.strip().rsplit("\n", 1)[-1]

    def __repr__(self) -> str:
        """Short: schedulers keep and log it."""
        return f"RemoteFailure({self.key!r}, {str(self)!r})"


class RetryLater(Exception):  # noqa: N818 - a signal between `attempt` and its caller
    """The attempt failed and another is due after `delay` seconds; its cause, where it has not travelled, says why.

    Attributes
    ----------
    delay : float
        Seconds until the next attempt.
    attempt : int
        The number of the one that failed, counted from 1.
    reason : str
        Type and text of its error, in one line.
    measure : Measure or None
        What it took, where somebody wants to know.
    """

    def __init__(self, delay: float, attempt: int = 1, reason: str = "", measure: Measure | None = None) -> None:
        super().__init__(delay, attempt, reason, measure)
        self.delay = delay
        self.attempt = attempt
        self.reason = reason
        self.measure = measure

    def facts(self) -> dict[str, Any]:
        """For the event that tells of it."""
        return {"attempt": self.attempt, "error": self.reason, "delay": round(self.delay, 3)}


def attempt(
    recipe: Recipe,
    key: str,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    site: Site,
    stop: Stop,
    failed_before: int,
    ticket: Ticket | None = None,
) -> Any:
    """Run the body once; setting `stop` ends it early, and no other attempt follows.

    Parameters
    ----------
    failed_before : int
        How many attempts have failed.
    ticket : Ticket, optional
        Where the result is kept: one that is there already is the value, and the body is not run.

    Raises
    ------
    RetryLater
        When it failed and the recipe grants another attempt.
    BaseException
        What the body raised, when it does not.
    """
    meter = Meter() if site.is_heard else None
    try:
        with site.slots.hold(recipe.cores, recipe.devices) as devices, inside(_told_of(recipe, key)):
            if stop.is_set():  # while it waited for its turn, or between two attempts
                raise CancelledError
            run = functools.partial(run_body, key=key, site=site, devices=devices, stop=stop, meter=meter)
            body = functools.partial(with_files, recipe, key, args, kwargs, run)
            return body() if ticket is None else kept(ticket, body)
    except (FencedError, CorruptResultError):
        raise  # no attempt here mends that
    except BaseException as error:
        is_granted = failed_before < recipe.retries and not stop.is_set()
        if is_granted and worth_another(error, recipe.retry_on):
            failed = failed_before + 1
            measure = meter.leave() if meter is not None else None
            raise RetryLater(delay_before(failed, recipe, site.random), failed, told(error), measure) from error
        raise
    finally:
        if meter is not None and (measure := meter.leave()) is not None:
            site.note(key, measure)


def _told_of(recipe: Recipe, key: str) -> Body | None:
    """Of which body log lines tell: of the call that runs here, not of a task that its body calls as a function."""
    return None if is_inside() else Body(recipe.run, recipe.name, key)


def open_call(recipe: bytes, arguments: bytes, values: list[Any]) -> tuple[Recipe, tuple[Any, ...], dict[str, Any]]:
    """Recipe and arguments from their bytes, on the worker.

    Raises
    ------
    MissingModuleError
        Naming the module that cannot be imported here.
    """
    try:
        opened = _open_recipe(recipe)
        args, kwargs = pickle.loads(arguments)
    except ModuleNotFoundError as error:
        where = f"{socket.gethostname()} (pid {os.getpid()})"
        raise MissingModuleError(
            f"module {error.name!r} cannot be imported on worker {where}; install it there, or put it beside the "
            "script, on a path that the workers see",
            error.name or "",
            where,
        ) from error
    return opened, *fill(args, kwargs, values)


def failure_of(error: BaseException, key: str, name: str, measure: Measure | None = None) -> RemoteFailure:
    """`error` of the body of `key`, ready to travel."""
    return RemoteFailure(key, pack(carried(error, name)), measure)


@functools.lru_cache(maxsize=256)
def _open_recipe(data: bytes) -> Recipe:
    recipe = pickle.loads(data)
    assert isinstance(recipe, Recipe)
    return recipe


class Inline:
    """An executable task as it is inside another task's body: calling it runs the command right there."""

    def __init__(self, recipe: Recipe) -> None:
        # What surrounds it is captured, if anything; its own files are there only where one is its result.
        self.recipe = dataclasses.replace(recipe, captures=recipe.is_file)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """What the command wrote to its standard output (or the answer to the prompt)."""
        site = Site(cores=max(self.recipe.cores, 1), devices=self.recipe.devices)
        try:
            key = f"{self.recipe.name}-{uuid.uuid4().hex[:12]}"  # its files are not those of another call
            return attempt(self.recipe, key, args, kwargs, site, Stop(), self.recipe.retries)
        finally:
            site.close()
