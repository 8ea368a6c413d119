"""The scheduler's side of events: what it knows of tasks and workers, sent to the driver in batches."""

import asyncio
import time
from typing import Any

from distributed import Scheduler, SchedulerPlugin

from asyncflow.backends.dask.running import Word

#: Seconds that news waits for more.
PAUSE = 0.05

#: Seconds between looks at what workers use.
LOOK = 5.0

_WAITING = frozenset({"processing", "queued", "no-worker"})


class Observer(SchedulerPlugin):  # type: ignore[misc]
    """Tells one engine what becomes of its tasks, and which workers there are.

    Each message is a mapping: ``done``, rows of (key, measure, bytes, when its inputs existed); ``waits``, rows of
    (key, time, state, worker); ``came`` and ``left``, workers; ``uses``, rows of (worker, percent, bytes).

    Parameters
    ----------
    topic : str
        On which it speaks.
    stem : str
        What the ids of the engine's calls have in common.
    """

    def __init__(self, topic: str, stem: str) -> None:
        self.name = f"{topic}-observer"
        self._topic = topic
        self._stem = f"-{stem}"
        self._scheduler: Any = None
        self._news: dict[str, list[Any]] = {}
        self._fresh: dict[str, tuple[Any, ...]] = {}  # tasks that wait since the last message
        self._sending: asyncio.TimerHandle | None = None
        self._looking: asyncio.TimerHandle | None = None

    async def start(self, scheduler: Scheduler) -> None:
        """Called by Dask."""
        self._scheduler = scheduler
        for address in scheduler.workers:
            self.add_worker(scheduler, address)
        for key, task in scheduler.tasks.items():  # the driver may hear of their end only after it has heard of us
            if task.state == "memory" and self._is_ours(key):
                self._add("done", (key, None, task.nbytes, None))
        self._look()

    async def close(self) -> None:
        """Called by Dask as the scheduler closes, or when the plugin is removed."""
        for timer in (self._sending, self._looking):
            if timer is not None:
                timer.cancel()

    def transition(self, key: Any, start: str, finish: str, *args: Any, **kwargs: Any) -> None:
        """Called by Dask for each step of each task, so this must cost next to nothing."""
        if finish == "memory":
            if start == "processing" and self._is_ours(key):
                self._note_done(key, kwargs)
        elif finish not in _WAITING:
            self._fresh.pop(key, None)
        elif start != "processing" and self._is_ours(key):
            task = self._scheduler.tasks[key]
            worker = task.processing_on.address if task.processing_on is not None else ""
            self._fresh[key] = (key, time.time(), finish, worker)
            self._wake()

    def _note_done(self, key: str, facts: dict[str, Any]) -> None:
        waited, guess = self._fresh.pop(key, None), _guess(facts)
        words = [Word(*word) for word in (facts.get("metadata") or {}).get(self._topic, ())]
        if not words:
            self._add("done", (key, guess, facts.get("nbytes"), waited))
        for word in words:
            if word.failure is None:
                self._add("done", (word.key, word.measure or guess, word.size, waited))

    def add_worker(self, scheduler: Scheduler, worker: str) -> None:
        """Called by Dask."""
        state = scheduler.workers[worker]
        pool = next((name.removeprefix("pool-") for name in state.resources if name.startswith("pool-")), "")
        self._add(
            "came",
            {
                "time": time.time(),
                "worker": worker,
                "worker_name": str(state.name),
                "host": state.host,
                "slots": state.nthreads,
                "memory": state.memory_limit or 0,
                "pool": pool,
            },
        )

    def remove_worker(self, scheduler: Scheduler, worker: str, **_: Any) -> None:
        """Called by Dask."""
        self._add("left", {"time": time.time(), "worker": worker})

    def _is_ours(self, key: Any) -> bool:
        return isinstance(key, str) and self._stem in key

    def _look(self) -> None:
        """Tell what workers use, as far as their heartbeats say."""
        rows = [
            (address, float(state.metrics.get("cpu", 0.0)), int(state.metrics.get("memory", 0)))
            for address, state in self._scheduler.workers.items()
        ]
        for row in rows:
            self._add("uses", row)
        self._looking = asyncio.get_running_loop().call_later(LOOK, self._look)

    def _add(self, what: str, row: Any) -> None:
        self._news.setdefault(what, []).append(row)
        self._wake()

    def _wake(self) -> None:
        if self._sending is None:
            self._sending = asyncio.get_running_loop().call_later(PAUSE, self._send)

    def _send(self) -> None:
        self._sending = None
        news, self._news = self._news, {}
        fresh, self._fresh = self._fresh, {}
        if fresh:
            news["waits"] = list(fresh.values())
        if news:
            self._scheduler.log_event(self._topic, news)

    def __reduce__(self) -> tuple[Any, ...]:
        """It begins anew where it arrives."""
        return Observer, (self._topic, self._stem[1:])


def _guess(facts: dict[str, Any]) -> tuple[float, float, float, int, str] | None:
    """When Dask ran the task, where our worker did not say: it began before anybody wanted to know."""
    for each in facts.get("startstops") or ():
        if each["action"] == "compute":
            return each["start"], each["stop"], 0.0, 0, str(facts.get("worker", ""))
    return None
