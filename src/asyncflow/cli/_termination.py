"""SIGTERM while a script runs: its engines let what runs come to its end, then the script is interrupted."""

import asyncio
import os
import signal
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from types import FrameType
from typing import Any, Self

import click

from asyncflow import notice
from asyncflow.cli._configs import refuse

#: Seconds that what runs gets to end.
GRACE = 30.0

#: The exit status of what SIGTERM ended.
STATUS = 128 + signal.SIGTERM


def grace_of(given: str | None, environ: Mapping[str, str] = os.environ) -> float:
    """Seconds of grace: those given, else those of the environment, else `GRACE`; exit status 2 for nonsense."""
    from asyncflow.units import seconds

    told = given if given is not None else environ.get("ASYNCFLOW_GRACE") or None
    try:
        return seconds(told) if told is not None else GRACE
    except ValueError as error:
        refuse(f"{'ASYNCFLOW_GRACE' if given is None else '--grace'}: {error}")


class Termination:
    """SIGTERM ends the script as SIGINT does, after a grace period for what runs.

    It travels through whatever handles SIGINT: under ``asyncio.run`` that cancels the main task, so that ``async with``
    blocks close their engines. Where no event loop runs in the main thread, or without `grace`, it does so at once.

    Batch systems may send SIGTERM several times before they kill: only the first counts, and what it began is neither
    shortened nor broken off by the next. SIGINT ends the grace period at once; a second one breaks off the closing, as
    it does in Python.

    Parameters
    ----------
    grace : float
        Seconds that what runs gets to end.

    Attributes
    ----------
    received : bool
        Whether SIGTERM has come.
    has_ended_it : bool
        Whether it was that which ended the script: not the script itself, and not SIGINT.
    """

    def __init__(self, grace: float) -> None:
        self.received = False
        self.has_ended_it = False
        self._interrupted = False
        self._grace = grace
        self._notice = notice.Notice()
        self._stack = ExitStack()
        self._passed_on = False
        self._to_interrupt: Any = None
        self._giving: asyncio.Task[None] | None = None

    def __enter__(self) -> Self:
        """Handle SIGTERM, and have engines join."""
        self._stack.enter_context(notice.entered(self._notice))
        self._term = signal.signal(signal.SIGTERM, self._handle)
        self._int = signal.getsignal(signal.SIGINT)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        """Leave signals as they were found, unless engines are still to be closed at exit, undisturbed by more."""
        is_ours = isinstance(error, SystemExit) and error.code == STATUS
        self.has_ended_it = self.received and is_ours and not self._interrupted
        if not self.received:
            signal.signal(signal.SIGTERM, self._term)
        elif signal.getsignal(signal.SIGINT) == self._interrupt:
            signal.signal(signal.SIGINT, self._int)
        self._stack.close()

    def _handle(self, _: int, frame: FrameType | None) -> None:
        if self.received:
            return
        self.received = True
        loop = _running_loop()
        if loop is None or not self._grace or not self._notice.is_heard:
            self._pass_on(signal.getsignal(signal.SIGINT), frame)
            return
        self._to_interrupt = signal.signal(signal.SIGINT, self._interrupt)
        loop.call_soon_threadsafe(self._give, loop)  # the loop may be in the middle of anything

    def _give(self, loop: asyncio.AbstractEventLoop) -> None:
        click.echo(f"asyncflow: SIGTERM: what runs has {self._grace:g} s to end, and nothing else begins", err=True)
        self._giving = loop.create_task(self._notice.give(self._grace, "terminated"))
        self._giving.add_done_callback(self._over)

    def _over(self, giving: "asyncio.Task[None]") -> None:
        if giving.cancelled():  # the script has come to its own end, and its loop with it
            return
        try:
            if not self._passed_on:
                signal.signal(signal.SIGINT, self._to_interrupt)
                self._pass_on(self._to_interrupt, None)  # before calls are cancelled: it is the script that ends
        finally:
            self._notice.cancel_all()

    def _interrupt(self, _: int, frame: FrameType | None) -> None:
        self._interrupted = True
        signal.signal(signal.SIGINT, self._to_interrupt)
        self._pass_on(self._to_interrupt, frame)

    def _pass_on(self, handler: Callable[[int, FrameType | None], Any] | int | None, frame: FrameType | None) -> None:
        self._passed_on = True
        if callable(handler):
            handler(signal.SIGINT, frame)
        else:  # ignored, as a shell arranges for jobs in its background: SIGTERM still ends the script
            raise KeyboardInterrupt


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
