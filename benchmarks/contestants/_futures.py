"""The workloads as written for libraries whose futures block: `distributed` and Parsl."""

import bodies

from contestants._sleeps import Sleeps


class Futures(Sleeps):
    """`call(body, *args)` returns a future, which has `result()`; `gather(futures)` returns the list of values."""

    def __init__(self, call, gather):
        self._call = call
        self._gather = gather

    def fan_out(self, count):
        return len(self._gather([self._call(bodies.noop) for _ in range(count)]))

    def _sleep(self, seconds, count):
        return len(self._gather([self._call(bodies.sleep, seconds) for _ in range(count)]))

    def chain(self, count):
        future = self._call(bodies.step)
        for _ in range(count - 1):
            future = self._call(bodies.step, future)
        return future.result()

    def hops(self, count):
        number = 0
        for _ in range(count):
            number = self._call(bodies.step, number).result()
        return number

    def pipelines(self, count):
        call = self._call
        return sum(self._gather([call(bodies.add, call(bodies.zero), call(bodies.one)) for _ in range(count)]))

    def array(self, size):
        array = self._call(bodies.make, size)
        for _ in range(2):
            array = self._call(bodies.hand, array)
        return self._call(bodies.weigh, array).result()
