"""Worker processes that die under a task: killed, ended by the body, crashed, too large; what the task then says."""

import asyncio
import ctypes
import os
import signal
import time

import pytest

from asyncflow import DependencyFailureError, OutOfMemoryError, WorkerLostError, WorkflowEngine
from gates import Notes

LIMIT = 400_000_000


def local(**keys):
    """One worker process of one thread, encrypted as by default."""
    shape = {"n_workers": 1, "threads_per_worker": 1, "memory_limit": LIMIT, "dashboard_address": None}
    return WorkflowEngine.create({"cluster": {"kind": "local", **shape, **keys}})


def die(how):
    """End the worker's process."""
    if how == "exit":
        os._exit(3)
    elif how == "crash":
        ctypes.string_at(0)
    os.kill(os.getpid(), signal.SIGKILL)


def take_memory():
    """Take more and more, slowly enough for whoever watches."""
    taken = []
    while True:
        taken.append(os.urandom(10_000_000))
        time.sleep(0.01)


def stand_by():
    return "well"


def note_and_die(notes):
    notes.add("begun")
    os._exit(3)


async def lost(call):
    """What a call is lost with."""
    with pytest.raises(WorkerLostError) as caught:
        await asyncio.wait_for(call, 60)
    return caught.value


async def test_how_a_workers_process_ended_is_told():
    """Exit status or signal, with the line of the body that crashed; the next call runs on the worker's successor."""
    async with local() as flow:
        task = flow.function_task(lost_retries=0)(die)
        exited = await lost(task("exit"))
        killed = await lost(task("kill"))
        crashed = await lost(task("crash"))
        assert await flow.function_task(stand_by)() == "well"
    assert (exited.exit_code, killed.exit_code, crashed.exit_code) == (3, -signal.SIGKILL, -signal.SIGSEGV)
    assert len({error.worker for error in (exited, killed, crashed)}) == 3
    assert {type(error) for error in (exited, killed, crashed)} == {WorkerLostError}
    for error in (exited, killed, crashed):
        assert error.task == "die"
        assert error.host == os.uname().nodename
    assert exited.peak_memory > 10_000_000
    assert "task 'die' was lost once with its worker" in str(exited)
    assert "exited with status 3; let the body raise" in str(exited)
    assert "killed by signal 9 (SIGKILL)" in str(killed)
    assert "crashed with signal 11 (SIGSEGV)" in str(crashed)
    assert crashed.log.startswith("Fatal Python error: Segmentation fault")
    assert 'test_lost_workers.py"' in crashed.log
    assert "in die" in crashed.log


async def test_a_task_that_takes_too_much_memory_says_so():
    """Its worker's nanny kills the process at 95 % of the limit; limit and peak are told."""
    async with local() as flow:
        error = await lost(flow.function_task(lost_retries=0)(take_memory)())
        assert await flow.function_task(stand_by)() == "well"
    assert type(error) is OutOfMemoryError
    assert error.limit == LIMIT
    assert 0.9 * LIMIT < error.peak_memory < 3 * LIMIT
    assert "ended at 95% of its memory limit of 400 MB" in str(error)
    assert "give the task more (memory=)" in str(error)


async def test_workers_of_an_allocation_tell_as_well(tmp_path):
    """Their nannies are told by the scheduler to watch; the launcher's log has what they wrote."""
    keys = {"launcher": "{worker}", "interface": "lo", "nodes": 1, "cores": 1, "memory": "600MB"}
    shared = {"shared_temp_directory": str(tmp_path / "shared"), "start_timeout": 60}
    async with WorkflowEngine.create({"cluster": {"kind": "allocation", **keys, **shared}}) as flow:
        task = flow.function_task(lost_retries=0)(die)
        exited = await lost(task("exit"))
        crashed = await lost(task("crash"))
    assert (exited.exit_code, crashed.exit_code) == (3, -signal.SIGSEGV)
    assert "exited with status 3" in str(exited)
    assert crashed.log.startswith("Fatal Python error: Segmentation fault")
    assert "in die" in crashed.log


async def test_a_task_is_begun_again_before_it_says_so():
    """The last of its losses is told, and how many there were."""
    async with local() as flow:
        error = await lost(flow.function_task(lost_retries=1)(die)("exit"))
    assert "lost 2 times with its worker, the last of them" in str(error)
    assert error.exit_code == 3


async def test_a_value_that_is_lost_and_cannot_be_made_again_fails_dependents_with_the_way(tmp_path):
    """When a finished call's value dies with its worker, and fails when it is made again, dependents say so."""
    path = str(tmp_path / "notes")

    def once():
        notes = Notes(path)
        notes.add(str(os.getpid()))
        if len(notes.lines) > 1:
            raise OSError("only once")
        return os.getpid()

    def crash(pid):
        os.kill(pid, signal.SIGKILL)

    async with local() as flow:
        behind = flow.function_task(crash, name="behind")(flow.function_task(once)())
        with pytest.raises(DependencyFailureError, match="behind <- once: OSError: only once"):
            await asyncio.wait_for(behind, 60)


async def test_a_body_that_ends_its_worker_at_once_is_blamed_and_no_other(tmp_path):
    """What had ended just before, waits behind it, or runs beside it in another worker is granted no loss and ends well.

    The nanny knows what ran, though the worker had no time to tell.
    """
    notes = Notes(tmp_path / "notes")
    async with local(n_workers=2) as flow:
        short = flow.function_task(lost_retries=0)(stand_by)
        before = [short() for _ in range(40)]
        crash = flow.function_task(lost_retries=2)(note_and_die)(notes)
        after = [short() for _ in range(40)]
        error = await lost(crash)
        assert set(await asyncio.gather(*before, *after)) == {"well"}
    assert "'note_and_die' was lost 3 times" in str(error)
    assert len(notes.lines) == 3
