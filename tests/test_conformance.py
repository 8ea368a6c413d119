"""Every backend passes the public conformance suite; so does a small one written by somebody else."""

import asyncio
import threading
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

import pytest
from distributed import Client, LocalCluster

from asyncflow import ConcurrentExecutionBackend, DaskExecutionBackend, ExecutionBackend, NoopExecutionBackend
from asyncflow.arguments import fill
from asyncflow.call import attempt
from asyncflow.failures import carried
from asyncflow.node import Outcome
from asyncflow.site import Site
from asyncflow.states import TaskState
from asyncflow.stop import Stop
from asyncflow.testing import BackendConformance
from conftest import IN_PROCESS

SMALL = {"n_workers": 1, "threads_per_worker": 2, "processes": False, "dashboard_address": "127.0.0.1:0"}


@pytest.fixture(autouse=True)
def clusters_of_others_may_block(no_blocking_call_on_the_users_loop):
    """Clusters handed in live on the loop of a test and block it when they like, with the suite on their stack."""
    no_blocking_call_on_the_users_loop.deactivate()


class TestDask(BackendConformance):
    async def make_backend(self):
        return DaskExecutionBackend(IN_PROCESS)


class TestDaskOnASyncClient(BackendConformance):
    async def make_backend(self):
        def connect():
            self.cluster = LocalCluster(**SMALL)
            self.client = Client(self.cluster)

        await asyncio.to_thread(connect)
        return DaskExecutionBackend(client=self.client)

    async def clean_up(self):
        await asyncio.to_thread(self.client.close)
        await asyncio.to_thread(self.cluster.close)


class TestDaskOnAnAsyncCluster(BackendConformance):
    async def make_backend(self):
        self.cluster = await LocalCluster(asynchronous=True, **SMALL)
        return DaskExecutionBackend(cluster=self.cluster)

    async def clean_up(self):
        await self.cluster.close()


class TestDaskAtAnAddress(BackendConformance):
    async def make_backend(self):
        self.cluster = await LocalCluster(asynchronous=True, protocol="tcp://", host="127.0.0.1", **SMALL)
        return DaskExecutionBackend(address=self.cluster.scheduler_address)

    async def clean_up(self):
        await self.cluster.close()


class TestThreads(BackendConformance):
    pickles = False

    async def make_backend(self):
        self.pool = ThreadPoolExecutor(2)
        return ConcurrentExecutionBackend(self.pool)

    async def clean_up(self):
        await asyncio.to_thread(self.pool.shutdown)


class TestProcesses(BackendConformance):
    async def make_backend(self):
        self.pool = ProcessPoolExecutor(2)
        return ConcurrentExecutionBackend(self.pool)

    async def clean_up(self):
        await asyncio.to_thread(self.pool.shutdown)


class TestNoop(BackendConformance):
    runs_bodies = False

    async def make_backend(self):
        return NoopExecutionBackend()


class ThreadEach(ExecutionBackend):
    """A backend as somebody else might write it: a thread for each call."""

    def __init__(self, name="thread-each"):
        super().__init__(name)
        self.site = Site(cores=2)
        self.threads = set()

    def refusal(self, options):
        return f"asks for {dict(options.resources)}, and there is none" if options.resources else None

    def submit(self, nodes):
        for node in nodes:
            node.remote = {"finished": threading.Event(), "stop": Stop(), "value": None}
        for node in nodes:
            inputs = [upstream.remote for upstream in node.upstream]
            thread = threading.Thread(target=self.run, args=(node, node.args, node.kwargs, inputs))
            self.threads.add(thread)
            thread.start()

    def run(self, node, args, kwargs, inputs):
        mine = node.remote
        for each in inputs:
            each["finished"].wait()
        try:
            if not mine["stop"].is_set():
                self.post([(node, Outcome(TaskState.RUNNING))])
                args, kwargs = fill(args, kwargs, [each["value"] for each in inputs])
                mine["value"] = attempt(node.recipe, node.key, args, kwargs, self.site, mine["stop"], 0)
                self.post([(node, Outcome(TaskState.DONE, mine["value"], has_value=True))])
        except BaseException as error:
            self.post([(node, Outcome(TaskState.FAILED, error=carried(error, node.name), origin=node.key))])
        finally:
            mine["finished"].set()

    def cancel(self, nodes):
        for node in nodes:
            if node.remote is not None:
                node.remote["stop"].set()
                node.remote["finished"].set()

    async def close(self, timeout=30.0):
        for thread in self.threads:
            await asyncio.to_thread(thread.join, timeout)
        await asyncio.to_thread(self.site.close)


class TestABackendOfSomebodyElse(BackendConformance):
    pickles = False

    async def make_backend(self):
        return ThreadEach()


def a_suite_for(backend, **flags):
    async def make_backend(self):
        return backend()

    return type("Suite", (BackendConformance,), {"make_backend": make_backend, "timeout": 5.0, **flags})()


def finds_out(suite, test):
    """Whether `test` of `suite` fails."""
    try:
        getattr(suite, test)()
    except (Exception, pytest.fail.Exception):
        return True
    return False


class Forgetful(ThreadEach):
    """Starts what was cancelled."""

    def cancel(self, nodes):
        """Forget to."""


class OneFailsAll(ThreadEach):
    """Takes a batch for a unit of failure."""

    def submit(self, nodes):
        if any(node.name == "fail" for node in nodes):
            raise RuntimeError("one is bad")
        super().submit(nodes)


@pytest.mark.parametrize(
    ("backend", "flags", "test"),
    [
        (Forgetful, {"pickles": False}, "test_a_cancelled_call_never_starts_nor_do_its_dependents"),
        (OneFailsAll, {"pickles": False}, "test_independent_calls_are_untouched_by_a_failure"),
        (ThreadEach, {"pickles": True}, "test_what_cannot_be_pickled_fails_its_call_only"),
        (ThreadEach, {"runs_bodies": False}, "test_no_body_runs"),
        (NoopExecutionBackend, {}, "test_a_chain"),
        (NoopExecutionBackend, {}, "test_an_error_comes_out_as_it_went_in"),
    ],
)
def test_a_backend_that_breaks_the_contract_is_found_out(backend, flags, test):
    """The suite fails where cancelled calls run, one bad call costs its neighbours, or flags tell an untruth."""
    # A call that runs although it was cancelled has a thread of its own, which may be later than the suite's look.
    assert any(finds_out(a_suite_for(backend, **flags), test) for _ in range(10))


def test_a_suite_collects_only_what_applies():
    """What is not meant for a sort of backend is not there to be collected; what is meant for all is."""
    running, dry = a_suite_for(ThreadEach), a_suite_for(NoopExecutionBackend, runs_bodies=False)
    assert (running.test_no_body_runs, dry.test_a_chain) == (None, None)
    for name, suite in [("test_a_chain", running), ("test_no_body_runs", dry), ("test_its_name_is_its_own", dry)]:
        assert callable(getattr(suite, name))
