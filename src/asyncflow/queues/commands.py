"""Running one command of a queueing system."""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple

from asyncflow.errors import SubmitError

#: Seconds after which a command of a queueing system is given up; controllers under load take many.
PATIENCE = 120.0


#: Characters of an answer that a message quotes.
_SHOWN = 2_000


class Ran(NamedTuple):
    """How a command ended; `returncode` is None where there is no such program, or it took too long."""

    command: list[str]
    returncode: int | None
    stdout: str
    stderr: str

    def __str__(self) -> str:
        """``sbatch x.sh: exit status 1: sbatch: error: invalid partition specified: nosuch``."""
        status = "" if self.returncode is None else f"exit status {self.returncode}: "
        said = " ".join((self.stderr or self.stdout)[:_SHOWN].split())
        return f"{' '.join(self.command)}: {status}{said}"


async def run(
    command: Sequence[str],
    stdin: bytes | None = None,
    env: Mapping[str, str] | None = None,
    cwd: str | None = None,
) -> Ran:
    """Run `command` to its end, whatever comes of it; `env` and `cwd` are this process's by default.

    It has a session of its own: Ctrl-C in the terminal is for the driver, which may just be cancelling its jobs.
    """
    argv = [str(word) for word in command]
    try:
        program = await asyncio.create_subprocess_exec(
            *argv,
            stdin=asyncio.subprocess.DEVNULL if stdin is None else asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
            env=env,
            cwd=cwd,
        )
    except OSError as error:
        is_missing = isinstance(error, FileNotFoundError) and error.filename != cwd
        what = "no such command on PATH" if is_missing else str(error)
        return Ran(argv, None, "", what)
    try:
        async with asyncio.timeout(PATIENCE):  # `wait_for` forgets, before Python 3.12, that it was cancelled just then
            out, err = await program.communicate(stdin)
    except TimeoutError:
        return Ran(argv, None, "", f"timed out: no answer within {PATIENCE:g} s")
    finally:
        if program.returncode is None:
            with suppress(ProcessLookupError):
                program.kill()
            await program.wait()
    return Ran(argv, program.returncode, out.decode(errors="replace"), err.decode(errors="replace"))


async def submit(
    command: Sequence[str],
    stdin: bytes | None = None,
    env: Mapping[str, str] | None = None,
    cwd: str | None = None,
) -> str:
    """What `command`, which submits a job, says.

    Raises
    ------
    SubmitError
        When it fails, with the command, its exit status and its standard error.
    """
    ran = await run(command, stdin, env, cwd)
    if ran.returncode != 0:
        text = f"the job was not submitted ({ran}); mend what it names in the configuration or the environment"
        raise SubmitError(text, ran.command, ran.returncode, ran.stderr)
    return ran.stdout
