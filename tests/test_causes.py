"""Why a worker was lost: the tables of the queueing systems, and the one error made of all that is known."""

import pickle
import signal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncflow import OutOfMemoryError, PreemptedError, WalltimeError, WorkerLostError
from asyncflow.clusters.lsf import Lsf
from asyncflow.clusters.pbs import Pbs
from asyncflow.clusters.slurm import Slurm
from asyncflow.queues.causes import Cause, JobEnd, Loss, ProcessEnd, lost_error, told
from asyncflow.queues.commands import Ran
from asyncflow.queues.jobs import Job, JobState, Report
from asyncflow.queues.lastwords import LINES, last_words
from asyncflow.queues.poolkeys import PoolKeys
from asyncflow.queues.records import JobRecord, in_words
from asyncflow.queues.template import PoolPlan
from asyncflow.queues.witness import oom_kills

LOSS = Loss("relax", "tls://10.0.0.7:4711", 3, "10.0.0.7")
SYSTEMS = {"slurm": Slurm, "pbs": Pbs, "lsf": Lsf}


def job(cause, word="", **facts):
    return JobEnd("12", "cpu", word, cause, 3600.0, **facts)


@pytest.mark.parametrize(
    ("system", "said", "cause"),
    [
        ("slurm", "TIMEOUT TimeLimit node1", Cause.WALLTIME),
        ("slurm", "COMPLETING TimeLimit node1", Cause.WALLTIME),
        ("slurm", "DEADLINE", Cause.WALLTIME),
        ("slurm", "OUT_OF_MEMORY OutOfMemory node1", Cause.MEMORY),
        ("slurm", "NODE_FAIL NodeDown node3", Cause.NODE),
        ("slurm", "BOOT_FAIL", Cause.NODE),
        ("slurm", "PREEMPTED node1", Cause.PREEMPTED),
        ("slurm", "REQUEUED node1", Cause.REQUEUED),
        ("slurm", "CANCELLED node1", Cause.CANCELLED),
        ("slurm", "CANCELLED by 1000 node1", Cause.CANCELLED),
        ("slurm", "COMPLETING node1", None),
        ("slurm", "RUNNING node1", None),
        ("slurm", "PENDING PartitionTimeLimit", None),
        ("slurm", "FAILED NonZeroExitCode node1", None),
        ("pbs", "F walltime node1/0*2", Cause.WALLTIME),
        ("pbs", "F memory node1/0*2", Cause.MEMORY),
        ("pbs", "F virtual memory node1/0*2", Cause.MEMORY),
        ("pbs", "F exit status 271 node1/0*2", Cause.CANCELLED),
        ("pbs", "F lost with its node node1/0*2", Cause.NODE),
        ("pbs", "F exit status 3 node1/0*2", None),
        ("pbs", "R node1/0*2", None),
        ("lsf", "EXIT TERM_RUNLIMIT: job killed after reaching LSF run time limit node1", Cause.WALLTIME),
        ("lsf", "EXIT TERM_MEMLIMIT: job killed after reaching LSF memory usage limit node1", Cause.MEMORY),
        ("lsf", "EXIT TERM_SWAP: job killed after reaching LSF swap usage limit", Cause.MEMORY),
        ("lsf", "EXIT TERM_PREEMPT: job killed after preemption", Cause.PREEMPTED),
        ("lsf", "EXIT TERM_RC_RECLAIM: the host was reclaimed", Cause.PREEMPTED),
        ("lsf", "EXIT TERM_OWNER: job killed by owner", Cause.CANCELLED),
        ("lsf", "EXIT TERM_FORCE_ADMIN: job killed by root or LSF administrator", Cause.CANCELLED),
        ("lsf", "EXIT TERM_REQUEUE_ADMIN: job killed and requeued by administrator", Cause.REQUEUED),
        ("lsf", "UNKWN node1", Cause.NODE),
        ("lsf", "EXIT exit status 130 node1", None),
        ("lsf", "RUN node1", None),
    ],
)
def test_words_of_queues_are_understood(system, said, cause):
    """What each says of a job that ends, or has ended, is one of our causes, or none."""
    assert in_words(SYSTEMS[system].causes, said) is cause


