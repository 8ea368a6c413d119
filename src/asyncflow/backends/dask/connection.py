"""One client of one scheduler, living on Dask's thread: graphs out, outcomes in."""

import asyncio
import logging
import os
import weakref
from collections.abc import Sequence
from functools import partial
from typing import Any

import dask
from distributed import Client, Future, KilledWorker
from tornado.ioloop import IOLoop

from asyncflow.backends.base import ExecutionBackend, Workforce
from asyncflow.backends.dask.ear import Ear
from asyncflow.backends.dask.graph import Packed, build_graph
from asyncflow.backends.dask.remote import SitePlugin
from asyncflow.backends.dask.thread import DaskThread
from asyncflow.backends.dask.watch import Watch
from asyncflow.call import RemoteFailure
from asyncflow.errors import LostError, SchedulerLostError, StartError, WorkerLostError, with_cause
from asyncflow.logs import settings_of
from asyncflow.node import Node, Outcome
from asyncflow.queues.dashboards import link_to
from asyncflow.queues.scheduler import tune_stream
from asyncflow.queues.target import Target
from asyncflow.states import TaskState

logger = logging.getLogger("asyncflow")

_LARGE = 5_000_000  # bytes; half of what Dask warns of
_LARGE_GRAPH = "distributed.admin.large-graph-warning-threshold"


