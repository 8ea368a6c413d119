"""Fixtures: engines on each backend, and the checks that nothing is left behind."""

import gc
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from textwrap import dedent

import psutil
import pytest
from blockbuster import BlockBuster

import slurm as real_slurm
from asyncflow import ConcurrentExecutionBackend, WorkflowEngine
from browser import open_browser
from gates import Notes

#: Threads that distributed, dask and asyncio keep for the life of a process or loop.
KEPT_THREADS = ("Dask-Offload", "Dask-Callback", "Dask-Default", "Profile", "AsyncProcess", "TCP-Executor", "asyncio_")

#: An embedded cluster without processes: real scheduler, real workers, some 50 ms.
IN_PROCESS = {
    "cluster": {
        "kind": "local",
        "processes": False,
        "n_workers": 2,
        "threads_per_worker": 2,
        "dashboard_address": None,
        "memory_limit": 0,
    }
}


def eventually(condition, timeout=10.0):
    """Wait for the fact that `condition()` holds; whether it came."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)  # between looks at a fact, which nothing announces
    return True


def _threads():
    return {
        thread
        for thread in threading.enumerate()
        if thread.is_alive() and not thread.name.startswith(KEPT_THREADS) and thread is not threading.main_thread()
    }


def _open_files():
    return len(list(Path("/proc/self/fd").iterdir()))


def _children():
    return {child.pid for child in psutil.Process().children(recursive=True)}


def pytest_collection_finish():
    """What is imported by now stays: looking through it after each test would take half of the suite's time."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True, scope="module")
def what_stays_is_looked_through_once():
    """The same for what a module's tests have loaded and cached for good."""
    yield
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def nothing_left_behind():
    """Threads, processes and open files that a test starts end with it."""
    threads, children, files = _threads(), _children(), _open_files()
    yield
    gc.collect()
    assert eventually(lambda: _threads() <= threads), f"threads left: {_threads() - threads}"
    assert eventually(lambda: _children() <= children), f"processes left: {_children() - children}"
    few = files + 20  # loops and pools of dask and asyncio keep some; a leak per task would be hundreds
    assert eventually(lambda: _open_files() <= few), "files left open"


@pytest.fixture(autouse=True)
def no_blocking_call_on_the_users_loop() -> Iterator[BlockBuster]:
    """A blocking call of ours on the user's loop fails the test; Dask's own thread and bodies may block."""
    # Stand-ins belong to the test, which may look at their files while nothing else runs.
    buster = BlockBuster("asyncflow", excluded_modules=["asyncflow.testing"])
    for function in buster.functions.values():
        function.can_block_in("asyncflow/backends/dask/thread.py", "_run")
        function.can_block_in("asyncflow/loops.py", "run")
        function.can_block_in("asyncflow/pipelines/pipeline.py", "load_pipeline")  # reads files and imports, as it says
        function.can_block_in("asyncflow/sources.py", "_source_of")  # once for each task that keeps its results
    buster.functions["os.getcwd"].can_block_in("asyncflow/files.py", "__post_init__")  # it asks the kernel, no disk
    buster.activate()
    yield buster
    buster.deactivate()


@asynccontextmanager
async def open_engine(kind, **options):
    """An engine on ``dask`` (in-process: two workers of two threads), ``threads`` (four) or ``processes`` (two)."""
    if kind == "dask":
        async with WorkflowEngine.create(IN_PROCESS, **options) as flow:
            yield flow
        return
    pool = ThreadPoolExecutor(4) if kind == "threads" else ProcessPoolExecutor(2)
    with pool:
        async with WorkflowEngine.create(backend=ConcurrentExecutionBackend(pool), **options) as flow:
            yield flow


@pytest.fixture
def with_bundles(monkeypatch):
    """Short calls travel together, also where the suite is run with ASYNCFLOW_BUNDLE=0."""
    monkeypatch.delenv("ASYNCFLOW_BUNDLE", raising=False)


@pytest.fixture
async def dask_flow():
    """An engine on an in-process Dask cluster of two workers with two threads each."""
    async with open_engine("dask") as flow:
        yield flow


@pytest.fixture
async def thread_flow():
    """An engine on four threads."""
    async with open_engine("threads") as flow:
        yield flow


@pytest.fixture
async def process_flow():
    """An engine on a pool of two processes."""
    async with open_engine("processes") as flow:
        yield flow


@pytest.fixture(params=["dask", "threads"])
async def flow(request):
    """An engine on Dask, and the same on threads."""
    async with open_engine(request.param) as flow:
        yield flow


@pytest.fixture(params=["dask", "threads", "processes"])
async def any_flow(request):
    """An engine on every backend that runs bodies."""
    async with open_engine(request.param) as flow:
        yield flow


@pytest.fixture
def notes(tmp_path):
    """What bodies say when they begin."""
    return Notes(tmp_path / "notes")


@pytest.fixture
def resumed(tmp_path):
    """Begin the run ``campaign``, or go on with it, with an engine of any kind."""

    def _resumed(kind="dask", **options):
        return open_engine(kind, **{"resume": "campaign", "work_dir": tmp_path / "runs", **options})

    return _resumed


@pytest.fixture
def results(tmp_path):
    """The results of the run ``campaign``."""
    return tmp_path / "runs" / "campaign" / "results"


@pytest.fixture
def write(tmp_path):
    """Write a configuration, and say where it is."""

    def _write(text):
        file = tmp_path / "test.yaml"
        file.write_text(dedent(text), encoding="utf-8")
        return str(file)

    return _write


@pytest.fixture
async def browser():
    """A Chromium without a window, of this test's own."""
    async with open_browser() as opened:
        yield opened


@pytest.fixture(scope="session")
def slurm_box():
    """A Slurm of this session's own, of four nodes; tests ask for `slurm`."""
    real_slurm.demand()
    box = real_slurm.Slurm()
    try:
        box.start()
        yield box
    finally:
        box.wipe()


@pytest.fixture
def slurm(slurm_box, monkeypatch):
    """A Slurm that the commands of this process and its children find; the test leaves its queue empty."""
    slurm_box.start()  # what an earlier test killed
    for name, value in slurm_box.env.items():
        monkeypatch.setenv(name, value)
    yield slurm_box
    left = slurm_box.left_over()
    assert not left, f"left in Slurm: {left}"
