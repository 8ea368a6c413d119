"""Progress in plain words: a line for logs, the table at the end, and how long things take."""

import dataclasses
from collections.abc import Sequence

from asyncflow.events.pools import PoolCounts
from asyncflow.units import clock
from asyncflow.views.snapshot import Snapshot, TaskCounts


def line(snapshot: Snapshot) -> str:
    """All that matters of one moment, in one line."""
    parts = [counts(snapshot.total)]
    if snapshot.rate:
        parts.append(f"{rate(snapshot.rate)}")
    if (eta := snapshot.eta) is not None:
        parts.append(f"{span(eta)} left")
    return "; ".join([", ".join(parts), *map(pool, snapshot.pools)])


def counts(row: TaskCounts) -> str:
    """How calls stand; what is 0 is left out, but how many have ended well."""
    said = {
        "running": row.running,
        "waiting": row.waiting,
        "failed": row.failed,
        "cancelled": row.cancelled,
        "kept before": row.found,
        "retries": row.retried,
    }
    return ", ".join([f"{row.done}/{row.calls} done", *(f"{count} {name}" for name, count in said.items() if count)])


def pool(counts: PoolCounts) -> str:
    """What a pool has, in a few words."""
    name = f"pool {counts.pool}" if counts.pool else "workers"
    parts = [f"{_many(counts.workers, 'worker')} with {_many(counts.slots, 'slot')}"]
    if counts.jobs or counts.pending or counts.most is not None:
        of = f" of {counts.most}" if counts.most is not None else ""
        parts.append(f"{counts.jobs}{of} jobs run")
    if counts.pending:
        reasons = ", ".join(f"{count} for {reason}" for reason, count in counts.reasons.items())
        parts.append(f"{_many(counts.pending, 'job')} pending" + (f" ({reasons})" if reasons else ""))
    if counts.stopped:
        parts.append("stopped")
    return f"{name}: {', '.join(parts)}"


def table(snapshot: Snapshot) -> tuple[list[str], list[list[str]]]:
    """Head and rows of the table at the end; a column that is 0 throughout says nothing, and is left out."""
    rows = list(snapshot.tasks)
    if sum(not row.is_block for row in rows) > 1:
        rows.append(dataclasses.replace(snapshot.total, timed=0))  # a mean over different tasks says nothing
    columns = {
        "task": [f"{row.name} (block)" if row.is_block else row.name for row in rows],
        "calls": [str(row.calls) for row in rows],
        "done": [str(row.done) for row in rows],
        "failed": [str(row.failed) for row in rows],
        "cancelled": [str(row.cancelled) for row in rows],
        "retries": [str(row.retried) for row in rows],
        "mean": [span(row.mean) if row.mean is not None else "" for row in rows],
        "max": [span(row.longest) if row.timed else "" for row in rows],
    }
    optional = {
        "kept before": [str(row.found) for row in rows],
        "unfinished": [str(row.calls - row.ended) for row in rows],
    }
    columns |= {name: cells for name, cells in optional.items() if set(cells) != {"0"}}
    return list(columns), [list(cells) for cells in zip(*columns.values(), strict=True)]


def aligned(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table without lines: names to the left, numbers to the right."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    lines = []
    for row in (head, *rows):
        first, *others = row
        cells = [first.ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True))]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def span(seconds: float) -> str:
    """Seconds for people: ``12 ms``, ``3.2 s``, ``04:10``, ``1-02:03:04``."""
    if seconds < 1:
        return f"{1000 * seconds:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    return clock(seconds, days=seconds >= 86400).removeprefix("00:")


def rate(per_second: float) -> str:
    """How many in a second, or in the unit in which that is some."""
    for unit, length in (("s", 1), ("min", 60), ("h", 3600)):
        if per_second * length >= 1 or unit == "h":
            break
    return f"{per_second * length:.3g}/{unit}"


def _many(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"
