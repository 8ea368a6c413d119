"""The stand-ins for OpenPBS and LSF, as far as they are alike: jobs, endings, faults, and what is left: nothing."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time

import pytest

from asyncflow.testing import fake_queue
from conftest import eventually
from fakes import GONE, WORDS, becomes, home_in, job, reads, run, submit
from gates import is_alive


@pytest.fixture(params=["pbs", "lsf"])
def queue(request, tmp_path):
    """Either, with four nodes of eight cores."""
    with home_in(tmp_path, request.param, kill_delay=0.5) as queue:
        yield queue


def test_a_job_runs_and_is_told_to_the_end(queue, tmp_path):
    """A script from standard input waits or runs, ends, and keeps its exit status, script and times."""
    number = submit(queue, "sleep 0.2; exit 3", "-N" if queue.system == "pbs" else "-J", "mine")
    ended = becomes(queue, number, "failed")
    assert (ended.exit_status, ended.name, ended.runs, len(ended.nodes)) == (3, "mine", 1, 1)
    assert ended.submitted <= ended.started <= ended.ended
    assert ended.script.endswith("exit 3\n")
    assert queue.live_jobs() == []


def test_a_script_may_vanish_once_it_is_submitted(queue, tmp_path):
    """What was submitted is copied at once."""
    queue.hold_jobs()
    script = tmp_path / "script.sh"
    script.write_text(f"#!/bin/sh\necho here > {tmp_path}/said\n")
    run(WORDS[queue.system]["submit"], str(script))
    script.unlink()
    queue.release_jobs()
    reads(tmp_path / "said", "here")


def test_a_job_takes_the_interpreter_of_its_first_line(queue, tmp_path):
    """Scripts need not be shell scripts."""
    text = f"#!{sys.executable}\nprint('from', 'python', file=open({str(tmp_path / 'said')!r}, 'w'))\n"
    run(WORDS[queue.system]["submit"], text=text)
    reads(tmp_path / "said", "from python")


def test_deleting_ends_all_that_a_job_started(queue, tmp_path):
    """Those that ignore the first signals are killed after the kill delay, and so are those in sessions of their own."""
    number = submit(queue, f"trap '' INT TERM; setsid sleep 30 & touch {tmp_path}/begun; {GONE}; {GONE}")
    reads(tmp_path / "begun", "")
    assert eventually(lambda: len(queue.processes(number)) == 3)
    run(WORDS[queue.system]["delete"], number)
    assert job(queue, number).state == WORDS[queue.system]["run"]
    becomes(queue, number, "failed")
    assert queue.processes() == set()


def test_what_a_job_leaves_behind_is_killed_with_its_end(queue, tmp_path):
    """Background processes do not outlive their job."""
    number = submit(queue, "setsid sleep 30 & exit 0")
    becomes(queue, number, "done")
    assert queue.processes() == set()


def test_a_waiting_job_is_deleted_at_once(queue):
    """There is nothing to signal."""
    queue.hold_jobs()
    number = submit(queue, GONE)
    run(WORDS[queue.system]["delete"], number)
    assert job(queue, number).started is None
    assert queue.live_jobs() == []


def test_a_full_machine_lets_jobs_wait(queue, tmp_path):
    """Cores are counted on each node, and what does not fit waits for an end."""
    cores = ("-l", "ncpus=8") if queue.system == "pbs" else ("-n", "8", "-R", "span[hosts=1]")
    numbers = [submit(queue, GONE, *cores) for _ in range(5)]
    for number in numbers[:4]:
        becomes(queue, number, "run")
    assert {one.nodes for one in queue.jobs()[:4]} == {("node1",), ("node2",), ("node3",), ("node4",)}
    assert eventually(lambda: job(queue, numbers[4]).reason)
    assert job(queue, numbers[4]).state == WORDS[queue.system]["wait"]
    run(WORDS[queue.system]["delete"], numbers[1])
    assert becomes(queue, numbers[4], "run").nodes == ("node2",)


def test_a_held_machine_says_that_it_is_full(queue):
    """Jobs wait with the reason of the real system until they are released."""
    queue.hold_jobs()
    number = submit(queue, "exit 0")
    reason = "Not Running: Insufficient amount of resource: ncpus" if queue.system == "pbs" else "Job slot limit"
    assert eventually(lambda: job(queue, number).reason.startswith(reason))
    queue.release_jobs()
    becomes(queue, number, "done")


@pytest.mark.parametrize("times", [1, None])
def test_submissions_fail_as_told(queue, times):
    """With the message and status that the test gave, as often as it said."""
    queue.fail_submissions("no more today", status=9, times=times)
    command = WORDS[queue.system]["submit"]
    assert "no more today" in run(command, text="exit 0", status=9)
    if times is None:
        run(command, text="exit 0", status=9)
        queue.clear_faults()
    run(command, text="exit 0")
    assert len(queue.jobs()) == 1


def test_an_unreachable_server_fails_what_asks(queue):
    """As often as the test said, and only the commands that ask."""
    queue.make_busy(2)
    ask, status = WORDS[queue.system]["ask"], {"pbs": 111, "lsf": 255}[queue.system]
    number = submit(queue, GONE)
    for _ in range(2):
        assert re.search("cannot connect to server|LIM is down", run(ask, number, status=status))
    assert number in run(ask, number)


def test_a_slow_server_answers_late(queue):
    """Every command takes that much longer."""
    queue.make_slow(0.3)
    start = time.monotonic()
    number = submit(queue, GONE)
    assert time.monotonic() - start >= 0.3
    queue.clear_faults()
    becomes(queue, number, "run")


def test_jobs_die_when_told(queue):
    """Each so long after its start, with that status."""
    queue.end_jobs_after(0.3, status=7)
    ended = becomes(queue, submit(queue, GONE), "failed")
    assert ended.exit_status == 7
    assert ended.ended - ended.started >= 0.3
    assert queue.processes() == set()


def test_memory_kills_as_the_system_tells_it(queue):
    """Nobody measures memory, but tests see the end of a job that took too much."""
    number = submit(queue, GONE)
    becomes(queue, number, "run")
    queue.run_out_of_memory(number)
    ended = becomes(queue, number, "failed")
    assert (ended.exit_status, ended.reason[:10]) in {(-29 + 2, "Job run at"), (137, "TERM_MEMLI")}


def test_a_job_whose_time_is_over_is_told_so(queue):
    """At once, however long it may run."""
    number = submit(queue, GONE)
    becomes(queue, number, "run")
    queue.reach_walltime(number)
    ended = becomes(queue, number, "failed")
    assert ended.exit_status == -29 or ended.reason.startswith("TERM_RUNLIMIT")


def test_a_preempted_job_makes_room(queue):
    """PBS begins it again when there is room; LSF kills it for good."""
    number = submit(queue, GONE)
    becomes(queue, number, "run")
    queue.preempt(number)
    if queue.system == "pbs":
        assert eventually(lambda: job(queue, number).runs == 2)
    else:
        assert becomes(queue, number, "failed").reason.startswith("TERM_PREEMPT")


def test_only_jobs_that_run_can_be_ended(queue):
    """A misspelt number is told."""
    for end in (queue.run_out_of_memory, queue.reach_walltime, queue.preempt):
        with pytest.raises(ValueError, match="no job '99' is running"):
            end("99")


def test_nothing_is_left_after_the_block(tmp_path):
    """Jobs, what they started, the server and the place on PATH are gone; what happened can still be read."""
    path = os.environ["PATH"]
    with home_in(tmp_path, "pbs") as queue:
        assert shutil.which("qsub") == f"{tmp_path}/pbs/bin/qsub"
        running = submit(queue, f"env -i setsid sleep 30 & {GONE}")
        waiting = submit(queue, GONE, "-l", "ncpus=99")
        assert eventually(lambda: len(queue.processes(running)) == 3)
    assert os.environ["PATH"] == path
    assert queue.processes() == set()
    assert [job(queue, number).state for number in (running, waiting)] == ["F", "F"]


def test_nothing_is_left_when_the_test_is_killed(tmp_path):
    """The server notices that its owner is gone."""
    program = f"""
