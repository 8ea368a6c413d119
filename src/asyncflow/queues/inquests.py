"""Workers lost under running tasks: what others say of their end is waited for, for a bounded time."""

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Protocol

from asyncflow.queues.causes import JobEnd, ProcessEnd

logger = logging.getLogger("asyncflow")

#: Seconds to wait for what parents of processes and queueing systems say; the latter are slow at times.
PATIENCE = 5.0


class Record(Protocol):
    """The job that a lost worker was in."""

    def is_settled(self, process: ProcessEnd | None) -> bool:
        """Whether nothing more is to be expected, given what the worker's parent said."""

    def end(self, log: str) -> JobEnd:
        """How it ended, as far as that is known by now; `log` is what `tail` said."""

    def tail(self) -> str:
        """The end of its log; may block."""


@dataclass(eq=False)
class Inquest:
    """One lost worker.

    Attributes
    ----------
    worker : str
        Its address.
    has_parent : bool
        Whether somebody saw its process end.
    record : Record or None
        Its job; None outside of queueing systems.
    subject : Any
        Whoever opened it gets this back.
    is_plain : bool
        Whether there is nothing to wait for.
    process : ProcessEnd or None
        What the parent said.
    """

    worker: str
    has_parent: bool
    record: Record | None
    subject: Any
    is_plain: bool = False
    process: ProcessEnd | None = None
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def is_settled(self) -> bool:
        """Whether all is known that will be."""
        if self.is_plain:
            return True
        if self.record is None:
            return self.process is not None or not self.has_parent
        return self.record.is_settled(self.process)

    def look(self) -> None:
        """There is news."""
        self._news.set()

    async def settled(self) -> None:
        """Wait until all is known, but not for ever."""
        with suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE):
                while not self.is_settled:
                    self._news.clear()
                    await self._news.wait()

    async def job(self) -> JobEnd | None:
        """What the queueing system said, with the end of the log, where that can be read in time."""
        if self.record is None:
            return None
        log = ""
        with suppress(TimeoutError):  # shared file systems hang at times
            log = await asyncio.wait_for(asyncio.to_thread(self.record.tail), PATIENCE)
        return self.record.end(log)


class Inquests:
    """Those that are open.

    Parameters
    ----------
    close : callable
        Called with each inquest, and what its queueing system said, when it is over.
    """

    def __init__(self, close: Callable[[Inquest, JobEnd | None], None]) -> None:
        self._close = close
        self._open: dict[str, Inquest] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def open(self, inquest: Inquest) -> None:
        """Begin."""
        self._open[inquest.worker] = inquest
        task = asyncio.get_running_loop().create_task(self._hold(inquest))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def note(self, worker: str, process: ProcessEnd | None) -> Any | None:
        """The parent of that worker's process speaks, of its end perhaps; the subject, if its inquest is open."""
        inquest = self._open.get(worker)
        if inquest is None:
            return None
        if process is not None:
            inquest.process = process
            inquest.look()
        return inquest.subject

    def look(self) -> None:
        """Queueing systems have spoken."""
        for inquest in self._open.values():
            inquest.look()

    async def stop(self) -> None:
        """Nobody wants to know any more."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _hold(self, inquest: Inquest) -> None:
        job = None
        try:
            await inquest.settled()
            job = await inquest.job()
        except Exception:  # tasks wait for it; they are to fail with what is known
            logger.exception("why worker %s was lost could not be found out", inquest.worker)
        self._open.pop(inquest.worker, None)
        self._close(inquest, job)
