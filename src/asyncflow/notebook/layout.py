"""Where the boxes and edges of a graph go: in rows, so that edges run downward and cross seldom."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

Edge = tuple[int, int]
Point = tuple[float, float]

#: Space between boxes of a row, and between rows.
GAP = 18.0
ROW_GAP = 46.0

#: Boxes in a row; those of one rank that are more get several rows.
IN_ROW = 12

_BEND = 10.0  # the width that an edge takes where it passes a row
_MAX_BENDS = 3000  # beyond, long edges run straight, behind boxes
_SWEEPS = 4


@dataclass
class Layout:
    """Places on a canvas; y grows downward.

    Attributes
    ----------
    corners : list of point
        The upper left corner of each box.
    paths : list of list of point
        Of each edge the points that it passes, from the box above to the one below; empty where it leads from a box to
        itself.
    backward : set of int
        Edges that close a circle, and are drawn from their target, above, to their source.
    width, height : float
        Of everything.
    """

    corners: list[Point] = field(default_factory=list)
    paths: list[list[Point]] = field(default_factory=list)
    backward: set[int] = field(default_factory=set)
    width: float = 0.0
    height: float = 0.0


def lay_out(widths: Sequence[float], height: float, edges: Sequence[Edge]) -> Layout:
    """Place boxes of `widths`, all of one `height`, and the edges between them, pairs of indices."""
    backward = _closing(len(widths), edges)
    downward = [(b, a) if index in backward else (a, b) for index, (a, b) in enumerate(edges)]
    rows_of = _rows(len(widths), downward)
    chains, bends = _chains(rows_of, downward)
    wide = [*widths, *([_BEND] * len(bends))]
    rows = _ordered([*rows_of, *bends], chains)
    centres = _centres(rows, wide, chains)
    return _placed(len(widths), wide, height, rows, centres, chains, backward)


def _closing(count: int, edges: Sequence[Edge]) -> set[int]:
    """Which edges close a circle: those that a walk in depth finds leading back to where it came from."""
    leaving = defaultdict(list)
    for index, (source, target) in enumerate(edges):
        if source != target:
            leaving[source].append((index, target))
    found, done, on_way = set(), set[int](), set[int]()
    for start in range(count):
        stack = [] if start in done else [(start, iter(leaving[start]))]
        on_way.update(node for node, _ in stack)
        while stack:
            node, rest = stack[-1]
            for index, target in rest:
                if target in on_way:
                    found.add(index)
                elif target not in done:
                    on_way.add(target)
                    stack.append((target, iter(leaving[target])))
                    break
            else:
                stack.pop()
                on_way.discard(node)
                done.add(node)
    return found


def _rows(count: int, downward: Iterable[Edge]) -> list[int]:
    """The row of each box: below all that lead to it, and no more than `IN_ROW` in one."""
    below = defaultdict(list)
    waiting = [0] * count
    for source, target in downward:
        if source != target:
            below[source].append(target)
            waiting[target] += 1
    ranks = [0] * count
    ready = [node for node in range(count) if not waiting[node]]
    for node in ready:  # grows
        for target in below[node]:
            ranks[target] = max(ranks[target], ranks[node] + 1)
            waiting[target] -= 1
            if not waiting[target]:
                ready.append(target)
    return _split(ranks)


def _split(ranks: Sequence[int]) -> list[int]:
    members = defaultdict(list)
    for node, rank in enumerate(ranks):
        members[rank].append(node)
    rows, first = [0] * len(ranks), 0
    for rank in sorted(members):
        for place, node in enumerate(members[rank]):
            rows[node] = first + place // IN_ROW
        first += -(-len(members[rank]) // IN_ROW)
    return rows


def _chains(rows_of: Sequence[int], downward: Sequence[Edge]) -> tuple[list[list[int]], list[int]]:
    """Of each edge the boxes and bends that it passes, row by row; and the row of each bend, numbered after boxes."""
    needed = sum(max(rows_of[b] - rows_of[a] - 1, 0) for a, b in downward)
    bends: list[int] = []
    chains = []
    for source, target in downward:
        between = range(rows_of[source] + 1, rows_of[target]) if needed <= _MAX_BENDS else ()
        first = len(rows_of) + len(bends)
        bends.extend(between)
        chains.append([source, *range(first, first + len(between)), target])
    return chains, bends


def _links(chains: Iterable[list[int]]) -> tuple[dict[int, list[int]], dict[int, list[int]]]:
    """What is above and what below each box and bend."""
    above, below = defaultdict(list), defaultdict(list)
    for chain in chains:
        for upper, lower in pairwise(chain):
            if upper != lower:
                above[lower].append(upper)
                below[upper].append(lower)
    return above, below


def _ordered(rows_of: Sequence[int], chains: Sequence[list[int]]) -> list[list[int]]:
    """The rows, each from left to right: sorted by the middle of what is above or below, in turns."""
    rows: list[list[int]] = [[] for _ in range(max(rows_of, default=-1) + 1)]
    for item, row in enumerate(rows_of):
        rows[row].append(item)
    above, below = _links(chains)
    for sweep in range(_SWEEPS):
        neighbours = below if sweep % 2 else above
        places = {item: place / len(row) for row in rows for place, item in enumerate(row)}
        for items in rows[::-1] if sweep % 2 else rows:
            items.sort(key=lambda item: _mean([places[each] for each in neighbours[item]], places[item]))
            places.update((item, place / len(items)) for place, item in enumerate(items))
    return rows


def _centres(rows: Sequence[list[int]], wide: Sequence[float], chains: Sequence[list[int]]) -> dict[int, float]:
    """The middle of each box and bend from the left: near what it is linked to, without overlap."""
    above, below = _links(chains)
    centres: dict[int, float] = {}
    for row in rows:
        centres.update(zip(row, _spread([0.0] * len(row), [wide[item] for item in row]), strict=True))
    for sweep in range(_SWEEPS):
        for row in rows[::-1] if sweep % 2 else rows:
            near = [[*above[item], *below[item]] if sweep else above[item] for item in row]
            wished = [
                _mean([centres[each] for each in links], centres[item]) for item, links in zip(row, near, strict=True)
            ]
            centres.update(zip(row, _spread(wished, [wide[item] for item in row]), strict=True))
    return centres


def _spread(wished: Sequence[float], widths: Sequence[float]) -> list[float]:
    """Middles as near as can be to those `wished` (least squares), in that order, `GAP` between the boxes."""
    offsets = [0.0]
    for left, right in pairwise(widths):
        offsets.append(offsets[-1] + (left + right) / 2 + GAP)
    pools: list[tuple[float, int]] = []  # of neighbours that would overlap: their mean, and how many
    for wish, offset in zip(wished, offsets, strict=False):
        mean, count = wish - offset, 1
        while pools and pools[-1][0] > mean:
            other, more = pools.pop()
            mean, count = (mean * count + other * more) / (count + more), count + more
        pools.append((mean, count))
    shifts = [mean for mean, count in pools for _ in range(count)]
    return [shift + offset for shift, offset in zip(shifts, offsets, strict=False)]


def _placed(
    count: int,
    wide: Sequence[float],
    height: float,
    rows: Sequence[list[int]],
    centres: dict[int, float],
    chains: Sequence[list[int]],
    backward: set[int],
) -> Layout:
    left = min((centres[item] - wide[item] / 2 for item in centres), default=0.0)
    right = max((centres[item] + wide[item] / 2 for item in centres), default=0.0)
    tops = {item: row * (height + ROW_GAP) for row, items in enumerate(rows) for item in items}
    corners = [(centres[item] - wide[item] / 2 - left, tops[item]) for item in range(count)]

    def path(chain: list[int]) -> list[Point]:
        first, *bends, last = chain
        points = [(centres[first] - left, tops[first] + height)]
        for bend in bends:
            points += [(centres[bend] - left, tops[bend]), (centres[bend] - left, tops[bend] + height)]
        return [*points, (centres[last] - left, tops[last])]

    paths = [path(chain) if chain[0] != chain[-1] else [] for chain in chains]
    total = max(len(rows) * (height + ROW_GAP) - ROW_GAP, 0.0)
    return Layout(corners, paths, backward, right - left, total)


def _mean(values: Sequence[float], default: float) -> float:
    return sum(values) / len(values) if values else default
