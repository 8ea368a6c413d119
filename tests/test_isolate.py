"""`isolate="process"`: a body that can be killed and limited, whatever it does, and is a body all the same."""

import asyncio
import ctypes
import os
import signal
import sys
import threading
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from asyncflow import (
    ConcurrentExecutionBackend,
    ProcessDiedError,
    SerializationError,
    TaskExitError,
    TaskTimeoutError,
    WorkflowEngine,
)
from gates import Gate, Notes, is_alive, on_scheduler, until

WORKERS = {"cluster": {"kind": "local", "n_workers": 1, "threads_per_worker": 2, "dashboard_address": None}}


@pytest.fixture
async def worker_flow():
    """An engine on a worker that is a program of its own."""
    async with WorkflowEngine.create(WORKERS) as flow:
        yield flow


def _by_value():
    def hold_the_gil(pids):
        import ctypes

        Notes(pids).add(os.getpid())
        ctypes.PyDLL(None).sleep(1000)

    return hold_the_gil


#: Sleeps in C without letting go of the interpreter; by value, as its process need not import all that tests need.
hold_the_gil = _by_value()


def own_pid():
    """Where it runs."""
    return os.getpid()


# What it is: a body


async def test_a_body_has_a_process_of_its_own(any_flow):
    """Arguments, values, errors and inputs are those of any body; each call has another process."""

    @any_flow.function_task(isolate="process")
    def shape(*args, **kwargs):
        return os.getpid(), args, kwargs

    @any_flow.function_task(isolate="process")
    async def double(value):
        await asyncio.sleep(0)
        return 2 * value

    @any_flow.function_task(isolate="process")
    def fail():
        raise ArithmeticError("own", 7)

    @any_flow.function_task
    def inside():
        return os.getpid()

    first, second = await asyncio.gather(shape(double(2), key=[double(double(1))]), shape(1))
    assert (first[1:], second[1:]) == (((4,), {"key": [4]}), ((1,), {}))
    assert len({first[0], second[0], await inside(), os.getpid()}) >= 3
    with pytest.raises(ArithmeticError) as caught:
        await fail()
    assert caught.value.args == ("own", 7)
    assert "in fail" in "".join(traceback.format_exception(caught.value))


async def test_tasks_called_inside_are_plain_functions(any_flow):
    """A task that an isolated body calls runs right there, a command too."""

    @any_flow.function_task
    def inner():
        return os.getpid()

    @any_flow.executable_task
    def say():
        return ["echo", "said"]

    @any_flow.function_task(isolate="process")
    def outer():
        return os.getpid() == inner(), say()

    assert await outer() == (True, "said\n")


async def test_large_arrays_travel_both_ways_and_can_be_written_to(flow):
    """Arrays, small, large and in other orders, come as they went, and are the receiver's own."""

    @flow.function_task(isolate="process")
    def swap(arrays):
        return {name: array + 1 for name, array in arrays.items()}

    given = {
        "large": np.zeros(80_000_000, dtype=np.uint8),
        "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "cut": np.arange(1_000_000)[::3],
        "small": np.arange(3),
    }
    found = await swap(given)
    for name, array in given.items():
        assert np.array_equal(found[name], array + 1)
        found[name][0] = 9
    assert found["large"][0] == 9


async def test_what_it_prints_goes_where_bodies_print(thread_flow, capfd):
    """Standard output and error come through as they are written, whatever is not text in them too."""

    @thread_flow.function_task(isolate="process")
    def talk():
        sys.stdout.write("to all\n")
        sys.stderr.write("für alle\n")
        os.write(1, b"\xff\n")

    await talk()
    out, err = capfd.readouterr()
    assert out == "to all\n\ufffd\n"
    assert err == "für alle\n"


async def test_what_cannot_travel_is_named(thread_flow):
    """An argument without a pickle is named by its parameter, a value by its type."""

    @thread_flow.function_task(isolate="process")
    def take(good, lock):
        return lock

    @thread_flow.function_task(isolate="process")
    def give():
        return threading.Lock()

    with pytest.raises(SerializationError, match="'lock'") as caught:
        await take(1, threading.Lock())
    assert caught.value.argument == "lock"
    with pytest.raises(SerializationError, match="returned a lock"):
        await give()


async def test_leaving_python_is_what_it_is_without_isolation(any_flow):
    """`sys.exit` fails the call as everywhere."""

    @any_flow.function_task(isolate="process")
    def leave():
        sys.exit(3)

    with pytest.raises(TaskExitError) as caught:
        await leave()
    assert isinstance(caught.value.__cause__, SystemExit)


async def test_threads_that_it_leaves_do_not_hold_the_call(thread_flow):
    """The call is over when the function has returned."""

    @thread_flow.function_task(isolate="process")
    def leave_one():
        threading.Thread(target=threading.Event().wait).start()
        return "done"

    assert await leave_one() == "done"


async def test_commands_and_prompts_take_the_option_and_are_what_they_were(thread_flow):
    """A command has processes of its own anyway."""

    @thread_flow.executable_task(isolate="process", memory="1MB")
    def say():
        return ["echo", "said"]

    assert await say() == "said\n"