import subprocess, sys
from asyncflow.testing import fake_queue
with fake_queue("lsf", {str(tmp_path)!r}) as queue:
    subprocess.run(["bsub", "sleep", "30"], check=True, stdout=subprocess.DEVNULL)
    while not queue.jobs()[0].pid:
        pass
    print(queue.jobs()[0].pid, flush=True)
    sys.stdin.read()
"""
    with subprocess.Popen([sys.executable, "-c", program], stdin=-1, stdout=-1) as owner:
        pid = int(owner.stdout.readline())
        assert is_alive(pid)
        owner.send_signal(signal.SIGKILL)
    assert eventually(lambda: not is_alive(pid))


def test_nonsense_is_refused(tmp_path, queue):
    """With what would be right."""
    with pytest.raises(ValueError, match="no stand-in for 'sge'; valid are lsf and pbs"), fake_queue("sge", tmp_path):
        pass
    with pytest.raises(ValueError, match="nodes=0"), fake_queue("pbs", tmp_path, nodes=0):
        pass
    with pytest.raises(ValueError, match="'lots' is not a size"), fake_queue("pbs", tmp_path / "new", memory="lots"):
        pass
    with pytest.raises(ValueError, match="has other things in it"), fake_queue("pbs", tmp_path):
        pass
    with pytest.raises(ValueError, match="no node 'node9'"):
        queue.lose_node("node9")
    with pytest.raises(ValueError, match="has no 'sbatch'"):
        queue.make_busy(commands=["sbatch"])
    with pytest.raises(ValueError, match="times is 0"):
        queue.fail_submissions(times=0)


@pytest.mark.skipif(os.getuid() != 0, reason="is about root")
@pytest.mark.parametrize(("system", "status", "message"), [("pbs", 175, "Bad UID"), ("lsf", 255, "Bad user ID")])
def test_root_may_be_refused(tmp_path, system, status, message):
    """As both systems do unless their administrators allow it."""
    with fake_queue(system, tmp_path, root_may_submit=False):
        assert message in run(WORDS[system]["submit"], text="exit 0", status=status)
