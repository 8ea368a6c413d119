"""What is said of a run, beside its journal."""

import asyncio
import logging
import subprocess
import sys

from conftest import open_engine


async def test_what_is_said_of_a_run_is_kept_in_its_logs(tmp_path, caplog):
    """Each session has a file in ``logs/`` with what the ``asyncflow`` logger said, for its owner's eyes only."""
    caplog.set_level(logging.INFO, "asyncflow")
    for session in (1, 2):
        async with open_engine("threads", resume="told", work_dir=tmp_path):
            logging.getLogger("asyncflow").warning("session %d is here", session)
        log = tmp_path / "told" / "logs" / f"session-{session}.log"
        text = await asyncio.to_thread(log.read_text)
        assert f"WARNING session {session} is here\n" in text
        assert "ThreadPool execution backend started" in text
        assert (await asyncio.to_thread(log.stat)).st_mode & 0o777 == 0o600
    assert "session 2" not in await asyncio.to_thread((tmp_path / "told" / "logs" / "session-1.log").read_text)


def test_warnings_still_reach_standard_error(tmp_path):
    """In a script that configures no logging, a run directory does not swallow what Python shows by itself."""
    script = """
import asyncio, logging, sys
from concurrent.futures import ThreadPoolExecutor
from asyncflow import LocalExecutionBackend, WorkflowEngine
async def main():
    with ThreadPoolExecutor(1) as pool:
        async with WorkflowEngine.create(backend=LocalExecutionBackend(pool), work_dir=sys.argv[1]):
            logging.getLogger("asyncflow").warning("mind this")
asyncio.run(main())
"""
    ran = subprocess.run([sys.executable, "-c", script, tmp_path], capture_output=True, text=True, check=True)
    assert "mind this" in ran.stderr