async def test_no_file_is_left_and_none_is_seen(thread_flow, tmp_path, monkeypatch):
    """Call and value cross without a name in any directory."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))

    @thread_flow.function_task(isolate="process")
    def look():
        return [path.name for path in Path(os.environ["TMPDIR"]).iterdir()]

    assert await look() == []


# It can be killed


async def test_a_body_that_holds_the_gil_is_killed_at_its_timeout(any_flow, tmp_path):
    """C code that never lets go is gone before the slot is given back."""
    pids = Notes(tmp_path / "pids")
    task = any_flow.function_task(isolate="process", timeout="2s")(hold_the_gil)
    with pytest.raises(TaskTimeoutError, match=r"timeout of 2 s; its process was killed") as caught:
        await task(pids.path)
    assert caught.value.timeout == 2
    (pid,) = pids.lines
    assert not is_alive(int(pid))


async def test_a_body_that_holds_the_gil_is_killed_when_cancelled(any_flow, tmp_path):
    """Cancelling ends the process, not only the waiting."""
    pids = Notes(tmp_path / "pids")
    future = any_flow.function_task(isolate="process")(hold_the_gil)(pids.path)
    await until(lambda: pids.lines)
    future.cancel()
    await until(lambda: not is_alive(int(pids.lines[0])))


async def test_what_it_started_is_killed_with_it(flow, tmp_path):
    """The whole group goes, what ignores TERM too."""
    notes = Notes(tmp_path / "pids")

    @flow.function_task(isolate="process")
    def start():
        import subprocess

        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        notes.add(subprocess.Popen(["sleep", "1000"]).pid)
        notes.add(os.getpid())
        time.sleep(1000)

    future = start()
    await until(lambda: len(notes.lines) == 2)
    future.cancel()
    await until(lambda: not any(is_alive(int(pid)) for pid in notes.lines))


async def test_the_heartbeat_goes_on_while_it_holds_the_gil(worker_flow, tmp_path):
    """The worker's loop answers, other bodies run beside it, and cancelling kills it."""
    pids = Notes(tmp_path / "pids")
    future = worker_flow.function_task(isolate="process")(hold_the_gil)(pids.path)
    await until(lambda: pids.lines)

    def heartbeats(dask_scheduler):
        return {address: state.last_seen for address, state in dask_scheduler.workers.items()}

    client = future.dask_future.client
    before = await on_scheduler(client, heartbeats)
    assert await worker_flow.function_task(own_pid)() not in {os.getpid(), int(pids.lines[0])}
    async with asyncio.timeout(20):
        while not all(at > before[address] for address, at in (await on_scheduler(client, heartbeats)).items()):
            await asyncio.sleep(0.05)
    future.cancel()
    await until(lambda: not is_alive(int(pids.lines[0])))


async def test_it_dies_with_its_worker(worker_flow, tmp_path):
    """A worker that is killed takes the processes of its bodies along."""
    pids = Notes(tmp_path / "pids")
    worker = await worker_flow.function_task(own_pid)()
    future = worker_flow.function_task(isolate="process", lost_retries=0)(hold_the_gil)(pids.path)
    await until(lambda: pids.lines)
    os.kill(worker, signal.SIGKILL)
    await until(lambda: not is_alive(int(pids.lines[0])))
    future.cancel()


async def test_closing_ends_it(tmp_path):
    """Leaving the engine early leaves no process."""
    pids = Notes(tmp_path / "pids")
    with ThreadPoolExecutor(1) as pool:
        flow = await WorkflowEngine.create(backend=ConcurrentExecutionBackend(pool))
        flow.function_task(isolate="process")(hold_the_gil)(pids.path)
        await until(lambda: pids.lines)
        await flow.shutdown()
    assert not is_alive(int(pids.lines[0]))


async def test_a_slot_waits_for_the_process_that_is_killed(tmp_path):
    """What comes next on the only slot begins after the killed process has ended."""
    began = Gate(tmp_path / "began")
    with ThreadPoolExecutor(1) as pool:
        async with WorkflowEngine.create(backend=ConcurrentExecutionBackend(pool)) as flow:

            @flow.function_task(isolate="process", timeout="2s")
            def slow(path, began):
                signal.signal(signal.SIGTERM, lambda *_: (time.sleep(0.5), Notes(path).add("ended"), os._exit(0)))
                began.open()
                time.sleep(1000)

            @flow.function_task
            def look(path):
                return Notes(path).lines

            late, after = slow(str(tmp_path / "notes"), began), look(str(tmp_path / "notes"))
            assert await after == ["ended"]
            with pytest.raises(TaskTimeoutError):
                await late


# It may die


@pytest.mark.parametrize(
    ("how", "code", "text"),
    [("exit", 3, "exited with 3"), ("signal", -signal.SIGUSR1, "killed by SIGUSR1"), ("crash", -11, "SIGSEGV")],
)
async def test_a_process_that_dies_is_told_with_what_it_said(any_flow, how, code, text):
    """Exit code or signal, the last lines it wrote, and where: in the text and as facts."""

    @any_flow.function_task(isolate="process")
    def die(how):
        sys.stdout.write("last words\n")
        if how == "exit":
            os._exit(3)
        if how == "signal":
            os.kill(os.getpid(), signal.SIGUSR1)
        ctypes.string_at(0)

    with pytest.raises(ProcessDiedError, match=text) as caught:
        await die(how)
    error = caught.value
    assert "last words" in str(error)
    assert "'die'" in str(error)
    assert (error.exit_code, error.task, error.host) == (code, "die", os.uname().nodename)
    assert error.log.startswith("last words")
    if how == "crash":
        assert "in die" in error.log  # the line of Python that it happened in


async def test_a_process_that_dies_is_worth_another_attempt(any_flow, tmp_path):
    """Its death is the task's error, and counts against `retries`."""
    notes = Notes(tmp_path / "notes")

    @any_flow.function_task(isolate="process", retries=2)
    def die_twice(notes):
        notes.add("tried")
        if len(notes.lines) < 3:
            os._exit(1)
        return len(notes.lines)

    assert await die_twice(notes) == 3
