"""A cluster whose workers are jobs of a queueing system, under a scheduler beside the script."""

import logging
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from asyncflow.errors import StartError
from asyncflow.queues.dashboards import link_to, tunnel
from asyncflow.queues.janitor import Janitor, conclude
from asyncflow.queues.poolkeys import QueueSettings, SchedulerOptions
from asyncflow.queues.pools import Pool, declared
from asyncflow.queues.queue import Queue
from asyncflow.queues.run import RunDirectory
from asyncflow.queues.system import QueueSystem
from asyncflow.queues.target import Cluster, Target
from asyncflow.queues.template import PoolPlan, Site, plan_pools

logger = logging.getLogger("asyncflow")


class QueuedCluster(Cluster):
    """Scheduler here, workers in jobs.

    Parameters
    ----------
    kind : str
        Of the configuration.
    system : QueueSystem
        Where jobs are submitted.
    config : QueueSettings
        What holds for all pools.
    plans : list of PoolPlan
        The pools. The scheduler listens on the interface of the first, where its own options say nothing.
    """

    def __init__(self, kind: str, system: QueueSystem, config: QueueSettings, plans: list[PoolPlan]) -> None:
        self._kind = kind
        self._system = system
        self._config = config
        self._plans = plans
        self._interface = plans[0].keys.interface
        self._run: RunDirectory | None = None
        self._janitor: Janitor | None = None
        self._scaler: Any = None
        self._scheduler: Any = None

    async def _start(self) -> None:
        from asyncflow.queues.scaler import Scaler
        from asyncflow.queues.tls import secure

        config = self._config
        for plan in self._plans:
            self.events.tell(declared(plan.pool, plan.keys.limits.min, plan.keys.limits.max))
        self._run = run = RunDirectory.make(config.shared_temp_directory, self._kind)
        security, tls = secure(self._kind, run, is_wanted=config.security == "tls")
        self._scheduler = await listen(config.scheduler_options, self._interface, security)
        address = self._scheduler.address
        self.target = target_of(self._scheduler, config.scheduler_options, security)
        self._janitor = Janitor(self._system, run)
        queue = Queue(self._system, run.name, self._janitor, config.poll_interval, config.submit_interval)
        site = Site(run.name, address, str(run.logs), tls)
        logger.info("run %s: the scheduler listens on %s", run.name, address)
        self._scaler = Scaler(self._scheduler, self._system, queue, self._plans, site, run, self.events)
        await self._scaler.start(config.start_timeout)

    async def close(self) -> None:
        """Cancel the jobs, close the scheduler, leave nothing of the run but logs that somebody may want to read."""
        scaler, self._scaler = self._scaler, None
        janitor, self._janitor = self._janitor, None
        run, self._run = self._run, None
        are_cancelled = scaler is None  # and not otherwise, until that is known: closing may be broken off
        try:
            if scaler is not None:
                are_cancelled = await scaler.close()
        finally:
            if self._scheduler is not None:
                await self._scheduler.close(reason="asyncflow-shutdown")
            if not are_cancelled:
                logger.warning("jobs that were not cancelled are left to a helper process, which goes on trying")
            keep_logs = scaler is not None and scaler.has_failed_jobs
            await conclude(run, janitor, are_cancelled=are_cancelled, keep_logs=keep_logs)


async def listen(options: SchedulerOptions, interface: str | None, security: Any) -> Any:
    """A running scheduler, its dashboard announced.

    Raises
    ------
    StartError
        When an address is taken, or the interface is not there.
    """
    from asyncflow.queues.scheduler import start_scheduler

    host, interface = options.host, options.interface or (None if options.host else interface)
    where: Mapping[str, Any] = {"interface": interface} if interface else {"host": host}
    try:
        scheduler = await start_scheduler(
            security,
            options.dashboard_address,
            port=options.port,
            protocol="tls" if security is not None else "tcp",
            **where,
        )
    except (OSError, ValueError) as error:
        place = f"{interface or host or 'all interfaces'}, port {options.port}"
        raise StartError(
            f"the scheduler could not listen on {place} ({error}); change interface: or scheduler_options:"
        ) from error
    return scheduler


def target_of(scheduler: Any, options: SchedulerOptions, security: Any) -> Target:
    """How to reach `scheduler`; the way to a dashboard that listens on this machine only is logged."""
    from asyncflow.queues.scheduler import near_address  # loads distributed

    has_dashboard = options.dashboard_address is not None
    link = None
    if has_dashboard and str(options.dashboard_address).startswith("127.0.0.1:"):
        port = scheduler.http_server.port
        link = link_to("127.0.0.1", port)
        logger.info("for the dashboard on your own machine: %s", tunnel(port))
    return Target(
        scheduler.address,
        security,
        is_ours=True,
        has_dashboard=has_dashboard,
        dashboard_link=link,
        near=near_address(scheduler),
    )


def queue_kind(
    kind: str, system: Callable[[], QueueSystem]
) -> tuple[Callable[[Any], list[PoolPlan]], Callable[[Any], list[Pool]], Callable[[Any], Coroutine[Any, Any, Cluster]]]:
    """What a kind's module needs besides its ``Config``: ``plans``, ``pools`` and ``open_cluster``.

    Parameters
    ----------
    kind : str
        Its name, which is also that of its pool where the configuration names none.
    system : callable
        Makes the queueing system of one cluster.
    """

    def plans(config: Any) -> list[PoolPlan]:
        """The pools, each with the keys that stand beside ``pools:``."""
        if not config.pools:
            return plan_pools({kind: config}, are_named=False)
        return plan_pools({name: keys.over(config) for name, keys in config.pools.items()}, are_named=True)

    def pools(config: Any) -> list[Pool]:
        """The shapes of the workers of each pool."""
        return [plan.pool for plan in plans(config)]

    async def open_cluster(config: Any) -> Cluster:
        """Start the scheduler, submit the first jobs and wait for the first worker; `StartError` if none comes."""
        cluster = QueuedCluster(kind, system(), config, plans(config))
        await cluster.start()
        return cluster

    return plans, pools, open_cluster
