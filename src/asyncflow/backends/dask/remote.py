"""The worker's side: what it gives to bodies, and what it tells the driver."""

import io
import logging
import sys
import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from distributed import Worker, WorkerPlugin, rejoin, secede
from distributed.comm import CommClosedError

from asyncflow.backends.dask.rounds import Round
from asyncflow.backends.dask.running import Word
from asyncflow.call import RetryLater
from asyncflow.logs import configure_worker
from asyncflow.measure import Measure, Meter
from asyncflow.queues.bodies import log_of
from asyncflow.queues.scheduler import tune_stream
from asyncflow.site import Site
from asyncflow.stop import Stop

#: Seconds between messages about bodies that began; what ends sooner is never spoken of.
BEGUN_INTERVAL = 0.1

#: Seconds after which what has not begun of a bundle is handed back; one is made to run a quarter of that.
HAND_BACK = 0.2

#: Calls that nobody wants any more, and that may come yet: so many are remembered, the last ones.
UNWANTED = 10_000

#: The message about bundles, to the scheduler and from there to workers: which calls nobody wants any more, for one.
BUNDLES_OP = "asyncflow-bundles"

_RUNNING = {"executing", "long-running"}


class WorkerSite(Site):
    """One Dask worker, as bodies see it."""

    def __init__(self, worker: Worker, topic: str) -> None:
        super().__init__(worker.state.nthreads, int(worker.state.total_resources.get("gpu", 0)))
        self._worker = worker
        self._topic = topic
        self._bodies = log_of(worker)
        self._begun: dict[str, float] = {}
        self._retried: list[tuple[str, dict[str, Any], Measure | None]] = []
        self._lent: dict[str, dict[str, float]] = {}
        self._unwanted: dict[str, None] = {}
        self._whole: set[str] = set()
        self._is_due = False  # whether a message is

    def begin(self, key: str) -> Stop:
        """Write it down for whoever finds this process ended; what nobody wants any more finds its stop sign set."""
        if self._bodies is not None:
            self._bodies.begin(key)
        stop = super().begin(key)
        if key in self._unwanted:  # looked for behind that, as `drop` writes before it looks
            stop.set()
        return stop

    def drop(self, keys: Sequence[str]) -> None:
        """Nobody wants these calls of bundles any more: they end, or never begin."""
        self._unwanted.update(dict.fromkeys(keys))
        for key in keys:
            self.stop(key)
        for key in list(self._unwanted)[:-UNWANTED]:
            del self._unwanted[key]

    def entered(self, key: str, meter: Meter | None) -> None:
        """Remember it for the next message to the driver."""
        super().entered(key, meter)
        self._begun[key] = time.time()
        self._tell_soon()

    def retried(self, key: str, later: RetryLater) -> None:
        """Remember for the next message that an attempt failed and another follows."""
        self._begun.pop(key, None)
        self._retried.append((key, later.facts(), self._here(later.measure)))
        self._tell_soon()

    def take_measure(self, key: str) -> Measure | None:
        """With the address of this worker."""
        return self._here(super().take_measure(key))

    def keep_whole(self, key: str) -> None:
        """The bundle `key` was finished before, and its value was lost: nobody would take anything of it back."""
        self._whole.add(key)

    def hand_back_later(self, key: str, current: Round) -> None:
        """If the bundle `key` still runs after a while, which was thought short, let all but the call that runs go.

        What has not begun of it is handed back, and what has ended is told.
        """

        def hand_back() -> None:
            if key in self._whole:
                return
            handed, ended = current.hand_back(), current.ended()
            if handed or ended:
                self._worker.log_event(self._topic, {"of": key, "handed": handed, "ended": ended})

        self._worker.loop.add_callback(self._worker.loop.call_later, HAND_BACK, hand_back)

    def report(self, key: str, words: Sequence[Word]) -> None:
        """Leave `words` with Dask's record of the task, which the scheduler is sent when it has ended."""
        task = self._worker.state.tasks.get(key)
        if task is not None:
            task.metadata = {self._topic: [tuple(word) for word in words]}

    def _here(self, measure: Measure | None) -> Measure | None:
        return measure._replace(worker=self._worker.address) if measure is not None else None

    def end(self, key: str) -> None:
        """Nothing to say of it any more."""
        self._begun.pop(key, None)
        self._whole.discard(key)
        if any(key == each for each, *_ in self._retried):  # what is told after its end finds nobody
            self._worker.loop.add_callback(self._tell)
        super().end(key)
        if self._bodies is not None:
            self._bodies.end(key)

    def pause(self, key: str, delay: float, stop: Stop) -> None:
        """Wait for the next attempt without holding thread or resources; the key stays, and so do its dependents."""
        self._worker.loop.add_callback(self._lend, key)  # before the secession, which makes Dask look for other work
        secede()
        is_stopped = stop.wait(delay)
        self._worker.loop.add_callback(self._take_back, key)
        if not is_stopped:  # nothing more is to run in this thread, and a pool that closes lets nobody in
            rejoin()

    def _lend(self, key: str) -> None:
        # Dask lets go of the thread of a long-running task and keeps its resources.
        task = self._worker.state.tasks.get(key)
        self._lent[key] = dict(task.resource_restrictions or {}) if task is not None else {}
        for name, amount in self._lent[key].items():
            self._worker.state.available_resources[name] += amount

    def _take_back(self, key: str) -> None:
        for name, amount in self._lent.pop(key, {}).items():
            self._worker.state.available_resources[name] -= amount

    def _tell_soon(self) -> None:
        if not self._is_due:
            self._is_due = True
            self._worker.loop.add_callback(self._tell_later)

    def _tell_later(self) -> None:
        self._worker.loop.call_later(BEGUN_INTERVAL, self._tell_now)

    def _tell_now(self) -> None:
        self._is_due = False  # first: what is noted from now on is for the next message, if this one misses it
        self._tell()

    def _tell(self) -> None:
        begun, self._begun = self._begun, {}
        retried = self._retried[:]
        del self._retried[: len(retried)]
        if begun or retried:
            self._worker.log_event(self._topic, {"begun": begun, **({"retried": retried} if retried else {})})


