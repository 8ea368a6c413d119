"""Dask's own event loop, on a thread of its own: a driver that blocks its loop delays nothing here."""

import asyncio
import concurrent.futures
import threading
from collections.abc import Callable, Coroutine
from typing import Any

#: Seconds that what is cancelled when the loop ends has to take back what it began: a killed program to be awaited.
_TIDY = 5.0


class DaskThread:
    """A thread that runs one event loop until it is stopped."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()  # calls may be queued before the thread has begun to run them
        self._stop = asyncio.Event()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._thread = threading.Thread(target=self._run, name="asyncflow-dask", daemon=True)
        self._thread.start()

    @property
    def is_current(self) -> bool:
        """Whether the caller is on this thread."""
        return threading.current_thread() is self._thread

    def call(self, function: Callable[..., object], *args: Any) -> None:
        """Call `function` on the loop, soon, in the order of these calls; nothing after `stop`."""
        try:
            self._loop.call_soon_threadsafe(function, *args)
        except RuntimeError:  # closed: nobody waits for an answer any more
            if self._thread.is_alive():
                raise

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> "concurrent.futures.Future[Any]":
        """Run `coroutine` on the loop; its outcome for any thread."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop)

    def start_task(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """From the loop itself: run `coroutine` beside what is running, keeping hold of it."""
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def stop(self) -> None:
        """End the loop, cancelling what still runs on it; returns at once."""
        self.call(self._stop.set)

    def join(self, timeout: float) -> bool:
        """Wait for the thread's end; whether it came."""
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._main())

    async def _main(self) -> None:
        await self._stop.wait()
        # The runner cancels all that is left, and would break off what is tidying up after a first cancellation.
        if left := asyncio.all_tasks() - {asyncio.current_task()}:
            for task in left:
                if not task.cancelling():
                    task.cancel()
            await asyncio.wait(left, timeout=_TIDY)
