"""The process that cancels a run's jobs when the driver cannot do it any more."""

import json
import os
import re
import signal
import subprocess
import sys
import textwrap
from contextlib import contextmanager
from pathlib import Path

import pytest

from asyncflow.queues import _janitor
from asyncflow.queues.janitor import Janitor
from asyncflow.queues.run import RunDirectory
from conftest import eventually
from gates import is_alive

#: Seconds between the janitor's looks; those of a real run are 2 s, and all else is the same.
INTERVAL = 0.05


class Commands:
    """A queueing system whose queue is a file of ids; each command says in another what it was asked."""

    #: What `find` says of an empty queue, where that is an error.
    gone = re.compile("no such job", re.IGNORECASE)

    def __init__(self, directory):
        self.directory = Path(directory)
        self.queue, self.cancelled, self.looks = (self.directory / name for name in ("queue", "cancelled", "looks"))

    def cancel(self, ids):
        """Take `ids` from the queue."""
        script = 'cd "$0"; echo "$@" >> cancelled; printf "%s\\n" "$@" | grep -vxFf - queue > left'
        script += "; [ -e queue ] && mv left queue"
        return ["/bin/sh", "-c", script, str(self.directory), *ids]

    def find(self, run):
        """Say what is in the queue; from the fifth look on, what is submitted late is there as well."""
        script = 'cd "$0"; echo "$1" >> looks; [ ! -e queue.none ] || { echo No such job >&2; exit 255; }'
        script += "; [ -e queue ] || exec cat queue"
        script += '; [ "$(wc -l < looks)" -eq 5 ] && cat late >> queue; cat queue'
        return ["/bin/sh", "-c", script, str(self.directory), run]

    def submit(self, *ids, name="queue"):
        """Put `ids` into the queue."""
        with (self.directory / name).open("a") as file:
            file.writelines(f"{job}\n" for job in ids)

    @property
    def orders(self):
        """The ids of each command that cancelled."""
        return [line.split() for line in self.cancelled.read_text().splitlines()] if self.cancelled.exists() else []


@pytest.fixture
def commands(tmp_path):
    """An empty queue."""
    made = Commands(tmp_path)
    made.queue.touch()
    (tmp_path / "late").touch()
    return made


@pytest.fixture
def run(tmp_path):
    """A run with something in its directory."""
    made = RunDirectory.make(str(tmp_path / "shared"), "slurm")
    (made.logs / "x-1.err").write_text("said\n")
    return made


@contextmanager
def driver(commands, run, jobs, then=""):
    """A driver of its own process that has submitted `jobs`; with the pids of itself and its janitor."""
    code = f"""
        import os, sys, time
        from pathlib import Path
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        from asyncflow.queues.janitor import Janitor
        from asyncflow.queues.run import RunDirectory
        from test_janitor import Commands

        janitor = Janitor(Commands({str(commands.directory)!r}), RunDirectory(Path({str(run.path)!r})), {INTERVAL})
        for job in {jobs!r}:
            janitor.submitted(job)
        {then}
        print(janitor._program.pid, flush=True)
        time.sleep(60)
    """
    argv = [sys.executable, "-c", textwrap.dedent(code)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as program:
        try:
            yield program.pid, int(program.stdout.readline())
        finally:
            program.kill()


def ends(pid):
    """Wait until the process has ended."""
    return eventually(lambda: not is_alive(pid))


def test_it_ends_at_once_when_nothing_is_left_to_do(commands, run):
    """After a run in order it cancels nothing, asks nothing and removes nothing."""
    janitor = Janitor(commands, run)
    janitor.submitted("1")
    janitor.dismiss()
    assert janitor._program.returncode == 0
    assert commands.orders == []
    assert not commands.looks.exists()
    assert run.path.exists()


def test_it_lives_in_a_session_of_its_own(commands, run):
    """Neither Ctrl-C nor the end of a terminal reaches it, nor whoever ends the driver's group."""
    janitor = Janitor(commands, run)
    pid = janitor._program.pid
    assert os.getsid(pid) == os.getpgid(pid) == pid != os.getsid(0)
    assert Path(f"/proc/{pid}/cwd").readlink() == Path("/")
    janitor.dismiss()


def test_it_sees_to_what_the_driver_could_not_cancel(commands, run):
    """Left alone by a driver that goes on, it cancels what had not ended, and clears the directory."""
    commands.submit("1", "2", "3")
    janitor = Janitor(commands, run, INTERVAL)
    for job in "123":
        janitor.submitted(job)
    janitor.ended("2")
    janitor.leave()
    os.waitpid(janitor._program.pid, 0)
    assert commands.orders == [["1", "3"], ["2"]]  # the last was found in the queue all the same
    assert not run.path.exists()
    assert set(commands.looks.read_text().split()) == {run.name}


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP])
def test_it_cancels_when_the_driver_is_killed(commands, run, number):
    """Whatever the signal: all jobs go, and the directory with the certificates."""
    commands.submit("1", "2")
    with driver(commands, run, ["1", "2"]) as (pid, janitor):
        os.kill(pid, number)
        assert ends(janitor)
    assert commands.orders == [["1", "2"]]
    assert not run.path.exists()


