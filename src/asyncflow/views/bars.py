"""Progress drawn with rich: a bar for each task, what the pools have, how fast it goes, the last errors."""

import time
from collections.abc import Iterable

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from asyncflow.events.pools import PoolCounts
from asyncflow.views import texts
from asyncflow.views.snapshot import Snapshot, TaskCounts, Trouble

_BAR = 30  # characters
_NAME = 28
_STYLES = {"done": "green", "found": "blue", "failed": "red", "cancelled": "yellow", "running": "cyan"}


def picture(snapshot: Snapshot, height: int) -> RenderableType:
    """One moment, in at most `height` lines of any terminal that is wide enough for a bar."""
    foot = [_total(snapshot), *map(_pool, snapshot.pools)]
    errors = list(map(_error, snapshot.errors))
    left = max(1, height - len(foot))
    errors = errors[-max(0, min(len(errors), left - 1)) :] if left > 1 else []
    rows, hidden = chosen(snapshot.tasks, left - len(errors))
    more = [Text(f"  and {hidden} more tasks", style="dim", no_wrap=True)] if hidden else []
    return Group(_bars(rows), *more, *foot, *errors)


def chosen(rows: Iterable[TaskCounts], most: int) -> tuple[list[TaskCounts], int]:
    """Those to be shown, in their order, and how many are not, which takes a line too.

    What runs is shown before what waits, and that before what has ended.
    """
    rows = list(rows)
    if len(rows) <= most:
        return rows, 0
    weights = [(row.running == 0, row.waiting == 0, number) for number, row in enumerate(rows)]
    kept = sorted(number for *_, number in sorted(weights)[: max(0, most - 1)])
    return [rows[number] for number in kept], len(rows) - len(kept)


def segments(row: TaskCounts, width: int) -> dict[str, int]:
    """Characters of a bar by what they stand for; whatever is not nothing has one, as far as there are enough."""
    counts = {name: getattr(row, name) for name in _STYLES}
    calls = max(row.calls, 1)
    shares = {name: max(1, width * count // calls) if count else 0 for name, count in counts.items()}
    while sum(shares.values()) > width:
        widest = max(shares, key=lambda name: shares[name])
        shares[widest] -= 1
    if row.calls and row.ended + row.running == row.calls:  # rounding must not look like something that waits
        widest = max(shares, key=lambda name: shares[name])
        shares[widest] += width - sum(shares.values())
    return shares


def _bars(rows: Iterable[TaskCounts]) -> Table:
    rows = list(rows)
    grid = Table.grid(padding=(0, 1))
    # Where there is not enough room, the last column gets what is left.
    grid.add_column(no_wrap=True, min_width=min(_NAME, max((len(row.name) for row in rows), default=0)))
    grid.add_column(no_wrap=True, min_width=_BAR)
    grid.add_column(no_wrap=True, min_width=max((len(_ended(row)) for row in rows), default=0), justify="right")
    grid.add_column(no_wrap=True, overflow="ellipsis")
    for row in rows:
        name = row.name if len(row.name) <= _NAME else f"{row.name[: _NAME - 1]}…"
        style = "italic" if row.is_block else "bold"
        grid.add_row(Text(name, style), _bar(row), Text(_ended(row)), _counts(row))
    return grid


def _ended(row: TaskCounts) -> str:
    return f"{row.ended}/{row.calls}"


def _bar(row: TaskCounts) -> Text:
    shares = segments(row, _BAR)
    bar = Text()
    for name, width in shares.items():
        bar.append("━" * width, _STYLES[name])
    return bar.append("━" * (_BAR - sum(shares.values())), "bright_black")


def _counts(row: TaskCounts) -> Text:
    said = {"running": row.running, "waiting": row.waiting, "failed": row.failed, "cancelled": row.cancelled}
    said |= {"found": row.found, "retried": row.retried}
    words = {"found": "kept before", "retried": "retries"}
    parts = [
        Text(f"{count} {words.get(name, name)}", _STYLES.get(name, "dim")) for name, count in said.items() if count
    ]
    if row.mean is not None and not row.is_block:
        parts.append(Text(f"{texts.span(row.mean)} each", "dim"))
    return Text(", ").join(parts)


def _total(snapshot: Snapshot) -> Text:
    total = snapshot.total
    parts = [f"{total.ended}/{total.calls}"]
    if snapshot.rate:
        parts.append(texts.rate(snapshot.rate))
    if (eta := snapshot.eta) is not None:
        parts.append(f"{texts.span(eta)} left")
    return Text(" · ".join(parts), no_wrap=True, overflow="ellipsis")


def _pool(counts: PoolCounts) -> Text:
    return Text(texts.pool(counts), "red" if counts.stopped else "dim", no_wrap=True, overflow="ellipsis")


def _error(trouble: Trouble) -> Text:
    when = time.strftime("%H:%M:%S", time.localtime(trouble.time))
    text = Text(f"{when} {trouble.name}: ", "red", no_wrap=True, overflow="ellipsis")
    return text.append(trouble.text, "default")


def summary(snapshot: Snapshot) -> Table:
    """The table at the end."""
    head, rows = texts.table(snapshot)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in head:
        table.add_column(name, justify="left" if name == head[0] else "right", overflow="fold")
    for row in rows:
        cells = [Text(cell) for cell in row]
        if row[head.index("failed")] != "0":
            cells[head.index("failed")].stylize("red")
        table.add_row(*cells)
    return table
