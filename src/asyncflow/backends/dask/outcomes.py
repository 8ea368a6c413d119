"""What Dask's client hears of tasks, made outcomes of calls; and values brought to the driver."""

import asyncio
import logging
import pickle
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any

from distributed import KilledWorker

from asyncflow.backends.base import ExecutionBackend
from asyncflow.backends.dask.bundle import Bundle, Share
from asyncflow.backends.dask.experience import Experience
from asyncflow.backends.dask.graph import Sent
from asyncflow.backends.dask.parts import picked
from asyncflow.backends.dask.running import Word
from asyncflow.call import RemoteFailure
from asyncflow.errors import LostError, SchedulerLostError, WorkerLostError, with_cause
from asyncflow.node import Node, Outcome
from asyncflow.states import TaskState

logger = logging.getLogger("asyncflow")

#: Bytes of a bundle's values that are fetched whole for one of them.
_WHOLE = 1_000_000


class Outcomes:
    """Tells the engine what came of its calls; all methods run on Dask's thread.

    Parameters
    ----------
    backend : ExecutionBackend
        Whose `post` takes the outcomes.
    address : str
        Of the scheduler.
    experience : Experience
        Takes note of what calls took.
    start_task : callable
        Runs a coroutine beside what is running.

    Attributes
    ----------
    lost : SchedulerLostError or None
        Set when the scheduler is lost.
    is_closing : bool
        Whether it is the driver that goes.
    resend : callable
        Given calls that fell with others, to send each by itself.
    handle : callable
        Given a call, its Dask future.
    gather : callable
        From Dask futures to their values.
    ended : callable
        Told that calls have.
    """

    def __init__(
        self,
        backend: ExecutionBackend,
        address: str,
        experience: Experience,
        start_task: Callable[[Coroutine[Any, Any, None]], object],
    ) -> None:
        self._backend = backend
        self._address = address
        self._experience = experience
        self._start_task = start_task
        self.lost: SchedulerLostError | None = None
        self.is_closing = False
        self.resend: Callable[[Sequence[Sent]], object] = _unconnected
        self.handle: Callable[[Node], Any] = _unconnected
        self.gather: Callable[[Sequence[Any]], Any] = _unconnected
        self.ended: Callable[[], object] = _nobody
        self._settled: list[tuple[Node, Outcome]] = []
        self._to_fetch: list[Node] = []
        self._to_resend: list[Sent] = []

    # Values

    def fetch(self, nodes: Sequence[Node]) -> None:
        """Gather the values of `nodes`, which are in memory."""
        self._start_task(self._fetch(nodes))

    async def _fetch(self, nodes: Sequence[Node]) -> None:
        keys = [node.key for node in nodes]
        found = [self._where(node, node.remote) for node in nodes]
        futures = list(dict.fromkeys(future for future, _ in found))
        try:
            values = dict(zip(futures, await self.gather(futures), strict=True))
        except Exception as error:
            if len(nodes) == 1:
                failed = Outcome(TaskState.FAILED, error=self._fetch_error(nodes[0], error), about=keys[0])
                self._backend.post([(nodes[0], failed)])
            else:  # one bad value must not cost the others
                for node in nodes:
                    await self._fetch([node])
            return
        self._backend.post(
            (node, self._value(node, key, values[future], part))
            for node, key, (future, part) in zip(nodes, keys, found, strict=True)
        )

    def _where(self, node: Node, hold: Any) -> tuple[Any, int | None]:
        """What has to be gathered for the value of `node`, and which of the values in it that is."""
        if not isinstance(hold, Share):
            return hold, None
        return (hold.bundle.future, hold.index) if hold.bundle.size <= _WHOLE else (self.handle(node), None)

    def _value(self, node: Node, key: str, value: Any, part: int | None) -> Outcome:
        try:
            return Outcome(TaskState.DONE, picked(value, part), has_value=True, about=key)
        except Exception as error:  # it was lost with its worker and failed when it was made again, or does not open
            return Outcome(TaskState.FAILED, error=self._fetch_error(node, error), about=key)

    def _fetch_error(self, node: Node, error: Exception) -> BaseException:
        if self.lost is not None:
            return self.lost
        if isinstance(error, RemoteFailure):  # its value was lost with a worker, and making it again failed
            return error
        text = (
            f"the result of task {node.name!r} could not be brought to the driver ({type(error).__name__}: {error}); "
            "return something that can be pickled, or pass the future on without awaiting it"
        )
        return with_cause(LostError(text), error)

    # Single calls; see Watch

    def on_finished(self, node: Node, key: str, word: Word | None) -> None:
        """Fetch what somebody waits for and did not come along; of the rest say that it is there."""
        if word is not None:
            self._experience.note(node.recipe.function, word.seconds, word.size, is_stuck=word.is_stuck)
        if word is not None and word.value is not None:
            try:
                value = pickle.loads(word.value)
            except Exception:
                logger.debug("the value of %r did not open; it is fetched", key, exc_info=True)
            else:
                self.settle(node, Outcome(TaskState.DONE, value, has_value=True, about=key))
                return
        if node.awaited and node.remote is not None and node.key == key:
            if not self._to_fetch:
                asyncio.get_running_loop().call_soon(self._fetch_finished)
            self._to_fetch.append(node)
        else:
            self.settle(node, Outcome(TaskState.DONE, about=key))

    def _fetch_finished(self) -> None:
        nodes, self._to_fetch = self._to_fetch, []
        if still := [node for node in nodes if node.remote is not None]:  # or cancelled meanwhile
            self.fetch(still)

    def on_erred(self, node: Node, key: str, error: BaseException) -> None:
        """Say whose failure it is."""
        if isinstance(error, KilledWorker):
            lost = Outcome(TaskState.FAILED, error=_lost_error(node, error), origin=str(error.task), is_lost=True)
            self.settle(node, lost._replace(about=key))
        else:
            self._fail(node, key, error)

    def _fail(self, node: Node, key: str, error: BaseException) -> None:
        origin, measure = key, None
        if isinstance(error, RemoteFailure):
            origin = error.key
            measure = error.measure if origin == key else None
        self.settle(node, Outcome(TaskState.FAILED, error=error, origin=origin, about=key, measure=measure))

    def on_cancelled(self, node: Node, key: str, reason: str) -> None:
        """The scheduler gave the call up."""
        if self.is_closing:
            return
        if reason == "lost dependencies":
            text = f"task {node.name!r} depends on a value that is gone from the cluster; call again what made it"
            self.settle(node, Outcome(TaskState.FAILED, error=LostError(text), about=key))
        elif reason in {"scheduler-connection-lost", "scheduler-restart"}:
            self.settle(node, Outcome(TaskState.FAILED, error=self.scheduler_lost()))
        else:
            self.settle(node, Outcome(TaskState.CANCELLED, about=key))

    def on_lost_batch(self, sent: Sent) -> None:
        """Send the call again by itself: alone it fails only for a dependency of its own."""
        if not self._to_resend:
            asyncio.get_running_loop().call_soon(self._resend)
        self._to_resend.append(sent)

    def _resend(self) -> None:
        calls, self._to_resend = self._to_resend, []
        in_order = sorted(calls, key=lambda sent: sent.node.number)  # what others depend on first
        self.resend([sent for sent in in_order if not sent.node.is_final and sent.node.key == sent.key])

    # Bundles; see BundleWatch

    def on_bundle_finished(self, bundle: Bundle, words: Sequence[Word]) -> None:
        """Say of each call what the worker said."""
        nodes = bundle.end(words)
        for word in words:
            node = nodes.pop(word.key, None)
            if node is None:  # it was cancelled
                continue
            self.on_word(node, word)
        for key, node in nodes.items():  # the worker did not say: its values do
            self.on_finished(node, key, None)

    def on_word(self, node: Node, word: Word) -> None:
        """Say of a call of a bundle what the worker said."""
        if word.failure is not None:
            self._fail(node, word.key, pickle.loads(word.failure))
        else:
            self.on_finished(node, word.key, word)

    def on_bundle_broken(self, bundle: Bundle, reason: str, losses: Mapping[str, int]) -> None:
        """Send each of its calls again by itself, and count for each the workers that were lost under it.

        So a call that ends its worker, or a value that is gone, costs no other call than those it belongs to.
        """
        for key, node in bundle.end().items():
            if reason and reason != "lost dependencies":
                self.on_cancelled(node, key, reason)
            else:
                self.settle(node, Outcome(TaskState.PENDING, about=key, again=losses[key]))

    # What they all end as

    def settle(self, node: Node, outcome: Outcome) -> None:
        """Post `outcome` with the others of this turn of Dask's loop."""
        if not self._settled:
            asyncio.get_running_loop().call_soon(self._post)
        self._settled.append((node, outcome))

    def _post(self) -> None:
        settled, self._settled = self._settled, []
        self._backend.post(settled)
        self.ended()

    def scheduler_lost(self) -> SchedulerLostError:
        """What every unfinished call fails with from now on."""
        if self.lost is None:
            self.lost = SchedulerLostError(
                f"the connection to the scheduler at {self._address} is lost, and with it every unfinished call; "
                "create a new engine when it runs again",
                self._address,
            )
        return self.lost


def _lost_error(node: Node, error: KilledWorker) -> WorkerLostError:
    worker = str(getattr(error.last_worker, "address", error.last_worker))
    text = (
        f"task {node.name!r} was lost with {error.allowed_failures + 1} workers one after the other, the last "
        f"of them {worker}; look into its log, and whether the task takes more memory than the worker has"
    )
    return with_cause(WorkerLostError(text, worker, task=node.name), error)


def _nobody() -> None:
    """Nobody wants to know."""


def _unconnected(what: Any) -> Any:
    raise RuntimeError(f"not connected: {what!r}")
