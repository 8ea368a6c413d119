"""What a notebook shows of an engine and its futures: true, harmless, and without asking anybody."""

import asyncio
import gc
import logging
import re
import threading
import weakref

import dask

from asyncflow import TaskState, WorkflowEngine
from asyncflow.events import JobsPending, JobStarted, JobSubmitted, PoolDeclared, PoolStopped, WorkerJoined
from asyncflow.events.pools import Pools
from asyncflow.notebook.live import NotebookProgress, Pace, in_notebook
from asyncflow.notebook.page import counts_html, pools_html
from asyncflow.views.progress import Progress
from conftest import IN_PROCESS, open_engine
from gates import Gate, until

LINK = "distributed.dashboard.link"


async def test_an_engine_shows_its_workers_calls_by_state_and_failures(dask_flow, tmp_path):
    """Without anybody having listened: how many workers there are, what ran, what waits and what failed last."""
    gate = Gate(tmp_path / "gate")

    @dask_flow.function_task
    def work(number):
        if number == 3:
            raise ValueError("number <3>")
        return number

    @dask_flow.function_task
    def wait():
        gate.wait()

    await asyncio.gather(*(work(number) for number in range(8)), return_exceptions=True)
    waiting = [wait() for _ in range(6)]
    await until(lambda: sum(future.state is TaskState.RUNNING for future in waiting) == 4)
    counts = dask_flow._dispatch.ledger.picture().counts
    html = dask_flow._repr_html_()
    gate.open()
    await asyncio.gather(*waiting)
    assert counts == {
        "work": {TaskState.DONE: 7, TaskState.FAILED: 1},
        "wait": {TaskState.RUNNING: 4, TaskState.PENDING: 2},
    }
    assert dask_flow.uid in html
    assert "2 workers, 4 slots" in html
    assert "ValueError: number &lt;3&gt;" in html
    assert "number <3>" not in html


async def test_a_closed_engine_says_so():
    """The counts stay, workers and dashboard are gone."""
    async with open_engine("dask") as flow:
        await flow.function_task(lambda: 1, name="one")()
    html = flow._repr_html_()
    assert "(closed)" in html
    assert "one" in html
    assert "workers" not in html


async def test_pools_show_jobs_workers_and_what_jobs_wait_for(dask_flow):
    """As the events of a cluster tell it, with the queueing system's own reasons."""
    for event in (
        PoolDeclared(pool="cpu", cores=8, memory=16_000_000_000, least=0, most=4),
        PoolDeclared(pool="gpu", cores=1, resources={"gpu": 2}, least=0, most=2),
        JobSubmitted(job="1", pool="cpu"),
        JobSubmitted(job="2", pool="cpu"),
        JobStarted(job="1", pool="cpu"),
        JobsPending(pool="cpu", reasons={"Priority": 1}),
        WorkerJoined(worker="tcp://1", pool="cpu", slots=8),
        PoolStopped(pool="gpu", error="three jobs died <at once>"),
    ):
        dask_flow._dispatch.events.tell(event)
    html = dask_flow._repr_html_()
    assert "8 cores, 16 GB" in html
    assert "1 running, 1 queued of 4" in html
    assert "1 Priority" in html
    assert "1 core, 2 gpu" in html
    assert "stopped: three jobs died &lt;at once&gt;" in html


def test_workers_that_name_no_pool_are_of_the_only_one():
    """The pool of a cluster on one machine has a name, its workers say none."""
    pools = Pools()
    pools.take(PoolDeclared(pool="local", cores=4))
    pools.take(WorkerJoined(worker="a", slots=4))
    (pool,) = pools.counts()
    assert (pool.pool, pool.workers, pool.slots) == ("local", 1, 4)
    assert pools_html([]) == ""


def test_hundreds_of_names_make_a_table_of_some_rows():
    """Those with most to say have a row, the others one together."""
    counts = {f"task{number}": {TaskState.DONE: 1} for number in range(300)}
    counts["bad"] = {TaskState.FAILED: 2}
    html = counts_html(counts)
    assert html.count("<tr>") == 21
    assert ">bad<" in html
    assert "282 other tasks" in html


async def test_the_link_to_the_dashboard_is_made_as_dask_is_told(monkeypatch):
    """``distributed.dashboard.link`` leads through proxies, with variables of the environment, as on a JupyterHub."""
    monkeypatch.setenv("JUPYTERHUB_SERVICE_PREFIX", "/user/ada/")
    config = {"cluster": {**IN_PROCESS["cluster"], "dashboard_address": "127.0.0.1:0"}}
    with dask.config.set({LINK: "{JUPYTERHUB_SERVICE_PREFIX}proxy/{port}/status"}):
        async with WorkflowEngine.create(config) as flow:
            assert flow.dashboard_link.startswith("/user/ada/proxy/")
            assert f'<a href="{flow.dashboard_link}"' in flow._repr_html_()


