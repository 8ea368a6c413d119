"""One point of a curve of `scale.py`, in a process of its own: `scaled.py CONTESTANT WHAT TASKS WORKERS`.

WHAT is ``time``, seconds for so many no-ops from the first call to the last value, or ``memory``, bytes of this
process for so many calls that wait for one that has not ended. Scheduler and workers are in this process, but for time
with two workers, which are programs. Writes one JSON object.
"""

import asyncio
import gc
import json
import os
import sys
import time

import bodies
import resident

IN_PROCESS = {"processes": False, "dashboard_address": None, "memory_limit": 0}
PROGRAMS = {"processes": True, "dashboard_address": None}
WARM = 20
REST = 100_000  # bytes in two seconds


async def ours(what, tasks, shape, **options):
    from asyncflow import WorkflowEngine

    config = {"cluster": {"kind": "local", "security": "none", "threads_per_worker": 1, **shape}, "defaults": options}
    async with WorkflowEngine.create(config=config) as flow:
        noop, wait, step = (flow.function_task(body) for body in (bodies.noop, bodies.gate, bodies.step))
        await asyncio.gather(*[noop() for _ in range(WARM)])
        if what == "time":
            begin = time.perf_counter()
            await asyncio.gather(*[noop() for _ in range(tasks)])
            return time.perf_counter() - begin
        first = wait()
        futures = [step(first) for _ in range(WARM)]
        await asyncio.sleep(1.0)
        return await held(lambda: [step(first) for _ in range(tasks)], bodies.GATE.set, futures)


async def by_hand(what, tasks, shape):
    from distributed import Client, LocalCluster

    shape = {"threads_per_worker": 1, **shape}
    async with (
        LocalCluster(**shape, asynchronous=True) as cluster,
        Client(cluster, asynchronous=True) as client,
    ):
        await client.gather([client.submit(bodies.noop, pure=False) for _ in range(WARM)])
        if what == "time":
            begin = time.perf_counter()
            await client.gather([client.submit(bodies.noop, pure=False) for _ in range(tasks)])
            return time.perf_counter() - begin
        first = client.submit(bodies.gate, pure=False)
        futures = [client.submit(bodies.step, first, pure=False) for _ in range(WARM)]
        await asyncio.sleep(1.0)
        make = lambda: [client.submit(bodies.step, first, pure=False) for _ in range(tasks)]  # noqa: E731
        return await held(make, bodies.GATE.set, futures)


async def held(make, end, futures):
    """By how much the process grows with what `make` makes, once it has come to rest."""
    gc.collect()
    before = resident.now()
    futures += make()
    last = 0
    while (now := resident.now()) - last > REST:  # until all of it has arrived where it waits
        last = now
        await asyncio.sleep(2.0)
    gc.collect()
    grown = resident.now() - before
    end()
    assert (await futures[-1]) == 1
    return grown


CONTESTANTS = {
    "asyncflow": ours,
    "unbundled": lambda *args: ours(*args, bundle=False),
    "by_hand": by_hand,
}


def main():
    name, what, tasks, workers = sys.argv[1:]
    results = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what a library prints must not come between the results
    is_apart = what == "time" and int(workers) == 2
    shape = {**(PROGRAMS if is_apart else IN_PROCESS), "n_workers": int(workers)}
    print(json.dumps({"value": asyncio.run(CONTESTANTS[name](what, int(tasks), shape))}), file=results)


if __name__ == "__main__":
    main()
