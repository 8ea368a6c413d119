"""What each queueing system is asked, word by word, and what its answers mean."""

import getpass
import json

import pytest

from asyncflow.clusters.lsf import Lsf
from asyncflow.clusters.pbs import Pbs
from asyncflow.clusters.slurm import Slurm
from asyncflow.queues.commands import Ran
from asyncflow.queues.jobs import JobState, Report

QUEUED, RUNNING, ENDED = JobState.QUEUED, JobState.RUNNING, JobState.ENDED
SYSTEMS = {"slurm": Slurm(), "pbs": Pbs(), "lsf": Lsf()}


def said(stdout="", status=0, stderr=""):
    """How a command ended."""
    return Ran(["command"], status, stdout, stderr)


# What is asked


@pytest.mark.parametrize(
    ("system", "method", "arguments", "words"),
    [
        (
            "slurm",
            "query",
            ("aflow-1", ["7"]),
            "squeue --noheader --me --states=all --name=aflow-1 --format=%i|%T|%M|%N|%r",
        ),
        ("slurm", "cancel", (["7", "8"],), "scancel 7 8"),
        ("slurm", "cancel_queued", (["7", "8"],), "scancel --state=PENDING 7 8"),
        ("slurm", "find", ("aflow-1",), "squeue --noheader --me --name=aflow-1 --format=%i"),
        ("slurm", "own", (), "squeue --noheader --me --format=%i|%j"),
        ("pbs", "query", ("aflow-1", ["7.a", "8.a"]), "qstat -x -f -F json 7.a 8.a"),
        ("pbs", "cancel", (["7.a", "8.a"],), "qdel 7.a 8.a"),
        ("pbs", "cancel_queued", (["7.a"],), "qdel 7.a"),
        ("pbs", "find", ("aflow-1",), "qselect -N aflow-1"),
        (
            "lsf",
            "query",
            ("aflow-1", ["7"]),
            "bjobs -a -J aflow-1 -json -o|jobid stat exit_code exit_reason pend_reason exec_host run_time",
        ),
        ("lsf", "cancel", (["7", "8"],), "bkill 7 8"),
        ("lsf", "cancel_queued", (["7"],), "bkill 7"),
        ("lsf", "find", ("aflow-1",), "bjobs -J aflow-1 -noheader -o|jobid"),
        ("lsf", "own", (), "bjobs -noheader -o|jobid job_name delimiter='|'"),
    ],
)
def test_commands_word_by_word(system, method, arguments, words):
    """One question for all jobs, one command for many cancellations; ids and names are words of their own."""
    plain, _, last = words.partition("-o|")
    expected = [*plain.split(), "-o", last] if last else words.split()
    assert getattr(SYSTEMS[system], method)(*arguments) == expected


@pytest.mark.parametrize(
    ("system", "seconds", "text"),
    [
        ("slurm", 60, "00:01:00"),
        ("slurm", 59.5, "00:01:00"),
        ("slurm", 7200, "02:00:00"),
        ("slurm", 129600, "1-12:00:00"),
        ("pbs", 129600, "36:00:00"),
        ("pbs", 61, "00:01:01"),
        ("lsf", 61, "00:02"),
        ("lsf", 129600, "36:00"),
    ],
)
def test_walltimes_are_never_shorter_than_asked_for(system, seconds, text):
    """Each in the system's own notation, rounded up."""
    assert SYSTEMS[system].walltime(seconds) == text


@pytest.mark.parametrize("system", SYSTEMS)
def test_the_user_is_told_how_to_follow_a_job(system):
    """Commands that name it."""
    assert all(" 7" in command for command in SYSTEMS[system].follow("7"))


# Slurm's answers


