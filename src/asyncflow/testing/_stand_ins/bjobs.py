"""``bjobs`` as LSF has it."""

import json
import re
import sys
import time
from collections import Counter
from fnmatch import fnmatchcase
from pathlib import Path

from .lsf import ERROR, UsageError, options_of
from .lsf_jobs import hosts_of
from .qstat import ran
from .state import FINISHED, RUNNING, WAITING, Job, State, find, read

_VALUES = frozenset(["-J", "-u", "-q", "-o", "-m", "-P", "-app", "-g"])
_FLAGS = frozenset(["-a", "-d", "-p", "-r", "-s", "-w", "-l", "-W", "-X", "-json", "-noheader", "-UF"])

#: Columns of the plain table.
_TABLE = "jobid:7 user:7 stat:5 queue:10 from_host:11 exec_host:11 job_name:10 submit_time:12"


def bjobs(directory: Path, args: list[str]) -> int:
    """Tell about jobs: a table, or the fields of ``-o``, as text or as JSON; finished ones with ``-a`` or by id."""
    try:
        options, words = options_of(args, _VALUES, _FLAGS)
    except UsageError as problem:
        sys.stderr.write(f"{problem}\n")
        return ERROR
    given = dict(options)
    state = read(directory)
    jobs, missing = _asked(state, given, args[words:])
    fields, delimiter = _fields(given.get("-o", _TABLE))
    if "-json" in given:
        sys.stdout.write(_as_json(jobs, missing, fields))
        return ERROR if missing else 0
    for name in missing:
        sys.stderr.write(f"Job <{name}> is not found\n")
    if not jobs and not missing:
        sys.stderr.write(_nothing(given))
        return ERROR
    if jobs:
        sys.stdout.write(_as_text(jobs, fields, delimiter, has_header="-noheader" not in given))
    return ERROR if missing else 0


def _nothing(given: dict[str, str]) -> str:
    if "-J" in given:
        return f"Job <{given['-J']}> is not found\n"
    return "No job found\n" if "-a" in given else "No unfinished job found\n"


def _asked(state: State, given: dict[str, str], names: list[str]) -> tuple[list[Job], list[str]]:
    """The jobs that are asked for, and the ids that nobody has."""
    if names and names != ["0"]:
        found = {name: find(state, name) for name in names}
        return [job for job in found.values() if job], [name for name, job in found.items() if job is None]
    wanted = set[str]()
    for flag, states in (("-r", RUNNING), ("-p", WAITING), ("-d", FINISHED)):
        wanted |= states if flag in given else set()
    jobs = [
        job
        for job in state["jobs"].values()
        if (job["state"] in wanted if wanted else "-a" in given or job["state"] not in FINISHED)
        and fnmatchcase(job["name"], given.get("-J", "*"))
        and given.get("-u", "all") in {"all", job["user"]}
        and given.get("-q") in {None, job["queue"]}
    ]
    return jobs, []


def _fields(text: str) -> tuple[list[tuple[str, int]], str | None]:
    """Names and widths of fields, and what parts them: ``jobid:7 stat delimiter='|'``."""
    match = re.search(r"delimiter=(['\"]?)(.+?)\1\s*$", text)
    delimiter = match[2] if match else None
    words = (text[: match.start()] if match else text).split()
    parts = (word.lower().partition(":") for word in words)
    return [(name, int(width.lstrip("-") or 15)) for name, _, width in parts], delimiter


def _as_json(jobs: list[Job], missing: list[str], fields: list[tuple[str, int]]) -> str:
    records = [{name.upper(): _value(job, name) for name, _ in fields} for job in jobs]
    records += [{"JOBID": name, "ERROR": f"Job <{name}> is not found"} for name in missing]
    return json.dumps({"COMMAND": "bjobs", "JOBS": len(records), "RECORDS": records}, indent=2) + "\n"


def _as_text(jobs: list[Job], fields: list[tuple[str, int]], delimiter: str | None, *, has_header: bool) -> str:
    rows = [[_value(job, name) or "-" for name, _ in fields] for job in jobs]
    if has_header:
        rows.insert(0, [name.upper() for name, _ in fields])
    if delimiter is not None:
        return "".join(delimiter.join(row) + "\n" for row in rows)
    widths = [width for _, width in fields]
    lines = (" ".join(f"{cell[:width]:{width}}" for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "".join(f"{line.rstrip()}\n" for line in lines)


def _value(job: Job, name: str) -> str:
    """One field as LSF writes it; empty where there is nothing to tell."""
    waits = job["state"] in WAITING
    values = {
        "jobid": job["id"],
        "stat": job["state"],
        "queue": job["queue"],
        "user": job["user"],
        "job_name": job["name"],
        "name": job["name"],
        "proj_name": job["project"],
        "command": job["command"],
        "from_host": "server",
        "exec_host": _hosts(job),
        "nexec_host": str(len(set(job["nodes"]))) if job["nodes"] else "",
        "slots": str(sum(cores for cores, _ in job["chunks"])),
        "exit_code": str(job["exit_status"] or "") if job["state"] in FINISHED else "",
        "exit_reason": job["exit_reason"],
        "pend_reason": job["comment"] if waits else "",
        "kill_reason": "",
        "suspend_reason": "",
        "run_time": f"{int(ran(job))} second(s)",
        "runtimelimit": f"{job['walltime'] / 60:.1f}" if job["walltime"] is not None else "",
        "submit_time": _time(job["submitted"]),
        "start_time": _time(job["started"]),
        "finish_time": _time(job["ended"]),
        "output_file": job["output"],
        "error_file": job["error"],
        "exec_cwd": job["cwd"] if job["started"] else "",
        "sub_cwd": job["cwd"],
        "pids": str(job["pid"] or ""),
    }
    return str(values.get(name, ""))


def _hosts(job: Job) -> str:
    """``4*node1:2*node2``, and ``node1`` for one slot."""
    counts = Counter(hosts_of(job)) if job["nodes"] else {}
    return ":".join(node if count == 1 else f"{count}*{node}" for node, count in counts.items())


def _time(at: float | None) -> str:
    return time.strftime("%b %e %H:%M", time.localtime(at)) if at else ""
