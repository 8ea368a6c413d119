"""One turn of one contestant, in a process of its own: `turn.py CONTESTANT WORKLOAD=SIZE …`.

Writes an empty JSON object when it is open, then a line for each workload: the seconds of its first pass, the
median of those that followed, the growth of this process's peak memory; or the error.
"""

import gc
import json
import os
import sys
import time
from statistics import median

import contestants
import resident
from workloads import WORKLOADS

ENOUGH = 5.0  # seconds; who needs longer for one pass is not asked for more
BY_NAME = {workload.name: workload for workload in WORKLOADS}


def measure(contestant, workload, size):
    run = getattr(contestant, workload.name)
    run(workload.warm)
    gc.collect()
    resident.reset_peak()
    before = resident.now()
    passes = [timed(run, size)]
    while len(passes) < workload.passes and sum(passes) < ENOUGH:
        passes.append(timed(run, size))
    growth = resident.peak() - before
    return {"workload": workload.name, "first": passes[0], "again": median(passes[1:] or passes), "growth": growth}


def timed(run, size):
    start = time.perf_counter()
    answer = run(size)
    seconds = time.perf_counter() - start
    if answer != size:
        raise AssertionError(f"{run.__name__} of {size} answered {answer}")
    return seconds


def main():
    name, *asked = sys.argv[1:]
    results = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what a library prints must not come between the results
    begin = time.perf_counter()
    with contestants.load(name).opened() as contestant:
        print("{}", file=results)
        if asked[0].startswith("first="):
            timed(contestant.fan_out, 1)
            seconds = time.perf_counter() - begin
            print(json.dumps({"workload": "first", "first": seconds, "again": seconds, "growth": 0}), file=results)
            del asked[0]
        for workload, _, size in (each.partition("=") for each in asked):
            try:
                result = measure(contestant, BY_NAME[workload], int(size))
            except Exception as error:
                result = {"workload": workload, "error": type(error).__name__, "message": str(error)}
            print(json.dumps(result), file=results)
            if "error" in result:
                return  # a contestant that failed may be left in any state: the rest belongs to a fresh one


if __name__ == "__main__":
    main()
