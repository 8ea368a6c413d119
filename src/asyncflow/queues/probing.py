"""One tiny job in each pool, made as its worker jobs are, that tells what it finds on its node."""

import asyncio
import hmac
import json
import logging
import os
import platform
import secrets
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from time import monotonic
from typing import Any

from asyncflow.errors import SubmitError
from asyncflow.queues import _probe
from asyncflow.queues.commands import run as run_command
from asyncflow.queues.diagnosis import Here, Probe, of_death, of_refusal, of_report, of_silence
from asyncflow.queues.janitor import Janitor, conclude
from asyncflow.queues.jobs import Report
from asyncflow.queues.poolkeys import QueueSettings, SchedulerOptions
from asyncflow.queues.queue import Queue
from asyncflow.queues.run import RunDirectory
from asyncflow.queues.system import QueueSystem
from asyncflow.queues.template import PoolPlan, Site, job_from

logger = logging.getLogger("asyncflow")

#: Seconds between looks into the shared directory, which tells nobody when a file comes.
INTERVAL = 0.5

#: Seconds after its end in which a job's report may still be on its way.
GRACE = 2.0

_END = "ASYNCFLOW_PROBE"


def this_machine(options: SchedulerOptions, interface: str | None) -> Here:
    """What the probes are compared with; the scheduler will listen as `options` and `interface` say."""
    from distributed.utils import get_ip

    interfaces = _probe.interfaces()
    name = options.interface or (None if options.host else interface)
    announced = interfaces.get(name) if name else options.host
    if not name and announced in {None, "0.0.0.0"}:  # noqa: S104 - what the user may have written
        announced = get_ip()
    return Here(platform.python_version(), _probe.versions(), interfaces, announced)


def _candidates(refused: str) -> dict[str, int]:
    """Directories that the nodes may see, with their inodes, which file systems tell alike to all their clients."""
    named = [os.environ.get(name) for name in ("SCRATCH", "PSCRATCH", "WORK", "HOME")]
    paths = [Path(path) for path in (*named, os.getcwd()) if path and not refused.startswith(path)]  # noqa: PTH109
    return {str(path): path.stat().st_ino for path in paths if path.is_dir()}


def command(python: str, spec: dict[str, Any]) -> str:
    """What the job runs instead of a worker; in the script itself, as the node may see no file of ours."""
    program = Path(_probe.__file__).read_text(encoding="utf-8")
    call = f"main(json.loads({json.dumps(spec)!r}))"
    return f"{python} - <<'{_END}'\n{program}\n\n{call}\n{_END}"


async def probe(
    kind: str, system: QueueSystem, config: QueueSettings, plans: Sequence[PoolPlan], patience: float
) -> tuple[Here, list[Probe]]:
    """Submit one job for each pool and wait for what they tell, `patience` seconds at most.

    However it ends, the jobs are cancelled and their directory is removed.

    Raises
    ------
    StartError
        When there can be no directory for them.
    """
    here = this_machine(config.scheduler_options, plans[0].keys.interface)
    run = RunDirectory.make(config.shared_temp_directory, kind)
    janitor = Janitor(system, run)
    probing = Probing(system, config, run, here, Queue(system, run.name, janitor, config.poll_interval, 0.0))
    are_cancelled = False
    try:
        await probing.run(plans, patience)
    finally:
        try:
            are_cancelled = await probing.close()
        finally:
            await conclude(run, janitor, are_cancelled=are_cancelled)
    return here, probing.probes


