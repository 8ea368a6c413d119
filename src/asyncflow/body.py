"""How the body of one attempt runs: here or in a process of its own, in its time, with its output where it belongs."""

import functools
import inspect
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from asyncflow.capture import captured
from asyncflow.carrier import bound, bound_apart
from asyncflow.command import Command, command_environment, parse_command
from asyncflow.deadline import killed_in_time, left_in_time
from asyncflow.errors import EmptyBodyError
from asyncflow.isolated import IsolatedBody
from asyncflow.loops import run_coroutine
from asyncflow.measure import Meter
from asyncflow.output import Output, output_directory
from asyncflow.recipe import Kind, Recipe
from asyncflow.site import Site
from asyncflow.stop import Stop

_inside = threading.local()


def is_inside() -> bool:
    """Whether this thread runs the body of a task, where tasks called are plain functions."""
    return getattr(_inside, "depth", 0) > 0


def run_body(
    recipe: Recipe,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    key: str,
    site: Site,
    devices: list[str],
    stop: Stop,
    meter: Meter | None,
) -> Any:
    """What the body returns, or the command writes that it returned; setting `stop` ends it early.

    Parameters
    ----------
    devices : list of str
        Names of the devices that it has.
    meter : Meter or None
        Measures it, where somebody wants to know.

    Raises
    ------
    BaseException
        What it raised.
    TaskTimeoutError
        When its time was over.
    """
    is_apart = recipe.kind is Kind.FUNCTION and (recipe.isolated or site.slots.is_share(devices))
    if is_apart:
        env = command_environment(recipe.cores, devices, recipe.env)
        process = IsolatedBody(bound_apart(recipe.function), args, kwargs, recipe.name, env, recipe.memory_limit)
        inner: Callable[[Stop], Any] = functools.partial(_apart, process, recipe, key, site)
    else:
        inner = functools.partial(_body, recipe, key, args, kwargs, site, devices)
        if recipe.captures and recipe.kind is not Kind.COMMAND:  # a command writes its files itself
            inner = functools.partial(_captured, inner, recipe, key)
        inner = bound(inner)
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


def _captured(body: Callable[[Stop], Any], recipe: Recipe, key: str, stop: Stop) -> Any:
    with captured(_output(recipe, key)):
        return body(stop)


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
