"""Failures: exceptions come out as they went in, dependents learn the way to the cause, nobody else is touched."""

import asyncio
import sys
import threading
import traceback
from pathlib import Path

import pytest

from asyncflow import DependencyFailureError, LostError, RemoteError, TaskExitError, TaskState
from gates import Gate, Notes, on_scheduler, until


class Fussy(Exception):
    """Its constructor wants other arguments than its `args`; by default it pickles and does not open."""

    def __init__(self, code, *, where):
        super().__init__(f"code {code}")
        self.code = code
        self.where = where


class Locked(Exception):
    """Holds what cannot be pickled."""

    def __init__(self, text):
        super().__init__(text)
        self.lock = threading.Lock()


class Facts(Exception):
    """Carries facts as attributes."""

    def __init__(self, text):
        super().__init__(text)
        self.facts = {"step": 3}


class Beyond(BaseException):
    """Not an Exception."""


def fail(error):
    """A body."""
    raise error


def identity(value=None):
    """A body."""
    return value


async def error_of(future):
    """What comes out of `future`."""
    with pytest.raises(BaseException) as caught:
        await asyncio.wait_for(future, 20)
    return caught.value


async def test_an_exception_comes_out_as_it_went_in(any_flow):
    """Type, arguments and attributes of a user's exception survive the way."""
    error = await error_of(any_flow.function_task(fail)(Facts("of life")))
    assert type(error) is Facts
    assert error.args == ("of life",)
    assert error.facts == {"step": 3}


async def test_the_traceback_leads_into_the_body(any_flow):
    """The remote traceback names the line of the body that raised."""

    @any_flow.function_task
    def deep():
        raise KeyError("lost in the body")

    error = await error_of(deep())
    shown = "".join(traceback.format_exception(error))
    assert 'raise KeyError("lost in the body")' in shown
    assert "in deep" in shown


async def test_causes_and_contexts_survive(any_flow):
    """`raise ... from ...` and what was being handled are there at the other end, tracebacks included."""

    @any_flow.function_task
    def chained():
        try:
            try:
                {}["missing"]
            except KeyError:
                raise ValueError("second")  # noqa: B904 - the context is the point
        except ValueError as error:
            raise RuntimeError("third") from error

    error = await error_of(chained())
    assert isinstance(error, RuntimeError)
    assert isinstance(error.__cause__, ValueError)
    assert isinstance(error.__cause__.__context__, KeyError)
    assert error.__cause__.__cause__ is None
    assert "in chained" in "".join(traceback.format_tb(error.__cause__.__traceback__))


@pytest.mark.parametrize("body", ["def", "async def"])
async def test_what_no_future_can_carry_arrives_as_a_task_exit_error(any_flow, body):
    """SystemExit and its like fail their call with a TaskExitError whose cause is the original; others go on."""

    @any_flow.function_task
    async def fail_async(error):
        raise error

    failing, step = any_flow.function_task(fail) if body == "def" else fail_async, any_flow.function_task(identity)
    for original in (SystemExit(3), KeyboardInterrupt("now"), Beyond("all"), StopIteration(4), GeneratorExit()):
        bad, good = failing(original), step(1)
        error = await error_of(bad)
        if body == "async def" and isinstance(original, StopIteration):
            assert isinstance(error, RuntimeError)  # as Python itself makes of it in a coroutine
        else:
            assert isinstance(error, TaskExitError)
        assert type(error.__cause__) is type(original)
        assert error.__cause__.args == original.args
        assert await good == 1
        assert await step(2) == 2


async def test_sys_exit_of_a_body_ends_nothing_else(any_flow):
    """A body that calls `sys.exit` fails; its worker and the engine go on."""

    @any_flow.function_task
    def leave():
        sys.exit(7)

    error = await error_of(leave())
    assert isinstance(error, TaskExitError)
    assert error.__cause__.code == 7
    assert await any_flow.function_task(identity)("on") == "on"


