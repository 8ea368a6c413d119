"""Declared files in tasks of every kind: handed on from call to call, checked on workers, in directories of their own."""

import asyncio
import os
from pathlib import Path

import pytest

from asyncflow import (
    CommandError,
    CommandOutput,
    DependencyFailureError,
    FileError,
    InputFile,
    OptionError,
    OutputFile,
    WorkflowEngine,
)
from asyncflow.files import digest_of
from conftest import IN_PROCESS, open_engine
from gates import Gate, Notes
from shapes import Setup


@pytest.fixture
async def any_flow(request, tmp_path):
    """An engine on every backend that runs bodies, whose run directory is `tmp_path`."""
    async with open_engine(request.param, work_dir=tmp_path / "runs") as flow:
        yield flow


def pytest_generate_tests(metafunc):
    """On all three kinds."""
    if "any_flow" in metafunc.fixturenames:
        metafunc.parametrize("any_flow", ["dask", "threads", "processes"], indirect=True)


# Handed on


async def test_a_function_hands_its_files_on(any_flow, tmp_path):
    """Outputs in a returned value arrive at the next task as inputs with size and digest, wherever they stand."""

    @any_flow.function_task
    def make(text, out):
        Path(out).write_text(text)
        return Setup(7, "made", [out, {"again": out}])

    @any_flow.function_task
    def read(made):
        first, second = made.parts[0], made.parts[1]["again"]
        return type(first).__name__, first == second, Path(first).read_text(), first.size, first.digest

    path = tmp_path / "deep" / "out"
    assert await read(make("text", OutputFile(path))) == (
        "InputFile",
        True,
        "text",
        4,
        digest_of_text("text", tmp_path),
    )


def digest_of_text(text, tmp_path):
    """What the digest of a file with `text` is."""
    path = tmp_path / "expected"
    path.write_text(text)
    return digest_of(path)


async def test_a_command_hands_its_files_on(any_flow):
    """A command resolves to its output with its files, by parameter and by name; what takes that sees both."""

    @any_flow.executable_task(workdir=True)
    def relax(start, final=OutputFile("final.xyz"), *, log):
        return ["sh", "-c", f"echo {start} > {final.path}; echo log > log.txt; echo done"]

    @any_flow.function_task
    def analyse(run):
        return run, Path(run.files["final"]).read_text(), Path(run.files["log.txt"]).read_text()

    @any_flow.executable_task
    def show(run):
        return ["cat", run.files["final"], run.files["log"]]

    run = relax("start", log=OutputFile("log.txt"))
    assert await analyse(run) == ("done\n", "start\n", "log\n")
    assert await show(run) == "start\nlog\n"
    value = await run
    assert type(value) is CommandOutput
    assert set(value.files) == {"final", "final.xyz", "log", "log.txt"}
    assert value.files["final"].size == 6


async def test_inputs_go_where_values_go(any_flow, tmp_path):
    """An input of the driver is a path in the body, as a default value of a parameter too."""
    (tmp_path / "a").write_text("a")
    (tmp_path / "b").write_text("b")

    @any_flow.executable_task
    def cat(files, more=InputFile(tmp_path / "b")):
        return ["cat", *files["all"], more]

    assert await cat({"all": [InputFile(tmp_path / "a")]}) == "ab"


async def test_captured_output_has_files_too(any_flow):
    """With captured output the value is the path of it, in the directory of the command, and has the files."""

    @any_flow.executable_task(workdir=True, capture_stdio=True)
    def relax(out=OutputFile("out")):
        return ["sh", "-c", "echo file > out; echo text; echo progress >&2"]

    value = await relax()
    assert Path(value).read_text() == "text\n"
    assert Path(value).with_name("stderr").read_text() == "progress\n"
    assert Path(value.files["out"]) == Path(value).with_name("out")


async def test_values_without_files_are_as_ever(any_flow):
    """A command that declares none resolves to plain text, in a directory of its own too."""

    @any_flow.executable_task(workdir=True)
    def hello():
        return "echo hello"

    assert type(await hello()) is str


async def test_a_function_in_a_process_of_its_own_has_files_too(any_flow, tmp_path):
    """Isolated functions are checked alike, and hand on what they make."""
    (tmp_path / "start").write_text("start")

    @any_flow.function_task(isolate="process")
    def twice(start, out):
        Path(out).write_text(Path(start).read_text() * 2)
        return out

    made = await twice(InputFile(tmp_path / "start"), OutputFile(tmp_path / "out"))
    assert (type(made), made.size, Path(made).read_text()) == (InputFile, 10, "startstart")


