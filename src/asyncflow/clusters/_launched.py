"""The scheduler in this process, and workers that one launcher starts on the nodes of a batch job."""

import asyncio
import logging
import os
import shlex
import signal
import subprocess
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from distributed import Scheduler, SchedulerPlugin

from asyncflow.clusters import _launchers as launchers
from asyncflow.clusters._embedded import scheduler_has
from asyncflow.clusters._queued import listen, target_of
from asyncflow.clusters._systems import systems
from asyncflow.errors import PoolError, StartError
from asyncflow.events import PoolStopped
from asyncflow.queues.demand import runnable
from asyncflow.queues.janitor import Janitor, conclude
from asyncflow.queues.lastwords import MANY
from asyncflow.queues.losses import Losses, fail
from asyncflow.queues.paths import expanded
from asyncflow.queues.pools import declared
from asyncflow.queues.records import LauncherRecord
from asyncflow.queues.run import RunDirectory
from asyncflow.queues.target import Cluster
from asyncflow.queues.template import worker_words
from asyncflow.queues.tls import secure
from asyncflow.queues.witness import station

if TYPE_CHECKING:
    from asyncflow.clusters.allocation import Config, Plan

logger = logging.getLogger("asyncflow")

#: Seconds that the launcher has to end its workers after SIGTERM, before SIGKILL.
_END = 5.0


