"""What workers and scheduler tell of tasks beside their results, heard on Dask's thread, as outcomes and events."""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from typing import Any

from asyncflow.backends.base import ExecutionBackend
from asyncflow.backends.dask.news import accounts, events, measured, waits
from asyncflow.backends.dask.observer import Observer
from asyncflow.backends.dask.remote import Hearing
from asyncflow.backends.dask.running import Word
from asyncflow.backends.dask.sending import Sender
from asyncflow.backends.dask.stalls import Stalls
from asyncflow.backends.dask.thread import DaskThread
from asyncflow.backends.dask.watch import BundleWatch
from asyncflow.events import TaskLost
from asyncflow.ledger import task_name
from asyncflow.measure import Measure
from asyncflow.node import Outcome
from asyncflow.queues.bodies import stub
from asyncflow.queues.losses import Losses
from asyncflow.queues.target import Target
from asyncflow.states import TaskState

logger = logging.getLogger("asyncflow")


class Ear:
    """Listens for one engine; bodies that begin are always told, all else once somebody wants to know.

    Parameters
    ----------
    thread : DaskThread
        Where it lives.
    target : Target
        The scheduler.
    backend : ExecutionBackend
        Who is told.
    client : distributed.Client
        Connected to it.
    topic : str
        On which the engine's plugins speak.
    sender : Sender
        Knows which calls are spoken of.
    stalls : Stalls
        Told of bundles of which a call takes long.
    """

    def __init__(
        self,
        thread: DaskThread,
        target: Target,
        backend: ExecutionBackend,
        client: Any,
        topic: str,
        sender: Sender,
        stalls: Stalls,
    ) -> None:
        self._thread = thread
        self._target = target
        self._backend = backend
        self._client = client
        self._topic = topic
        self._sender = sender
        self._stalls = stalls
        self._is_closing = False
        self._opening: asyncio.Task[None] | None = None
        client.subscribe_topic(topic, self._on_event)
        if target.is_ours:
            client.subscribe_topic(Losses.topic, self._on_blame)
            client.subscribe_topic(Losses.name, self._on_loss)

    @property
    def opening(self) -> asyncio.Task[None] | None:
        """What has to end before anything is sent of which all is to be heard; None where nothing has."""
        return self._opening if self._opening is not None and not self._opening.done() else None

    def open(self, stem: str) -> None:
        """Have the workers measure, and the scheduler tell; `stem` is in the keys that are ours."""
        if self._opening is None:
            self._opening = self._thread.start_task(self._open(stem))

    async def _open(self, stem: str) -> None:
        try:
            await self._client.register_plugin(Hearing(self._topic), name=f"{self._topic}-hearing")
            observer = Observer(self._topic, stem)
            await self._client.register_plugin(observer, name=observer.name)
        except Exception as error:  # a scheduler that is not ours, where asyncflow is not installed
            if not self._is_closing:
                logger.warning(
                    "the scheduler at %s does not tell when tasks end (%s: %s); their times are those of this process: "
                    "install asyncflow where the scheduler runs",
                    self._target.address,
                    type(error).__name__,
                    error,
                )
        else:
            self._backend.accounts_later = True

    def close(self) -> None:
        """The connection is about to go."""
        self._is_closing = True

    async def withdraw(self) -> None:
        """Take the plugins back from a scheduler that is not ours."""
        if self._opening is not None:
            await asyncio.wait([self._opening])
            await self._client.unregister_worker_plugin(f"{self._topic}-hearing")
            if self._backend.accounts_later:
                await self._client.unregister_scheduler_plugin(f"{self._topic}-observer")

    def _on_event(self, event: tuple[float, Mapping[str, Any]]) -> None:
        """A worker says which bodies began, or the scheduler what became of tasks and workers."""
        news = event[1]
        if "words" in news:
            self._note_words(news["key"], [Word(*word) for word in news["words"]])
            return
        if "handed" in news:
            self._stalls.take(news)
            return
        for key, account in accounts(news):
            self._backend.account(key, account)
        for each in events(news):
            self._backend.tell(each)
        told = [
            (call, Outcome(TaskState.PENDING, how, about=call)) for key, how in waits(news) for call in self._calls(key)
        ]
        for key, facts, took in news.get("retried", ()):
            told.append((key, Outcome(TaskState.PENDING, facts, about=key, measure=measured(took))))
        worker = str(news.get("worker", ""))
        for key, began in dict(news.get("begun", ())).items():  # of one that was retried, its next attempt
            begun = Measure(began, began, worker=worker)
            told.append((key, Outcome(TaskState.RUNNING, about=key, measure=begun)))
        found = [(self._sender.node(key), outcome) for key, outcome in told]
        if known := [(node, outcome) for node, outcome in found if node is not None]:
            self._backend.post(known)

    def _note_words(self, key: str, words: list[Word]) -> None:
        """What a worker says of calls that ended; Dask's own message of their task is next."""
        if (watch := self._sender.watch_of(key)) is not None:
            watch.words = words

    def _calls(self, key: str) -> list[str]:
        """The calls of the Dask task with that key."""
        bundle = self._sender.bundle(key)
        return [key] if bundle is None else [name for name, _ in bundle.nodes()]

    def _on_loss(self, event: tuple[float, Mapping[str, Any]]) -> None:
        """The scheduler says why a worker was lost under a body."""
        facts = dict(event[1])
        key, bodies = facts.pop("key"), facts.pop("bodies", ())
        watch = self._sender.watch_of(key)
        if watch is None:  # another client's
            return
        if not isinstance(watch, BundleWatch):
            self._tell_lost(key, facts)
            return
        for name in _named(watch, bodies):
            self._tell_lost(name, {**facts, "count": watch.blamed[facts["worker"], name]})

    def _on_blame(self, event: tuple[float, Mapping[str, Any]]) -> None:
        """The scheduler says under which bodies a worker was lost, before it can fail their task."""
        blame = event[1]
        watch = self._sender.watch_of(blame["key"])
        if isinstance(watch, BundleWatch):
            for name in _named(watch, blame["bodies"]):
                watch.losses[name] += 1
                watch.blamed[blame["worker"], name] = watch.losses[name]

    def _tell_lost(self, key: str, facts: Mapping[str, Any]) -> None:
        """Whose call may have its value from another worker by now."""
        node = self._sender.node(key)
        workflow = node.workflow_id or "" if node is not None else ""
        self._backend.tell(TaskLost(id=key, name=task_name(key), workflow_id=workflow, **facts))


def _named(watch: BundleWatch, bodies: Sequence[str]) -> list[str]:
    """The calls of a bundle that are among `bodies`, of which there are stubs."""
    return [name for name in watch.names if stub(name) in bodies]
