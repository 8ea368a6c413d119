"""Mistakes of users: each is told in words, fails one call, and neither hangs nor stops the engine."""

import asyncio
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from asyncflow import (
    BackendNameError,
    CommandError,
    CommandNotFoundError,
    ConcurrentExecutionBackend,
    EmptyBodyError,
    EngineClosedError,
    NoEventLoopError,
    OptionError,
    RefusedError,
    SerializationError,
    TaskExitError,
    TaskState,
    WorkflowEngine,
)
from conftest import IN_PROCESS, open_engine
from gates import Notes

#: What lives in this module and does not pickle.
LOCK = threading.Lock()


def identity(value=None):
    """A body."""
    return value


@pytest.fixture
async def alive(any_flow):
    """An engine which, after the mistake, still serves."""
    yield any_flow
    assert await asyncio.wait_for(any_flow.function_task(identity)("alive"), 20) == "alive"


@pytest.fixture(params=["dask", "processes"])
async def far(request):
    """An engine whose functions and arguments travel as bytes; after the mistake it still serves."""
    async with open_engine(request.param) as flow:
        yield flow
        assert await asyncio.wait_for(flow.function_task(identity)("alive"), 20) == "alive"


async def test_a_body_that_returns_no_command(alive):
    """An executable task whose body returns None or nothing fails with its name and the remedy."""

    @alive.executable_task
    def forgot(returned):
        return returned

    for returned in (None, "", "   ", []):
        with pytest.raises(EmptyBodyError, match=r"'forgot' returned .*return a list of arguments or a non-empty comm"):
            await forgot(returned)


async def test_a_string_that_does_not_parse(alive):
    """An open quotation is told with the text."""

    @alive.executable_task
    def unclosed():
        return "echo 'hello"

    with pytest.raises(EmptyBodyError, match="does not parse: No closing quotation"):
        await unclosed()


async def test_a_task_called_outside_a_running_loop():
    """Where no loop runs the call raises at once, with what to write."""
    async with open_engine("threads") as flow:
        task, block = flow.function_task(identity), flow.block(async_identity)
        with ThreadPoolExecutor(1) as pool:
            for call in (task, block):
                error = await asyncio.wrap_future(pool.submit(_error_of, call))
                assert isinstance(error, NoEventLoopError)
                assert isinstance(error, RuntimeError)
                assert "asyncio.run(main())" in str(error)
        assert await task(1) == 1


async def async_identity(value=None):
    """A block."""
    return value


def _error_of(call):
    try:
        call()
    except Exception as error:
        return error
    return None


@pytest.mark.parametrize("kind", ["dask", "threads"])
async def test_a_task_called_after_shutdown(kind):
    """A call after shutdown raises at once and names the task."""
    async with open_engine(kind) as flow:
        task, block = flow.function_task(identity), flow.block(async_identity)
        assert await task(1) == 1
    for call in (task, block):
        with pytest.raises(EngineClosedError, match="after the engine shut down; create a new engine"):
            call()


async def test_an_argument_that_cannot_be_pickled_is_named(far, tmp_path):
    """The error names argument and function; that call fails before anything is sent, its neighbours do not."""
    notes = Notes(tmp_path / "notes")

    @far.function_task
    def work(notes, first, *rest, second=None, **more):
        notes.add("ran")
        return first

    lock = threading.Lock()
    wrong = {
        "first": work(notes, lock),
        "second": work(notes, 1, second=[lock]),
        "other": work(notes, 1, other={"deep": lock}),
        "#3": work(notes, 1, lock),
    }
    good = work(notes, "good")
    assert {future.state for future in wrong.values()} == {TaskState.FAILED}
    for name, future in wrong.items():
        with pytest.raises(SerializationError) as caught:
            await future
        assert caught.value.argument == name
        assert f"argument {name!r} of 'work' cannot be pickled" in str(caught.value)
    assert await good == "good"
    assert notes.lines == ["ran"]


async def test_a_function_that_cannot_be_pickled_names_what_it_refers_to(far):
    """The error names the global or enclosed variable that is in the way."""
    lock = threading.Lock()

    @far.function_task
    def enclosed():
        return lock.locked()

    @far.function_task
    def uses_global():
        return LOCK.locked()

    @far.function_task
    def default(lock=LOCK):
        return lock.locked()

    for task, name in ((enclosed, "lock"), (uses_global, "LOCK"), (default, "lock")):
        future = task()
        assert future.state is TaskState.FAILED
        with pytest.raises(SerializationError, match=f"refers to '{name}', a lock") as caught:
            await future
        assert caught.value.argument is None


async def test_an_argument_that_does_not_open_on_the_worker(far):
    """A value whose pickle fails when it is opened fails its call with the reason."""
    with pytest.raises(ZeroDivisionError):
        await far.function_task(identity)(OpensWrong())


class OpensWrong:
    """Pickles, and cannot be opened."""

    def __reduce__(self):
        return divmod, (1, 0)


async def test_a_result_that_cannot_be_pickled(process_flow):
    """A process pool's call whose result cannot come back fails; the pool goes on."""

    @process_flow.function_task
    def make():
        return threading.Lock()

    with pytest.raises(TypeError, match="cannot pickle"):
        await make()
    assert await process_flow.function_task(identity)(1) == 1


async def test_an_unknown_backend_name_fails_that_call(alive):
    """The error names those there are and suggests; it is a KeyError too."""
    name = alive.backend.name
    wrong, right = (alive.function_task(backend=each)(identity)(1) for each in (f"{name}x", name))
    with pytest.raises(BackendNameError, match=f"no backend is called '{name}x'; did you mean '{name}'") as caught:
        await wrong
    assert isinstance(caught.value, KeyError)
    assert caught.value.known == (name,)
    assert await right == 1


