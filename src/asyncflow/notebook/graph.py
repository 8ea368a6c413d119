"""The graph of tasks as an SVG: boxes with the colours of states, a legend, and nothing that needs a network."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from asyncflow.notebook.layout import Layout, Point, lay_out
from asyncflow.notebook.markup import COLOURS, escaped, shortened, width_of
from asyncflow.sketch import Counts, Picture
from asyncflow.states import TaskState

#: More calls, or edges between them, than this are drawn by name.
MOST_CALLS = 100
MOST_EDGES = 300

_MARGIN = 16.0
_COLUMN = 7.3  # of a character
_LABEL = 32  # characters
_HEIGHT = 30.0
_HEIGHT_BY_NAME = 48.0
_LEGEND = 26.0
_TITLE = 22.0
# Each rule begins with the class of our drawings: a page shows the SVG inside, and its style would be the page's.
_STYLE = " ".join(
    f".asyncflow-graph {rule}"
    for rule in (
        "text{font:12px ui-monospace,Menlo,Consolas,'DejaVu Sans Mono',monospace;fill:#222}",
        ".small{font-size:11px;fill:#555}",
        ".edge{fill:none;stroke:#777;stroke-width:1.2}",
        ".inside{stroke-dasharray:2 3}",
        ".box{stroke:#555;stroke-width:1}",
        ".block{stroke-dasharray:5 3;stroke-width:1.6}",
    )
)


class Box(NamedTuple):
    """One call, or all calls of one name: what stands in it, on it when a mouse rests there, and its states."""

    label: str
    about: str
    counts: Counts
    is_block: bool = False


class Edge(NamedTuple):
    """From box to box, by index: a dependency, or with `is_inside` from a block to one of its calls that begin it."""

    source: int
    target: int
    is_inside: bool
    times: int = 1


class Graph:
    """The graph of an engine's calls at one instant; notebooks show it.

    Attributes
    ----------
    svg : str
        The drawing, a whole SVG file.
    by_name : bool
        Whether a box stands for all calls of one name, rather than for one call.
    """

    def __init__(self, picture: Picture, *, by_name: bool | None = None) -> None:
        self.by_name = is_large(picture) if by_name is None else by_name
        self._boxes, self._edges = (named if self.by_name else single)(picture)
        self.svg = draw(self._boxes, self._edges, title_of(picture, by_name=self.by_name), by_name=self.by_name)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the drawing to `path`, and return that."""
        target = Path(path)
        target.write_text(self.svg, encoding="utf-8")
        return target

    def _repr_svg_(self) -> str:
        return self.svg

    def _repr_html_(self) -> str:
        """Preferred where both can be shown: as a part of the page it fits in, and tells more below the mouse."""
        return f'<div style="overflow-x:auto">{self.svg}</div>'

    def __repr__(self) -> str:
        """How large it is."""
        return f"<Graph of {len(self._boxes)} {'names' if self.by_name else 'calls'}, {len(self._edges)} edges>"


def is_large(picture: Picture) -> bool:
    """Whether `picture` is drawn by name, unless somebody says otherwise."""
    return picture.total > MOST_CALLS or sum(len(call.upstream) for call in picture.calls) > MOST_EDGES


def title_of(picture: Picture, *, by_name: bool) -> str:
    """What stands above the drawing."""
    total, drawn = picture.total, len(picture.calls)
    if not total:
        return "nothing has been called yet"
    calls = f"{total:,} call{'s' * (total > 1)}"
    if by_name:
        return f"{calls} of {len(picture.counts)} task{'s' * (len(picture.counts) > 1)}"
    return calls if drawn >= total else f"the last {drawn:,} of {calls}"


def single(picture: Picture) -> tuple[list[Box], list[Edge]]:
    """A box for each of the latest calls."""
    places = {call.number: place for place, call in enumerate(picture.calls)}
    blocks = {call.number: call.block for call in picture.calls}
    boxes, edges = [], []
    for place, call in enumerate(picture.calls):
        label = f"{shortened(call.name, _LABEL)} #{call.number}"
        boxes.append(Box(label, f"{call.name} #{call.number}: {call.state}", {call.state: 1}, call.is_block))
        is_first = all(blocks.get(each) != call.block for each in call.upstream)
        if call.block in places and is_first:
            edges.append(Edge(places[call.block], place, is_inside=True))
        edges += [Edge(places[each], place, is_inside=False) for each in dict.fromkeys(call.upstream) if each in places]
    return boxes, edges


def named(picture: Picture) -> tuple[list[Box], list[Edge]]:
    """A box for each name."""
    places = {name: place for place, name in enumerate(picture.counts)}
    boxes = [
        Box(shortened(name, _LABEL), f"{name}: {_told(counts)}", counts, name in picture.blocks)
        for name, counts in picture.counts.items()
    ]
    edges = [
        Edge(places[source], places[target], is_inside, count)
        for (source, target, is_inside), count in picture.pairs.items()
        if source in places and target in places and not (is_inside and _is_later(source, target, picture, places))
    ]
    return boxes, edges


def _is_later(block: str, name: str, picture: Picture, places: Mapping[str, int]) -> bool:
    """Whether calls of `name` in `block` depend on others that were made there before, which show where it begins."""
    members = [target for source, target, is_inside in picture.pairs if is_inside and source == block]
    return any((each, name, False) in picture.pairs and places[each] < places[name] for each in members)


