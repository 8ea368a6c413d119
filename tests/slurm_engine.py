"""Engines over the real Slurm of the tests: their configuration, and drivers in processes of their own."""

import os
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import yaml


def config(tmp_path, **keys):
    """A configuration of one small pool on loopback; `keys` replace or add to it, pools: takes the place of the pool."""
    common = {
        "kind": "slurm",
        "interface": "lo",
        "walltime": "00:10:00",
        "poll_interval": 1,
        "start_timeout": 60,
        "shared_temp_directory": str(tmp_path / "shared"),
    }
    pool = {} if "pools" in keys else {"queue": "debug", "cores": 1, "memory": "1GB", "jobs": 2}
    return {"cluster": {**common, **pool, **keys}}


class Driver:
    """A script under ``asyncflow run``, in a process of its own."""

    def __init__(self, tmp_path, body="pass", script=None, **keys):
        if script is None:
            script = tmp_path / "driver.py"
            script.write_text(_SCRIPT.format(body=_indented(body)))
        file = tmp_path / "driver.yaml"
        file.write_text(yaml.safe_dump(config(tmp_path, **keys)))
        self.log = tmp_path / "driver.log"
        self._output = self.log.open("w")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "asyncflow", "run", "--config", str(file), str(script)],
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=subprocess.STDOUT,
            env={"ASYNCFLOW_GRACE": "1", **os.environ, "PYTHONUNBUFFERED": "1"},
        )

    def said(self, text):
        """Whether `text` is in what it wrote."""
        return text in self.log.read_text()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self._output.close()


def left(tmp_path):
    """What runs have left in their shared directory."""
    return [path for path in Path(tmp_path, "shared").rglob("*") if path.is_file()]


_SCRIPT = """
import asyncio, asyncflow, time

async def main():
    async with asyncflow.WorkflowEngine.create() as flow:
{body}

asyncio.run(main())
"""


def _indented(body):
    return "\n".join(f"        {line}" for line in dedent(body).strip().splitlines())
