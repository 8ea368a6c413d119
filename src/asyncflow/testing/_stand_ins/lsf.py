"""``bsub`` and ``bkill`` as LSF has them."""

import os
import pwd
import re
import shlex
import sys
import time
from pathlib import Path
from typing import Any

from . import lsf_jobs
from .machine import parse_size
from .state import FINISHED, WAITING, Job, change, find, keep, new_job, wake

#: Options of `bsub` that take a value, and those that do not.
_VALUES = frozenset(
    (
        *("-J", "-q", "-n", "-M", "-W", "-e", "-eo", "-o", "-oo", "-P", "-R", "-m", "-u", "-cwd", "-G", "-w"),
        *("-sla", "-app", "-g", "-i", "-gpu", "-env", "-We", "-c", "-v", "-F"),
    )
)
_FLAGS = frozenset(["-r", "-rn", "-H", "-N", "-B", "-x"])

#: What LSF's commands exit with when something is wrong.
ERROR = 255


class UsageError(Exception):
    """Options that the command does not know."""


def options_of(args: list[str], values: frozenset[str], flags: frozenset[str]) -> tuple[list[tuple[str, str]], int]:
    """The options at the start of `args`, and how many words they are."""
    found, at = list[tuple[str, str]](), 0
    while at < len(args) and args[at].startswith("-") and args[at] != "-":
        word = args[at]
        if word in flags:
            found.append((word, ""))
        elif word in values and at + 1 < len(args):
            at += 1
            found.append((word, args[at]))
        else:
            raise UsageError(f"{word[1:]}: Illegal option.")
        at += 1
    return found, at


def bsub(directory: Path, args: list[str]) -> int:
    """Submit a script, from a file or standard input, or a command line."""
    try:
        job, is_default = _submit(directory, args)
    except (UsageError, ValueError, OSError) as problem:
        sys.stderr.write(f"{problem} Job not submitted.\n")
        return ERROR
    wake(directory)
    sys.stdout.write(f"Job <{job['id']}> is submitted to {'default ' if is_default else ''}queue <{job['queue']}>.\n")
    return 0


def _submit(directory: Path, args: list[str]) -> tuple[Job, bool]:
    given, words = options_of(args, _VALUES, _FLAGS)
    script, command = _script(args[words:])
    directives = _directives(script)
    inside, _ = options_of([word for line in directives for word in shlex.split(line)], _VALUES, _FLAGS)
    options = {**dict(inside), **dict(given)}
    name = re.sub(r"%.*|\[.*", "", options.get("-J", command))
    requirement = " ".join(value for option, value in [*inside, *given] if option == "-R")
    env = {**os.environ, "USER": pwd.getpwuid(os.getuid()).pw_name}
    with change(directory) as state:
        if os.getuid() == 0 and not state["root_may_submit"]:
            raise UsageError("Bad user ID.")
        queue = options.get("-q", state["queues"][0])
        if queue not in state["queues"]:
            raise UsageError(f"{queue}: No such queue.")
        job = new_job(
            state,
            name=name,
            queue=queue,
            user=env["USER"],
            directives=directives,
            cwd=str(Path(options.get("-cwd", ".")).resolve()),
            overwrite=bool({"-oo", "-eo"} & set(options)),
            rerunnable="-r" in options and "-rn" not in options,
            project=options.get("-P", "default"),
            command=command,
            exit_reason="",
            walltime=_limit(options.get("-W")),
            **_shape(int(options.get("-n", "1").split(",")[0]), options.get("-M"), requirement),
        )
        if "-H" in options:
            job["state"] = "PSUSP"
        job["output"] = _output_path(job, options.get("-oo", options.get("-o")), "out")
        job["error"] = _output_path(job, options.get("-eo", options.get("-e")), "err")
        keep(directory, job, script, env)
    return job, "-q" not in options


def _script(operands: list[str]) -> tuple[str, str]:
    """The text to run and the command as `bjobs` shows it."""
    if not operands:
        script = sys.stdin.read()
        lines = [line for line in script.splitlines() if line and not line.startswith("#")]
        return script, lines[0] if lines else ""
    path = Path(operands[0])
    if len(operands) == 1 and path.is_file():
        return path.read_text(encoding="utf-8"), operands[0]
    return f"#!/bin/sh\n{' '.join(operands)}\n", " ".join(operands)


def _directives(script: str) -> list[str]:
    return [line.removeprefix("#BSUB").strip() for line in script.splitlines() if line.startswith("#BSUB")]


def _limit(text: str | None) -> float | None:
    """Seconds of ``[hours:]minutes[/host]``."""
    if text is None:
        return None
    hours, _, minutes = text.partition("/")[0].rpartition(":")
    try:
        return (int(hours or 0) * 60 + float(minutes)) * 60
    except ValueError:
        raise UsageError(f"{text}: Illegal run limit.") from None


def _shape(slots: int, limit: str | None, requirement: str) -> dict[str, Any]:
    """Chunks for `slots`: together, some on each host, or wherever there is room.

    Memory counts as taken, on each host, whether a job limits it (``-M``, in KB) or reserves it (``rusage``, in MB).
    """
    reserved = re.search(r"rusage\[[^]]*\bmem=([\w.]+)", requirement)
    memory = max(parse_size(limit, "k") if limit else 0, parse_size(reserved[1], "m") if reserved else 0)
    tile = re.search(r"span\[ptile=(\d+)", requirement)
    if "span[hosts=1]" in requirement:
        return {"chunks": [[slots, memory]], "place": "free"}
    if tile:
        each = int(tile[1])
        sizes = [each] * (slots // each) + ([slots % each] if slots % each else [])
        return {"chunks": [[size, memory] for size in sizes], "place": "scatter"}
    return {"chunks": [[1, 0 if number else memory] for number in range(slots)], "place": "free"}


def _output_path(job: Job, given: str | None, ending: str) -> str:
    """Where output goes, ``%J`` replaced by the job's number; in a directory the file is called ``12.out``."""
    if not given:
        return ""
    path = Path(job["cwd"], given.replace("%J", job["id"]).replace("%I", "0"))
    return str(path / f"{job['id']}.{ending}" if given.endswith("/") or path.is_dir() else path)


def bkill(directory: Path, args: list[str]) -> int:
    """End jobs by id or by name (``-J``): those that wait at once, those that run by signals."""
    try:
        options, words = options_of(args, frozenset({"-J", "-u", "-q", "-s", "-m"}), frozenset({"-r", "-b"}))
    except UsageError as problem:
        sys.stderr.write(f"{problem}\n")
        return ERROR
    status = 0
    with change(directory) as state:
        named = dict(options).get("-J")
        living = [job for job in state["jobs"].values() if job["state"] not in FINISHED]
        names = [name for name in args[words:] if name != "0"]
        if not names:
            names = [job["id"] for job in living if named in {None, job["name"]}]
            if not names:
                sys.stderr.write("No unfinished job found\n" if named is None else f"Job <{named}> is not found\n")
                status = ERROR
        for name in names:
            job = find(state, name)
            if job is None or job["state"] in FINISHED:
                said = "No matching job found" if job is None else "Job has already finished"
                sys.stderr.write(f"Job <{name}>: {said}\n")
                status = ERROR
                continue
            if job["state"] in WAITING | {"PSUSP"}:
                lsf_jobs.delete_waiting(job)
            else:
                job["kill"] = job["kill"] or {"why": "deleted", "since": time.time()}
            sys.stdout.write(f"Job <{name}> is being terminated\n")
    wake(directory)
    return status
