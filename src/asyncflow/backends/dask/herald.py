"""The scheduler's side of calls: what workers say of those that ended goes on at once, and so does what is unwanted."""

import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from distributed import Scheduler, SchedulerPlugin

from asyncflow.backends.dask.remote import BUNDLES_OP

#: Bundles of which it is remembered what nobody wants, the last ones.
MANY = 1_000


class Herald(SchedulerPlugin):  # type: ignore[misc]
    """Carries words between one engine and the workers, each way along with Dask's own messages, and in order.

    A small value so comes with the word that its task is done, instead of by another round trip; and a worker hears
    that a call of a bundle was cancelled before it hears of the bundle.

    Parameters
    ----------
    topic : str
        On which it speaks: ``{"key": of the Dask task, "words": rows of `Word`}``.
    client : str
        The id of the engine's client.
    """

    def __init__(self, topic: str, client: str) -> None:
        self.name = f"{topic}-herald"
        self._topic = topic  # and the name of the plugin on workers
        self._client = client
        self._scheduler: Any = None
        self._unwanted: dict[str, set[str]] = {}  # of the bundles that may be run yet
        self._finished: set[str] = set()  # bundles that have been

    async def start(self, scheduler: Scheduler) -> None:
        """Called by Dask."""
        self._scheduler = scheduler
        scheduler.stream_handlers.setdefault(BUNDLES_OP, partial(_drop, scheduler))

    def transition(self, key: Any, start: str, finish: str, *args: Any, **kwargs: Any) -> None:
        """Called by Dask for each step of each task, so this must cost next to nothing."""
        if finish == "memory":
            metadata: Mapping[str, Any] | None = kwargs.get("metadata")
            if metadata and (words := metadata.get(self._topic)):
                self._scheduler.tasks[key].metadata.pop(self._topic, None)  # it has been told
                self._tell({"key": key, "words": words})
                if len(words) > 1:
                    self._finished.add(key)
        elif finish == "processing" and key in self._finished:  # its value was lost
            worker = self._scheduler.tasks[key].processing_on.address
            self._scheduler.worker_send(worker, self._message(whole=key))
        elif finish == "forgotten":
            self._unwanted.pop(key, None)
            self._finished.discard(key)

    def add_worker(self, scheduler: Scheduler, worker: str) -> None:
        """Called by Dask."""
        if self._unwanted:
            keys = [key for bundle in self._unwanted.values() for key in bundle]
            scheduler.worker_send(worker, self._message(keys=keys))

    def drop(self, unwanted: Mapping[str, Sequence[str]]) -> None:
        """The engine does not want these calls any more; they are named by bundle."""
        for bundle, keys in unwanted.items():
            self._unwanted.setdefault(bundle, set()).update(keys)
        for bundle in list(self._unwanted)[:-MANY]:  # their graphs may never have come
            del self._unwanted[bundle]
        keys = [key for bundle in unwanted.values() for key in bundle]
        for worker in self._scheduler.workers:
            self._scheduler.worker_send(worker, self._message(keys=keys))

    def _message(self, **what: Any) -> dict[str, Any]:
        return {"op": BUNDLES_OP, "plugin": self._topic, **what}

    def _tell(self, news: Mapping[str, Any]) -> None:
        # Not by `log_event`, which remembers a hundred thousand.
        stream = self._scheduler.client_comms.get(self._client)
        if stream is not None and not stream.closed():
            stream.send({"op": "event", "topic": self._topic, "event": (time.time(), news)})

    def __reduce__(self) -> tuple[Any, ...]:
        """It begins anew where it arrives."""
        return Herald, (self._topic, self._client)


def _drop(scheduler: Scheduler, client: str, plugin: str, unwanted: Mapping[str, Sequence[str]]) -> None:
    # It stays where the plugin is gone: a message without a handler would end the stream.
    del client
    found = scheduler.plugins.get(plugin)
    if isinstance(found, Herald):
        found.drop(unwanted)
