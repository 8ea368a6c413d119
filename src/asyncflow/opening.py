"""An engine about to be: the configuration read, the backends chosen and started."""

import asyncio
import os
import uuid
import warnings
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from types import TracebackType
from typing import Any, Generic, TypeVar

from asyncflow.backends.base import ExecutionBackend
from asyncflow.backends.noop import NoopExecutionBackend
from asyncflow.config import Settings, environment_config, load_settings
from asyncflow.errors import BackendNameError

Config = str | os.PathLike[str] | Mapping[str, Any]
E = TypeVar("E", bound=AbstractAsyncContextManager[Any])


class Opening(Generic[E]):
    """An engine about to be: await it, or use it in ``async with``."""

    def __init__(
        self,
        make: "Callable[[str, Path, list[ExecutionBackend], Settings, float], E]",
        config: Config | None,
        backend: ExecutionBackend | Sequence[ExecutionBackend] | None,
        dry_run: bool,
        uid: str | None,
        work_dir: str | os.PathLike[str] | None,
        close_timeout: float,
    ) -> None:
        self._make = make
        self._config = config
        self._backend = backend
        self._dry_run = dry_run
        self._uid = uid or f"asyncflow-{uuid.uuid4().hex[:12]}"
        self._work_dir = Path(work_dir or os.environ.get("ASYNCFLOW_WORK_DIR") or "asyncflow-runs")
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
        settings, backends = await asyncio.to_thread(self._prepare, config)  # reads files, and may have dask to import
        started: list[ExecutionBackend] = []
        try:
            for backend in backends:
                started.append(backend)
                await backend
        except BaseException:
            for backend in started:
                await backend.close(self._close_timeout)
            raise
        return self._make(self._uid, self._work_dir, backends, settings, self._close_timeout)

    def _prepare(self, config: Config | None) -> tuple["Settings", list[ExecutionBackend]]:
        settings = load_settings(config)
        return settings, self._backends(settings)

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
            return [NoopExecutionBackend(backend.name, backend.refusal) for backend in backends]
        return backends
