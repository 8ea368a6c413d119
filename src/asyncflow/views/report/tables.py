"""The parts of a report that are text: paragraphs and tables of HTML."""

from collections.abc import Iterable, Mapping, Sequence
from html import escape

from asyncflow.views.report.critical import Critical, Step
from asyncflow.views.report.events import Spent
from asyncflow.views.report.facts import Facts, duration
from asyncflow.views.report.failures import Failures, is_of_others
from asyncflow.views.report.fit import Fit, written

#: Rows of a table at most; what is beyond is counted.
_ROWS = 100

#: Steps of the path that are named: the longest.
_STEPS = 10

#: Tasks whose colour is told.
_COLOURS = 20


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table of cells that are HTML already; columns that begin with ``#`` are numbers."""
    kinds = [' class="number"' if name.startswith("#") else "" for name in head]
    names = "".join(f"<th{kind}>{name.lstrip('#')}</th>" for name, kind in zip(head, kinds, strict=True))
    lines = [
        "<tr>" + "".join(f"<td{kind}>{cell}</td>" for cell, kind in zip(row, kinds, strict=True)) + "</tr>"
        for row in rows[:_ROWS]
    ]
    more = f"<p>and {len(rows) - _ROWS:,} more</p>" if len(rows) > _ROWS else ""
    return f"<table><thead><tr>{names}</tr></thead><tbody>{''.join(lines)}</tbody></table>{more}"


def head(facts: Facts) -> str:
    """What the run is."""
    rows = "".join(f"<tr><th>{escape(name)}</th><td>{escape(told)}</td></tr>" for name, told in facts.rows.items())
    notes = "".join(f'<p class="note">{escape(note)}</p>' for note in facts.notes)
    config = (
        f"<details><summary>configuration</summary><pre>{escape(facts.config)}</pre></details>" if facts.config else ""
    )
    run = escape(facts.name)
    more = f"<p>More: <code>asyncflow status {run}</code>, <code>asyncflow why {run} TASK</code>, <code>asyncflow logs "
    return f'{notes}<table class="facts">{rows}</table>{config}{more}{run} TASK</code>.</p>'


def legend(colours: Mapping[str, str]) -> str:
    """What colours and outlines of bars mean."""
    told = [
        f'<span class="task"><span class="swatch" style="background:{colour}"></span>{escape(name)}</span>'
        for name, colour in colours.items()
    ]
    more = f"and {len(told) - _COLOURS:,} more tasks" if len(told) > _COLOURS else ""
    return f"<p>{''.join(told[:_COLOURS])}{more}</p>{_OUTLINES}"


_OUTLINES = (
    "<p class='small'>Rows are slots of workers. Bars with a black outline are on the critical path; those with a red "
    "one failed, were lost or were cancelled. The buttons at the upper right of a chart choose what the mouse does; "
    "all charts over time move together.</p>"
)


def path(critical: Critical, span: float) -> str:
    """What the path took, and what would shorten it."""
    if not critical.steps:
        return "<p>Nothing has ended yet.</p>"
    parts = {"in tasks": Spent.BODY, "waiting for a worker": Spent.WAITING, "in the script and blocks": Spent.DRIVER}
    told = ", ".join(f"{duration(critical.spent(kind))} {words}" for words, kind in parts.items())
    rows = [
        (
            f"<b>{escape(lever.name)}</b>",
            _seconds(lever.seconds),
            f"{lever.bodies:,}",
            _seconds(lever.shorter),
            _share(lever.shorter, span),
        )
        for lever in critical.levers
    ]
    levers = table(("task", "#seconds on the path", "#times", "#shorter by at most", "#of the run"), rows)
    longest = sorted(critical.steps, key=lambda step: -step.seconds)[:_STEPS]
    steps = table(
        ("its longest steps", "call", "#seconds", "#from", "#to"), [_step(step, critical) for step in longest]
    )
    first = critical.levers[0] if critical.levers else None
    advice = f" Speed up <b>{escape(first.name)}</b> first." if first is not None and first.shorter > 0 else ""
    return f"<p>The path takes {duration(critical.seconds)}: {told}.{advice}</p>{levers}{_ASSUMED}{steps}"


