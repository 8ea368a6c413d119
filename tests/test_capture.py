"""`capture_stdio`: what tasks print and log goes to files of their own, while they run, and nobody else's does."""

# ruff: noqa: T201 - what bodies print is what is tested
import asyncio
import contextvars
import io
import logging
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from asyncflow import CommandError, OptionError, TaskTimeoutError, WorkflowEngine
from asyncflow.output import Output, output_directory
from conftest import open_engine
from gates import Gate, until

KINDS = ["dask", "threads", "processes"]


def directory(flow, future):
    return flow.work_dir / flow.uid / "tasks" / future.id


def names(path):
    return sorted(each.name for each in path.iterdir())


# Functions


async def test_what_a_function_prints_and_logs_goes_to_its_files(any_flow):
    """Standard output, standard error and log records lie in `tasks/<id>/`; the call returns what it returns."""

    @any_flow.function_task(capture_stdio=True)
    def talk():
        print("out", 1)
        sys.stdout.buffer.write(b"bytes\n")
        print("err\N{SNOWMAN}", file=sys.stderr)
        logging.getLogger("mine").warning("step %d", 7)
        return 42

    future = talk()
    assert await future == 42
    assert await future.stdout() == "out 1\nbytes\n"
    assert (await future.stderr()).startswith("err\N{SNOWMAN}\n")
    assert (await future.log()).endswith(" WARNING mine: step 7\n")
    assert names(directory(any_flow, future)) == ["log", "stderr", "stdout"]


async def test_a_coroutine_is_captured_with_all_that_it_starts(any_flow):
    """An `async def` body, tasks that it makes, and functions that it hands to threads."""

    @any_flow.function_task(capture_stdio=True)
    async def talk():
        async def more(number):
            await asyncio.sleep(0)
            print("task", number)

        print("body")
        await asyncio.gather(more(1), more(2))
        with ThreadPoolExecutor(1) as pool:
            run = contextvars.copy_context().run
            await asyncio.get_running_loop().run_in_executor(pool, run, print, "thread")

    future = talk()
    await future
    assert (await future.stdout()).splitlines() == ["body", "task 1", "task 2", "thread"]


async def test_threads_that_a_body_starts_write_to_its_files(any_flow):
    """Threads, pools and threads of threads are followed."""

    @any_flow.function_task(capture_stdio=True)
    def talk(name):
        def inner():
            thread = threading.Thread(target=print, args=(f"{name} inner",))
            thread.start()
            thread.join()

        with ThreadPoolExecutor(1) as pool:
            pool.submit(print, f"{name} pool").result()
            pool.submit(inner).result()

    futures = [talk(name) for name in "abcd"]
    await asyncio.gather(*futures)
    for name, future in zip("abcd", futures, strict=True):
        assert (await future.stdout()).splitlines() == [f"{name} pool", f"{name} inner"]


LINES = 30


def talk_in_turns(number):
    """Print, log, and have a thread print, so slowly that others do so meanwhile."""
    thread = threading.Thread(target=print_in_thread, args=(number,))
    thread.start()
    for line in range(LINES):
        print("line", number, line)
        logging.getLogger("mixed").error("%d %d", number, line)
        time.sleep(0.0002)
    thread.join()


def print_in_thread(number):
    for line in range(LINES):
        print(f"thread {number} {line}", file=sys.stderr)


async def print_in_turns(number):
    for line in range(LINES):
        print("line", number, line)
        await asyncio.sleep(0.0002)


def print_to_all(number):
    for line in range(LINES):
        print("nobody", number, line)


@pytest.mark.parametrize("kind", KINDS)
async def test_tasks_that_run_at_once_never_mix(kind, capsys):
    """Each of many tasks that print, log and start threads at once finds its own lines, whole and in order."""
    async with open_engine(kind) as flow:
        talks = [flow.function_task(each, capture_stdio=True) for each in (talk_in_turns, print_in_turns)]
        plain = flow.function_task(print_to_all)
        futures = [talks[number % 2](number) for number in range(24)]
        await asyncio.gather(*futures, *map(plain, range(8)))
        for number, future in enumerate(futures):
            assert (await future.stdout()).splitlines() == [f"line {number} {line}" for line in range(LINES)]
        for number, future in list(enumerate(futures))[::2]:
            told = [line for line in (await future.stderr()).splitlines() if line.startswith("thread")]
            assert told == [f"thread {number} {line}" for line in range(LINES)]
            logged = [line.rpartition(": ")[2] for line in (await future.log()).splitlines()]
            assert logged == [f"{number} {line}" for line in range(LINES)]
    if kind != "processes":  # whose standard output is not that of this test
        assert capsys.readouterr().out.count("nobody") == 8 * LINES


