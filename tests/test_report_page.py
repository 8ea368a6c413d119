"""A report in a real browser: it must show what it says, complain of nothing and load nothing."""

import asyncio
import os
import sys
import time
from pathlib import Path

from click.testing import CliRunner

import synthetic
from asyncflow.cli import main
from conftest import open_engine

PICTURE = Path(__file__).parents[1] / "docs" / "images" / "report.png"

#: Whether all charts of the page have been drawn.
_DRAWN = "() => window.Bokeh && Bokeh.documents.length > 0 && Bokeh.documents.every(each => each.is_idle)"


async def report_on(run):
    """Write the report of the run directory `run`, as a user does; where it is."""
    done = await asyncio.to_thread(CliRunner().invoke, main, ["report", str(run)])
    assert done.exit_code == 0, done.output
    return Path(done.output.strip())


async def shown(browser, path, **view):
    """The report at `path`, drawn."""
    opened = await browser.open_page(path, **view)
    await opened.page.wait_for_function(_DRAWN)
    return opened


async def campaign(work_dir):
    """A small run with all that a report tells of: workflows, a block, a command, failures and retries."""
    tried = set()
    async with open_engine("dask", resume="campaign", work_dir=work_dir) as flow:

        @flow.function_task
        def prepare(seed):
            time.sleep(0.05)
            return seed

        @flow.function_task(retries=1, retry_delay=0.05, memory="4GB")
        def simulate(seed):
            time.sleep(0.15 + seed % 7 * 0.02)
            if seed % 6 == 1 and seed not in tried:
                tried.add(seed)
                raise OSError(f"node lost contact with disk {seed}")
            if seed == 10:
                raise ValueError(f"seed {seed} does not converge")
            return seed

        @flow.function_task(cores=2)
        def analyse(values):
            time.sleep(0.25)
            return sum(values)

        @flow.executable_task
        def render(total):
            return ["sleep", "0.1"]

        @flow.block
        async def study(first):
            values = await asyncio.gather(*(simulate(prepare(seed)) for seed in range(first, first + 6)))
            return await render(analyse(values))

        async def one(number):
            async with flow.workflow_scope(f"study-{number}"):
                return await study(6 * number)

        await asyncio.gather(*map(one, range(3)), return_exceptions=True)
    return work_dir / "campaign"


async def test_the_report_of_a_run_shows_what_happened(browser, tmp_path, monkeypatch):
    """Tasks, failures with their causes, what to speed up and charts: all in one file, without a complaint."""
    monkeypatch.setattr(sys, "argv", ["campaign.py"])  # which the report shows
    path = await report_on(await campaign(tmp_path))
    opened = await shown(browser, path)
    assert opened.errors == []
    assert opened.requests == [path.as_uri()]
    text = await opened.page.locator("body").inner_text()
    for said in ("Run campaign", "ValueError: seed 10 does not converge", "OSError: node lost contact", "simulate"):
        assert said in text
    assert await opened.page.locator(".bk-Figure").count() == 7
    assert "first" in await opened.page.locator("section", has_text="What to speed up").inner_text()
    if os.environ.get("ASYNCFLOW_PICTURES") == "1":
        await opened.screenshot(PICTURE)


async def test_many_calls_are_drawn(browser, tmp_path):
    """Thousands of bars are drawn by the graphics card where there is one, and by the processor here."""
    synthetic.write_run(tmp_path / "many", 3000)
    opened = await shown(browser, await report_on(tmp_path / "many"))
    assert opened.errors == []
    assert "3,000: " in await opened.page.locator("body").inner_text()


async def test_a_run_in_which_nothing_ran_has_a_report(browser, tmp_path):
    """It says so, and is a page all the same."""
    (tmp_path / "none").mkdir()
    opened = await browser.open_page(await report_on(tmp_path / "none"))
    assert opened.errors == []
    assert "Nothing has run yet." in await opened.page.locator("body").inner_text()


async def test_names_and_errors_are_text_whatever_they_are(browser, tmp_path):
    """What users call tasks, and what their errors say, is never taken for HTML or for code."""
    evil = "</script><script>throw new Error('taken')</script><b id=taken>"
    async with open_engine("dask", resume="evil", work_dir=tmp_path) as flow:

        @flow.function_task(name=evil)
        def task():
            raise ValueError(evil)

        async with flow.workflow_scope(evil):
            await asyncio.gather(task(), return_exceptions=True)
    opened = await shown(browser, await report_on(tmp_path / "evil"))
    assert opened.errors == []
    assert await opened.page.locator("#taken").count() == 0
    assert evil in await opened.page.locator("body").inner_text()


def test_a_report_goes_where_it_is_told(tmp_path):
    """`-o` names the file; one that cannot be written is refused with what to do."""
    synthetic.write_run(tmp_path / "run", 10)
    words = ["report", "run", "--work-dir", str(tmp_path)]
    done = CliRunner().invoke(main, [*words, "-o", str(tmp_path / "here.html")])
    assert (done.exit_code, done.output.strip()) == (0, str(tmp_path / "here.html"))
    assert (tmp_path / "here.html").read_text().startswith("<!DOCTYPE html>")
    done = CliRunner().invoke(main, [*words, "-o", str(tmp_path / "none" / "here.html")])
    assert done.exit_code == 2
    assert "cannot be written" in done.output