@pytest.mark.parametrize(
    ("line", "report"),
    [
        ("7|PENDING|0:00||Priority", Report(QUEUED, "PENDING", "Priority")),
        ("7|PENDING|0:00||(Resources)", Report(QUEUED, "PENDING", "(Resources)")),
        (
            "7|PENDING|0:00||ReqNodeNotAvail, UnavailableNodes:a|b",
            Report(QUEUED, "PENDING", "ReqNodeNotAvail, UnavailableNodes:a|b"),
        ),
        ("7|CONFIGURING|0:03|node1|None", Report(QUEUED, "CONFIGURING", "", "node1", 3)),
        (
            "7|REQUEUE_HOLD|0:00||launch failed requeued held",
            Report(QUEUED, "REQUEUE_HOLD", "launch failed requeued held"),
        ),
        ("7|RUNNING|3:04|node1|None", Report(RUNNING, "RUNNING", "", "node1", 184)),
        ("7|RUNNING|2:03:04|node[1-2]|None", Report(RUNNING, "RUNNING", "", "node[1-2]", 7384)),
        ("7|RUNNING|1-02:03:04|node1|None", Report(RUNNING, "RUNNING", "", "node1", 93784)),
        ("7|RUNNING|INVALID|node1|None", Report(RUNNING, "RUNNING", "", "node1", 0)),
        ("7|RUNNING||node1|None", Report(RUNNING, "RUNNING", "", "node1", 0)),
        ("7|SUSPENDED|0:10|node1|None", Report(RUNNING, "SUSPENDED", "", "node1", 10)),
        ("7|COMPLETING|0:10|node1|NonZeroExitCode", Report(RUNNING, "COMPLETING", "NonZeroExitCode", "node1", 10)),
        ("7|COMPLETED|0:10|node1|None", Report(ENDED, "COMPLETED", "", "node1", 10)),
        ("7|FAILED|0:01|node1|NonZeroExitCode", Report(ENDED, "FAILED", "NonZeroExitCode", "node1", 1)),
        ("7|TIMEOUT|30:00|node1|TimeLimit", Report(ENDED, "TIMEOUT", "TimeLimit", "node1", 1800)),
        ("7|NODE_FAIL|0:10|node1|None", Report(ENDED, "NODE_FAIL", "", "node1", 10)),
        ("7|PREEMPTED|0:10|node1|None", Report(ENDED, "PREEMPTED", "", "node1", 10)),
        ("7|OUT_OF_MEMORY|0:10|node1|OutOfMemory", Report(ENDED, "OUT_OF_MEMORY", "OutOfMemory", "node1", 10)),
        ("7|CANCELLED|0:00||None", Report(ENDED, "CANCELLED", "")),
        ("7|DEADLINE|0:00||DeadLine", Report(ENDED, "DEADLINE", "DeadLine")),
        ("7|BOOT_FAIL|0:00||None", Report(ENDED, "BOOT_FAIL")),
    ],
)
def test_slurm_states(line, report):
    """Each state in words of ours, with elapsed time and reason; one that completes still holds its node."""
    assert Slurm().reports(said(f"{line}\n")) == {"7": report}


def test_slurm_lists():
    """One line a job; lines that are none are passed over, and array tasks keep their own ids."""
    text = "slurm is in maintenance soon\n7|RUNNING|0:01|node1|None\n\n9_[3-5%2]|PENDING|0:00||Priority\n8|FAILED|0:01|node2|x\n"
    reports = Slurm().reports(said(text))
    assert {job: report.state for job, report in reports.items()} == {"7": RUNNING, "9_[3-5%2]": QUEUED, "8": ENDED}


@pytest.mark.parametrize("system", SYSTEMS)
def test_no_answer_is_not_an_empty_one(system):
    """A command that failed says nothing about jobs; they are not gone for that."""
    for ran in (said("", 1, "Unable to contact slurm controller"), said("", None, "no such command on PATH")):
        assert SYSTEMS[system].reports(ran) is None


def test_slurm_empty_output_is_an_answer():
    """There is no such job any more."""
    assert Slurm().reports(said("")) == {}
    assert Slurm().names(said("")) == {}


# PBS's answers


def pbs_says(**jobs):
    """What ``qstat -f -F json`` prints for `jobs`, by number."""
    listed = {f"{number[1:]}.server": facts for number, facts in jobs.items()}
    return json.dumps({"timestamp": 1, "pbs_version": "23.06", "pbs_server": "server", "Jobs": listed})


@pytest.mark.parametrize(
    ("facts", "report"),
    [
        (
            {"job_state": "Q", "comment": "Not Running: Insufficient amount of resource: ncpus"},
            Report(QUEUED, "Q", "Not Running: Insufficient amount of resource: ncpus"),
        ),
        (
            {"job_state": "Q", "comment": "Can Never Run: Not enough total nodes available"},
            Report(QUEUED, "Q", "Can Never Run: Not enough total nodes available"),
        ),
        ({"job_state": "Q"}, Report(QUEUED, "Q")),
        ({"job_state": "H"}, Report(QUEUED, "H")),
        ({"job_state": "W"}, Report(QUEUED, "W")),
        (
            {
                "job_state": "R",
                "comment": "Job run at Mon Nov 23 at 22:28 on (node1:ncpus=2)",
                "exec_host": "node1/0*2",
                "resources_used": {"walltime": "00:01:05"},
            },
            Report(RUNNING, "R", "", "node1/0*2", 65),
        ),
        ({"job_state": "R", "resources_used": {"walltime": "101:00:00"}}, Report(RUNNING, "R", elapsed=363600)),
        ({"job_state": "E", "exec_host": "node1/0"}, Report(RUNNING, "E", "", "node1/0")),
        ({"job_state": "S"}, Report(RUNNING, "S")),
        ({"job_state": "F", "Exit_status": 0}, Report(ENDED, "F", "exit status 0")),
        ({"job_state": "F", "Exit_status": 271}, Report(ENDED, "F", "exit status 271")),
        ({"job_state": "F", "Exit_status": "1"}, Report(ENDED, "F", "exit status 1")),
        ({"job_state": "F", "Exit_status": -29}, Report(ENDED, "F", "walltime")),
        ({"job_state": "F", "Exit_status": -27}, Report(ENDED, "F", "memory")),
        ({"job_state": "F"}, Report(ENDED, "F")),
        (
            {"job_state": "F", "comment": "Not Running: job was deleted"},
            Report(ENDED, "F", "Not Running: job was deleted"),
        ),
        ({"job_state": "X"}, Report(ENDED, "X")),
    ],
)
def test_pbs_states(facts, report):
    """With why a job waits, or how it ended."""
    assert Pbs().reports(said(pbs_says(_7=facts))) == {"7.server": report}


