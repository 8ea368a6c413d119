"""Running a script in this process as ``python SCRIPT`` does, ended in order by signals."""

import os
import runpy
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from types import TracebackType

import click

from asyncflow.cli._configs import refuse
from asyncflow.cli._termination import STATUS, Termination
from asyncflow.errors import ConfigError, RunDirectoryError


def run(
    script: str,
    args: list[str],
    environ: Mapping[str, str | None],
    termination: Termination,
    display: AbstractContextManager[object],
) -> None:
    """Run `script` as ``__main__`` with `args`; meanwhile the environment has `environ`, and lacks what is None there.

    What `display` shows has gone before anything is told of how the script ended.

    Raises
    ------
    SystemExit
        With the script's own status, 1 for an exception (its traceback is printed), 2 for a `ConfigError` or a
        `RunDirectoryError`, and 130 or 143 when SIGINT or SIGTERM ended it. Exiting is left to the interpreter, never
        to ``os._exit``: an engine that the script left open closes itself at exit.
    """
    with termination, _as_main(script, args), _environment(environ):
        try:
            with display:
                _execute(script, args)
        except KeyboardInterrupt:
            click.echo("asyncflow: terminated" if termination.received else "asyncflow: interrupted", err=True)
            raise SystemExit(STATUS if termination.received else 128 + signal.SIGINT) from None
        except (ConfigError, RunDirectoryError) as error:
            refuse(str(error))
        except SystemExit:
            raise
        except BaseException as error:
            shown = error.with_traceback(_from_script(error.__traceback__))
            sys.excepthook(type(shown), shown, shown.__traceback__)
            raise SystemExit(1) from None


def _execute(script: str, args: list[str]) -> None:
    if is_pipeline(script):
        from asyncflow.cli import _pipelines

        _pipelines.run(script, args)
    else:
        runpy.run_path(script, run_name="__main__")


def is_pipeline(script: str) -> bool:
    """Whether it is a pipeline file, by its name, and not a program."""
    return Path(script).suffix in {".yaml", ".yml"}


@contextmanager
def _as_main(script: str, args: list[str]) -> Iterator[None]:
    """The arguments and the first entry of the module path as the script expects them."""
    argv, path = sys.argv, sys.path[:]
    sys.argv = [script, *args]
    if not sys.flags.safe_path:  # python -P keeps the script's directory out
        sys.path[0] = str(Path(script).resolve().parent)
    try:
        yield
    finally:
        sys.argv, sys.path[:] = argv, path


@contextmanager
def _environment(environ: Mapping[str, str | None]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in environ}
    _set(environ)
    try:
        yield
    finally:
        _set(before)


def _set(environ: Mapping[str, str | None]) -> None:
    for name, value in environ.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


def _from_script(traceback: TracebackType | None) -> TracebackType | None:
    """`traceback` without the frames that lead to the script; nothing of a script that does not parse."""
    while traceback is not None and traceback.tb_frame.f_globals.get("__name__") in {__name__, "runpy"}:
        traceback = traceback.tb_next
    return traceback
