"""What travels to a worker, and how it runs there."""

import functools
import inspect
import os
import pickle
import socket
import threading
from collections.abc import Callable
from concurrent.futures import CancelledError
from pathlib import Path
from typing import Any

from asyncflow.arguments import fill
from asyncflow.command import Command, Guardian, command_environment, parse_command
from asyncflow.errors import EmptyBodyError, MissingModuleError, TaskTimeoutError
from asyncflow.failures import PackedError, carried, pack
from asyncflow.isolated import run_isolated
from asyncflow.loops import close_loop, run_coroutine
from asyncflow.options import RetryOn
from asyncflow.recipe import Kind, Recipe
from asyncflow.slots import Slots
from asyncflow.stop import Stop


class RemoteFailure(Exception):  # noqa: N818 - it is the wrapping of an error, not an error
    """How a body's exception crosses: plain data, so that whoever carries it need not import user code.

    Dask hands the same object to every dependent; `key` tells whose it is.
    """

    def __init__(self, key: str, chain: list[PackedError]) -> None:
        super().__init__(key, chain)
        self.key = key
        self.chain = chain

    def __str__(self) -> str:
        """What Dask's dashboard shows."""
        return self.chain[0].text.strip().rsplit("\n", 1)[-1]

    def __repr__(self) -> str:
        """Short: schedulers keep and log it."""
        return f"RemoteFailure({self.key!r}, {str(self)!r})"


class RetryLater(Exception):  # noqa: N818 - a signal between `attempt` and its caller
    """The attempt failed and another is due after `delay` seconds."""

    def __init__(self, delay: float) -> None:
        super().__init__(delay)
        self.delay = delay


class Site:
    """What one worker (or executor) gives to the bodies that run on it."""

    def __init__(self, cores: int, devices: int = 0) -> None:
        self.slots = Slots(cores, devices)
        self.guardian = Guardian()
        self._stops: dict[str, Stop] = {}

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
        """End what still runs."""
        for stop in list(self._stops.values()):
            stop.set()
        self.guardian.close()


_inside = threading.local()


def is_inside() -> bool:
    """Whether this thread runs the body of a task, where tasks called are plain functions."""
    return getattr(_inside, "depth", 0) > 0


def attempt(
    recipe: Recipe, key: str, args: tuple[Any, ...], kwargs: dict[str, Any], site: Site, stop: Stop, failed_before: int
) -> Any:
    """Run the body once; setting `stop` ends it early, and no other attempt follows.

    Raises
    ------
    RetryLater
        When it failed and the recipe grants another attempt.
    BaseException
        What the body raised, when it does not.
    """
    try:
        with site.slots.hold(recipe.cores, recipe.devices) as devices:
            if stop.is_set():  # while it waited for its turn, or between two attempts
                raise CancelledError
            body = functools.partial(_body, recipe, key, args, kwargs, site, devices)
            return body(stop) if recipe.timeout is None else _timed(body, recipe, stop)
    except BaseException as error:
        if failed_before < recipe.retries and not stop.is_set() and _worth_another(error, recipe.retry_on):
            raise RetryLater(recipe.retry_delay) from error
        raise


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


def failure_of(error: BaseException, key: str, name: str) -> RemoteFailure:
    """`error` of the body of `key`, ready to travel."""
    return RemoteFailure(key, pack(carried(error, name)))


@functools.lru_cache(maxsize=256)
def _open_recipe(data: bytes) -> Recipe:
    recipe = pickle.loads(data)
    assert isinstance(recipe, Recipe)
    return recipe


def _worth_another(error: BaseException, retry_on: RetryOn | None) -> bool:
    if not isinstance(error, Exception):
        return False
    if retry_on is None:
        return True
    if isinstance(retry_on, (type, tuple)):
        return isinstance(error, retry_on)
    return bool(retry_on(error))


def _body(
    recipe: Recipe,
    key: str,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    site: Site,
    devices: list[str],
    stop: Stop,
) -> Any:
    if recipe.kind is Kind.FUNCTION and site.slots.is_share(devices):
        env = command_environment(recipe.cores, devices, recipe.env)
        return run_isolated(recipe.function, args, kwargs, env, stop, site.guardian)
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
    capture = str(Path(recipe.capture, key)) if recipe.capture is not None else None
    return Command(argv, env, recipe.cwd, capture).run(stop, site.guardian)


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


def _timed(body: Callable[[Stop], Any], recipe: Recipe, stop: Stop) -> Any:
    # A thread of its own: the slot is given back at the deadline, whether the body listens or not.
    outcome: list[Any] = []
    own_stop = Stop()  # the deadline of one attempt does not forbid the next
    stop.add(own_stop.set)

    def run() -> None:
        try:
            outcome.extend((body(own_stop), None))
        except BaseException as error:
            outcome.extend((None, error))
        close_loop()
        finished.set()

    finished = threading.Event()
    threading.Thread(target=run, name=f"asyncflow-timed-{recipe.name}", daemon=True).start()
    if not finished.wait(recipe.timeout):
        own_stop.set()
        timeout = recipe.timeout or 0.0
        raise TaskTimeoutError(f"task {recipe.name!r} took longer than its timeout of {timeout:g} s", timeout)
    value, error = outcome
    if error is not None:
        raise error
    return value


class Inline:
    """An executable task as it is inside another task's body: calling it runs the command right there."""

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """What the command wrote to its standard output (or the answer to the prompt)."""
        site = Site(cores=max(self.recipe.cores, 1), devices=self.recipe.devices)
        try:
            return attempt(self.recipe, self.recipe.name, args, kwargs, site, Stop(), self.recipe.retries)
        finally:
            site.close()