async def test_nothing_is_left_standing_in(thread_flow):
    """While a captured body runs the streams are ours; then everything is exactly what it was."""

    def standing():
        return sys.stdout, sys.stderr, threading.Thread.start, logging.getLogRecordFactory()

    before = standing()

    @thread_flow.function_task(capture_stdio=True)
    def look():
        return standing()

    @thread_flow.function_task
    def plain():
        return standing()

    during = await look()
    assert all(ours is not theirs for ours, theirs in zip(during, before, strict=True))
    assert standing() == before
    assert await plain() == before


async def test_what_a_body_puts_in_place_of_a_stream_is_left_there(thread_flow, monkeypatch):
    """Only what still is ours is taken out; a handler that a body has made writes on, to where all others write."""
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    mine = io.StringIO()
    logger = logging.getLogger("kept")

    @thread_flow.function_task(capture_stdio=True)
    def replace():
        logger.addHandler(logging.StreamHandler(sys.stderr))
        logger.error("inside")
        sys.stdout = mine

    try:
        monkeypatch.setattr(sys, "stdout", sys.stdout)
        future = replace()
        await future
        assert sys.stdout is mine
        logger.error("outside")
    finally:
        logger.handlers.clear()
    assert await future.stderr() == "inside\n"
    assert sys.stderr.getvalue() == "outside\n"


async def test_a_body_may_close_its_stream(any_flow):
    """That closes nobody else's, and the call ends as it would."""

    @any_flow.function_task(capture_stdio=True)
    def close():
        print("last words")
        sys.stdout.close()

    @any_flow.function_task(capture_stdio=True)
    def talk():
        print("alive")

    futures = [close(), talk()]
    await asyncio.gather(*futures)
    assert [await future.stdout() for future in futures] == ["last words\n", "alive\n"]


async def test_a_body_may_configure_logging(thread_flow, monkeypatch):
    """`logging.basicConfig` works in a body, and levels that it sets decide what is logged."""
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", [])
    monkeypatch.setattr(root, "level", root.level)
    monkeypatch.setattr(sys, "stderr", io.StringIO())

    @thread_flow.function_task(capture_stdio=True)
    def talk():
        root.info("too early")
        logging.basicConfig(level=logging.INFO, format="%(message)s")
        logging.getLogger("mine").info("now")
        logging.getLogger("mine").debug("never")
        try:
            1 / 0  # noqa: B018
        except ZeroDivisionError:
            root.exception("and %s", "then")

    future = talk()
    await future
    log = await future.log()
    assert "mine: now" in log
    assert "ZeroDivisionError" in log
    assert "early" not in log
    assert "never" not in log
    assert (await future.stderr()).startswith("now\nand then\nTraceback")
    root.handlers.clear()


async def test_programs_that_are_given_the_stream_write_to_the_file(thread_flow):
    """`sys.stdout` has a file descriptor, that of the file."""

    @thread_flow.function_task(capture_stdio=True)
    def call():
        print("before")
        subprocess.run(["echo", "inside"], stdout=sys.stdout, check=True)
        print("after")
        return sys.stdout.isatty(), sys.stdout.encoding

    future = call()
    assert await future == (False, "utf-8")
    assert await future.stdout() == "before\ninside\nafter\n"


async def test_output_is_there_while_the_task_runs(any_flow, tmp_path):
    """Each line can be read when it is written."""
    gate = Gate(tmp_path / "gate")

    @any_flow.function_task(capture_stdio=True)
    def talk(path):
        print("first")
        print("begun ", end="", flush=True)
        Gate(path).wait()
        print("second")

    future = talk(gate.path)

    async def written():
        while await future.stdout() != "first\nbegun ":
            await asyncio.sleep(0.01)

    await asyncio.wait_for(written(), 20)
    gate.open()
    await future
    assert await future.stdout() == "first\nbegun second\n"


