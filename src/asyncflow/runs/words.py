"""Times, calls and workers in words, for those who read about a run."""

import time
from collections.abc import Iterable, Mapping

from asyncflow.runs.facts import Call, Job
from asyncflow.runs.history import History
from asyncflow.units import show_size


def span(seconds: float) -> str:
    """How long that is: ``340 ms``, ``12.3 s``, ``4 min 5 s``, ``2 h 4 min``, ``3 d 2 h``."""
    if seconds < 1:
        return f"{max(0.0, seconds) * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.3g} s"
    whole = round(seconds)
    for large, small, length, part in (("min", "s", 60, 1), ("h", "min", 3600, 60), ("d", "h", 86400, 3600)):
        if whole < 60 * length or large == "d":
            rest = whole % length // part
            return f"{whole // length} {large}" + (f" {rest} {small}" if rest else "")
    raise AssertionError


def moment(when: float) -> str:
    """Date and time, here."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(when))


def many(count: int, noun: str) -> str:
    """``1 job``, ``2 jobs``."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def queue_of(count: int) -> str:
    """How many calls come before one."""
    return "no other call comes" if not count else f"about {many(count, 'call')} come{'s' if count == 1 else ''}"


def some(things: Iterable[str], most: int = 3) -> str:
    """The first of them, and how many more."""
    every = list(things)
    more = f" and {len(every) - most} more" if len(every) > most else ""
    return ", ".join(every[:most]) + more


def place(history: History, worker: str) -> str:
    """Where that is: the worker, its host, its job and its pool, as far as they are known."""
    found = history.workers.get(worker)
    if found is None:
        return worker or "the driver"
    job = history.job_of(worker)
    facts = {"host": found.host, "job": job.id if job is not None else "", "pool": found.pool}
    inside = ", ".join(f"{what} {said}" for what, said in facts.items() if said)
    name = f"worker {found.name}" if found.name else worker
    return f"{name} ({inside})" if inside else name


def waiting_for(reasons: Mapping[str, int]) -> str:
    """``2 for Resources, 1 for Priority``."""
    return ", ".join(f"{count} for {reason}" for reason, count in reasons.items())


def asked(call: Call) -> str:
    """What it asks of a worker: ``4 cores, 8 GB, 1 gpu``."""
    needs = dict(call.needs)
    words = [many(needs["cores"], "core")] if "cores" in needs else []
    words += [show_size(needs["memory"])] if "memory" in needs else []
    words += [f"{amount:g} {name}" for name, amount in needs.get("resources", {}).items()]
    words += [f"pool {needs['pool']}"] if "pool" in needs else []
    return ", ".join(words) or "1 core"


def ending(job: Job) -> str:
    """How a job ended."""
    if job.ended is None:
        return "runs" if job.started is not None else "waits in the queue"
    return f"ended: {job.state}" if job.state else "ended, as we asked" if job.is_asked else "ended"
