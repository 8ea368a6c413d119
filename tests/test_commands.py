"""Executable tasks: what is run, what it sees, and that it ends with its call and its worker."""

import asyncio
import json
import os
import shlex
import signal
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncflow import CommandError, TaskState, WorkflowEngine
from asyncflow.command import parse_command
from asyncflow.errors import EmptyBodyError
from asyncflow.groups import Guardian
from conftest import IN_PROCESS
from gates import Gate, Notes, is_alive, until

#: A command that writes its arguments, as JSON, to its standard output.
SHOW_ARGUMENTS = [sys.executable, "-I", "-S", "-c", "import sys, json; print(json.dumps(sys.argv[1:]))"]

#: Starts a child in its group, writes both process ids, ignores TERM where told, and runs until it is ended.
FAMILY = """
import os, signal, subprocess, sys
if sys.argv[2] == "stubborn":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen(["sleep", "1000"])
with open(sys.argv[1] + ".part", "w") as file:
    file.write(f"{os.getpid()} {child.pid}")
os.rename(sys.argv[1] + ".part", sys.argv[1])
child.wait()
signal.pause()
"""

arguments = st.lists(
    st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12), min_size=1
)


def family(path, manner="obedient"):
    """A command line of a process with a child; both ids are in `path` once they run."""
    return [sys.executable, "-I", "-S", "-c", FAMILY, str(path), manner]


async def pids_in(path):
    """The ids, as soon as they are there."""
    await until(Path(path).exists)
    return [int(word) for word in Path(path).read_text().split()]


@given(arguments)
def test_a_quoted_string_parses_to_the_arguments_that_were_quoted(words):
    """A string is split as a POSIX shell splits it, whatever the arguments hold."""
    assert parse_command(shlex.join(words), "task", shell=False) == words


@given(arguments)
def test_a_list_is_taken_as_it_is(words):
    """Arguments of a list are not split, expanded or quoted."""
    assert parse_command(words, "task", shell=False) == words


@given(st.one_of(st.none(), st.just(""), st.just([]), st.just(()), st.text(" \t\n", max_size=3)), st.booleans())
def test_nothing_to_run_is_refused(returned, shell):
    """None, an empty list and blank strings are no command, with a shell or without."""
    with pytest.raises(EmptyBodyError, match="return a list of arguments"):
        parse_command(returned, "task", shell=shell)


@pytest.mark.parametrize("returned", [3, {"a": 1}, b"ls", object()])
def test_what_is_no_command_is_refused_by_its_type(returned):
    """A body that returns something else is told what it returned."""
    with pytest.raises(EmptyBodyError, match=type(returned).__name__):
        parse_command(returned, "task", shell=False)


async def test_the_result_is_the_standard_output(any_flow):
    """A command resolves to what it wrote, line ends and all."""

    @any_flow.executable_task
    def hello():
        return "printf 'one\\ntwo\\n'"

    assert await hello() == "one\ntwo\n"


async def test_an_async_body_may_return_a_command(flow):
    """The body of an executable task may be a coroutine."""

    @flow.executable_task
    async def hello():
        return ["echo", "-n", "hello"]

    assert await hello() == "hello"


async def test_the_body_sees_values_and_runs_after_its_inputs_exist(any_flow, tmp_path):
    """Futures arrive in the body as values; paths and numbers in the list become arguments."""

    @any_flow.function_task
    def write(path):
        Path(path).write_text("input")
        return Path(path)

    @any_flow.executable_task
    def cat(path):
        assert Path(path).read_text() == "input"
        return ["cat", path]

    assert await cat(write(tmp_path / "file")) == "input"


async def test_output_of_one_command_feeds_another(any_flow):
    """A command's output is the next one's argument, byte for byte."""

    @any_flow.executable_task
    def echo(word):
        return ["printf", "%s", word]

    assert await echo(echo("a b  $HOME 'c'")) == "a b  $HOME 'c'"


