"""Another attempt that asks for more: the call, and what hangs on it, sent again under new keys."""

import asyncio

import pytest

from asyncflow import OptionError, RefusedError, TaskState, WorkflowEngine
from conftest import open_engine
from gates import Notes, fails_once

ONE_WORKER = {"kind": "local", "processes": False, "n_workers": 1, "threads_per_worker": 2, "resources": {"big": 1}}


@pytest.fixture
def notes(tmp_path):
    """What bodies tell."""
    return Notes(tmp_path / "notes")


@pytest.fixture
async def big_flow():
    """An engine on a worker that declares a resource."""
    async with WorkflowEngine.create({"cluster": ONE_WORKER}) as flow:
        yield flow


async def test_the_next_attempt_asks_for_what_was_said(big_flow, notes):
    """With ``retry_with`` a failed call is sent again with those options, under a new key, and keeps its future."""
    task = big_flow.function_task(retries=1, retry_with={"resources": {"big": 1}})(fails_once)
    call = task(notes.path, 5)
    first = call.id
    assert await call == 5
    assert call.id != first
    assert call.node.options.resources == {"big": 1}
    assert notes.lines == ["begun"] * 2


async def test_dependents_follow_the_new_attempt(any_flow, notes):
    """Calls that were sent behind a failed one get its value after all, to any depth."""
    task = any_flow.function_task(retries=1, retry_with={"timeout": "1m"})(fails_once)
    double = any_flow.function_task(lambda value: 2 * value)
    total = any_flow.function_task(sum)
    first = task(notes.path, 5)
    doubled = double(first)
    assert await total([first, doubled, double(doubled)]) == 5 + 10 + 20


async def test_a_function_of_the_error_says_what_is_asked_for(flow, notes):
    """``retry_with`` may be a function of the error and of the number of attempts that failed."""
    seen = []

    def more(error, failed):
        seen.append((str(error), failed))
        return {"timeout": 60 * failed}

    def body(path):
        notes = Notes(path)
        notes.add("begun")
        if len(notes.lines) < 3:
            raise OSError(f"attempt {len(notes.lines)}")
        return len(notes.lines)

    call = flow.function_task(retries=5, retry_with=more)(body)(notes.path)
    assert await call == 3
    assert seen == [("attempt 1", 1), ("attempt 2", 2)]
    assert call.node.options.timeout == 120


async def test_attempts_are_counted_and_errors_chosen(flow, notes):
    """No more attempts are made than ``retries`` grants, and only after errors that ``retry_on`` names."""

    def body(path, error):
        Notes(path).add("begun")
        raise error

    task = flow.function_task(retries=2, retry_on=OSError, retry_with={"timeout": 60})(body)
    with pytest.raises(OSError, match="short"):
        await task(notes.path, OSError("short"))
    assert len(notes.lines) == 3
    with pytest.raises(ValueError, match="wrong"):
        await task(notes.path, ValueError("wrong"))
    assert len(notes.lines) == 4


async def test_what_no_worker_can_give_ends_the_attempts(big_flow, notes):
    """An attempt that asks for what no declared pool has is refused with the reason, and names the error before."""
    task = big_flow.function_task(retries=1, retry_with={"resources": {"big": 5}})(fails_once)
    with pytest.raises(RefusedError, match="change what retry_with gives") as caught:
        await task(notes.path, 5)
    assert isinstance(caught.value.__cause__, OSError)


async def test_a_misspelt_option_is_told(flow, notes):
    """What ``retry_with`` gives is checked like any option."""
    task = flow.function_task(retries=1, retry_with={"memroy": "8GB"})(fails_once)
    with pytest.raises(OptionError, match="did you mean 'memory'"):
        await task(notes.path, 5)


async def test_a_call_that_waits_for_its_next_attempt_can_be_cancelled(flow, notes):
    """Cancelling between two attempts ends the call and its dependents; no other attempt is made."""
    task = flow.function_task(retries=1, retry_delay=3600, retry_with={"timeout": 60})(fails_once)
    call = task(notes.path, 5)
    behind = flow.function_task(abs)(call)
    retried = asyncio.Event()
    flow._dispatch.ledger.events.listen(lambda event: event.kind == "retried" and retried.set())
    await retried.wait()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await behind
    assert (call.state, notes.lines) == (TaskState.CANCELLED, ["begun"])


async def test_a_call_made_between_attempts_waits_for_the_next(tmp_path):
    """A dependent that is called while its upstream waits for another attempt gets the value of that."""
    async with open_engine("dask") as flow:
        notes = Notes(tmp_path / "notes")
        task = flow.function_task(retries=1, retry_delay=0.2, retry_with={"timeout": 60})(fails_once)
        call = task(notes.path, 5)
        retried = asyncio.Event()
        flow._dispatch.ledger.events.listen(lambda event: event.kind == "retried" and retried.set())
        await retried.wait()
        assert await flow.function_task(lambda value: value + 1)(call) == 6
