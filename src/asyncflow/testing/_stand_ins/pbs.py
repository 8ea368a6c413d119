"""``qsub`` and ``qdel`` as OpenPBS has them."""

import getopt
import os
import pwd
import re
import shlex
import socket
import sys
import time
from pathlib import Path
from typing import Any

from . import pbs_jobs
from .machine import parse_size
from .state import FINISHED, WAITING, Job, State, change, find, keep, new_job, wake

_OPTIONS = "a:A:c:C:e:fGhIj:J:k:l:m:M:N:o:p:P:q:r:R:S:u:v:VW:Xz"

#: Exit statuses: PBS's error numbers, of which eight bits are left.
_BAD_UID, _BAD_VALUE, _UNKNOWN_QUEUE, _UNKNOWN_JOB, _FINISHED, _USAGE = 175, 166, 170, 153, 35, 2

_LOGIN = ("HOME", "LANG", "LOGNAME", "MAIL", "PATH", "SHELL", "TZ", "USER")


class _Refusal(Exception):  # noqa: N818 - what the command says
    """A message and an exit status."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


def qsub(directory: Path, args: list[str]) -> int:
    """Submit a script: from a file, from standard input, or a command after ``--``."""
    try:
        return _submit(directory, args)
    except _Refusal as refusal:
        sys.stderr.write(f"qsub: {refusal}\n")
        return refusal.status
    except getopt.GetoptError as problem:
        sys.stderr.write(f"qsub: invalid option -- '{problem.opt}'\nusage: qsub [-N name] [-q queue] ... [script]\n")
        return _USAGE
    except ValueError as problem:  # a quote that is not closed
        sys.stderr.write(f"qsub: directive error: {problem}\n")
        return _USAGE


def _submit(directory: Path, args: list[str]) -> int:
    given, operands = getopt.getopt(args, _OPTIONS)
    script, name = _script(args, operands)
    directives = _directives(script)
    inside, _ = getopt.getopt([word for line in directives for word in shlex.split(line)], _OPTIONS)
    options = {**dict(inside), **dict(given)}
    resources = _resources([value for option, value in [*inside, *given] if option == "-l"])
    name = options.get("-N", name)
    if not name or len(name) > 230 or any(sign.isspace() for sign in name):
        raise _Refusal("illegal -N value", _USAGE)
    if "-I" in options or "-J" in options:
        raise _Refusal("the stand-in has neither interactive jobs nor job arrays", _USAGE)
    env = _environment(options)
    with change(directory) as state:
        queue = _queue(state, options)
        job = new_job(
            state,
            name=name,
            queue=queue,
            user=env["USER"],
            directives=directives,
            cwd=str(Path.cwd()),
            join=options.get("-j", "n"),
            direct="d" in options.get("-k", ""),
            rerunnable=options.get("-r", "y") != "n",
            project=options.get("-P", "_pbs_project_default"),
            account=options.get("-A"),
            **resources,
        )
        if "-h" in options:
            job["state"] = "H"
        job["output"] = _output_path(job, options.get("-o"), "o")
        job["error"] = _output_path(job, options.get("-e"), "e")
        keep(directory, job, script, {**env, "PBS_O_QUEUE": queue})
    wake(directory)
    if "-z" not in options:
        sys.stdout.write(f"{job['id']}\n")
    return 0


def _queue(state: State, options: dict[str, str]) -> str:
    """The queue that takes the job, of those there are."""
    if os.getuid() == 0 and not state["root_may_submit"]:
        raise _Refusal("Bad UID for job execution", _BAD_UID)
    queue = options.get("-q", "").partition("@")[0] or str(state["queues"][0])
    if queue not in state["queues"]:
        raise _Refusal("Unknown queue", _UNKNOWN_QUEUE)
    return queue


def _script(args: list[str], operands: list[str]) -> tuple[str, str]:
    """The text to run and the name that it gives to its job."""
    if "--" in args:
        return f"#!/bin/sh\nexec {shlex.join(operands)}\n", Path(operands[0]).name if operands else ""
    if not operands or operands[0] == "-":
        return sys.stdin.read(), "STDIN"
    try:
        return Path(operands[0]).read_text(encoding="utf-8"), Path(operands[0]).name
    except OSError:
        raise _Refusal(f"script file:: No such file or directory {operands[0]}", 1) from None


def _directives(script: str) -> list[str]:
    """The ``#PBS`` lines, up to the first line that is a command."""
    found = list[str]()
    for line in script.splitlines():
        if line.startswith("#PBS"):
            found.append(line.removeprefix("#PBS").strip())
        elif line.strip() and not line.lstrip().startswith(("#", ":")):
            break
    return found


