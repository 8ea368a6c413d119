"""The job script of one worker job: the pool's keys, and what every job of a run has in common."""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from asyncflow.errors import StartError
from asyncflow.queues.dashboards import LOCAL
from asyncflow.queues.jobqueue import known_keys, make_job
from asyncflow.queues.lifetime import Lifetime, lifetime_of
from asyncflow.queues.paths import export_pythonpath
from asyncflow.queues.poolkeys import PoolKeys
from asyncflow.queues.pools import PLENTY, Pool, pool_resource
from asyncflow.queues.system import QueueSystem

#: Keys that are passed on in another form, or in addition to ours.
_OTHERWISE = frozenset({"walltime", "memory", "worker_extra_args", "python", "log_directory", "job_script_prologue"})


@dataclass(frozen=True)
class PoolPlan:
    """One pool as it will be run: its shape, and the keys of its jobs."""

    pool: Pool
    keys: PoolKeys

    @property
    def lifetime(self) -> Lifetime:
        """When its workers leave."""
        return lifetime_of(self.keys.walltime, self.keys.walltime_margin)


@dataclass(frozen=True)
class Site:
    """What all jobs of one run share.

    Attributes
    ----------
    run : str
        The name of the run, which each job carries.
    scheduler : str
        The address that workers connect to.
    logs : str
        The directory of logs, where the pool names none.
    tls : mapping of str to str
        Paths of certificates by the names of `distributed.Security`; empty without TLS.
    """

    run: str
    scheduler: str
    logs: str
    tls: Mapping[str, str]


def plan_pools(keys: Mapping[str, PoolKeys], *, are_named: bool) -> list[PoolPlan]:
    """Each pool of a configuration, in its order."""
    return [PoolPlan(_shape(name, one, is_named=are_named), one) for name, one in keys.items()]


def job_from(system: QueueSystem, plan: PoolPlan, name: str, site: Site) -> Any:
    """The job of dask-jobqueue whose worker is called `name`; its ``job_script()`` is what would be submitted.

    Raises
    ------
    StartError
        When the directory of its logs cannot be made.
    """
    keys = plan.keys
    taken = {key: getattr(keys, key) for key in type(keys).model_fields if key in known_keys(system.job_class)}
    given = {key: value for key, value in taken.items() if key not in _OTHERWISE and value is not None}
    if keys.python is not None:
        given["python"] = keys.python
    job = make_job(
        system.job_class,
        site.scheduler,
        name,
        site.run,
        {
            **given,
            "walltime": system.walltime(keys.walltime),
            "memory": f"{keys.memory}B",
            "log_directory": site.logs if keys.log_directory is None else _made(keys.log_directory),
            "job_script_prologue": [*export_pythonpath(), *keys.job_script_prologue],
            "worker_extra_args": [*_worker_arguments(plan, site), *keys.worker_extra_args],
        },
    )
    job.job_id_regexp = system.job_id  # its own stops at the first dot, and PBS tells of jobs as 12.server
    return job


def _shape(name: str, keys: PoolKeys, *, is_named: bool) -> Pool:
    assert keys.cores is not None
    assert keys.memory is not None
    return Pool(
        name,
        keys.limits.max * keys.processes,
        max(1, keys.cores // keys.processes),
        keys.memory // keys.processes,
        dict(keys.resources),
        is_named=is_named,
        longest=lifetime_of(keys.walltime, keys.walltime_margin).longest,
    )


def worker_words(pool: Pool, tls: Mapping[str, str]) -> list[str]:
    """What every `dask worker` of `pool` is told: what it has, and how to speak; `tls` as in `Site`."""
    has = {"cores": pool.cores, "memory": pool.memory, **pool.resources, pool_resource(pool.name): PLENTY}
    words = ["--resources", ",".join(f"{name}={_exact(amount)}" for name, amount in has.items())]
    words += ["--dashboard-address", LOCAL, "--no-dashboard"]
    if tls:
        words += ["--protocol", "tls", "--tls-ca-file", tls["tls_ca_file"]]
        words += ["--tls-cert", tls["tls_worker_cert"], "--tls-key", tls["tls_worker_key"]]
    return words


def _made(directory: str) -> str:
    path = Path(directory).expanduser().absolute()
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StartError(
            f"the logs of jobs cannot go to {path} ({error.strerror}); set log_directory: to one that you may write"
        ) from error
    return str(path)


def _worker_arguments(plan: PoolPlan, site: Site) -> list[str]:
    """What `dask worker` is told besides; quoted, as dask-jobqueue puts it into a script as it is."""
    lifetime = plan.lifetime
    words = worker_words(plan.pool, site.tls)
    words += ["--lifetime", f"{lifetime.limit:.0f}s", "--lifetime-stagger", f"{lifetime.stagger:.0f}s"]
    return [shlex.quote(word) for word in words]


def _exact(amount: float | None) -> str:
    return str(amount) if isinstance(amount, int) else repr(float(amount or 0))