class SitePlugin(WorkerPlugin):  # type: ignore[misc]
    """Makes a worker fit for asyncflow: a site for bodies, the driver's import paths, and cancelled work stopped.

    Parameters
    ----------
    name : str
        Of the plugin, and of the topic on which the worker speaks; one for each engine.
    paths : sequence of str
        Where the driver imports modules from; those the worker does not have are added behind its own.
    logs : mapping
        What the driver's environment says of logging.
    is_ours : bool
        Whether the worker belongs to the engine, so that its logs may be kept short, and shaped.
    """

    def __init__(self, name: str, paths: Sequence[str], logs: Mapping[str, str], *, is_ours: bool) -> None:
        self.name = name
        self._logs = dict(logs)
        self._paths = list(paths)
        self._is_ours = is_ours
        self.site: WorkerSite | None = None
        self._is_heard = False

    def listen(self) -> None:
        """Measure bodies from now on."""
        self._is_heard = True
        if self.site is not None:
            self.site.is_heard = True

    async def setup(self, worker: Worker) -> None:
        """Called by Dask for each worker, those that come later too."""
        logging.getLogger("distributed.worker").addFilter(_is_news)
        sys.path.extend(path for path in self._paths if path not in sys.path)
        self.site = WorkerSite(worker, self.name)
        self.site.is_heard = self._is_heard
        worker.stream_handlers.setdefault(BUNDLES_OP, partial(_hear, worker))
        declared = {"cores": worker.state.nthreads, "memory": worker.memory_manager.memory_limit or 0}
        missing = {name: amount for name, amount in declared.items() if name not in worker.state.total_resources}
        if missing:  # a cluster that is not ours: without this a task that asks for cores would wait for ever
            await worker.set_resources(**missing)
        if self._is_ours:
            tune_stream(worker.batched_stream)
            if worker.nanny is not None:  # a process that is the worker's alone
                configure_worker(self._logs)
                _write_lines_at_once()

    def teardown(self, worker: Worker) -> None:
        """Called by Dask when the worker closes or the plugin is removed."""
        del worker
        if self.site is not None:
            self.site.close()

    def transition(self, key: Any, start: str, finish: str, **kwargs: Any) -> None:
        """Called by Dask at each step of a task: one that is let go while it runs was cancelled."""
        if start in _RUNNING and finish in {"released", "cancelled", "forgotten"} and self.site is not None:
            self.site.stop(key)

    def __reduce__(self) -> tuple[Any, ...]:
        """Each worker makes its own site, those that share a process too."""
        return _make_plugin, (self.name, self._paths, self._logs, self._is_ours)


class Hearing(WorkerPlugin):  # type: ignore[misc]
    """Has the plugin called `plugin` measure bodies, on the workers that there are and on those that come.

    Parameters
    ----------
    plugin : str
        The name of a `SitePlugin`.
    """

    def __init__(self, plugin: str) -> None:
        self.name = f"{plugin}-hearing"
        self._plugin = plugin

    def setup(self, worker: Worker) -> None:
        """Called by Dask for each worker."""
        found = worker.plugins.get(self._plugin)
        if isinstance(found, SitePlugin):
            found.listen()


def _hear(worker: Worker, plugin: str, keys: Sequence[str] = (), whole: str = "") -> None:
    # It stays where the plugin is gone: a message without a handler would end the worker.
    found = worker.plugins.get(plugin)
    if isinstance(found, SitePlugin) and found.site is not None:
        found.site.drop(keys)
        if whole:
            found.site.keep_whole(whole)


def _is_news(record: logging.LogRecord) -> bool:
    """Drop what is told elsewhere.

    Dask's line about each task that raised: whoever awaits the task is told, in fewer words. And the traceback of a
    heartbeat that was under way when the scheduler closed the connection, which ends the worker in order.
    """
    # Its msg may be an exception, and its arguments may not fit: no other line than that one is put together here.
    text = str(record.msg)
    if text.startswith("Compute Failed"):
        return "RemoteFailure" not in record.getMessage()
    is_closed = record.exc_info is not None and isinstance(record.exc_info[1], CommClosedError)
    return not (is_closed and "during heartbeat" in text)


def _write_lines_at_once() -> None:
    """What bodies print is to be seen while they run, where standard output is no terminal either."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)


def _make_plugin(name: str, paths: list[str], logs: dict[str, str], is_ours: bool) -> SitePlugin:
    return SitePlugin(name, paths, logs, is_ours=is_ours)
