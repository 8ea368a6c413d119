"""An engine as HTML: pools, workers, jobs, what they wait for, calls by state, and the latest failures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from asyncflow.events.pools import PoolCounts
from asyncflow.notebook.markup import COLOURS, escaped, shortened
from asyncflow.sketch import Counts, Failure, Picture
from asyncflow.states import TaskState

#: Rows for names of tasks; those with the fewest unfinished and failed calls are counted together.
_ROWS = 20

_NAME = 48  # characters
_CELL = "padding:2px 10px;text-align:right;border:0"
_LEFT = "padding:2px 10px;text-align:left;border:0"
_QUIET = "color:#777;font-size:90%"


@dataclass(slots=True)
class EngineView:
    """What is shown of an engine.

    Attributes
    ----------
    uid : str
        Its id.
    backends : tuple of str
        Their names.
    status : str
        ``open`` or ``closed``.
    workers, slots : int or None
        How many workers there are and how many bodies they run at once; None where nobody knows.
    link, run_dir : str or None
        The dashboard, and the run directory.
    pools : sequence of PoolCounts
        What each pool has.
    picture : Picture
        The calls.
    """

    uid: str
    backends: tuple[str, ...] = ()
    status: str = "open"
    workers: int | None = None
    slots: int | None = None
    link: str | None = None
    run_dir: str | None = None
    pools: Sequence[PoolCounts] = ()
    picture: Picture = field(default_factory=Picture)


def engine_html(view: EngineView) -> str:
    """The whole view."""
    return (
        f'<div class="asyncflow-engine" style="line-height:1.5">{_head(view)}{pools_html(view.pools)}'
        f"{counts_html(view.picture.counts)}{failures_html(view.picture.failures)}</div>"
    )


def progress_html(view: EngineView, pace: str) -> str:
    """What is shown of it while it works: how far it is, at what pace, and the rest of it below."""
    total, ended = view.picture.total, view.picture.ended
    head = f"<b>{ended:,} of {total:,}</b> calls have ended{f', {escaped(pace)}' if pace else ''}"
    return (
        f'<div class="asyncflow-progress" style="line-height:1.5"><div>{head}{_workers(view)}</div>'
        f"{pools_html(view.pools)}{counts_html(view.picture.counts)}{failures_html(view.picture.failures)}</div>"
    )


def _head(view: EngineView) -> str:
    parts = [f"<b>asyncflow engine</b> <code>{escaped(view.uid)}</code> ({escaped(view.status)})"]
    parts.append(f"on {escaped(', '.join(view.backends))}{_workers(view)}")
    lines = [" ".join(parts)]
    if view.link:
        link = escaped(view.link)
        lines.append(f'Dashboard: <a href="{link}" target="_blank" rel="noopener">{link}</a>')
    if view.run_dir:
        lines.append(f"Run directory: <code>{escaped(view.run_dir)}</code>")
    return "".join(f"<div>{line}</div>" for line in lines)


def _workers(view: EngineView) -> str:
    if view.workers is None or view.slots is None:
        return ""
    words = f"{view.workers:,} worker{'s' * (view.workers != 1)}, {view.slots:,} slot{'s' * (view.slots != 1)}"
    return f' <span style="{_QUIET}">{words}</span>'


def pools_html(pools: Sequence[PoolCounts]) -> str:
    """A table of pools; nothing where there is none to tell of."""
    if not pools:
        return ""
    head = _row(["pool", "one worker", "workers", "jobs", "waiting for"], "th")
    return _table([head, *(_row(_pool(pool)) for pool in pools)])


def _pool(pool: PoolCounts) -> list[str]:
    reasons = ", ".join(f"{count} {reason}" for reason, count in pool.reasons.items())
    waits = reasons or (f"{pool.pending} queued" if pool.pending else "")
    if pool.stopped:
        waits = f"stopped: {shortened(pool.stopped, 200)}"
    return [pool.pool or "workers", _shape(pool), str(pool.workers or ""), _jobs(pool), waits]


def _shape(pool: PoolCounts) -> str:
    if pool.declared is None:
        return ""
    cores, memory = pool.declared.cores, pool.declared.memory
    words = [f"{cores} core{'s' * (cores != 1)}"] if cores else []
    words += [f"{memory / 1e9:.3g} GB"] if memory else []
    words += [f"{amount:g} {name}" for name, amount in pool.declared.resources.items()]
    return ", ".join(words)


def _jobs(pool: PoolCounts) -> str:
    if pool.most is None and not (pool.jobs or pool.pending):
        return ""
    limit = f" of {pool.most}" if pool.most is not None else ""
    return f"{pool.jobs} running, {pool.pending} queued{limit}"


def counts_html(counts: Mapping[str, Counts]) -> str:
    """A table of calls by name and state, each with a bar."""
    if not counts:
        return f'<div style="{_QUIET}">nothing has been called yet</div>'
    states = [state for state in COLOURS if any(each.get(state) for each in counts.values())]
    head = _row(["task", "", *(state.lower() for state in states)], "th")
    rows = [
        _row([shortened(name, _NAME), *(f"{each[state]:,}" if each.get(state) else "" for state in states)], bar=each)
        for name, each in _most_telling(counts).items()
    ]
    return _table([head, *rows])


def _most_telling(counts: Mapping[str, Counts]) -> dict[str, Counts]:
    """The rows: in the order of calls where they are few; else those with most to say, and the rest as one."""
    if len(counts) <= _ROWS:
        return dict(counts)

    def weight(name: str) -> tuple[int, int]:
        each = counts[name]
        return sum(each.values()) - each.get(TaskState.DONE, 0), sum(each.values())

    chosen = set(sorted(counts, key=weight, reverse=True)[: _ROWS - 1])
    rest: Counts = {}
    for name in counts.keys() - chosen:
        for state, count in counts[name].items():
            rest[state] = rest.get(state, 0) + count
    shown = {name: each for name, each in counts.items() if name in chosen}
    return {**shown, f"{len(counts) - len(chosen)} other tasks": rest}


def failures_html(failures: list[Failure]) -> str:
    """The latest failures; nothing where there is none."""
    lines = [f"<li><code>{escaped(each.id)}</code> {escaped(each.error)}</li>" for each in failures]
    if not lines:
        return ""
    return f'<div style="color:{COLOURS[TaskState.FAILED]}">Last failures:<ul>{"".join(lines)}</ul></div>'


def _bar(counts: Counts) -> str:
    total = sum(counts.values())
    parts = "".join(
        f'<span style="display:inline-block;height:10px;background:{colour};width:{160 * counts[state] / total:.1f}px">'
        "</span>"
        for state, colour in COLOURS.items()
        if counts.get(state)
    )
    return f'<span style="display:inline-block;width:162px;white-space:nowrap;font-size:0">{parts}</span>'


def _row(cells: list[str], tag: str = "td", bar: Counts | None = None) -> str:
    first, *rest = cells
    shown = [f'<{tag} style="{_LEFT}">{escaped(first)}</{tag}>']
    if bar is not None:
        shown.append(f'<{tag} style="{_LEFT}">{_bar(bar)}</{tag}>')
    shown += [f'<{tag} style="{_CELL}">{escaped(each)}</{tag}>' for each in rest]
    return f"<tr>{''.join(shown)}</tr>"


def _table(rows: list[str]) -> str:
    return f'<table style="border-collapse:collapse;margin:4px 0">{"".join(rows)}</table>'
