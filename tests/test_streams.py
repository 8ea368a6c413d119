"""Streams of calls: a window of them alive, whatever the number of items."""

import asyncio
import gc
import itertools

import pytest

from gates import until


def square(number):
    """A body."""
    return number * number


def reciprocal(number):
    """A body that fails for zero."""
    return 1 / number


class Counted:
    """Items without end, that know how many were taken."""

    def __init__(self):
        self.taken = 0

    def __iter__(self):
        for number in itertools.count():
            self.taken += 1
            yield number


async def gathered(stream):
    """All results."""
    return [each async for each in stream]


async def test_results_come_as_calls_end(flow):
    """Every item's result comes out once."""
    task = flow.function_task(square)
    assert sorted(await gathered(flow.map(task, range(250), window=20))) == [n * n for n in range(250)]


async def test_results_come_in_order_where_asked(flow):
    """With ``ordered=True`` results come in the order of the items."""

    @flow.function_task
    async def late(number):
        await asyncio.sleep(0.02 if number % 7 == 0 else 0)
        return number

    assert await gathered(flow.map(late, range(60), window=8, ordered=True)) == list(range(60))


async def test_items_may_come_asynchronously(flow):
    """Items of an async generator are taken as they come, while results are handed out."""
    task, came = flow.function_task(square), asyncio.Queue()

    async def items():
        while (item := await came.get()) is not None:
            yield item

    stream = flow.map(task, items())
    came.put_nowait(3)
    assert await anext(stream) == 9
    came.put_nowait(4)
    assert await anext(stream) == 16
    came.put_nowait(None)
    assert await gathered(stream) == []


async def test_no_more_calls_are_alive_than_the_window_holds(flow):
    """Of an endless generator only as many items are taken as the window has room for."""
    task, items = flow.function_task(square), Counted()
    async with flow.map(task, items, window=5) as stream:
        for handed_out in range(1, 40):
            await anext(stream)
            assert items.taken <= handed_out + 5
    assert flow._dispatch.ledger.unfinished() == []


async def test_an_error_ends_the_stream_and_cancels_the_rest(flow):
    """By default the first error is raised where the stream is iterated, and what is alive is cancelled."""
    task, items = flow.function_task(reciprocal), Counted()
    with pytest.raises(ZeroDivisionError):
        await gathered(flow.map(task, items, window=10))
    await until(lambda: not flow._dispatch.ledger.unfinished())


async def test_errors_are_handed_out_or_left_out_where_asked(flow):
    """``on_error`` decides, item by item, whether an error is handed out in place of a result, or left out."""
    task = flow.function_task(reciprocal)
    handed = await gathered(flow.map(task, [1, 0, 2], ordered=True, on_error="yield"))
    assert handed[::2] == [1.0, 0.5]
    assert isinstance(handed[1], ZeroDivisionError)
    assert sorted(await gathered(flow.map(task, [1, 0, 2, 0], on_error="skip"))) == [0.5, 1.0]


async def test_leaving_the_loop_cancels_what_is_alive(flow):
    """Calls of a stream that nobody iterates any more are cancelled."""

    @flow.function_task
    async def wait(number):
        if number:
            await asyncio.Event().wait()
        return number

    async for first in flow.map(wait, range(20), window=4):
        assert first == 0
        break
    gc.collect()
    await until(lambda: not flow._dispatch.ledger.unfinished())


async def test_an_async_generator_is_closed_with_its_stream(flow):
    """A generator of items that is not exhausted is closed when the stream is."""
    closed = []

    async def items():
        try:
            for number in itertools.count():
                yield number
        finally:
            closed.append(True)

    async with flow.map(flow.function_task(square), items(), window=3) as stream:
        await anext(stream)
    assert closed == [True]


async def test_an_error_of_the_items_comes_out(flow):
    """What the iterable itself raises ends the stream."""

    def items():
        yield 1
        raise OSError("no more")

    stream = flow.map(flow.function_task(square), items(), window=1)
    assert await anext(stream) == 1
    with pytest.raises(OSError, match="no more"):
        await anext(stream)


async def test_blocks_and_futures_stream_too(flow):
    """What is mapped may be a block, and items may be futures."""
    task = flow.function_task(square)

    @flow.block
    async def twice(number):
        return await task(await task(number))

    assert sorted(await gathered(flow.map(twice, range(4)))) == [0, 1, 16, 81]
    assert sorted(await gathered(flow.map(task, (task(n) for n in range(4)), window=2))) == [0, 1, 16, 81]


@pytest.mark.parametrize(
    ("given", "error"),
    [({"window": 0}, "window must be at least 1"), ({"on_error": "ignore"}, "'raise', 'yield' or 'skip'")],
)
async def test_what_makes_no_stream_is_refused(thread_flow, given, error):
    """Impossible windows and words are refused where they are written."""
    with pytest.raises(ValueError, match=error):
        thread_flow.map(thread_flow.function_task(square), [1], **given)
    with pytest.raises(TypeError, match="takes an iterable"):
        thread_flow.map(thread_flow.function_task(square), 5)