def test_it_cancels_although_a_child_of_the_driver_lives(commands, run, tmp_path):
    """A process that the driver forked holds its end of the pipe open, perhaps for hours."""
    commands.submit("1")
    child_file = tmp_path / "child"
    then = f"child = os.fork() or time.sleep(60) or os._exit(0); Path({str(child_file)!r}).write_text(str(child))"
    with driver(commands, run, ["1"], then) as (pid, janitor):
        child = int(child_file.read_text())
        try:
            os.kill(pid, signal.SIGKILL)
            assert ends(janitor)
            assert is_alive(child)
            assert commands.orders == [["1"]]
        finally:
            os.kill(child, signal.SIGKILL)
    assert ends(child)


def test_it_cancels_what_was_being_submitted_when_the_driver_died(commands, run):
    """A job that the queue lists a little later is found by its name."""
    commands.submit("1")
    commands.submit("2", name="late")
    with driver(commands, run, ["1"]) as (pid, janitor):
        os.kill(pid, signal.SIGKILL)
        assert ends(janitor)
    assert commands.orders == [["1"], ["2"]]
    assert commands.queue.read_text() == ""


def test_it_looks_for_longer_than_a_submission_takes():
    """Where the queue is empty, too: some seconds, so that a job submitted in the driver's last moment is seen."""
    assert _janitor.INTERVAL * (_janitor.QUIET_LOOKS - 1) > 3


def test_it_cancels_in_batches(commands, run):
    """Argument lists have a limit, and so has the patience of controllers."""
    jobs = [str(number) for number in range(250)]
    commands.submit(*jobs)
    with driver(commands, run, jobs) as (pid, janitor):
        os.kill(pid, signal.SIGKILL)
        assert ends(janitor)
    assert [len(order) for order in commands.orders] == [100, 100, 50]
    assert [job for order in commands.orders for job in order] == jobs


def test_it_cancels_again_what_was_not_cancelled(commands, run):
    """The first time the controller may have been away; so it looks until there is nothing."""
    commands.submit("1")
    janitor = Janitor(commands, run, INTERVAL)
    commands.queue.rename(commands.directory / "away")  # looks fail, and so do cancellations
    janitor.submitted("1")
    janitor.leave()
    assert eventually(lambda: commands.looks.exists() and len(commands.looks.read_text().split()) > 10)
    assert is_alive(janitor._program.pid)
    assert run.path.exists()
    (commands.directory / "away").rename(commands.queue)
    os.waitpid(janitor._program.pid, 0)
    assert len(commands.orders) >= 2
    assert commands.queue.read_text() == ""
    assert not run.path.exists()


def test_a_driver_that_dies_first_is_noticed(commands, run):
    """One killed before its janitor had begun to watch, with a child that holds the pipe."""
    commands.submit("1")
    with subprocess.Popen(["true"]) as dead:
        pass
    spec = {"cancel": commands.cancel([]), "find": commands.find(run.name), "pid": dead.pid, "none": ""}
    spec |= {"directory": str(run.path), "interval": INTERVAL}
    argv = [sys.executable, "-I", "-S", _janitor.__file__]
    with subprocess.Popen(argv, stdin=subprocess.PIPE) as janitor:
        janitor.stdin.write(f"{json.dumps(spec)}\njob 1\n".encode())
        janitor.stdin.flush()
        assert janitor.wait(10) == 0
    assert commands.orders == [["1"]]


def test_an_empty_list_that_is_an_error_is_an_empty_list(commands, run):
    """LSF says that no job is found, and ends with 255; the janitor does not wait for an answer for an hour."""
    with driver(commands, run, ["1"]) as (owner, janitor):
        commands.queue.unlink()
        commands.queue.with_suffix(".none").touch()
        os.kill(owner, signal.SIGKILL)
        assert eventually(lambda: not is_alive(janitor))
    assert not run.path.exists()


def test_a_driver_that_never_said_what_to_do_leaves_nothing_to_do():
    """It ends with the driver's end of the pipe."""
    subprocess.run([sys.executable, "-I", "-S", _janitor.__file__], input=b'{"cancel"', check=True, timeout=10)


def test_a_driver_without_its_janitor_goes_on(commands, run):
    """Somebody killed it: jobs then end by their death_timeout, and the driver is none the wiser."""
    janitor = Janitor(commands, run)
    janitor._program.kill()
    janitor._program.wait()
    janitor.submitted("1")
    janitor.ended("1")
    janitor.dismiss()
