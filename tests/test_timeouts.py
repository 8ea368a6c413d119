"""`timeout`: for functions, coroutines and commands, each attempt, and what becomes of the slot."""

import asyncio
import logging

import pytest

from asyncflow import TaskState, TaskTimeoutError
from asyncflow.call import attempt
from asyncflow.recipe import Kind, Recipe
from asyncflow.site import Site
from asyncflow.stop import Stop
from conftest import eventually
from gates import Gate, Notes, is_alive, until


async def test_a_functions_result_is_dropped_at_its_timeout(any_flow, tmp_path):
    """A `def` that takes too long fails with TaskTimeoutError, which is a TimeoutError, and names task and time."""
    gate = Gate(tmp_path / "gate")

    @any_flow.function_task(timeout=0.1)
    def slow(gate):
        gate.wait()

    future = slow(gate)
    with pytest.raises(TaskTimeoutError, match=r"'slow' took longer than its timeout of 0\.1 s") as caught:
        await future
    gate.open()
    assert isinstance(caught.value, TimeoutError)
    assert caught.value.timeout == 0.1
    assert future.state is TaskState.FAILED


async def test_a_slot_serves_again_though_the_body_does_not_listen(flow, tmp_path):
    """Bodies that run on beyond their timeout do not keep others from running."""
    gate = Gate(tmp_path / "gate")

    @flow.function_task(timeout=0.1)
    def slow(gate):
        gate.wait()

    @flow.function_task
    def one():
        return 1

    late = await asyncio.gather(*[slow(gate) for _ in range(6)], return_exceptions=True)
    assert all(isinstance(each, TaskTimeoutError) for each in late)
    assert await asyncio.gather(*[one() for _ in range(10)]) == [1] * 10
    gate.open()


async def test_a_coroutine_is_cancelled_at_its_timeout(any_flow, tmp_path):
    """An `async def` is stopped where it waits."""
    ended = Gate(tmp_path / "ended")

    @any_flow.function_task(timeout="100ms")
    async def slow(ended):
        try:
            await asyncio.sleep(1000)
        finally:
            ended.open()

    with pytest.raises(TaskTimeoutError):
        await slow(ended)
    await ended.reached()


async def test_a_commands_processes_are_killed_at_its_timeout(any_flow, tmp_path):
    """The process group of a command ends with its time."""
    notes = Notes(tmp_path / "pids")

    @any_flow.executable_task(timeout=0.3, shell=True)
    def slow():
        return f"sleep 1000 & echo $! >> {notes.path}; echo $$ >> {notes.path}; wait"

    with pytest.raises(TaskTimeoutError):
        await slow()
    await until(lambda: len(notes.lines) == 2)
    await until(lambda: not any(is_alive(int(pid)) for pid in notes.lines))


async def test_each_attempt_has_its_own_time(any_flow, tmp_path):
    """A timeout is an error worth another attempt, which has all the time again."""
    notes = Notes(tmp_path / "notes")
    gate = Gate(tmp_path / "gate")

    @any_flow.function_task(timeout=0.2, retries=2)
    def slow_at_first(notes, gate):
        notes.add("tried")
        if len(notes.lines) < 3:
            gate.wait()
        return len(notes.lines)

    assert await slow_at_first(notes, gate) == 3
    gate.open()


async def test_a_body_in_time_is_not_touched(any_flow):
    """With a timeout, values and errors come as without; tasks called inside run right there."""

    @any_flow.function_task
    def inner():
        return 3

    @any_flow.function_task(timeout="1h")
    def quick(fails):
        if fails:
            raise ValueError("own")
        return inner()

    assert await quick(fails=False) == 3
    with pytest.raises(ValueError, match="own"):
        await quick(fails=True)


async def test_a_cancelled_task_with_a_timeout_is_stopped(flow, tmp_path):
    """Cancelling reaches a body that runs under a timeout."""
    began, ended = Gate(tmp_path / "began"), Gate(tmp_path / "ended")

    @flow.function_task(timeout="1h")
    async def wait(began, ended):
        began.open()
        try:
            await asyncio.sleep(1000)
        finally:
            ended.open()

    future = wait(began, ended)
    await began.reached()
    future.cancel()
    await ended.reached()


def timed_out(body, site, **options):
    """The error of `body` at a site, after a tenth of a second."""
    recipe = Recipe(body, options.pop("kind", Kind.FUNCTION), "slow", timeout=0.1, **options)
    with pytest.raises(TaskTimeoutError) as caught:
        attempt(recipe, "slow-1", (), {}, site, Stop(), 0)
    return str(caught.value)


def test_a_function_that_runs_on_is_told_of_until_it_ends(tmp_path, caplog):
    """Error and log say that it still runs and what would help; the site counts it until it has ended, and says so."""
    caplog.set_level(logging.INFO, "asyncflow")
    gate, site = Gate(tmp_path / "gate"), Site(cores=1)
    text = timed_out(gate.wait, site)
    assert "still runs" in text
    assert "isolate='process'" in text
    assert site.overdue == ["slow"]
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    timed_out(gate.wait, site)
    assert site.overdue == ["slow", "slow"]
    gate.open()
    assert eventually(lambda: not site.overdue)
    assert eventually(lambda: [record.levelname for record in caplog.records].count("INFO") == 2)
    assert "'slow' has ended" in caplog.text
    site.close()


def test_closing_does_not_wait_for_what_runs_on(tmp_path):
    """A worker closes though a function does not end."""
    gate, site = Gate(tmp_path / "gate"), Site(cores=1)
    timed_out(gate.wait, site)
    site.close()
    assert site.overdue == ["slow"]
    gate.open()
    assert eventually(lambda: not site.overdue)


def test_a_coroutine_that_ends_when_told_is_not_said_to_run_on():
    """What listens is over with its time."""

    async def wait():
        await asyncio.sleep(1000)

    site = Site(cores=1)
    assert timed_out(wait, site) == "task 'slow' took longer than its timeout of 0.1 s"
    assert site.overdue == []


def test_a_command_is_not_advised_to_be_isolated():
    """It is killed anyway."""
    site = Site(cores=1)
    text = timed_out(lambda: "sleep 1000", site, kind=Kind.COMMAND)
    assert "isolate" not in text
    assert eventually(lambda: not site.overdue)
    site.close()


async def test_the_error_says_what_helps_wherever_the_body_ran(any_flow, tmp_path):
    """The remedy reaches whoever awaits."""
    gate = Gate(tmp_path / "gate")
    with pytest.raises(TaskTimeoutError, match="let it be killed with isolate='process'"):
        await any_flow.function_task(timeout=0.1)(gate.wait)()
    gate.open()