@pytest.mark.parametrize(
    ("system", "log", "cause"),
    [
        (
            "slurm",
            "slurmstepd: error: *** JOB 5 ON n1 CANCELLED AT 2026-01-01T00:00:00 DUE TO TIME LIMIT ***",
            Cause.WALLTIME,
        ),
        (
            "slurm",
            "slurmstepd: error: *** JOB 5 ON n1 CANCELLED AT 2026-01-01T00:00:00 DUE TO PREEMPTION ***",
            Cause.PREEMPTED,
        ),
        (
            "slurm",
            "slurmstepd: error: *** JOB 5 ON n1 CANCELLED AT 2026-01-01T00:00:00 DUE TO NODE FAILURE ***",
            Cause.NODE,
        ),
        ("slurm", "slurmstepd: error: Detected 1 oom_kill event in StepId=5.batch.", Cause.MEMORY),
        ("slurm", "slurmstepd: error: Exceeded job memory limit", Cause.MEMORY),
        ("slurm", "ValueError: TIMEOUT", None),
        ("pbs", "=>> PBS: job killed: walltime 7 exceeded limit 5", Cause.WALLTIME),
        ("pbs", "=>> PBS: job killed: mem 2097152kb exceeded limit 1048576kb", Cause.MEMORY),
        ("lsf", "TERM_RUNLIMIT: job killed after reaching LSF run time limit.", Cause.WALLTIME),
        ("lsf", "TERM_MEMLIMIT: job killed after reaching LSF memory usage limit.", Cause.MEMORY),
    ],
)
def test_words_in_logs_are_understood(system, log, cause):
    """What the queueing system writes into a job's log tells where nothing else does."""
    assert in_words(SYSTEMS[system].logged, log) is cause


def test_books_of_slurm_tell_of_runs_that_the_queue_has_forgotten():
    """Accounts and logs of completed jobs say how the last finished run ended; without either there is no answer."""
    system = Slurm()
    accounts, completed = system.books(["2", "3"])
    assert "--allocations" in accounts
    assert "--completion" in completed
    assert "--jobs=2,3" in accounts
    said = "2|NODE_FAIL|node2\n2|PENDING|None assigned\n3|CANCELLED by 0|node3\n4|RUNNING|node4\n"
    assert system.booked(Ran(accounts, 0, said, "")) == {"2": "NODE_FAIL node2", "3": "CANCELLED by 0 node3"}
    assert system.booked(Ran(accounts, 1, "", "Slurm accounting storage is disabled")) is None
    assert Pbs().books(["2"]) == Lsf().books(["2"]) == []


@pytest.mark.parametrize(
    ("process", "end", "kind", "words"),
    [
        (None, None, WorkerLostError, "nobody can tell why; look into its log"),
        (ProcessEnd(exit_code=3), None, WorkerLostError, "exited with status 3; let the body raise"),
        (ProcessEnd(exit_code=0), None, WorkerLostError, "exited with status 0"),
        (ProcessEnd(exit_code=-11), None, WorkerLostError, r"crashed with signal 11 \(SIGSEGV\); mend the compiled"),
        (ProcessEnd(exit_code=-9, is_oom=False), None, WorkerLostError, r"killed by signal 9 \(SIGKILL\)"),
        (ProcessEnd(exit_code=-9, is_oom=True), None, OutOfMemoryError, "killed by the kernel for its memory"),
        (
            ProcessEnd(exit_code=-15, is_over_limit=True, limit=10**9, peak_memory=96 * 10**7),
            None,
            OutOfMemoryError,
            r"ended at 95% of its memory limit of 1 GB \(it had 960 MB\); give the task more",
        ),
        (ProcessEnd(exit_code=-9, limit=10**9, peak_memory=99 * 10**7), None, OutOfMemoryError, "kernel"),
        (ProcessEnd(exit_code=-9, limit=10**9, peak_memory=10**8), None, WorkerLostError, "SIGKILL.*having had 100 MB"),
        (
            None,
            job(Cause.MEMORY, "OUT_OF_MEMORY n1"),
            OutOfMemoryError,
            r"more memory than it may \(OUT_OF_MEMORY n1\)",
        ),
        (None, job(Cause.WALLTIME), WalltimeError, r"by the walltime of its jobs \(3600 s in pool 'cpu'"),
        (None, job(None, is_due=True), WalltimeError, "last of them job 12"),
        (None, job(Cause.CANCELLED, is_due=True), WalltimeError, "give the pool a longer walltime:"),
        (ProcessEnd(exit_code=-11), job(None, is_due=True), WorkerLostError, "SIGSEGV"),
        (ProcessEnd(exit_code=-15), job(None, is_due=True), WalltimeError, ""),
        (None, job(Cause.PREEMPTED, "PREEMPTED n1"), PreemptedError, r"was preempted \(PREEMPTED n1\); use a queue"),
        (None, job(Cause.NODE, "NODE_FAIL n1"), WorkerLostError, r"node of its job failed \(NODE_FAIL n1\)"),
        (None, job(Cause.REQUEUED, "PENDING"), WorkerLostError, "put back into the queue"),
        (None, job(Cause.CANCELLED, "CANCELLED"), WorkerLostError, r"was cancelled \(CANCELLED\); find out who"),
        (ProcessEnd(exit_code=-9), job(Cause.CANCELLED), WorkerLostError, "cancelled"),
        (None, job(Cause.ENDED, "FAILED"), WorkerLostError, r"its job ended \(FAILED\)"),
        (ProcessEnd(exit_code=-9), job(Cause.ENDED, "FAILED"), WorkerLostError, "SIGKILL"),
    ],
)
def test_each_end_has_its_error(process, end, kind, words):
    """Class and text say what happened, with which value, and what to do."""
    error = lost_error(LOSS, process, end)
    assert type(error) is kind
    with pytest.raises(kind, match=f"(?s)'relax' was .* 3 times.*{words}"):
        raise error


