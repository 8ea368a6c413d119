"""Backends: the default, several at once, and dry runs."""

import asyncio
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import ClassVar

import pytest

from asyncflow import (
    BackendNameError,
    ConcurrentExecutionBackend,
    DaskExecutionBackend,
    ExecutionBackend,
    LocalExecutionBackend,
    NoopExecutionBackend,
    StartError,
    WorkflowEngine,
)
from conftest import IN_PROCESS


class Tripwire:
    """A value that tells when it passes the driver: opening its pickle there counts."""

    opened: ClassVar[list[int]] = []

    def __init__(self, number):
        self.number = number

    def __reduce__(self):
        return _open_tripwire, (self.number, os.getpid())


def _open_tripwire(number, made_in):
    Tripwire.opened.append(made_in)
    return Tripwire(number)


async def test_the_default_is_an_embedded_dask_cluster(monkeypatch):
    """Nothing configured: worker programs on this machine, on TLS, with a dashboard."""
    monkeypatch.delenv("ASYNCFLOW_CONFIG", raising=False)
    async with WorkflowEngine.create() as flow:
        assert isinstance(flow.backend, DaskExecutionBackend)
        assert list(flow.backends) == ["dask"]
        call = flow.function_task(os.getpid)()
        assert await call != os.getpid()
        assert call.dask_future.client.scheduler_info()["address"].startswith("tls://127.0.0.1")
        assert flow.dashboard_link.startswith("http://127.0.0.1")


def test_names_and_aliases():
    """Every backend has a name of its own by default; one class has two names."""
    assert LocalExecutionBackend is ConcurrentExecutionBackend
    with ThreadPoolExecutor(1) as pool:
        names = [ConcurrentExecutionBackend(pool).name, DaskExecutionBackend().name, NoopExecutionBackend().name]
        assert names == ["threads", "dask", "noop"]
        assert ConcurrentExecutionBackend(pool, name="mine").name == "mine"


@asynccontextmanager
async def dask_and_threads():
    with ThreadPoolExecutor(2, thread_name_prefix="pool-of-mine") as pool:
        backends = [DaskExecutionBackend(IN_PROCESS), ConcurrentExecutionBackend(pool)]
        async with WorkflowEngine.create(backend=backends) as flow:
            yield flow


def thread_name(*inputs):
    return threading.current_thread().name


async def test_calls_go_where_they_are_routed():
    """The first backend is the default; ``backend="name"`` on a task takes another."""
    async with dask_and_threads() as flow:
        task = flow.function_task(thread_name)
        assert not (await task()).startswith("pool-of-mine")
        assert (await task.options(backend="threads")()).startswith("pool-of-mine")
        assert flow.backend is flow.backends["dask"]


async def test_values_cross_both_ways():
    """A chain may change its backend at every link."""
    async with dask_and_threads() as flow:
        add = flow.function_task(lambda *parts: sum(parts))
        on_threads = add.options(backend="threads")
        value = add(1)
        for _ in range(3):
            value = add(on_threads(value, 1), 1)
        assert await value == 7


async def test_a_value_comes_to_the_driver_only_to_cross():
    """Between Dask tasks a value never passes this process; on its way to another backend it does, once."""
    config = {"cluster": {"kind": "local", "n_workers": 1, "threads_per_worker": 1, "dashboard_address": None}}
    with ThreadPoolExecutor(1) as pool:
        backends = [DaskExecutionBackend(config), ConcurrentExecutionBackend(pool)]
        async with WorkflowEngine.create(backend=backends) as flow:
            Tripwire.opened.clear()
            make = flow.function_task(Tripwire)
            look = flow.function_task(lambda tripwire: tripwire.number)
            made = make(5)
            assert await look(made) == 5
            assert Tripwire.opened == []
            assert await asyncio.gather(*[look.options(backend="threads")(made) for _ in range(2)]) == [5, 5]
            assert len(Tripwire.opened) == 1


async def test_an_unknown_backend_fails_its_call_only():
    """The call says which backends there are; the engine and other calls live."""
    with ThreadPoolExecutor(1) as pool:
        async with WorkflowEngine.create(backend=ConcurrentExecutionBackend(pool)) as flow:
            bad, good = flow.function_task(int).options(backend="thread")("1"), flow.function_task(int)("2")
            with pytest.raises(BackendNameError, match="did you mean 'threads'") as caught:
                await bad
            assert caught.value.known == ("threads",)
            assert await good == 2


async def test_two_backends_of_one_name_are_refused():
    """The error tells how to name one of them otherwise, and nothing was started."""
    with pytest.raises(BackendNameError, match="another name") as caught:
        await WorkflowEngine.create(backend=[NoopExecutionBackend(), NoopExecutionBackend()])
    assert caught.value.known == ("noop", "noop")


@pytest.mark.parametrize("wrong", [7, "dask", [], [object()], {"a": 1}, NoopExecutionBackend])
async def test_what_is_no_backend_is_refused(wrong):
    """Anything but backends is a TypeError that says what is taken."""
    with pytest.raises(TypeError, match="ExecutionBackend"):
        await WorkflowEngine.create(backend=wrong)


def test_backends_refuse_what_they_cannot_be_made_of():
    """An executor of another sort and two clusters at once are TypeErrors where they are written."""
    with pytest.raises(TypeError, match="ThreadPoolExecutor"):
        ConcurrentExecutionBackend(object())
    with pytest.raises(TypeError, match="all name a cluster"):
        DaskExecutionBackend(IN_PROCESS, address="tcp://127.0.0.1:1")
    with pytest.raises(TypeError):
        ExecutionBackend("abstract")


async def test_a_second_backend_that_does_not_start_leaves_nothing_of_the_first():
    """What was started before the failure is closed again."""

    class Broken(NoopExecutionBackend):
        async def start(self):
            raise StartError("no luck")

    with pytest.raises(StartError, match="no luck"):
        await WorkflowEngine.create(backend=[DaskExecutionBackend(IN_PROCESS), Broken()])


async def test_dry_run_runs_nothing_whatever_is_given():
    """``dry_run=True`` replaces every backend, keeps their names and routes, and starts none."""
    with ThreadPoolExecutor(1) as pool:
        given = [DaskExecutionBackend(address="tcp://127.0.0.1:1"), ConcurrentExecutionBackend(pool)]
        async with WorkflowEngine.create(backend=given, dry_run=True) as flow:
            assert list(flow.backends) == ["dask", "threads"]
            bang = flow.function_task(lambda *inputs: 1 / 0)
            assert await bang.options(backend="threads")(bang()) == "Dummy Output"
            assert await flow.prompt_task(lambda: "why?")() == "Dummy Prompt Output"
