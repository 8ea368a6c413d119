"""One client of one scheduler, living on Dask's thread: graphs out, outcomes in."""

import asyncio
import logging
import os
from collections.abc import Sequence
from functools import partial
from typing import Any

from distributed import Client
from tornado.ioloop import IOLoop

from asyncflow.backends.base import ExecutionBackend, Workforce
from asyncflow.backends.dask.ear import Ear
from asyncflow.backends.dask.experience import Experience
from asyncflow.backends.dask.graph import Sent
from asyncflow.backends.dask.herald import Herald
from asyncflow.backends.dask.outcomes import Outcomes
from asyncflow.backends.dask.remote import SitePlugin
from asyncflow.backends.dask.scouting import Scouting
from asyncflow.backends.dask.sending import Sender
from asyncflow.backends.dask.stalls import Stalls
from asyncflow.backends.dask.thread import DaskThread
from asyncflow.errors import StartError
from asyncflow.logs import settings_of
from asyncflow.node import Node, Outcome
from asyncflow.queues.dashboards import link_to
from asyncflow.queues.scheduler import tune_stream
from asyncflow.queues.target import Target
from asyncflow.states import TaskState

logger = logging.getLogger("asyncflow")


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
        self._experience = Experience()
        self._outcomes = Outcomes(backend, target.address, self._experience, thread.start_task)
        self._scouting = Scouting(self._send, self._experience, self._slots)
        self._sender: Sender | None = None
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
                target.near or target.address,
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
        self._connect()
        plugin = SitePlugin(self._plugin, paths, settings_of(os.environ), is_ours=target.is_ours)
        try:
            await self._client.register_plugin(plugin, name=self._plugin)
        except Exception as error:
            raise StartError(
                f"the workers of {target.address} cannot be made ready ({type(error).__name__}: {error}); install "
                "asyncflow and what it needs in their environment"
            ) from error
        await self._open_herald()

    def _connect(self) -> None:
        client, outcomes = self._client, self._outcomes
        self._sender = sender = Sender(client, self._plugin, outcomes, self._experience, self._slots, self._thread.call)
        outcomes.resend, outcomes.handle, outcomes.gather = sender.resend, sender.handle, client.gather
        outcomes.ended = self._scouting.look
        stalls = Stalls(self._backend, sender, outcomes)
        self._ear = Ear(self._thread, self._target, self._backend, client, self._plugin, sender, stalls)

    async def _open_herald(self) -> None:
        """Have the scheduler tell what workers say, without which there are no bundles."""
        assert self._sender is not None
        herald = Herald(self._plugin, self._client.id)
        try:
            await self._client.register_plugin(herald, name=herald.name)
        except Exception as error:  # a scheduler that is not ours, where asyncflow is not installed
            logger.info(
                "the scheduler at %s takes no plugin of ours (%s: %s): short calls are not sent together",
                self._target.address,
                type(error).__name__,
                error,
            )
        else:
            self._sender.can_bundle = True

    def _slots(self) -> int:
        workforce = self.workforce
        return workforce.slots if workforce is not None else 1

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
        self._outcomes.is_closing = True
        self._scouting.close()
        if self._ear is not None:
            self._ear.close()
        if self._client is None or self._client.status == "closed":
            return
        if not self._target.is_ours and self._outcomes.lost is None:
            try:
                async with asyncio.timeout(5):
                    await self._withdraw()
                    await self._client.unregister_worker_plugin(self._plugin)
            except Exception as error:
                logger.warning("the plugin of this engine stays on the workers of %s: %s", self._target.address, error)
        await self._client.close()

    async def _withdraw(self) -> None:
        if self._sender is not None and self._sender.can_bundle:
            self._sender.can_bundle = False
            await self._client.unregister_scheduler_plugin(f"{self._plugin}-herald")
        if self._ear is not None:
            await self._ear.withdraw()

    def listen(self, stem: str) -> None:
        """Have the workers measure, and the scheduler tell; what is sent meanwhile waits for that."""
        assert self._ear is not None
        self._ear.open(stem)

    def send(self, calls: Sequence[Sent]) -> None:
        """Send `calls`, each under its key; one that has another by now was taken back."""
        assert self._sender is not None
        if self._ear is not None and (opening := self._ear.opening) is not None:
            opening.add_done_callback(lambda _: self.send(calls))
            return
        if self._sender.can_bundle:
            self._scouting.send(calls)
        else:
            self._send(calls)

    def _send(self, calls: Sequence[Sent]) -> None:
        assert self._sender is not None
        alive = [sent for sent in calls if not sent.node.is_final and sent.node.key == sent.key]
        if self._outcomes.lost is not None or self._client.status in {"closed", "closing"}:
            lost = self._outcomes.scheduler_lost()
            self._backend.post([(sent.node, Outcome(TaskState.FAILED, error=lost)) for sent in alive])
        elif alive:
            try:
                self._sender.send(alive)
            except Exception as error:
                logger.debug("a graph of %d calls could not be sent", len(alive), exc_info=True)
                failed = partial(Outcome, TaskState.FAILED, error=error)
                self._backend.post([(sent.node, failed(about=sent.key)) for sent in alive])

    def handle(self, node: Node) -> Any:
        """The `distributed.Future` of `node`; from any thread."""
        assert self._sender is not None
        return self._sender.handle(node)

    def release(self, nodes: Sequence[Node]) -> None:
        """Let go of `nodes`, in the order given: dependents first, or the scheduler loses count."""
        if self._sender is not None:
            self._scouting.drop(nodes)
            self._sender.release(nodes)

    def fetch(self, nodes: Sequence[Node]) -> None:
        """Gather the values of `nodes`, which are in memory."""
        self._outcomes.fetch(nodes)