def draw(boxes: Sequence[Box], edges: Sequence[Edge], title: str, *, by_name: bool) -> str:
    """The SVG of `boxes` and `edges`."""
    height = _HEIGHT_BY_NAME if by_name else _HEIGHT
    widths = [width_of(box.label) * _COLUMN + 24 for box in boxes]
    layout = lay_out(widths, height, [(edge.source, edge.target) for edge in edges])
    loops = {edge.source for edge in edges if edge.source == edge.target}
    lines = [_edge(edge, path, index in layout.backward) for index, (edge, path) in _drawn(edges, layout)]
    shapes = [
        _box(box, corner, width, height, by_name=by_name, has_loop=index in loops)
        for index, (box, corner, width) in enumerate(zip(boxes, layout.corners, widths, strict=True))
    ]
    wide = max(layout.width, width_of(title) * _COLUMN, 470.0) + 2 * _MARGIN
    high = layout.height + _TITLE + _LEGEND + 2 * _MARGIN
    size = f'width="{wide:.0f}" height="{high:.0f}"'
    view = f'viewBox="0 0 {wide:.0f} {high:.0f}" style="max-width:100%;height:auto"'
    return "\n".join(
        [
            f'<svg class="asyncflow-graph" xmlns="http://www.w3.org/2000/svg" {size} {view} role="img">',
            f"<title>{escaped(title)}</title><style>{_STYLE}</style>{_ARROW}",
            f'<rect {size} fill="#fff"/>',
            f'<text class="small" x="{_MARGIN:.0f}" y="{_MARGIN + 8:.0f}">{escaped(title)}</text>',
            f'<g transform="translate({(wide - layout.width) / 2:.1f} {_MARGIN + _TITLE:.1f})">',
            *lines,
            *shapes,
            "</g>",
            _legend(high - _LEGEND, has_blocks=any(box.is_block for box in boxes)),
            "</svg>",
        ]
    )


_ARROW = (
    '<defs><marker id="asyncflow-arrow" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7" markerHeight="7" '
    'orient="auto-start-reverse"><path d="M0 0 8 4 0 8z" fill="#777"/></marker></defs>'
)


def _drawn(edges: Sequence[Edge], layout: Layout) -> list[tuple[int, tuple[Edge, list[Point]]]]:
    return [(i, (edge, path)) for i, (edge, path) in enumerate(zip(edges, layout.paths, strict=True)) if path]


def _edge(edge: Edge, path: Sequence[Point], is_backward: bool) -> str:
    (x, y), *rest = path
    curve = [f"M{x:.1f} {y:.1f}"]
    for to_x, to_y in rest:
        middle = (y + to_y) / 2
        curve.append(f"C{x:.1f} {middle:.1f} {to_x:.1f} {middle:.1f} {to_x:.1f} {to_y:.1f}")
        x, y = to_x, to_y
    end = "start" if is_backward else "end"
    kind = "edge inside" if edge.is_inside else "edge"
    about = f"<title>{edge.times:,}</title>" if edge.times > 1 else ""
    return f'<path class="{kind}" d="{"".join(curve)}" marker-{end}="url(#asyncflow-arrow)">{about}</path>'


def _box(box: Box, corner: Point, width: float, height: float, *, by_name: bool, has_loop: bool) -> str:
    x, y = corner
    colour = "#fff" if by_name else COLOURS[next(iter(box.counts))]
    kind = "box block" if box.is_block else "box"
    place = f'x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}"'
    parts = [
        f"<g><title>{escaped(box.about)}</title>",
        f'<rect class="{kind}" {place} rx="5" fill="{colour}" fill-opacity="{1 if by_name else 0.55}"/>',
        f'<text x="{x + width / 2:.1f}" y="{y + 19:.1f}" text-anchor="middle">{escaped(box.label)}</text>',
    ]
    if by_name:
        total = f"{sum(box.counts.values()):,}{' ↻' if has_loop else ''}"
        parts += [
            f'<text class="small" x="{x + width / 2:.1f}" y="{y + 34:.1f}" text-anchor="middle">{total}</text>',
            *_bar(box.counts, x + 6, y + height - 8, width - 12),
        ]
    return "".join([*parts, "</g>"])


def _bar(counts: Counts, x: float, y: float, width: float) -> list[str]:
    total, parts = sum(counts.values()), []
    for state, colour in COLOURS.items():
        share = width * counts.get(state, 0) / total if total else 0.0
        if share:
            parts.append(f'<rect x="{x:.1f}" y="{y:.1f}" width="{share:.1f}" height="4" fill="{colour}"/>')
            x += share
    return parts


def _legend(y: float, *, has_blocks: bool) -> str:
    x, parts = _MARGIN, []
    for state, colour in COLOURS.items():
        word = state.lower()
        parts.append(
            f'<rect x="{x:.0f}" y="{y:.0f}" width="12" height="12" rx="2" fill="{colour}"/>'
            f'<text class="small" x="{x + 17:.0f}" y="{y + 10:.0f}">{word}</text>'
        )
        x += 17 + 6.8 * len(word) + 16
    if has_blocks:
        parts.append(
            f'<rect class="box block" x="{x:.0f}" y="{y:.0f}" width="12" height="12" rx="2" fill="#fff"/>'
            f'<text class="small" x="{x + 17:.0f}" y="{y + 10:.0f}">block</text>'
        )
    return "".join(parts)


def _told(counts: Counts) -> str:
    order = [state for state in COLOURS if counts.get(state)]
    return ", ".join(f"{counts[state]:,} {TaskState(state).lower()}" for state in order)
