"""Which bar of a Gantt chart goes where, as arrays: a hundred thousand of them must be small and quick to draw."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asyncflow.views.report.lanes import Lanes, lay
from asyncflow.views.report.timeline import Body, Timeline

#: What a body came to, as its bar says it; the first is the common one.
OUTCOMES = ("done", "running", "failed", "retried", "lost", "cancelled", "corrupt")

#: Bars of which each says the id of its call; of more, the ids would be most of the file.
_IDS = 20_000


@dataclass(frozen=True)
class Rows:
    """Where the bars of each group are: `starts` has the first row of each of `names`, `count` are all rows."""

    names: Sequence[str]
    starts: Sequence[int]
    count: int

    @classmethod
    def of(cls, lanes: Lanes, names: Sequence[str], slots: Mapping[str, int]) -> "Rows":
        """One group below the other, each with a row for each of its slots, in the order of `names`."""
        starts, count = [], 0
        for name in names:
            starts.append(count)
            count += max(1, lanes.rows.get(name, 0), slots.get(name, 0))
        return cls(names, starts, count)

    def place(self, lanes: Lanes, bodies: Sequence[Body], group_of: Callable[[Body], str]) -> NDArray[np.int32]:
        """The row of each body among all."""
        starts = dict(zip(self.names, self.starts, strict=True))
        rows = (starts[group_of(body)] + row for body, row in zip(bodies, lanes.row, strict=True))
        return np.fromiter(rows, np.int32, len(bodies))

    def middles(self) -> list[float]:
        """Where the name of each group stands."""
        ends = [*self.starts[1:], self.count]
        return [(start + end - 1) / 2 for start, end in zip(self.starts, ends, strict=True)]


@dataclass(frozen=True)
class Bars:
    """All bars.

    Attributes
    ----------
    columns : dict of str to array or list
        Equally long: ``left`` and ``right`` in seconds since the beginning, ``name`` and ``how`` as numbers, ``worker``
        and ``workflow`` as rows, ``id`` where there are few.
    names : list of str
        Of tasks; those with most time first.
    workers, workflows : Rows
        Of the two charts; no workflows where no call belongs to one.
    """

    columns: dict[str, Any]
    names: Sequence[str]
    workers: Rows
    workflows: Rows


def worker_of(body: Body) -> str:
    """The address of a worker, or what an executor calls its own."""
    return body.worker or "unknown"


def workflow_of(body: Body) -> str:
    """The workflow, if any."""
    return body.call.workflow_id or "no workflow"


def bars(timeline: Timeline, lanes: Lanes, slots: Mapping[str, int]) -> Bars:
    """Of all bodies; `lanes` are those of their workers, and `slots` how many each of these has."""
    bodies = timeline.bodies
    spent = Counter[str]()
    for body in bodies:
        spent[body.call.name] += body.seconds  # type: ignore[assignment]  # counters sum anything
    names = [name for name, _ in spent.most_common()]
    number = {name: index for index, name in enumerate(names)}
    workers = Rows.of(lanes, list(dict.fromkeys([*slots, *lanes.rows])), slots)
    columns: dict[str, Any] = {
        "left": np.fromiter((body.started - timeline.began for body in bodies), np.float32, len(bodies)),
        "right": np.fromiter((body.ended - timeline.began for body in bodies), np.float32, len(bodies)),
        "name": np.fromiter((number[body.call.name] for body in bodies), np.uint16, len(bodies)),
        "how": np.fromiter((_outcome(body) for body in bodies), np.uint8, len(bodies)),
        "worker": workers.place(lanes, bodies, worker_of),
    }
    workflows = Rows([], [], 0)
    if any(body.call.workflow_id for body in bodies):
        grouped = lay(bodies, workflow_of)
        workflows = Rows.of(grouped, list(grouped.rows), {})
        columns["workflow"] = workflows.place(grouped, bodies, workflow_of)
    if len(bodies) <= _IDS:
        columns["id"] = [body.call.id for body in bodies]
    return Bars(columns, names, workers, workflows)


def _outcome(body: Body) -> int:
    return OUTCOMES.index(body.how) if body.how in OUTCOMES else 0