async def test_a_traceback_is_the_end_of_standard_error(any_flow):
    """A function that raises leaves what a program would leave, its own frames first."""

    @any_flow.function_task(capture_stdio=True)
    def fail():
        print("unfinished", end="")
        raise ArithmeticError("no such number")

    future = fail()
    with pytest.raises(ArithmeticError):
        await future
    assert await future.stdout() == "unfinished"
    lines = (await future.stderr()).splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert lines[1].endswith("in fail")
    assert lines[-1] == "ArithmeticError: no such number"


@pytest.mark.parametrize("isolate", [None, "process"])
async def test_attempts_have_files_of_their_own(any_flow, tmp_path, isolate):
    """The last attempt is in `stdout`, those before in `stdout.1` and so on, though one of them was silent."""

    @any_flow.function_task(capture_stdio=True, retries=2, retry_delay=0, isolate=isolate)
    def talk(path):
        count = int(path.read_text())
        path.write_text(str(count + 1))
        if count != 1:
            print("attempt", count)
        if count < 2:
            raise ArithmeticError

    (tmp_path / "count").write_text("0")
    future = talk(tmp_path / "count")
    await future
    where = directory(any_flow, future)
    assert names(where) == ["stderr.1", "stderr.2", "stdout", "stdout.1"]
    assert await future.stdout() == "attempt 2\n"
    assert (where / "stdout.1").read_text() == "attempt 0\n"
    assert await future.stderr() == ""


async def test_what_runs_on_beyond_its_time_writes_to_its_own_attempt(flow, tmp_path):
    """With `timeout=` the body has a thread of its own, and a body that is left does not write to the next attempt."""
    gate, over = Gate(tmp_path / "gate"), Gate(tmp_path / "over")
    begun = tmp_path / "begun"

    @flow.function_task(capture_stdio=True, timeout=0.3, retries=1, retry_delay=0)
    def talk():
        if begun.exists():
            print("second")
            return
        begun.touch()
        print("first")
        gate.wait()
        print("late")
        over.open()

    future = talk()
    await future
    gate.open()
    await over.reached()
    where = directory(flow, future)
    await until(lambda: (where / "stdout.1").read_text() == "first\nlate\n")
    assert await future.stdout() == "second\n"


async def test_a_body_out_of_time_keeps_what_it_wrote(flow):
    """A coroutine that is ended by its timeout has written what it wrote."""

    @flow.function_task(capture_stdio=True, timeout=0.2)
    async def talk():
        print("begun")
        await asyncio.sleep(60)

    future = talk()
    with pytest.raises(TaskTimeoutError):
        await future
    assert await future.stdout() == "begun\n"


async def test_a_body_in_a_process_of_its_own_is_captured(any_flow, capfd):
    """With `isolate="process"` also what programs and C code write, and log records; nothing comes through."""

    @any_flow.function_task(capture_stdio=True, isolate="process")
    def talk():
        print("out")
        os.write(1, b"raw\n")
        subprocess.run(["echo", "program"], check=True)
        logging.getLogger("mine").error("logged")
        raise ArithmeticError("own")

    future = talk()
    with pytest.raises(ArithmeticError):
        await future
    assert await future.stdout() == "out\nraw\nprogram\n"
    assert (await future.log()).endswith(" ERROR   mine: logged\n")
    assert (await future.stderr()).endswith("ArithmeticError: own\n")
    assert "program" not in capfd.readouterr().out


# How much


@pytest.mark.parametrize("isolate", [None, "process"])
async def test_what_is_beyond_the_limit_is_counted(any_flow, isolate):
    """The file has `capture_limit` bytes, and a last line that says how many are missing."""

    @any_flow.function_task(capture_stdio=True, capture_limit="1kB", isolate=isolate)
    def talk():
        for _ in range(100):
            print("x" * 99)
        sys.stderr.write("y" * 1000)

    future = talk()
    await future
    written = await future.stdout()
    told = "[asyncflow: output was cut: 9000 bytes more than 1 kB were dropped; see capture_limit]\n"
    assert written == ("x" * 99 + "\n") * 10 + told
    assert await future.stderr() == "y" * 1000


