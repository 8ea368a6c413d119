"""What the suite stands on: an engine for each test, a loop for each test, and looks at what is left behind."""

import asyncio
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from asyncflow.backends.base import ExecutionBackend
from asyncflow.engine import WorkflowEngine
from asyncflow.futures import TaskFuture
from asyncflow.states import TaskState
from asyncflow.testing import bodies

Body = Callable[[Any, WorkflowEngine], Awaitable[None]]


def in_engine(*, runs_bodies: bool | None = True) -> Callable[[Body], Callable[[Any], None]]:
    """A test of one engine on a fresh backend, as a plain function: no plugin of pytest is needed.

    Parameters
    ----------
    runs_bodies : bool or None
        Which backends the test is for; None: for all.
    """

    def decorate(body: Body) -> Callable[[Any], None]:
        def test(self: Any) -> None:
            async def run() -> None:
                async with self.engine() as flow:
                    await body(self, flow)

            self.run(run())

        test.__name__, test.__doc__ = body.__name__, body.__doc__
        test.runs_bodies = runs_bodies  # type: ignore[attr-defined]
        return test

    return decorate


class Harness:
    """Makes backends and engines, and runs tests on loops of their own."""

    runs_bodies: ClassVar[bool] = True
    pickles: ClassVar[bool] = True
    timeout: ClassVar[float] = 60.0

    def __init_subclass__(cls) -> None:
        """Leave out the tests that are for the other sort of backends."""
        super().__init_subclass__()
        if Harness in cls.__bases__:
            return  # the suite itself, of which each backend's own leaves something out
        for name in dir(cls):
            meant_for = getattr(getattr(cls, name), "runs_bodies", None) if name.startswith("test_") else None
            if meant_for is not None and meant_for is not cls.runs_bodies:
                setattr(cls, name, None)

    async def make_backend(self) -> ExecutionBackend:
        """Make a backend, not started, able to run two bodies at once.

        Called once for each engine that a test opens; every attribute set on ``self`` lives as long as one test.
        """
        raise NotImplementedError(f"{type(self).__name__}.make_backend must return a backend")

    async def clean_up(self) -> None:
        """Close what `make_backend` made and the backend does not own; called after each engine."""

    @asynccontextmanager
    async def engine(self, *more: ExecutionBackend) -> AsyncIterator[WorkflowEngine]:
        """An engine on a fresh backend, which is the default, and on `more`."""
        try:
            backend = await self.make_backend()
            async with WorkflowEngine.create(backend=[backend, *more], close_timeout=10.0) as flow:
                yield flow
        finally:
            await self.clean_up()

    def run(self, test: Awaitable[None]) -> None:
        """Run `test` to its end on a loop of its own, at most `timeout` seconds."""

        async def bounded() -> None:
            async with asyncio.timeout(self.timeout):
                await test

        asyncio.run(bounded())


@asynccontextmanager
async def scratch() -> AsyncIterator[str]:
    """A directory for signs of what ran; made and removed off the loop."""
    place = await asyncio.to_thread(tempfile.mkdtemp, prefix="asyncflow-conformance-")
    try:
        yield place
    finally:
        await asyncio.to_thread(shutil.rmtree, place, ignore_errors=True)


@asynccontextmanager
async def gated(flow: WorkflowEngine) -> AsyncIterator[tuple[TaskFuture, str, Callable[[], Awaitable[None]]]]:
    """A call whose body runs, the directory it watches, and what lets it go on and return 5."""
    async with scratch() as place:
        gate, begun = Path(place, "gate"), Path(place, "begun")
        running = flow.function_task(bodies.wait_for)(str(gate), str(begun), 5)
        assert await asyncio.to_thread(comes_true, begun.exists, 30.0), "the body did not begin within 30 s"
        yield running, place, partial(asyncio.to_thread, gate.touch)


async def state_after(call: TaskFuture, state: TaskState) -> TaskState:
    """The state of `call` when it is no longer `state`; looking does not fetch."""
    while (now := call.state) is state:  # noqa: ASYNC110 - a state announces nothing, so that nobody fetches
        await asyncio.sleep(0)
    return now


async def turns() -> None:
    """Let what was called in this turn be handed over."""
    for _ in range(3):
        await asyncio.sleep(0)


def comes_true(fact: Callable[[], bool], timeout: float = 10.0) -> bool:
    deadline = time.monotonic() + timeout
    while not fact():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def processes() -> set[int]:
    """The children of this process, where the system lists them."""
    return {int(pid) for path in Path("/proc/self/task").glob("*/children") for pid in path.read_text().split()}
