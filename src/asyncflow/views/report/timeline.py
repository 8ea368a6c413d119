"""What ran when: the bodies of all calls, one for each attempt, and since when each call could have run."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from asyncflow.runs.facts import Call, CallState
from asyncflow.runs.history import History

BLOCK = "block"


class Body(NamedTuple):
    """One attempt of one call.

    Attributes
    ----------
    call : Call
        Whose it is.
    started, ended : float
        Seconds since the epoch; of one that runs, `ended` is the time of the last line of the journal.
    worker : str
        Where; empty on the driver.
    how : str
        What it came to: a `CallState`, or that of its `Attempt`.
    """

    call: Call
    started: float
    ended: float
    worker: str
    how: str

    @property
    def seconds(self) -> float:
        """How long it took."""
        return self.ended - self.started

    @property
    def is_block(self) -> bool:
        """Whether it is code on the driver, which waits for what it calls."""
        return self.call.task_type == BLOCK

    @property
    def cores(self) -> int:
        """How many of its worker it was given."""
        return int(self.call.needs.get("cores", 1))


@dataclass(frozen=True)
class Timeline:
    """The bodies of a history, in the order in which they began.

    Attributes
    ----------
    calls : list of Call
        All, in the order in which they were called.
    bodies : list of Body
        Without those of blocks.
    blocks : list of Body
        Those.
    began, ended : float
        When the first call, worker or session did; the time of the last line.
    ready : mapping of str to float
        By id, when all that the call depends on had ended, or when it was called, if that was later.
    """

    calls: list[Call]
    bodies: list[Body]
    blocks: list[Body]
    began: float
    ended: float
    ready: Mapping[str, float]

    @property
    def seconds(self) -> float:
        """From its beginning to its end."""
        return self.ended - self.began

    def waited(self, call: Call) -> float | None:
        """Seconds between the end of what `call` depends on, or the call, and its first body; None without a body."""
        started = first_start(call)
        return None if started is None else max(0.0, started - self.ready[call.id])


def timeline(history: History) -> Timeline:
    """Of all calls of `history`."""
    calls = list(history.calls.values())
    bodies = sorted((body for call in calls for body in bodies_of(call, history.last)), key=lambda body: body.started)
    joined = [worker.joined for worker in history.workers.values()]
    begun = [] if history.began is None else [history.began]
    began = min([*begun, *joined, *(call.created for call in calls)], default=history.last)
    return Timeline(
        calls,
        [body for body in bodies if not body.is_block],
        [body for body in bodies if body.is_block],
        began,
        max([history.last, *(body.ended for body in bodies)], default=began),
        {call.id: _ready(call, history) for call in calls},
    )


def bodies_of(call: Call, now: float) -> list[Body]:
    """Of the attempts of `call` that began."""
    tried = [
        Body(call, attempt.started, max(attempt.started, attempt.ended), attempt.worker, attempt.how)
        for attempt in call.attempts
        if attempt.started is not None
    ]
    if call.started is not None and call.state is not CallState.WAITING:
        ended = now if call.ended is None else call.ended
        tried.append(Body(call, call.started, max(call.started, ended), call.worker, str(call.state)))
    return tried


def first_start(call: Call) -> float | None:
    """When the first body of `call` began."""
    starts = [attempt.started for attempt in call.attempts if attempt.started is not None]
    return starts[0] if starts else call.started


def _ready(call: Call, history: History) -> float:
    ends = [needed.ended for each in call.depends_on if (needed := history.call(each)) is not None and needed.ended]
    return max([call.created, *ends])
