"""Notebooks in real kernels: the examples run, cells are interrupted as asyncio does it, and a browser sees it all."""

import asyncio
import os
import re
from pathlib import Path

import nbformat
import pytest
import yaml

from asyncflow import WorkflowEngine
from conftest import IN_PROCESS
from gates import Gate, until
from kernels import as_html, execute, open_kernel
from slurm_engine import config, left

ROOT = Path(__file__).parent.parent
NOTEBOOKS = sorted((ROOT / "examples" / "notebooks").glob("*.ipynb"))

#: With this set, the test that takes the picture of the documentation writes it there.
PICTURES = os.environ.get("ASYNCFLOW_PICTURES") == "1"
PICTURE = ROOT / "docs" / "images" / "notebook.png"

ENGINE = f"""
import asyncio, time
from asyncflow import WorkflowEngine
from gates import Gate

flow = await WorkflowEngine.create({IN_PROCESS!r})

@flow.function_task
def wait(begun, gate):
    Gate(begun).open()
    Gate(gate).wait()
    return "came"

@flow.function_task
def say(word):
    return word
"""

#: Whether the data that the page's plots are drawn of, which bokeh keeps beside its canvas, have a name.
_KNOWS = """name => window.Bokeh !== undefined && Bokeh.documents.some(document =>
    [...document._all_models.values()].filter(model => model.type === "ColumnDataSource").some(source => {
        const names = source.data instanceof Map ? source.data.get("name") : source.data.name;
        return [...names ?? []].includes(name);
    }))"""


@pytest.fixture
async def kernel(tmp_path, monkeypatch):
    """A kernel that can import what the tests can."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT / "tests"), os.environ.get("PYTHONPATH", "")]))
    async with open_kernel(tmp_path) as kernel:
        yield kernel


def shown(notebook, kind="text/html"):
    """What the cells of an executed notebook show, and what they print."""
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    data = [output["data"][kind] for output in outputs if kind in output.get("data", {})]
    return data, "".join(output["text"] for output in outputs if output["output_type"] == "stream")


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_notebooks_are_committed_without_outputs(path):
    """What a run showed is nobody's to keep: changes stay readable, and nothing in it is of some machine."""
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell["cell_type"] == "code"]
    assert code
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code)


@pytest.mark.slow
async def test_the_first_notebook_runs_and_looks_right_in_a_browser(tmp_path, browser):
    """Executed as a user would, it shows engine, graphs, progress and failure; as a page it needs no network."""
    notebook = await execute(ROOT / "examples" / "notebooks" / "getting_started.ipynb", tmp_path)
    html, text = shown(notebook)
    svg, _ = shown(notebook, "image/svg+xml")
    assert "the spreads differ by a factor of" in text
    assert "Dashboard: <a href" in html[0]
    assert any("<code>summary</code> ← <code>measure</code>" in each for each in html)
    assert any('class="asyncflow-progress"' in each for each in html)
    assert "13 calls" in svg[0]
    assert "simulate: 209 done" in svg[1]
    page = as_html(notebook, tmp_path / "notebook.html")
    opened = await browser.open_page(page, width=900, height=1450)
    assert opened.errors == []
    assert opened.requests == [page.as_uri()]
    graphs = opened.page.locator("svg.asyncflow-graph")
    assert await graphs.count() == 2
    assert "simulate #1" in await graphs.first.text_content()
    assert "simulate: 209 done" in await graphs.last.text_content()
    assert await graphs.first.evaluate("svg => svg.getBoundingClientRect().right <= window.innerWidth")
    assert "closed" in await opened.page.locator(".asyncflow-engine").last.inner_text()
    await opened.page.locator("h2", has_text="Calls").first.evaluate("heading => heading.scrollIntoView()")
    await opened.screenshot(PICTURE if PICTURES else tmp_path / "notebook.png", whole=False)


@pytest.mark.slow
async def test_the_slurm_notebook_runs_over_a_real_slurm(slurm, tmp_path):
    """With a configuration of this cluster beside it, its tasks run in jobs, and it leaves nothing."""
    (tmp_path / "slurm.yaml").write_text(yaml.safe_dump(config(tmp_path)))
    notebook = await execute(ROOT / "examples" / "notebooks" / "slurm.ipynb", tmp_path)
    html, text = shown(notebook)
    assert re.search(r"40 tasks ran in [12] jobs?", text)
    assert re.search(r"run 1 in job \d+", text)
    assert re.search(r"[12] workers?, [12] slots?", html[0])
    assert left(tmp_path) == []