class LaunchedCluster(Cluster):
    """Scheduler here, workers on all nodes.

    Parameters
    ----------
    config : Config
        Of ``kind: allocation``.
    plan : Plan
        The same, completed from the job's environment.
    """

    def __init__(self, config: "Config", plan: "Plan") -> None:
        self._config = config
        self._plan = plan
        self._run: RunDirectory | None = None
        self._janitor: Janitor | None = None
        self._scheduler: Scheduler | None = None
        self._command: list[str] = []
        self._launcher: asyncio.subprocess.Process | None = None
        self._watch: asyncio.Task[None] | None = None
        self._has_failed = False

    async def close(self) -> None:
        """End scheduler, workers and launcher; of the run stays nothing but the log of a launcher that failed."""
        watch, self._watch = self._watch, None
        run, self._run = self._run, None
        janitor, self._janitor = self._janitor, None
        launcher, self._launcher = self._launcher, None
        if watch is not None:  # or it would take what follows for a failure
            watch.cancel()
            await asyncio.gather(watch, return_exceptions=True)
        try:
            if self._scheduler is not None:  # which tells the workers to end
                await self._scheduler.close(reason="asyncflow-shutdown")
        finally:
            try:
                if launcher is not None:
                    await _end(launcher)
            finally:
                await conclude(run, janitor, keep_logs=self._has_failed)

    async def _start(self) -> None:
        config, plan = self._config, self._plan
        self.events.tell(declared(plan.pool))
        self._run = run = RunDirectory.make(config.shared_temp_directory, "allocation")
        self._janitor = Janitor(None, run)
        security, tls = secure("allocation", run, is_wanted=config.security == "tls")
        self._scheduler = scheduler = await listen(config.scheduler_options, config.interface, security)
        self.target = target_of(scheduler, config.scheduler_options, security)
        record = _record_of(plan, run)
        station(scheduler)
        scheduler.plugins[Losses.name].record = lambda _: record
        announce(plan, scheduler.address)
        await self._launch(worker_command(config, plan, scheduler.address, tls), run)
        await self._wait_for_a_worker(scheduler)
        self._watch = asyncio.get_running_loop().create_task(self._tell_the_end(scheduler))

    async def _launch(self, worker: list[str], run: RunDirectory) -> None:
        self._command, environ = launch_command(self._config, self._plan, worker)
        logger.debug("workers are started by: %s", shlex.join(self._command))
        log = os.open(run.logs / "launcher.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            self._launcher = await asyncio.create_subprocess_exec(
                *self._command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environ,
                start_new_session=True,  # Ctrl-C is for the driver, which then ends the workers in order
            )
        except OSError as error:
            raise StartError(
                f"the launcher {self._command[0]!r} could not be started ({error}); it must be on PATH in the job, "
                "or launcher: must name another"
            ) from error
        finally:
            os.close(log)

    async def _wait_for_a_worker(self, scheduler: Scheduler) -> None:
        assert self._launcher is not None
        timeout = self._config.start_timeout
        ended = asyncio.ensure_future(self._launcher.wait())
        arrived = asyncio.ensure_future(scheduler_has(scheduler, 1))
        try:
            await asyncio.wait([arrived, ended], timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
            if arrived.done():
                return
            if ended.done():
                raise StartError(f"no worker came: {self._said(ended.result())}")
            raise StartError(
                f"no worker came within start_timeout ({timeout:g} s); the launcher still runs: {self._said(None)}; "
                f"if its workers run, their nodes may not reach {scheduler.address}, and interface: sets another"
            )
        finally:
            for waiting in (arrived, ended):
                waiting.cancel()
            await asyncio.gather(arrived, ended, return_exceptions=True)

    async def _tell_the_end(self, scheduler: Scheduler) -> None:
        """The launcher ends after its workers: what they leave undone will never be done."""
        assert self._launcher is not None
        status = await self._launcher.wait()
        self._has_failed = True
        text = await asyncio.to_thread(self._said, status)
        logger.error("no worker is left to start again: %s", text)
        error = PoolError(f"the workers have ended: {text}", self._plan.pool.name, log=text)
        self.events.tell(PoolStopped(pool=self._plan.pool.name, error=str(error)))
        plugin = NobodyLeft(scheduler, error)
        scheduler.add_plugin(plugin, name=plugin.name)
        plugin.look()

    def _said(self, status: int | None) -> str:
        """How the launcher fared, and the end of its log."""
        assert self._run is not None
        how = "" if status is None else f" ended with exit status {status}"
        tail = self._run.tail("launcher")
        return f"{shlex.join(self._command)}{how}" + (f"; its log ends:\n{tail}" if tail else ", and wrote nothing")


class NobodyLeft(SchedulerPlugin):  # type: ignore[misc]
    """Fails what waits for workers where none are left and none will come, instead of leaving it waiting for ever."""

    name = "asyncflow-nobody-left"

    def __init__(self, scheduler: Scheduler, error: Exception) -> None:
        self._scheduler = scheduler
        self._error = error
        self._is_due = False

    def transition(self, key: Any, start: str, finish: str, *args: Any, **kwargs: Any) -> None:
        """Called by Dask for each step of each task."""
        if finish in {"no-worker", "queued"}:
            self._look_soon()

    def remove_worker(self, scheduler: Scheduler, worker: str, **_: Any) -> None:
        """Called by Dask."""
        self._look_soon()

    def look(self) -> None:
        """Fail what nobody can do."""
        self._is_due = False
        if not self._scheduler.workers:
            fail(self._scheduler, list(runnable(self._scheduler)), self._error)

    def _look_soon(self) -> None:
        if not self._is_due:  # not now: Dask is in the middle of a step
            self._is_due = True
            asyncio.get_running_loop().call_soon(self.look)


def _record_of(plan: "Plan", run: RunDirectory) -> LauncherRecord:
    """What is known of the job that all workers are in."""
    known = {system.upper(): each.logged for system, each in systems().items()}
    allocation = plan.allocation
    job, table = ("", {}) if allocation is None else (allocation.job, known.get(allocation.system, {}))
    return LauncherRecord(job, plan.pool.name, table, lambda: run.tail("launcher", lines=MANY))


def announce(plan: "Plan", address: str) -> None:
    """Log what is about to be used, and what not."""
    where = plan.allocation or "the allocation"
    logger.info("%s: %d workers on %d nodes; scheduler at %s", where, plan.pool.workers, plan.nodes, address)
    if plan.allocation is not None and plan.allocation.most > plan.allocation.cores == plan.cores:
        text = "%s has %d cores on one node, and %d of each are used; ask for as many on every node, or give cores:"
        logger.warning(text, where, plan.allocation.most, plan.cores)


def worker_command(config: "Config", plan: "Plan", scheduler: str, tls: dict[str, str]) -> list[str]:
    """What runs on each node. Without ``--name``: it would be the same everywhere."""
    words = [config.python or sys.executable, "-m", "distributed.cli.dask_worker", scheduler]
    words += ["--nthreads", str(plan.pool.cores), "--memory-limit", str(plan.pool.memory)]
    words += ["--nworkers", str(config.processes), "--death-timeout", f"{config.death_timeout:g}"]
    words += ["--interface", config.interface] if config.interface else []
    words += ["--local-directory", str(expanded(config.local_directory))] if config.local_directory else []
    return [*words, *worker_words(plan.pool, tls), *config.worker_extra_args]


def launch_command(config: "Config", plan: "Plan", worker: list[str]) -> tuple[list[str], dict[str, str]]:
    """The launcher's words, and its environment."""
    environ = dict(os.environ)
    if config.launcher is not None:
        return launchers.from_template(config.launcher, worker, plan.nodes, plan.cores), environ
    assert plan.allocation is not None
    if plan.allocation.system == "SLURM":
        return launchers.srun(worker, plan.nodes, plan.cores), launchers.srun_environment(environ)
    return launchers.pbsdsh(worker, plan.allocation, plan.nodes, environ), environ


async def _end(launcher: asyncio.subprocess.Process) -> None:
    """TERM, which launchers hand on to the workers, then KILL; the workers end with their scheduler in any case."""
    try:
        _signal(launcher, signal.SIGTERM)
        with suppress(TimeoutError):
            await asyncio.wait_for(launcher.wait(), _END)
    finally:  # too slow, or whoever closes has no more time
        _signal(launcher, signal.SIGKILL)
        await launcher.wait()


def _signal(launcher: asyncio.subprocess.Process, number: int) -> None:
    """To the launcher, which leads a session, and to what it started here."""
    if launcher.returncode is None:
        with suppress(ProcessLookupError):
            os.killpg(launcher.pid, number)
