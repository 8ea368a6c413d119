"""Dask clusters that the user owns, and what happens when parts of a cluster are lost."""

import asyncio
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import asynccontextmanager
from itertools import pairwise

import pytest
from distributed import Client, LocalCluster, Security

from asyncflow import (
    DaskExecutionBackend,
    SchedulerLostError,
    StartError,
    TaskState,
    WorkflowEngine,
)

SMALL = {
    "n_workers": 1,
    "threads_per_worker": 2,
    "processes": False,
    "protocol": "tcp://",
    "host": "127.0.0.1",
    "dashboard_address": "127.0.0.1:0",
    "worker_dashboard_address": "127.0.0.1:0",
}


@asynccontextmanager
async def owned(kind):
    """A cluster of the user's, what is handed in of it, and how the user asks it for facts afterwards."""
    if kind.startswith("sync"):
        cluster = await asyncio.to_thread(lambda: LocalCluster(**SMALL))
        client = await asyncio.to_thread(lambda: Client(cluster, set_as_default=False))
        try:
            given = {"client": client} if kind == "sync client" else {"cluster": cluster}
            yield given, cluster
            assert await asyncio.to_thread(client.submit(int, "9", pure=False).result) == 9
        finally:
            await asyncio.to_thread(client.close)
            await asyncio.to_thread(cluster.close)
    else:
        async with (
            LocalCluster(asynchronous=True, **SMALL) as cluster,
            Client(cluster, asynchronous=True, set_as_default=False) as client,
        ):
            given = {
                "async client": {"client": client},
                "async cluster": {"cluster": cluster},
                "address": {"address": cluster.scheduler_address},
            }[kind]
            yield given, cluster
            assert await client.submit(int, "9", pure=False) == 9


OWNED = ["sync client", "async client", "sync cluster", "async cluster", "address"]


@pytest.mark.parametrize("kind", OWNED)
async def test_a_cluster_handed_in_is_used_and_left_as_it_was(kind):
    """It stays open, and neither keys, clients nor worker plugins of the engine are left on it."""
    async with owned(kind) as (given, cluster):
        scheduler = cluster.scheduler
        clients, plugins = set(scheduler.clients), set(scheduler.worker_plugins)
        async with WorkflowEngine.create(backend=DaskExecutionBackend(**given)) as flow:
            add = flow.function_task(lambda *parts: sum(parts))
            held = add(1, 2)
            assert await add(held, 3) == 6
            await flow.drain()
            assert any(str(key).startswith("<lambda>") for key in scheduler.tasks)
        assert await gone(lambda: not scheduler.tasks), dict(scheduler.tasks)
        assert await gone(lambda: set(scheduler.clients) == clients)
        assert set(scheduler.worker_plugins) == plugins
        (worker,) = cluster.workers.values()
        assert not [name for name in worker.plugins if name.startswith("asyncflow")]


async def gone(fact, timeout=10.0):
    """Whether `fact` becomes true while this loop, on which the cluster may live, runs on."""
    deadline = time.monotonic() + timeout
    while not fact():
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(0.01)
    return True


async def test_options_work_on_workers_that_declare_nothing():
    """A cluster without declared resources runs tasks that ask for cores and memory, never more than it has cores."""
    async with (
        owned("async cluster") as (given, _),
        WorkflowEngine.create(backend=DaskExecutionBackend(**given)) as flow,
    ):

        @flow.function_task(cores=2, memory="1MB")
        def alone():
            start = time.monotonic()
            time.sleep(0.05)
            return start, time.monotonic()

        spans = sorted(await asyncio.gather(*[alone() for _ in range(4)]))
        assert all(end <= start for (_, end), (start, _) in pairwise(spans))


async def test_what_is_not_connected_yet_is_refused():
    """A cluster object that was never started is a StartError that says so."""
    cluster = LocalCluster(asynchronous=True, **SMALL)
    with pytest.raises(StartError, match="await it, or start it"):
        await WorkflowEngine.create(backend=DaskExecutionBackend(cluster=cluster))
    await cluster
    await cluster.close()


async def test_an_address_where_nobody_listens_is_told():
    """No scheduler behind an address: a StartError with the address, within the start timeout."""
    config = {"cluster": {"kind": "address", "address": "tcp://127.0.0.1:9", "security": "none", "start_timeout": 0.5}}
    with pytest.raises(StartError, match=r"no connection to the scheduler at tcp://127\.0\.0\.1:9"):
        await WorkflowEngine.create(config)


