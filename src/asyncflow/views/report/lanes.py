"""Rows for bodies that overlap: each gets the first that is free, and is told whom it came after there."""

import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from asyncflow.views.report.timeline import Body

#: Seconds by which the end of one body may lie behind the beginning of the next: a journal rounds some times.
ROUNDING = 0.001


@dataclass
class Lanes:
    """Where each body goes.

    Attributes
    ----------
    rows : dict of str to int
        How many each group has, in the order in which they are first used: the most bodies that it had at once.
    row : list of int
        Of each body, within its group.
    before : list of int or None
        The number of the body that had each one's row before: of its group, the one that ended last until then.
    is_alone : list of bool
        Whether no other body was in the group meanwhile.
    """

    rows: dict[str, int] = field(default_factory=dict)
    row: list[int] = field(default_factory=list)
    before: list[int | None] = field(default_factory=list)
    is_alone: list[bool] = field(default_factory=list)


class _Group:
    """The rows of one group while bodies come and go."""

    def __init__(self) -> None:
        self.running: list[tuple[float, int, int]] = []  # a heap: end, row, body
        self.free: list[tuple[int, int]] = []  # row, and the body that left it; the last is the latest
        self.rows = 0

    def enter(self, body: int, started: float, ended: float) -> tuple[int, int | None]:
        """A row for that body, and the body that left it; those that have ended by then leave theirs."""
        while self.running and self.running[0][0] <= started + ROUNDING:
            _, row, left = heapq.heappop(self.running)
            self.free.append((row, left))
        if self.free:
            row, before = self.free.pop()
        else:
            row, before = self.rows, None
            self.rows += 1
        heapq.heappush(self.running, (ended, row, body))
        return row, before


def lay(bodies: Sequence[Body], group_of: Callable[[Body], str]) -> Lanes:
    """Rows for `bodies`, which are in the order of their beginnings, greedily, in each group for itself.

    Parameters
    ----------
    group_of : callable
        What a body belongs to: its worker, its workflow.
    """
    lanes, groups = Lanes(), dict[str, _Group]()
    for number, body in enumerate(bodies):
        group = groups.setdefault(group_of(body), _Group())
        row, before = group.enter(number, body.started, body.ended)
        lanes.row.append(row)
        lanes.before.append(before)
        lanes.is_alone.append(len(group.running) == 1)
        if len(group.running) == 2:  # of three or more, those before have been told
            for _, _, other in group.running:
                lanes.is_alone[other] = False
    lanes.rows = {name: group.rows for name, group in groups.items()}
    return lanes
