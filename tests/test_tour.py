"""A run of two thousand calls on the real Slurm, seen by every means there is."""

import json

import pytest

from asyncflow.runs.history import History
from browser import demand
from tour import RUN, Tour


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_a_run_of_two_thousand_calls_is_watched_and_explained(slurm, browser, tmp_path):
    """Progress while it runs; afterwards status, why, logs and report tell of the same calls, failures and jobs."""
    demand()
    tour = Tour(tmp_path)
    middle, end, status = tour.watched()
    assert status == 0, end
    assert "simulate" in middle.plain
    assert "ValueError: seed 40 does not converge" in middle.plain
    assert "11 of 2000 failed" in end
    assert "simulate" in end.rpartition("11 of 2000 failed")[2]

    history = History.read(tour.journal)
    assert len(history.calls) == 2000
    assert history.jobs
    failed = [call for call in history.calls.values() if call.error_type == "ValueError"]
    assert len(failed) == 8
    assert all(len(call.attempts) == 1 and history.job_of(call.worker) for call in failed)

    stands = json.loads(tour.said("status", RUN, "--json"))
    assert (stands["counts"]["done"], stands["counts"]["failed"]) == (1989, 11), stands
    told = tour.said("why", RUN, "compare")
    assert "which it depends on, failed: ValueError: seed" in told
    assert "pool cpu" in told
    assert f"seed {int(failed[0].id[-6:]) - 1}" in tour.said("logs", RUN, failed[0].id)

    tour.said("report", RUN, "-o", "report.html")
    opened = await browser.open_page(tmp_path / "report.html")
    assert opened.errors == []
    assert len(opened.requests) == 1
    assert "1,989 done, 11 failed" in await opened.page.locator("body").inner_text()
