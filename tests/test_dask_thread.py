"""Dask's own thread: what runs on it ends in order when it does."""

import asyncio

from asyncflow.backends.dask.thread import DaskThread


def test_what_was_cancelled_tidies_up_before_the_thread_ends():
    """A coroutine that was cancelled just before the thread stops is not broken off in what it takes back."""
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
        task.cancel()

    thread.run(begin()).result(10)
    thread.stop()
    assert thread.join(10)
    assert said == list(range(20))


def test_what_still_runs_when_the_thread_ends_is_cancelled_once():
    """A coroutine nobody cancelled is cancelled by the end of the thread, and may tidy up as well."""
    thread, said = DaskThread(), []

    async def careful(begun):
        try:
            begun.set_result(None)
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await asyncio.sleep(0.01)
            said.append("tidied up")
            raise

    async def begin():
        begun = asyncio.get_running_loop().create_future()
        thread.start_task(careful(begun))
        await begun

    thread.run(begin()).result(10)
    thread.stop()
    assert thread.join(10)
    assert said == ["tidied up"]