@pytest.mark.parametrize(
    ("ran", "jobs"),
    [
        (said(""), set()),
        (said('{"timestamp": 1, "pbs_version": "23.06", "pbs_server": "server"}'), set()),
        (said(pbs_says(_7={"job_state": "R"}), 153, "qstat: Unknown Job Id 8.server"), {"7.server"}),
        (said(pbs_says(_7={"job_state": "F"}), 35, "qstat: 7.server Job has finished"), {"7.server"}),
        (said("", 153, "qstat: Unknown Job Id 8.server"), set()),
        (said("", 111, "qstat: cannot connect to server server (errno=111)"), None),
        (said('{"timestamp": 1, "Jobs": {"7.ser', 0), None),
        (said("", 1, "qstat: illegal option"), None),
    ],
)
def test_pbs_lists(ran, jobs):
    """Jobs that are forgotten already do not spoil the answer about the others; one cut short is no answer."""
    reports = Pbs().reports(ran)
    assert reports == jobs if reports is None else set(reports) == jobs


def test_pbs_without_history_is_asked_otherwise():
    """A server that keeps none refuses ``-x``; from then on it is asked without, and what has ended is unknown."""
    pbs = Pbs()
    assert pbs.reports(said("", 36, "qstat: PBS is not configured to maintain job history")) is None
    assert pbs.query("aflow-1", ["7.a"]) == ["qstat", "-f", "-F", "json", "7.a"]
    assert pbs.reports(said("", 153, "qstat: Unknown Job Id 7.a")) == {}
    assert Pbs().query("aflow-1", ["7.a"])[1] == "-x"


def test_pbs_names_of_ones_own_jobs():
    """Other people's are left out, as the server lists all."""
    mine, theirs = f"{getpass.getuser()}@login1", f"{getpass.getuser()}2@login1"
    text = pbs_says(_7={"Job_Name": "aflow-1", "Job_Owner": mine}, _8={"Job_Name": "aflow-2", "Job_Owner": theirs})
    assert Pbs().names(said(text)) == {"7.server": "aflow-1"}


# LSF's answers


def lsf_says(*records, **more):
    """What ``bjobs -json`` prints."""
    return json.dumps({"COMMAND": "bjobs", "JOBS": len(records), "RECORDS": list(records), **more})


@pytest.mark.parametrize(
    ("record", "report"),
    [
        (
            {"STAT": "PEND", "PEND_REASON": "Job slot limit reached;\n Job requirements", "RUN_TIME": "0 second(s)"},
            Report(QUEUED, "PEND", "Job slot limit reached; Job requirements"),
        ),
        ({"STAT": "PSUSP", "PEND_REASON": "held"}, Report(QUEUED, "PSUSP", "held")),
        (
            {"STAT": "RUN", "EXEC_HOST": "4*node1", "RUN_TIME": "65 second(s)", "PEND_REASON": "old"},
            Report(RUNNING, "RUN", "", "4*node1", 65),
        ),
        ({"STAT": "SSUSP", "RUN_TIME": "9 second(s)"}, Report(RUNNING, "SSUSP", elapsed=9)),
        ({"STAT": "UNKWN", "EXEC_HOST": "node1"}, Report(RUNNING, "UNKWN", "", "node1")),
        ({"STAT": "DONE", "RUN_TIME": "9 second(s)"}, Report(ENDED, "DONE", elapsed=9)),
        ({"STAT": "EXIT", "EXIT_CODE": "3", "RUN_TIME": ""}, Report(ENDED, "EXIT", "exit status 3")),
        (
            {"STAT": "EXIT", "EXIT_CODE": "140", "EXIT_REASON": "TERM_RUNLIMIT: job killed"},
            Report(ENDED, "EXIT", "TERM_RUNLIMIT: job killed"),
        ),
        ({"STAT": "ZOMBI", "RUN_TIME": "INVALID"}, Report(ENDED, "ZOMBI")),
    ],
)
def test_lsf_states(record, report):
    """With why a job waits, or how it ended; seconds are read before their unit."""
    assert Lsf().reports(said(lsf_says({"JOBID": "7", **record}))) == {"7": report}


