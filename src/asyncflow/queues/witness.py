"""What a worker's parent sees of its end, and tells the scheduler: what ran, exit status, memory, its last words."""

import asyncio
import logging
import resource
import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from distributed import Nanny, NannyPlugin, Scheduler
from distributed.core import Status
from distributed.protocol.pickle import dumps

from asyncflow.queues.bodies import VARIABLE, Bodies, Page, make_page
from asyncflow.queues.causes import ProcessEnd

logger = logging.getLogger("asyncflow")

#: The topic of its messages: ``{"worker": address, "bodies": the fields of Bodies}``, where those are known, and then
#: ``{"worker": address, "end": the fields of a ProcessEnd}``.
TOPIC = "asyncflow-ends"

#: Seconds to wait for the last lines of a log.
_PATIENCE = 1.0

_CGROUPS = Path("/sys/fs/cgroup")

_LEAVING = {Status.closing, Status.closed, Status.closing_gracefully, Status.failed}


class Witness(NannyPlugin):  # type: ignore[misc]
    """Tells how workers end that nobody told to.

    A nanny only logs that, on its own machine, and starts the worker again.

    Parameters
    ----------
    tail : callable, optional
        What the nanny's process and its worker wrote last; called in a thread.
    """

    name = "asyncflow-witness"

    def __init__(self, tail: Callable[[], str] | None = None) -> None:
        self._tail = tail
        self._most = 0
        self._terminated = -1
        self._kills: int | None = None
        self._page: Page | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def setup(self, nanny: Nanny) -> None:
        """Called by Dask, before the nanny starts its first worker."""
        self._most = _most_memory()
        self._kills = oom_kills()
        nanny.preload = [*(nanny.preload or ()), "asyncflow.queues._crashes"]
        self._page = make_page()
        if self._page is not None:
            nanny.preload += ["asyncflow.queues.bodies"]
            nanny.env = {**nanny.env, VARIABLE: self._page.path}
        restart = nanny._on_worker_exit_sync  # noqa: SLF001 - there is no other way to hear of an exit status

        def on_exit(status: int) -> None:
            page = self._page
            # The nanny is told late of a worker that has come, and has begun with what waited for it.
            worker = nanny.worker_address or (page.worker if page is not None else None)
            bodies = page.take() if page is not None else None  # before its successor writes there
            task = asyncio.get_running_loop().create_task(self._tell(nanny, worker, bodies, self._end(nanny, status)))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            restart(status)

        nanny._on_worker_exit_sync = on_exit  # noqa: SLF001

    def teardown(self, nanny: Nanny) -> None:
        """Called by Dask as the nanny closes, after which nobody wants to know how its worker ends."""
        del nanny
        page, self._page = self._page, None
        if page is not None:
            page.close()

    def _end(self, nanny: Nanny, status: int) -> ProcessEnd | None:
        """What is to be told; None where the worker had been told to end."""
        before, self._most = self._most, _most_memory()
        kills, self._kills = self._kills, oom_kills()
        terminated, self._terminated = self._terminated, nanny.memory_manager._last_terminated_pid  # noqa: SLF001
        if nanny.status in _LEAVING:
            return None
        return ProcessEnd(
            exit_code=None if status == 255 else status,  # which stands for one that nobody knows
            peak_memory=self._most if self._most > before else None,  # of all children so far; a new peak is its own
            limit=nanny.memory_manager.memory_limit,
            is_over_limit=self._terminated != terminated,
            is_oom=None if kills is None or self._kills is None else self._kills > kills,
            host=socket.gethostname(),
        )

    async def _tell(self, nanny: Nanny, worker: str | None, bodies: Bodies | None, end: ProcessEnd | None) -> None:
        if worker is None or end is None:
            return
        try:
            if bodies is not None:  # at once: tasks wait for it that are begun again if it was not under them
                told = {name: sorted(keys) for name, keys in bodies._asdict().items()}
                await nanny.scheduler.log_event(topic=TOPIC, msg={"worker": worker, "bodies": told})
            message: dict[str, Any] = {"worker": worker, "end": {**vars(end), "log": await self._last_words()}}
            await nanny.scheduler.log_event(topic=TOPIC, msg=message)
        except OSError as error:
            logger.debug("the end of worker %s could not be told: %s", worker, error)

    async def _last_words(self) -> str:
        if self._tail is not None:
            with suppress(TimeoutError):
                return await asyncio.wait_for(asyncio.to_thread(self._tail), _PATIENCE)
        return ""


def station(scheduler: Scheduler) -> None:
    """Let every nanny that comes to `scheduler` have a witness of its own."""
    scheduler.nanny_plugins[Witness.name] = dumps(Witness())


def _most_memory() -> int:
    """Bytes of the largest child that has ended so far."""
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024


def oom_kills(cgroups: Path = _CGROUPS, own: Path = Path("/proc/self/cgroup")) -> int | None:
    """How many processes of this control group the kernel has killed for memory; None where that is not told."""
    try:
        lines = own.read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if "memory" in controllers.split(","):
            root, name = cgroups / "memory", "memory.oom_control"
        elif not controllers:
            root, name = cgroups, "memory.events"
        else:
            continue
        # In a container the path may be that outside of it; what is mounted is then its own group.
        for directory in (root / path.lstrip("/"), root):
            with suppress(OSError, ValueError):
                found = dict(line.split(" ", 1) for line in (directory / name).read_text().splitlines())
                if "oom_kill" in found:
                    return int(found["oom_kill"])
    return None
