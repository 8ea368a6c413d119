"""A Slurm of the benchmarks' own, where one can run."""

import os
import shutil
import subprocess
from contextlib import contextmanager
from pathlib import Path

BOX = Path(__file__).parents[1] / "ci" / "slurm" / "box"


def is_there():
    """Whether ci/slurm/box can start one."""
    path = f"{os.environ['PATH']}:/usr/sbin:/sbin"
    return os.geteuid() == 0 and all(shutil.which(command, path=path) for command in ("sbatch", "slurmd", "slurmctld"))


@contextmanager
def running():
    """Have it run meanwhile, and this process's children see it."""
    knobs = {**os.environ, "ASYNCFLOW_SLURM_BOX": "/tmp/af-bench", "ASYNCFLOW_SLURM_PORT": "19817"}
    said = subprocess.run([BOX, "up"], env=knobs, check=True, capture_output=True, text=True).stdout
    os.environ["SLURM_CONF"] = said.strip().removeprefix("export SLURM_CONF=")
    try:
        yield
    finally:
        del os.environ["SLURM_CONF"]
        subprocess.run([BOX, "wipe"], env=knobs, check=True, capture_output=True)