async def test_two_backends_of_one_name():
    """`create` raises before anything is started, and says how to give another name."""
    with ThreadPoolExecutor(1) as one, ThreadPoolExecutor(1) as two:
        backends = [ConcurrentExecutionBackend(one), ConcurrentExecutionBackend(two)]
        with pytest.raises(BackendNameError, match=r"two backends are called 'threads'.*name='other'"):
            await WorkflowEngine.create(backend=backends)


@pytest.mark.parametrize("backend", [3, "dask", [], [None]], ids=repr)
async def test_what_is_no_backend(backend):
    """`create` says what it takes."""
    with pytest.raises(TypeError, match="backend= takes an ExecutionBackend"):
        await WorkflowEngine.create(backend=backend)


async def test_a_timeout_of_zero(alive):
    """Refused where it is written, wherever that is."""
    with pytest.raises(OptionError, match=r"option 'timeout': .*greater than 0 \(got 0\)"):
        alive.function_task(timeout=0)
    with pytest.raises(OptionError, match="timeout"):
        alive.function_task(identity)(1, task_description={"timeout": "0s"})


async def test_a_resource_nobody_has():
    """The call raises with the pool's name and what to do."""
    async with WorkflowEngine.create(IN_PROCESS) as flow:
        task = flow.function_task(identity)
        with pytest.raises(RefusedError, match="'quantum', which pool 'local' does not declare; add it to resources:"):
            task.options(resources={"quantum": 1})()
        assert await task(1) == 1


async def test_a_command_that_does_not_exist(alive):
    """The error names the command and the PATH that was searched."""

    @alive.executable_task
    def run():
        return ["no-such-command-anywhere", "--flag"]

    with pytest.raises(CommandNotFoundError, match=r"there is no command 'no-such-command-anywhere'.*PATH") as caught:
        await run()
    assert caught.value.returncode is None
    assert list(caught.value.command) == ["no-such-command-anywhere", "--flag"]


async def test_a_directory_that_does_not_exist(alive):
    """A wrong `cwd` is not mistaken for a wrong command."""

    @alive.executable_task(cwd="/no/such/place")
    def run():
        return ["true"]

    with pytest.raises(CommandNotFoundError, match="in '/no/such/place': there is no such directory"):
        await run()


@pytest.mark.parametrize("word", ["a\0b", "x" * 4_000_000], ids=["a null byte", "too long"])
async def test_a_command_that_the_system_refuses(alive, word):
    """What cannot be started fails its call in words."""

    @alive.executable_task
    def run():
        return ["echo", word]

    with pytest.raises(CommandNotFoundError, match="cannot run 'echo'"):
        await run()


async def test_a_command_that_exits_non_zero(alive):
    """The error has exit status, command, and the last 64 kB of the standard error."""
    script = "import sys; sys.stderr.write('x' * 100_000 + '\\nlast words\\n'); sys.exit(7)"

    @alive.executable_task
    def run():
        return [sys.executable, "-c", script]

    with pytest.raises(CommandError, match="exited with 7: last words") as caught:
        await run()
    error = caught.value
    assert error.returncode == 7
    assert error.command == [sys.executable, "-c", script]
    assert len(error.stderr) == 64_000
    assert error.stderr.endswith("x\nlast words\n")
    assert error.stderr_path is None


async def test_output_that_is_no_text(alive):
    """Bytes that are no UTF-8 do not fail a command; they are replaced."""

    @alive.executable_task
    def run():
        return ["printf", "a\\377b"]

    assert await run() == "a\ufffdb"


async def test_a_command_killed_by_a_signal(alive):
    """The error names the signal; `returncode` is negative, as in subprocess."""

    @alive.executable_task(shell=True)
    def run(number):
        return f"kill -{number} $$"

    for number, name in ((9, "SIGKILL"), (15, "SIGTERM"), (11, "SIGSEGV")):
        with pytest.raises(CommandError, match=f"was killed by {name}") as caught:
            await run(number)
        assert caught.value.returncode == -number


@pytest.mark.parametrize("kind", ["function_task", "executable_task", "block"])
async def test_a_body_that_raises_what_ends_programs(alive, kind):
    """SystemExit, KeyboardInterrupt and other BaseExceptions fail the call with TaskExitError, of whatever kind."""
    for original in (SystemExit(1), KeyboardInterrupt(), BaseException("base"), GeneratorExit()):

        def body(original=original):
            raise original

        async def block(original=original):
            raise original

        with pytest.raises(TaskExitError) as caught:
            await getattr(alive, kind)(block if kind == "block" else body)()
        assert type(caught.value.__cause__) is type(original)


async def test_wrong_arguments_are_the_callees_error(alive):
    """A call that does not fit the function's signature fails with Python's own TypeError."""
    with pytest.raises(TypeError, match="positional argument"):
        await alive.function_task(identity)(1, 2, 3)


async def test_what_is_no_function_cannot_be_decorated(thread_flow):
    """The decorator says what it got."""
    with pytest.raises(TypeError, match="made of a function, got 3"):
        thread_flow.function_task(3)


async def test_a_dependency_on_oneself_through_a_list_is_impossible_and_a_deep_nest_is_not(flow):
    """Arguments nested a hundred deep arrive."""
    future = flow.function_task(identity)(7)
    nested = future
    for _ in range(100):
        nested = [nested]

    def depth(value):
        count = 0
        while isinstance(value, list):
            (value,), count = value, count + 1
        return count, value

    assert await flow.function_task(depth)(nested) == (100, 7)
