"""Declared files: their types, how they are found and told apart, and what is checked before and after a body."""

import copy
import itertools
import os
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncflow import CommandOutput, FileError, InputFile, OutputFile
from asyncflow.arguments import replace
from asyncflow.declared import Declared
from asyncflow.digests import Digests, read_digest
from asyncflow.files import declared_in, digest_of, files_in, verify
from asyncflow.tokens import token
from asyncflow.workdir import make_workdir
from shapes import Pair, Setup

#: Times of files that are not new, a different one each.
long_ago = itertools.count(1_000_000_000)


@dataclass
class Link:
    """One that may hold itself."""

    file: object
    other: object = None


files = st.one_of(
    st.builds(InputFile, st.sampled_from(["/a", "/b/c", "/d e"])),
    st.builds(OutputFile, st.sampled_from(["a", "b/c", "/d e"])),
)
nested = st.recursive(
    st.one_of(st.integers(), st.text(max_size=3), files),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.tuples(inner, inner),
        st.builds(Pair, inner, inner),
        st.builds(lambda a, b: Setup(a, "x", [b]), inner, inner),
        st.dictionaries(st.text(max_size=3), inner, max_size=4),
    ),
    max_leaves=12,
)


def body(*args, **kwargs):
    """A body that takes everything."""


def written(path, text="content"):
    """`path` with `text` in it, as made long ago."""
    path.write_text(text)
    then = next(long_ago)
    os.utime(path, (then, then))
    return path


def made(path, text="content"):
    """What stands for `path` after a task has made it."""
    written(path, text)
    return InputFile(path, len(text), digest_of(path))


def walk(value):
    """Files inside, in order, by a walk of its own."""
    if isinstance(value, (InputFile, OutputFile)):
        return [value]
    if isinstance(value, Setup):
        return walk(value.seed) + walk(value.parts)
    if isinstance(value, dict):
        return [each for part in value.values() for each in walk(part)]
    return [each for part in value for each in walk(part)] if isinstance(value, (list, tuple)) else []


# The types


@pytest.mark.parametrize("kind", [InputFile, OutputFile])
def test_a_declared_file_is_a_path(kind, tmp_path):
    """It goes wherever a path goes, into text too, and is told apart by what it says."""
    file = kind(tmp_path / "x")
    assert os.fspath(file) == str(file) == f"{file}" == str(tmp_path / "x")
    assert Path(file) == tmp_path / "x"
    assert {file, kind(str(tmp_path / "x"))} == {file}
    assert pickle.loads(pickle.dumps(file)) == copy.deepcopy(file) == file
    with pytest.raises(AttributeError):
        file.path = "y"


def test_an_input_lies_where_the_program_was_when_it_wrote_it_down(tmp_path, monkeypatch):
    """Workers may have another current directory, so the path of an input is made absolute at once."""
    monkeypatch.chdir(tmp_path)
    file = InputFile("data/x")
    monkeypatch.chdir("/")
    assert file.path == str(tmp_path / "data" / "x")
    assert pickle.loads(pickle.dumps(file)) == file
    assert OutputFile("x").path == "x"


@pytest.mark.parametrize("kind", [InputFile, OutputFile])
@pytest.mark.parametrize(("path", "error"), [("", ValueError), ("a\0b", ValueError), (b"a", TypeError), (3, TypeError)])
def test_what_is_no_path_is_refused(kind, path, error):
    """Where it is written, with the value and the remedy."""
    with pytest.raises(error, match="names no file; give a path as text"):
        kind(path)


def test_output_with_files_is_text_and_travels():
    """It is its text wherever text is meant, and keeps its files through pickling and copying."""
    output = CommandOutput("text\n", {"out": InputFile("/x", 1, "d")})
    assert output == "text\n"
    assert isinstance(output, str)
    for copied in (pickle.loads(pickle.dumps(output)), copy.copy(output), copy.deepcopy(output)):
        assert type(copied) is CommandOutput
        assert (str(copied), copied.files) == ("text\n", output.files)


# Found anywhere


