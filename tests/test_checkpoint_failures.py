"""What becomes of kept results when something goes wrong: never anything but what was made."""

import asyncio
import errno
import os
import resource
import threading
from contextlib import contextmanager

import pytest

from asyncflow import (
    CheckpointError,
    DependencyFailureError,
    SerializationError,
)
from gates import Gate
from kept import KINDS, counted, damage, is_done, keys, told


async def test_attempts_that_fail_keep_nothing(resumed, results, notes):
    """With ``retries`` only the attempt that succeeds is kept; a task that fails runs again when resumed."""
    gate = Gate(results.parent.parent.parent / "gate")
    for _ in range(2):
        async with resumed() as flow:

            @flow.function_task(checkpoint=True, retries=3)
            def third():
                notes.add("third")
                if len(notes.lines) < 3:
                    raise ValueError("not yet")
                return "value"

            assert await third() == "value"
    assert counted(notes) == {"third": 3}
    for session in range(2):
        async with resumed() as flow:

            @flow.function_task(checkpoint=True)
            def fails():
                notes.add("fails")
                if not gate.is_open:
                    raise ValueError("not yet")
                return 1

            @flow.function_task(checkpoint=True)
            def behind(x):
                notes.add("behind")
                return x

            if session:
                assert await behind(fails()) == 1
            else:
                with pytest.raises(DependencyFailureError):
                    await behind(fails())
        gate.open()
    assert counted(notes) == {"fails": 2, "behind": 1}


@pytest.mark.parametrize("kind", KINDS)
async def test_a_result_that_cannot_be_pickled_fails_its_task(kind, resumed, results):
    """The error names the task and the type; nothing is kept, and without ``checkpoint`` threads would not mind."""
    async with resumed(kind) as flow:

        @flow.function_task(checkpoint=True)
        def opens():
            return threading.Lock()

        with pytest.raises(SerializationError, match=r"'opens', a lock, cannot be pickled.*checkpoint=False"):
            await opens()
    assert keys(results) == []


@contextmanager
def files_of_at_most(size):
    """What a full disk does: writing more than `size` bytes to a file is refused by the kernel."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


async def test_a_full_disk_fails_the_task_by_name(resumed, results, notes):
    """The error says which result could not be kept where; no torn file is left, and resuming runs the task again."""
    for session in range(2):
        async with resumed("threads") as flow:

            @flow.function_task(checkpoint=True)
            def large(n):
                notes.add("large")
                return os.urandom(n)

            if session:
                assert len(await large(1_000_000)) == 1_000_000
            else:
                with (
                    files_of_at_most(500_000),
                    pytest.raises(OSError, match=r"result of task 'large'.*results") as caught,
                ):
                    await large(1_000_000)
                assert caught.value.errno == errno.EFBIG
                assert list(results.iterdir()) == [results / "OWNER"]
    assert counted(notes) == {"large": 2}
    assert not list(results.glob(".*"))


@pytest.mark.parametrize("kind", ["dask", "threads"])
async def test_damaged_results_are_made_again(kind, resumed, results, notes, tmp_path):
    """A damaged result that is needed is computed, with what it needs, and the journal says so."""

    async def session(damaged=None):
        if damaged:
            damage(results, damaged)
        async with resumed(kind) as flow:

            @flow.function_task(checkpoint=True)
            def first(x):
                notes.add(f"first {x}")
                return x + 1

            @flow.function_task(checkpoint=True)
            def second(x):
                notes.add(f"second {x}")
                return x * 10

            @flow.function_task
            def last(values):
                return sum(values)

            return await last([second(first(x)) for x in range(3)])

    assert await session() == 60
    counted(notes)
    assert await session("*second") == 60
    assert counted(notes) == {"second 1": 1, "second 2": 1, "second 3": 1}
    assert told(tmp_path, 2)["corrupt"] == 3
    assert await session("*first") == 60
    assert counted(notes) == {}
    assert await session("*") == 60
    assert sum(counted(notes).values()) == 6


async def test_chains_of_damaged_results_are_made_again(resumed, results, notes):
    """However deep the damage goes: each is found damaged when it is read, and made by its own body."""
    for session in range(2):
        async with resumed() as flow:

            @flow.function_task(checkpoint=True)
            def step(x):
                notes.add(f"step {x}")
                return x + 1

            value = 0
            for _ in range(10):
                value = step(value)
            doubled = [flow.function_task(abs)(value) for _ in range(5)]
            assert await asyncio.gather(*doubled, value) == [10] * 6
        if not session:
            assert sum(counted(notes).values()) == 10
            damage(results)
    assert set(counted(notes).values()) == {1}


async def test_what_cannot_be_made_again_fails_for_its_reason(resumed, results):
    """A damaged result whose body fails now: dependents say so, and nothing hangs."""
    gate = Gate(results.parent.parent.parent / "gate")
    for session in range(2):
        async with resumed() as flow:

            @flow.function_task(checkpoint=True)
            def fails():
                if gate.is_open:
                    raise ValueError("not now")
                return 1

            @flow.function_task
            def behind(x):
                return x

            future = fails()
            if session:
                with pytest.raises(DependencyFailureError, match="not now"):
                    await behind(behind(future))
                with pytest.raises(ValueError, match="not now"):
                    await future
            else:
                assert await behind(behind(future)) == 1
        if not session:
            damage(results)
            gate.open()


async def test_a_damaged_result_needs_upstream_that_was_cancelled(resumed, results):
    """What is to be made of a call that the user has cancelled is cancelled too."""
    for session in range(2):
        async with resumed() as flow:

            @flow.function_task
            def waits(x):
                return x

            @flow.function_task(checkpoint=True)
            def behind(x):
                return x

            first = waits(1)
            future = behind(first)
            if session:
                await is_done(future)
                first.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await future
            else:
                assert await future == 1
        if not session:
            damage(results)


async def test_cancelling_while_a_result_is_read(resumed, results, notes):
    """A call that was found may be cancelled while its value is read: nothing hangs, others get theirs."""
    for session in range(2):
        async with resumed() as flow:

            @flow.function_task(checkpoint=True)
            def number(x):
                notes.add("number")
                return x

            futures = [number(x) for x in range(4)]
            if session:
                await asyncio.sleep(0)
                waiting = [asyncio.ensure_future(asyncio.wait([future])) for future in futures]
                await asyncio.sleep(0)
                assert futures[0].cancel()
                assert await flow.function_task(sum)(futures[1:]) == 6
                assert futures[0].cancelled()
                await asyncio.gather(*waiting)
            else:
                assert await asyncio.gather(*futures) == [0, 1, 2, 3]
    assert counted(notes) == {"number": 4}


async def test_arguments_changed_after_the_call_do_not_pass_for_the_call(resumed, results, notes):
    """A damaged result is only made again from what the call was: never from a list that has changed since."""
    for session in range(3):
        async with resumed() as flow:

            @flow.function_task(checkpoint=True)
            def total(values):
                notes.add("total")
                return sum(values)

            values = [1, 2]
            future = total(values)
            if session == 1:
                await is_done(future)
                values.append(3)
                with pytest.raises(
                    CheckpointError, match=r"'total' is damaged and cannot be made again.*'values' changed"
                ):
                    await future
            else:
                assert await future == 3
        if session == 0:
            damage(results)
    assert counted(notes) == {"total": 2}