@pytest.mark.parametrize(
    ("ran", "jobs"),
    [
        (said(lsf_says()), set()),
        (said("", 255, "Job <aflow-1> is not found"), set()),
        (said("", 0, "Job <aflow-1> is not found"), set()),
        (said("", 255, "LIM is down; try later"), None),
        (said("", 255, "LSF is down. Please wait ..."), None),
        (said("", 0), None),
        (said("{", 0), None),
        (said('{"COMMAND": "bjobs"}', 0), None),
    ],
)
def test_lsf_lists(ran, jobs):
    """None at all is an error to bjobs, and an answer to us; output that breaks off is none."""
    reports = Lsf().reports(ran)
    assert reports == jobs if reports is None else set(reports) == jobs


def test_names_by_id():
    """As the lists of Slurm and LSF have them, names with spaces and what else people call their jobs included."""
    text = "7|aflow-1\n8|my job|two\nnonsense\n"
    assert Slurm().names(said(text)) == {"7": "aflow-1", "8": "my job|two"}
    assert Lsf().names(said(text)) == {"7": "aflow-1", "8": "my job|two"}


# What commands complain about


@pytest.mark.parametrize(
    ("system", "text"),
    [
        ("slurm", "sbatch: error: Batch job submission failed: Socket timed out on send/recv operation"),
        ("slurm", "sbatch: error: Batch job submission failed: Unable to contact slurm controller (connect failure)"),
        ("slurm", "sbatch: error: Slurm temporarily unable to accept job, sleeping and retrying"),
        ("slurm", "sbatch: error: Batch job submission failed: Resource temporarily unavailable"),
        ("pbs", "Connection refused\nqsub: cannot connect to server server (errno=111)"),
        ("pbs", "pbs_iff: cannot connect to specified server"),
        ("pbs", "qsub: Connection timed out"),
        ("lsf", "LSF is down. Please wait ..."),
        ("lsf", "Failed in an LSF library call: LIM is down; try later. Job not submitted."),
        ("lsf", "batch daemon not responding ... still trying"),
        ("lsf", "mbatchd is down; please wait"),
    ],
)
def test_a_busy_server_is_not_a_refusal(system, text):
    """Asked again a little later, it may well accept."""
    assert SYSTEMS[system].busy.search(text)
    assert not SYSTEMS[system].gone.search(text)


@pytest.mark.parametrize(
    ("system", "text"),
    [
        ("slurm", "sbatch: error: invalid partition specified: nosuch"),
        (
            "slurm",
            "sbatch: error: Batch job submission failed: Invalid account or account/partition combination specified",
        ),
        (
            "slurm",
            "sbatch: error: Batch job submission failed: Requested time limit is invalid (missing or exceeds some limit)",
        ),
        ("slurm", "sbatch: error: Batch job submission failed: Requested node configuration is not available"),
        ("pbs", "qsub: Unknown queue"),
        ("pbs", "qsub: Job violates queue and/or server resource limits"),
        ("pbs", "qsub: Bad UID for job execution"),
        ("lsf", "nosuch: No such queue. Job not submitted."),
        ("lsf", "User cannot use the queue. Job not submitted."),
    ],
)
def test_a_refusal_is_not_a_busy_server(system, text):
    """Asked again it would refuse again, and so the user is told at once."""
    assert not SYSTEMS[system].busy.search(text)


@pytest.mark.parametrize(
    ("system", "text"),
    [
        ("slurm", "scancel: error: Kill job error on job id 7: Invalid job id specified"),
        ("slurm", "scancel: error: Kill job error on job id 7: Job/step already completing or completed"),
        ("pbs", "qdel: Unknown Job Id 7.server"),
        ("pbs", "qdel: Job has finished 7.server"),
        ("pbs", "qdel: Request invalid for state of job 7.server"),
        ("lsf", "Job <7>: Job has already finished"),
        ("lsf", "Job <7>: No matching job found"),
        ("lsf", "Job <7> is not found"),
    ],
)
def test_a_job_that_has_ended_is_as_good_as_cancelled(system, text):
    """Cancelling says that it comes too late, and nothing is wrong."""
    assert SYSTEMS[system].gone.search(text)
    assert not SYSTEMS[system].busy.search(text)
