"""Runs a trial as a process of its own, and sees that it ends and leaves nothing behind."""

import contextlib
import json
import os
import secrets
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from chaos.disk import prefix, unmount_below
from chaos.places import MARK
from chaos.trial import GRACE
from conftest import eventually
from gates import is_alive

_TAIL = 60  # lines of the log that a failure shows


@dataclass
class Report:
    """What came of one trial; `problems` is empty where all is well."""

    seed: int
    place: str
    steps: int = 0
    right_values: int = 0
    right_errors: int = 0
    uncalled: int = 0
    together: int = 0
    faults: dict[str, int] = field(default_factory=dict)
    running: int = 0
    seconds: float = 0.0
    problems: list[str] = field(default_factory=list)
    log: str = ""


def run(seed, place, size, directory, limit=300.0, slurm=None):
    """The graph of `seed` with `size` steps in one place, within `limit` seconds, with its files in `directory`.

    `slurm` is the box of the place slurm; commands of this process find it already.
    """
    mark = secrets.token_hex(8)
    log = Path(directory, "log")
    status = _play([str(seed), place, str(size), str(limit), str(directory)], mark, log, limit + 2 * GRACE)
    unmount_below(directory)  # nothing to do, unless it was killed
    report = Report(seed, place)
    if status == 0:
        vars(report).update(json.loads(Path(directory, "report.json").read_text()))
    else:
        report.problems.append(f"the driver ended with {status}")
    report.problems += [f"left in Slurm: {each}" for each in (slurm.left_over() if slurm else [])]
    report.problems += [f"left behind: {each}" for each in _orphans(mark)]
    report.log = "\n".join(log.read_text(errors="replace").splitlines()[-_TAIL:])
    return report


def _play(words, mark, log, patience):
    """Run the program of a trial; its exit status, or that it has none."""
    paths = [str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH")]
    with log.open("wb") as output:
        trial = subprocess.Popen(
            [*prefix(), sys.executable, "-m", "chaos.trial", *words],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths)), MARK: mark},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        return trial.wait(patience)
    except subprocess.TimeoutExpired:
        return "nothing: it hangs"
    finally:
        if trial.returncode is None:  # Ctrl-C, too
            os.killpg(trial.pid, signal.SIGKILL)
            trial.wait()


def _orphans(mark):
    """The command lines of processes that live on; they are killed."""
    if eventually(lambda: not _marked(mark), 15):
        return []
    left = _marked(mark)
    for process in left:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
    return list(left.values())


def _marked(mark):
    wanted = f"{MARK}={mark}".encode()
    found = {}
    for directory in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it ended meanwhile
            if wanted in (directory / "environ").read_bytes().split(b"\0") and is_alive(directory.name):
                command = (directory / "cmdline").read_bytes().replace(b"\0", b" ")
                found[int(directory.name)] = command.decode(errors="replace").strip()
    return found
