"""Where a graph runs: the configuration of its workers, their disks, and how one of their jobs is cancelled."""

import os
import subprocess
from pathlib import Path

import slurm_engine
from chaos.disk import Disk
from chaos.faults import Fault

#: What all processes of a trial have in their environment, with a value of its own.
MARK = "ASYNCFLOW_CHAOS"

_WORKER_MEMORY = 400 << 20  # bytes: an idle worker has half of that


class Place:
    """What is common to all places.

    Attributes
    ----------
    faults : tuple of Fault
        Those that can strike here.
    disks : dict
        By what `disk_of` finds for a worker's process.
    """

    name = ""
    faults = ()

    def __init__(self, directory):
        self.directory = Path(directory)
        self.disks = {}

    #: More memory than any worker has.
    gluttony = 2 * _WORKER_MEMORY

    def open(self):
        for disk in self.disks.values():
            disk.mount()

    def close(self):
        for disk in self.disks.values():
            disk.unmount()

    def disk_of(self, worker):
        """The disk of a worker's process, which must live."""
        return self.disks[environment(worker).get("SLURMD_NODENAME", "")]


class Local(Place):
    """Four worker processes on this machine, with one disk."""

    name = "local"
    faults = (Fault.KILL_WORKER, Fault.KILL_NANNY, Fault.STOP_WORKER, Fault.FILL_DISK)

    def __init__(self, directory):
        super().__init__(directory)
        self.disks = {"": Disk(self.directory / "disk")}

    def config(self):
        disk = str(self.disks[""].path)
        return {
            "cluster": {
                "kind": "local",
                "n_workers": 4,
                "threads_per_worker": 2,
                "memory_limit": _WORKER_MEMORY,
                "dashboard_address": None,
                "local_directory": disk,
                "env": {"TMPDIR": disk},
            }
        }


class Slurm(Place):
    """Three jobs of one worker each on the Slurm that ``SLURM_CONF`` names, whose nodes have a disk each."""

    name = "slurm"
    faults = (*Local.faults, Fault.CANCEL_JOB)

    def __init__(self, directory):
        super().__init__(directory)
        self.disks = {f"node{number}": Disk(self.directory / f"disk-node{number}") for number in (1, 2, 3, 4)}

    def config(self):
        prologue = [f"export TMPDIR={self.directory}/disk-$SLURMD_NODENAME"]
        return slurm_engine.config(
            self.directory, queue="debug", cores=2, memory=_WORKER_MEMORY, jobs=3, job_script_prologue=prologue
        )


PLACES = {place.name: place for place in (Local, Slurm)}


def environment(process):
    """The variables that a process began with."""
    pairs = Path(f"/proc/{process}/environ").read_bytes().decode(errors="replace").split("\0")
    return dict(pair.split("=", 1) for pair in pairs if "=" in pair)


def is_ours(process):
    """Whether a process lives and is one of this trial: numbers of processes are given again."""
    try:
        return environment(process).get(MARK) == os.environ[MARK]
    except OSError:
        return False


def cancel_job(worker):
    """Cancel the job of a worker's process.

    Raises
    ------
    ProcessLookupError
        When it is at its end already.
    """
    job = environment(worker)["SLURM_JOB_ID"]
    done = subprocess.run(["scancel", job], check=False, capture_output=True, text=True, timeout=30)
    if done.returncode != 0:
        raise ProcessLookupError(f"scancel {job}: {done.stderr.strip()}")