async def test_no_way_of_quoting_leads_to_injection(flow, tmp_path):
    """Arguments arrive byte for byte, whatever shells would make of them."""
    trap = tmp_path / "trap"
    words = [
        f"; touch {trap}", f"$(touch {trap})", f"`touch {trap}`", f"&& touch {trap}", f"| touch {trap}", "$HOME", "*",
        "a\nb", "'", '"', "\\", "", " ", "-n", "~", "é\u2028", f"' ; touch {trap} ; '",
    ]  # fmt: skip

    @flow.executable_task
    def as_list(words):
        return [*SHOW_ARGUMENTS, *words]

    @flow.executable_task
    def as_string(words):
        return shlex.join([*SHOW_ARGUMENTS, *words])

    @flow.executable_task
    def naive(words):
        return f"{shlex.join(SHOW_ARGUMENTS)} {words}"

    assert json.loads(await as_list(words)) == words
    assert json.loads(await as_string(words)) == words
    assert json.loads(await naive(f"x; touch {trap} && $(touch {trap})")) == (
        ["x;", "touch", str(trap), "&&", "$(touch", f"{trap})"]
    )
    assert not trap.exists()


async def test_a_shell_is_used_where_it_is_asked_for_by_name(flow):
    """With `shell=True` the string is a shell's, pipes and all."""

    @flow.executable_task(shell=True)
    def count(words):
        return f"printf '%s ' {words} | wc -w | tr -d ' \\n'"

    assert await count("a b c") == "3"


async def test_a_shell_takes_one_string(flow):
    """With `shell=True` a list is refused, for a shell would drop all but its first part."""

    @flow.executable_task(shell=True)
    def wrong():
        return ["echo", "hello"]

    with pytest.raises(EmptyBodyError, match="return one string"):
        await wrong()


async def test_captured_output_is_a_file(any_flow, tmp_path, monkeypatch):
    """`capture_stdio=True` resolves to the path of a file with the standard output; the error output lies beside it."""

    @any_flow.executable_task(capture_stdio=True)
    def talk():
        return [sys.executable, "-c", "import sys; print('out'); print('err', file=sys.stderr)"]

    capture = Path(any_flow.work_dir)
    monkeypatch.chdir(tmp_path)
    path = Path(await talk())
    assert path.read_text() == "out\n"
    assert (path.parent / "stderr").read_text() == "err\n"
    assert capture in path.parents


async def test_env_and_cwd_are_options(any_flow, tmp_path):
    """A command sees the variables it was given on top of the worker's, in the directory it was given."""

    @any_flow.executable_task(env={"MINE": "a b"}, cwd=str(tmp_path), shell=True)
    def show():
        return 'echo "$MINE $PWD ${PATH:+path}"'

    assert await show() == f"a b {tmp_path} path\n"


@pytest.mark.parametrize("cores", [1, 2])
async def test_a_command_sees_its_cores(any_flow, cores):
    """`OMP_NUM_THREADS` and its kin equal the task's `cores`."""

    @any_flow.executable_task(cores=cores, shell=True)
    def show():
        return "echo $OMP_NUM_THREADS $MKL_NUM_THREADS $OPENBLAS_NUM_THREADS"

    assert await show() == f"{cores} {cores} {cores}\n"


async def test_env_wins_over_the_number_of_threads(flow):
    """Who sets OMP_NUM_THREADS by hand means it."""

    @flow.executable_task(cores=2, env={"OMP_NUM_THREADS": "7"}, shell=True)
    def show():
        return "echo $OMP_NUM_THREADS"

    assert await show() == "7\n"


async def test_standard_input_is_empty(flow):
    """A command that reads its input ends instead of waiting for the driver's terminal."""

    @flow.executable_task
    def read():
        return ["cat"]

    assert await read() == ""


async def test_two_tasks_that_share_a_workers_gpus_see_one_each(tmp_path):
    """With `resources: {gpu: 2}` two tasks of one GPU each see their own CUDA_VISIBLE_DEVICES at the same time."""
    config = {"cluster": {**IN_PROCESS["cluster"], "n_workers": 1, "resources": {"gpu": 2}}}
    script = 'echo "$CUDA_VISIBLE_DEVICES"; touch $0.$1; while ! [ -e $0.$2 ]; do sleep 0.01; done'
    async with WorkflowEngine.create(config) as flow:

        @flow.executable_task(resources={"gpu": 1})
        def show(mine, other):
            return ["sh", "-c", script, str(tmp_path / "up"), mine, other]

        seen = await asyncio.gather(show("a", "b"), show("b", "a"))
        both = await show.options(resources={"gpu": 2})("a", "a")
    assert sorted(seen) == ["0\n", "1\n"]
    assert both == "0,1\n"


async def test_cancelling_ends_the_whole_process_group(any_flow, tmp_path):
    """A cancelled command's processes, its children too, are gone; the call is CANCELLED at once."""

    @any_flow.executable_task
    def run(path):
        return family(path)

    future = run(tmp_path / "pids")
    pids = await pids_in(tmp_path / "pids")
    assert future.cancel()
    assert future.state is TaskState.CANCELLED
    await until(lambda: not any(map(is_alive, pids)))