def test_a_worker_that_gives_no_sign_of_life_is_told_so():
    """However its process ends afterwards: Dask has it killed."""
    silent = Loss("relax", "tls://10.0.0.7:4711", is_silent=True)
    assert "no sign of life" in told(silent, ProcessEnd(exit_code=-9, is_oom=False))


def test_an_error_carries_all_facts():
    """What Dask knows, what the process did and what the queue says are attributes, and in the text."""
    process = ProcessEnd(-15, 96, 100, is_over_limit=True, host="node7", log="the last line")
    error = pickle.loads(pickle.dumps(lost_error(LOSS, process, job(None, "RUNNING node7"))))
    assert (error.worker, error.host, error.task) == ("tls://10.0.0.7:4711", "node7", "relax")
    assert (error.exit_code, error.peak_memory, error.limit) == (-15, 96, 100)
    assert (error.job, error.reason, error.log) == ("12", "RUNNING node7", "the last line")
    for fact in ("tls://10.0.0.7:4711", "node7", "job 12", "'cpu'", "the last line"):
        assert fact in str(error)


_processes = st.builds(
    ProcessEnd,
    exit_code=st.none() | st.integers(-64, 255),
    peak_memory=st.none() | st.integers(0, 2**40),
    limit=st.none() | st.integers(1, 2**40),
    is_over_limit=st.booleans(),
    is_oom=st.none() | st.booleans(),
    host=st.text(max_size=5),
    log=st.text(max_size=20),
)
_jobs = st.builds(
    JobEnd,
    id=st.text(min_size=1, max_size=5),
    pool=st.text(max_size=5),
    word=st.text(max_size=10),
    cause=st.none() | st.sampled_from(Cause),
    walltime=st.floats(1, 1e6),
    is_due=st.booleans(),
    log=st.text(max_size=20),
)


@given(st.none() | _processes, st.none() | _jobs, st.integers(1, 9))
def test_whatever_is_known_there_is_one_error_that_travels(process, end, count):
    """Of one class, with a cause and a remedy, the same after pickling; memory is named whoever says so."""
    loss = Loss("relax", "tcp://10.0.0.7:1", count)
    error = lost_error(loss, process, end)
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), str(copy), vars(copy)) == (type(error), str(error), vars(error))
    assert str(error).startswith("task 'relax' was ")
    assert "; " in str(error)
    if (process and process.took_too_much) or (end and end.cause is Cause.MEMORY):
        assert type(error) is OutOfMemoryError
    if end and end.cause is Cause.PREEMPTED and type(error) is not OutOfMemoryError:
        assert type(error) is PreemptedError
    assert told(loss, process, end)


# The job's record


def record(system="slurm", log="", now=100.0, **facts):
    """The record of a job that had begun at 0, and the job."""
    running = Job("12", "cpu", "cpu-0", 0.0, Report(JobState.RUNNING, "RUNNING", "", "n1"), started=0.0, **facts)
    keys = PoolKeys.model_construct(walltime=3600.0, walltime_margin=None)
    plan = PoolPlan.__new__(PoolPlan)
    object.__setattr__(plan, "keys", keys)
    return running, JobRecord(running, plan, SYSTEMS[system](), lambda *_: log, now)


def test_a_record_waits_for_a_look_after_the_loss():
    """What the queue said before, however final it looks, is not about this loss."""
    running, kept = record()
    assert not kept.is_settled(None)
    running.report = Report(JobState.RUNNING, "RUNNING", "", "n1")
    assert not kept.is_settled(None)
    assert not kept.is_settled(ProcessEnd(exit_code=-15))
    assert not kept.is_settled(ProcessEnd(exit_code=-9))
    assert kept.is_settled(ProcessEnd(exit_code=-11))
    running.report = Report(JobState.ENDED, "NODE_FAIL", "NodeDown", "n1")
    assert kept.is_settled(None)
    assert kept.end("").cause is Cause.NODE
    assert kept.end("").word == "NODE_FAIL NodeDown n1"
    assert kept.end("").host == "n1"


