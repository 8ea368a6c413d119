"""What it takes until work can begin: imports, and clusters ready for their first call, beside bare Dask.

Each figure is of a fresh process, the contestants in turns; clusters are timed once everything is imported.
"""

import argparse
import subprocess
import sys
from collections import defaultdict
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

from document import Document
from rich.console import Console
from table import seconds

IMPORT = "import time; begin = time.perf_counter(); {}; print(time.perf_counter() - begin)"
OURS = """
import asyncio, time
from asyncflow import WorkflowEngine
import asyncflow.backends.dask, asyncflow.clusters.local, asyncflow.clusters._embedded

async def main():
    begin = time.perf_counter()
    async with WorkflowEngine.create({{"cluster": {{"kind": "local", "n_workers": 2, "threads_per_worker": 1, {}}}}}):
        print(time.perf_counter() - begin, flush=True)

asyncio.run(main())
"""
BARE = """
import time
from distributed import Client
from distributed.deploy.subprocess import SubprocessCluster

begin = time.perf_counter()
options = {"n_workers": 2, "worker_kwargs": {"nthreads": 1}, "scheduler_kwargs": {"dashboard_address": "127.0.0.1:0"}}
with SubprocessCluster(**options) as cluster, Client(cluster) as client:
    client.wait_for_workers(2)
    print(time.perf_counter() - begin, flush=True)
"""

# Label, program, and the label that it is compared with.
POINTS = (
    ("import distributed", IMPORT.format("import distributed"), ""),
    ("import asyncflow", IMPORT.format("import asyncflow"), "import distributed"),
    (
        "from asyncflow import WorkflowEngine",
        IMPORT.format("from asyncflow import WorkflowEngine"),
        "import distributed",
    ),
    ("a bare SubprocessCluster and client, without encryption", BARE, ""),
    (
        "asyncflow, two worker programs, TLS",
        OURS.format(""),
        "a bare SubprocessCluster and client, without encryption",
    ),
    (
        "asyncflow, in process",
        OURS.format('"processes": False, "dashboard_address": None'),
        "a bare SubprocessCluster and client, without encryption",
    ),
    (
        "asyncflow, in process with the dashboard, which imports bokeh",
        OURS.format('"processes": False'),
        "a bare SubprocessCluster and client, without encryption",
    ),
)

console = Console(stderr=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="replace the text between the markers of FILE")
    options = parser.parse_args()
    document = Document(options.markdown, "startup") if options.markdown else None
    found = defaultdict(list)
    for number in range(options.rounds):
        first = number % len(POINTS)
        for label, program, _ in POINTS[first:] + POINTS[:first]:
            run = subprocess.run(
                [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
            )
            found[label].append(float(run.stdout.split()[0]))
    text = "| | median | range | ratio |\n|---|---:|---:|---:|\n"
    for label, _, base in POINTS:
        values = found[label]
        ratio = f"x {median(values) / median(found[base]):.2f}" if base else ""
        text += (
            f"| {label} | {seconds(median(values))} | {seconds(min(values))} to {seconds(max(values))} | {ratio} |\n"
        )
    console.print(text, markup=False)
    if document:
        document.replace(f"{datetime.now(UTC):%d %B %Y}, rounds: {options.rounds}.\n\n{text}\n")


if __name__ == "__main__":
    main()
