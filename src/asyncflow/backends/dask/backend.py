"""The backend that makes Dask graphs of calls."""

import asyncio
import logging
import sys
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

from asyncflow import clusters
from asyncflow.arguments import Ref
from asyncflow.backends.base import ExecutionBackend, Post, TakeAccount, Tell, Workforce
from asyncflow.backends.dask.connection import Connection
from asyncflow.backends.dask.graph import Needs, Packed, Sent, needs_of
from asyncflow.backends.dask.thread import DaskThread
from asyncflow.config import Settings, load_settings
from asyncflow.endings import running_loop
from asyncflow.errors import EngineClosedError
from asyncflow.node import Node
from asyncflow.options import TaskOptions
from asyncflow.pickles import dump_arguments
from asyncflow.queues.pools import Pool, refusal, route
from asyncflow.queues.settings import ClusterSettings
from asyncflow.queues.target import Cluster, foreign_target

if TYPE_CHECKING:
    from distributed import Security

logger = logging.getLogger("asyncflow")


class _Resolved(NamedTuple):
    """A configuration read: the kind's module, its typed settings, the shapes of its workers."""

    kind: ModuleType
    config: ClusterSettings
    pools: list[Pool]


class DaskExecutionBackend(ExecutionBackend):
    """Runs calls on a Dask cluster: one of its own, or one that the user owns.

    Parameters
    ----------
    config : Settings, path or mapping, optional
        The cluster to open, as `WorkflowEngine.create` takes it; an embedded one on this machine by default. What the
        backend opens, it closes.
    client, cluster : distributed.Client, distributed cluster object, optional
        A cluster that the user owns, synchronous or asynchronous. A second client connects to it by address; the
        object stays the user's, and open.
    address : str, optional
        The address of a scheduler that runs already, for instance ``tls://host:8786``.
    security : distributed.Security, optional
        How to connect to `address`.
    name : str
        Unique within an engine.

    Raises
    ------
    TypeError
        When more than one cluster is named.
    """

    def __init__(
        self,
        config: Any = None,
        *,
        client: Any = None,
        cluster: Any = None,
        address: str | None = None,
        security: "Security | None" = None,
        name: str = "dask",
    ) -> None:
        super().__init__(name)
        if sum(each is not None for each in (config, client, cluster, address)) > 1:
            raise TypeError("give one of config=, client=, cluster= and address=: they all name a cluster")
        self._foreign = next((each for each in (client, cluster, address) if each is not None), None)
        self._security = security
        self._given = config
        self._thread: DaskThread | None = None
        self._connection: Connection | None = None
        self._cluster: Cluster | None = None
        self._opening: asyncio.Task[None] | None = None
        self._count_cores = False

    @property
    def dashboard_link(self) -> str | None:
        """The address of Dask's dashboard; None where there is none."""
        return self._connection.dashboard_link if self._connection is not None else None

    @property
    def workforce(self) -> Workforce | None:
        """How many workers there are; the word may be a few seconds old."""
        return self._connection.workforce if self._connection is not None else None

    def connect(
        self,
        uid: str,
        post: Post,
        tell: Tell | None = None,
        account: TakeAccount | None = None,
        stem: str = "",
    ) -> None:
        """The engine hears as well what has happened to pools and jobs, and what will."""
        super().connect(uid, post, tell, account, stem)
        if self._thread is not None and self._cluster is not None:
            # There, as its events are told there: none is told between what stands and what follows.
            self._thread.call(self._cluster.events.listen, self.tell)

    async def start(self) -> None:
        """Open the cluster, if it is ours, and connect to it."""
        await asyncio.to_thread(lambda: self._resolved)  # reads a file, perhaps
        self._thread = DaskThread()
        opening = self._thread.run(self._open(self._thread))
        try:
            await asyncio.wrap_future(opening)
        except BaseException:
            await self.close()
            raise
        logger.info("Dask execution backend started successfully")
        if self.dashboard_link:
            logger.info("Dask dashboard at %s", self.dashboard_link)

    def refusal(self, options: TaskOptions) -> str | None:
        """What no declared pool can give; a cluster that is not ours declares none."""
        return refusal(self._resolved.pools, options) if self._foreign is None else None

    def prepare(self, node: Node) -> None:
        """Pickle function and arguments now, as they are."""
        assert node.pickle is not None
        first = len(node.upstream)
        recipe = node.pickle.data()
        arguments, pieces = dump_arguments(
            node.recipe.function, node.args, node.kwargs, lambda index: Ref(first + index)
        )
        node.packed = Packed(recipe, arguments, pieces, self._needs(node), node.ticket, node.carrier)
        node.args, node.kwargs = (), {}

    def prepare_again(self, node: Node) -> None:
        """The bytes of the arguments are still true; what went wrong with others goes alone."""
        assert node.pickle is not None
        node.packed = node.packed._replace(recipe=node.pickle.data(), needs=self._needs(node), is_alone=True)

    def _needs(self, node: Node) -> Needs:
        self._count_cores = self._count_cores or node.options.cores > 1
        pool = route(self._resolved.pools, node.options) if self._foreign is None else None
        return needs_of(node.options, count_cores=self._count_cores, pool=pool, lost_before=node.lost_before)

    def submit(self, nodes: Sequence[Node]) -> None:
        """Send the calls as one graph."""
        assert self._thread is not None
        assert self._connection is not None
        # Taken along now: this thread may clear or change them while the other makes the graph.
        self._thread.call(self._connection.send, [Sent.of(node) for node in nodes])

    def listen(self) -> None:
        """Have workers measure, and the scheduler tell what it knows."""
        if self._thread is not None and self._connection is not None:
            self._thread.call(self._connection.listen, self.stem)

    def cancel(self, nodes: Sequence[Node]) -> None:
        """Let go of the keys; the workers stop what runs under them."""
        if self._thread is not None and self._connection is not None:
            self._thread.call(self._connection.release, nodes)

    def fetch(self, nodes: Sequence[Node]) -> None:
        """Gather the values in one go.

        Raises
        ------
        EngineClosedError
            Where they went with the cluster.
        """
        if self._thread is None or self._connection is None:
            raise EngineClosedError(
                "the value was still on the cluster, which went with its engine; await what you need before that"
            )
        self._thread.call(self._connection.fetch, nodes)

    def handle(self, node: Node) -> Any:
        """The `distributed.Future` of `node`, made now where its graph has not been sent yet."""
        if self._connection is None or node.kind == "block":
            return None
        return self._connection.handle(node)

    async def close(self, timeout: float = 30.0) -> None:  # noqa: ASYNC109 - bounds the whole, thread included
        """Disconnect, close the cluster if it is ours, end the thread."""
        thread, self._thread = self._thread, None
        if thread is None:
            return
        try:
            await asyncio.wait_for(asyncio.wrap_future(thread.run(self._close())), timeout)
        finally:
            thread.stop()
            await asyncio.to_thread(thread.join, timeout)

    def abandon(self) -> None:
        """Close within 5 s, waiting only where no loop would be kept waiting."""
        thread, self._thread = self._thread, None
        if thread is None:
            return
        closing = thread.run(self._close())
        closing.add_done_callback(lambda _: thread.stop())
        if not thread.is_current and running_loop() is None:
            thread.join(5.0)

    @cached_property
    def _resolved(self) -> _Resolved:
        settings = self._given if isinstance(self._given, Settings) else load_settings(self._given)
        kind = clusters.load(settings.kind)
        config = settings.cluster or kind.Config()
        return _Resolved(kind, config, kind.pools(config))

    async def _open(self, thread: DaskThread) -> None:
        self._opening = asyncio.current_task()
        if self._foreign is None:
            resolved = self._resolved
            self._cluster = await resolved.kind.open_cluster(resolved.config)
            target = self._cluster.target
        else:
            target = foreign_target(self._foreign, self._security)
        self._connection = Connection(thread, target, self)
        await self._connection.open(_import_paths())

    async def _close(self) -> None:
        if self._opening is not None and not self._opening.done():
            if not self._opening.cancelling():  # a second cancellation would break off what the first has begun
                self._opening.cancel()
            await asyncio.wait([self._opening])  # it takes back what it has begun: jobs, for instance
        connection, cluster = self._connection, self._cluster
        self._cluster = None
        try:
            if connection is not None:
                await connection.close()
        finally:
            if cluster is not None:
                await cluster.close()


def _import_paths() -> list[str]:
    """Where this process imports from, the script's directory first; relative entries made absolute."""
    return [str(Path(path).absolute()) for path in sys.path if not path.endswith(".zip")]