async def test_an_exception_that_cannot_be_pickled_arrives_as_text(dask_flow, process_flow):
    """A RemoteError carries class name, message and traceback of what cannot travel, also as a cause."""

    def fail_here(as_cause):
        locked = Locked("no way out")
        if as_cause:
            raise ValueError("well") from locked
        raise locked

    for flow in (dask_flow, process_flow):
        task = flow.function_task(fail_here)
        error, other = await error_of(task(as_cause=False)), await error_of(task(as_cause=True))
        assert type(other) is ValueError
        for text in (error, other.__cause__):
            assert isinstance(text, RemoteError)
            assert text.type_name.endswith("Locked")
            assert "no way out" in str(text)
        assert "in fail_here" in error.traceback_text


class Speechless(Exception):
    """An exception whose text cannot be made."""

    def __str__(self):
        raise RuntimeError("no words")


async def test_an_exception_that_cannot_be_printed_hurts_nobody_else(any_flow):
    """It comes out, its dependents fail, and the engine goes on."""

    @any_flow.function_task
    def fail_here():
        raise Speechless

    @any_flow.function_task
    def identity(value):
        return value

    first = fail_here()
    second = identity(first)
    assert type(await error_of(second)) is DependencyFailureError
    assert "Speechless" in type(await error_of(first)).__name__
    assert await identity(1) == 1


async def test_an_unpicklable_exception_is_tried_again_like_any_other(any_flow):
    """`retries` count for an exception that cannot travel; the last attempt tells."""

    @any_flow.function_task(retries=1, retry_delay=0.01)
    def fail_here():
        raise Locked("both times")

    assert "both times" in str(await error_of(fail_here()))


async def test_an_exception_with_a_constructor_of_its_own_comes_out_as_it_went_in(any_flow):
    """Whatever its constructor wants, type, text and facts of an exception survive."""

    @any_flow.function_task
    def fail_here():
        raise Fussy(3, where="here")

    error = await error_of(fail_here())
    assert (type(error), str(error), error.code, error.where) == (Fussy, "code 3", 3, "here")


def _decode():
    b"\xff".decode("utf-8")


def _open():
    Path("/nowhere/at/all").read_text()


def _parse():
    compile("a b", "script.py", "exec")


@pytest.mark.parametrize(
    ("body", "facts"),
    [
        (_decode, {"reason": "invalid start byte", "object": b"\xff", "start": 0}),
        (_open, {"errno": 2, "filename": "/nowhere/at/all"}),
        (_parse, {"filename": "script.py", "lineno": 1}),
    ],
)
async def test_facts_of_builtin_exceptions_survive(any_flow, body, facts):
    """What Python's own exceptions hold beside their arguments comes along."""
    error = await error_of(any_flow.function_task(body)())
    assert {name: getattr(error, name) for name in facts} == facts


async def test_on_threads_even_those_come_out_as_they_went_in(thread_flow):
    """Where nothing travels, the exception is the very object."""
    original = Locked("here")
    assert await error_of(thread_flow.function_task(fail)(original)) is original


async def test_dependents_are_told_the_way_to_the_cause(any_flow):
    """The text is the way, name by name; facts are attributes; the cause is the user's exception."""
    simulate = any_flow.function_task(name="simulate")(fail)
    step = any_flow.function_task(identity)
    merge, report = step.options(name="merge"), step.options(name="report")
    source = simulate(ValueError("bad seed"))
    middle = merge([source])
    last = report({"of": middle})
    error = await error_of(last)
    assert type(error) is DependencyFailureError
    assert "report <- merge <- simulate" in str(error)
    assert "ValueError: bad seed" in str(error)
    assert error.failed_dependencies == ["merge", "simulate"]
    assert isinstance(error.root_cause, ValueError)
    assert error.__cause__ is error.root_cause
    assert "merge <- simulate" in str(await error_of(middle))
    assert isinstance(await error_of(source), ValueError)
    assert {each.state for each in (source, middle, last)} == {TaskState.FAILED}


async def test_a_call_on_what_has_failed_already_is_told_the_same(any_flow):
    """A dependent made after the failure has the way too."""
    source = any_flow.function_task(name="simulate")(fail)(ValueError("bad seed"))
    await error_of(source)
    error = await error_of(any_flow.function_task(name="late")(identity)(source))
    assert "late <- simulate" in str(error)
    assert isinstance(error.root_cause, ValueError)


