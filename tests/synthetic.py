"""Journals of runs that never were, of any size: calls of many tasks on workers with slots, with failures."""

import heapq
import json
import random
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
    heapq.heapify(free)
    names = chance.choices(_TASKS, [task[1] for task in _TASKS], k=calls)
    recent, last = [], began
    for number, task in enumerate(names):
        entries, end = _call(number, task, free, recent, chance, began)
        yield from entries
        last = max(last, end)
    yield _entry(last + 0.5, "ended", counts={"called": calls})


def _call(number, task, free, recent, chance, began):
    name, _, mean, cores, memory, peak, ill = task
    key = f"{name}-{number:016x}"
    needed = [chance.choice(recent) for _ in range(2)] if recent and chance.random() < 0.5 else []
    created = began + 0.0001 * number
    at, address, slot = heapq.heappop(free)
    started = max([at + 0.002, created, *(end for _, end in needed)])
    ended = started + mean * chance.lognormvariate(0, 0.4)
    heapq.heappush(free, (ended, address, slot))
    needs = {name: value for name, value in (("cores", cores if cores > 1 else 0), ("memory", memory)) if value}
    about = {"workflow_id": f"wf-{number % 20:02d}", "task_type": "function", "backend": "dask", "needs": needs}
    took = {"started": started, "worker": address, "cpu": 0.9 * (ended - started)}
    took["peak_memory"] = int(peak * chance.uniform(0.5, 1))
    failed = chance.random() < ill
    why = {"error": f"ValueError: seed {number} does not converge", "error_type": "ValueError"} if failed else {}
    recent.append((key, ended))
    del recent[:-200]
    entries = [
        _entry(created, "called", key, name, depends_on=[each for each, _ in needed], **about),
        _entry(started, "running", key, name, worker=address),
        _entry(ended, "failed" if failed else "done", key, name, **took, **why),
    ]
    return entries, ended


def _entry(time, state, key="", name="", **facts):
    entry = {"time": round(time, 3), "session": 1, "state": state}
    if key:
        entry |= {"key": key, "name": name}
    return entry | ({"facts": facts} if facts else {})
