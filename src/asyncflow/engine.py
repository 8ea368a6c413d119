"""The engine: what a user creates, decorates with, and shuts down."""

import asyncio
import concurrent.futures
import logging
import os
import uuid
import warnings
import weakref
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar, overload

from asyncflow.backends.base import ExecutionBackend
from asyncflow.blocks import Block, BlockRunner
from asyncflow.dispatch import Dispatch
from asyncflow.opening import Config, Opening
from asyncflow.options import parse_options, with_defaults
from asyncflow.recipe import Kind
from asyncflow.scopes import Scope, current_scope, entered
from asyncflow.tasks import Task

if TYPE_CHECKING:
    from asyncflow.config import Settings

logger = logging.getLogger("asyncflow")

Made = TypeVar("Made", Task, Block)


class WorkflowEngine:
    """Turns decorated functions, commands and coroutines into concurrent work on one or several backends.

    Make one with `create`. It holds no loop of its own: a call belongs to the loop it is made on, and one engine may
    serve several loops one after the other.

    Attributes
    ----------
    uid : str
        The id of this engine; two engines never share one unless told to.
    work_dir : Path
        Where captured output goes, below ``work_dir/uid``; made when something asks for it.
    """

    def __init__(
        self, uid: str, work_dir: Path, backends: Sequence[ExecutionBackend], settings: "Settings", close_timeout: float
    ) -> None:
        self.uid = uid
        self.work_dir = work_dir
        self._close_timeout = close_timeout
        self._defaults = settings.defaults
        self._dispatch = Dispatch(uid, backends, BlockRunner(uid))
        self._closed: concurrent.futures.Future[None] | None = None
        self._closer: asyncio.Task[None] | None = None
        self._finalizer = weakref.finalize(self, _abandon, uid, list(backends))

    @classmethod
    def create(
        cls,
        config: Config | None = None,
        *,
        backend: ExecutionBackend | Sequence[ExecutionBackend] | None = None,
        dry_run: bool = False,
        uid: str | None = None,
        work_dir: str | os.PathLike[str] | None = None,
        close_timeout: float = 30.0,
    ) -> "Opening[WorkflowEngine]":
        """Create an engine: ``flow = await WorkflowEngine.create()`` or ``async with WorkflowEngine.create() as flow``.

        Parameters
        ----------
        config : path or mapping, optional
            The configuration (a YAML file or its content); by default the file that ``ASYNCFLOW_CONFIG`` names, else
            an embedded Dask cluster on this machine.
        backend : ExecutionBackend or sequence of them, optional
            Instead of a configuration. The first is the default; a task chooses another by ``backend="name"``. The
            engine closes them, and they close what they opened.
        dry_run : bool
            Run nothing, whatever backend is given; check everything that can be checked.
        uid : str, optional
            The engine's id; made up by default.
        work_dir : path, optional
            Where captured output goes; ``ASYNCFLOW_WORK_DIR``, else ``asyncflow-runs``.
        close_timeout : float
            Seconds that `shutdown` may take to close the backends.

        Raises
        ------
        ConfigError
            Listing every problem of the configuration.
        BackendNameError
            When two backends have one name.
        StartError
            When a cluster does not come up.
        """
        return Opening(cls, config, backend, dry_run, uid, work_dir, close_timeout)

    @property
    def backend(self) -> ExecutionBackend:
        """The default backend."""
        return self._dispatch.default

    @property
    def backends(self) -> dict[str, ExecutionBackend]:
        """All backends by name."""
        return dict(self._dispatch.backends)

    @property
    def dashboard_link(self) -> str | None:
        """The address of Dask's dashboard; None where there is none."""
        return getattr(self._dispatch.default, "dashboard_link", None)

    @overload
    def function_task(self, function: Callable[..., Any], /) -> Task: ...
    @overload
    def function_task(self, function: None = None, /, **options: Any) -> Callable[[Callable[..., Any]], Task]: ...
    def function_task(self, function: Callable[..., Any] | None = None, /, **options: Any) -> Any:
        """Decorate a function (``def`` or ``async def``) that runs on a worker; its return value is the result.

        Options are those of `TaskOptions`, here as keywords.
        """
        return self._decorate(Kind.FUNCTION, function, options)

    @overload
    def executable_task(self, function: Callable[..., Any], /) -> Task: ...
    @overload
    def executable_task(self, function: None = None, /, **options: Any) -> Callable[[Callable[..., Any]], Task]: ...
    def executable_task(self, function: Callable[..., Any] | None = None, /, **options: Any) -> Any:
        """Decorate a function whose return value is a command: a list of arguments, or a string split as a shell would.

        The body runs on the worker, after its inputs exist. The call resolves to the command's standard output as text,
        or with ``capture_stdio=True`` to the path of a file with it. A shell runs it only with ``shell=True``.
        """
        return self._decorate(Kind.COMMAND, function, options)

    @overload
    def prompt_task(self, function: Callable[..., Any], /) -> Task: ...
    @overload
    def prompt_task(self, function: None = None, /, **options: Any) -> Callable[[Callable[..., Any]], Task]: ...
    def prompt_task(self, function: Callable[..., Any] | None = None, /, **options: Any) -> Any:
        """Decorate a function whose return value is a prompt for a backend that serves prompts."""
        return self._decorate(Kind.PROMPT, function, options)

    @overload
    def block(self, function: Callable[..., Any], /) -> Block: ...
    @overload
    def block(self, function: None = None, /, **options: Any) -> Callable[[Callable[..., Any]], Block]: ...
    def block(self, function: Callable[..., Any] | None = None, /, **options: Any) -> Any:
        """Decorate a coroutine function that composes tasks on the driver; blocks nest and depend like tasks.

        Of the options ``name``, ``after`` and ``workflow_id`` mean something here.
        """
        parsed = parse_options(options, Kind.BLOCK)

        def make(body: Callable[..., Any]) -> Block:
            return Block(self._dispatch, body, parsed, self)

        return make if function is None else make(function)

    @asynccontextmanager
    async def workflow_scope(self, workflow_id: str | None = None) -> AsyncIterator[str]:
        """Give the calls made inside one workflow id, ``wf-…`` by default; ``async with flow.workflow_scope() as wid``.

        The scope follows `asyncio.create_task` and `gather`, and other engines see nothing of it.
        """
        scope = current_scope(self.uid)
        wid = workflow_id or f"wf-{uuid.uuid4().hex[:8]}"
        with entered(self.uid, Scope(wid, scope.block)):
            yield wid

    async def drain(self) -> None:
        """Wait until every call has come to an end, whatever end."""
        await self._dispatch.ledger.drained()

    async def shutdown(self) -> None:
        """Cancel what is unfinished and close everything the engine opened, and nothing it was given.

        Safe to call again, and twice at once; bounded by ``close_timeout`` for each part; never blocks the loop.
        """
        if self._closed is None:
            self._closed = concurrent.futures.Future()
            self._closer = asyncio.get_running_loop().create_task(self._close(self._closed))
        # Shielded: whoever is cancelled while waiting does not leave the cluster half closed.
        await asyncio.shield(asyncio.wrap_future(self._closed))

    async def __aenter__(self) -> Self:
        """The engine itself."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Wait for what was called; leaving by an exception cancels it instead."""
        try:
            if kind is None:
                await self.drain()
        finally:
            await self.shutdown()

    def __repr__(self) -> str:
        """Id and backends."""
        return f"<WorkflowEngine {self.uid} on {', '.join(self._dispatch.backends)}>"

    def _decorate(self, kind: Kind, function: Callable[..., Any] | None, options: dict[str, Any]) -> Any:
        parsed = with_defaults(parse_options(options, kind), self._defaults, kind)
        capture = str(self.work_dir / self.uid / "tasks")

        def make(body: Callable[..., Any]) -> Task:
            return Task(self._dispatch, body, kind, parsed, capture, self)

        return make if function is None else make(function)

    async def _close(self, closed: "concurrent.futures.Future[None]") -> None:
        logger.info("Shutdown is triggered, terminating the resources gracefully")
        self._finalizer.detach()
        self._dispatch.closed = True
        try:
            self._dispatch.cancel_all()
            async with asyncio.timeout(self._close_timeout):
                await self.drain()
        except TimeoutError:
            logger.warning("%d calls did not end in time", len(self._dispatch.ledger.unfinished()))
        finally:
            self._dispatch.ledger.report()
            closing = [self._close_backend(backend) for backend in self._dispatch.backends.values()]
            await asyncio.gather(*closing)
            closed.set_result(None)

    async def _close_backend(self, backend: ExecutionBackend) -> None:
        try:
            async with asyncio.timeout(self._close_timeout):
                await backend.close(self._close_timeout)
        except TimeoutError:
            logger.warning("backend %r did not close within %g s", backend.name, self._close_timeout)
        except Exception:
            logger.exception("backend %r did not close cleanly", backend.name)


def _abandon(uid: str, backends: list[ExecutionBackend]) -> None:
    warnings.warn(
        f"engine {uid} was left open; use `async with WorkflowEngine.create() as flow` or `await flow.shutdown()`",
        ResourceWarning,
        stacklevel=2,
    )
    for backend in backends:
        backend.abandon()
