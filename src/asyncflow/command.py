"""One command: what to run, run as a process group of its own, and what came of it."""

import os
import shlex
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any

from asyncflow.carrier import environment
from asyncflow.errors import CommandError, CommandNotFoundError, EmptyBodyError
from asyncflow.groups import Ended, Guardian, ProcessGroup
from asyncflow.output import Output
from asyncflow.relay import TAIL, Relay, Tail, Take, each_of
from asyncflow.stop import Stop

_THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)


def parse_command(returned: Any, name: str, *, shell: bool) -> list[str] | str:
    """What the body of an executable task returned, as an argument list (or one string for a shell).

    Raises
    ------
    EmptyBodyError
        When there is nothing to run.
    """
    remedy = "return a list of arguments or a non-empty command string"
    if returned is None or (isinstance(returned, (str, Sequence)) and not returned):
        raise EmptyBodyError(f"executable task {name!r} returned {returned!r}; {remedy}")
    if isinstance(returned, str):
        if not returned.strip():
            raise EmptyBodyError(f"executable task {name!r} returned {returned!r}; {remedy}")
        return returned if shell else _split(returned, name)
    if shell:
        raise EmptyBodyError(f"executable task {name!r} has shell=True and returned {returned!r}; return one string")
    if not isinstance(returned, (list, tuple)):
        raise EmptyBodyError(f"executable task {name!r} returned a {type(returned).__name__}; {remedy}")
    return [os.fspath(part) if isinstance(part, os.PathLike) else str(part) for part in returned]


def _split(text: str, name: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError as error:
        raise EmptyBodyError(f"executable task {name!r} returned {text!r}, which does not parse: {error}") from None


def command_environment(cores: int, devices: Sequence[str], env: Mapping[str, str]) -> dict[str, str]:
    """The environment of a command: the worker's, threads equal to its cores, its devices, where its spans belong, then
    what was asked for.
    """
    threads = dict.fromkeys(_THREAD_VARIABLES, str(cores))
    visible = {"CUDA_VISIBLE_DEVICES": ",".join(devices)} if devices else {}
    return {**os.environ, **threads, **visible, **environment(), **env}


class Command:
    """One run of one command.

    Parameters
    ----------
    argv : list of str or str
        What to run; a string is given to ``/bin/sh``.
    env : mapping
        The whole environment.
    cwd : str or None
        The working directory.
    output : Output or None
        Files that get what it writes, too; None where only its standard output is wanted.
    is_file : bool
        Whether it resolves to the path of the file with its standard output. That is its result, and never cut.
    """

    def __init__(
        self,
        argv: list[str] | str,
        env: Mapping[str, str],
        cwd: str | None = None,
        output: Output | None = None,
        *,
        is_file: bool = False,
    ) -> None:
        self.argv = argv
        self.env = env
        self.cwd = cwd
        self.output = output
        self.is_file = is_file

    def run(self, stop: Stop, watcher: Guardian) -> str:
        """Run to the end; the standard output as text, or the path of the file with it.

        What the command leaves running in its group ends with it.

        Raises
        ------
        CommandError
            When it exits non-zero or a signal ends it.
        CommandNotFoundError
            When there is no such program or directory.
        """
        with ExitStack() as files:
            # Files, not pipes: a grandchild that keeps a pipe open would hold the worker's slot for ever.
            if self.output is not None:
                value = None if self.is_file else files.enter_context(tempfile.TemporaryFile())
                return self._run_captured(self.output, value, stop, watcher)
            out, err = (files.enter_context(tempfile.TemporaryFile()) for _ in range(2))
            ended = ProcessGroup(self._start(out, err)).reap(stop, watcher)
            if ended.code:
                raise self._error(ended, _end_of(err))
            return _text_of(out)

    def _run_captured(self, output: Output, value: IO[bytes] | None, stop: Stop, watcher: Guardian) -> str:
        """A thread hands on what is to be cut somewhere: a command that may write no more would end by it."""
        tail = Tail()
        takers: list[Take] = [each_of(tail.take, output.stderr.write)]
        if value is not None:
            takers.append(each_of(output.stdout.write, value.write))
        with output, Relay(takers) as relay:
            output.stderr.open()
            file = output.stdout.fileno()
            os.truncate(file, 0)  # it is new, unless what lay there could not be set aside
            err, out = relay.ends if value is not None else (*relay.ends, file)
            ended = ProcessGroup(self._start(out, err)).reap(stop, watcher)
            relay.end()
        if ended.code:
            raise self._error(ended, tail.text())
        return str(output.directory / "stdout") if value is None else _text_of(value)

    def _start(self, out: IO[bytes] | int, err: IO[bytes] | int) -> subprocess.Popen[bytes]:
        try:
            return subprocess.Popen(
                self.argv,
                shell=isinstance(self.argv, str),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                env=self.env,
                cwd=self.cwd,
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            raise CommandNotFoundError(self._why_not(error), self.argv) from error

    def _why_not(self, error: Exception) -> str:
        program = self.argv if isinstance(self.argv, str) else self.argv[0]
        if self.cwd is not None and not Path(self.cwd).is_dir():
            return f"cannot run {program!r} in {self.cwd!r}: there is no such directory on {os.uname().nodename}"
        if isinstance(error, FileNotFoundError):
            return (
                f"there is no command {program!r} on {os.uname().nodename}; install it there, or set PATH with "
                f"env= (PATH is {self.env.get('PATH', '')!r})"
            )
        return f"cannot run {program!r} on {os.uname().nodename}: {error}"

    def _error(self, ended: Ended, text: str) -> CommandError:
        shown = self.argv if isinstance(self.argv, str) else shlex.join(self.argv)
        last = text.strip().rsplit("\n", 1)[-1]
        path = str(self.output.directory / "stderr") if self.output is not None else None
        message = f"command {shown!r} {ended}" + (f": {last}" if last else "")
        return CommandError(message, self.argv, ended.code, text, path)


def _end_of(file: IO[bytes]) -> str:
    file.seek(max(0, file.seek(0, os.SEEK_END) - TAIL))
    return file.read().decode(errors="replace")


def _text_of(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode(errors="replace")
