"""What 20,000 awaited no-op tasks leave behind in the driver, for asyncflow on Dask and for Dask by hand.

Counts the growth of the driver's resident memory from the 2,000th task to the last, and the keys that its scheduler,
which lives in the driver, still holds at the end. Each contestant has a process of its own.
"""

import argparse
import gc
import json
import os
import sys
import time
from statistics import median

import contestants
import resident
from child import ChildError, lines
from rich.console import Console
from rich.table import Table

# asyncflow bounds Dask's logs itself; by hand they are Dask's own length, or the one asyncflow chose.
CONTESTANTS = (("asyncflow_dask", None), ("distributed_by_hand", 10), ("distributed_by_hand", None))
LENGTH = "distributed.admin.low-level-log-length"
PATIENCE = 900.0


def main():
    if sys.argv[1:2] == ["--child"]:
        return child(*sys.argv[2:])
    options = parse()
    first, last = (200, 1000) if options.quick else (2000, 20_000)
    table = Table(title=f"{last:,} awaited no-ops, {options.batch} at a time", show_lines=True)
    for column in ("contestant", "Dask's log length", f"growth from the {first:,}th", "of it per task", "keys left"):
        table.add_column(column, justify="right")
    for name, length in CONTESTANTS:
        found = [ask(name, length, first, last, options.batch) for _ in range(options.rounds)]
        table.add_row(contestants.TABLES["dask"][name], *told(found, length, last - first))
    (Console() if sys.stdout.isatty() else Console(width=120)).print(table)
    return None


def parse():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="1,000 tasks, to see that everything runs")
    parser.add_argument("--batch", type=int, default=100, help="calls before each await (default 100)")
    parser.add_argument("--rounds", type=int, default=1)
    return parser.parse_args()


def ask(name, length, *numbers):
    try:
        with lines("memory.py", "--child", name, json.dumps(length), *map(str, numbers), patience=PATIENCE) as results:
            return next(results)
    except (ChildError, StopIteration) as error:
        return {"error": getattr(error, "kind", "ended early"), "message": str(error)}


def told(found, length, tasks):
    for each in found:
        if "error" in each:
            return ["", f"{each['error']}: {each['message']}", "", ""]
    growth = [each["growth"] for each in found]
    middle = median(growth)
    span = f" ({min(growth) / 1e6:.1f} to {max(growth) / 1e6:.1f})" if len(growth) > 1 else ""
    keys = max(each["keys"] for each in found)
    lengths = "its own" if length is None else str(length)
    return [lengths, f"{middle / 1e6:.1f} MB{span}", f"{middle / tasks:.0f} bytes", str(keys)]


def child(name, length, first, last, batch):
    import dask.config

    results = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    first, last, batch = int(first), int(last), int(batch)
    if json.loads(length) is not None:
        dask.config.set({LENGTH: json.loads(length)})
    with contestants.load(name).opened() as contestant:
        for _ in range(0, first, batch):
            contestant.fan_out(batch)
        before = settled()
        for _ in range(first, last, batch):
            contestant.fan_out(batch)
        keys = keys_left()
        print(json.dumps({"growth": settled() - before, "keys": keys}), file=results)


def settled():
    gc.collect()
    return resident.now()


def keys_left():
    """Count what the schedulers of this process hold; releases take a moment to reach them."""
    from distributed import Scheduler

    schedulers = [each for each in gc.get_objects() if issubclass(type(each), Scheduler)]
    if not schedulers:
        raise RuntimeError("no scheduler lives in this process")
    deadline = time.monotonic() + 5
    while (keys := sum(len(each.tasks) for each in schedulers)) and time.monotonic() < deadline:
        time.sleep(0.05)
    return keys


if __name__ == "__main__":
    main()