async def test_a_command_that_ignores_term_is_killed(flow, tmp_path, monkeypatch):
    """KILL follows TERM for those that do not listen."""
    monkeypatch.setattr("asyncflow.groups.GRACE", 0.2)

    @flow.executable_task
    def run(path):
        return family(path, "stubborn")

    future = run(tmp_path / "pids")
    pids = await pids_in(tmp_path / "pids")
    future.cancel()
    await until(lambda: not any(map(is_alive, pids)))


async def test_term_comes_before_kill(flow, tmp_path):
    """A cancelled command may tidy up: TERM reaches it first."""
    tidy, ready = Gate(tmp_path / "tidy"), Gate(tmp_path / "ready")

    @flow.executable_task(shell=True)
    def run():
        return f"trap 'touch {tidy.path}; exit 1' TERM; touch {ready.path}; while true; do sleep 0.05; done"

    future = run()
    await ready.reached()
    future.cancel()
    await tidy.reached()


async def test_what_a_command_leaves_running_ends_with_it(flow, tmp_path):
    """A command that returns while a child of its group still runs holds no slot and leaves no process."""

    @flow.executable_task(shell=True)
    def leave():
        return "sleep 1000 & echo $!"

    pid = int(await leave())
    await until(lambda: not is_alive(pid))


async def test_a_pending_command_that_is_cancelled_never_starts(flow, tmp_path):
    """A command that waits for its input is not run once it is cancelled."""
    gate, notes = Gate(tmp_path / "gate"), Notes(tmp_path / "notes")

    @flow.function_task
    def hold(gate):
        gate.wait()

    @flow.executable_task(shell=True)
    def note(_):
        return f"echo ran >> {notes.path}"

    held = hold(gate)
    doomed, other = note(held), note(held)
    doomed.cancel()
    gate.open()
    await other
    assert notes.lines == ["ran"]


async def test_shutdown_ends_commands(tmp_path):
    """Leaving an engine by an exception stops the commands that run."""

    class Left(Exception):
        pass

    with pytest.raises(Left):
        async with WorkflowEngine.create(IN_PROCESS) as flow:

            @flow.executable_task
            def run(path):
                return family(path)

            future = run(tmp_path / "pids")
            pids = await pids_in(tmp_path / "pids")
            raise Left
    assert future.cancelled()
    await until(lambda: not any(map(is_alive, pids)))


async def test_a_command_dies_with_its_killed_worker(tmp_path):
    """When the worker's process is killed outright, its commands end, and what they started."""
    cluster = {"kind": "local", "n_workers": 1, "threads_per_worker": 2, "dashboard_address": None}
    async with WorkflowEngine.create({"cluster": cluster}) as flow:

        @flow.executable_task
        def run(path):
            Path(f"{path}.worker").write_text(str(os.getpid()))
            return family(path)

        future = run(tmp_path / "pids")
        pids = await pids_in(tmp_path / "pids")
        assert all(map(is_alive, pids))
        os.kill(int(Path(f"{tmp_path}/pids.worker").read_text()), signal.SIGKILL)
        await until(lambda: not any(map(is_alive, pids)))
        future.cancel()


async def test_captured_error_output_is_named_in_the_error(flow, tmp_path, monkeypatch):
    """Where output is captured, the error names the file that has all of the standard error."""

    @flow.executable_task(capture_stdio=True, shell=True)
    def fail():
        return "yes | head -c 100000 >&2; exit 3"

    monkeypatch.chdir(tmp_path)
    with pytest.raises(CommandError) as caught:
        await fail()
    assert len(caught.value.stderr) == 64_000
    assert len(Path(caught.value.stderr_path).read_text()) == 100_000


async def test_a_process_forked_after_a_command_does_not_hold_up_the_end(process_flow):
    """An engine whose executor forks after a command has run closes as quickly as any."""

    @process_flow.executable_task
    def echo():
        return ["echo"]

    @process_flow.function_task
    def one():
        return 1

    await echo()
    await one()
    async with asyncio.timeout(10):
        await process_flow.shutdown()


def test_a_closed_guardian_is_not_started_again():
    """A command that ends while its worker closes leaves no program behind: the leak check would see it."""
    guardian = Guardian()
    guardian.close()
    guardian.forget(1)
    guardian.watch(1)
    assert guardian._program is None