async def test_a_command_is_not_ended_by_the_limit(any_flow):
    """What it resolves to is whole; what is captured beside it is cut."""

    @any_flow.executable_task(capture_stdio="beside", capture_limit=1000, shell=True)
    def talk():
        return "yes x | head -c 300000; yes e | head -c 3000 >&2; echo end"

    future = talk()
    value = await future
    assert len(value) == 300_004
    assert value.endswith("end\n")
    assert (await future.stdout()) == "x\n" * 500 + (
        "[asyncflow: output was cut: 299004 bytes more than 1 kB were dropped; see capture_limit]\n"
    )
    assert (await future.stderr()).startswith("e\n" * 500 + "[asyncflow: ")


async def test_a_file_that_is_a_result_is_never_cut(any_flow):
    """A command that resolves to the file of its standard output has all of it there; standard error is limited."""

    @any_flow.executable_task(capture_stdio=True, capture_limit=1000, shell=True)
    def talk():
        return "yes x | head -c 300000; yes e | head -c 200000 >&2; exit $CODE"

    path = Path(await talk())
    assert path.stat().st_size == 300_000
    assert "199000 bytes more" in path.with_name("stderr").read_text()


async def test_the_error_of_a_command_has_the_end_of_all_that_it_wrote(flow):
    """Whatever the limit of the file is."""

    @flow.executable_task(capture_stdio="beside", capture_limit=10, shell=True)
    def fail():
        return "yes e | head -c 100000 >&2; echo the reason >&2; exit 3"

    with pytest.raises(CommandError, match="the reason") as caught:
        await fail()
    assert len(caught.value.stderr) == 64_000
    assert "were dropped" in Path(caught.value.stderr_path).read_text()


def test_a_full_disk_does_not_hurt_the_task(tmp_path, caplog):
    """What cannot be written is dropped, and told once."""
    (tmp_path / "file").touch()
    with Output(tmp_path / "file" / "below", 1000) as output:
        assert output.stdout.write(b"lost") == 4
        assert output.stdout.write(b"lost") == 4
    assert caplog.text.count("cannot be kept") == 1


# Commands


async def test_attempts_of_a_command_have_files_of_their_own(any_flow, tmp_path):
    """What it resolves to is the output of the last attempt alone."""

    @any_flow.executable_task(capture_stdio=True, retries=1, retry_delay=0, shell=True)
    def talk(flag):
        return f"if [ -e {flag} ]; then echo second; else touch {flag}; echo first; exit 1; fi"

    future = talk(tmp_path / "flag")
    path = Path(await future)
    assert path.read_text() == "second\n"
    assert path.with_name("stdout.1").read_text() == "first\n"
    assert await future.stdout() == "second\n"


async def test_a_running_command_can_be_read(any_flow, tmp_path):
    """Its output is there as it comes, both ways of capturing it."""
    gate = Gate(tmp_path / "gate")
    script = f"echo begun; until [ -e {gate.path} ]; do sleep 0.02; done; echo over"

    def talk():
        return script

    futures = [any_flow.executable_task(talk, name=str(how), capture_stdio=how, shell=True) for how in (True, "beside")]
    futures = [each() for each in futures]

    async def written():
        while {await each.stdout() for each in futures} != {"begun\n"}:
            await asyncio.sleep(0.01)

    await asyncio.wait_for(written(), 20)
    gate.open()
    path, text = await asyncio.gather(*futures)
    assert Path(path).read_text() == text == "begun\nover\n"


async def test_a_command_in_a_directory_of_its_own_keeps_its_files_there(any_flow):
    """With `workdir=True` the file is in the directory of the attempt, and found; beside, it is not."""

    def talk():
        return "ls -A"

    inside = any_flow.executable_task(talk, workdir=True, capture_stdio=True)()
    beside = any_flow.executable_task(talk, workdir=True, capture_stdio="beside")()
    path, text = await asyncio.gather(inside, beside)
    assert Path(path).parent.name == f"{inside.id}-1"
    assert await inside.stdout() == "stderr\nstdout\n"
    assert text == await beside.stdout() == ""