# What goes wrong


async def test_a_missing_input_fails_the_task_by_name(any_flow, tmp_path):
    """Before the body: it never runs."""
    notes = Notes(tmp_path / "notes")

    @any_flow.function_task
    def read(first, second):
        notes.add("ran")

    with pytest.raises(FileError, match=r"'read' cannot begin.*'second'.*is not there") as failed:
        await read(1, second=[InputFile(tmp_path / "x")])
    assert failed.value.paths == (str(tmp_path / "x"),)
    assert notes.lines == []


async def test_a_missing_output_fails_the_task_by_name(any_flow, tmp_path):
    """All are listed, with what is there instead; what depends on it fails with the way to it."""

    @any_flow.executable_task(workdir=True)
    def relax(out, log=OutputFile("log")):
        return ["touch", "out.xyz", "log.txt"]

    @any_flow.function_task
    def analyse(run):
        return run

    with pytest.raises(DependencyFailureError, match="analyse <- relax") as failed:
        await analyse(relax(OutputFile("out")))
    error = failed.value.root_cause
    assert isinstance(error, FileError)
    assert [Path(path).name for path in error.paths] == ["out", "log"]
    assert "holds 'log.txt', 'out.xyz'" in str(error)


async def test_a_file_changed_between_two_tasks_is_refused(any_flow, tmp_path):
    """What one task has made is given to the next as it was made, or the next fails by name."""

    @any_flow.function_task
    def make(out):
        Path(out).write_text("text")
        return out

    @any_flow.function_task
    def read(made):
        return Path(made).read_text()

    made = await make(OutputFile(tmp_path / "out"))
    assert await read(made) == "text"
    (tmp_path / "out").write_text("TEXT")
    with pytest.raises(FileError, match=r"input 'made', .*, has another content than when it was handed over"):
        await read(made)


async def test_a_body_that_changes_its_input_fails_by_name(any_flow, tmp_path):
    """Inputs stay as they are while a body runs."""
    (tmp_path / "x").write_text("text")

    @any_flow.executable_task
    def spoil(path):
        return ["sh", "-c", 'echo more >> "$0"', path]

    with pytest.raises(FileError, match=r"input 'path', .*, was changed meanwhile"):
        await spoil(InputFile(tmp_path / "x"))


async def test_another_attempt_may_make_the_file(any_flow, tmp_path):
    """A missing output is worth another attempt; what the first has left does not count, however quickly it comes."""
    gate = Gate(tmp_path / "gate")

    @any_flow.function_task(retries=2)
    def make(out, other):
        Path(out).write_text("text")
        if gate.is_open:
            Path(other).write_text("text")
        gate.open()
        return out, other

    made = await make(OutputFile(tmp_path / "out"), OutputFile(tmp_path / "other"))
    assert [Path(file).read_text() for file in made] == ["text", "text"]


# Directories of their own


async def test_each_attempt_runs_in_a_directory_of_its_own(any_flow, tmp_path):
    """Calls and attempts never share one; those of failed attempts stay, to be looked at."""

    @any_flow.executable_task(workdir=True, retries=1)
    def once(number):
        return ["sh", "-c", f"test -e seen && echo shared; touch seen; pwd; exit {number}"]

    places = {await once(0), await once(0)}
    with pytest.raises(CommandError):
        await once(1)
    directories = sorted((tmp_path / "runs").glob("*/tasks/*"))
    assert len(places) == 2
    assert len(directories) == 4
    assert {place.strip() for place in places} < set(map(str, directories))
    assert [(directory / "seen").exists() for directory in directories] == [True] * 4
    assert {directory.stat().st_mode & 0o777 for directory in directories} == {0o700}


async def test_an_error_says_which_directory_is_kept(any_flow, tmp_path):
    """A failed command names the directory of its attempt, in which what it wrote can be looked at."""

    @any_flow.executable_task(workdir=True)
    def diverge():
        return ["sh", "-c", "echo NaN > energy; exit 3"]

    with pytest.raises(CommandError) as failed:
        await diverge()
    (note,) = failed.value.__notes__
    directory = Path(note.removeprefix("its directory is kept: "))
    assert (directory / "energy").read_text() == "NaN\n"