@given(nested)
def test_whatever_the_nesting_every_file_is_found_in_order(value):
    """Declared files are found in lists, tuples, named tuples, dicts and dataclasses, to any depth."""
    assert declared_in(value) == walk(value)
    assert files_in(value, value) == list(dict.fromkeys(each for each in walk(value) if isinstance(each, InputFile)))


@given(nested)
def test_the_body_sees_outputs_with_absolute_paths_and_all_else_as_it_was(value):
    """Relative outputs are exchanged for absolute ones below the base; nothing else changes."""
    placed = Declared("t", body, (value,), {"more": value}, "/base")
    expected = replace(
        value,
        lambda each: isinstance(each, OutputFile),
        lambda each: OutputFile(f"/base/{each}") if not each.path.startswith("/") else each,
    )
    assert placed.args == (expected,)
    assert placed.kwargs == {"more": expected}


def test_values_that_hold_themselves_or_are_deep_are_looked_through():
    """Values of other tasks may be of any shape: cycles end, and depth does no harm."""
    link = Link(InputFile("/a"))
    link.other = [link, {"more": link}]
    deep = InputFile("/b")
    for _ in range(100_000):
        deep = [deep]
    assert files_in(link, deep) == [InputFile("/a"), InputFile("/b")]
    while isinstance(deep, list):  # or freeing it would go as deep
        deep = deep.pop()


def test_outputs_of_commands_bring_their_files():
    """The value of a command carries its files into whatever takes that value."""
    file = InputFile("/x", 1, "d")
    assert files_in([CommandOutput("text", {"out": file, "x": file})]) == [file]


# Contents


def test_a_file_is_read_once_however_many_ask(tmp_path, monkeypatch):
    """Threads that ask for the same unchanged file wait for one reading."""
    path = written(tmp_path / "x")
    digests, reads, together = Digests(), [], threading.Barrier(8)

    def read(asked):
        reads.append(asked)
        return read_digest(asked)

    def ask(_):
        together.wait()
        return digests.content_of(str(path))

    monkeypatch.setattr("asyncflow.digests.read_digest", read)
    with ThreadPoolExecutor(8) as pool:
        contents = set(pool.map(ask, range(8)))
    assert len(contents) == len(reads) == 1


def test_a_change_that_does_not_show_yet_is_seen(tmp_path):
    """A file changed within a tick of the file system's clock, with the same size, has its new digest."""
    path = tmp_path / "x"
    digests = Digests()
    seen = set()
    for text in ("aaaa", "bbbb", "cccc"):
        path.write_text(text)
        seen.add(digests.content_of(str(path)).digest)
    assert len(seen) == 3


def test_few_files_are_remembered(tmp_path):
    """The memory of contents is bounded; what was asked for last stays."""
    digests = Digests(remembered=2)
    for name in "abc":
        digests.content_of(str(written(tmp_path / name)))
    assert [Path(path).name for path, _ in digests._known] == ["b", "c"]


@given(st.binary(max_size=64), st.binary(max_size=64))
def test_digests_are_equal_where_contents_are(tmp_path_factory, one, other):
    """And only there, wherever the files lie."""
    first, second = tmp_path_factory.mktemp("d") / "x", tmp_path_factory.mktemp("d") / "y"
    first.write_bytes(one)
    second.write_bytes(other)
    assert (digest_of(first) == digest_of(second)) == (one == other)


def test_a_kept_result_whose_files_are_gone_or_changed_is_told(tmp_path):
    """`verify` names the files that are not as they were made; those that are go unnamed."""
    good, gone, longer, other = (made(tmp_path / name) for name in ("good", "gone", "longer", "other"))
    Path(gone).unlink()
    written(Path(longer), "more content")
    written(Path(other), "CONTENT")
    value = {"a": [good, gone], "b": CommandOutput("t", {"x": longer}), "c": Pair(other, 1)}
    assert verify(value) == [gone.path, longer.path, other.path]
    assert verify([good, InputFile(good)]) == []


def test_a_file_is_told_from_others_by_name_and_content(tmp_path):
    """Where kept results are found by what a call is, a file that lies elsewhere is the same, changed it is another."""
    for name in "abc":
        (tmp_path / name).mkdir()
    here, there = (written(tmp_path / name / "start") for name in "ab")
    assert token(InputFile(here)) == token(made(tmp_path / "c" / "start")) == token(InputFile(there))
    assert token(InputFile(here)) != token(InputFile(written(tmp_path / "other")))
    before = token([InputFile(here)])
    written(here, "CONTENT")
    assert token([InputFile(here)]) != before
    files = {"x": InputFile(here)}
    assert token(CommandOutput("a", files)) == token(CommandOutput("a", files)) != token(CommandOutput("a"))


