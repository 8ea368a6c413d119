"""The helper process that cancels the jobs of a run when its driver has ended, ``kill -9`` included."""

import asyncio
import json
import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from asyncflow.queues._janitor import INTERVAL
from asyncflow.queues.run import RunDirectory
from asyncflow.queues.system import QueueSystem

_PROGRAM = Path(__file__).with_name("_janitor.py")


class Janitor:
    """Outlives the driver, in a session of its own, for as long as jobs of the run may be in the queue.

    Parameters
    ----------
    system : QueueSystem or None
        Whose jobs they are; None where the run has none, and only its directory is to be removed.
    run : RunDirectory
        Removed by the janitor if the driver does not live to do it.
    interval : float
        Seconds between its looks for jobs that are still there, when the driver has gone.
    """

    def __init__(self, system: QueueSystem | None, run: RunDirectory, interval: float = INTERVAL) -> None:
        self._program = subprocess.Popen(
            [sys.executable, "-I", "-S", str(_PROGRAM)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            start_new_session=True,
        )
        spec = {
            "cancel": system.cancel([]) if system is not None else [],
            "none": system.gone.pattern if system is not None else "",
            "find": system.find(run.name) if system is not None else [],
            "pid": os.getpid(),
            "directory": str(run.path),
            "interval": interval,
        }
        self._tell(json.dumps(spec))

    def submitting(self) -> None:
        """A submission begins; `submitted` or `refused` follows."""
        self._tell("submitting")

    def refused(self) -> None:
        """It came to nothing."""
        self._tell("refused")

    def submitted(self, job_id: str) -> None:
        """That job is to be cancelled when the driver ends."""
        self._tell(f"job {job_id}")

    def ended(self, job_id: str) -> None:
        """That job needs no cancelling any more."""
        self._tell(f"gone {job_id}")

    def dismiss(self) -> None:
        """All jobs are cancelled: it ends at once."""
        self._tell("done")
        self._close()
        self._program.wait()

    def leave(self) -> None:
        """Let it see to the jobs that could not be cancelled, after the driver has ended if need be."""
        self._close()
        self._program.returncode = 0  # it is its own master now; nobody waits for it

    def _tell(self, line: str) -> None:
        assert self._program.stdin is not None
        with suppress(OSError, ValueError):  # it was killed: then workers end by their death_timeout
            self._program.stdin.write(line.encode() + b"\n")
            self._program.stdin.flush()

    def _close(self) -> None:
        assert self._program.stdin is not None
        with suppress(OSError):
            self._program.stdin.close()


async def conclude(
    run: RunDirectory | None, janitor: Janitor | None, *, are_cancelled: bool = True, keep_logs: bool = False
) -> None:
    """End `run`, as far as it got: nothing of it stays, unless its jobs do; then the janitor sees to them.

    Parameters
    ----------
    run : RunDirectory or None
        None where there is no directory yet.
    janitor : Janitor or None
        None where none was started.
    are_cancelled : bool
        Whether the queueing system took note that all jobs are to end.
    keep_logs : bool
        Whether somebody will want to read them.
    """
    if janitor is not None:
        await asyncio.to_thread(janitor.dismiss if are_cancelled else janitor.leave)
    if run is not None and are_cancelled:
        await asyncio.to_thread(run.remove, keep_logs=keep_logs)