@pytest.mark.parametrize("kind", ["local", "pbs"])
async def test_a_port_that_is_taken_is_told(kind, tmp_path):
    """A scheduler that cannot have its port is a StartError with the port, the reason and the key to change."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        own, key = {
            "local": ({"n_workers": 1, "scheduler_port": port}, "scheduler_port"),
            "pbs": (
                {
                    "cores": 1,
                    "memory": "1GB",
                    "shared_temp_directory": str(tmp_path),
                    "scheduler_options": {"host": "127.0.0.1", "port": port},
                },
                "scheduler_options:",
            ),
        }[kind]
        with pytest.raises(StartError, match=rf"{port} \(.*in use.*\); .*{key}"):
            await WorkflowEngine.create({"cluster": {"kind": kind, **own}})


# What is lost


@asynccontextmanager
async def scheduler_program():
    """A scheduler and a worker as programs of their own, as an operator would run them."""
    command = [
        sys.executable,
        "-m",
        "distributed.cli.dask_scheduler",
        "--host",
        "127.0.0.1",
        "--port",
        "0",
        "--no-dashboard",
    ]
    scheduler = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    worker = None
    try:
        address = await asyncio.to_thread(
            lambda: next(m[0] for line in scheduler.stderr if (m := re.search(r"tcp://\S+", line)))
        )
        command = [
            sys.executable,
            "-m",
            "distributed.cli.dask_worker",
            address,
            "--no-nanny",
            "--no-dashboard",
            "--death-timeout",
            "5",
        ]
        worker = subprocess.Popen(command, stderr=subprocess.DEVNULL, start_new_session=True)
        async with Client(address, asynchronous=True, set_as_default=False) as client:
            await client.wait_for_workers(1)
        yield address, scheduler
    finally:
        for program in filter(None, (worker, scheduler)):
            program.kill()
            await asyncio.to_thread(program.wait)
        scheduler.stderr.close()


GATE = threading.Event()


def stay():
    GATE.wait()


async def assert_all_lost(flow, lose):
    GATE.clear()
    gate = asyncio.get_running_loop().create_future()
    finished = flow.function_task(int)("1")
    assert await finished == 1
    running = flow.function_task(stay)()
    unseen = flow.function_task(int)(running)
    held = flow.function_task(int)(gate)
    waiting = [asyncio.ensure_future(asyncio.wait([call])) for call in (running, unseen)]
    await asyncio.sleep(0)
    await lose()
    await asyncio.wait_for(asyncio.gather(*waiting), 20)
    GATE.set()
    assert {running.state, unseen.state} == {TaskState.FAILED}
    for call in (running, unseen):
        assert isinstance(call.exception(), SchedulerLostError) or isinstance(
            call.exception().root_cause, SchedulerLostError
        )
    gate.set_result("2")
    for call in (held, flow.function_task(int)("3")):
        with pytest.raises(SchedulerLostError, match=r"create a new engine") as caught:
            await asyncio.wait_for(call, 20)
        assert caught.value.address
    assert await finished == 1


async def test_a_killed_scheduler_fails_every_unfinished_call():
    """Running, dependent, waiting and later calls fail with SchedulerLostError, never CANCELLED; nothing hangs."""
    async with (
        scheduler_program() as (address, scheduler),
        WorkflowEngine.create(backend=DaskExecutionBackend(address=address)) as flow,
    ):
        await assert_all_lost(flow, lambda: asyncio.to_thread(scheduler.kill))


async def test_closing_a_cluster_that_was_handed_in_is_losing_it():
    """A user who closes the cluster under an engine is told the same."""
    cluster = await LocalCluster(asynchronous=True, **SMALL)
    async with WorkflowEngine.create(backend=DaskExecutionBackend(cluster=cluster)) as flow:
        await assert_all_lost(flow, cluster.close)


async def test_the_work_of_a_killed_worker_is_done_again():
    """SIGKILL of a worker process: what ran there runs elsewhere, and what it held is made again."""
    config = {"cluster": {"kind": "local", "n_workers": 2, "threads_per_worker": 1, "dashboard_address": None}}
    async with WorkflowEngine.create(config) as flow:

        @flow.function_task
        def slow(number):
            time.sleep(0.3)
            return number, os.getpid()

        held = [flow.function_task(os.getpid)() for _ in range(4)]
        pids = set(await asyncio.gather(*held))
        calls = [slow(number) for number in range(8)]
        while TaskState.RUNNING not in {call.state for call in calls}:
            await asyncio.sleep(0.01)  # the worker's message
        victim = min(pids)
        os.kill(victim, signal.SIGKILL)
        answers = await asyncio.gather(*calls)
        assert [number for number, _ in answers] == list(range(8))
        assert len({pid for _, pid in answers} - {victim}) >= 1
        assert (await slow(9))[0] == 9


async def test_config_joins_a_tls_scheduler_with_its_files(tmp_path):
    """``kind: address`` with the three files joins a scheduler that asks for TLS; without the right ones it does not."""
    mine = write_tls(tmp_path / "mine")
    security = Security(
        require_encryption=True,
        **{f"tls_{role}_{part}": mine[part] for role in ("client", "scheduler", "worker") for part in ("cert", "key")},
        tls_ca_file=mine["ca_file"],
    )
    async with LocalCluster(asynchronous=True, security=security, **{**SMALL, "protocol": "tls://"}) as cluster:
        config = {
            "cluster": {
                "kind": "address",
                "address": cluster.scheduler_address,
                "tls_ca_file": mine["ca_file"],
                "tls_client_cert": mine["cert"],
                "tls_client_key": mine["key"],
                "start_timeout": 5,
            }
        }
        async with WorkflowEngine.create(config) as flow:
            assert await flow.function_task(int)("1") == 1
        assert cluster.status.name == "running"
        other = write_tls(tmp_path / "other")
        config["cluster"].update(
            tls_ca_file=other["ca_file"], tls_client_cert=other["cert"], tls_client_key=other["key"]
        )
        config["cluster"]["start_timeout"] = 1
        with pytest.raises(StartError, match="TLS files"):
            await WorkflowEngine.create(config)


def write_tls(directory):
    """Certificates as an administrator would hand them out; their paths."""
    made = Security.temporary()
    directory.mkdir()
    paths = {"ca_file": made.tls_ca_file, "cert": made.tls_client_cert, "key": made.tls_client_key}
    for name, text in paths.items():
        (directory / name).write_text(text)
        paths[name] = str(directory / name)
    return paths
