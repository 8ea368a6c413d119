"""The same bodies as coroutines, for radical.asyncflow takes no others."""

import bodies


async def noop():
    return bodies.noop()


async def step(number=0):
    return bodies.step(number)


async def sleep(seconds):
    return bodies.sleep(seconds)


async def nap(number):
    return bodies.nap(number)


async def work(number):
    return bodies.work(number)


async def zero():
    return bodies.zero()


async def one():
    return bodies.one()


async def add(left, right):
    return bodies.add(left, right)


async def make(size):
    return bodies.make(size)


async def hand(array):
    return bodies.hand(array)


async def weigh(array):
    return bodies.weigh(array)
