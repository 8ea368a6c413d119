"""Rows for bodies that overlap: each gets the first that is free, and is told whom it had to wait for there."""

import heapq
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from asyncflow.views.report.timeline import Body

#: Seconds by which the end of one body may lie behind the beginning of the next: a journal rounds some times.
ROUNDING = 0.001


@dataclass
class Lanes:
    """Where each body goes.

    Attributes
    ----------
    groups : list of str
        In the order in which they are first used.
    rows : dict of str to int
        How many each has: the most bodies that it had at once.
    row : list of int
        Of each body, within its group.
    before : list of int or None
        The number of the body whose end gave each its place, where its group was full until then.
    is_alone : list of bool
        Whether no other body was in the group meanwhile.
    """

    groups: list[str] = field(default_factory=list)
    rows: dict[str, int] = field(default_factory=dict)
    row: list[int] = field(default_factory=list)
    before: list[int | None] = field(default_factory=list)
    is_alone: list[bool] = field(default_factory=list)


class _Group:
    """The rows of one group while bodies come and go."""

    def __init__(self) -> None:
        self.running: list[tuple[float, int, int, int]] = []  # a heap: end, row, body, its cores
        self.free: list[tuple[int, int]] = []  # row, and the body that left it; the last is the latest
        self.rows = 0
        self.busy = 0  # cores
        self.most = 0

    def leave(self, until: float) -> list[tuple[int, int]]:
        """Those that ended by then leave their rows: which, and how many cores were busy until each did."""
        left = []
        while self.running and self.running[0][0] <= until:
            _, row, body, cores = heapq.heappop(self.running)
            self.free.append((row, body))
            left.append((body, self.busy))
            self.busy -= cores
        return left

    def enter(self, number: int, body: Body) -> tuple[int, int | None]:
        """A row for `body`, which has that number, and the number of the one that had it before and left last."""
        if self.free:
            row, before = self.free.pop()
        else:
            row, before = self.rows, None
            self.rows += 1
        heapq.heappush(self.running, (body.ended, row, number, body.cores))
        self.busy += body.cores
        self.most = max(self.most, self.busy)
        return row, before


def lay(bodies: Sequence[Body], group_of: Callable[[Body], str], slots: Mapping[str, int] | None = None) -> Lanes:
    """Rows for `bodies`, which are in the order of their beginnings, greedily, group by group.

    Parameters
    ----------
    group_of : callable
        What a body belongs to: its worker, its workflow.
    slots : mapping of str to int, optional
        How many cores a group has; where nothing is said, the most that were busy.
    """
    lanes, groups = Lanes(), dict[str, _Group]()
    busy_until = [0] * len(bodies)
    places: list[str] = []
    for number, body in enumerate(bodies):
        name = group_of(body)
        group = groups.setdefault(name, _Group())
        for left, busy in group.leave(body.started + ROUNDING):
            busy_until[left] = busy
        row, before = group.enter(number, body)
        _share(lanes, group)
        lanes.row.append(row)
        lanes.before.append(before)
        places.append(name)
    lanes.groups = list(groups)
    lanes.rows = {name: group.rows for name, group in groups.items()}
    limits = {name: (slots or {}).get(name) or group.most for name, group in groups.items()}
    lanes.before = [
        before if before is not None and busy_until[before] >= limits[name] else None
        for before, name in zip(lanes.before, places, strict=True)
    ]
    return lanes


def _share(lanes: Lanes, group: _Group) -> None:
    """The last of `group` has begun: whoever runs there is not alone, if there are two."""
    lanes.is_alone.append(len(group.running) == 1)
    if len(group.running) == 2:  # of three or more, those before have been told
        for _, _, body, _ in group.running:
            lanes.is_alone[body] = False
