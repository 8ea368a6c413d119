"""Workers on this machine, with a scheduler of their own that ends with the engine."""

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field, PlainValidator, WithJsonSchema

from asyncflow.clusters._shape import Shape, shape_of
from asyncflow.options import Duration
from asyncflow.queues.dashboards import DashboardAddress
from asyncflow.queues.pools import Pool, declared
from asyncflow.queues.settings import ClusterSettings
from asyncflow.queues.target import Cluster
from asyncflow.units import size


def _memory_limit(value: object) -> int | float | Literal["auto"] | None:
    """A limit as LocalCluster takes it, which reads a number of at most 1 as a share of this machine's memory."""
    if value is None or value == "auto":
        return value
    try:
        share = float(value) if isinstance(value, (str, float)) else None
    except ValueError:
        share = None
    if share is not None and 0 <= share <= 1:
        return share
    try:
        limit = size(value)
    except ValueError:
        limit = -1
    if limit < 0:
        raise ValueError(f"{value!r} is not a memory limit; write 4GB, 0.5 (half of this machine), auto or 0 (none)")
    return limit


MemoryLimit = Annotated[
    int | float | Literal["auto"] | None,
    PlainValidator(_memory_limit),
    WithJsonSchema({"anyOf": [{"type": "number", "minimum": 0}, {"type": "string"}, {"type": "null"}]}),
]


class Config(ClusterSettings):
    """Keys of ``kind: local``, spelt as `distributed.LocalCluster` and its workers spell them."""

    n_workers: Annotated[int, Field(ge=1)] | None = None
    """How many workers; decided from the cores of this machine by default."""

    threads_per_worker: Annotated[int, Field(ge=1)] | None = None
    """Cores that each worker offers; the machine's cores shared out among the workers by default."""

    processes: bool = True
    """Workers are processes of their own; ``false`` keeps them in this one."""

    memory_limit: MemoryLimit = "auto"
    """Of each worker: ``4GB``, a share of this machine (``0.5``), ``auto`` (an even share), 0 or null (no limit)."""

    host: Annotated[str, Field(min_length=1)] = "127.0.0.1"
    """Where the scheduler listens."""

    interface: str | None = None
    """A network interface (``ib0``) to listen on, instead of ``host``."""

    scheduler_port: Annotated[int, Field(ge=0, le=65535)] = 0
    """The scheduler's port; 0 takes a free one."""

    dashboard_address: DashboardAddress = "127.0.0.1:0"
    """Where the dashboard listens: ``:8787`` is this machine only, ``0.0.0.0:8787`` everybody, null nobody."""

    local_directory: str | None = None
    """Scratch directory of the workers; the system's temporary directory by default."""

    resources: Mapping[str, Annotated[float, Field(gt=0)]] = Field(default_factory=dict)
    """Abstract resources of each worker, for instance ``{gpu: 1}``."""

    env: Mapping[str, str] = Field(default_factory=dict)
    """Variables added to the environment of worker processes."""

    death_timeout: Annotated[Duration, Field(gt=0)] = 60.0
    """How long a worker lives without its scheduler, in seconds (or ``90s``, ``5m``)."""


def _shape(config: Config) -> Shape:
    return shape_of(config.n_workers, config.threads_per_worker, config.memory_limit, processes=config.processes)


def pools(config: Config) -> list[Pool]:
    """One pool: workers on one machine are alike."""
    shape = _shape(config)
    return [Pool("local", shape.n_workers, shape.threads, shape.memory_limit, config.resources)]


async def open_cluster(config: Config) -> Cluster:
    """Start scheduler and workers.

    Raises
    ------
    StartError
        When they do not come up within ``start_timeout``.
    """
    from asyncflow.clusters._embedded import InProcess, Programs

    shape = _shape(config)
    cluster = Programs(config, shape) if config.processes else InProcess(config, shape)
    for pool in pools(config):
        cluster.events.tell(declared(pool))
    await cluster.start()
    return cluster