async def test_interrupting_a_cell_cancels_what_it_awaits_and_nothing_else(kernel, tmp_path):
    """The stop button is asyncio's cancellation: the call awaited and its dependents; the next cell calls at once."""
    begun, gate, other, runs = (Gate(tmp_path / name) for name in ("begun", "gate", "other", "runs"))
    assert (await kernel.run(ENGINE)).status == "ok"
    started = f"""
awaited = wait({begun.path!r}, {gate.path!r})
behind = say(awaited)
other = wait({other.path!r}, {gate.path!r})
"""
    assert (await kernel.run(started)).status == "ok"
    cell = asyncio.create_task(kernel.run(f"Gate({runs.path!r}).open()\nawait awaited"))
    for each in (begun, other, runs):
        await each.reached()
    await kernel.interrupt()
    answer = await cell
    assert (answer.status, answer.error) == ("error", "CancelledError")
    hear = "while str(other.state) == 'PENDING':\n    await asyncio.sleep(0.01)\n"  # its start is told a moment later
    next_cell = await kernel.run(f"{hear}print(awaited.state, behind.state, other.state, await say('at once'))")
    assert next_cell.text == "CANCELLED CANCELLED RUNNING at once\n"
    gate.open()
    assert (await kernel.run("print(await other)\nawait flow.shutdown()")).text == "came\n"


async def test_interrupting_a_cell_leaves_alone_what_it_shields(kernel, tmp_path):
    """``asyncio.shield`` keeps the call going, and another cell gets its value."""
    begun, gate = Gate(tmp_path / "begun"), Gate(tmp_path / "gate")
    assert (await kernel.run(ENGINE)).status == "ok"
    cell = asyncio.create_task(
        kernel.run(f"kept = wait({begun.path!r}, {gate.path!r})\nawait asyncio.gather(asyncio.shield(kept), say('x'))")
    )
    await begun.reached()
    await kernel.interrupt()
    assert (await cell).error == "CancelledError"
    gate.open()
    assert (await kernel.run("print(await kept)\nawait flow.shutdown()")).text == "came\n"


async def test_interrupting_a_cell_that_awaits_many_cancels_them_all(kernel, tmp_path):
    """As ``gather`` does, and as the streams of ``flow.map`` do."""
    assert (await kernel.run(ENGINE)).status == "ok"
    for awaited in ("await asyncio.gather(*calls())", "async for _ in flow.map(lambda call: call, calls()): pass"):
        begun, gate = Gate(tmp_path / f"begun {awaited[:5]}"), Gate(tmp_path / f"gate {awaited[:5]}")
        code = f"""
made = []
def calls():
    for _ in range(20):
        made.append(wait({begun.path!r}, {gate.path!r}))
        yield made[-1]
{awaited}
"""
        cell = asyncio.create_task(kernel.run(code))
        await begun.reached()
        await kernel.interrupt()
        assert (await cell).error == "CancelledError"
        assert (await kernel.run("print(len(made), {str(call.state) for call in made})")).text == "20 {'CANCELLED'}\n"
        gate.open()  # bodies that nobody wants any more
    assert (await kernel.run("print(await say('on'))\nawait flow.shutdown()")).text == "on\n"


async def test_progress_shows_itself_while_the_kernel_is_free(kernel, tmp_path):
    """Updates come between cells and during them; the next view takes over, and the last state stays at the end."""
    begun, gate = Gate(tmp_path / "begun"), Gate(tmp_path / "gate")
    assert (await kernel.run(ENGINE)).status == "ok"
    cell = f"calls = [wait({begun.path!r}, {gate.path!r}) for _ in range(3)]\nview = flow.progress(interval=0.01)\nview"
    first = await kernel.run(cell)
    assert [each["text/html"].count("0 of 3") for each in first.shown] == [1]
    await begun.reached()
    gate.open()
    second = await kernel.run("await asyncio.gather(*calls)\nawait asyncio.sleep(0.1)\nview.is_live")
    assert "<b>3 of 3</b> calls have ended" in second.updates[-1]["text/html"]
    third = await kernel.run("flow.progress()\nprint(view.is_live)\nawait say('more')\nawait flow.shutdown()")
    assert third.text == "False\n"
    assert "<b>4 of 4</b> calls have ended" in third.updates[-1]["text/html"]


async def test_a_browser_sees_our_names_on_dasks_dashboard_while_tasks_run(tmp_path, browser):
    """The link of the engine leads to a page that knows tasks by the names they have here."""
    gate = Gate(tmp_path / "gate")
    cluster = {**IN_PROCESS["cluster"], "dashboard_address": "127.0.0.1:0"}
    async with WorkflowEngine.create({"cluster": cluster}) as flow:

        @flow.function_task
        def prepare_sample(number):
            return number

        @flow.function_task
        def relax_structure(number):
            gate.wait()
            return number

        prepared = [prepare_sample(number) for number in range(20)]
        await asyncio.gather(*prepared)  # and kept: Dask forgets what nobody has
        running = [relax_structure(number) for number in range(8)]
        await until(lambda: any(str(future.state) == "RUNNING" for future in running))
        opened = await browser.open_page(flow.dashboard_link)
        try:
            for name in ("prepare_sample", "relax_structure"):
                await opened.page.wait_for_function(_KNOWS, arg=name, timeout=20_000)
            await opened.screenshot(tmp_path / "dashboard.png")
        finally:
            await opened.page.close()  # bokeh leaves what it was about to send to a page that is open when it closes
            gate.open()
        await asyncio.gather(*running)
