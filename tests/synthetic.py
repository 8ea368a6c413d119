"""Journals of runs that never were, of any size: calls of many tasks on workers with slots, with failures."""

import heapq
import json
import random
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

#: Task name, part of the calls, mean seconds, cores, memory asked and had, part that fails.
_TASKS = (
    ("prepare", 0.20, 2.0, 1, None, 2e8, 0.0),
    ("simulate", 0.60, 9.0, 1, 4e9, 1.3e9, 0.01),
    ("analyse", 0.15, 4.0, 4, 2e9, 1.9e9, 0.002),
    ("plot", 0.05, 1.0, 1, None, 3e8, 0.0),
)


def write_run(directory, calls, *, workers=50, slots=4, seed=1):
    """Write the journal of a run of that many calls to the run directory; where it is."""
    directory.mkdir(parents=True, exist_ok=True)
    path = Path(directory) / "journal.jsonl"
    with path.open("w") as file:
        for entry in sorted(_entries(calls, workers, slots, random.Random(seed)), key=lambda entry: entry["time"]):
            file.write(json.dumps(entry, separators=(",", ":")) + "\n")
    return path


def _entries(calls, workers, slots, chance):
    began = 1_790_000_000.0
    yield _entry(began, "begun", pid=1)
    yield _entry(began, "pool", pool="cpu", cores=slots, memory=16 * 10**9)
    free = []
    for number in range(workers):
        joined = began + 5 + 0.2 * number
        job, address = str(1000 + number), f"tcp://10.0.0.{number}:4000"
        yield _entry(began + 1, "job-submitted", job=job, pool="cpu", worker_name=f"cpu-{number}")
        yield _entry(joined - 1, "job-started", job=job, pool="cpu", nodes=f"node{number}")
        about = {"worker_name": f"cpu-{number}", "host": f"node{number}", "slots": slots, "memory": 16 * 10**9}
        yield _entry(joined, "worker-joined", worker=address, pool="cpu", **about)
        yield _entry(joined + 2, "resources", worker=address, cpu=90.0 * slots, memory=6 * 10**9)
        free += [(joined, address, slot) for slot in range(slots)]
    last = began
    for call, (started, ended, address) in _played(_graph(calls, began, chance), free).items():
        yield from _told(call, started, ended, address, chance)
        last = max(last, ended)
    yield _entry(last + 0.5, "ended", counts={"called": calls})


@dataclass(eq=False)
class _Call:
    number: int
    key: str
    task: tuple
    created: float
    seconds: float
    needs: list


def _graph(calls, began, chance):
    """Every other call depends on one or two of the last two hundred."""
    made = []
    for number, task in enumerate(chance.choices(_TASKS, [task[1] for task in _TASKS], k=calls)):
        needed = {max(0, number - chance.randint(1, 200)) for _ in range(2)} if number % 2 else ()
        seconds = task[2] * chance.lognormvariate(0, 0.4)
        needs = [made[each] for each in sorted(needed)]
        made.append(_Call(number, f"{task[0]}-{number:016x}", task, began + 0.0001 * number, seconds, needs))
    return made


def _played(graph, free):
    """When and where each call runs, if whatever is ready first takes the first slot that is free."""
    played, followers = {}, defaultdict(list)
    for call in graph:
        for needed in call.needs:
            followers[needed].append(call)
    missing = {call: len(call.needs) for call in graph}
    ready = [(call.created, call.number) for call in graph if not call.needs]
    heapq.heapify(ready)
    heapq.heapify(free)
    while ready:
        since, number = heapq.heappop(ready)
        at, address, slot = heapq.heappop(free)
        started = max(at, since) + 0.002
        ended = started + graph[number].seconds
        heapq.heappush(free, (ended, address, slot))
        played[graph[number]] = (started, ended, address)
        for follower in followers[graph[number]]:
            missing[follower] -= 1
            if not missing[follower]:
                last = max(played[needed][1] for needed in follower.needs)
                heapq.heappush(ready, (max(last, follower.created), follower.number))
    return played


def _told(call, started, ended, address, chance):
    name, _, _, cores, memory, peak, ill = call.task
    needs = {word: value for word, value in (("cores", cores if cores > 1 else 0), ("memory", memory)) if value}
    about = {"workflow_id": f"wf-{call.number % 20:02d}", "task_type": "function", "backend": "dask", "needs": needs}
    took = {"started": started, "worker": address, "cpu": 0.9 * (ended - started)}
    took["peak_memory"] = int(peak * chance.uniform(0.5, 1))
    failed = chance.random() < ill
    why = {"error": f"ValueError: seed {call.number} does not converge", "error_type": "ValueError"} if failed else {}
    yield _entry(call.created, "called", call.key, name, depends_on=[each.key for each in call.needs], **about)
    yield _entry(started, "running", call.key, name, worker=address)
    yield _entry(ended, "failed" if failed else "done", call.key, name, **took, **why)


def _entry(time, state, key="", name="", **facts):
    entry = {"time": round(time, 3), "session": 1, "state": state}
    if key:
        entry |= {"key": key, "name": name}
    return entry | ({"facts": facts} if facts else {})
