"""How a worker leaves in order: no new task, results handed over, what runs left to run for as long as may be."""

import asyncio
import logging
from collections.abc import Callable, Container
from contextlib import suppress
from time import monotonic
from typing import Any

from distributed import Scheduler, Worker
from distributed.core import Status
from distributed.protocol import deserialize
from distributed.protocol.pickle import dumps

logger = logging.getLogger("asyncflow")

#: The stimulus of a worker's removal when its time is over.
LEFT = "asyncflow-left"

#: Seconds between looks at what still runs on a worker that leaves.
INTERVAL = 0.25


async def leave(scheduler: Scheduler, address: str, end: float) -> None:
    """See a worker off; what it still runs at `end` (`time.monotonic`) is cut."""
    try:
        await _drain(scheduler, address)
        while address in scheduler.workers:
            # Without another worker to hand results to, Dask would give up, and say so each time.
            moved = await _hand_over(scheduler, address, end) if scheduler.running else {}
            worker = scheduler.workers.get(address)
            if worker is None or not (worker.processing or (worker.has_what and address not in moved)):
                break
            if monotonic() >= end:
                break
            await asyncio.sleep(min(INTERVAL, max(0.0, end - monotonic())))
    except OSError as error:  # it went of its own accord meanwhile
        logger.debug("the worker %s left before it was told to: %s", address, error)
    await scheduler.remove_worker(address, stimulus_id=f"{LEFT}-{monotonic()}", expected=True, close=True)


async def _hand_over(scheduler: Scheduler, address: str, end: float) -> Container[str]:
    """Copy its results to others, for as long as there is time; the address, if that is done."""
    try:
        return await asyncio.wait_for(scheduler.retire_workers([address], remove=False), max(0.0, end - monotonic()))
    except TimeoutError:
        return ()


async def give_back(scheduler: Scheduler, addresses: list[str]) -> bool:
    """Let idle workers go, unless they hold results that nobody else can take.

    Returns
    -------
    bool
        Whether they have gone.
    """
    idle = [address for address in addresses if address in scheduler.workers]
    if any(scheduler.workers[address].processing for address in idle):
        return False
    stays = [address for address in scheduler.workers if address not in idle]
    if not stays and any(scheduler.workers[address].has_what for address in idle):
        return False
    retired = await scheduler.retire_workers(idle, close_workers=True, remove=True)
    return all(address in retired for address in idle)


async def _drain(scheduler: Scheduler, address: str) -> None:
    """Stop new tasks, on the scheduler at once and then on the worker, and send elsewhere what has not begun."""
    worker = scheduler.workers.get(address)
    if worker is None:
        return
    stimulus = f"asyncflow-leave-{monotonic()}"
    scheduler.handle_worker_status_change(Status.closing_gracefully, worker, stimulus)
    change = {"op": "worker-status-change", "status": Status.closing_gracefully.name, "stimulus_id": stimulus}
    scheduler.stream_comms[address].send(change)
    try:  # by a message of its own, for that of the stream may arrive later: from here on the worker begins nothing
        begun = set(await ask(scheduler, address, _begun))
    except UnansweredError as error:  # then nothing is known, and what runs must not be begun elsewhere
        logger.warning("%s; what waits there stays", error)
        return
    with suppress(KeyError):
        for task in list(scheduler.workers[address].processing):
            if task.key not in begun:
                scheduler._reschedule(task.key, worker=address, stimulus_id=stimulus)  # noqa: SLF001 - as stealing does


class UnansweredError(Exception):
    """What a worker was asked raised an error there."""


async def ask(scheduler: Scheduler, address: str, function: Callable[..., Any], *args: Any) -> Any:
    """What `function` returns on a worker; it is given `args`, and the worker as ``dask_worker``.

    Raises
    ------
    UnansweredError
        When it raised there.
    OSError
        When the worker is gone.
    """
    answer = await scheduler.rpc(address).run(function=dumps(function), args=dumps(args), kwargs=dumps({}), wait=True)
    if answer["status"] != "OK":
        raise UnansweredError(f"the worker {address} does not tell what it runs: {answer}")
    result = answer["result"]
    return deserialize(result.header, result.frames)  # the scheduler opens nothing by itself


def _begun(dask_worker: Worker) -> list[Any]:
    """On the worker: begin nothing more; the keys that have begun."""
    dask_worker.status = Status.closing_gracefully
    state = dask_worker.state
    return [task.key for task in (*state.executing, *state.long_running)]
