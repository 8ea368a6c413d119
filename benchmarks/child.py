"""A program of this folder run in a process group of its own, its JSON lines read one by one."""

import json
import os
import select
import signal
import subprocess
import sys
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path

HERE = Path(__file__).parent


class ChildError(Exception):
    """The child ended before it said everything, or said nothing for too long; `kind` is what a cell shows."""

    def __init__(self, kind, message):
        super().__init__(message)
        self.kind = kind


@contextmanager
def lines(script, *arguments, patience):
    """Yield an iterator of the child's JSON lines; whatever the child started is gone afterwards."""
    # Some peers write folders into the current directory; and workers import the bodies by name.
    modules = os.pathsep.join(filter(None, [str(HERE), os.environ.get("PYTHONPATH")]))
    # Parsl starts commands of its own by name; they stand beside the interpreter.
    commands = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(
            [sys.executable, str(HERE / script), *arguments],
            stdout=subprocess.PIPE,
            stderr=log,
            bufsize=0,  # or select would not see the lines that wait in the buffer
            cwd=folder,
            env={**os.environ, "PYTHONPATH": modules, "PATH": commands},
            start_new_session=True,
        )
        try:
            yield _read(process, log, patience)
            with suppress(subprocess.TimeoutExpired):
                process.wait(patience)
        finally:
            _end(process)


def _read(process, log, patience):
    while True:
        if not select.select([process.stdout], [], [], patience)[0]:
            raise ChildError("Timeout", f"nothing for {patience} s")
        line = process.stdout.readline()
        if not line:
            break
        yield json.loads(line)
    if process.wait():
        log.seek(0)
        status = f"exit status {process.returncode}"
        last = (log.read().strip().splitlines() or [status])[-1]
        raise ChildError(last.partition(":")[0].rpartition(".")[2], f"{status}: {last}")


def _end(process):
    """End the whole group: workers outlive a child that was killed."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with suppress(subprocess.TimeoutExpired):
            process.wait(5)
    process.stdout.close()
