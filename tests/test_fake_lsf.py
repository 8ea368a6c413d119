"""The stand-in for LSF: directives, fields, statuses and messages of the real one."""

import json
import os

import pytest

from conftest import eventually
from fakes import GONE, becomes, home_in, job, reads, run, submit

FIELDS = "jobid stat queue exec_host exit_code exit_reason pend_reason job_name run_time delimiter='|'"


@pytest.fixture
def lsf(tmp_path):
    """LSF with four nodes of eight cores."""
    with home_in(tmp_path, "lsf", kill_delay=0.6) as queue:
        yield queue


def row(number):
    """What `bjobs` tells about a job, field by field."""
    line = run("bjobs", "-a", "-o", FIELDS, "-noheader", number).strip()
    return dict(zip(FIELDS.split(), line.split("|"), strict=False))


def test_lsf_directives_count_and_output_carries_the_id(lsf, tmp_path):
    """``#BSUB`` lines of a file, ``%J`` in names, and a report after the output."""
    script = tmp_path / "script.sh"
    script.write_text(
        f'#!/bin/bash\n#BSUB -J mine -q normal\n#BSUB -n 2\n#BSUB -R "span[hosts=1]"\n#BSUB -o {tmp_path}/%J.out\n'
        f"#BSUB -e {tmp_path}/%J.err\n#BSUB -M 1000\n#BSUB -W 0:10\n#BSUB -P none\n"
        "echo $LSB_JOBID $LSB_JOBNAME $LSB_QUEUE $LSB_HOSTS $LSB_DJOB_NUMPROC; pwd; echo wrong >&2\n"
    )
    assert run("bsub", str(script), cwd=tmp_path) == "Job <1> is submitted to queue <normal>.\n"
    becomes(lsf, "1", "done")
    said = (tmp_path / "1.out").read_text()
    assert said.startswith(f"1 mine normal node1 node1 2\n{tmp_path}\n\n")
    assert "Successfully completed." in said
    assert (tmp_path / "1.err").read_text() == "wrong\n"
    assert row("1")["exec_host"] == "2*node1"


def test_lsf_passes_the_submitters_environment_on(lsf, tmp_path):
    """And runs a command line as well as a script."""
    said = run("bsub", "echo", "$MINE", f"> {tmp_path}/said", env={**os.environ, "MINE": "1"})
    assert said == "Job <1> is submitted to default queue <normal>.\n"
    reads(tmp_path / "said", "1")


def test_lsf_tells_fields_as_text_and_as_json(lsf):
    """``-o`` chooses, ``-`` is nothing in text and an empty string in JSON; an unknown job is an error record."""
    number = submit(lsf, "exit 3", "-J", "mine")
    becomes(lsf, number, "failed")
    assert list(row(number).values())[:8] == [number, "EXIT", "normal", "node1", "3", "-", "-", "mine"]
    told = json.loads(run("bjobs", "-json", "-o", "jobid stat exit_code pend_reason", number, "99", status=255))
    assert (told["COMMAND"], told["JOBS"]) == ("bjobs", 2)
    assert told["RECORDS"] == [
        {"JOBID": number, "STAT": "EXIT", "EXIT_CODE": "3", "PEND_REASON": ""},
        {"JOBID": "99", "ERROR": "Job <99> is not found"},
    ]


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("bjobs 99", "Job <99> is not found"),
        ("bjobs", "No unfinished job found"),
        ("bjobs -J nobody", "Job <nobody> is not found"),
        ("bjobs -zzz", "zzz: Illegal option."),
        ("bkill 99", "Job <99>: No matching job found"),
        ("bsub -q nope", "nope: No such queue. Job not submitted."),
        ("bsub -W soon", "soon: Illegal run limit. Job not submitted."),
    ],
)
def test_lsf_refuses_with_255(lsf, command, message):
    """Whatever is wrong."""
    assert message in run(*command.split(), text="exit 0", status=255)


def test_lsf_lists_by_name_and_state(lsf):
    """Finished jobs with ``-a`` only."""
    done, living = submit(lsf, "exit 0", "-J", "one"), submit(lsf, GONE, "-J", "two")
    becomes(lsf, done, "done")
    plain = ("bjobs", "-u", "all", "-noheader", "-o", "jobid")
    assert run(*plain).split() == [living]
    assert run(*plain, "-a").split() == [done, living]
    assert run(*plain, "-a", "-J", "one").split() == [done]


def test_lsf_kills_several_and_tells_who_did_it(lsf):
    """SIGINT comes first, so that the exit code is 130."""
    numbers = [submit(lsf, GONE) for _ in range(2)]
    for number in numbers:
        becomes(lsf, number, "run")
    assert "is being terminated" in run("bkill", *numbers)
    for number in numbers:
        becomes(lsf, number, "failed")
        assert (row(number)["exit_code"], row(number)["exit_reason"][:10]) == ("130", "TERM_OWNER")
    assert "already finished" in run("bkill", numbers[0], status=255)


def test_lsf_ends_what_is_over_its_run_limit(lsf, tmp_path):
    """With TERM_RUNLIMIT, in the output too."""
    number = submit(lsf, GONE, "-W", "0.01", "-o", str(tmp_path / "said"))
    assert becomes(lsf, number, "failed").exit_status == 140
    assert row(number)["exit_reason"] == "TERM_RUNLIMIT: job killed after reaching LSF run time limit"
    assert "TERM_RUNLIMIT" in (tmp_path / "said").read_text()


def test_lsf_says_why_a_job_waits(lsf):
    """It does not tell never from later."""
    number = submit(lsf, GONE, "-n", "9", "-R", "span[hosts=1]")
    assert eventually(lambda: row(number)["pend_reason"] == "There are no suitable hosts for the job;")
    assert row(number)["stat"] == "PEND"


def test_lsf_does_not_know_about_jobs_of_a_lost_node(lsf):
    """UNKWN until the node is back, then EXIT; one that allows it runs again elsewhere."""
    number, again = submit(lsf, GONE), submit(lsf, GONE, "-r")
    for one in (number, again):
        assert becomes(lsf, one, "run").nodes == ("node1",)
    lsf.lose_node("node1", notice_after=0.2)
    assert eventually(lambda: job(lsf, number).state == "UNKWN")
    assert eventually(lambda: job(lsf, again).nodes == ("node2",))
    lsf.return_node("node1")
    assert becomes(lsf, number, "failed").reason.startswith("TERM_UNKNOWN")