# Before the body


def test_a_missing_input_is_named_with_its_parameter(tmp_path):
    """The error names task, parameter, path and host, and carries every path."""

    def relax(start, others):
        pass

    there = written(tmp_path / "there")
    inputs = [InputFile(there), InputFile(tmp_path / "b"), InputFile(tmp_path)]
    with pytest.raises(
        FileError, match=f"(?s)'relax' cannot begin on {os.uname().nodename}.*'start'.*'others'"
    ) as failed:
        Declared("relax", relax, (InputFile(tmp_path / "a"), inputs), {}).check()
    assert failed.value.paths == (str(tmp_path / "a"), str(tmp_path / "b"), str(tmp_path))


@pytest.mark.parametrize(("text", "why"), [("longer content", "has 14 bytes"), ("CONTENT", "has another content")])
def test_an_input_that_is_not_what_was_made_is_refused(tmp_path, text, why):
    """What a task has made is taken with the content it was made with, or not at all."""
    file = made(tmp_path / "x")
    Declared("t", body, (file,), {}).check()
    written(tmp_path / "x", text)
    with pytest.raises(FileError, match=why):
        Declared("t", body, (CommandOutput("", {"x": file}),), {}).check()


def test_a_file_cannot_be_input_and_output(tmp_path):
    """One path for both is refused before the body, through links too."""
    path = written(tmp_path / "x")
    (tmp_path / "link").symlink_to(tmp_path, target_is_directory=True)
    with pytest.raises(FileError, match="is one of its inputs as well"):
        Declared("t", body, (InputFile(path), OutputFile(tmp_path / "link" / "x")), {}).check()
    assert path.read_text() == "content"


def test_a_directory_or_a_place_that_cannot_be_is_refused_for_an_output(tmp_path):
    """An output whose directories cannot be made, or that is one itself, is named before the body."""
    written(tmp_path / "file")
    with pytest.raises(FileError, match=r"is a directory.*cannot be made \(File exists\)"):
        Declared("t", body, (OutputFile(tmp_path), OutputFile(tmp_path / "file" / "x")), {}).check()


def test_a_pipe_is_no_file(tmp_path):
    """Something else than a file is refused, and never waited for."""
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(FileError, match="is not there"):
        Declared("t", body, (InputFile(tmp_path / "pipe"),), {}).check()


# After the body


def test_missing_outputs_are_all_named_with_what_is_there(tmp_path):
    """The error lists every output that is not there, and what the directory holds instead."""

    def relax(out, log="x", *, more=(OutputFile("c"),)):
        pass

    files = Declared("relax", relax, (OutputFile("a"), OutputFile("b")), {}, str(tmp_path))
    files.check()
    written(tmp_path / "a.out")
    written(tmp_path / "b")
    with pytest.raises(FileError, match=r"'relax' ended on .* 'out', .*'more', .* holds 'a.out', 'b'\)") as failed:
        files.settle(None)
    assert failed.value.paths == (str(tmp_path / "a"), str(tmp_path / "c"))


def test_an_old_output_does_not_count_as_made(tmp_path):
    """A file that was there before the body counts once the body has written it, however quickly."""
    for name in ("old", "new"):
        (tmp_path / name).write_text("content")
    files = Declared("t", body, (OutputFile(tmp_path / "old"), OutputFile(tmp_path / "new")), {})
    files.check()
    (tmp_path / "new").write_text("CONTENT")
    with pytest.raises(FileError, match=r"did not write its output 'args', '.*/old', which was there before") as failed:
        files.settle(None)
    assert failed.value.paths == (str(tmp_path / "old"),)
    assert (tmp_path / "old").read_text() == "content"


