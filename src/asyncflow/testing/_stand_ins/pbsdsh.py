"""``pbsdsh``: a command on every node of the job it is called in."""

import getopt
import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from .processes import JOB_MARK, MARK
from .state import RUNNING, find, read

_KEPT = ("HOME", "LANG", "LOGNAME", "PATH", "SHELL", "TZ", "USER", "TMPDIR", MARK, JOB_MARK)


def pbsdsh(directory: Path, args: list[str]) -> int:
    """Run a command on the nodes of this job, all at once; the worst of the exit statuses."""
    try:
        options, command = getopt.getopt(args, "c:n:osv")
    except getopt.GetoptError as problem:
        sys.stderr.write(f"pbsdsh: invalid option -- '{problem.opt}'\n")
        return 1
    chosen = dict(options)
    job = find(read(directory), os.environ.get("PBS_JOBID", ""))
    if job is None or job["state"] not in RUNNING:
        sys.stderr.write("pbsdsh: PBS jobid not in environment.\n")
        return 1
    if not command:
        sys.stderr.write("usage: pbsdsh [-c copies | -n node][-s][-v] -- program [args...]\n")
        return 1
    nodes = len(job["nodes"])
    numbers = range(nodes)[: int(chosen.get("-c", nodes))]
    if "-n" in chosen:
        numbers = range(int(chosen["-n"]), int(chosen["-n"]) + 1)
    started = [_spawn(command, number) for number in numbers]
    return max((task if isinstance(task, int) else _status(task) for task in started), default=0)


def _spawn(command: list[str], number: int) -> "subprocess.Popen[bytes] | int":
    """Start one task: at home, in a session of its own, with nothing of the script's environment but ``PBS_*``."""
    env = {key: value for key, value in os.environ.items() if key in _KEPT or key.startswith("PBS_")}
    env |= {"PBS_NODENUM": str(number), "PBS_VNODENUM": str(number), "PBS_TASKNUM": str(number + 2)}
    with suppress(FileNotFoundError, PermissionError, NotADirectoryError):
        return subprocess.Popen(command, env=env, cwd=env.get("HOME"), stdin=subprocess.DEVNULL, start_new_session=True)
    sys.stderr.write(f"pbsdsh: task {number}: cannot execute {command[0]}\n")
    return 254


def _status(task: "subprocess.Popen[bytes]") -> int:
    code = task.wait()
    return code if code >= 0 else 128 - code
