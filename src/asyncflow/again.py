"""Calls sent to their backends; some again, under new keys, with everything that hangs on them.

Dask ends the dependents of a call that failed at once, so another attempt that the driver decides on (with other
options, or because a kept result turned out to be damaged) cannot have the same key.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from functools import partial
from random import Random
from typing import Any

from asyncflow.accounts import about, took
from asyncflow.attempts import delay_before, worth_another
from asyncflow.batch import Batch
from asyncflow.endings import Endings, by_backend
from asyncflow.errors import CorruptResultError, RefusedError, with_cause
from asyncflow.events import TaskCorrupt, TaskLost, TaskResent, TaskRetried
from asyncflow.failures import told
from asyncflow.flight import Flight
from asyncflow.ledger import Ledger
from asyncflow.node import Node
from asyncflow.options import TaskOptions, parse_options
from asyncflow.pickles import FunctionPickle
from asyncflow.states import TaskState
from asyncflow.waiting import Background

#: Events that tell why a call is sent again.
_Why = type[TaskCorrupt] | type[TaskLost] | type[TaskResent] | type[TaskRetried]


class Again:
    """Sends calls, decides which of those that failed are sent again, and does that.

    Parameters
    ----------
    ledger, endings, flight, batch
        The parts of the engine's dispatch.
    source : callable
        From an upstream call to the one that has its value: another one where the value was kept by an earlier run.
    recognise : callable
        Raises where a call is not any more what its kept result was made by.
    """

    def __init__(
        self,
        ledger: Ledger,
        endings: Endings,
        flight: Flight,
        batch: Batch,
        source: Callable[[Node], Node],
        recognise: Callable[[Node], Awaitable[None]],
    ) -> None:
        self._ledger = ledger
        self._endings = endings
        self._flight = flight
        self._batch = batch
        self._source = source
        self._recognise = recognise
        self._background = Background()
        self._random = Random()  # noqa: S311 - spreads attempts over time
        self._lost: dict[asyncio.AbstractEventLoop, dict[Node, str]] = {}  # to be sent anew, with their keys

    def send(self, node: Node, *, is_new: bool = True) -> None:
        """Hand `node` over at the end of the turn, behind what it depends on; not where it has ended.

        Parameters
        ----------
        is_new : bool
            Whether its arguments are still to be made ready for its backend.
        """
        if node.is_final:
            return
        for each in node.upstream:
            if not (each.is_ready or each.is_final):  # it is being sent again itself
                each.resolved.append(lambda: self.send(node, is_new=is_new))
                return
        try:
            if is_new:
                node.backend.prepare(node)
            else:
                node.backend.prepare_again(node)
        except Exception as error:
            self._endings.fail(node, error)
        else:
            node.is_ready = True
            self._batch.call(node)
            node.resolve()  # dependents that wait for it go behind it

    def take(self, node: Node, error: BaseException, *, is_lost: bool) -> bool:
        """Whether `node`, which failed with `error`, is sent again.

        Parameters
        ----------
        is_lost : bool
            Whether it was lost with its workers, and nothing but this counts how often.
        """
        if node.fallback is not None and isinstance(error, CorruptResultError):
            self._background.start(self._recompute(node, error))
        elif is_lost and node.lost_before < node.options.lost_retries:
            node.lost_before += 1
            self._renew([node], TaskLost, {"error": told(error)}, 0.0)
        elif may_ask_for_more(node, error):
            self._ask_for_more(node, error)
        else:
            return False
        return True

    def send_anew(self, node: Node, losses: int) -> None:
        """It was lost along with others, with no fault of its own; `losses` workers were lost under it.

        Those of one turn are renewed together, as the same calls may be behind many of them.
        """
        node.lost_before += losses
        if node.loop.is_closed():  # nobody can await it
            return
        lost = self._lost.setdefault(node.loop, {})
        if not lost:
            node.loop.call_soon(self._renew_lost, node.loop)
        lost[node] = node.key

    def _renew_lost(self, loop: asyncio.AbstractEventLoop) -> None:
        lost = self._lost.pop(loop)
        if still := [node for node, key in lost.items() if node.key == key and node in self._flight]:
            self._renew(still, TaskResent, {}, 0.0)

    async def _recompute(self, node: Node, error: CorruptResultError) -> None:
        """What was to be read has to be made: by the call that was not made for it."""
        assert node.fallback is not None
        assert node.ticket is not None
        (node.args, node.kwargs, node.upstream), node.fallback = node.fallback, None
        try:
            await self._recognise(node)
        except Exception as problem:
            self._endings.fail(node, with_cause(problem, error))
            return
        if node.is_final:
            return
        upstream, node.upstream = node.upstream, []
        node.ticket = node.ticket._replace(only_read=False)
        if self._endings.depend(node, [self._source(each) for each in upstream]):
            self._renew([node], TaskCorrupt, {"error": str(error)}, 0.0, is_new=True)

    def _ask_for_more(self, node: Node, error: BaseException) -> None:
        try:
            options = next_options(node.options, error, node.failed_before + 1)
            if reason := node.backend.refusal(options):
                text = (
                    f"the next attempt of task {node.name!r} can never run: it {reason}; change what retry_with gives"
                )
                raise RefusedError(text, reason)
        except Exception as problem:
            self._endings.fail(node, with_cause(problem, error))
            return
        changed = {name: getattr(options, name) for name in options.model_fields_set}
        asked = {name: value for name, value in changed.items() if value != getattr(node.options, name)}
        node.options = options
        node.recipe = recipe = node.recipe.with_options(options)
        node.pickle = FunctionPickle(recipe.function, lambda: recipe)
        node.failed_before += 1
        facts = {"error": told(error), "attempt": node.failed_before, "asked": {k: str(v) for k, v in asked.items()}}
        self._renew([node], TaskRetried, facts, delay_before(node.failed_before, recipe, self._random))

    def _renew(
        self, nodes: Sequence[Node], kind: _Why, facts: Mapping[str, Any], delay: float, *, is_new: bool = False
    ) -> None:
        """Take back `nodes` and what is behind them, and send all of it under new keys."""
        everything = self._with_behind(nodes)
        for backend, group in by_backend(reversed(everything)).items():
            backend.cancel(group)
        self._flight.withdraw({each.key for each in everything})
        old = [each.key for each in everything]
        for each in everything:
            self._flight.landed(each)
            self._ledger.rename(each)
            each.is_ready, each.state = False, TaskState.PENDING
        if self._ledger.events.is_heard:
            self._tell_renewed(everything, old, kind, facts)
            for each in nodes:
                each.begun, each.measure = 0.0, None
        first = set(nodes)
        for each in everything:  # what is behind others waits for them
            send = partial(self.send, each, is_new=is_new and each in first)
            if delay and each in first:
                each.loop.call_later(delay, send)
            else:
                send()

    def _tell_renewed(self, nodes: list[Node], old: list[str], kind: _Why, facts: Mapping[str, Any]) -> None:
        first, events = nodes[0], self._ledger.events
        more = dict(facts)
        if kind is TaskRetried:
            self._ledger.accounts.tell_started(first, first.measure, old[0])
            more |= took(first.measure)
            if first.measure is not None:
                more["time"] = first.measure.stopped
        events.tell(kind(**{**about(first), "id": old[0]}, again=first.key, **more))
        for node, key in zip(nodes[1:], old[1:], strict=True):
            events.tell(TaskResent(**{**about(node), "id": key}, again=node.key))

    @staticmethod
    def _with_behind(nodes: Iterable[Node]) -> list[Node]:
        """`nodes` and unfinished calls that their backends were sent with an edge to them, at any depth, in order."""
        found = {node.number: node for node in nodes}
        stack = list(found.values())
        while stack:
            node = stack.pop()
            for each in node.dependents:
                if each.is_ready and not each.is_final and each.backend is node.backend and each.number not in found:
                    found[each.number] = each
                    stack.append(each)
        return [found[number] for number in sorted(found)]


def may_ask_for_more(node: Node, error: BaseException) -> bool:
    """Whether the driver grants `node` another attempt, with other options."""
    options = node.options
    if options.retry_with is None or node.failed_before >= max(options.retries, 1):
        return False
    return worth_another(error, options.retry_on)


def next_options(options: TaskOptions, error: BaseException, failed: int) -> TaskOptions:
    """What the attempt after `failed` failed ones asks for.

    Raises
    ------
    OptionError
        When ``retry_with`` asks for what is no option.
    Exception
        Whatever the user's function raises.
    """
    asked = options.retry_with
    given = asked(error, failed) if callable(asked) else asked
    return parse_options(dict(given or {}), "command", options)
