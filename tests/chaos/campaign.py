"""A graph on an engine: every step is called, and what came of each is kept."""

import asyncio
import random

from asyncflow.states import FINAL
from chaos import bodies
from chaos.dag import Deed, Kind

#: More than the faults of one seed: whoever is not to blame for his losses must end well.
_PATIENCE = 50

_ENOUGH = 150 << 20  # bytes of memory for an isolated function

_BATCH = 40  # calls made in one turn of the loop, at most
_EAGER = 0.6  # of the calls are awaited from the beginning; values of the others stay on workers


class Campaign:
    """One graph on one engine.

    Attributes
    ----------
    futures : dict
        The futures of all calls made so far, by step.
    """

    def __init__(self, flow, dag, notes, gluttony):
        self.futures = {}
        self._flow = flow
        self._dag = dag
        self._notes = str(notes)
        self._gluttony = gluttony
        self._chance = random.Random(f"campaign {dag.seed}")
        self._tasks = {
            Kind.FUNCTION: flow.function_task(bodies.function),
            Kind.COROUTINE: flow.function_task(bodies.coroutine),
            Kind.ISOLATED: flow.function_task(isolate="process")(bodies.function),
            Kind.COMMAND: flow.executable_task(bodies.command),
        }

    async def run(self):
        """Call everything and wait until it has ended; most values are fetched after that only."""
        numbers = list(self._dag.top)
        while numbers:
            count = self._chance.randint(1, _BATCH)
            for number in numbers[:count]:
                self._call(self._dag.steps[number], self.futures)
            del numbers[:count]
            await asyncio.sleep(0)
        while any(map(self.is_unfinished, self.futures)):  # and not `drain`: other calls go on meanwhile
            await asyncio.sleep(0.05)

    async def fetch(self):
        """The value or the error of each call, by step."""
        await asyncio.wait(self.futures.values())
        return {number: future.exception() or future.result() for number, future in self.futures.items()}

    def is_unfinished(self, number):
        """Whether a step was called and has not ended."""
        return number in self.futures and self.futures[number].state not in FINAL

    def unfinished(self):
        """Names and states of the calls that have not ended, or whose values did not come, for whoever looks why."""
        calls = [(number, future) for number, future in sorted(self.futures.items()) if not future.done()]
        worst = [each for each in calls if each[1].state not in FINAL] or calls
        return [f"{self._dag.steps[number].name} {future.state}" for number, future in worst]

    def _call(self, step, sources):
        inputs = [sources[number] for number in step.inputs]
        after = [sources[number] for number in step.after if asyncio.isfuture(sources[number])]
        if step.kind is Kind.BLOCK:
            future = self._block(step, after)(*inputs)
        else:
            task = self._tasks[step.kind].options(name=step.name, after=after, **_options(step))
            future = task(self._order(step), *inputs)
        self.futures[step.number] = future
        if self._chance.random() < _EAGER:
            future.add_done_callback(_is_wanted)
        return future

    def _block(self, step, after):
        async def block(*values):
            known = dict(zip(step.inputs, values, strict=True))
            for number in step.members:
                known[number] = self._call(self._dag.steps[number], known)
            return bodies.mix(step.number, [await known[number] for number in step.members])

        return self._flow.block(name=step.name, after=after)(block)

    def _order(self, step):
        return bodies.Order(
            step.number, step.kind, step.deed, step.pause, step.times, step.code, self._notes, self._gluttony
        )


def _is_wanted(future):
    """Interest in a value, which brings it to the driver."""


def _options(step):
    options = {"retries": _PATIENCE * 10, "retry_delay": 0.05, "retry_backoff": 1, "retry_on": bodies.is_passing}
    options["lost_retries"] = 1 if step.deed in {Deed.FATAL, Deed.EATS_ALL} else _PATIENCE
    if step.deed is Deed.RAISES:
        options["retries"] = 1
    elif step.deed is Deed.FILLS:
        options["retries"] = 0
    elif step.deed is Deed.LATE:
        options["timeout"] = step.timeout
    elif step.deed is Deed.EATS:
        options["memory"] = _ENOUGH
    return options