class Probing:
    """The probes of one run, and where they call back to.

    Attributes
    ----------
    probes : list of Probe
        One for each pool.
    """

    def __init__(self, system: QueueSystem, config: QueueSettings, run: RunDirectory, here: Here, queue: Queue) -> None:
        self.probes: list[Probe] = []
        self._system = system
        self._config = config
        self._run = run
        self._here = here
        self._queue = queue
        self._secrets = {"key": secrets.token_hex(16), "nonce": secrets.token_hex(16)}
        self._server: asyncio.Server | None = None
        self._calls: set[asyncio.Task[None]] = set()
        self._came = asyncio.Event()
        self._submitted: dict[str, float] = {}
        self._ended: dict[str, float] = {}
        self._said: dict[str, Report] = {}

    async def run(self, plans: Sequence[PoolPlan], patience: float) -> None:
        """Submit, wait, and judge."""
        await asyncio.to_thread((self._run.path / "nonce").write_text, self._secrets["nonce"])
        self._server = await asyncio.start_server(self._answer, "0.0.0.0")  # noqa: S104 - which works is the question
        port = self._server.sockets[0].getsockname()[1]
        queues = await self._queues()
        for plan in plans:
            await self._submit(plan, port, queues)
        deadline = monotonic() + patience
        while not all(each.is_over for each in self.probes):
            await self._look()
            for each in self.probes:
                if not each.is_over and monotonic() >= deadline:
                    each.problems.append(of_silence(self._word(each), patience, queues))
        for each in self.probes:
            if each.report is not None:
                shared = str(self._run.path.parent)
                each.problems += of_report(each, self._here, shared, self._config.scheduler_options)

    async def close(self) -> bool:
        """Cancel the jobs and listen no more; whether the queueing system took note."""
        for call in self._calls:
            call.cancel()
        if self._server is not None:
            self._server.close()
        await asyncio.gather(*self._calls, return_exceptions=True)
        return await self._queue.cancel_all()

    # The jobs

    async def _submit(self, plan: PoolPlan, port: int, queues: Sequence[str]) -> None:
        name = plan.pool.name
        here = self._here
        hosts = list(dict.fromkeys(filter(None, [here.announced, *here.interfaces.values()])))
        spec = {
            **self._secrets,
            "pool": name,
            "directory": str(self._run.path),
            "python": sys.executable,
            "candidates": await asyncio.to_thread(_candidates, str(self._run.path.parent)),
            "hosts": hosts,
            "port": port,
        }
        job = job_from(self._system, plan, f"{name}-0", Site(self._run.name, "-", str(self._run.logs), {}))
        job._command_template = command(plan.keys.python or sys.executable, spec)  # noqa: SLF001 - its worker command
        found = Probe(name, plan.keys)
        self.probes.append(found)
        self._submitted[name] = monotonic()
        try:
            found.job_id = await self._queue.submit(job)
        except SubmitError as error:
            found.problems.append(of_refusal(error, queues))
        else:
            logger.info("pool %r: submitted job %s", name, found.job_id)

    async def _look(self) -> None:
        """Wait for a call, a file, or an ended job, for a moment."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._came.wait(), INTERVAL)
        self._came.clear()
        waiting = [each for each in self.probes if not each.is_over]
        for each in waiting:
            with suppress(OSError, ValueError):
                place = self._run.path / f"{each.pool}.json"
                self._told(json.loads(await asyncio.to_thread(place.read_text, "utf-8")))
        if monotonic() >= self._queue.next_poll:
            self._said.update(await self._queue.ask(each.job_id for each in waiting) or {})
        for each in waiting:
            if not each.is_over and self._is_dead(each):
                await self._judge_death(each)

    def _is_dead(self, each: Probe) -> bool:
        """Whether its job has ended, and long enough ago for its report to have come."""
        report = self._said.get(each.job_id)
        if report is None or not report.has_ended:
            return False
        return monotonic() >= self._ended.setdefault(each.pool, monotonic()) + GRACE

    async def _judge_death(self, each: Probe) -> None:
        log = await asyncio.to_thread(self._run.tail, each.job_id, each.keys.log_directory)
        shared = str(self._run.path.parent)
        each.problems.append(of_death(self._word(each), log, shared, each.keys))

    def _told(self, report: Any) -> None:
        for each in self.probes:
            if each.pool == report["pool"] and each.report is None:
                each.report = report
                each.wait = max(0.0, monotonic() - self._submitted[each.pool] - report["took"])
        self._came.set()

    def _word(self, each: Probe) -> str:
        """``12 (PENDING Resources)``."""
        return f"{each.job_id} ({self._said.get(each.job_id, 'not listed')})"

    async def _queues(self) -> list[str]:
        asked = self._system.queues()
        return (await run_command(asked)).stdout.split() if asked else []

    # The calls

    def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        call = asyncio.get_running_loop().create_task(self._hear(reader, writer))
        self._calls.add(call)
        call.add_done_callback(self._calls.discard)

    async def _hear(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection: both show that they know the key; then the node may tell."""
        key, greeting = self._secrets["key"], secrets.token_hex(16).encode()
        try:
            writer.write(greeting + b"\n")
            answer = (await reader.readline()).strip()
            if hmac.compare_digest(answer, _probe.sign(key, "probe", greeting)):
                writer.write(_probe.sign(key, "driver", greeting) + b"\n")
                if told := await reader.readline():
                    self._told(json.loads(told))
        except (OSError, ValueError, KeyError) as error:
            logger.debug("a call to the probe's port came to nothing: %s", error)
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()
