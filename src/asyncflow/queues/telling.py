"""What is said of jobs that wait, end and die: plain functions to texts and errors."""

import re
from collections.abc import Callable, Iterable, Mapping

from asyncflow.errors import PoolError
from asyncflow.queues.jobs import Job
from asyncflow.queues.roster import Crew, reasons
from asyncflow.queues.template import PoolPlan

#: The last lines of a job's log.
Tail = Callable[[Job], str]


def waiting(crew: Crew) -> str:
    """How many jobs wait for what, in the queueing system's words; empty where none does."""
    return ", ".join(f"{len(jobs)} for {reason}" for reason, jobs in reasons(crew.jobs).items())


def sorts(crew: Crew) -> frozenset[str]:
    """What jobs wait for, without numbers, which change from look to look."""
    return frozenset(re.sub(r"\d+", "", reason) for reason in reasons(crew.jobs))


def given_up(crew: Crew, log: str) -> PoolError:
    """Why a pool submits no more jobs; `log` is the end of that of the last that died."""
    died = [str(job) for job in crew.deaths]
    ends = f"the log of the last of them ends:\n{log}" if log else "none of them left a log"
    text = (
        f"pool {crew.pool!r} has stopped: its last {len(died)} jobs died soon after they began ({', '.join(died)}); "
        f"{ends}"
    )
    return PoolError(text, crew.pool, [job.id for job in crew.deaths], log)


def tried(
    patience: float,
    address: str,
    plans: Iterable[PoolPlan],
    crews: Mapping[str, Crew],
    tail: Tail,
    refusals: Mapping[str, Exception],
) -> str:
    """All that was done while no worker came for `patience` seconds."""
    lines = [f"no worker came within start_timeout ({patience:g} s); the scheduler listens on {address}"]
    for plan in plans:
        name, jobs = plan.pool.name, crews[plan.pool.name].jobs
        interface = plan.keys.interface or "the default one"
        lines.append(f"pool {name!r}: interface {interface}; jobs: {', '.join(map(str, jobs)) or 'none'}")
        lines += [str(refusals[name])] if name in refusals else []
        lines += [f"the log of job {job.id} ends:\n{log}" for job in jobs if (log := tail(job))]
    lines.append("where jobs run and no worker comes, nodes may not reach that address; interface: sets another")
    return "\n".join(lines)
