"""The workloads as written for asyncflow and for radical.asyncflow: the same lines serve both."""

import asyncio
import itertools
from contextlib import contextmanager

from contestants._sleeps import Sleeps


@contextmanager
def opened(create, bodies):
    with asyncio.Runner() as runner:
        flow = runner.run(create())
        try:
            yield Engine(runner, flow, bodies)
        finally:
            runner.run(flow.shutdown())


class Engine(Sleeps):
    def __init__(self, runner, flow, bodies):
        self._run = runner.run
        self._noop = flow.function_task(bodies.noop)
        self._step = flow.function_task(bodies.step)
        self._pause = flow.function_task(bodies.sleep)
        self._nap = flow.function_task(bodies.nap)
        self._work = flow.function_task(bodies.work)
        self._zero = flow.function_task(bodies.zero)
        self._one = flow.function_task(bodies.one)
        self._add = flow.function_task(bodies.add)
        self._make = flow.function_task(bodies.make)
        self._hand = flow.function_task(bodies.hand)
        self._weigh = flow.function_task(bodies.weigh)
        self._numbers = itertools.count()  # equal calls would share one kept result

    def fan_out(self, count):
        async def main():
            return len(await asyncio.gather(*[self._noop() for _ in range(count)]))

        return self._run(main())

    def _sleep(self, seconds, count):
        async def main():
            return len(await asyncio.gather(*[self._pause(seconds) for _ in range(count)]))

        return self._run(main())

    def naps(self, count):
        return self._each(self._nap, count)

    def works(self, count):
        return self._each(self._work, count)

    def _each(self, task, count):
        async def main():
            numbers = itertools.islice(self._numbers, count)
            return len(await asyncio.gather(*[task(number) for number in numbers]))

        return self._run(main())

    def chain(self, count):
        async def main():
            future = self._step()
            for _ in range(count - 1):
                future = self._step(future)
            return await future

        return self._run(main())

    def hops(self, count):
        async def main():
            number = 0
            for _ in range(count):
                number = await self._step(number)
            return number

        return self._run(main())

    def pipelines(self, count):
        async def pipeline():
            return await self._add(self._zero(), self._one())

        async def main():
            return sum(await asyncio.gather(*[pipeline() for _ in range(count)]))

        return self._run(main())

    def array(self, size):
        async def main():
            array = self._make(size)
            for _ in range(2):
                array = self._hand(array)
            return await self._weigh(array)

        return self._run(main())
