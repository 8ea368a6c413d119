"""One client of one scheduler, living on Dask's thread: graphs out, outcomes in."""

import asyncio
import logging
import weakref
from collections.abc import Mapping, Sequence
from typing import Any

import dask
from distributed import Client, Future, KilledWorker
from tornado.ioloop import IOLoop

from asyncflow.backends.base import ExecutionBackend
from asyncflow.backends.dask.graph import Needs, Packed, build_graph
from asyncflow.backends.dask.remote import SitePlugin
from asyncflow.backends.dask.thread import DaskThread
from asyncflow.backends.dask.watch import Watch
from asyncflow.call import RemoteFailure
from asyncflow.errors import LostError, SchedulerLostError, StartError, WorkerLostError, with_cause
from asyncflow.node import Node, Outcome
from asyncflow.pickles import Piece
from asyncflow.queues.scheduler import shorten_log
from asyncflow.queues.target import Target
from asyncflow.states import TaskState

logger = logging.getLogger("asyncflow")

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
        self._plugin = f"asyncflow-{id(self):x}"
        self._client: Any = None
        self._settled: list[tuple[Node, Outcome]] = []
        self._finished: list[Node] = []
        self._pieces: weakref.WeakValueDictionary[str, Future] = weakref.WeakValueDictionary()
        self._lost: SchedulerLostError | None = None
        self._closing = False

    @property
    def dashboard_link(self) -> str | None:
        """The address of the dashboard; None where there is none."""
        link = self._client.dashboard_link if self._client is not None and self._target.has_dashboard else None
        return str(link) if link else None

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
        shorten_log(self._client.scheduler_comm)  # it would keep the last thousand graphs
        self._plugin = f"asyncflow-{self._client.id}"
        self._client.subscribe_topic(self._plugin, self._on_event)
        plugin = SitePlugin(self._plugin, paths, is_ours=target.is_ours)
        try:
            await self._client.register_plugin(plugin, name=self._plugin)
        except Exception as error:
            raise StartError(
                f"the workers of {target.address} cannot be made ready ({type(error).__name__}: {error}); install "
                "asyncflow and what it needs in their environment"
            ) from error

    async def close(self) -> None:
        """Disconnect; a cluster that is not ours keeps nothing of us."""
        self._closing = True
        if self._client is None or self._client.status == "closed":
            return
        if not self._target.is_ours and self._lost is None:
            try:
                await asyncio.wait_for(self._client.unregister_worker_plugin(self._plugin), 5)
            except Exception as error:
                logger.warning("the plugin of this engine stays on the workers of %s: %s", self._target.address, error)
        await self._client.close()

    def send(self, nodes: Sequence[Node], needs: Mapping[str, Needs]) -> None:
        """Send `nodes` as one graph."""
        calls = [node for node in nodes if not node.is_final]
        if not calls:
            return
        if self._lost is not None or self._client.status in {"closed", "closing"}:
            lost = self._lost or self._scheduler_lost()
            self._backend.post([(node, Outcome(TaskState.FAILED, error=lost)) for node in calls])
            return
        try:
            self._send(calls, needs)
        except Exception as error:
            logger.debug("a graph of %d calls could not be sent", len(calls), exc_info=True)
            self._backend.post([(node, Outcome(TaskState.FAILED, error=error, origin=node.key)) for node in calls])

    def _send(self, calls: Sequence[Node], needs: Mapping[str, Needs]) -> None:
        pieces = self._new_pieces(calls)
        graph = build_graph(calls, self._plugin, pieces, needs)
        for node in calls:
            self.handle(node)
        keys = [*pieces, *(node.key for node in calls)]
        if sum(len(piece.data) for piece in pieces.values()) > 5_000_000:
            # The arguments are large because the user's are; Dask's advice about graphs would puzzle them.
            with dask.config.set({_LARGE_GRAPH: "1 TiB"}):
                futures = self._client.get(graph, keys, sync=False)
        else:
            futures = self._client.get(graph, keys, sync=False)
        for key, future in zip(keys, futures[: len(pieces)], strict=False):
            self._pieces[key] = future
        for node in calls:
            # Held by the call while it is unfinished, so that calls in later turns find them there.
            node.packed = node.packed._replace(pieces=[self._pieces.get(each.key) for each in node.packed.pieces])

    def _new_pieces(self, calls: Sequence[Node]) -> dict[str, Piece]:
        wanted = {piece.key: piece for node in calls for piece in node.packed.pieces}
        return {key: piece for key, piece in wanted.items() if key not in self._pieces}

    def handle(self, node: Node) -> Any:
        """The `distributed.Future` of `node`; from any thread."""
        client = self._client
        with client._refcount_lock:  # noqa: SLF001 - the lock that its own Future.__init__ relies on
            if node.remote is None and not node.is_final:
                client.futures[node.key] = Watch(node, self)
                node.remote = Future(node.key, client)
        return node.remote

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
        try:
            values = await self._client.gather([node.remote for node in nodes])
        except Exception as error:
            if len(nodes) == 1:
                self._backend.post([(nodes[0], Outcome(TaskState.FAILED, error=self._fetch_error(nodes[0], error)))])
            else:  # one bad value must not cost the others
                for node in nodes:
                    await self._fetch([node])
        else:
            self._backend.post(
                (node, Outcome(TaskState.DONE, value, has_value=True))
                for node, value in zip(nodes, values, strict=True)
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

    def on_finished(self, node: Node) -> None:
        """Fetch what somebody waits for; of the rest say that it is there."""
        if not self._finished:
            asyncio.get_running_loop().call_soon(self._sort_finished)
        self._finished.append(node)

    def _sort_finished(self) -> None:
        finished, self._finished = self._finished, []
        if wanted := [node for node in finished if node.awaited and node.remote is not None]:
            self.fetch(wanted)
        self._backend.post((node, Outcome(TaskState.DONE)) for node in finished if not node.awaited)

    def on_erred(self, node: Node, error: BaseException) -> None:
        """Say whose failure it is."""
        origin = node.key
        if isinstance(error, RemoteFailure):
            origin = error.key
        elif isinstance(error, KilledWorker):
            origin = str(error.task)
            text = f"task {node.name!r} was lost with its workers, the last of them {error.last_worker}: {error}"
            error = with_cause(WorkerLostError(text, str(error.last_worker)), error)
        self._settle(node, Outcome(TaskState.FAILED, error=error, origin=origin))

    def on_cancelled(self, node: Node, reason: str) -> None:
        """The scheduler gave the call up."""
        if self._closing:
            return
        if reason == "lost dependencies":
            self._send_again(node)
        elif reason in {"scheduler-connection-lost", "scheduler-restart"}:
            self._lost = self._lost or self._scheduler_lost()
            self._settle(node, Outcome(TaskState.FAILED, error=self._lost))
        else:
            self._settle(node, Outcome(TaskState.CANCELLED))

    def _send_again(self, node: Node) -> None:
        """One lost dependency fails a whole graph; alone, a call fails only for its own."""
        packed: Packed | None = node.packed
        if packed is None or packed.is_resent or node.is_final:
            text = f"task {node.name!r} depends on a value that is gone from the cluster; call again what made it"
            self._settle(node, Outcome(TaskState.FAILED, error=LostError(text), origin=node.key))
            return
        node.packed = packed._replace(is_resent=True)
        self._client.futures[node.key].expect(node)
        self._thread.call(self._resend, node)

    def _resend(self, node: Node) -> None:
        if not node.is_final:
            graph = build_graph([node], self._plugin, {}, {node.key: Needs()})
            self._client.get(graph, [node.key], sync=False)

    def _settle(self, node: Node, outcome: Outcome) -> None:
        if not self._settled:
            asyncio.get_running_loop().call_soon(self._post_settled)
        self._settled.append((node, outcome))

    def _post_settled(self) -> None:
        settled, self._settled = self._settled, []
        self._backend.post(settled)

    def _on_event(self, event: tuple[float, Mapping[str, list[str]]]) -> None:
        """A worker says which bodies began."""
        watches = [self._client.futures.get(key) for key in event[1].get("begun", ())]
        running = [watch.node for watch in watches if isinstance(watch, Watch) and watch.node is not None]
        if running:
            self._backend.post((node, Outcome(TaskState.RUNNING)) for node in running)

    def _scheduler_lost(self) -> SchedulerLostError:
        address = self._target.address
        return SchedulerLostError(
            f"the connection to the scheduler at {address} is lost, and with it every unfinished call; "
            "create a new engine when it runs again",
            address,
        )
