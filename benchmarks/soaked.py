"""One run of the soak in a process of its own: `soaked.py NAME COUNT EVERY`.

Writes a JSON line after each EVERY tasks, with the memory of each process that is watched, and a last one with the keys
that are still on the scheduler. As `soaked.py scheduler FILE` it is the scheduler of a run that has one apart.
"""

import asyncio
import gc
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

import bodies
import dask.config
import resident
from contestants._cluster import ARGUMENTS, LOCAL_CLUSTER, WORKERS
from distributed import Client, LocalCluster, Scheduler, as_completed

from asyncflow import WorkflowEngine
from asyncflow.queues.scheduler import STREAM_LOG_LENGTH, TASK_STREAM_LENGTH, start_scheduler

WINDOW = 1000
#: Ours has them by itself, on clusters of its own.
LENGTHS = {
    "distributed.admin.low-level-log-length": STREAM_LOG_LENGTH,
    "distributed.scheduler.dashboard.tasks.task-stream-length": TASK_STREAM_LENGTH,
}
AS_VARIABLES = {
    f"DASK_{key.replace('.', '__').replace('-', '_').upper()}": str(value) for key, value in LENGTHS.items()
}


class Samples:
    """Tells the memory of the processes after each `every` tasks."""

    def __init__(self, results, every, processes):
        self._every = every
        self._results = results
        self._processes = processes
        self._done = 0
        self._begin = time.perf_counter()

    def note(self, value):
        self._done += 1
        if value != self._done and value <= 0:
            raise AssertionError(f"a task answered {value}")
        if self._done % self._every == 0:
            memory = {name: resident.now(process) for name, process in self._processes.items()}
            seconds = time.perf_counter() - self._begin
            print(json.dumps({"done": self._done, "seconds": seconds, "memory": memory}), file=self._results)


def by_hand(client, count, samples):
    """`as_completed` holding as many calls as `flow.map` would, as Dask's documentation has it."""
    numbers = iter(range(count))
    first = [client.submit(bodies.step, number, pure=False) for number in itertools.islice(numbers, WINDOW)]
    completed = as_completed(first, with_results=True)
    del first
    for _, value in completed:
        samples.note(value)
        for number in itertools.islice(numbers, 1):
            completed.add(client.submit(bodies.step, number, pure=False))


async def through_map(count, samples, **arguments):
    async with WorkflowEngine.create(**arguments) as flow:
        step = flow.function_task(bodies.step)
        async for value in flow.map(step, range(count), window=WINDOW):
            samples.note(value)
        return await asyncio.to_thread(keys_left)  # while the scheduler is there


def hand_local(results, count, every):
    dask.config.set(LENGTHS)
    with LocalCluster(**LOCAL_CLUSTER) as cluster, Client(cluster) as client:
        client.wait_for_workers(WORKERS)
        by_hand(client, count, Samples(results, every, {"driver and scheduler": "self"}))
        return keys_left()


def ours_local(results, count, every, **arguments):
    config = {"cluster": {"kind": "local", "security": "none", **ARGUMENTS}}
    samples = Samples(results, every, {"driver and scheduler": "self"})
    return asyncio.run(through_map(count, samples, config=config, **arguments))


def ours_kept(results, count, every):
    with tempfile.TemporaryDirectory() as folder:
        return ours_local(results, count, every, work_dir=folder, checkpoint=True)


def hand_apart(results, count, every):
    dask.config.set(LENGTHS)
    with scheduler_apart("-m", "dask", "scheduler", "--host=127.0.0.1", "--port=0", "--scheduler-file") as found:
        address, process = found
        with Client(address) as client:
            by_hand(client, count, Samples(results, every, {"driver": "self", "scheduler": process}))
        return keys_at(address)


def ours_apart(results, count, every):
    """Our scheduler, which otherwise lives in the driver, in a process of its own."""
    with scheduler_apart(__file__, "scheduler") as (address, process):
        config = {"cluster": {"kind": "address", "address": address, "security": "none"}}
        samples = Samples(results, every, {"driver": "self", "scheduler": process})
        asyncio.run(through_map(count, samples, config=config))
        return keys_at(address)


def serve(place):
    async def main():
        scheduler = await start_scheduler(None, "127.0.0.1:0", host="127.0.0.1", port=0, scheduler_file=place)
        await scheduler.finished()

    asyncio.run(main())


@contextmanager
def scheduler_apart(*scheduler):
    """A scheduler and two workers as programs; its address and process id."""
    begun = []

    def begin(*arguments):
        begun.append(subprocess.Popen([sys.executable, *arguments], env={**os.environ, **AS_VARIABLES}, stdout=2))

    with tempfile.TemporaryDirectory() as folder:
        place = str(Path(folder, "scheduler.json"))
        try:
            begin(*scheduler, place)
            options = ("--nthreads=1", "--host=127.0.0.1", "--no-dashboard")
            for _ in range(WORKERS):
                begin("-m", "dask", "worker", "--scheduler-file", place, *options)
            with Client(scheduler_file=place, timeout=60) as client:
                client.wait_for_workers(WORKERS)
                address = client.scheduler.address
            yield address, begun[0].pid
        finally:
            for each in reversed(begun):
                each.terminate()
            for each in begun:
                each.wait()


def keys_left():
    """Count what the schedulers of this process hold; releases take a moment to reach them."""
    schedulers = [each for each in gc.get_objects() if issubclass(type(each), Scheduler)]
    return until_none(lambda: sum(len(each.tasks) for each in schedulers))


def keys_at(address):
    with Client(address) as client:
        return until_none(lambda: client.run_on_scheduler(lambda dask_scheduler: len(dask_scheduler.tasks)))


def until_none(count):
    deadline = time.monotonic() + 10
    while (keys := count()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return keys


CONTESTANTS = {
    "ours_local": ours_local,
    "hand_local": hand_local,
    "ours_apart": ours_apart,
    "hand_apart": hand_apart,
    "ours_kept": ours_kept,
}


def main():
    if sys.argv[1] == "scheduler":
        return serve(sys.argv[2])
    name, count, every = sys.argv[1], *map(int, sys.argv[2:])
    results = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    print(json.dumps({"keys": CONTESTANTS[name](results, count, every)}), file=results)
    return None


if __name__ == "__main__":
    main()
