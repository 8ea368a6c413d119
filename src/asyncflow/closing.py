"""The end of an engine: what runs is cancelled, and everything that it opened is closed, in order and in time."""

import asyncio
import logging
import time
import warnings
from collections.abc import Iterable
from contextlib import suppress
from typing import TYPE_CHECKING

from asyncflow.backends.base import ExecutionBackend
from asyncflow.dispatch import Dispatch
from asyncflow.events import SessionEnded, UserEvents
from asyncflow.keeping import Keeping
from asyncflow.looks import Looks
from asyncflow.winding import Winding

if TYPE_CHECKING:
    from asyncflow.telemetry import Telemetry

logger = logging.getLogger("asyncflow")

#: Seconds that callbacks have, at the end, to take what they have not been told yet.
_LAST_CALLBACKS = 5.0

#: Seconds that what the last calls took has to arrive.
_LAST_NEWS = 1.0


class Closing:
    """Closes one engine.

    Parameters
    ----------
    dispatch : Dispatch
        Its calls and backends.
    winding : Winding
        Lets what runs end first, where there is a grace.
    looks : Looks
        What it shows of itself.
    events : UserEvents
        Who is told to the end.
    timeout : float
        Seconds that each part may take.

    Attributes
    ----------
    telemetry : Telemetry or None
        Is ended as well.
    """

    def __init__(self, dispatch: Dispatch, winding: Winding, looks: Looks, events: UserEvents, timeout: float) -> None:
        self.telemetry: Telemetry | None = None
        self._opened = time.time()
        self._dispatch = dispatch
        self._winding = winding
        self._looks = looks
        self._events = events
        self._timeout = timeout

    async def run(self, grace: float) -> None:
        """Close; what runs has `grace` seconds to end, and is cancelled then."""
        logger.info("Shutdown is triggered, terminating the resources gracefully")
        if grace > 0:
            await self._winding.wind_down(grace)
        self._dispatch.closed = True
        ledger = self._dispatch.ledger
        try:
            self._dispatch.cancel_all()
            async with asyncio.timeout(self._timeout):
                await ledger.drained()
        except TimeoutError:
            logger.warning("%d calls did not end in time", len(ledger.unfinished()))
        finally:
            ledger.report()
            self._looks.close()
            with suppress(TimeoutError):  # of what ended last, news is on its way
                await asyncio.wait_for(asyncio.wrap_future(ledger.accounts.known()), _LAST_NEWS)
            await asyncio.gather(*(self._close_backend(backend) for backend in self._dispatch.backends.values()))
            await self._close_events()
            await asyncio.to_thread(self._dispatch.keeping.close)

    async def _close_events(self) -> None:
        self._dispatch.ledger.accounts.settle()
        events = self._dispatch.events
        if events.is_heard:
            events.tell(SessionEnded(session_id=self._dispatch.uid, duration=time.time() - self._opened))
        await self._events.close(_LAST_CALLBACKS)
        if self.telemetry is not None:
            await self.telemetry.stop()

    async def _close_backend(self, backend: ExecutionBackend) -> None:
        try:
            async with asyncio.timeout(self._timeout):
                await backend.close(self._timeout)
        except TimeoutError:
            logger.warning("backend %r did not close within %g s", backend.name, self._timeout)
        except Exception:
            logger.exception("backend %r did not close cleanly", backend.name)


def abandon(uid: str, backends: Iterable[ExecutionBackend], keeping: Keeping) -> None:
    """Close what an engine that was dropped, or left open at exit, has opened, without a loop."""
    warnings.warn(
        f"engine {uid} was left open; use `async with WorkflowEngine.create() as flow` or `await flow.shutdown()`",
        ResourceWarning,
        stacklevel=2,
    )
    for backend in backends:
        backend.abandon()
    keeping.close()