_ASSUMED = (
    "<p class='small'>“Shorter by at most”: if each body of that task took half the time. Other chains that become the "
    "longest are counted. It is assumed that waiting and code between tasks take as long as they did, that the script "
    "and blocks called what they did because the last of their earlier calls had ended, and that bodies keep their "
    "order on the workers.</p>"
)


def _step(step: Step, critical: Critical) -> tuple[str, ...]:
    name = escape(step.body.call.name)
    words = {Spent.BODY: name, Spent.WAITING: f"waiting, then {name}", Spent.DRIVER: f"script or block, then {name}"}
    began = critical.steps[0].began
    times = [_seconds(each) for each in (step.seconds, step.began - began, step.ended - began)]
    return (words[step.spent], f"<code>{escape(step.body.call.id)}</code>", *times)


def failures(groups: Sequence[Failures]) -> str:
    """What failed, and what was tried again."""
    if not groups:
        return "<p>Nothing failed, and nothing was lost or cancelled.</p>"
    rows = [
        (
            escape(group.name),
            escape("failed for others" if is_of_others(group) else group.how),
            f"{group.count:,}",
            f"<pre>{escape(group.text)}</pre>" if group.text else "",
            "<br>".join(f"<code>{escape(key)}</code>" for key in group.examples),
        )
        for group in groups
    ]
    return table(("task", "what", "#calls", "why (of the first; numbers may differ)", "for instance"), rows)


def fits(told: Iterable[Fit]) -> str:
    """What was asked for and used by tasks."""
    rows = [
        (
            escape(fit.name),
            f"{fit.calls:,}",
            str(fit.cores),
            "" if fit.busy is None else f"{fit.busy:.2f}",
            f"{fit.cpu:,.1f}",
            "" if fit.memory is None else written(fit.memory),
            _peak(fit),
            _advice(fit),
        )
        for fit in told
    ]
    if not rows:
        return "<p>Nothing has ended well yet.</p>"
    columns = ("task", "#bodies", "#cores asked", "#cores busy", "#CPU seconds", "#memory asked", "#peak memory")
    return table((*columns, "would fit better"), rows) + _MEASURED


_MEASURED = (
    "<p class='small'>“Cores busy” is processor time by duration, which 95 % of the bodies do not exceed. Of a "
    "function it is the time of its own thread. With “≤” the peak is that of a worker with other bodies in it; a "
    "command, or a body that was alone on its worker, has its own.</p>"
)


def pool_fits(told: Iterable[Fit]) -> str:
    """What workers had and used."""
    rows = [
        (
            escape(fit.name or "—"),
            f"{fit.calls:,}",
            str(fit.cores),
            "" if fit.busy is None else f"{fit.busy:.2f}",
            "" if fit.memory is None else written(fit.memory),
            _peak(fit),
            _advice(fit),
        )
        for fit in told
    ]
    if not rows:
        return ""
    columns = ("pool", "#workers", "#slots of one", "#cores busy", "#memory of one", "#peak memory")
    return "<h3>Workers</h3>" + table((*columns, "would fit better"), rows)


def _peak(fit: Fit) -> str:
    return "" if fit.peak is None else f"{'' if fit.is_own else '≤ '}{written(fit.peak)}"


def _advice(fit: Fit) -> str:
    told = zip(fit.advice, fit.reasons, strict=True)
    return "<br>".join(f"<code>{escape(option)}</code> {escape(reason)}" for option, reason in told)


def _seconds(seconds: float) -> str:
    return f"{seconds:,.3f}" if seconds < 10 else f"{seconds:,.1f}"


def _share(part: float, whole: float) -> str:
    return f"{100 * part / whole:.0f} %" if whole > 0 else ""
