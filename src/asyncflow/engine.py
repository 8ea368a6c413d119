"""The engine: what a user creates, decorates with, and shuts down."""

import asyncio
import concurrent.futures
import logging
import os
import uuid
import weakref
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar, overload

from asyncflow.audience import current_audience
from asyncflow.backends.base import ExecutionBackend
from asyncflow.blocks import Block, BlockRunner
from asyncflow.closing import Closing, abandon
from asyncflow.dispatch import Dispatch
from asyncflow.errors import EngineClosedError
from asyncflow.events import SessionStarted, UserEvents
from asyncflow.looks import Looks
from asyncflow.notebook.graph import Graph
from asyncflow.notebook.live import NotebookProgress, in_notebook
from asyncflow.notice import current_notice
from asyncflow.opening import Config, Opened, Opening, RunWish
from asyncflow.options import parse_options, with_defaults
from asyncflow.recipe import Kind
from asyncflow.scopes import Scope, current_scope, entered
from asyncflow.streams import OnError, Stream
from asyncflow.tasks import Task
from asyncflow.views.progress import Progress, progress_of
from asyncflow.winding import Winding

if TYPE_CHECKING:
    from opentelemetry.sdk.metrics.export import MetricReader
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import SpanProcessor

    from asyncflow.telemetry import Telemetry

logger = logging.getLogger("asyncflow")

