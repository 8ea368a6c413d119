"""What a kept result is known by: the function, the arguments, what a command is told, and nothing else."""

import textwrap
import threading
from pathlib import Path

import pytest

from asyncflow import (
    CheckpointError,
    InputFile,
)
from conftest import open_engine
from kept import KINDS, counted

SCALE = 2


@pytest.mark.parametrize("kind", KINDS)
async def test_commands_are_kept(kind, resumed, notes, tmp_path):
    """By text, arguments, environment asked for and content of their input files; whatever else stays the same."""
    source = tmp_path / "input.txt"
    source.write_text("one")
    word, env = "a", {"COLOUR": "red"}

    async def session():
        async with resumed(kind) as flow:

            @flow.executable_task(checkpoint=True, shell=True, env=env)
            def show(file, text):
                return f'echo begun >> {notes.path}; cat {file}; echo "{text} $COLOUR"'

            return await show(InputFile(str(source)), word)

    assert await session() == "onea red\n"
    assert await session() == "onea red\n"
    assert counted(notes) == {"begun": 1}
    word = "b"
    assert await session() == "oneb red\n"
    env = {"COLOUR": "blue"}
    assert await session() == "oneb blue\n"
    source.write_text("two")
    assert await session() == "twob blue\n"
    assert counted(notes) == {"begun": 3}
    source.touch()
    assert await session() == "twob blue\n"
    assert counted(notes) == {}


async def test_captured_output_that_is_gone_is_made_again(resumed, notes):
    """A kept result that is the path of a file does not outlive the file, nor its content."""

    async def session():
        async with resumed() as flow:

            @flow.executable_task(checkpoint=True, capture_stdio=True)
            def say():
                notes.add("say")
                return ["printf", "hello"]

            return await say()

    path = Path(await session())
    assert path.read_text() == "hello"
    assert await session() == str(path)
    assert counted(notes) == {"say": 1}
    path.unlink()
    path = Path(await session())
    assert path.read_text() == "hello"
    assert counted(notes) == {"say": 1}
    path.write_text("hellO")
    path = Path(await session())
    assert path.read_text() == "hello"
    assert counted(notes) == {"say": 1}


def variant(text, **names):
    """Functions as another version of the script would define them."""
    names = {"__name__": "script", **names}
    exec(compile(textwrap.dedent(text), "<script>", "exec"), names)
    return names


BODY = """
def helper(x):
    return x + 1

def prepare(x):
    notes.add("prepare")
    return helper(x)

def solve(x, scale=2):
    notes.add("solve")
    return x * scale * FACTOR + offset

def finish(x):
    notes.add("finish")
    return x
"""


@pytest.mark.parametrize(
    ("old", "new", "again"),
    [
        ("return x + 1", "return x + 2", {"prepare", "solve", "finish"}),
        ("return helper(x)", "return helper(x) + 0", {"prepare", "solve", "finish"}),
        ("    return x\n", "    return +x\n", {"finish"}),
        ("scale=2", "scale=3", {"solve", "finish"}),
        ("return x * scale", "# a remark\n    return (x * scale)", set()),
        ("FACTOR", "OTHER", {"solve", "finish"}),
    ],
)
async def test_a_changed_function_runs_again_with_its_dependents_only(old, new, again, resumed, notes):
    """Body, helper, default or global: what hangs on it runs again, and nothing else; layout is no change."""

    async def session(text, **names):
        found = variant(text, notes=notes, **{"FACTOR": 5, "OTHER": 7, "offset": 0, **names})
        async with resumed("threads") as flow:
            tasks = [flow.function_task(found[name], checkpoint=True) for name in ("prepare", "solve", "finish")]
            other = flow.function_task(checkpoint=True)(found["helper"])
            value = 1
            for task in tasks:
                value = task(value)
            await other(1)
            return await value

    first = await session(BODY)
    assert set(counted(notes)) == {"prepare", "solve", "finish"}
    assert await session(BODY) == first
    assert counted(notes) == {}
    await session(BODY.replace(old, new, 1))
    assert set(counted(notes)) == again
    assert await session(BODY) == first
    assert counted(notes) == {}


async def test_globals_closures_and_arguments_are_part_of_a_call(resumed, notes):
    """With another value of any of them the body runs; with the old one the old result is there."""

    async def session(scale, offset, argument):
        async with resumed() as flow:
            globals()["SCALE"] = scale

            @flow.function_task(checkpoint=True)
            def line(x):
                notes.add("line")
                return SCALE * x + offset

            return await line(argument)

    try:
        assert await session(2, 0, 1) == 2
        assert await session(3, 0, 1) == 3
        assert await session(2, 1, 1) == 3
        assert await session(2, 0, 2) == 4
        assert counted(notes) == {"line": 4}
        assert await session(2, 1, 1) == 3
        assert await session(3, 0, 1) == 3
        assert counted(notes) == {}
    finally:
        globals()["SCALE"] = 2


async def test_a_version_stands_for_the_code(resumed, notes):
    """With ``version=`` the body may change; another version runs again."""

    async def session(version, plus):
        async with resumed() as flow:

            def body(x):
                notes.add("body")
                return x + plus

            return await flow.function_task(checkpoint=True, version=version)(body)(1)

    assert await session("1", 1) == 2
    assert await session("1", 5) == 2
    assert await session("2", 5) == 6
    assert counted(notes) == {"body": 2}


async def test_what_cannot_be_hashed_is_refused_by_name_alone(resumed, notes):
    """A lock in a closure or argument fails that call and what depends on it; others run."""
    lock = threading.Lock()
    async with resumed("threads") as flow:

        @flow.function_task(checkpoint=True)
        def closes_over():
            return lock.locked()

        @flow.function_task(checkpoint=True)
        def takes(thing):
            return 1

        @flow.function_task
        def plain(thing):
            return 1

        with pytest.raises(CheckpointError, match="closure 'lock'") as caught:
            await closes_over()
        assert "lock" in caught.value.part
        with pytest.raises(CheckpointError, match="argument 'thing'") as caught:
            await takes(lock)
        assert caught.value.part == "thing"
        behind = takes(plain(lock))
        with pytest.raises(CheckpointError, match=r"'takes' cannot be checkpointed, .*argument 'thing'"):
            await behind
        assert await plain(lock) == 1
        assert await takes(2) == 1
        assert await takes(closes_over.options(checkpoint=True, version="1")()) == 1


async def test_a_call_of_before_the_first_kept_task_cannot_be_told(tmp_path):
    """The refusal says what to do: decorate first, or give ``checkpoint=True`` to ``create()``."""
    async with open_engine("threads", work_dir=tmp_path) as flow:
        early = flow.function_task(abs)(-1)
        with pytest.raises(CheckpointError, match="decorate tasks before the first call"):
            await flow.function_task(checkpoint=True)(abs)(early)
