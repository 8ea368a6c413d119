"""The browser of the tests: it must see what it is there to see."""


async def test_a_page_tells_what_went_wrong_on_it_and_what_it_asked_for(browser, tmp_path):
    """Errors of the console, exceptions and things that cannot be loaded all show; a good page shows none."""
    good, bad = tmp_path / "good.html", tmp_path / "bad.html"
    good.write_text("<!DOCTYPE html><h1>All is well</h1>")
    bad.write_text(
        "<!DOCTYPE html><img src='none.png'><script>console.error('said'); throw new Error('thrown')</script>"
    )
    well, ill = await browser.open_page(good), await browser.open_page(bad)
    assert await well.page.locator("h1").inner_text() == "All is well"
    assert well.errors == []
    assert well.requests == [good.as_uri()]
    told = " ".join(ill.errors)
    assert all(each in told for each in ("said", "thrown", "none.png")), told
    await well.screenshot(tmp_path / "well.png")
    assert (tmp_path / "well.png").read_bytes().startswith(b"\x89PNG")