async def test_a_relative_output_lies_where_the_command_runs(any_flow, tmp_path):
    """In ``cwd=`` where that is asked for, and its directories are made."""

    @any_flow.executable_task(cwd=str(tmp_path))
    def make(out):
        return ["sh", "-c", f"echo text > {out}; cat logs/a.txt"]

    output = await make(OutputFile("logs/a.txt"))
    assert output == "text\n"
    assert output.files["out"].path == str(tmp_path / "logs" / "a.txt")


async def test_a_working_directory_of_ones_own_and_a_given_one_exclude_each_other(thread_flow):
    """Both at once are refused where they are written; one of a single task wins over a default for all."""
    with pytest.raises(OptionError, match="'workdir' and 'cwd' exclude each other"):
        thread_flow.executable_task(workdir=True, cwd="/tmp")
    task = thread_flow.executable_task(workdir=True)(lambda: "pwd")
    with pytest.raises(OptionError, match="exclude each other"):
        task.options(cwd="/tmp")
    assert await task.options(cwd="/tmp", workdir=False)() == "/tmp\n"


async def test_a_default_directory_gives_way_to_a_given_one(tmp_path):
    """``defaults:`` may ask for directories for all; a task with ``cwd=`` runs there."""
    async with WorkflowEngine.create({**IN_PROCESS, "defaults": {"workdir": True}}, work_dir=tmp_path) as flow:
        assert await flow.executable_task(cwd="/tmp")(lambda: "pwd")() == "/tmp\n"
        assert str(tmp_path) in await flow.executable_task(lambda: "pwd")()


# Kept results


async def test_a_kept_result_holds_as_long_as_its_files_do(tmp_path):
    """A resumed run makes again what is gone or changed, and what was made of an input with another content."""
    notes = Notes(tmp_path / "notes")
    start, out = tmp_path / "start", tmp_path / "out"

    async def run(text):
        await asyncio.to_thread(start.write_text, text)
        async with WorkflowEngine.create(IN_PROCESS, work_dir=tmp_path / "runs", resume="campaign") as flow:

            @flow.function_task(checkpoint=True)
            def relax(structure, final):
                notes.add("ran")
                Path(final).write_text(Path(structure).read_text().upper())
                return final

            return Path(await relax(InputFile(start), OutputFile(out))).read_text()

    assert [await run("one"), await run("one")] == ["ONE", "ONE"]
    assert len(notes.lines) == 1
    out.write_text("another")
    assert await run("one") == "ONE"
    assert len(notes.lines) == 2
    assert await run("two") == "TWO"
    assert len(notes.lines) == 3


async def test_commands_are_kept_by_the_content_of_their_inputs(tmp_path):
    """The same command on a file elsewhere with the same content is the same; on another content, another."""
    notes = Notes(tmp_path / "notes")
    for name, text in (("a", "one"), ("b", "one"), ("c", "two")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "start").write_text(text)

    for name in "abc":
        async with WorkflowEngine.create(IN_PROCESS, work_dir=tmp_path / "runs", resume="campaign") as flow:

            @flow.executable_task(checkpoint=True, workdir=True)
            def upper(source, result=OutputFile("result")):
                return ["sh", "-c", f"echo ran >> {notes.path}; tr a-z A-Z < {source} > {result}"]

            output = await upper(InputFile(tmp_path / name / "start"))
            assert await asyncio.to_thread(Path(output.files["result"]).read_text) == {"c": "TWO"}.get(name, "ONE")
    assert len(notes.lines) == 2


# Worker programs


@pytest.mark.slow
async def test_files_go_from_worker_to_worker(tmp_path, monkeypatch):
    """Between worker programs on a real cluster: made on one, checked and read on another."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "start.xyz").write_text("start")
    config = {"cluster": {"kind": "local", "n_workers": 2, "threads_per_worker": 1, "dashboard_address": None}}
    async with WorkflowEngine.create(config, work_dir=tmp_path / "runs") as flow:

        @flow.executable_task(workdir=True)
        def relax(start, number, out=OutputFile("out.xyz")):
            return ["sh", "-c", f"cat {start} > out.xyz; echo {number} >> out.xyz; echo {os.getpid()}"]

        @flow.function_task
        def read(runs):
            return os.getpid(), [Path(run.files["out"]).read_text() for run in runs]

        runs = [relax(InputFile("start.xyz"), number) for number in range(8)]
        pid, texts = await read(runs)
        assert texts == [f"start{number}\n" for number in range(8)]
        assert {int(await run) for run in runs} - {pid}
