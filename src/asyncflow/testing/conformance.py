"""The contract of a backend as tests, for backends of this package and of others."""

import asyncio
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from asyncflow.backends.executor import ConcurrentExecutionBackend
from asyncflow.engine import WorkflowEngine
from asyncflow.errors import (
    BackendNameError,
    CommandError,
    DependencyFailureError,
    EngineClosedError,
    ProcessDiedError,
    RefusedError,
    SerializationError,
    TaskExitError,
)
from asyncflow.options import TaskOptions
from asyncflow.states import TaskState
from asyncflow.testing import bodies
from asyncflow.testing.harness import Harness, comes_true, gated, in_engine, processes, scratch, state_after, turns


class BackendConformance(Harness):
    """A suite that every backend passes; subclass it, say how a backend is made, and run pytest.

    Values, dependencies, failures, cancelling, commands, prompts, refusals, states and closing are tested through
    `WorkflowEngine`, as users see them. Nothing is skipped: tests that do not apply are not collected. Give the backend
    two workers at least, beside those that only wait for inputs: some tests hold one while they look at another.

    Attributes
    ----------
    runs_bodies : bool
        False for a backend that answers calls without running them: its own semantics are tested instead.
    pickles : bool
        Whether functions and arguments travel as bytes, so that what cannot be pickled fails its call. False where
        bodies get the very objects.
    timeout : float
        Seconds that one test may take.

    Examples
    --------
    ::

        from asyncflow.testing import BackendConformance

        class TestMyBackend(BackendConformance):
            async def make_backend(self):
                self.pool = MyPool(workers=2)
                return MyBackend(self.pool)

            async def clean_up(self):
                self.pool.close()
    """

    # Values

    @in_engine()
    async def test_a_function_gives_its_value(self, flow: WorkflowEngine) -> None:
        """A plain function runs and its return value is the result."""
        assert await flow.function_task(bodies.add)(1, 2) == 3

    @in_engine()
    async def test_a_coroutine_function_gives_its_value(self, flow: WorkflowEngine) -> None:
        """An ``async def`` body is run to its end."""
        assert await flow.function_task(bodies.add_async)(1, 2) == 3

    @in_engine()
    async def test_a_local_function_gives_its_value(self, flow: WorkflowEngine) -> None:
        """A function defined inside another one, with what it closes over, runs too."""
        factor = 6

        @flow.function_task
        def times(number: int) -> int:
            return factor * number

        assert await times(7) == 42

    @in_engine()
    async def test_equal_calls_run_each(self, flow: WorkflowEngine) -> None:
        """Equal calls are calls of their own, with ids of their own."""
        stamp = flow.function_task(time.monotonic_ns)
        calls = [stamp() for _ in range(5)]
        assert len({call.id for call in calls}) == 5
        assert len(set(await asyncio.gather(*calls))) == 5

    @in_engine()
    async def test_dependencies_arrive_as_values_in_any_place(self, flow: WorkflowEngine) -> None:
        """A future among the arguments, however deep, arrives as its value."""
        add, shape = flow.function_task(bodies.add), flow.function_task(bodies.shape)
        one, two = add(1), flow.function_task(bodies.add_async)(2)
        args, kwargs = await shape(one, [two, (one,)], {"key": two}, word=one, deep={"list": [two]})
        assert args == (1, [2, (1,)], {"key": 2})
        assert kwargs == {"word": 1, "deep": {"list": [2]}}

    @in_engine()
    async def test_a_chain(self, flow: WorkflowEngine) -> None:
        """Each call of a chain gets the value of the one before, without anybody awaiting in between."""
        add = flow.function_task(bodies.add)
        value = add(0)
        for _ in range(30):
            value = add(value, 1)
        assert await value == 30

    @in_engine()
    async def test_a_diamond(self, flow: WorkflowEngine) -> None:
        """Two calls share one dependency, and a third depends on both, also in a later turn of the loop."""
        add = flow.function_task(bodies.add)
        top = add(1)
        left, right = add(top, 1), add(top, 2)
        assert await add(left, right) == 5
        assert await add(left, right, top) == 6

    @in_engine()
    async def test_after_orders_without_passing(self, flow: WorkflowEngine) -> None:
        """A call with ``after=`` begins when those calls have finished."""
        async with scratch() as place:
            first = flow.function_task(bodies.touch)(f"{place}/first")
            assert await flow.function_task(os.path.exists).options(after=[first])(f"{place}/first")

    def test_values_cross_from_and_to_another_backend(self) -> None:
        """A dependency may be a call of another backend, in both directions."""

        async def test() -> None:
            with ThreadPoolExecutor(1) as pool:
                other = ConcurrentExecutionBackend(pool, name="conformance-other")
                async with self.engine(other) as flow:
                    here = flow.function_task(bodies.shape)
                    there = here.options(backend="conformance-other")
                    value = await here(there(1))
                    assert await there(here(there(1))) == ((value,), {})
                    if self.runs_bodies:
                        assert value == ((((1,), {}),), {})

        self.run(test())

    # Failures

    @in_engine()
    async def test_an_error_comes_out_as_it_went_in(self, flow: WorkflowEngine) -> None:
        """What a body raises is what awaiting raises, with its facts, and the call is FAILED."""
        call = flow.function_task(bodies.fail)()
        with pytest.raises(bodies.BodyError) as caught:
            await call
        assert (caught.value.text, caught.value.number) == ("no luck", 7)
        assert call.state is TaskState.FAILED

    @in_engine()
    async def test_what_no_future_can_carry_is_wrapped(self, flow: WorkflowEngine) -> None:
        """A body that exits fails its call, and nothing else ends."""
        with pytest.raises(TaskExitError) as caught:
            await flow.function_task(bodies.leave)()
        assert isinstance(caught.value.__cause__, SystemExit)
        assert await flow.function_task(bodies.add)(1) == 1

    @in_engine()
    async def test_dependents_are_told_the_way_to_the_cause(self, flow: WorkflowEngine) -> None:
        """All that depends on a failed call fails with the names in between and the cause."""
        add = flow.function_task(bodies.add)
        middle = add.options(name="middle")(flow.function_task(bodies.fail)())
        with pytest.raises(DependencyFailureError, match="last <- middle <- fail") as caught:
            await add.options(name="last")(middle)
        assert caught.value.failed_dependencies == ["middle", "fail"]
        assert isinstance(caught.value.root_cause, bodies.BodyError)

    @in_engine()
    async def test_independent_calls_are_untouched_by_a_failure(self, flow: WorkflowEngine) -> None:
        """Calls of the same turn that do not depend on a failed one come to their values."""
        add, fail = flow.function_task(bodies.add), flow.function_task(bodies.fail)
        before, bad, after = add(1), fail(), add(2)
        assert list(await asyncio.gather(add(before, 1), add(after, 1))) == [2, 3]
        with pytest.raises(bodies.BodyError):
            await bad

    @in_engine()
    async def test_what_cannot_be_pickled_fails_its_call_only(self, flow: WorkflowEngine) -> None:
        """An argument that cannot travel is named by its own call's error; where nothing travels, it arrives."""
        kind = flow.function_task(bodies.shape)
        good, bad = kind(1), kind(lock=threading.Lock())
        assert await good == ((1,), {})
        if self.pickles:
            with pytest.raises(SerializationError, match="lock"):
                await bad
        else:
            assert "lock" in (await bad)[1]

    # Cancelling

    @in_engine()
    async def test_a_cancelled_call_never_starts_nor_do_its_dependents(self, flow: WorkflowEngine) -> None:
        """Cancelling a pending call cancels what depends on it, and leaves what it depends on alone."""
        async with gated(flow) as (running, place, open_gate):
            touch = flow.function_task(bodies.touch)
            second = touch(f"{place}/second", running)
            third = touch(f"{place}/third", second)
            bystander = flow.function_task(bodies.add)(running, 1)
            await turns()
            assert second.cancel()
            assert (second.state, third.state) == (TaskState.CANCELLED, TaskState.CANCELLED)
            # A backend far away hears of it a little later; what is asked afterwards is answered afterwards.
            assert await flow.function_task(bodies.add)(1) == 1
            await open_gate()
            assert await bystander == 6
            await flow.drain()
            assert not [name for name in await asyncio.to_thread(os.listdir, place) if name in {"second", "third"}]
            assert third.cancelled()

    @in_engine()
    async def test_a_cancelled_running_call_frees_who_waits_for_it(self, flow: WorkflowEngine) -> None:
        """Cancelling a call whose body runs ends the waiting at once, and other calls run."""
        async with gated(flow) as (running, _, open_gate):
            assert running.cancel()
            with pytest.raises(asyncio.CancelledError):
                await running
            assert await flow.function_task(bodies.add)(1) == 1
            await open_gate()

    # Commands and prompts

    @in_engine()
    async def test_a_command_gives_its_output_as_text(self, flow: WorkflowEngine) -> None:
        """The body of an executable task sees its inputs' values; the command's output is the result."""
        word = flow.function_task(bodies.add)(40, 2)
        assert await flow.executable_task(bodies.say)("the answer is", word) == "the answer is 42\n"

    @in_engine()
    async def test_a_failing_command_fails_its_call(self, flow: WorkflowEngine) -> None:
        """Exit status and standard error are in the error; other commands are untouched."""
        bad, good = flow.executable_task(bodies.exit_with)(3), flow.executable_task(bodies.say)("fine")
        with pytest.raises(CommandError) as caught:
            await bad
        assert (caught.value.returncode, caught.value.stderr) == (3, "wrong way")
        assert await good == "fine\n"

    @in_engine(runs_bodies=None)
    async def test_prompts_are_served_or_declined(self, flow: WorkflowEngine) -> None:
        """A prompt is answered with something, or its call fails with NotImplementedError and says what to do."""
        answer = flow.prompt_task(bodies.ask)("why?")
        if flow.backend.serves_prompts:
            assert await answer is not None
        else:
            with pytest.raises(NotImplementedError, match="does not serve prompts"):
                await answer

    @in_engine()
    async def test_an_isolated_function_has_a_process_of_its_own(self, flow: WorkflowEngine) -> None:
        """Each call with ``isolate="process"`` has another process; one that dies fails its call, and no other."""
        own = flow.function_task(isolate="process")(os.getpid)
        dying = flow.function_task(isolate="process")(os._exit)(3)
        assert len({os.getpid(), *await asyncio.gather(own(), own())}) == 3
        with pytest.raises(ProcessDiedError, match="exited with 3"):
            await dying

    # Options and states

    @in_engine(runs_bodies=None)
    async def test_what_can_never_run_is_refused_at_the_call(self, flow: WorkflowEngine) -> None:
        """A reason not to run a task is raised where the task is called; a task that asks for nothing has none."""
        assert flow.backend.refusal(TaskOptions()) is None
        reason = flow.backend.refusal(TaskOptions(resources={"conformance-unknown": 1}))
        if reason is not None:
            with pytest.raises(RefusedError, match="conformance-unknown") as caught:
                flow.function_task(bodies.add).options(resources={"conformance-unknown": 1})(1)
            assert caught.value.reason == reason

    @in_engine()
    async def test_states_only_go_forward(self, flow: WorkflowEngine) -> None:
        """A call is PENDING when it is made, RUNNING while its body runs, then final, and never goes back."""
        async with gated(flow) as (running, _, open_gate):
            behind = flow.function_task(bodies.add)(running, 1)
            assert behind.state is TaskState.PENDING
            seen = [await state_after(running, TaskState.PENDING)]  # the worker's message may lag behind the body
            await open_gate()
            seen.extend([await state_after(running, TaskState.RUNNING), running.state])
            assert await behind == 6
            seen.append(running.state)
            assert seen == [TaskState.RUNNING, *[TaskState.DONE] * 3]
            assert await running == 5

    # Life cycle

    def test_it_starts_once_and_closes_twice(self) -> None:
        """Awaiting a backend starts it, awaiting it again does nothing; closing it again does nothing."""

        async def test() -> None:
            try:
                async with await self.make_backend() as backend:
                    assert await backend is backend
                    assert backend.name
                    assert isinstance(backend.name, str)
                await backend.close()
            finally:
                await self.clean_up()

        self.run(test())

    @in_engine(runs_bodies=None)
    async def test_its_name_is_its_own(self, flow: WorkflowEngine) -> None:
        """Two backends of one name are refused; the name routes calls to it."""
        with pytest.raises(BackendNameError, match=flow.backend.name):
            await WorkflowEngine.create(backend=[flow.backend, flow.backend])
        await flow.function_task(bodies.add).options(backend=flow.backend.name)(1)

    @in_engine(runs_bodies=None)
    async def test_draining_waits_for_all_and_can_be_repeated(self, flow: WorkflowEngine) -> None:
        """After `drain` no call is unfinished, and the engine takes more."""
        add = flow.function_task(bodies.add)
        calls = [add(number) for number in range(10)]
        await asyncio.gather(flow.drain(), flow.drain())
        assert {call.state for call in calls} == {TaskState.DONE}
        await flow.drain()
        await add(1)

    @in_engine()
    async def test_shutdown_cancels_and_can_be_repeated(self, flow: WorkflowEngine) -> None:
        """Shutting down cancels what is unfinished; again, or twice at once, does nothing more."""
        async with gated(flow) as (running, _, open_gate):
            behind = flow.function_task(bodies.add)(running)
            await turns()
            closing = [asyncio.ensure_future(flow.shutdown()) for _ in range(2)]
            await asyncio.wait([running, behind])
            await open_gate()  # a body in a thread cannot be stopped, and closing may wait for it
            await asyncio.gather(*closing)
            assert (running.state, behind.state) == (TaskState.CANCELLED, TaskState.CANCELLED)
        await flow.shutdown()
        with pytest.raises(EngineClosedError):
            flow.function_task(bodies.add)(1)

    def test_it_leaves_nothing_and_runs_twice_in_a_row(self) -> None:
        """A second engine on a second backend works as the first did, and leaves no thread or process more."""

        async def test() -> None:
            async with self.engine() as flow:
                add = flow.function_task(bodies.add)
                answers = await asyncio.gather(*[add(add(number), 1) for number in range(10)])
                assert answers == (list(range(1, 11)) if self.runs_bodies else answers[:1] * 10)

        self.run(test())  # the libraries underneath may keep threads from their first use on
        threads, children = set(threading.enumerate()), processes()
        self.run(test())
        assert comes_true(lambda: set(threading.enumerate()) <= threads), f"threads left: {threading.enumerate()}"
        assert comes_true(lambda: processes() <= children), f"processes left: {processes() - children}"

    # Backends that run nothing

    @in_engine(runs_bodies=False)
    async def test_no_body_runs(self, flow: WorkflowEngine) -> None:
        """Calls are answered, in the order of their dependencies, and no function, command or prompt is run."""
        async with scratch() as place:
            touched = flow.function_task(bodies.touch)(f"{place}/touched")
            failed = flow.function_task(bodies.fail)(touched)
            said = flow.executable_task(bodies.exit_with)(failed)
            assert touched.state is TaskState.PENDING
            await said
            assert {call.state for call in (touched, failed, said)} == {TaskState.DONE}
            assert await asyncio.to_thread(os.listdir, place) == []