async def test_a_link_that_cannot_be_filled_in_is_told_and_the_plain_one_is_shown(monkeypatch, caplog):
    """Where the variable is missing, the engine starts all the same."""
    monkeypatch.delenv("JUPYTERHUB_SERVICE_PREFIX", raising=False)
    config = {"cluster": {**IN_PROCESS["cluster"], "dashboard_address": "127.0.0.1:0"}}
    with dask.config.set({LINK: "{JUPYTERHUB_SERVICE_PREFIX}proxy/{port}/status"}):
        async with WorkflowEngine.create(config) as flow:
            assert flow.dashboard_link.startswith("http://localhost:")
    assert "JUPYTERHUB_SERVICE_PREFIX" in caplog.text


async def test_a_future_shows_its_state_and_fetches_nothing(dask_flow):
    """Neither pending nor done is the value asked for; names of tasks are text."""

    @dask_flow.function_task(name="<b>work</b>")
    def work():
        return 1

    future = work()
    assert "PENDING" in future._repr_html_()
    await until(lambda: future.state is TaskState.DONE)
    html = future._repr_html_()
    assert "DONE" in html
    assert "<b>&lt;b&gt;work&lt;/b&gt;</b>" in html
    assert not future.node.awaited


async def test_a_failed_future_shows_the_way_to_the_cause(dask_flow):
    """Names from the call down to the one that failed by itself, its error, and the line that raised it."""

    @dask_flow.function_task
    def load():
        raise ValueError("no <data>")

    @dask_flow.function_task
    def clean(data):
        return data

    @dask_flow.function_task
    def fit(data):
        return data

    future = fit(clean(load()))
    await until(lambda: future.state is TaskState.FAILED)
    html = future._repr_html_()
    assert "<code>fit</code> ← <code>clean</code> ← <code>load</code>" in html
    assert "ValueError: no &lt;data&gt;" in html
    assert re.search(r"at <code>[^<]*test_notebook_views\.py:\d+ in load", html)


async def test_a_block_that_fails_shows_what_failed_inside(thread_flow):
    """The way inside a block is told with its error."""

    @thread_flow.function_task
    def load():
        raise ValueError("no data")

    @thread_flow.function_task
    def fit(data):
        return data

    @thread_flow.block
    async def study():
        await fit(load())

    future = study()
    await asyncio.wait([future])
    html = future._repr_html_()
    assert "fit &lt;- load" in html
    assert "ValueError: no data" in html
    failures = thread_flow._dispatch.ledger.picture().failures
    assert [failure.name for failure in failures] == ["load"]


async def test_a_live_view_shows_what_changes_and_ends_with_its_block():
    """It is shown at once, then whenever there is something new, and the last state stays."""
    facts, shown = ["first"], []

    def display(html):
        shown.append(html)
        return shown.append

    with NotebookProgress(lambda: facts[-1], 0.001, display) as progress:
        assert shown == ["first"]
        facts.append("second")
        await until(lambda: shown == ["first", "second"])
        facts.append("last")
    assert shown == ["first", "second", "last"]
    assert not progress.is_live
    progress.close()
    assert shown == ["first", "second", "last"]


async def test_a_live_view_may_be_closed_from_another_thread():
    """An engine may shut down on another loop than the notebook's."""
    shown = []
    progress = NotebookProgress(lambda: "same", 60, lambda html: shown.append)
    task = progress._task
    closer = threading.Thread(target=progress.close)
    closer.start()
    await asyncio.wait([task])
    closer.join()
    assert task.done()
    assert shown == []


async def test_a_live_view_that_cannot_be_shown_ends_and_harms_nobody(caplog):
    """A notebook that is gone is told of once, in the log."""

    def fail(html):
        raise OSError("the notebook is gone")

    facts = iter(range(1000))
    with caplog.at_level(logging.ERROR):
        progress = NotebookProgress(lambda: str(next(facts)), 0.001, lambda html: fail)
        await until(lambda: not progress.is_live)
    progress.close()
    assert caplog.text.count("the live view ends") == 1


async def test_a_live_view_does_not_keep_what_it_shows():
    """It ends where there is nothing to show any more."""

    class Shown:
        pass

    shown = Shown()
    found = weakref.ref(shown)
    progress = NotebookProgress(lambda: None if found() is None else "there", 0.001, lambda html: lambda later: None)
    del shown
    await until(lambda: gc.collect() is not None and not progress.is_live)


async def test_progress_in_no_notebook_is_that_of_a_terminal(thread_flow):
    """The same call serves both."""
    assert not in_notebook()
    assert isinstance(thread_flow.progress(), Progress)


def test_the_pace_is_that_of_late():
    """How many calls end in a second, and when the rest will have; nothing before anything is known."""
    now = [0.0]
    pace = Pace(lambda: now[0], span=10.0)
    assert pace.told(0, 100) == ""
    now[0] = 2.0
    assert pace.told(20, 80) == "10 a second, about 8 s left"
    for step in range(3, 40):
        now[0] = float(step)
        last = pace.told(20 + step, 600)
    assert last == "1 a second, about 10 min 0 s left"
    assert pace.told(59, 0) == "1 a second"
    now[0] = 100.0
    assert pace.told(59, 1) == ""
