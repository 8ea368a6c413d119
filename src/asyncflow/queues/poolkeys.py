"""The keys of one pool of jobs, spelt as dask-jobqueue spells them, and of the cluster around the pools."""

import re
from collections.abc import Mapping
from typing import Annotated, ClassVar, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from asyncflow.options import Duration, Size
from asyncflow.queues.dashboards import DashboardAddress
from asyncflow.queues.paths import SHARED
from asyncflow.queues.settings import ClusterSettings

_ONE_LINE, _NAME = r"^[^\x00-\x08\x0a-\x1f\x7f]+$", "^[A-Za-z][A-Za-z0-9_]*$"


def _one_line(text: str) -> str:
    if text and not re.fullmatch(_ONE_LINE[:-1], text):
        raise ValueError(f"must be text of one line without control characters, not {text!r}")
    return text


def _name(text: str) -> str:
    if not re.fullmatch(_NAME[:-1], text):
        raise ValueError(f"{text!r} is not a name; write letters, digits and _, a letter first")
    return text


#: Text that goes on one line of a job script.
Line = Annotated[str, Field(min_length=1, json_schema_extra={"pattern": _ONE_LINE}), AfterValidator(_one_line)]

#: Text of one line that becomes part of a name: of a worker, a resource, a file.
Name = Annotated[str, AfterValidator(_name), Field(json_schema_extra={"pattern": _NAME})]


class JobLimits(BaseModel):
    """How few and how many jobs a pool may have; between them the demand decides."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    min: Annotated[int, Field(ge=0)] = 0
    """Jobs that are kept, needed or not."""

    max: Annotated[int, Field(ge=1)]
    """Jobs that there are at most."""

    @field_validator("max")
    @classmethod
    def _not_below_min(cls, value: int, info: ValidationInfo) -> int:
        if value < info.data.get("min", 0):
            raise ValueError(f"must be at least min, which is {info.data['min']}, not {value}")
        return value


class PoolKeys(BaseModel):
    """What one pool of jobs may say; one pool can stand without the ``pools:`` level."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    #: The job class of dask-jobqueue that the keys are for.
    job_class: ClassVar[str] = ""

    #: Keys of earlier versions, and keys that we set, with what to write instead.
    instead: ClassVar[Mapping[str, str]] = {
        "env_extra": "it is called job_script_prologue now",
        "extra": "it is called worker_extra_args now",
        "header_skip": "it is called job_directives_skip now",
        "job_extra": "it is called job_extra_directives now",
        "config_name": "this file is the only configuration; write the keys here",
        "dashboard_address": "write it below scheduler_options:",
        "host": "write it below scheduler_options:",
        "job_name": "each job carries the name of its run, by which asyncflow finds and cancels it",
        "name": "each job carries the name of its run, by which asyncflow finds and cancels it",
        "n_workers": "write jobs: 4, or jobs: {min: 0, max: 20}",
        "nanny": "each worker has one, which starts it again",
        "nworkers": "write processes:, the number of workers in each job",
        "protocol": "write security: tls or security: none",
        "scheduler": "one is started beside the script; scheduler_options: say where it listens",
    }

    #: Directives that would give a job another name than that of its run, or make several of it, or wait for it.
    not_ours: ClassVar[str] = r"(?!)"

    cores: Annotated[int, Field(ge=1)] | None = None
    """Cores of each job, shared out among its processes; needed."""

    memory: Annotated[Size, Field(gt=0)] | None = None
    """Memory of each job (``120GB``), shared out among its processes; needed."""

    processes: Annotated[int, Field(ge=1)] = 1
    """Workers in each job. A task gets cores and memory of one worker, so more of them are smaller."""

    walltime: Annotated[Duration, Field(ge=60)] = 1800.0
    """How long a job may run (``"02:00:00"``, ``2h``). Workers leave in order before it is over."""

    jobs: Annotated[int, Field(ge=1)] | JobLimits = 1
    """How many jobs: a number, or ``{min: 0, max: 20}`` to follow the demand."""

    resources: Mapping[Name, Annotated[float, Field(gt=0)]] = Field(default_factory=dict)
    """Abstract resources of each worker, for instance ``{gpu: 1}``; tasks that ask for them come here."""

    max_queued: Annotated[int, Field(ge=1)] = 10
    """How many jobs of the pool wait in the queue at once; further ones are submitted as these begin."""

    idle_timeout: Annotated[Duration, Field(gt=0)] = 60.0
    """How long a job above ``min`` must have had nothing to do before it is given back."""

    walltime_margin: Annotated[Duration, Field(gt=0)] | None = None
    """How long before the end a worker takes no new task; a tenth of the walltime (15 s to 10 min) by default."""

    interface: Line | None = None
    """The network interface (``ib0``) that workers listen on, and the scheduler unless ``scheduler_options`` differ."""

    job_extra_directives: list[Line] = Field(default_factory=list)
    """Further directives of the job script, one a line, for instance ``--gres=gpu:1``."""

    job_directives_skip: list[Line] = Field(default_factory=list)
    """Directives to leave out: lines that contain one of these texts."""

    job_script_prologue: list[str] = Field(default_factory=list)
    """Lines of shell to run before the worker: ``module load``, ``source``."""

    worker_extra_args: list[Line] = Field(default_factory=list)
    """Further arguments of ``dask worker``."""

    worker_command: Line = "distributed.cli.dask_worker"
    """The module that is run as the worker."""

    python: Line | None = None
    """The Python that runs the worker; the one that runs the script by default."""

    local_directory: Line | None = None
    """Scratch directory of the workers, on a disk of the node where there is one."""

    log_directory: Line | None = None
    """Where the logs of jobs go, and stay; by default into the run's own directory, kept if a job fails."""

    death_timeout: Annotated[Duration, Field(gt=0)] = 60.0
    """How long a worker lives without its scheduler, in seconds (or ``90s``, ``5m``)."""

    shebang: Line = "#!/usr/bin/env bash"
    """The first line of the job script."""

    @field_validator("*", mode="before")
    @classmethod
    def _known_to_dask_jobqueue(cls, value: object, info: ValidationInfo) -> object:
        from asyncflow.queues.jobqueue import OURS, known_keys, version

        is_theirs = info.field_name not in {*OURS, *QueueSettings.model_fields, "pools"}
        if cls.job_class and is_theirs and info.field_name not in known_keys(cls.job_class):
            raise ValueError(f"is not a key of the installed dask-jobqueue ({version()}); leave it out, or upgrade it")
        return value

    @field_validator("job_extra_directives")
    @classmethod
    def _one_job_of_ours(cls, directives: list[str]) -> list[str]:
        for directive in directives:
            if re.match(cls.not_ours, directive):
                raise ValueError(f"{directive!r} is not for jobs with workers: asyncflow names and counts each of them")
        return directives

    @field_validator("resources")
    @classmethod
    def _not_what_workers_have_anyway(cls, resources: Mapping[str, float]) -> Mapping[str, float]:
        if taken := sorted({"cores", "memory"} & set(resources)):
            raise ValueError(f"{taken[0]!r} is a resource of every worker already; write {taken[0]}: beside resources:")
        return resources

    @property
    def limits(self) -> JobLimits:
        """The least and the greatest number of jobs."""
        return JobLimits(min=self.jobs, max=self.jobs) if isinstance(self.jobs, int) else self.jobs

    def over(self, common: "PoolKeys") -> Self:
        """These keys over those that stand beside ``pools:`` and hold for every pool."""
        names = set(type(self).model_fields)
        given = {name: getattr(common, name) for name in common.model_fields_set if name in names}
        own = {name: getattr(self, name) for name in self.model_fields_set}
        return self.model_construct(**{**given, **own})