async def test_commands_called_inside_bodies_have_files_of_their_own(thread_flow):
    """Two bodies that call one captured command at once get a file each."""

    @thread_flow.executable_task(capture_stdio=True)
    def say(word):
        return ["echo", word]

    @thread_flow.function_task(capture_stdio=True)
    def outer(word):
        path = say(word)
        print("said", Path(path).read_text().strip())
        return path

    futures = [outer(word) for word in "abcd"]
    paths = await asyncio.gather(*futures)
    assert len(set(paths)) == 4
    assert [await future.stdout() for future in futures] == [f"said {word}\n" for word in "abcd"]


# For the whole engine


async def test_for_a_whole_engine_it_changes_nothing_that_calls_return(tmp_path):
    """`create(capture_stdio=True)` captures all tasks but those that say otherwise, beside what they return."""
    async with open_engine("threads", work_dir=tmp_path, capture_stdio=True) as flow:

        @flow.function_task
        def talk():
            print("function")
            return 1

        @flow.executable_task
        def say():
            return ["echo", "command"]

        @flow.executable_task(capture_stdio=True)
        def to_file():
            return ["echo", "file"]

        @flow.function_task(capture_stdio=False)
        def not_me():
            return sys.stdout

        futures = [talk(), say(), to_file(), not_me()]
        values = await asyncio.gather(*futures)
        assert values[:2] == [1, "command\n"]
        assert Path(values[2]).read_text() == "file\n"
        assert [await future.stdout() for future in futures[:3]] == ["function\n", "command\n", "file\n"]
        with pytest.raises(OptionError, match="capture_stdio=True"):
            await futures[3].stdout()


async def test_a_configuration_asks_for_functions_too(tmp_path):
    """`capture_stdio: true` below `defaults:` means what it means on each task."""
    config = {
        "cluster": {"kind": "local", "processes": False, "n_workers": 1, "dashboard_address": None, "memory_limit": 0},
        "defaults": {"capture_stdio": True, "capture_limit": "1kB"},
    }
    async with WorkflowEngine.create(config, work_dir=tmp_path) as flow:
        future = flow.function_task(lambda: print("x" * 2000), name="talk")()
        path = flow.executable_task(lambda: ["echo", "command"], name="say")()
        await future
        assert "1001 bytes more" in await future.stdout()
        assert Path(await path).read_text() == "command\n"


async def test_what_is_not_captured_says_how_to_ask_for_it(thread_flow):
    """Asking a call for what it wrote is an error with the remedy, and nothing was made for it."""
    future = thread_flow.function_task(print, name="talk")("to all")
    await future
    for ask in (future.stdout, future.stderr, future.log):
        with pytest.raises(OptionError, match=r"'talk' is not captured.*create\(capture_stdio=True\)"):
            await ask()
    assert thread_flow.run_dir is None


async def test_a_silent_task_leaves_no_file(any_flow):
    """A file is made when there is something to write."""
    future = any_flow.function_task(lambda: 1, name="silent", capture_stdio=True)()
    await future
    assert await future.stdout() == ""
    assert not directory(any_flow, future).exists()


async def test_any_name_of_a_task_has_a_directory(any_flow):
    """Names with slashes, dots and of any length stay below `tasks/`, one for each call."""
    for name in ("../up", "a/b", ".hidden", "long" * 100):
        task = any_flow.function_task(print, name=name, capture_stdio=True)
        futures = [task("one"), task("two")]
        await asyncio.gather(*futures)
        assert [await future.stdout() for future in futures] == ["one\n", "two\n"]
        tasks = any_flow.run_dir / "tasks"
        assert {output_directory(str(tasks), each.id) for each in futures} <= set(tasks.iterdir())


# With results that are kept


@pytest.mark.parametrize("kind", KINDS)
async def test_captured_functions_are_kept_as_others_are(kind, resumed, notes):
    """The value of a captured function is kept; whether it is captured is no part of what the call is."""

    async def session(how):
        async with resumed(kind) as flow:

            @flow.function_task(checkpoint=True, capture_stdio=how)
            def talk(path):
                print("computed")
                return path

            @flow.executable_task(checkpoint=True, capture_stdio=how and "beside")
            def say():
                return ["echo", "said"]

            future = talk("x")
            return await future, await say(), await future.stdout() if how else ""

    assert await session(True) == ("x", "said\n", "computed\n")
    assert await session(True) == ("x", "said\n", "")
    assert await session(False) == ("x", "said\n", "")
