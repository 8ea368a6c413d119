"""The embedded cluster is closed to everybody but the engine that opened it."""

import asyncio
import contextlib
import os
import socket
import ssl
import subprocess
import sys
from pathlib import Path
from urllib.request import urlopen

import psutil
import pytest
from distributed import Client, Security
from distributed.comm import connect

from asyncflow import WorkflowEngine

CONFIG = {"cluster": {"kind": "local", "n_workers": 2, "threads_per_worker": 1}}


@contextlib.asynccontextmanager
async def embedded():
    """An engine on worker programs, its scheduler's address and those of its workers."""
    async with WorkflowEngine.create(CONFIG) as flow:

        @flow.function_task
        def address():
            from distributed import get_worker

            return get_worker().address

        call = address()
        addresses = {await call}
        while len(addresses) < 2:
            addresses |= set(await asyncio.gather(*[address() for _ in range(8)]))
        yield flow, call.dask_future.client.scheduler_info()["address"], sorted(addresses)


def family():
    """This process and all that it started, however deep."""
    me = psutil.Process()
    return [me, *me.children(recursive=True)]


def outward_addresses():
    """The machine's addresses that others can reach."""
    return [
        each.address
        for interface in psutil.net_if_addrs().values()
        for each in interface
        if each.family == socket.AF_INET and not each.address.startswith("127.")
    ]


async def test_strangers_are_refused_by_scheduler_and_workers():
    """A client in plain TCP and one with certificates of its own get no word from scheduler or workers."""
    async with embedded() as (flow, scheduler, workers):
        foreign = Security.temporary()
        for address in (scheduler, *workers):
            assert address.startswith("tls://127.0.0.1:")
            with pytest.raises(OSError):
                await speak(address.replace("tls://", "tcp://"), {})
            with pytest.raises(OSError):
                await speak(address, foreign.get_connection_args("client"))
            with pytest.raises(OSError):
                await speak(address, {"ssl_context": careless(foreign)})
        with pytest.raises(OSError):
            await Client(scheduler.replace("tls://", "tcp://"), asynchronous=True, timeout=1)
        with pytest.raises(OSError):
            await Client(scheduler, security=foreign, asynchronous=True, timeout=1)
        assert await flow.function_task(int)("1") == 1


def careless(security):
    """As a stranger would come: showing a certificate of one's own, and taking whatever the other side shows."""
    context = security.get_connection_args("client")["ssl_context"]
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


async def speak(address, arguments):
    """Ask who is there, as any client's first words do; TLS without a known certificate ends at the handshake or here."""
    comm = await connect(address, timeout=1, **arguments)
    try:
        await comm.write({"op": "identity", "reply": True})
        return await asyncio.wait_for(comm.read(), 5)
    finally:
        comm.abort()


async def test_nothing_listens_on_the_outward_address():
    """Every listening socket of driver, nannies and workers is on 127.0.0.1; the dashboard answers there only."""
    before = listening()
    async with embedded() as (flow, _, _):
        sockets = listening() - before
        assert len(sockets) >= 5, "scheduler, dashboard, and for each worker itself and its nanny"
        assert {host for host, _ in sockets} == {"127.0.0.1"}
        outward = outward_addresses()
        assert outward, "this machine has no address that others could reach"
        for host in outward:
            for _, port in sockets:
                with pytest.raises(ConnectionRefusedError):
                    await asyncio.open_connection(host, port)
        page = await asyncio.to_thread(lambda: urlopen(flow.dashboard_link, timeout=20).status)
        assert page == 200
        assert flow.dashboard_link.startswith("http://127.0.0.1:")


def listening():
    return {
        (connection.laddr.ip, connection.laddr.port)
        for process in family()
        for connection in process.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    }


async def test_the_private_key_is_nowhere_to_be_read():
    """No file, argument or environment variable of the processes holds the key; nobody but the engine has it."""
    async with embedded() as (flow, _, _):
        security = flow.function_task(int)("1").dask_future.client.security
        key = security.tls_client_key
        assert "PRIVATE KEY" in key
        secret = "".join(key.split("\n")[2:5]).encode()  # a part of its body, however lines are broken
        shown = [
            Path(f"/proc/{process.pid}/{part}").read_bytes() for process in family() for part in ("cmdline", "environ")
        ]
        assert len(shown) >= 6
        assert not [text for text in shown if b"PRIVATE KEY" in text or secret[:40] in text.replace(b"\n", b"")]
        open_files = {Path(each.path) for process in family() for each in process.open_files()}
        scratch = {
            path
            for process in family()[1:]
            for path in Path(process.cwd(), "dask-scratch-space").glob("**/*")
            if path.is_file()
        }
        temporary = {path for path in Path("/tmp/dask-scratch-space").glob("**/*") if path.is_file()}
        for path in open_files | scratch | temporary:
            with contextlib.suppress(OSError):
                assert secret[:40] not in path.read_bytes().replace(b"\n", b""), path


async def test_certificates_are_made_for_each_run():
    """Two engines do not know each other's authority."""
    async with embedded() as (one, scheduler, _), WorkflowEngine.create(CONFIG) as other:
        calls = [flow.function_task(int)("1") for flow in (one, other)]
        mine, theirs = [call.dask_future.client.security for call in calls]
        assert mine.tls_ca_file != theirs.tls_ca_file
        with pytest.raises(OSError):
            await speak(scheduler, theirs.get_connection_args("client"))
        assert await asyncio.gather(*calls) == [1, 1]


def test_an_open_cluster_is_possible_by_name_only(tmp_path):
    """``security: none`` is what it takes to speak plain TCP, and even then only this machine is listened on."""
    script = tmp_path / "open.py"
    script.write_text(
        "import asyncio\n"
        "from asyncflow import WorkflowEngine\n"
        "async def main():\n"
        f"    config = {{'cluster': {{**{CONFIG['cluster']!r}, 'security': 'none'}}}}\n"
        "    async with WorkflowEngine.create(config) as flow:\n"
        "        call = flow.function_task(int)('1')\n"
        "        await call\n"
        "        print(call.dask_future.client.scheduler_info()['address'])\n"
        "asyncio.run(main())\n"
    )
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, timeout=60, env=dict(os.environ), check=True
    )
    assert done.stdout.startswith("tcp://127.0.0.1:")