class Connection:
    """Sends batches as graphs and hears what becomes of them; all methods but `handle` run on Dask's thread.

    Parameters
    ----------
    thread : DaskThread
        Where it lives.
    target : Target
        The scheduler.
    backend : ExecutionBackend
        Whose `post` takes the outcomes.
    """

    def __init__(self, thread: DaskThread, target: Target, backend: ExecutionBackend) -> None:
        self._thread = thread
        self._target = target
        self._backend = backend
        self._plugin = ""  # named after the client, when there is one
        self._client: Any = None
        self._settled: list[tuple[Node, Outcome]] = []
        self._finished: list[tuple[Node, str]] = []
        self._to_resend: list[tuple[Node, str, Packed]] = []
        self._pieces: weakref.WeakValueDictionary[str, Future] = weakref.WeakValueDictionary()
        self._lost: SchedulerLostError | None = None
        self._closing = False
        self._ear: Ear | None = None
        self.dashboard_link: str | None = None  #: the address of the dashboard; None where there is none

    async def open(self, paths: Sequence[str]) -> None:
        """Connect and make every worker fit.

        Raises
        ------
        StartError
            When the scheduler does not answer, or its workers cannot import asyncflow.
        """
        target = self._target
        try:
            self._client = await Client(
                target.address,
                loop=IOLoop.current(),
                security=target.security,
                asynchronous=True,
                set_as_default=False,
                direct_to_workers=target.is_ours or None,
                timeout=target.timeout,
            )
        except (OSError, ImportError, ValueError) as error:
            raise StartError(
                f"no connection to the scheduler at {target.address} within {target.timeout:g} s ({error}); check "
                "that it runs, that the address is right, and that the TLS files are its own"
            ) from error
        tune_stream(self._client.scheduler_comm)  # the client is ours wherever it connects to
        self.dashboard_link = self._find_dashboard()
        self._plugin = f"asyncflow-{self._client.id}"
        self._ear = Ear(self._thread, target, self._backend, self._client, self._plugin)
        plugin = SitePlugin(self._plugin, paths, settings_of(os.environ), is_ours=target.is_ours)
        try:
            await self._client.register_plugin(plugin, name=self._plugin)
        except Exception as error:
            raise StartError(
                f"the workers of {target.address} cannot be made ready ({type(error).__name__}: {error}); install "
                "asyncflow and what it needs in their environment"
            ) from error

    def _find_dashboard(self) -> str | None:
        if self._target.dashboard_link or not self._target.has_dashboard:
            return self._target.dashboard_link
        port = self._client.scheduler_info().get("services", {}).get("dashboard")
        protocol, _, rest = self._target.address.partition("://")
        host = "localhost" if protocol == "inproc" else rest.rpartition(":")[0]
        return link_to(host, port) if port else None  # none where the scheduler serves none

    @property
    def workforce(self) -> Workforce | None:
        """How many workers there are, as the client last heard; from any thread."""
        # The client asks the scheduler every few seconds; its own method would do so now, and wait.
        info = self._client._scheduler_identity if self._client is not None else {}  # noqa: SLF001
        if "n_workers" not in info:
            return None
        return Workforce(info["n_workers"], info.get("total_threads", 0))

    async def close(self) -> None:
        """Disconnect; a cluster that is not ours keeps nothing of us."""
        self._closing = True
        if self._ear is not None:
            self._ear.close()
        if self._client is None or self._client.status == "closed":
            return
        if not self._target.is_ours and self._lost is None:
            try:
                async with asyncio.timeout(5):
                    if self._ear is not None:
                        await self._ear.withdraw()
                    await self._client.unregister_worker_plugin(self._plugin)
            except Exception as error:
                logger.warning("the plugin of this engine stays on the workers of %s: %s", self._target.address, error)
        await self._client.close()

    def listen(self, stem: str) -> None:
        """Have the workers measure, and the scheduler tell; what is sent meanwhile waits for that."""
        assert self._ear is not None
        self._ear.open(stem)

    def send(self, calls: Sequence[tuple[Node, str, Packed]]) -> None:
        """Send `calls` as one graph, each under its key; one that has another by now was taken back."""
        if self._ear is not None and (opening := self._ear.opening) is not None:
            opening.add_done_callback(lambda _: self.send(calls))
            return
        alive = [call for call in calls if not call[0].is_final and call[0].key == call[1]]
        if self._lost is not None or self._client.status in {"closed", "closing"}:
            lost = self._lost or self._scheduler_lost()
            self._backend.post([(node, Outcome(TaskState.FAILED, error=lost)) for node, *_ in alive])
        elif alive:
            try:
                self._send(alive)
            except Exception as error:
                logger.debug("a graph of %d calls could not be sent", len(alive), exc_info=True)
                failed = partial(Outcome, TaskState.FAILED, error=error)
                self._backend.post([(node, failed(about=key)) for node, key, _ in alive])

    def _send(self, calls: Sequence[tuple[Node, str, Packed]]) -> None:
        wanted = {piece.key: piece for *_, packed in calls for piece in packed.pieces}
        pieces = {key: piece for key, piece in wanted.items() if key not in self._pieces}
        watches = [(self._watch(node, key), packed) for node, key, packed in calls]
        graph = build_graph({key: packed for _, key, packed in calls}, self._plugin, pieces)
        keys = [*pieces, *(key for _, key, _ in calls)]
        futures = self._get(graph, keys, sum(len(piece.data) for piece in pieces.values()))
        self._pieces.update(zip(pieces, futures, strict=False))
        for watch, packed in watches:
            if watch is not None and watch.node is not None:
                watch.packed = packed
                watch.pieces = [self._pieces.get(piece.key) for piece in packed.pieces]

    def _get(self, graph: Any, keys: list[str], size: int) -> list[Future]:
        if size > _LARGE:
            # The arguments are large because the user's are; Dask's advice about graphs would puzzle them.
            with dask.config.set({_LARGE_GRAPH: "1 TiB"}):
                return list(self._client.get(graph, keys, sync=False))
        return list(self._client.get(graph, keys, sync=False))

    def handle(self, node: Node) -> Any:
        """The `distributed.Future` of `node`; from any thread."""
        self._watch(node, node.key)
        return node.remote

    def _watch(self, node: Node, key: str) -> Watch | None:
        """The client's record of `node` under `key`, made with its future where there is none yet."""
        client = self._client
        with client._refcount_lock:  # noqa: SLF001 - the lock that its own Future.__init__ relies on
            if node.remote is None and not node.is_final:
                client.futures[key] = Watch(node, key, self)
                node.remote = Future(key, client)
            watch: Watch | None = client.futures.get(key)
        return watch

    def release(self, nodes: Sequence[Node]) -> None:
        """Let go of `nodes`, in the order given: dependents first, or the scheduler loses count."""
        for node in nodes:
            future, node.remote = node.remote, None
            if future is not None and self._client.status == "running":
                future.release()

    def fetch(self, nodes: Sequence[Node]) -> None:
        """Gather the values of `nodes`, which are in memory."""
        self._thread.start_task(self._fetch(nodes))

    async def _fetch(self, nodes: Sequence[Node]) -> None:
        keys = [node.key for node in nodes]
        try:
            values = await self._client.gather([node.remote for node in nodes])
        except Exception as error:
            if len(nodes) == 1:
                failed = Outcome(TaskState.FAILED, error=self._fetch_error(nodes[0], error), about=keys[0])
                self._backend.post([(nodes[0], failed)])
            else:  # one bad value must not cost the others
                for node in nodes:
                    await self._fetch([node])
        else:
            self._backend.post(
                (node, Outcome(TaskState.DONE, value, has_value=True, about=key))
                for node, key, value in zip(nodes, keys, values, strict=True)
            )

    def _fetch_error(self, node: Node, error: Exception) -> BaseException:
        if self._lost is not None:
            return self._lost
        if isinstance(error, RemoteFailure):  # its value was lost with a worker, and making it again failed
            return error
        text = (
            f"the result of task {node.name!r} could not be brought to the driver ({type(error).__name__}: {error}); "
            "return something that can be pickled, or pass the future on without awaiting it"
        )
        return with_cause(LostError(text), error)

    # What the client hears; see Watch

    def on_finished(self, node: Node, key: str) -> None:
        """Fetch what somebody waits for; of the rest say that it is there."""
        if not self._finished:
            asyncio.get_running_loop().call_soon(self._sort_finished)
        self._finished.append((node, key))

    def _sort_finished(self) -> None:
        finished, self._finished = self._finished, []
        wanted = [node for node, key in finished if node.awaited and node.remote is not None and node.key == key]
        if wanted:
            self.fetch(wanted)
        self._backend.post((node, Outcome(TaskState.DONE, about=key)) for node, key in finished if not node.awaited)

    def on_erred(self, node: Node, key: str, error: BaseException) -> None:
        """Say whose failure it is."""
        origin, is_lost = key, False
        measure = None
        if isinstance(error, RemoteFailure):
            origin = error.key
            measure = error.measure if origin == key else None
        elif isinstance(error, KilledWorker):
            origin = str(error.task)
            worker = str(getattr(error.last_worker, "address", error.last_worker))
            text = (
                f"task {node.name!r} was lost with {error.allowed_failures + 1} workers one after the other, the last "
                f"of them {worker}; look into its log, and whether the task takes more memory than the worker has"
            )
            error, is_lost = with_cause(WorkerLostError(text, worker, task=node.name), error), True
        failed = partial(Outcome, TaskState.FAILED, error=error, origin=origin)
        self._settle(node, failed(is_lost=is_lost, about=key, measure=measure))

    def on_cancelled(self, node: Node, key: str, reason: str) -> None:
        """The scheduler gave the call up."""
        if self._closing:
            return
        if reason == "lost dependencies":
            text = f"task {node.name!r} depends on a value that is gone from the cluster; call again what made it"
            self._settle(node, Outcome(TaskState.FAILED, error=LostError(text), about=key))
        elif reason in {"scheduler-connection-lost", "scheduler-restart"}:
            self._lost = self._lost or self._scheduler_lost()
            self._settle(node, Outcome(TaskState.FAILED, error=self._lost))
        else:
            self._settle(node, Outcome(TaskState.CANCELLED, about=key))

    def on_lost_batch(self, node: Node, key: str, packed: Packed) -> None:
        """Send the call again by itself: alone it fails only for a dependency of its own."""
        if not self._to_resend:
            asyncio.get_running_loop().call_soon(self._resend)
        self._to_resend.append((node, key, packed))

    def _resend(self) -> None:
        calls, self._to_resend = self._to_resend, []
        for node, key, packed in sorted(calls, key=lambda call: call[0].number):  # what others depend on first
            if not node.is_final and node.key == key:
                pieces = {piece.key: piece for piece in packed.pieces}
                self._client.get(build_graph({node.key: packed}, self._plugin, pieces), [node.key], sync=False)

    def _settle(self, node: Node, outcome: Outcome) -> None:
        if not self._settled:
            asyncio.get_running_loop().call_soon(self._post_settled)
        self._settled.append((node, outcome))

    def _post_settled(self) -> None:
        settled, self._settled = self._settled, []
        self._backend.post(settled)

    def _scheduler_lost(self) -> SchedulerLostError:
        address = self._target.address
        return SchedulerLostError(
            f"the connection to the scheduler at {address} is lost, and with it every unfinished call; "
            "create a new engine when it runs again",
            address,
        )
