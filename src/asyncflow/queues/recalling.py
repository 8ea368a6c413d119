"""Tasks that wait on the wrong worker, or for one without need: called back, and placed anew."""

import asyncio
import logging
from time import monotonic
from typing import Any

from distributed import Scheduler, Worker
from distributed.worker_state_machine import READY, FreeKeysEvent

from asyncflow.queues.leaving import UnansweredError, ask
from asyncflow.queues.placement import Placement

logger = logging.getLogger("asyncflow")

#: Seconds that a worker may take to answer; it is asked again later.
PATIENCE = 30.0


class Recalls:
    """Follows what `placement` says as time goes by.

    Keeps the recalls that are under way, one a worker, and remembers what was found to have begun.
    """

    def __init__(self, scheduler: Scheduler, placement: Placement) -> None:
        self._scheduler = scheduler
        self._placement = placement
        self._asking: dict[str, asyncio.Task[None]] = {}
        self._begun: set[tuple[str, Any]] = set()

    def look(self, now: float) -> None:
        """Call back what has not begun where it can end no more, and let nothing wait behind it; returns at once."""
        self._placement.note_workers()
        late = self._placement.late(now)
        self._begun &= {(worker, task.key) for worker, tasks in late.items() for task in tasks}
        for worker, tasks in late.items():
            keys = [task.key for task in tasks if (worker, task.key) not in self._begun]
            if keys and worker not in self._asking:
                self._ask(worker, keys)
        self._place()

    async def close(self) -> None:
        """Let the rest be."""
        asking = list(self._asking.values())
        for task in asking:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)

    def _ask(self, worker: str, keys: list[Any]) -> None:
        self._asking[worker] = task = asyncio.get_running_loop().create_task(self._recall(worker, keys))
        task.add_done_callback(lambda _: self._asking.pop(worker))

    def _place(self) -> None:
        stimulus = f"asyncflow-place-{monotonic()}"
        anew = {task.key: "processing" for task in self._placement.freed()}
        held_up = {task.key: "released" for task in self._placement.held_up()}
        if anew or held_up:
            self._scheduler.transitions({**anew, **held_up}, stimulus_id=stimulus)
            self._scheduler.stimulus_queue_slots_maybe_opened(stimulus_id=stimulus)

    async def _recall(self, worker: str, keys: list[Any]) -> None:
        try:
            begun, given_up = await asyncio.wait_for(ask(self._scheduler, worker, give_up, keys), PATIENCE)
        except (OSError, TimeoutError, UnansweredError) as error:  # it goes, or hangs, which others deal with
            logger.debug("tasks are not called back from the worker %s: %s", worker, error)
            return
        self._begun.update((worker, key) for key in begun)
        stimulus = f"asyncflow-recall-{monotonic()}"
        for key in given_up:
            if key in self._scheduler.tasks:
                self._scheduler._reschedule(key, worker=worker, stimulus_id=stimulus)  # noqa: SLF001 - as stealing does


def give_up(keys: list[Any], dask_worker: Worker) -> tuple[list[Any], list[Any]]:
    """On the worker: let go of those of `keys` that have not begun; those that have, and those that were let go."""
    tasks = {key: dask_worker.state.tasks[key] for key in keys if key in dask_worker.state.tasks}
    waiting = [key for key, task in tasks.items() if task.state in {*READY, "waiting"}]
    begun = [key for key, task in tasks.items() if task.state in {"executing", "long-running"}]
    if waiting:
        dask_worker.handle_stimulus(FreeKeysEvent(keys=waiting, stimulus_id=f"asyncflow-recall-{monotonic()}"))
    return begun, waiting
