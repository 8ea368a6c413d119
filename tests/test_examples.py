"""The example programs run as they stand, from wherever they are started."""

import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = sorted((Path(__file__).parent.parent / "examples").glob("*.py"))


@pytest.mark.parametrize("script", EXAMPLES, ids=lambda path: path.name)
def test_examples_run(script, tmp_path):
    """Each ends well, without a warning, and the five workflows complete."""
    command = [sys.executable, "-W", "error", str(script)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr
    assert "Exception ignored" not in done.stderr
    if script.name.startswith("async_workflows"):
        assert {f"Workflow {number} completed" in done.stdout for number in range(5)} == {True}
        assert "Total time running asynchronously is" in done.stdout
