"""Nodes, cores and memory: which jobs fit where, and what is lacking."""

import re
from typing import NamedTuple

from .state import RUNNING, Job, State

#: Free cores and bytes of each node.
Room = dict[str, tuple[int, int]]

_SIZE = re.compile(r"(\d+(?:\.\d+)?)([kmgtp]?)(?:i?[bw])?", re.IGNORECASE)


class Lack(NamedTuple):
    """What keeps a job from starting; ``never`` where waiting does not help."""

    never: bool
    resource: str
    asked: int
    free: int
    total: int


def parse_size(text: str, unit: str = "") -> int:
    """Bytes of ``16GB`` as batch systems read it, in powers of 1024; a bare number counts `unit`."""
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is not a size; write 512mb or 16GB")
    prefix = match[2] if not text.strip()[-1].isdigit() else unit
    return int(float(match[1]) * 1024 ** " kmgtp".index(prefix.lower() or " "))


def empty(state: State) -> Room:
    """The machine with nothing on it, nodes that are lost included."""
    return dict.fromkeys(state["nodes"], (state["cores"], state["memory"]))


def room(state: State) -> Room:
    """What the nodes that work have free."""
    free = {node: both for node, both in empty(state).items() if node not in state["lost"]}
    for job in state["jobs"].values():
        if job["state"] in RUNNING:
            for node, (cores, memory) in zip(job["nodes"], job["chunks"], strict=True):
                if node in free:
                    free[node] = (free[node][0] - cores, free[node][1] - memory)
    return free


def place(job: Job, free: Room) -> list[str] | None:
    """A node for each chunk of `job`; None where it does not fit.

    A chunk goes to a node that the job does not use yet while there is one, unless the job says ``free`` (the first
    that fits), ``pack`` (one node for all) or ``scatter`` (a node for each).
    """
    left, chosen = dict(free), list[str]()
    for cores, memory in job["chunks"]:
        fitting = [node for node, (c, m) in left.items() if c >= cores and m >= memory]
        if job["place"] == "pack" and chosen:
            fitting = [node for node in fitting if node == chosen[0]]
        elif job["place"] == "scatter":
            fitting = [node for node in fitting if node not in chosen]
        elif job["place"] == "spread":
            fitting = [node for node in fitting if node not in chosen] or fitting
        if not fitting:
            return _packed(job, free) if job["place"] == "pack" and chosen else None
        chosen.append(fitting[0])
        left[fitting[0]] = (left[fitting[0]][0] - cores, left[fitting[0]][1] - memory)
    return chosen


def _packed(job: Job, free: Room) -> list[str] | None:
    """All chunks on one node, whichever has room for their sum."""
    cores, memory = (sum(column) for column in zip(*job["chunks"], strict=True))
    fitting = [node for node, (c, m) in free.items() if c >= cores and m >= memory]
    return [fitting[0]] * len(job["chunks"]) if fitting else None


def lack(state: State, job: Job) -> Lack | None:
    """What keeps `job` from starting now; None where it fits."""
    free = {} if state["hold"] else room(state)
    if place(job, free) is not None:
        return None
    cores, memory = state["cores"], state["memory"]
    for c, m in job["chunks"]:
        if c > cores:
            return Lack(never=True, resource="ncpus", asked=c, free=cores, total=cores)
        if m > memory:
            return Lack(never=True, resource="mem", asked=m, free=memory, total=memory)
    if place(job, empty(state)) is None:
        return Lack(never=True, resource="nodes", asked=len(job["chunks"]), free=len(free), total=len(state["nodes"]))
    sums = [(sum(c for c, _ in pairs), sum(m for _, m in pairs)) for pairs in (job["chunks"], free.values())]
    asked, now = sums
    if asked[0] <= now[0] and asked[1] > now[1]:
        return Lack(never=False, resource="mem", asked=asked[1], free=now[1], total=memory * len(state["nodes"]))
    return Lack(never=False, resource="ncpus", asked=asked[0], free=now[0], total=cores * len(state["nodes"]))
