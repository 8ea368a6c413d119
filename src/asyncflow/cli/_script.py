"""Running a script in this process as ``python SCRIPT`` does, ended in order by signals."""

import logging
import os
import runpy
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType, TracebackType
from typing import Self

import click

from asyncflow.cli._configs import refuse
from asyncflow.errors import ConfigError


def configure_logging(level: str) -> None:
    """Show what the ``asyncflow`` logger says on standard error, from `level` up."""
    logger = logging.getLogger("asyncflow")
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s %(message)s", "%H:%M:%S"))
    # A script that configures logging itself gets the records there, and not twice.
    handler.addFilter(lambda _: not logging.getLogger().handlers)
    logger.addHandler(handler)
    logger.setLevel(level.upper())


def run(script: str, args: list[str], config: str | None) -> None:
    """Run `script` as ``__main__`` with `args`; `config` is what ``ASYNCFLOW_CONFIG`` says meanwhile.

    Raises
    ------
    SystemExit
        With the script's own status, 1 for an exception (its traceback is printed), 2 for a `ConfigError`, and
        130 or 143 when SIGINT or SIGTERM ended it. Exiting is left to the interpreter, never to ``os._exit``: an
        engine that the script left open closes itself at exit.
    """
    with _Termination() as termination, _as_main(script, args, config):
        try:
            runpy.run_path(script, run_name="__main__")
        except KeyboardInterrupt:
            click.echo("asyncflow: terminated" if termination.received else "asyncflow: interrupted", err=True)
            raise SystemExit(128 + (signal.SIGTERM if termination.received else signal.SIGINT)) from None
        except ConfigError as error:
            refuse(str(error))
        except SystemExit:
            raise
        except BaseException as error:
            shown = error.with_traceback(_from_script(error.__traceback__))
            sys.excepthook(type(shown), shown, shown.__traceback__)
            raise SystemExit(1) from None


class _Termination:
    """SIGTERM travels as SIGINT does, through whatever handles SIGINT when it arrives.

    Under ``asyncio.run`` that cancels the main task, so that ``async with`` blocks close their engines. Batch
    systems may send SIGTERM several times before they kill: only the first counts, and what it began is not broken
    off by the next (a second Ctrl-C does break it off, as it does in Python).
    """

    def __init__(self) -> None:
        self.received = False

    def __enter__(self) -> Self:
        self._before = signal.signal(signal.SIGTERM, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        if not self.received:  # else engines are still to be closed at exit, undisturbed by further ones
            signal.signal(signal.SIGTERM, self._before)

    def _handle(self, _: int, frame: FrameType | None) -> None:
        if self.received:
            return
        self.received = True
        handler = signal.getsignal(signal.SIGINT)
        if callable(handler):
            handler(signal.SIGINT, frame)
        else:  # ignored, as a shell arranges for jobs in its background: SIGTERM still ends the script
            raise KeyboardInterrupt


@contextmanager
def _as_main(script: str, args: list[str], config: str | None) -> Iterator[None]:
    """The arguments, the first entry of the module path and the environment as the script expects them."""
    argv, path, environment = sys.argv, sys.path[:], os.environ.get("ASYNCFLOW_CONFIG")
    sys.argv = [script, *args]
    if not sys.flags.safe_path:  # python -P keeps the script's directory out
        sys.path[0] = str(Path(script).resolve().parent)
    if config is not None:
        os.environ["ASYNCFLOW_CONFIG"] = config
    try:
        yield
    finally:
        sys.argv, sys.path[:] = argv, path
        if config is not None:
            os.environ.pop("ASYNCFLOW_CONFIG")
            if environment is not None:
                os.environ["ASYNCFLOW_CONFIG"] = environment


def _from_script(traceback: TracebackType | None) -> TracebackType | None:
    """`traceback` without the frames that lead to the script; nothing of a script that does not parse."""
    while traceback is not None and traceback.tb_frame.f_globals.get("__name__") in {__name__, "runpy"}:
        traceback = traceback.tb_next
    return traceback
