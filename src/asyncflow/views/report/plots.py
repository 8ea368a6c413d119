"""The charts of a report, drawn with bokeh."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from bokeh.models import ColumnDataSource, CustomJSHover, FixedTicker, HoverTool, LinearColorMapper
from bokeh.palettes import Category20_20
from bokeh.plotting import figure

from asyncflow.views.report.bars import OUTCOMES, Bars, Rows
from asyncflow.views.report.concurrency import Level, PoolUse
from asyncflow.views.report.distributions import Spread

#: The dark colours first, so that few tasks have those.
_COLOURS = (*Category20_20[::2], *Category20_20[1::2])

#: What a body that did not end well is marked with.
_BAD = "#c00000"

#: And one on the critical path.
_PATH = "#000000"

#: Bars from which on the graphics card draws them.
_MANY = 2000

#: Names beside a Gantt chart at most; and boxes of a distribution.
_LABELS = 40

#: Changes of a line at most.
_STEPS = 2000

#: Marks of a logarithmic axis.
_TIMES: dict[float, str] = dict(
    zip(
        (1e-4, 1e-3, 0.01, 0.1, 1, 10, 60, 600, 3600, 36000, 86400, 864000),
        ("0.1 ms", "1 ms", "10 ms", "0.1 s", "1 s", "10 s", "1 min", "10 min", "1 h", "10 h", "1 d", "10 d"),
        strict=True,
    )
)

_TOOLS = "xpan,xwheel_zoom,box_zoom,reset"


def source_of(bars: Bars) -> ColumnDataSource:
    """The columns of `bars`, for both charts: they are in the file once."""
    return ColumnDataSource(bars.columns)


def gantt(
    bars: Bars,
    source: ColumnDataSource,
    kind: str,
    labels: Mapping[str, str],
    path: Sequence[int] = (),
    x_range: Any = None,
) -> Any:
    """The bars by `kind`, ``worker`` or ``workflow``, those with the numbers in `path` outlined.

    Charts that share `x_range` show the same time. `labels` are what groups are called, if not as they are.
    """
    rows: Rows = getattr(bars, f"{kind}s")
    plot = _plot(
        height=min(900, max(160, 70 + 14 * rows.count)),
        x_range=x_range,
        y_range=(rows.count - 0.4, -0.6),
        output_backend="webgl" if len(bars.columns["left"]) > _MANY else "canvas",
    )
    mapper = LinearColorMapper(palette=_palette(len(bars.names)), low=-0.5, high=max(0.5, len(bars.names) - 0.5))
    bar = {"y": kind, "left": "left", "right": "right", "height": 0.86}
    drawn = plot.hbar(**bar, source=source, fill_color={"field": "name", "transform": mapper}, line_color=None)
    ill = np.flatnonzero(bars.columns["how"] > OUTCOMES.index("running"))
    for numbers, colour in ((np.array(path, np.int64), _PATH), (ill, _BAD)):
        if len(numbers):
            marked = _only(bars, kind, numbers)
            plot.hbar(**bar, source=marked, fill_color=None, line_color=colour, line_width=1.5)
    plot.add_tools(_hover(bars, drawn))
    _name_rows(plot, rows, labels)
    return plot


def _only(bars: Bars, kind: str, chosen: Any) -> ColumnDataSource:
    return ColumnDataSource({name: bars.columns[name][chosen] for name in ("left", "right", kind)})


def _hover(bars: Bars, drawn: Any) -> HoverTool:
    """Names are told once and looked up by number."""
    tips = [("task", "@name{custom}"), ("", "@how{custom}"), ("from", "@left{0.000} s"), ("to", "@right{0.000} s")]
    if "id" in bars.columns:
        tips.append(("call", "@id"))
    look_up: dict[str, Any] = {
        "@name": CustomJSHover(args={"words": list(bars.names)}, code="return words[value]"),
        "@how": CustomJSHover(args={"words": list(OUTCOMES)}, code="return words[value]"),
    }
    return HoverTool(renderers=[drawn], tooltips=tips, formatters=look_up)


def _name_rows(plot: Any, rows: Rows, labels: Mapping[str, str]) -> None:
    every = max(1, -(-len(rows.names) // _LABELS))
    named = dict(list(zip(rows.middles(), rows.names, strict=True))[::every])
    plot.yaxis.ticker = FixedTicker(ticks=list(named))
    plot.yaxis.major_label_overrides = {tick: _short(labels.get(name, name)) for tick, name in named.items()}
    plot.ygrid.ticker = FixedTicker(ticks=[start - 0.5 for start in rows.starts] if every == 1 else [])


def _short(name: str) -> str:
    return name if len(name) <= 28 else f"…{name[-27:]}"


def colours(names: Sequence[str]) -> dict[str, str]:
    """Of each task in the Gantt charts."""
    return dict(zip(names, _palette(len(names)), strict=True))


def _palette(count: int) -> list[str]:
    return [_COLOURS[index % len(_COLOURS)] for index in range(count)]


def levels(named: Sequence[tuple[str, Level]], began: float, x_range: Any, label: str) -> Any:
    """Numbers over time, each as a line of steps."""
    plot = _plot(height=200, x_range=x_range, y_axis_label=label)
    for (name, level), colour in zip(named, _palette(len(named)), strict=False):
        told = level.in_steps(_STEPS)
        times = (told.times - began).astype(np.float32)
        plot.step(times, told.counts.astype(np.float32), mode="after", color=colour, legend_label=name, line_width=1.5)
    plot.y_range.start = 0
    if named:
        plot.legend.location = "top_right"
        plot.legend.background_fill_alpha = 0.6
        plot.legend.click_policy = "hide"
    return plot


def pools(uses: Sequence[PoolUse], began: float, x_range: Any) -> Any:
    """Workers, and jobs where there are any, of each pool."""
    named = []
    for use in uses:
        before = f"{use.name}: " if use.name else ""
        parts = {"slots": use.slots, "workers": use.workers, "jobs": use.jobs, "jobs that wait": use.pending}
        named += [(f"{before}{part}", level) for part, level in parts.items() if len(level.times)]
    return levels(named, began, x_range, "pools")


def boxes(spreads: Sequence[Spread], title: str) -> Any:
    """One box a task: 5, 25, 50, 75 and 95 percent, and dots at the least and the most."""
    shown = spreads[:_LABELS]
    least = 1e-4  # a logarithm shows no 0
    low, high = (min((s.low for s in shown), default=1.0), max((s.high for s in shown), default=1.0))
    x_range = (max(least, low) / 1.5, max(1.5 * high, 30 * max(least, low)))
    columns: dict[str, Any] = {"name": [spread.name for spread in shown], "count": [spread.count for spread in shown]}
    for part in ("low", "q05", "q25", "q50", "q75", "q95", "high"):
        columns[part] = np.array([max(least, getattr(spread, part)) for spread in shown])
    plot = _plot(
        height=90 + 26 * len(shown),
        title=title,
        x_axis_type="log",
        y_range=columns["name"][::-1],
        x_range=x_range,
        x_axis_label="",
    )
    plot.xaxis.ticker = FixedTicker(ticks=list(_TIMES))
    plot.xaxis.major_label_overrides = dict(_TIMES)
    source = ColumnDataSource(columns)
    plot.segment("q05", "name", "q95", "name", source=source, color="#555555")
    box = plot.hbar(y="name", left="q25", right="q75", height=0.6, source=source, color="#7fa8d0", line_color="#35597d")
    plot.scatter("q50", "name", source=source, marker="dash", angle=np.pi / 2, size=16, color="#102a43", line_width=3)
    for end in ("low", "high"):
        plot.scatter(end, "name", source=source, size=4, color="#555555")
    tips = [("", "@name, @count"), ("median", "@q50{0.0000} s"), ("half", "@q25{0.0000} to @q75{0.0000} s")]
    tips += [("90 %", "@q05{0.0000} to @q95{0.0000} s"), ("all", "@low{0.0000} to @high{0.0000} s")]
    plot.add_tools(HoverTool(renderers=[box], tooltips=tips))
    return plot


def _plot(**options: Any) -> Any:
    log = options.get("x_axis_type") == "log"
    given = {name: value for name, value in options.items() if value is not None}
    plot = figure(
        sizing_mode="stretch_width",
        tools="reset" if log else _TOOLS,
        active_scroll=None,  # the wheel scrolls the page until it is asked to do more
        **{"x_axis_label": "seconds since the beginning", **given},
    )
    plot.toolbar.logo = None
    plot.toolbar.autohide = True
    plot.min_border_left = 110 if log else 200  # so that charts over time lie below each other
    return plot
