"""``qstat`` and ``qselect`` as OpenPBS has them."""

import getopt
import json
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from .pbs_jobs import exec_vnode
from .state import FINISHED, Job, State, find, read

_UNKNOWN_JOB, _HISTORY, _USAGE = 153, 35, 2


def qstat(directory: Path, args: list[str]) -> int:
    """Tell about jobs: a table, or everything with ``-f``; finished ones with ``-x`` only."""
    try:
        options, names = getopt.getopt(args, "fF:xHEtwanu:")
    except getopt.GetoptError as problem:
        sys.stderr.write(f"qstat: invalid option -- '{problem.opt}'\nusage: qstat [-f [-F format]] [-x] [job...]\n")
        return _USAGE
    given = dict(options)
    state, status = read(directory), 0
    with_finished = "-x" in given or "-H" in given
    jobs = [job for job in state["jobs"].values() if with_finished or job["state"] not in FINISHED]
    if names:
        jobs = []
        for name in names:
            job = find(state, name)
            if job is None:
                sys.stderr.write(f"qstat: Unknown Job Id {name if '.' in name else name + '.server'}\n")
                status = _UNKNOWN_JOB
            elif job["state"] in FINISHED and not with_finished:
                sys.stderr.write(
                    f"qstat: {job['id']} Job has finished, use -x or -H to obtain historical job information\n"
                )
                status = _HISTORY
            else:
                jobs.append(job)
    if "-u" in given:
        jobs = [job for job in jobs if job["user"] in _users(given["-u"])]
    sys.stdout.write(_told(state, jobs, given))
    return status


def _told(state: State, jobs: list[Job], given: dict[str, str]) -> str:
    if "-f" not in given:
        return _table(jobs)
    if given.get("-F") != "json":
        lines = (f"Job Id: {job['id']}\n{_attributes(_facts(job))}\n" for job in jobs)
        return "".join(lines)
    head: dict[str, Any] = {"timestamp": int(time.time()), "pbs_version": "23.06.06", "pbs_server": "server"}
    if jobs:  # OpenPBS leaves the key out where there is nothing to tell
        head["Jobs"] = {job["id"]: _facts(job) for job in jobs}
    return json.dumps(head, indent=4) + "\n"


def _attributes(facts: dict[str, Any], prefix: str = "") -> str:
    """The plain form of ``-f``: one attribute a line, parts of attributes with a dot."""
    lines = list[str]()
    for key, value in facts.items():
        if isinstance(value, dict):
            lines += [f"    {key}.{part} = {text}\n" for part, text in value.items()]
        else:
            lines.append(f"    {prefix}{key} = {value}\n")
    return "".join(lines)


def _table(jobs: list[Job]) -> str:
    if not jobs:
        return ""
    lines = [
        "Job id            Name             User              Time Use S Queue",
        "----------------  ---------------- ----------------  -------- - -----",
    ]
    for job in jobs:
        name, user = job["name"][:16], job["user"][:16]
        lines.append(f"{job['id']:16}  {name:16} {user:16}  {_clock(ran(job)):>8} {job['state']} {job['queue']:15}")
    return "\n".join(lines) + "\n"


def ran(job: Job) -> float:
    """Seconds that `job` ran, or runs."""
    return (job["ended"] or time.time()) - job["started"] if job["started"] else 0.0


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes // 60:02}:{minutes % 60:02}:{rest:02}"


def _facts(job: Job) -> dict[str, Any]:
    """The attributes of `job`, those that OpenPBS would leave out left out."""
    memory = sum(memory for _, memory in job["chunks"])
    facts = {
        "Job_Name": job["name"],
        "Job_Owner": f"{job['user']}@server",
        "resources_used": {"ncpus": _cores(job), "walltime": _clock(ran(job))} if job["started"] else None,
        "job_state": job["state"],
        "queue": job["queue"],
        "server": "server",
        "ctime": time.ctime(job["submitted"]),
        "Error_Path": f"server:{job['error']}",
        "exec_host": "+".join(f"{n}/0*{c}" for n, (c, _) in zip(job["nodes"], job["chunks"], strict=False)) or None,
        "exec_vnode": exec_vnode(job) if job["nodes"] else None,
        "Hold_Types": "u" if job["state"] == "H" else "n",
        "Join_Path": job["join"],
        "mtime": time.ctime(job["ended"] or job["started"] or job["submitted"]),
        "Output_Path": f"server:{job['output']}",
        "Priority": 0,
        "qtime": time.ctime(job["submitted"]),
        "Rerunable": "True" if job["rerunnable"] else "False",
        "Resource_List": {
            "mem": f"{memory // 1024}kb" if memory else None,
            "ncpus": _cores(job),
            "nodect": len(job["chunks"]),
            "place": "free" if job["place"] == "spread" else job["place"],
            "select": job["resources"]["select"],
            "walltime": _clock(job["walltime"]) if job["walltime"] is not None else None,
        },
        "stime": time.ctime(job["started"]) if job["started"] else None,
        "obittime": time.ctime(job["ended"]) if job["ended"] and job["started"] else None,
        "session_id": job["pid"],
        "substate": {"Q": 10, "H": 20, "R": 42}.get(job["state"], 92 if job["exit_status"] == 0 else 93),
        "comment": job["comment"] or None,
        "run_count": job["runs"] or None,
        "Exit_status": job["exit_status"],
        "Account_Name": job["account"],
        "project": job["project"],
        "Submit_Host": "server",
    }
    return _without_none(facts)


def _without_none(facts: dict[str, Any]) -> dict[str, Any]:
    return {
        key: _without_none(value) if isinstance(value, dict) else value
        for key, value in facts.items()
        if value is not None
    }


def _cores(job: Job) -> int:
    return sum(cores for cores, _ in job["chunks"])


def _users(text: str) -> set[str]:
    return {user.partition("@")[0] for user in text.split(",")}


def qselect(directory: Path, args: list[str]) -> int:
    """List the ids of jobs; finished ones with ``-x`` or ``-s F`` and ``-x`` only."""
    try:
        options, _ = getopt.getopt(args, "u:N:s:q:xHTJp:P:A:h:l:r:")
    except getopt.GetoptError as problem:
        sys.stderr.write(
            f"qselect: invalid option -- '{problem.opt}'\nusage: qselect [-N name] [-s states] [-u user]\n"
        )
        return _USAGE
    sys.stdout.writelines(f"{job['id']}\n" for job in _selected(read(directory), dict(options)))
    return 0


def _selected(state: State, given: dict[str, str]) -> Iterable[Job]:
    for job in state["jobs"].values():
        is_finished = job["state"] in FINISHED
        if (is_finished and "-x" not in given and "-H" not in given) or ("-H" in given and not is_finished):
            continue
        if (
            ("-u" not in given or job["user"] in _users(given["-u"]))
            and given.get("-N") in {None, job["name"]}
            and given.get("-q") in {None, job["queue"]}
            and job["state"] in given.get("-s", job["state"])
        ):
            yield job
