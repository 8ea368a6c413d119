"""`memory=` with `isolate="process"`: the most that a body may have, and what it is told that wants more."""

import ctypes
import os
import signal

import numpy as np
import pytest

from asyncflow import OutOfMemoryError, WorkflowEngine
from gates import Notes

MB = 1_000_000

WORKERS = {"cluster": {"kind": "local", "n_workers": 1, "threads_per_worker": 2, "dashboard_address": None}}


def own_pid():
    """Where it runs."""
    return os.getpid()


def grow(unit=1 << 16):
    """Take memory until there is none."""
    kept = []
    while True:
        kept.append(bytearray(unit))


def grow_in_c():
    """The same in C that does not look whether it got any."""
    malloc = ctypes.CDLL(None).malloc
    malloc.restype, malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    while True:
        ctypes.memset(malloc(1 << 24), 1, 1 << 24)


def too_large():
    """One array that is too large."""
    np.ones(2_000 * MB, dtype=np.uint8)


@pytest.mark.parametrize("body", [grow, too_large], ids=["many", "one"])
async def test_more_memory_than_asked_for_is_an_error_of_the_task(any_flow, body):
    """`memory=` is the limit; the error tells task, host, limit and peak, and is caused by what Python raised."""
    with pytest.raises(OutOfMemoryError, match="more than its memory of 300 MB") as caught:
        await any_flow.function_task(isolate="process", memory="300MB")(body)()
    error = caught.value
    assert (error.task, error.host, error.limit) == (body.__name__, os.uname().nodename, 300 * MB)
    assert 0 < error.peak_memory < 330 * MB
    assert error.peak_memory > 250 * MB or body is too_large
    assert isinstance(error.__cause__, MemoryError)


async def test_c_code_that_dies_of_a_refused_malloc_ran_out_of_memory():
    """A crash at the limit is told as what it comes from; other bodies of the worker live on."""
    async with WorkflowEngine.create(WORKERS) as flow:
        worker = await flow.function_task(own_pid)()
        with pytest.raises(OutOfMemoryError, match="SIGSEGV") as caught:
            await flow.function_task(isolate="process", memory="900MB")(grow_in_c)()
        assert await flow.function_task(own_pid)() == worker
    assert caught.value.exit_code == -signal.SIGSEGV
    assert 800 * MB < caught.value.peak_memory < 930 * MB


async def test_memory_errors_count_against_retries(any_flow, tmp_path):
    """An attempt that wants too much is followed by another, as after any error."""
    notes = Notes(tmp_path / "notes")

    @any_flow.function_task(isolate="process", memory="300MB", retries=1, retry_on=OutOfMemoryError)
    def greedy_at_first(notes):
        notes.add("tried")
        return len(bytearray(1_000 * MB if len(notes.lines) == 1 else 10))

    assert await greedy_at_first(notes) == 10


async def test_what_fits_is_not_touched(thread_flow):
    """Arguments and value are beside the limit, which is for what the body itself takes."""

    @thread_flow.function_task(isolate="process", memory="300MB")
    def total(array):
        return int(array.sum()), array

    given = np.ones(250 * MB, dtype=np.uint8)
    count, array = await total(given)
    assert count == array.nbytes == 250 * MB


async def test_a_users_own_memory_error_stays_what_it_is(any_flow):
    """Without isolation a `MemoryError` of the body comes out as it went in; so it does without a limit."""

    def fail():
        raise MemoryError("the user's own")

    for options in ({}, {"memory": "1MB"}, {"isolate": "process"}):
        with pytest.raises(MemoryError, match="the user's own"):
            await any_flow.function_task(**options)(fail)()
