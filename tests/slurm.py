"""A real Slurm for tests: ``ci/slurm/box`` in a directory of its own, and its queue."""

import contextlib
import os
import shutil
import signal as signals
import socket
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest

import conftest  # not its names: it imports this module

BOX = Path(__file__).parents[1] / "ci" / "slurm" / "box"

#: Of slurmctld and four slurmd.
_PORTS = 5


class Job(NamedTuple):
    """A job as squeue shows it: `nodes` is a list in Slurm's notation, `reason` why it waits or failed."""

    id: str
    state: str
    partition: str
    nodes: str
    reason: str
    name: str


def give_up(reason):
    """Skip the test for want of the tools of ci/slurm/install; where they are required, as in CI, fail it."""
    if os.environ.get("ASYNCFLOW_REQUIRE_SLURM") == "1":
        pytest.fail(reason)
    pytest.skip(reason)


def demand():
    """Give up unless a box can run here."""
    path = f"{os.environ['PATH']}:/usr/sbin:/sbin"  # where users have no daemons
    for command in ("sbatch", "slurmctld", "slurmd", "munged"):
        if not shutil.which(command, path=path):
            give_up(f"Slurm is not installed, there is no {command}: run ci/slurm/install as root")
    if os.geteuid() != 0:
        give_up("the tests run Slurm as root only")


def _are_free(ports):
    with contextlib.ExitStack() as stack:
        for port in ports:
            listener = stack.enter_context(socket.socket())
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as Slurm does
            try:
                listener.bind(("127.0.0.1", port))
            except OSError:
                return False
    return True


def _free_ports():
    """The first of free ports in a row, below those that the kernel gives to anybody; two sessions start apart."""
    slots = (32000 - 20000) // _PORTS
    for slot in range(slots):
        first = 20000 + (os.getpid() + slot) % slots * _PORTS
        if _are_free(range(first, first + _PORTS)):
            return first
    raise OSError("no five free ports in a row between 20000 and 32000")


class Slurm:
    """A box, and what its queue says. Its methods block: in coroutines that others wait for, use a thread."""

    def __init__(self):
        self._dir = f"/tmp/af-slurm-{os.getpid()}"  # short: paths of sockets are
        self._knobs = {"ASYNCFLOW_SLURM_BOX": self._dir, "ASYNCFLOW_SLURM_PORT": str(_free_ports())}
        self.env = {"SLURM_CONF": f"{self._dir}/etc/slurm.conf"}

    def _run(self, *command):
        done = subprocess.run(
            command,
            env={**os.environ, **self._knobs, **self.env},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == 0, f"{command}: {done.stderr or done.stdout}"
        return done.stdout.strip()

    def start(self):
        self._run(BOX, "up")

    def wipe(self):
        self._run(BOX, "wipe")

    def status(self):
        return self._run(BOX, "status")

    def _squeue(self, *options):
        lines = self._run("squeue", "--noheader", "--format=%i|%T|%P|%N|%r|%j", *options).splitlines()
        return [Job(*line.split("|", 5)) for line in lines]

    def jobs(self):
        """The jobs in the queue: waiting, running or completing."""
        return self._squeue()

    def all_jobs(self):
        """The same, and the jobs that ended in the last five minutes."""
        return self._squeue("--states=all")

    def is_empty(self):
        return not self.jobs()

    def submit(self, *arguments):
        """Call sbatch, by default without an output file, and return the job's id."""
        return self._run("sbatch", "--parsable", "--output=/dev/null", *arguments)

    def cancel(self, *ids, signal=None):
        """Cancel jobs, or send a signal by name to them."""
        self._run("scancel", *([f"--signal={signal}"] if signal else []), *ids)

    def fail_node(self, node):
        """Call a node down, as Slurm does with one that it cannot reach."""
        self._run("scontrol", "update", f"nodename={node}", "state=down", "reason=test")

    def return_node(self, node):
        """Let jobs run there again; nothing where they may."""
        if "down" in self._run("sinfo", "--noheader", f"--nodes={node}", "--format=%T"):
            self._run("scontrol", "update", f"nodename={node}", "state=resume")

    def wait_for(self, job, *states, timeout=20.0):
        """Wait until the job with this id has one of these states, and return it."""
        found = None

        def came():
            nonlocal found
            found = next((each for each in self.all_jobs() if each.id == job), None)
            return found is not None and found.state in states

        assert conftest.eventually(came, timeout), f"job {job} is not {' or '.join(states)}, but: {found}"
        return found

    def processes(self, job=None):
        """The command lines of processes of all jobs, or of one, by process id."""
        ours = f"SLURM_CONF={self.env['SLURM_CONF']}".encode()
        number = b"SLURM_JOB_ID=" + (job or "").encode()
        found = {}
        for directory in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):  # it ended meanwhile
                environ = (directory / "environ").read_bytes().split(b"\0")
                if ours in environ and (number in environ if job else any(each.startswith(number) for each in environ)):
                    command = (directory / "cmdline").read_bytes()
                    found[int(directory.name)] = command.replace(b"\0", b" ").decode(errors="replace").strip()
        return found

    def left_over(self):
        """Jobs and processes that are still there 15 s later. They are ended: the next test begins with nothing."""

        def nothing():
            return not self.processes() and self.is_empty()

        if conftest.eventually(nothing, 15):
            return []
        jobs, processes = self.jobs(), self.processes()
        if jobs:
            self.cancel(*(each.id for each in jobs))
        if not conftest.eventually(nothing, 10):
            for each in self.processes():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(each, signals.SIGKILL)
        return [*jobs, *processes.items()]
