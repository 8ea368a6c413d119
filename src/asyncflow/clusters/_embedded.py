"""The scheduler in this process, and its workers: programs of their own, or objects beside it."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distributed import Scheduler, Worker

from asyncflow.clusters._shape import Shape
from asyncflow.errors import StartError
from asyncflow.outlets import outlet_of
from asyncflow.queues.dashboards import LOCAL
from asyncflow.queues.scheduler import near_address, start_scheduler
from asyncflow.queues.target import Cluster, Target
from asyncflow.queues.tls import as_plain, make_security

if TYPE_CHECKING:
    from asyncflow.clusters.local import Config

#: Seconds that a worker program has to end in order before it is killed with all it started.
_END = 5.0


def _listen(config: "Config") -> dict[str, Any]:
    """Where scheduler and workers listen; distributed refuses a host beside an interface."""
    return {"interface": config.interface} if config.interface else {"host": config.host}


class Programs(Cluster):
    """Worker programs: a script without a ``__main__`` guard works, as nothing is started by multiprocessing."""

    def __init__(self, config: "Config", shape: Shape) -> None:
        self._config = config
        self._shape = shape
        self._security = make_security() if config.security == "tls" else None
        self._scheduler: Scheduler | None = None
        self._programs: list[asyncio.subprocess.Process] = []

    async def _start(self) -> None:
        await self._start_scheduler()
        await asyncio.gather(*(self._start_program(name) for name in range(self._shape.n_workers)))
        await self._wait_for_workers()

    async def close(self) -> None:
        """Tell the workers to end, see that they do, and close the scheduler behind them."""
        programs, self._programs = self._programs, []
        try:
            await asyncio.gather(*(_end(program) for program in programs))
        finally:
            if self._scheduler is not None:
                await self._scheduler.close(reason="asyncflow-shutdown")

    async def _start_scheduler(self) -> None:
        config = self._config
        try:
            self._scheduler = scheduler = await start_scheduler(
                self._security,
                config.dashboard_address,
                port=config.scheduler_port,
                protocol="tls" if self._security else "tcp",
                **_listen(config),
            )
        except (OSError, ValueError) as error:
            where = f"{config.interface or config.host}:{config.scheduler_port}"
            raise StartError(
                f"the scheduler could not listen on {where} ({error}); "
                "choose another scheduler_port or dashboard_address, or 0 for a free one"
            ) from error
        has_dashboard = config.dashboard_address is not None
        self.target = Target(
            scheduler.address,
            self._security,
            is_ours=True,
            has_dashboard=has_dashboard,
            near=near_address(scheduler),
        )

    async def _start_program(self, name: int) -> None:
        spec = json.dumps({"options": self._worker_options(name), "security": self._plain_security()})
        program = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "asyncflow.clusters._worker",
            stdin=subprocess.PIPE,
            stdout=outlet_of(sys.stdout),
            stderr=outlet_of(sys.stderr),
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [_home(), os.environ.get("PYTHONPATH")]))},
            start_new_session=True,  # Ctrl-C is for the driver, which then ends the workers in order
        )
        self._programs.append(program)
        assert program.stdin is not None
        program.stdin.write(spec.encode() + b"\n")  # and stays open: its end tells the worker that we have gone
        await program.stdin.drain()

    def _worker_options(self, name: int) -> dict[str, Any]:
        assert self._scheduler is not None
        config, shape = self._config, self._shape
        return {
            "scheduler_ip": self._scheduler.address,
            "name": name,
            "nthreads": shape.threads,
            "memory_limit": shape.memory_limit or 0,
            "resources": {**_counted(shape), **config.resources},
            "local_directory": config.local_directory,
            "death_timeout": config.death_timeout,
            "env": dict(config.env),
            "dashboard": False,
            "silence_logs": "WARNING",
            "dashboard_address": LOCAL,
            **_listen(config),
        }

    def _plain_security(self) -> dict[str, Any] | None:
        return as_plain(self._security) if self._security is not None else None

    async def _wait_for_workers(self) -> None:
        scheduler = self._scheduler
        assert scheduler is not None
        ended = [asyncio.ensure_future(program.wait()) for program in self._programs]
        arrived = asyncio.ensure_future(scheduler_has(scheduler, self._shape.n_workers))
        try:
            await asyncio.wait(
                [arrived, *ended], timeout=self._config.start_timeout, return_when=asyncio.FIRST_COMPLETED
            )
            if not arrived.done():
                dead = [program.returncode for program in self._programs if program.returncode is not None]
                why = f"a worker program exited with {dead[0]}" if dead else "the others did not connect in time"
                raise StartError(
                    f"{len(scheduler.workers)} of {self._shape.n_workers} workers came up within "
                    f"{self._config.start_timeout:g} s: {why}; see what it wrote above, or raise start_timeout"
                )
        finally:
            for waiting in (arrived, *ended):
                waiting.cancel()
            await asyncio.gather(arrived, *ended, return_exceptions=True)


class InProcess(Cluster):
    """Workers as objects on Dask's thread: up in 50 ms, for tests and small work; nothing listens outside."""

    def __init__(self, config: "Config", shape: Shape) -> None:
        self._config = config
        self._shape = shape
        self._scheduler: Scheduler | None = None
        self._workers: list[Worker] = []

    async def _start(self) -> None:
        shape, config = self._shape, self._config
        self._scheduler = await start_scheduler(None, config.dashboard_address, protocol="inproc", port=0)
        self.target = Target(self._scheduler.address, is_ours=True, has_dashboard=config.dashboard_address is not None)
        self._workers = [
            Worker(
                self._scheduler.address,
                name=name,
                nthreads=shape.threads,
                memory_limit=shape.memory_limit or 0,
                resources={**_counted(shape), **config.resources},
                local_directory=config.local_directory,
                dashboard=False,
                dashboard_address=LOCAL,
            )
            for name in range(shape.n_workers)
        ]
        await asyncio.gather(*self._workers)

    async def close(self) -> None:
        """Close workers, then the scheduler."""
        await asyncio.gather(*(worker.close(nanny=False) for worker in self._workers))
        if self._scheduler is not None:
            await self._scheduler.close(reason="asyncflow-shutdown")


async def scheduler_has(scheduler: Scheduler, n_workers: int) -> None:
    """Return when `scheduler` has `n_workers`."""
    from distributed import SchedulerPlugin

    enough = asyncio.Event()

    class Counter(SchedulerPlugin):  # type: ignore[misc]
        def add_worker(self, scheduler: Scheduler, worker: str) -> None:
            del worker
            if len(scheduler.workers) >= n_workers:
                enough.set()

    if len(scheduler.workers) < n_workers:
        scheduler.add_plugin(Counter(), name="asyncflow-count-workers")
        try:
            await enough.wait()
        finally:
            scheduler.remove_plugin("asyncflow-count-workers")


def _counted(shape: Shape) -> dict[str, float]:
    """Resources that let tasks ask for cores and memory."""
    return {"cores": shape.threads, "memory": shape.memory_limit or sys.maxsize}


def _home() -> str:
    """Where asyncflow itself lies, for worker programs that do not have it installed."""
    import asyncflow

    return str(Path(asyncflow.__file__).resolve().parent.parent)


async def _end(program: asyncio.subprocess.Process) -> None:
    if program.stdin is not None:
        program.stdin.close()
    try:
        with suppress(TimeoutError):
            await asyncio.wait_for(program.wait(), _END)
    finally:  # too slow, or whoever closes has no more time
        if program.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(program.pid, signal.SIGKILL)  # its own session: nanny, worker and what they started
            await program.wait()
