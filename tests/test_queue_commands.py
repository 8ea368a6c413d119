"""Commands of queueing systems, each run to its end."""

import asyncio
import os
import sys
from types import SimpleNamespace

import pytest

from asyncflow.errors import SubmitError
from asyncflow.queues import commands, scaler
from asyncflow.queues.commands import run, submit
from gates import Notes, is_alive, until


async def test_a_command_is_run_to_its_end():
    """Both streams, the exit status, and standard input where there is some; never a shell."""
    ran = await run(["sh", "-c", "cat; echo wrong >&2; exit 3"], b"told")
    assert (ran.returncode, ran.stdout, ran.stderr) == (3, "told", "wrong\n")
    assert (await run(["echo", "$HOME; *", 5])).stdout == "$HOME; * 5\n"
    assert (await run(["cat"])).stdout == ""


async def test_what_a_command_says_may_be_anything():
    """Bytes that are no text are replaced."""
    ran = await run(["printf", "\\377ok"])
    assert ran.stdout == "\ufffdok"


async def test_a_missing_command_is_told_as_that():
    """With no exit status, for there was none."""
    ran = await run(["no-such-sbatch", "x.sh"])
    assert (ran.returncode, str(ran)) == (None, "no-such-sbatch x.sh: no such command on PATH")


async def test_a_command_that_may_not_be_run_is_told_as_that(tmp_path):
    """In the system's words."""
    file = tmp_path / "sbatch"
    file.write_text("no program\n")
    ran = await run([file])
    assert ran.returncode is None
    assert "Permission denied" in str(ran)


async def test_a_command_that_never_ends_is_killed(monkeypatch, tmp_path):
    """Controllers may hang; then there is no answer, and no process left."""
    monkeypatch.setattr(commands, "PATIENCE", 0.3)
    notes = Notes(tmp_path / "pid")
    ran = await run(["sh", "-c", f"echo $$ > {notes.path}; exec sleep 60"])
    assert ran.returncode is None
    assert str(ran).endswith("no answer within 0.3 s")
    assert not is_alive(int(notes.lines[0]))


async def test_a_command_ends_with_whoever_waits_for_it(tmp_path):
    """A cancelled question leaves no process."""
    notes = Notes(tmp_path / "pid")
    asking = asyncio.create_task(run(["sh", "-c", f"echo $$ > {notes.path}; exec sleep 60"]))
    await until(lambda: notes.lines)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert not is_alive(int(notes.lines[0]))


@pytest.mark.parametrize("turns", range(6))
async def test_who_is_cancelled_as_a_command_ends_ends(monkeypatch, turns):
    """However many turns of the loop lie between: a look at the jobs that went on would keep the engine from closing."""
    said = asyncio.get_running_loop().create_future()
    program = SimpleNamespace(communicate=lambda _: said, returncode=0)

    async def start(*_, **__):
        return program

    monkeypatch.setattr(asyncio, "create_subprocess_exec", start)

    async def look():
        while True:
            await run(["bjobs"])
            await asyncio.sleep(0.01)

    looking = asyncio.ensure_future(look())
    await asyncio.sleep(0)
    said.set_result((b"", b""))
    await _cancelled_after(turns, looking)


@pytest.mark.parametrize("turns", range(6))
async def test_the_loop_over_jobs_ends_when_it_is_cancelled(monkeypatch, turns):
    """Also where something has just woken it, as the last tasks do that are cancelled with their engine."""
    monkeypatch.setattr(scaler, "STEP", 0.0)
    loop = Idle()
    looking = asyncio.ensure_future(loop._run_for_ever())
    for _ in range(5):
        await asyncio.sleep(0)
    loop._wake.set()
    await _cancelled_after(turns, looking)


class Idle(scaler.Scaler):
    """Its loop, which has no jobs to look at."""

    def __init__(self):
        self._wake = asyncio.Event()
        self._demand_took = 0.0

    async def _step(self, now):
        pass


async def _cancelled_after(turns, task):
    for _ in range(turns):
        await asyncio.sleep(0)
    task.cancel()
    done, _ = await asyncio.wait([task], timeout=5)
    task.cancel()
    assert done == {task}


async def test_a_command_is_out_of_reach_of_the_terminal():
    """Ctrl-C is for the driver, which may just be cancelling its jobs."""
    ran = await run([sys.executable, "-c", "import os; print(os.getsid(0), os.getpid())"])
    session, pid = ran.stdout.split()
    assert session == pid != str(os.getsid(0))


async def test_a_submission_that_is_refused_says_what_was_run_and_why():
    """The command, its exit status, its standard error on one line, and what to do."""
    assert await submit(["echo", "12"]) == "12\n"
    with pytest.raises(SubmitError) as caught:
        await submit(["sh", "-c", "echo 'invalid partition:' >&2; echo nosuch >&2; exit 170"])
    assert "exit status 170: invalid partition: nosuch" in str(caught.value)
    assert "mend what it names" in str(caught.value)
    assert (caught.value.returncode, caught.value.stderr) == (170, "invalid partition:\nnosuch\n")
    assert caught.value.command[:2] == ["sh", "-c"]
    with pytest.raises(SubmitError, match="no-such-qsub: no such command on PATH") as caught:
        await submit(["no-such-qsub"])
    assert caught.value.returncode is None
