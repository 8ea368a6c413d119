"""Whole engine runs on a stand-in of a batch system: the configuration, and bodies that tell where they ran."""

import asyncio
import json
import os
from pathlib import Path

from asyncflow import WorkflowEngine
from conftest import eventually
from gates import until  # noqa: F401 - of the same use here


def create(kind, **keys):
    """An engine on small jobs that are watched closely."""
    near = {"interface": "lo", "poll_interval": 0.5, "start_timeout": 30, "idle_timeout": 2}
    shape = {"cores": 2, "memory": "1GB", "walltime": "10m", "jobs": 2}
    return WorkflowEngine.create({"cluster": {"kind": kind, **shape, **near, **keys}})


def make_tasks(flow):
    """Three tasks: where one runs and for whom, the sum of values, and what waits for a file."""

    @flow.function_task
    def where(value=None):
        from distributed import get_worker

        worker = get_worker()
        return worker.name, worker.address, value

    @flow.function_task
    def add(*values):
        return sum(values)

    @flow.function_task
    def hold(note, gate):
        import time
        from pathlib import Path

        from distributed import get_worker

        Path(note).write_text(str(get_worker().name))
        while not Path(gate).exists():
            time.sleep(0.01)
        return get_worker().name

    return where, add, hold


def live(queue):
    """The ids of jobs that wait or run."""
    return [job.id for job in queue.live_jobs()]


def faults(queue):
    """The faults that are still to come."""
    return json.loads((queue.directory / "state.json").read_text(encoding="utf-8"))["faults"]


def ends_empty(queue, timeout=10.0):
    """Whether the queue becomes empty, and no process of any job is left."""
    return eventually(lambda: not queue.live_jobs() and not queue.processes(), timeout)


def only_logs_are_left(home):
    """Whether nothing of a run is left but logs that somebody may want to read."""
    return [path for path in Path(home, ".asyncflow").rglob("*") if path.is_file() and "logs" not in path.parts] == []


async def gathered(calls, timeout=60):
    """The values of all `calls`."""
    return await asyncio.wait_for(asyncio.gather(*calls), timeout)


def without(path):
    """``PATH`` without the directory `path`."""
    return os.pathsep.join(each for each in os.environ["PATH"].split(os.pathsep) if each != str(path))