#: Seconds to wait, at the end, for what the last calls took.
_LAST_NEWS = 1.0

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
        Where run directories lie; that of this engine is ``work_dir/uid``, made when something asks for it.
    """

    def __init__(self, opened: Opened) -> None:
        self.uid = uid = opened.uid
        self.work_dir = opened.work_dir
        self._defaults = opened.defaults
        backends = opened.backends
        self._dispatch = Dispatch(uid, backends, BlockRunner(uid), opened.keeping, opened.max_in_flight)
        self._winding = Winding(self._dispatch)
        self._looks = Looks(self._dispatch)
        if (notice := current_notice()) is not None:
            notice.join(self._winding)
        if (audience := current_audience()) is not None:
            audience(opened.keeping.events)
        self._user_events = UserEvents(opened.keeping.events)
        opened.keeping.events.tell(_session(uid, opened))
        self._closing = Closing(self._dispatch, self._winding, self._looks, self._user_events, opened.close_timeout)
        self._closed: concurrent.futures.Future[None] | None = None
        self._closer: asyncio.Task[None] | None = None
        self._finalizer = weakref.finalize(self, abandon, uid, list(backends), opened.keeping)

    @classmethod
    def create(  # noqa: PLR0913 - each by name, and each with a default
        cls,
        config: Config | None = None,
        *,
        backend: ExecutionBackend | Sequence[ExecutionBackend] | None = None,
        dry_run: bool = False,
        uid: str | None = None,
        work_dir: str | os.PathLike[str] | None = None,
        resume: str | None = None,
        checkpoint: bool = False,
        capture_stdio: bool = False,
        results: str | None = None,
        max_in_flight: int = 10_000,
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
            The engine's id, which is also the name of its run; what ``asyncflow run`` says (``ASYNCFLOW_RUN_ID``), else
            made up.
        work_dir : path, optional
            Where run directories lie; ``ASYNCFLOW_WORK_DIR``, else ``asyncflow-runs``. Given here, the engine makes its
            own at once, else when something asks for it: a task with ``checkpoint=True``, captured output.
        resume : str, optional
            The name of a run to go on with, which is begun where it does not exist; what ``asyncflow run --resume``
            says (``ASYNCFLOW_RESUME``) by default. What its checkpointed tasks finished is not done again.
        checkpoint : bool
            Keep the results of all tasks that do not say otherwise.
        capture_stdio : bool
            Let what all tasks print and log go to files, those that do not say otherwise; calls return what they always
            do (the option ``capture_stdio="beside"``).
        results : str, optional
            A directory or fsspec URL (``s3://bucket/run``) for kept results; below the run directory by default.
        max_in_flight : int
            How many calls are at the backends at once; more wait in this process, in order.
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
        RunDirectoryError
            When the run exists and is not to be resumed, is another driver's, or is damaged.
        """
        wish = RunWish(uid, work_dir, resume, checkpoint=checkpoint, capture_stdio=capture_stdio, results=results)
        return Opening(cls, config, backend, dry_run, wish, max_in_flight, close_timeout)

    @property
    def backend(self) -> ExecutionBackend:
        """The default backend."""
        return self._dispatch.default

    @property
    def backends(self) -> dict[str, ExecutionBackend]:
        """All backends by name."""
        return dict(self._dispatch.backends)

    @property
    def run_dir(self) -> Path | None:
        """The run directory; None where nothing has asked for one."""
        run = self._dispatch.keeping.run
        return run.path if run is not None else None

    @property
    def events(self) -> UserEvents:
        """What happens: ``flow.events.subscribe(callback)``."""
        return self._user_events

    async def start_telemetry(
        self,
        *,
        span_processors: "Iterable[SpanProcessor] | None" = None,
        metric_readers: "Iterable[MetricReader] | None" = None,
        resource: "Resource | None" = None,
    ) -> "Telemetry":
        """Tell OpenTelemetry what happens from now on; needs ``pip install 'asyncflow[otel]'``.

        There are spans of the session, its workflows, blocks and tasks, and what bodies do nests under their tasks. By
        default they go where the process's own `TracerProvider` sends them, and where there is none, where the
        ``OTEL_…`` variables say. It ends with the engine, or by its `stop`.

        Parameters
        ----------
        span_processors, metric_readers : iterable, optional
            Of the SDK: send spans and metrics there instead.
        resource : opentelemetry.sdk.resources.Resource, optional
            What they are said to be of; with a provider of its own.

        Raises
        ------
        ModuleNotFoundError
            Where OpenTelemetry's SDK is not installed.
        ValueError
            Where nothing says who takes the spans.
        RuntimeError
            Where it runs already.
        """
        telemetry = await asyncio.to_thread(_load_telemetry)
        if self._closed is not None:
            raise EngineClosedError("start_telemetry() was called after the engine shut down; create a new engine")
        self._closing.telemetry = found = await telemetry.start(
            self._dispatch.events, span_processors=span_processors, metric_readers=metric_readers, resource=resource
        )
        return found

    @property
    def dashboard_link(self) -> str | None:
        """The address of Dask's dashboard; None where there is none."""
        return self._looks.dashboard_link

    def graph(self, *, by_name: bool | None = None) -> Graph:
        """Draw what has been called so far, coloured by state, and what depends on what; at any time, it only looks.

        Parameters
        ----------
        by_name : bool, optional
            Draw one box for all calls of a name; by default where there are more than 100 calls, or 300 edges. False
            draws the last 100 calls.
        """
        return self._looks.graph(by_name=by_name)

    def progress(self, *, interval: float = 0.5) -> Progress | NotebookProgress:
        """Show how far calls are: ``with flow.progress(): ...``, or ``async with``.

        In a notebook it is shown at once, below the cell, and follows until the engine shuts down or another cell shows
        it. Elsewhere it is shown on standard error inside ``with``: bars where that is a terminal, else a line every
        30 s, and a table at the end. Under ``asyncflow run``, which does that by itself, it shows nothing.

        Parameters
        ----------
        interval : float
            Seconds between two looks, in a notebook.
        """
        if in_notebook():
            return self._looks.follow(interval)
        return progress_of(self._dispatch.events, self._dispatch.ledger.unfinished)

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

    def map(
        self,
        task: Task | Block,
        items: Iterable[Any] | AsyncIterable[Any],
        *,
        window: int = 1000,
        ordered: bool = False,
        on_error: OnError = "raise",
    ) -> Stream:
        """Call `task` on each of any number of items: ``async for result in flow.map(task, items): ...``.

        Items are taken as calls end, so that neither a long list nor an endless generator fills memory.

        Parameters
        ----------
        items : iterable or async iterable
            One argument of a call each; futures are welcome.
        window : int
            How many calls are alive at once, results that nobody has taken yet included.
        ordered : bool
            Whether results come in the order of the items, rather than as they end.
        on_error : {"raise", "yield", "skip"}
            What becomes of the error of one call: raised, which cancels the rest; handed out in place of a result; or
            left out.
        """
        return Stream(task, items, window=window, ordered=ordered, on_error=on_error)

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

    async def shutdown(self, grace: float = 0.0) -> None:
        """Cancel what is unfinished and close everything the engine opened, and nothing it was given.

        Safe to call again, and twice at once; bounded by ``close_timeout`` for each part; never blocks the loop.

        Parameters
        ----------
        grace : float
            Seconds that calls which run get to end, so that results with ``checkpoint=True`` are kept. No other
            begins; those that wait are cancelled afterwards.
        """
        if self._closed is None:
            self._closed = concurrent.futures.Future()
            self._closer = asyncio.get_running_loop().create_task(self._close(self._closed, grace))
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

    def _repr_html_(self) -> str:
        return self._looks.html()

    def _decorate(self, kind: Kind, function: Callable[..., Any] | None, options: dict[str, Any]) -> Any:
        parsed = with_defaults(parse_options(options, kind), self._defaults, kind)
        root = str(self.work_dir / self.uid / "tasks")

        def make(body: Callable[..., Any]) -> Task:
            return Task(self._dispatch, body, kind, parsed, root, self)

        return make if function is None else make(function)

    async def _close(self, closed: "concurrent.futures.Future[None]", grace: float) -> None:
        self._finalizer.detach()
        try:
            await self._closing.run(grace)
        finally:
            closed.set_result(None)


def _load_telemetry() -> "type[Telemetry]":
    from asyncflow.telemetry import Telemetry  # loads OpenTelemetry, which takes a while and need not be there

    return Telemetry


def _session(uid: str, opened: Opened) -> SessionStarted:
    names = tuple(backend.name for backend in opened.backends)
    return SessionStarted(session_id=uid, backends=names, max_in_flight=opened.max_in_flight)
