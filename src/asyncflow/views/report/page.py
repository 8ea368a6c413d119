"""The page: charts and tables in one file, with all that a browser needs for them."""

import time
from html import escape
from pathlib import Path
from typing import Any

from bokeh.embed import components
from bokeh.resources import Resources

from asyncflow.runs.directory import JOURNAL
from asyncflow.runs.history import History
from asyncflow.views.report import plots, tables
from asyncflow.views.report.bars import Bars, bars, worker_of
from asyncflow.views.report.concurrency import all_slots, pool_use, running, waiting
from asyncflow.views.report.critical import Critical, critical_path
from asyncflow.views.report.distributions import durations, waits
from asyncflow.views.report.events import Spent, moments
from asyncflow.views.report.facts import facts_of
from asyncflow.views.report.failures import failures
from asyncflow.views.report.fit import fits, pool_fits
from asyncflow.views.report.lanes import lay
from asyncflow.views.report.timeline import Timeline, timeline


def report(directory: Path, *, sessions: str = "last") -> str:
    """The report of the run at `directory`, as the text of an HTML file that loads nothing.

    Parameters
    ----------
    sessions : {"last", "all"}
        Of the last session, or of all.
    """
    history = History.read(directory / JOURNAL, sessions=sessions)
    told = timeline(history)
    slots = {worker.address: worker.slots for worker in history.workers.values()}
    lanes = lay(told.bodies, worker_of)
    critical = critical_path(moments(history, told, lanes))
    texts = {
        "head": tables.head(facts_of(directory, history, sessions)),
        "path": tables.path(critical, told.seconds),
        "failures": tables.failures(failures(history)),
        "fits": tables.fits(fits(told, lanes)) + tables.pool_fits(pool_fits(history)),
    }
    drawn = bars(told, lanes, slots)
    texts["legend"] = tables.legend(plots.colours(drawn.names))
    charts = _charts(history, told, drawn, critical) if told.bodies else {}
    script, places = components(charts) if charts else ("", {})
    return _page(directory.name, texts, places, script)


def _charts(history: History, told: Timeline, drawn: Bars, critical: Critical) -> dict[str, Any]:
    source = plots.source_of(drawn)
    on_path = _numbers(told, critical)
    charts = {"workers": plots.gantt(drawn, source, "worker", _labels(history), on_path)}
    x_range = charts["workers"].x_range
    if drawn.workflows.names:
        charts["workflows"] = plots.gantt(drawn, source, "workflow", {}, on_path, x_range)
    uses = pool_use(history, told.ended)
    named = [("running", running(told)), *([("slots", all_slots(history, told.ended))] if uses else [])]
    charts["running"] = plots.levels(named, told.began, x_range, "bodies")
    charts["waiting"] = plots.levels([("waiting for a worker", waiting(told))], told.began, x_range, "calls")
    if uses:
        charts["pools"] = plots.pools(uses, told.began, x_range)
    charts["durations"] = plots.boxes(durations(told), "how long bodies took")
    charts["waits"] = plots.boxes(waits(told), "how long calls waited for a worker")
    return charts


def _labels(history: History) -> dict[str, str]:
    """What workers are called, by address: by their own name, which a local cluster makes a mere number."""
    names = {worker.address: worker.name for worker in history.workers.values() if worker.name}
    return {address: f"worker {name}" if name.isdecimal() else name for address, name in names.items()}


def _numbers(told: Timeline, critical: Critical) -> list[int]:
    """Which bodies are on the path."""
    path = {(step.body.call.id, step.body.started) for step in critical.steps if step.spent is Spent.BODY}
    return [number for number, body in enumerate(told.bodies) if (body.call.id, body.started) in path]


def _page(name: str, texts: dict[str, str], places: dict[str, str], script: str) -> str:
    def chart(key: str, title: str = "", otherwise: str = "") -> str:
        if key not in places:
            return f"<p>{otherwise}</p>" if otherwise else ""
        return (f"<h3>{title}</h3>" if title else "") + places[key]

    made = time.strftime("%Y-%m-%d %H:%M:%S %z")
    none = "No call belongs to a workflow: those in <code>flow.workflow_scope()</code> do."
    by_worker = chart("workers", "By worker", "Nothing has run yet.")
    by_workflow = chart("workflows", "By workflow", none if places else "")
    sections = [
        f"<h1>Run {escape(name)}</h1>{texts['head']}",
        f"<h2>What to speed up</h2>{texts['path']}",
        f"<h2>Failures</h2>{texts['failures']}",
        f"<h2>What ran when</h2>{texts['legend']}{by_worker}{by_workflow}",
        f"<h2>How much at once</h2>{chart('running')}{chart('waiting')}{chart('pools', 'Pools')}",
        f"<h2>How long</h2><div class='pair'>{chart('durations')}{chart('waits')}</div>",
        f"<h2>What tasks asked for and used</h2>{texts['fits']}",
    ]
    body = "".join(f"<section>{section}</section>" for section in sections)
    code = Resources(mode="inline", components=["bokeh", "bokeh-gl"]).render() if script else ""
    title = f"Run {escape(name)} - asyncflow"
    return (
        f'<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f'<meta name="viewport" content="width=device-width"><link rel="icon" href="data:,"><style>{_STYLE}</style>'
        f"{code}</head><body>{body}<footer>Made by asyncflow, {made}</footer>{script}</body></html>\n"
    )


_STYLE = """
body { font: 15px/1.5 system-ui, "DejaVu Sans", sans-serif; color: #1b2733; max-width: 1280px; margin: 0 auto;
  padding: 0 1.5rem 2rem; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.2rem; border-bottom: 1px solid #d5dde5; margin-top: 2rem; }
h3 { font-size: 1rem; margin-bottom: .2rem; }
table { border-collapse: collapse; margin: .6rem 0; font-size: 14px; }
th, td { padding: .2rem .8rem .2rem 0; text-align: left; vertical-align: top; }
thead th { border-bottom: 1px solid #9aa9b8; font-weight: 600; }
tbody tr + tr td { border-top: 1px solid #eef2f5; }
.facts th { font-weight: 600; color: #5b6b7b; }
.swatch { display: inline-block; width: .8em; height: .8em; margin-right: .35em; } .task { margin-right: 1em; }
.number { text-align: right; font-variant-numeric: tabular-nums; }
.small { font-size: 13px; color: #5b6b7b; max-width: 60rem; } .note { background: #fff4d6; padding: .4rem .8rem; }
code, pre { font: 13px/1.4 ui-monospace, "DejaVu Sans Mono", monospace; } code { white-space: nowrap; }
pre { margin: 0; white-space: pre-wrap; overflow-wrap: anywhere; }
.pair { display: grid; grid-template-columns: 1fr 1fr; gap: 1rem; } .pair > div { min-width: 0; }
footer { color: #5b6b7b; font-size: 13px; margin-top: 2rem; }
@media (max-width: 900px) { .pair { grid-template-columns: 1fr; } }
"""
