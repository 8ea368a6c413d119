"""The scheduler of clusters that we open ourselves, kept small for runs of days."""

import logging
from collections import deque
from collections.abc import Mapping
from typing import Any

import dask
from distributed import Scheduler, SchedulerPlugin, Security

from asyncflow.queues.bounds import keep_short
from asyncflow.queues.dashboards import LOCAL
from asyncflow.queues.losses import Losses
from asyncflow.queues.placement import PlacingScheduler

#: Messages that each stream of the scheduler remembers; Dask's thousand make memory grow for 40,000 tasks.
STREAM_LOG_LENGTH = 10

#: Seconds that a stream collects messages for; Dask waits 10, 5 and 2 ms on the three hops of each dependent call.
STREAM_INTERVAL = 0.0

#: Tasks that the dashboard's stream shows; Dask's hundred thousand are some 70 MB.
TASK_STREAM_LENGTH = 5_000

_NEAR = "inproc://"

_CONFIG: Mapping[str, Any] = {
    "distributed.admin.low-level-log-length": STREAM_LOG_LENGTH,
    "distributed.scheduler.dashboard.tasks.task-stream-length": TASK_STREAM_LENGTH,
}


class _Streams(SchedulerPlugin):  # type: ignore[misc]
    """Tunes the streams one by one: what they are made with comes from the process's config, which is the user's."""

    def add_worker(self, scheduler: Scheduler, worker: str) -> None:
        tune_stream(scheduler.stream_comms.get(worker))

    def add_client(self, scheduler: Scheduler, client: str) -> None:
        # The stream is entered right after this call.
        scheduler.loop.add_callback(lambda: tune_stream(scheduler.client_comms.get(client)))


def tune_stream(stream: Any) -> None:
    """Let a `BatchedSend` of ours remember its last few messages only, and send without much waiting for more."""
    if stream is not None:
        stream.recent_message_log = deque(stream.recent_message_log, maxlen=STREAM_LOG_LENGTH)
        stream.interval = STREAM_INTERVAL


def near_address(scheduler: Scheduler) -> str:
    """Where `scheduler` listens for a client on its own loop: without sockets, encryption and copies."""
    addresses = (str(listener.contact_address) for listener in scheduler.listeners)
    return next(address for address in addresses if address.startswith(_NEAR))


async def start_scheduler(security: Security | None, dashboard_address: str | None, **options: Any) -> Scheduler:
    """A running scheduler on this thread's loop, which also listens at its `near_address`.

    Parameters
    ----------
    security : Security or None
        None where nothing is encrypted.
    dashboard_address : str or None
        ``host:port`` of the dashboard; None for none.
    **options
        `distributed.Scheduler`'s own.

    Raises
    ------
    OSError, ValueError
        When an address is taken, or there is no such interface.
    """
    _quieten()
    with dask.config.set(_CONFIG):  # read while the scheduler is made and started, and put back
        scheduler = PlacingScheduler(
            security=security,
            dashboard=dashboard_address is not None,
            dashboard_address=dashboard_address or LOCAL,  # its metrics are served even without a dashboard
            **options,
        )
        await _started(scheduler)
    if not scheduler.address.startswith(_NEAR):
        await scheduler.listen(_NEAR)
    keep_short(scheduler)
    scheduler.add_plugin(_Streams(), name="asyncflow-streams")
    scheduler.add_plugin(Losses(scheduler), name=Losses.name)  # before others, which may forget whose worker it was
    return scheduler


async def _started(scheduler: Scheduler) -> None:
    """Start it; Dask's "Scheduler failed to start" says less than the error around which it is wrapped."""
    try:
        await scheduler
    except RuntimeError as error:
        cause = error.__cause__
        if not isinstance(cause, (OSError, ValueError)):
            raise
    else:
        return
    raise cause  # out here, where the other is not told as its context


def _quieten() -> None:
    """Dask logs each connection at INFO, to a handler of its own; `LocalCluster` silences that, and so do we.

    Only where the level is still the one that importing distributed set, so that whoever wants those lines has them.
    """
    logger = logging.getLogger("distributed")
    if logger.level == logging.INFO:
        logger.setLevel(logging.WARNING)
