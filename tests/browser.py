"""A real browser: Debian's Chromium without a window, which says what a page complained of and asked for."""

import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

#: Nothing of it calls home, and as root in a container it has no sandbox.
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-extensions",
)


class Opened:
    """A page that a browser shows.

    Attributes
    ----------
    page : playwright.async_api.Page
        To look at it further: ``await opened.page.locator("h1").inner_text()``.
    errors : list of str
        What the console has as an error, exceptions that nobody caught, and what could not be loaded; so far.
    requests : list of str
        The URLs that were asked for, the page's own first; so far.
    """

    def __init__(self, page):
        self.page = page
        self.errors = []
        self.requests = []
        page.on("console", lambda said: self.errors.append(said.text) if said.type == "error" else None)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("requestfailed", lambda request: self.errors.append(f"{request.url}: {request.failure}"))
        page.on("request", lambda request: self.requests.append(request.url))

    async def screenshot(self, path, *, whole=True):
        """Write a PNG of it to `path`: of the whole page, or of what the window shows."""
        await self.page.screenshot(path=path, full_page=whole)


class Browser:
    """One Chromium; the fixture `browser` of `conftest.py` is one."""

    def __init__(self, chromium):
        self._chromium = chromium

    async def open_page(self, url, *, width=1280, height=900, scale=1):
        """Show what is at `url`, a path or address, until it has loaded; what it does later is the page's own affair.

        Wait for facts with playwright: ``await opened.page.wait_for_selector("...")``, ``wait_for_function("...")``.
        """
        where = url if isinstance(url, str) and "://" in url else Path(url).absolute().as_uri()
        view = {"width": width, "height": height}
        opened = Opened(await self._chromium.new_page(viewport=view, device_scale_factor=scale))
        await opened.page.goto(where, wait_until="load")
        return opened


def demand():
    """Skip the test where there is no Chromium; fail it with ``ASYNCFLOW_REQUIRE_BROWSER=1``, as in CI."""
    if shutil.which("chromium") is None:
        missing = "there is no chromium; as root, ci/browser/install gets it"
        if os.environ.get("ASYNCFLOW_REQUIRE_BROWSER") == "1":
            pytest.fail(missing)
        pytest.skip(missing)


@asynccontextmanager
async def open_browser() -> AsyncIterator[Browser]:
    """A Chromium with a profile of its own, which ends with the block and leaves nothing."""
    from playwright.async_api import async_playwright

    demand()
    async with async_playwright() as playwright:
        chromium = await playwright.chromium.launch(executable_path=shutil.which("chromium"), args=list(FLAGS))
        try:
            yield Browser(chromium)
        finally:
            await chromium.close()