class SchedulerOptions(BaseModel):
    """Where the scheduler, which runs beside the script, listens."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    host: Line | None = None
    """The address to listen on; all interfaces by default."""

    interface: Line | None = None
    """The network interface to listen on."""

    port: Annotated[int, Field(ge=0, le=65535)] = 0
    """The port; 0 takes a free one."""

    dashboard_address: DashboardAddress = "127.0.0.1:0"
    """Where the dashboard listens: ``:8787`` is this machine only, ``0.0.0.0:8787`` everybody, null nobody."""


class QueueSettings(ClusterSettings):
    """Keys that stand beside ``pools:``."""

    start_timeout: Duration = Field(default=1800.0, gt=0)
    """How long to wait for the first worker, queueing included, in seconds (or ``90s``, ``2h``)."""

    shared_temp_directory: Line = SHARED
    """A directory that all nodes see; certificates and logs of the run lie in it, readable by you only."""

    scheduler_options: SchedulerOptions = SchedulerOptions()
    """Where the scheduler listens: ``host``, ``interface``, ``port``, ``dashboard_address``."""

    poll_interval: Annotated[Duration, Field(gt=0)] = 15.0
    """How often the queue is asked about our jobs at most; one question for all of them."""

    submit_interval: Annotated[Duration, Field(ge=0)] = 0.1
    """The least time between two submissions."""

    @field_validator("pools", check_fields=False)
    @classmethod
    def _complete(cls, pools: Mapping[str, PoolKeys], info: ValidationInfo) -> Mapping[str, PoolKeys]:
        """Each pool needs cores and memory, of its own or from beside ``pools:``; what is wrong already is not told."""
        for name, keys in pools.items() or [("", None)]:
            found = {**info.data, **({each: getattr(keys, each) for each in keys.model_fields_set} if keys else {})}
            where = f"pool {name!r}" if name else "a pool"
            if missing := [key for key in ("cores", "memory") if found.get(key, 0) is None]:
                raise ValueError(
                    f"{where} needs {' and '.join(missing)}; give {' and '.join(f'{key}:' for key in missing)}"
                )
            cores, processes = found.get("cores"), found.get("processes")
            if cores and processes and processes > cores:
                raise ValueError(f"{where} has {processes} processes for {cores} cores; give at most one for each")
            if (processes or 1) > 1 and "gpu" in (found.get("resources") or {}):
                raise ValueError(
                    f"{where} has {processes} processes, each of which would see all GPUs of its job; set processes: 1"
                )
            margin, walltime = found.get("walltime_margin"), found.get("walltime")
            if margin and walltime and margin >= walltime:
                raise ValueError(
                    f"{where} has a walltime_margin of {margin:g} s, and a walltime of only {walltime:g} s"
                )
        return pools
