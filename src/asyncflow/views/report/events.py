"""The moments of a run and what each had to come after: when calls were made, began and ended."""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from asyncflow.runs.facts import Call
from asyncflow.runs.history import History
from asyncflow.views.report.lanes import Lanes
from asyncflow.views.report.timeline import Body, Timeline, bodies_of

#: Seconds between two moments that the journal has in one, or in the wrong order.
_INSTANT = 1e-6


class Spent(Enum):
    """On what the time before a moment was spent."""

    DRIVER = "driver"  #: code of the script, or of a block
    WAITING = "waiting"  #: for a worker, or for what is on its way to it
    BODY = "body"  #: of a task


@dataclass(frozen=True)
class Moments:
    """All moments, each after those that it had to come after.

    Attributes
    ----------
    times : list of float
        When each was, in seconds since the epoch.
    after : list of tuple of int
        Numbers of those that each had to come after; none of the first call, and of calls that nothing led to.
    spent : list of Spent
        On what the time was spent between the last of these and it.
    bodies : list of Body
        Whose moment each is.
    """

    times: list[float]
    after: list[tuple[int, ...]]
    spent: list[Spent]
    bodies: list[Body]


def moments(history: History, timeline: Timeline, lanes: Lanes) -> Moments:
    """Those of `timeline`, which is of `history`; `lanes` say which body had to wait for a place on its worker.

    The script, and each block, is taken to have made a call because the last of its earlier calls had ended by then.
    A call begins after it was made, after all that it depends on, and after the body whose place it got. A block ends
    after its calls.
    """
    return _Links(history, timeline, lanes).moments()


class _Links:
    """What came after what; each call has one moment of its making, each body two."""

    def __init__(self, history: History, timeline: Timeline, lanes: Lanes) -> None:
        self._history = history
        self._now = timeline.ended
        self._calls = timeline.calls
        self._bodies = {call.id: _with_an_end(call, history.last) for call in self._calls}
        self._place: dict[tuple[str, float], Body] = {
            (body.call.id, body.started): timeline.bodies[before]
            for body, before in zip(timeline.bodies, lanes.before, strict=True)
            if before is not None
        }
        self._ends = {_key(body): body.ended for bodies in self._bodies.values() for body in bodies}
        self._set_right()

    def _set_right(self) -> None:
        """Times that were rounded, or told by clocks that differ: what has to be earlier is earlier."""
        for call in self._calls:
            for body in self._bodies[call.id]:
                for needed in self._needed(body):
                    self._end_before(needed, body.started)
        for call in self._calls:
            block = self._last(call.block)
            if block is not None and call.ended is not None and call.ended <= block.ended:
                for body in self._bodies[call.id]:
                    self._end_before(body, self._ends[_key(block)])

    def _end_before(self, body: Body, time: float) -> None:
        key = _key(body)
        self._ends[key] = max(body.started, min(self._ends[key], time - _INSTANT))

    def _needed(self, body: Body) -> Iterator[Body]:
        """The bodies that had to end before `body` began."""
        own = self._bodies[body.call.id]
        at = own.index(body)
        if at:
            yield own[at - 1]
        else:
            yield from filter(None, map(self._last, body.call.depends_on))
        if (place := self._place.get(_key(body))) is not None:
            yield place

    def _last(self, key: str) -> Body | None:
        """The last body of the call with that id."""
        call = self._history.call(key) if key else None
        bodies = self._bodies[call.id] if call is not None else None
        return bodies[-1] if bodies else None

    def _causes(self) -> Mapping[str, Body]:
        """By the id of a call, what had ended last of those called in the same place, when it was made."""
        scopes = defaultdict[str, list[Body]](list)
        for call in self._calls:
            if self._bodies[call.id] and call.ended is not None:
                scopes[call.block].append(self._bodies[call.id][-1])
        ends = {}
        for scope, bodies in scopes.items():
            bodies.sort(key=lambda body: self._ends[_key(body)])
            ends[scope] = [self._ends[_key(body)] for body in bodies]
        causes = {}
        for call in self._calls:
            at = bisect_right(ends.get(call.block, ()), call.created)
            if at:
                causes[call.id] = scopes[call.block][at - 1]
        return causes

    def moments(self) -> Moments:
        """In order, numbered."""
        causes, children = self._causes(), defaultdict[str, list[Body]](list)
        for call in self._calls:
            if call.block and self._bodies[call.id]:
                children[call.block].append(self._bodies[call.id][-1])
        ordered = sorted(self._all(), key=lambda each: each[:3])
        numbers = {(name, _key(body)): number for number, (_, _, _, name, body) in enumerate(ordered)}
        after = []
        for number, (_, _, _, name, body) in enumerate(ordered):
            wanted = self._before(name, body, causes, children)
            found = (numbers.get(each) for each in wanted)
            after.append(tuple(each for each in found if each is not None and each < number))
        spent = [_spent(name, body) for _, _, _, name, body in ordered]
        return Moments([each[0] for each in ordered], after, spent, [each[4] for each in ordered])

    def _all(self) -> Iterator[tuple[float, int, int, str, Body]]:
        """Time, rank among those of one time, what it is, and whose."""
        for index, call in enumerate(self._calls):
            for number, body in enumerate(self._bodies[call.id]):
                if not number:
                    yield call.created, index, 0, "made", body
                yield body.started, index, 2 * number + 1, "begun", body
                yield self._ends[_key(body)], index, 2 * number + 2, "over", body

    def _before(
        self, name: str, body: Body, causes: Mapping[str, Body], children: Mapping[str, Sequence[Body]]
    ) -> list[tuple[str, tuple[str, float]]]:
        call = body.call
        if name == "over":
            own = children.get(call.id, ()) if body.is_block else ()
            return [("begun", _key(body)), *(("over", _key(child)) for child in own)]
        if name == "begun":
            first = self._bodies[call.id][0]
            made = [("made", _key(body))] if body is first else []
            return [*made, *(("over", _key(needed)) for needed in self._needed(body))]
        if (cause := causes.get(call.id)) is not None:
            return [("over", _key(cause))]
        block = self._last(call.block)
        return [] if block is None else [("begun", _key(block))]


def _with_an_end(call: Call, now: float) -> list[Body]:
    """The bodies of `call`; where it ended without any, that moment."""
    bodies = bodies_of(call, now)
    if not bodies and call.ended is not None:
        bodies = [Body(call, call.ended, call.ended, "", str(call.state))]
    return bodies


def _key(body: Body) -> tuple[str, float]:
    return body.call.id, body.started


def _spent(name: str, body: Body) -> Spent:
    if name == "begun":
        return Spent.DRIVER if body.is_block else Spent.WAITING
    return Spent.BODY if name == "over" and not body.is_block else Spent.DRIVER