def _resources(lists: list[str]) -> dict[str, Any]:
    """What ``-l`` asks for; the last word on each resource counts."""
    asked = dict[str, str]()
    for part in (part for text in lists for part in text.split(",")):
        key, _, value = part.partition("=")
        asked[key.strip()] = value.strip()
    if "nodes" in asked:  # the old way: nodes=2:ppn=4
        asked["select"] = asked.pop("nodes").replace("ppn", "ncpus")
    plain = [f"{key}={asked[key]}" for key in ("ncpus", "mem") if key in asked]
    select = asked.get("select") or ":".join(["1", *plain])
    chunks, walltime, key = list[list[int]](), None, "select"
    try:
        for part in select.split("+"):
            chunks += _chunks(part)
        key = "walltime"
        if "walltime" in asked:
            walltime = _seconds(asked["walltime"])
    except ValueError:
        raise _Refusal(f"Illegal attribute or resource value Resource_List.{key}", _BAD_VALUE) from None
    place = asked.get("place", "spread").partition(":")[0]
    return {"chunks": chunks, "walltime": walltime, "place": place, "resources": {**asked, "select": select}}


def _chunks(part: str) -> list[list[int]]:
    """Chunks of ``2:ncpus=4:mem=1gb``."""
    count, *settings = part.split(":")
    if not count.isdigit():
        count, settings = "1", [count, *settings]
    amounts = dict(setting.partition("=")[::2] for setting in settings)
    chunk = [int(amounts.get("ncpus", "1")), parse_size(amounts.get("mem", "0"))]
    return [list(chunk) for _ in range(int(count))]


def _seconds(text: str) -> float:
    """Seconds of ``[[hours:]minutes:]seconds``."""
    total = 0.0
    for number in text.split(":"):
        total = total * 60 + float(number)
    return total


def _environment(options: dict[str, str]) -> dict[str, str]:
    """What goes with the job: a login's variables, ``PBS_O_*``, what ``-v`` names; all of it with ``-V``."""
    here = dict(os.environ)
    user = pwd.getpwuid(os.getuid()).pw_name
    login = {"HOME": "/", "LOGNAME": user, "USER": user, "SHELL": "/bin/sh", "PATH": os.defpath}
    login |= {name: here[name] for name in _LOGIN if name in here}
    named = dict[str, str]()
    for part in filter(None, options.get("-v", "").split(",")):
        name, has_value, value = part.partition("=")
        named[name] = value if has_value else here.get(name, "")
    origin = {f"PBS_O_{name}": value for name, value in login.items() if name != "USER"}
    origin |= {"PBS_O_HOST": socket.gethostname(), "PBS_O_WORKDIR": str(Path.cwd()), "PBS_O_SYSTEM": "Linux"}
    return {**(here if "-V" in options else {}), **login, **named, **origin}


def _output_path(job: Job, given: str | None, letter: str) -> str:
    """Where output goes; ``-o`` and ``-e`` may name a host, and a directory, for a file called ``12.server.OU``."""
    text = re.sub(r"^[\w.-]*:", "", given or "")
    path = Path(job["cwd"], text or f"{job['name']}.{letter}{job['number']}")
    if text and (text.endswith("/") or path.is_dir()):
        path /= f"{job['id']}.{'OU' if letter == 'o' else 'ER'}"
    return str(path)


def qdel(directory: Path, args: list[str]) -> int:
    """End jobs: those that wait at once, those that run by signals."""
    try:
        _, names = getopt.getopt(args, "W:x")
    except getopt.GetoptError as problem:
        sys.stderr.write(f"qdel: invalid option -- '{problem.opt}'\nusage: qdel [-W force] [-x] job_identifier...\n")
        return _USAGE
    status = 0
    with change(directory) as state:
        for name in names:
            job = find(state, name)
            if job is None:
                sys.stderr.write(f"qdel: Unknown Job Id {name if '.' in name else name + '.server'}\n")
                status = _UNKNOWN_JOB
            elif job["state"] in FINISHED:
                sys.stderr.write(f"qdel: Job has finished {job['id']}\n")
                status = _FINISHED
            elif job["state"] in WAITING | {"H"}:
                pbs_jobs.delete_waiting(job)
            else:
                job["kill"] = job["kill"] or {"why": "deleted", "since": time.time()}
    wake(directory)
    return status
