"""What travels to a worker, and how it runs there."""

import dataclasses
import functools
import inspect
import os
import pickle
import socket
import threading
import uuid
from collections.abc import Callable
from concurrent.futures import CancelledError
from pathlib import Path
from random import Random
from typing import Any

from asyncflow.arguments import fill
from asyncflow.attempts import delay_before, worth_another
from asyncflow.capture import captured
from asyncflow.carrier import bound, bound_apart
from asyncflow.command import Command, command_environment, parse_command
from asyncflow.deadline import killed_in_time, left_in_time
from asyncflow.declared import with_files
from asyncflow.errors import CorruptResultError, EmptyBodyError, FencedError, MissingModuleError
from asyncflow.failures import PackedError, carried, pack, told
from asyncflow.groups import Guardian
from asyncflow.isolated import IsolatedBody
from asyncflow.keep import Ticket, kept
from asyncflow.logs import Body, inside
from asyncflow.loops import run_coroutine
from asyncflow.measure import Measure, Meter
from asyncflow.output import Output, output_directory
from asyncflow.recipe import Kind, Recipe
from asyncflow.slots import Slots
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


class Site:
    """What one worker (or executor) gives to the bodies that run on it.

    Attributes
    ----------
    overdue : list of str
        The names of the tasks whose functions still run though their time is over; nobody waits for them.
    is_heard : bool
        Whether anybody wants to know what bodies take.
    """

    def __init__(self, cores: int, devices: int = 0) -> None:
        self.slots = Slots(cores, devices)
        self.guardian = Guardian()
        self.overdue: list[str] = []
        self.random = Random()  # noqa: S311 - spreads attempts over time
        self.is_heard = False
        self._stops: dict[str, Stop] = {}
        self._running: set[str] = set()
        self._measures: dict[str, Measure] = {}

    def begin(self, key: str) -> Stop:
        """A body begins; its stop sign."""
        stop = self._stops[key] = Stop()
        return stop

    def end(self, key: str) -> None:
        """It ended."""
        self._stops.pop(key, None)

    def stop(self, key: str) -> None:
        """End that body early; nothing where it does not run here."""
        stop = self._stops.get(key)
        if stop is not None:
            stop.set()

    def entered(self, key: str, meter: Meter | None) -> None:
        """The body of `key` is about to begin, in this thread: it has its cores, and its files are there."""
        if meter is not None:
            meter.begin(is_alone=not self._running)
            self._running.add(key)

    def left(self, key: str, meter: Meter | None) -> None:
        """It has ended, in this thread."""
        if meter is not None:
            self._running.discard(key)
            meter.end()

    def note(self, key: str, measure: Measure) -> None:
        """An attempt of `key` is over, and took that."""
        self._measures[key] = measure

    def take_measure(self, key: str) -> Measure | None:
        """What the last attempt of `key` took; None where that is not known."""
        return self._measures.pop(key, None)

    def prompt(self, text: str, name: str) -> Any:
        """Answer a prompt.

        Raises
        ------
        NotImplementedError
            Here: only backends that serve prompts can.
        """
        raise NotImplementedError(
            f"prompt task {name!r} reached a backend that does not serve prompts; register one that does with "
            f"create(backend=[..., it]) and route the task to it with backend='its name' (prompt: {text[:60]!r})"
        )

    def close(self) -> None:
        """End what still runs and can be ended; threads that cannot are left."""
        for stop in list(self._stops.values()):
            stop.set()
        self.guardian.close()


_inside = threading.local()


def is_inside() -> bool:
    """Whether this thread runs the body of a task, where tasks called are plain functions."""
    return getattr(_inside, "depth", 0) > 0


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
            run = functools.partial(_in_time, key=key, site=site, devices=devices, stop=stop, meter=meter)
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


def _in_time(
    recipe: Recipe,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    key: str,
    site: Site,
    devices: list[str],
    stop: Stop,
    meter: Meter | None,
) -> Any:
    is_apart = recipe.kind is Kind.FUNCTION and (recipe.isolated or site.slots.is_share(devices))
    if is_apart:
        env = command_environment(recipe.cores, devices, recipe.env)
        process = IsolatedBody(bound_apart(recipe.function), args, kwargs, recipe.name, env, recipe.memory_limit)
        inner: Callable[[Stop], Any] = functools.partial(_apart, process, recipe, key, site)
    else:
        inner = bound(functools.partial(_here, recipe, key, args, kwargs, site, devices))
    body = functools.partial(_observed, inner, key, site, meter)
    if recipe.timeout is None:
        return body(stop)
    if is_apart:
        return killed_in_time(body, recipe.timeout, recipe.name, stop)
    listens = recipe.kind is Kind.COMMAND or inspect.iscoroutinefunction(recipe.function)
    return left_in_time(body, recipe.timeout, recipe.name, stop, site.overdue, listens=listens)


def _observed(body: Callable[[Stop], Any], key: str, site: Site, meter: Meter | None, stop: Stop) -> Any:
    site.entered(key, meter)
    try:
        return body(stop)
    finally:
        site.left(key, meter)


def _apart(process: IsolatedBody, recipe: Recipe, key: str, site: Site, stop: Stop) -> Any:
    if not recipe.captures:
        return process.run(stop, site.guardian)
    with _output(recipe, key) as output:
        try:
            return process.run(stop, site.guardian, output)
        except Exception as error:
            if not stop.is_set():
                output.tell(error)
            raise


def _here(
    recipe: Recipe,
    key: str,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    site: Site,
    devices: list[str],
    stop: Stop,
) -> Any:
    if not recipe.captures or recipe.kind is Kind.COMMAND:
        return _body(recipe, key, args, kwargs, site, devices, stop)
    with captured(_output(recipe, key)):
        return _body(recipe, key, args, kwargs, site, devices, stop)


def _output(recipe: Recipe, key: str) -> Output:
    """The files of one attempt; a command that resolves to one of them has it in a directory of its own."""
    is_own = recipe.is_file and recipe.workdir and recipe.cwd is not None
    return Output(Path(recipe.cwd or "") if is_own else output_directory(recipe.root, key), recipe.capture_limit)


def _body(
    recipe: Recipe,
    key: str,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    site: Site,
    devices: list[str],
    stop: Stop,
) -> Any:
    _inside.depth = getattr(_inside, "depth", 0) + 1
    try:
        returned = recipe.function(*args, **kwargs)
        if inspect.iscoroutine(returned):
            returned = run_coroutine(returned, stop)
    finally:
        _inside.depth -= 1
    if recipe.kind is Kind.COMMAND:
        return _run_command(recipe, key, returned, site, stop, devices)
    if recipe.kind is Kind.PROMPT:
        return site.prompt(parse_prompt(returned, recipe.name), recipe.name)
    return returned


def _run_command(recipe: Recipe, key: str, returned: Any, site: Site, stop: Stop, devices: list[str]) -> str:
    argv = parse_command(returned, recipe.name, shell=recipe.shell)
    env = command_environment(recipe.cores, devices, recipe.env)
    output = _output(recipe, key) if recipe.captures else None
    return Command(argv, env, recipe.cwd, output, is_file=recipe.is_file).run(stop, site.guardian)


def parse_prompt(returned: Any, name: str) -> str:
    """What the body of a prompt task returned, if it is a prompt.

    Raises
    ------
    EmptyBodyError
        When there is nothing to ask.
    """
    if isinstance(returned, str) and returned.strip():
        return returned
    raise EmptyBodyError(f"prompt task {name!r} returned {returned!r}; return a non-empty string prompt")


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