def test_a_job_that_is_put_back_is_told_by_the_books():
    """The queue only says that it waits; where there are books, they say why it was put back."""
    running, kept = record()
    running.report = Report(JobState.QUEUED, "PENDING", "BeginTime")
    assert kept.is_settled(None)
    assert kept.end("").cause is Cause.REQUEUED
    running.booked = "NODE_FAIL n1"
    assert kept.end("").cause is Cause.NODE
    assert kept.end("").word == "NODE_FAIL n1"


@pytest.mark.parametrize("again", [{"nodes": "n2"}, {"nodes": "n1", "runs": 2}], ids=["elsewhere", "there"])
def test_a_job_that_has_begun_anew_had_been_put_back(again):
    """Between two looks."""
    running, kept = record("pbs")
    running.report = Report(JobState.RUNNING, "R", **again)
    assert kept.end("").cause is Cause.REQUEUED


def test_a_job_that_the_queue_has_forgotten_is_told_by_its_log():
    """Without books too."""
    running, kept = record()
    running.report = Report(JobState.ENDED, "", "gone from the queue")
    assert kept.end("").cause is Cause.ENDED
    assert kept.end("... CANCELLED AT 2026-01-01T00:00:00 DUE TO TIME LIMIT ***").cause is Cause.WALLTIME


def test_a_loss_near_the_end_of_the_walltime_is_due():
    """Whatever the queue says later, if it says nothing else."""
    _, kept = record(now=3599.0)
    assert kept.end("").is_due
    assert not record()[1].end("").is_due


# What the parent sees


@pytest.mark.parametrize(
    ("own", "path", "text"),
    [
        ("0::/a/b\n", "a/b/memory.events", "low 0\noom 1\noom_kill 7\n"),
        ("0::/outside/of/the/container\n", "memory.events", "oom_kill 7\n"),
        ("4:cpu,memory:/a\n0::/\n", "memory/a/memory.oom_control", "under_oom 0\noom_kill 7\n"),
    ],
)
def test_the_kernels_count_of_kills_is_found(own, path, text, tmp_path):
    """In control groups of both versions, and in containers, which see their own as the root."""
    mine, groups = tmp_path / "own", tmp_path / "cgroup"
    mine.write_text(own)
    (groups / path).parent.mkdir(parents=True)
    (groups / path).write_text(text)
    assert oom_kills(groups, mine) == 7


def test_a_kernel_that_does_not_tell_is_no_error(tmp_path):
    """No control groups, none for memory, or of an old kernel."""
    assert oom_kills(tmp_path, tmp_path / "none") is None
    (tmp_path / "own").write_text("3:cpu:/\n0::/\n")
    assert oom_kills(tmp_path, tmp_path / "own") is None
    (tmp_path / "memory.events").write_text("oom 0\n")
    assert oom_kills(tmp_path, tmp_path / "own") is None


CRASH = """\
before
Fatal Python error: Segmentation fault

Thread 0x1 (most recent call first):
  File "idle.py", line 1 in wait

Current thread 0x2 (most recent call first):
  File "relax.py", line 3 in step
  File "relax.py", line 9 in relax

Extension modules: numpy
"""


@pytest.mark.parametrize("label", ["", "3: "], ids=["plain", "srun"])
def test_of_a_crash_the_thread_that_crashed_is_told(label):
    """Python lists all threads; of those one is to blame. A process that did not crash has nothing to do with it."""
    log = "".join(f"{label}{line}\n" for line in CRASH.splitlines())
    told = last_words(log, has_crashed=True).splitlines()
    lines = CRASH.splitlines()
    assert told == [lines[1], *lines[6:9]]
    assert last_words("\n".join(told), has_crashed=True).splitlines() == told
    assert "before" in last_words(log, has_crashed=False)


def test_of_other_logs_the_end_is_told():
    """Without what Dask says while all is well."""
    chatter = "2026-11-24 01:43:16,696 - distributed.worker - INFO - Starting Worker plugin shuffle"
    warning = "2026-11-24 01:43:16,696 - distributed.nanny - WARNING - Restarting worker"
    assert last_words(f"{chatter}\n{warning}\n\n{chatter}", has_crashed=True) == warning
    many = [str(number) for number in range(100)]
    assert last_words("\n".join(many), has_crashed=True).splitlines() == many[-LINES:]


def test_signals_of_this_machine_have_names():
    """Those that have none are told by their number."""
    assert "(SIGXCPU)" in told(LOSS, ProcessEnd(exit_code=-signal.SIGXCPU))
    assert "signal 40" in told(LOSS, ProcessEnd(exit_code=-40))
