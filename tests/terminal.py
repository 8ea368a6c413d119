"""The command line as a user calls it: in a process of its own."""

import os
import subprocess
import sys

import yaml


def asyncflow(*words, status=0, cwd=None, stdin=subprocess.DEVNULL, **environ):
    """Run a command, which exits as expected; its standard output and its standard error."""
    done = subprocess.run(
        [sys.executable, "-m", "asyncflow", *map(str, words)],
        stdin=stdin,
        capture_output=True,
        text=True,
        env={**os.environ, **environ},
        cwd=cwd,
        timeout=60,
        check=False,
    )
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout, done.stderr


def configured(directory, kind, name="cluster.yaml", **keys):
    """Write a configuration of one small pool, and say where; pools: takes the place of the pool."""
    common = {"kind": kind, "walltime": "00:10:00", "cores": 1, "memory": "500MB", "poll_interval": 1}
    common["shared_temp_directory"] = str(directory / "shared")
    file = directory / name
    file.write_text(yaml.safe_dump({"cluster": {**common, **keys}}, sort_keys=False))
    return file
