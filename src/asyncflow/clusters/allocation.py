"""Everything inside one batch job: the scheduler beside the script, and workers on all nodes of the job."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

from pydantic import AfterValidator, Field, ValidationInfo, field_validator

from asyncflow.clusters import _launchers as launchers
from asyncflow.clusters._environment import Allocation, allocation_of
from asyncflow.errors import StartError
from asyncflow.options import Duration, Size
from asyncflow.queues.paths import SHARED
from asyncflow.queues.poolkeys import Line, Name, SchedulerOptions
from asyncflow.queues.pools import Pool
from asyncflow.queues.settings import ClusterSettings
from asyncflow.queues.target import Cluster

_OUTSIDE = (
    "kind: allocation runs inside a batch job, and this process is in none of SLURM, PBS or LSF; submit the script "
    "with asyncflow submit, or with sbatch hpc_scripts/slurm_allocation.sbatch; for another batch system give "
    "launcher:, nodes: and cores:"
)


class Config(ClusterSettings):
    """Keys of ``kind: allocation``. What is left out is read from the job's environment."""

    processes: Annotated[int, Field(ge=1)] = 1
    """Workers on each node. A task gets cores and memory of one worker, so more of them are smaller."""

    cores: Annotated[int, Field(ge=1)] | None = None
    """Cores of each node, shared out among its processes; the job's by default."""

    memory: Annotated[Size, Field(gt=0)] | None = None
    """Memory of each node (``120GB``), shared out as well; the job's by default, or the node's if nothing tells it."""

    nodes: Annotated[int, Field(ge=1)] | None = None
    """On how many of the job's nodes workers start; all by default."""

    resources: Mapping[Name, Annotated[float, Field(gt=0)]] = Field(default_factory=dict)
    """Abstract resources of each worker, for instance ``{gpu: 1}``."""

    launcher: Annotated[Line, AfterValidator(launchers.check_template)] | None = None
    """What starts ``{worker}`` once on each node, instead of ``srun`` or ``pbsdsh``; knows ``{nodes}``, ``{cores}``."""

    interface: Line | None = None
    """The network interface (``ib0``) that workers listen on, and the scheduler unless ``scheduler_options`` differ."""

    scheduler_options: SchedulerOptions = SchedulerOptions()
    """Where the scheduler listens: ``host``, ``interface``, ``port``, ``dashboard_address``."""

    shared_temp_directory: Line = SHARED
    """A directory that all nodes see; certificates and the workers' log lie in it, readable by you only."""

    local_directory: Line | None = None
    """Scratch directory of the workers, on a disk of the node where there is one."""

    worker_extra_args: list[str] = Field(default_factory=list)
    """Further arguments of ``dask worker``."""

    python: Line | None = None
    """The Python that runs the workers; the one that runs the script by default."""

    death_timeout: Annotated[Duration, Field(gt=0)] = 60.0
    """How long a worker lives without its scheduler, in seconds (or ``90s``, ``5m``)."""

    start_timeout: Duration = Field(default=300.0, gt=0)
    """How long to wait for the first worker, in seconds (or ``90s``, ``5m``)."""

    @field_validator("cores")
    @classmethod
    def _one_for_each_process(cls, cores: int | None, info: ValidationInfo) -> int | None:
        processes = info.data.get("processes", 1)
        if cores is not None and processes > cores:
            raise ValueError(f"{cores} cores are too few for {processes} processes; give at least one for each")
        return cores


@dataclass(frozen=True)
class Plan:
    """What is started where: the workers' shape, and the job that they are in, if it is of a system that we know."""

    pool: Pool
    nodes: int
    cores: int
    allocation: Allocation | None


def plan(config: Config, environ: Mapping[str, str] = os.environ) -> Plan:
    """`config`, completed from the environment of the job.

    Raises
    ------
    StartError
        Outside a job, and where the job does not have what the configuration wants.
    """
    allocation = allocation_of(environ)
    if allocation is None and not (config.launcher and config.nodes and config.cores):
        raise StartError(_OUTSIDE)
    if allocation is not None and allocation.system == "LSF" and config.launcher is None:
        raise StartError(f"{allocation} needs a launcher:, for instance mpiexec -n {{nodes}} -ppn 1 {{worker}}")
    nodes = config.nodes or (allocation.nodes if allocation is not None else 1)
    cores = config.cores or (allocation.cores if allocation is not None else 1)
    if allocation is not None and nodes > allocation.nodes:
        raise StartError(f"nodes is {nodes}, and {allocation} has {allocation.nodes}; ask for more, or leave it out")
    if config.processes > cores:
        raise StartError(
            f"processes is {config.processes}, and there are {cores} cores on each node; give at most one for each"
        )
    memory = config.memory or (allocation.memory if allocation is not None else None) or _machine_memory()
    pool = Pool(
        "allocation",
        nodes * config.processes,
        cores // config.processes,
        memory // config.processes,
        dict(config.resources),
    )
    return Plan(pool, nodes, cores, allocation)


def pools(config: Config) -> list[Pool]:
    """One pool: the workers on all nodes are alike."""
    return [plan(config).pool]


async def open_cluster(config: Config) -> Cluster:
    """Start the scheduler, then the workers with one command, and wait for the first of them.

    Raises
    ------
    StartError
        When the launcher ends before a worker came, or none comes within ``start_timeout``.
    """
    from asyncflow.clusters._launched import LaunchedCluster

    cluster = LaunchedCluster(config, plan(config))
    await cluster.start()
    return cluster


def _machine_memory() -> int:
    """Of this node, less where a control group limits it."""
    from distributed.system import MEMORY_LIMIT

    return int(MEMORY_LIMIT)