def test_inputs_that_were_changed_are_named(tmp_path):
    """A body that writes to its input fails by name, an input that it removed too."""
    paths = [written(tmp_path / name) for name in "abc"]
    files = Declared("t", body, tuple(map(InputFile, paths)), {})
    files.check()
    paths[1].write_text("CONTENT")
    paths[2].unlink()
    with pytest.raises(FileError, match="was changed meanwhile") as failed:
        files.settle(None)
    assert failed.value.paths == (str(paths[1]), str(paths[2]))


def test_what_a_function_returns_has_inputs_in_place_of_outputs(tmp_path):
    """Outputs in the value come out with absolute path, size and digest; those only returned as well."""

    def make(first, second=OutputFile("deep/er/b")):
        pass

    files = Declared("make", make, (OutputFile("a"),), {}, str(tmp_path))
    files.check()
    for name in ("a", "deep/er/b", "c"):
        (tmp_path / name).write_text(name)
    first, second = files.args
    value = files.settle({"x": [first], "y": Setup(second, "label", [OutputFile("c")])})
    assert value["x"] == [InputFile(tmp_path / "a", 1, digest_of(tmp_path / "a"))]
    assert (value["y"].seed.size, value["y"].parts[0].path) == (9, str(tmp_path / "c"))
    with pytest.raises(FileError, match="did not make its output 'returned'"):
        Declared("t", body, (), {}).settle(OutputFile(tmp_path / "d"))


def test_a_commands_files_have_the_names_of_parameters_and_of_files(tmp_path):
    """Each file is found by its parameter, by its path as declared, and by its name where one only has it."""

    def relax(out, logs=(OutputFile("logs/a.txt"), OutputFile("logs/b.txt")), other=OutputFile("other/b.txt")):
        pass

    files = Declared("relax", relax, (OutputFile("final.xyz"),), {}, str(tmp_path))
    files.check()
    for name in ("final.xyz", "logs/a.txt", "logs/b.txt", "other/b.txt"):
        (tmp_path / name).write_text(name)
    output = files.settle_command("text")
    assert {name: Path(file).relative_to(tmp_path).as_posix() for name, file in output.files.items()} == {
        "final.xyz": "final.xyz",
        "a.txt": "logs/a.txt",
        "logs/a.txt": "logs/a.txt",
        "logs/b.txt": "logs/b.txt",
        "other/b.txt": "other/b.txt",
        "out": "final.xyz",
        "other": "other/b.txt",
    }


def test_where_nothing_is_declared_nothing_is_touched():
    """Arguments and value are the very same objects."""
    args, kwargs, value = ([1],), {"a": {}}, [object()]
    files = Declared("t", len, args, kwargs)
    files.check()
    assert files.args is args
    assert files.kwargs is kwargs
    assert files.settle(value) is value
    assert type(files.settle_command("text")) is str


def test_wrong_arguments_are_left_to_the_body(tmp_path):
    """A call that the body does not take fails as Python says it, its files are checked all the same."""
    args = (InputFile(tmp_path / "x"),)
    files = Declared("t", dict.fromkeys, args, {"more": 1})
    assert (files.args, files.kwargs) == (args, {"more": 1})
    with pytest.raises(FileError, match="input '#1'"):
        files.check()


# The directory of an attempt


def test_each_attempt_has_a_directory_of_its_own(tmp_path):
    """Equal keys get directories one after the other, which nobody else may look into."""
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: make_workdir(str(tmp_path / "tasks"), "relax-01"), range(20)))
    assert sorted(made) == sorted(str(tmp_path / "tasks" / f"relax-01-{n}") for n in range(1, 21))
    assert {Path(path).stat().st_mode & 0o777 for path in made} == {0o700}


@pytest.mark.parametrize("key", ["../../x", "/etc/x", "a/b", ".hidden", "x" * 1000, "name with blanks"])
def test_a_directory_never_lies_elsewhere(tmp_path, key):
    """Whatever a task is called, its directories lie directly below the root."""
    assert Path(make_workdir(str(tmp_path), key)).parent == tmp_path


def test_a_directory_that_cannot_be_made_is_told(tmp_path):
    """With the place, the host and the remedy."""
    written(tmp_path / "file")
    with pytest.raises(FileError, match=r"cannot make a directory below .*file.*work_dir="):
        make_workdir(str(tmp_path / "file"), "x")
