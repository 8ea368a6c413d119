"""An engine about to be: the configuration read, the backends chosen and started."""

import asyncio
import os
import uuid
import warnings
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Generic, TypeVar

from asyncflow.backends.base import ExecutionBackend
from asyncflow.backends.noop import NoopExecutionBackend
from asyncflow.config import Settings, environment_config, load_settings
from asyncflow.errors import BackendNameError
from asyncflow.keeping import Keeping
from asyncflow.logs import checked, configure_from
from asyncflow.options import TaskOptions
from asyncflow.runs import Run, driven_here

Config = str | os.PathLike[str] | Mapping[str, Any]
E = TypeVar("E", bound=AbstractAsyncContextManager[Any])


class RunWish:
    """Which run an engine is to have, by its arguments and by what the command line says.

    Parameters
    ----------
    uid, work_dir, resume, checkpoint, capture_stdio, results
        As `WorkflowEngine.create` takes them.
    environ : mapping
        Where ``ASYNCFLOW_WORK_DIR``, ``…_RUN_ID``, ``…_RESUME``, ``…_RESULTS`` and ``…_BUNDLE`` are looked for.

    Attributes
    ----------
    is_asked : bool
        Whether the run is begun with the engine; otherwise something else may ask for it.
    defaults : dict of str to Any
        Options of all tasks, behind those of the configuration.
    """

    def __init__(
        self,
        uid: str | None,
        work_dir: str | os.PathLike[str] | None,
        resume: str | None,
        *,
        checkpoint: bool,
        capture_stdio: bool,
        results: str | None,
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        named, resumed = environ.get("ASYNCFLOW_RUN_ID"), environ.get("ASYNCFLOW_RESUME")
        self.work_dir = Path(work_dir or environ.get("ASYNCFLOW_WORK_DIR") or "asyncflow-runs")
        self.is_resumed = bool(resume or resumed)
        self.is_given = not (resume or uid) and bool(resumed or named)
        self.name = resume or uid or resumed or named or f"asyncflow-{uuid.uuid4().hex[:12]}"
        self.is_asked = bool(work_dir or self.is_resumed or named or checkpoint or capture_stdio)
        self.defaults: dict[str, Any] = {"checkpoint": True} if checkpoint else {}
        if capture_stdio:
            self.defaults["capture_stdio"] = "beside"  # a switch for all does not change what their calls return
        if checked(environ.get("ASYNCFLOW_BUNDLE") or "1", "ASYNCFLOW_BUNDLE", ("0", "1")) == "0":
            self.defaults["bundle"] = False
        self.results = results or environ.get("ASYNCFLOW_RESULTS") or None

    def settle(self) -> None:
        """Make the path absolute, for workers that run elsewhere; blocks.

        Where an earlier engine of this process has the name that the command line gave, choose another.
        """
        self.work_dir = self.work_dir.expanduser().absolute()
        if self.is_given:
            stem, number = self.name, 1
            while driven_here(self.work_dir / self.name):
                number += 1
                self.name = f"{stem}-{number}"

    def begin(self, config: Mapping[str, Any]) -> Run:
        """Make or open it; blocks."""
        return Run.begin(self.work_dir, self.name, resume=self.is_resumed, config=config, results=self.results)


@dataclass(frozen=True)
class Opened:
    """What an engine is made of."""

    uid: str
    work_dir: Path
    backends: list[ExecutionBackend]
    defaults: Mapping[str, Any]
    keeping: Keeping
    max_in_flight: int
    close_timeout: float


class Opening(Generic[E]):
    """An engine about to be: await it, or use it in ``async with``."""

    def __init__(
        self,
        make: "Callable[[Opened], E]",
        config: Config | None,
        backend: ExecutionBackend | Sequence[ExecutionBackend] | None,
        dry_run: bool,
        wish: RunWish,
        max_in_flight: int,
        close_timeout: float,
    ) -> None:
        self._make = make
        self._config = config
        self._backend = backend
        self._dry_run = dry_run
        self._wish = wish
        if max_in_flight < 1:
            raise ValueError(f"max_in_flight must be at least 1, not {max_in_flight}")
        self._max_in_flight = max_in_flight
        self._close_timeout = close_timeout
        self._made: E | None = None

    def __await__(self) -> Generator[Any, None, E]:
        """Open it."""
        return self._open().__await__()

    async def __aenter__(self) -> E:
        """Open it."""
        self._made = await self._open()
        await self._made.__aenter__()
        return self._made

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it as its own ``async with`` would."""
        assert self._made is not None
        await self._made.__aexit__(kind, error, trace)

    async def _open(self) -> E:
        config = self._config if self._config is not None else environment_config()
        if self._backend is not None and config is not None:
            warnings.warn(
                f"the configuration {config!r} is not used: the script gives create() a backend of its own; drop "
                "backend= to let the configuration decide",
                stacklevel=3,
            )
            config = None
        opened = await asyncio.to_thread(self._prepare, config)  # reads files, and may have dask to import
        started: list[ExecutionBackend] = []
        try:
            for backend in opened.backends:
                started.append(backend)
                await backend
        except BaseException:
            for backend in started:
                await backend.close(self._close_timeout)
            await asyncio.to_thread(opened.keeping.close)
            raise
        return self._make(opened)

    def _prepare(self, config: Config | None) -> Opened:
        configure_from(os.environ)
        settings, wish = load_settings(config), self._wish
        backends = self._backends(settings)
        defaults = {**wish.defaults, **settings.defaults}
        wish.settle()
        keeping = Keeping(partial(wish.begin, settings.as_data()), is_dry=self._dry_run)
        keeping.is_wanted = bool(defaults.get("checkpoint"))
        if (wish.is_asked or keeping.is_wanted) and not self._dry_run:
            keeping.begin()
        return Opened(wish.name, wish.work_dir, backends, defaults, keeping, self._max_in_flight, self._close_timeout)

    def _backends(self, settings: "Settings") -> list[ExecutionBackend]:
        if self._backend is None:
            from asyncflow.backends.dask import DaskExecutionBackend  # loads dask, which takes a while

            backends: list[ExecutionBackend] = [DaskExecutionBackend(settings)]
        else:
            given: Any = self._backend
            backends = list(given) if isinstance(given, Sequence) else [given]
        if not backends or not all(isinstance(each, ExecutionBackend) for each in backends):
            raise TypeError(f"backend= takes an ExecutionBackend or a list of them, got {self._backend!r}")
        names = [backend.name for backend in backends]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise BackendNameError(
                f"two backends are called {twice[0]!r}; give one another name, as in "
                f"{type(backends[-1]).__name__}(..., name='other')",
                tuple(names),
            )
        if self._dry_run:
            for backend in backends:
                backend.refusal(TaskOptions())  # which reads what it must from disks here, and not at the first call
            return [NoopExecutionBackend(backend.name, backend.refusal) for backend in backends]
        return backends