async def test_the_way_leads_through_blocks_and_awaitables(flow):
    """A failing block or asyncio task is a step of the way like any other."""

    @flow.block
    async def campaign():
        return await flow.function_task(name="simulate")(fail)(ValueError("bad"))

    @flow.block
    async def handed():
        return flow.function_task(name="simulate")(fail)(ValueError("bad"))

    async def outside():
        raise OSError("no file")

    use = flow.function_task(name="use")(identity)
    for block, way in ((campaign(), "use <- campaign"), (handed(), "use <- ")):
        error = await error_of(use(block))
        assert way in str(error)
        assert isinstance(error.root_cause, ValueError)
    error = await error_of(use(asyncio.create_task(outside(), name="reader")))
    assert "use <- reader" in str(error)
    assert isinstance(error.root_cause, OSError)


async def test_a_dependent_of_a_failed_call_never_runs(any_flow, tmp_path):
    """Nothing is run without its inputs."""
    notes = Notes(tmp_path / "notes")

    @any_flow.function_task
    def tell(notes, _):
        notes.add("ran")

    await error_of(tell(notes, any_flow.function_task(fail)(ValueError())))
    assert notes.lines == []


async def test_one_bad_call_does_not_touch_the_others_of_its_turn(any_flow):
    """In one batch each call ends by its own lights."""
    step, bad = any_flow.function_task(identity), any_flow.function_task(fail)
    good = [step(number) for number in range(10)]
    wrong = [bad(ValueError(number)) for number in range(5)]
    nobody = step.options(backend="nobody")(1)
    later = [step(future) for future in good]
    results = await asyncio.gather(*good, *wrong, nobody, *later, return_exceptions=True)
    assert results[:10] == results[16:] == list(range(10))
    assert all(isinstance(each, Exception) for each in results[10:16])


async def test_a_lost_dependency_fails_its_dependent_and_the_batch_is_sent_again(dask_flow, tmp_path):
    """When Dask drops a whole graph for one lost value, only the call that needs the value fails."""
    step = dask_flow.function_task(identity)
    lost = step(1)
    await lost
    client = lost.dask_future.client

    def forget(dask_scheduler, key, who):
        dask_scheduler.client_releases_keys([key], who)

    await on_scheduler(client, forget, key=lost.id, who=client.id)
    others = [step(number) for number in range(5)]
    doomed = step(lost)
    more = [step.options(priority=1)(others[0]), step([lost, others[1]][1])]
    assert await asyncio.gather(*others, *more) == [0, 1, 2, 3, 4, 0, 1]
    error = await error_of(doomed)
    assert isinstance(error, LostError)
    assert "gone from the cluster" in str(error)


async def test_what_is_sent_again_keeps_its_needs(tmp_path):
    """A call sent again after another's dependency was lost asks for the same resources as before."""
    from asyncflow import WorkflowEngine
    from conftest import IN_PROCESS

    gate = Gate(tmp_path / "gate")
    config = {"cluster": {**IN_PROCESS["cluster"], "resources": {"gpu": 1}}}

    def wait(gate):
        gate.wait()

    def forget(dask_scheduler, key, who):
        dask_scheduler.client_releases_keys([key], who)

    def needs(dask_scheduler, key):
        return dict(dask_scheduler.tasks[key].resource_restrictions or {})

    async with WorkflowEngine.create(config) as flow:
        step = flow.function_task(identity)
        lost = step(1)
        await lost
        client = lost.dask_future.client
        await on_scheduler(client, forget, key=lost.id, who=client.id)
        doomed = step(lost)
        with_gpu = flow.function_task(resources={"gpu": 1})(wait)(gate)
        assert isinstance(await error_of(doomed), LostError)
        await until(lambda: with_gpu.state is TaskState.RUNNING)
        found = await on_scheduler(client, needs, key=with_gpu.id)
        gate.open()
        await with_gpu
    assert found == {"gpu": 1}
