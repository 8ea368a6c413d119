"""Dask's own thread: what runs on it ends in order when it does."""

import asyncio

import pytest

from asyncflow.backends.dask.thread import DaskThread


@pytest.mark.parametrize("is_cancelled", [True, False], ids=["cancelled before", "cancelled by the end"])
def test_what_is_cancelled_tidies_up_before_the_thread_ends(is_cancelled):
    """A coroutine that was cancelled just before the thread stops, or is by that, comes to the end of what it does."""
    thread, said = DaskThread(), []

    async def careful(begun):
        try:
            begun.set_result(None)
            await asyncio.Event().wait()
        finally:
            for lap in range(20):
                await asyncio.sleep(0.001)
                said.append(lap)

    async def begin():
        begun = asyncio.get_running_loop().create_future()
        task = thread.start_task(careful(begun))
        await begun
        if is_cancelled:
            task.cancel()

    thread.run(begin()).result(10)
    thread.stop()
    assert thread.join(10)
    assert said == list(range(20))
