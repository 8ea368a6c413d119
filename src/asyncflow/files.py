"""Files as arguments and as values: declared by name, checked by content."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from asyncflow.arguments import found
from asyncflow.digests import Digests, stamp_of
from asyncflow.errors import FileError

#: What this process knows of files; a worker reads a file once for all calls that it is given to.
DIGESTS = Digests()


@dataclass(frozen=True)
class InputFile(os.PathLike[str]):
    """A file that a task reads: it must be there before the body begins, and stay as it is until the body ends.

    Declared by passing it, wherever an argument may hold a future: ``relax(InputFile("start.xyz"))``. It is a path, for
    `open`, for `pathlib.Path` and in commands. A task that made a file hands it on as an `InputFile` with size and
    digest, and what reads it gets exactly that content, or fails with `FileError`.

    Parameters
    ----------
    path : str or os.PathLike
        A relative one is meant from the current directory of the program that writes it down, and is kept absolute.
    size : int, optional
        Bytes; known of files that tasks have made.
    digest : str, optional
        BLAKE2b of the content, in hexadecimal digits; known of files that tasks have made.
    """

    path: str
    size: int | None = None
    digest: str | None = None

    def __post_init__(self) -> None:
        # Now, for a worker may have another current directory.
        object.__setattr__(self, "path", str(Path(_text(self, self.path)).absolute()))

    def __fspath__(self) -> str:
        """The absolute path."""
        return self.path

    def __str__(self) -> str:
        """The absolute path."""
        return self.path

    def __dask_tokenize__(self) -> tuple[str, ...]:
        """Its name and what is in it: where it lies may change from run to run."""
        return "asyncflow.InputFile", Path(self.path).name, self.digest or digest_of(self.path)


@dataclass(frozen=True)
class OutputFile(os.PathLike[str]):
    """A file that a task makes: it must be there when the body has ended, written by it.

    Declared by passing it, or as the default value of a parameter: ``def relax(start, out=OutputFile("out.xyz"))``. The
    body sees its absolute path, and directories on the way are made. In what a function returns, an `OutputFile`
    becomes an `InputFile`; what a command has made is in its `CommandOutput.files`.

    Parameters
    ----------
    path : str or os.PathLike
        A relative one is meant from the command's own directory (``workdir=True``), else from its ``cwd=``, else from
        the current directory of the worker.
    """

    path: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "path", str(Path(_text(self, self.path))))

    def __fspath__(self) -> str:
        """The path; in the body it is absolute."""
        return self.path

    def __str__(self) -> str:
        """The path; in the body it is absolute."""
        return self.path


class CommandOutput(str):
    """What a command that declares output files resolves to: its standard output, a `str`, and the files.

    Pass it to another call, and that call is given these files as it is given an `InputFile`.

    Attributes
    ----------
    files : dict of str to InputFile
        What it has made, by the name of the parameter, by the path as it was declared, and by the name of the file
        where there is one of that name.
    """

    __slots__ = ("files",)

    files: dict[str, InputFile]

    def __new__(cls, text: str = "", files: Mapping[str, InputFile] | None = None) -> Self:
        made = super().__new__(cls, text)
        made.files = dict(files or {})
        return made

    def __reduce__(self) -> tuple[Any, ...]:
        """Text and files."""
        return type(self), (str(self), self.files)

    def __dask_tokenize__(self) -> tuple[Any, ...]:
        """Text and files tell it from others."""
        return "asyncflow.CommandOutput", str(self), sorted(self.files.items(), key=lambda item: item[0])


def files_in(*values: Any) -> list[InputFile]:
    """Every `InputFile` anywhere inside `values`, outputs of commands too, each once, in order."""
    return list(dict.fromkeys(each for each in declared_in(values) if isinstance(each, InputFile)))


def declared_in(value: Any) -> list[InputFile | OutputFile]:
    """Every declared file anywhere inside `value`, in order."""
    files: list[InputFile | OutputFile] = []
    for each in found(value, is_declared):
        files.extend(dict.fromkeys(each.files.values()) if isinstance(each, CommandOutput) else [each])
    return files


def is_declared(value: Any) -> bool:
    """Whether `value` is, or carries, declared files."""
    return isinstance(value, (InputFile, OutputFile, CommandOutput))


def digest_of(path: str | os.PathLike[str]) -> str:
    """The BLAKE2b digest of the file at `path`, in hexadecimal digits; reads all of it, unless it is known.

    Raises
    ------
    FileError
        Where there is no file that can be read.
    """
    return DIGESTS.content_of(os.fspath(path)).digest


def verify(value: Any) -> list[str]:
    """Paths of the files in a kept result that are gone, or are not what they were; reads them unless known."""
    return [file.path for file in files_in(value) if difference(file) is not None]


def difference(file: InputFile) -> str | None:
    """In what way the file is not what it was made as, in words that follow its name; None where it is.

    A file without a digest only has to be there.
    """
    stamp = stamp_of(file.path)
    if stamp is None:
        return "is not there"
    if file.size not in {None, stamp.size}:
        return f"has {stamp.size} bytes, and had {file.size} when it was handed over"
    try:
        is_same = file.digest in {None, file.digest and DIGESTS.content_of(file.path).digest}
    except FileError as error:
        return f"cannot be read ({error.__cause__ or error})"
    return None if is_same else "has another content than when it was handed over"


def by_name(made: Sequence[tuple[str, OutputFile, InputFile]]) -> dict[str, InputFile]:
    """Files by the names under which `CommandOutput.files` has them; `made` is (parameter, as declared, as made)."""
    names: dict[str, InputFile] = {}
    for name_of in (_file_name, _declared_path, _parameter):  # the later wins
        alike: dict[str, set[InputFile]] = {}
        for each in made:
            alike.setdefault(name_of(each), set()).add(each[2])
        names.update({name: next(iter(files)) for name, files in alike.items() if len(files) == 1})
    return names


def _file_name(made: tuple[str, OutputFile, InputFile]) -> str:
    return Path(made[1].path).name


def _declared_path(made: tuple[str, OutputFile, InputFile]) -> str:
    return made[1].path


def _parameter(made: tuple[str, OutputFile, InputFile]) -> str:
    return made[0]


def _text(file: Any, path: Any) -> str:
    kind = type(file).__name__
    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(
            f"{kind}({path!r}) names no file; give a path as text or as a Path (and what a task has made as it is: a "
            "future of it is passed on without more)"
        )
    text = os.fspath(path)
    if not isinstance(text, str) or not text or "\0" in text:
        raise ValueError(f"{kind}({path!r}) names no file; give a path as text or as a Path")
    return text
