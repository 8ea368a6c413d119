"""Jobs and their workers, and what the queue's reports mean for them."""

import pytest

from asyncflow.queues.causes import Cause
from asyncflow.queues.jobs import Job, JobState, Report
from asyncflow.queues.roster import LAG, OUTSIDE, QUICK, STRIKES, Roster, reasons

QUEUED = Report(JobState.QUEUED, "PENDING", "Resources")
RUNNING = Report(JobState.RUNNING, "RUNNING", nodes="node1")
ENDED = Report(JobState.ENDED, "FAILED", "NonZeroExitCode", "node1")


@pytest.fixture
def roster():
    """A run of two pools; jobs of the second have two workers."""
    return Roster(["cpu", "gpu"])


def add(roster, number, pool="cpu", now=0.0):
    """A job of the run, submitted `now`."""
    job = Job(str(number), pool, f"{pool}-{number}", now)
    roster.add(job)
    return job


def end(roster, job, now, cause=None):
    """The queue says that the job has ended, and why."""
    assert roster.take({**{other.id: other.report for other in roster}, job.id: ENDED}, now) == [job]
    roster.bury(job, now, cause)


def died(roster, number, now=0.0, cause=None):
    """A job that ended without a worker."""
    job = add(roster, number, now=now)
    end(roster, job, now, cause)
    return job


def worked(roster, number, now=0.0):
    """A job whose worker has just come and finished a task."""
    job = add(roster, number, now=now)
    roster.worker_came(job.name, f"tcp://{number}", now)
    roster.worked(f"tcp://{number}")
    return job


def test_workers_belong_to_the_job_in_their_name(roster):
    """One worker is called as its job, several are numbered; a stranger belongs to none."""
    one, two = add(roster, 1), add(roster, 2, "gpu")
    assert roster.worker_came("cpu-1", "tcp://a", 1.0) is one
    assert roster.worker_came("gpu-2-0", "tcp://b", 1.0) is two
    assert roster.worker_came("gpu-2-1", "tcp://c", 2.0) is two
    assert roster.worker_came("mine", "tcp://d", 2.0) is None
    assert roster.worker_came("cpu-9", "tcp://e", 2.0) is None
    assert (one.workers, two.workers) == ({"tcp://a"}, {"tcp://b", "tcp://c"})
    assert roster.job_of("tcp://c") is two
    assert roster.worker_left("tcp://c", 0.0) is two
    assert roster.worker_left("tcp://c", 0.0) is None
    assert (roster.job_of("tcp://c"), two.workers) == (None, {"tcp://b"})


def test_job_1_is_not_job_11(roster):
    """Numbers that begin alike are kept apart."""
    eleven, one = add(roster, 11, "gpu"), add(roster, 1, "gpu")
    assert roster.worker_came("gpu-11-1", "tcp://a", 0.0) is eleven
    assert roster.worker_came("gpu-1-1", "tcp://b", 0.0) is one


def test_a_worker_tells_that_its_job_runs_before_the_queue_does(roster):
    """The first worker counts; one that is started again does not."""
    job = add(roster, 1)
    assert not job.is_running
    roster.worker_came("cpu-1", "tcp://a", 5.0)
    roster.worker_left("tcp://a", 0.0)
    roster.worker_came("cpu-1", "tcp://b", 9.0)
    assert (job.is_running, job.started, job.joined) == (True, 5.0, 5.0)


def test_a_job_began_when_the_queue_says(roster):
    """Not when its worker connected, nor when we asked: walltimes count from there."""
    job = add(roster, 1)
    roster.worker_came("cpu-1", "tcp://a", 50.0)
    roster.take({"1": Report(JobState.RUNNING, "RUNNING", elapsed=20.0)}, 60.0)
    assert (job.started, job.joined) == (40.0, 50.0)
    roster.take({"1": Report(JobState.RUNNING, "RUNNING", elapsed=29.0)}, 70.0)
    assert job.started == 40.0


def test_a_job_that_is_queued_again_has_not_begun(roster):
    """After a requeue by the system nothing of its first life counts."""
    job = add(roster, 1)
    roster.worker_came("cpu-1", "tcp://a", 5.0)
    roster.take({"1": RUNNING}, 6.0)
    roster.worker_left("tcp://a", 0.0)
    roster.take({"1": QUEUED}, 10.0)
    assert not job.is_running
    assert (job.started, job.joined) == (None, None)
    roster.take({"1": RUNNING}, 20.0)
    assert job.started == 20.0


def test_a_worker_knows_better_than_an_old_report(roster):
    """A job whose worker is connected runs, though the queue still says that it waits."""
    job = add(roster, 1)
    roster.worker_came("cpu-1", "tcp://a", 5.0)
    roster.take({"1": QUEUED}, 5.5)
    assert job.is_running


def test_a_job_that_was_never_listed_is_given_time(roster):
    """Queueing systems list what they accept a little later; for ever they do not take."""
    job = add(roster, 1, now=100.0)
    assert roster.take({}, 100.0 + LAG - 1) == []
    assert list(roster) == [job]
    assert roster.take({}, 100.0 + LAG) == [job]
    assert (job.has_ended, job.report.reason) == (True, "gone from the queue")


def test_a_job_that_was_listed_and_is_no_more_has_ended(roster):
    """Queueing systems forget what has ended."""
    job = add(roster, 1)
    roster.take({"1": QUEUED}, 1.0)
    assert roster.take({}, 2.0) == [job]
    assert list(roster) == []
    assert roster.take({}, 3.0) == []


def test_reports_of_other_jobs_are_nothing_to_us(roster):
    """The queue lists whatever has the name."""
    add(roster, 1)
    assert roster.take({"1": RUNNING, "99": ENDED}, 1.0) == []


def test_the_worker_of_an_ended_job_is_known_until_it_is_gone(roster):
    """The queue may be faster than the worker's connection, and the loss of a task names the job."""
    job = add(roster, 1)
    roster.worker_came("cpu-1", "tcp://a", 1.0)
    roster.take({"1": ENDED}, 2.0)
    assert roster.job_of("tcp://a") is job
    assert roster.worker_left("tcp://a", 0.0) is job


def test_a_pool_is_given_up_when_its_jobs_die_one_after_the_other(roster):
    """Those that end by themselves soon after they began, or before a worker came."""
    jobs = [died(roster, number) for number in range(STRIKES - 1)]
    assert not roster.crews["cpu"].is_given_up
    jobs.append(add(roster, 9))
    roster.worker_came("cpu-9", "tcp://a", 10.0)
    end(roster, jobs[-1], 10.0 + QUICK - 1)
    assert roster.crews["cpu"].is_given_up
    assert roster.crews["cpu"].deaths == jobs
    assert not roster.crews["gpu"].is_given_up


def test_jobs_that_we_end_are_no_deaths(roster):
    """Cancelled ones, and those that leave before their walltime, say nothing against the pool."""
    for number in range(STRIKES):
        cancelled, leaving = add(roster, number), add(roster, 100 + number)
        cancelled.is_cancelled = leaving.is_leaving = True
    ended = roster.take({}, LAG)
    assert len(ended) == 2 * STRIKES
    for job in ended:
        roster.bury(job, LAG)
    assert roster.crews["cpu"].deaths == []


def test_a_life_makes_up_for_the_deaths_before_it(roster):
    """A job that has lived for long enough clears the pool, when it ends or while it runs."""
    for ends in (True, False):
        died(roster, 1)
        job = add(roster, 2, now=0.5)
        roster.worker_came("cpu-2", "tcp://a", 0.0)
        roster.lived(QUICK - 1)
        assert len(roster.crews["cpu"].deaths) == 1
        if ends:
            end(roster, job, QUICK)
        else:
            roster.lived(QUICK)
        assert roster.crews["cpu"].deaths == []


def test_a_job_that_was_there_before_makes_up_for_none(roster):
    """One node may be well and the next a black hole: three deaths in a row stop the pool."""
    add(roster, 1)
    roster.worker_came("cpu-1", "tcp://a", 0.0)
    for number in (2, 3, 4):
        died(roster, number)
        roster.lived(10 * QUICK)
    assert roster.crews["cpu"].is_given_up


def test_a_job_that_has_worked_did_not_die_quickly(roster):
    """However soon it ends, and for whatever reason: it costs no strike, and makes up for the deaths before it."""
    for number in range(2 * STRIKES):
        end(roster, worked(roster, number), 1.0)
    assert roster.crews["cpu"].deaths == []
    for number in range(STRIKES - 1):
        died(roster, 10 + number, now=2.0)
    early = worked(roster, 20, now=1.5)
    assert len(roster.crews["cpu"].deaths) == STRIKES - 1  # it was there before them
    end(roster, early, 3.0)
    assert len(roster.crews["cpu"].deaths) == STRIKES - 1
    worked(roster, 21, now=3.0)
    assert roster.crews["cpu"].deaths == []
    roster.worked("tcp://stranger")


@pytest.mark.parametrize("cause", sorted(OUTSIDE))
def test_what_others_do_to_jobs_says_nothing_against_a_pool_that_works(roster, cause):
    """Three jobs cancelled or preempted in a row end no campaign; nor do three whose node fails."""
    end(roster, worked(roster, 1), 1.0)
    for number in range(2 * STRIKES):
        died(roster, 10 + number, 2.0, cause)
    assert roster.crews["cpu"].deaths == []


def test_a_pool_in_which_nothing_ever_worked_is_given_up_whoever_ends_its_jobs(roster):
    """The queueing system also cancels what breaks its rules, and would do so for ever."""
    for number in range(STRIKES):
        died(roster, number, 2.0, Cause.CANCELLED)
    assert roster.crews["cpu"].is_given_up


@pytest.mark.parametrize("cause", [None, *sorted(set(Cause) - OUTSIDE)])
def test_a_pool_that_has_worked_is_given_up_when_its_jobs_fail_by_themselves(roster, cause):
    """As when a file system has gone that all of them need."""
    end(roster, worked(roster, 1), 1.0)
    for number in range(STRIKES):
        died(roster, 10 + number, 2.0, cause)
    assert roster.crews["cpu"].is_given_up


def test_a_job_that_is_queued_again_is_no_deserted_one(roster):
    """Its workers have gone with its node; it waits, and begins anew."""
    job = add(roster, 1)
    roster.worker_came("cpu-1", "tcp://a", 0.0)
    job.is_leaving = True
    roster.worker_left("tcp://a", 1.0)
    roster.take({"1": Report(JobState.QUEUED, "PENDING", "BeginTime")}, 2.0)
    assert roster.deserted(1000.0, 300.0) == []
    assert not job.is_leaving
    assert not job.is_running


def test_a_job_without_a_worker_is_deserted_after_a_while(roster):
    """Whether its workers have gone, or none ever came; the latter counts as a death."""
    lost, barren = add(roster, 1), add(roster, 2)
    roster.worker_came("cpu-1", "tcp://a", 0.0)
    roster.worker_left("tcp://a", 5.0)
    roster.take({number: Report(JobState.RUNNING, "R") for number in ("1", "2")}, 10.0)
    assert roster.deserted(10.0, 300.0) == []
    assert roster.deserted(5.0 + LAG, 300.0) == [lost]
    assert roster.deserted(310.0, 300.0) == [lost, barren]
    assert roster.crews["cpu"].deaths == [barren]


def test_live_jobs_are_those_that_may_run_another_task(roster):
    """Not the cancelled ones, not those that leave."""
    cancelled, leaving, live = add(roster, 1), add(roster, 2), add(roster, 3)
    cancelled.is_cancelled = leaving.is_leaving = True
    assert roster.crews["cpu"].live() == [live]
    assert list(roster) == [cancelled, leaving, live]


def test_reasons_are_the_queueing_systems_own(roster):
    """Jobs that wait, by why; those that run or wait without a word are left out."""
    jobs = [add(roster, number) for number in range(5)]
    words = ["Resources", "Priority", "Resources", ""]
    said = {str(number): Report(JobState.QUEUED, "PENDING", word) for number, word in enumerate(words)}
    roster.take({**said, "4": Report(JobState.RUNNING, "RUNNING", "Resources")}, 1.0)
    assert reasons(roster) == {"Resources": [jobs[0], jobs[2]], "Priority": [jobs[1]]}


@pytest.mark.parametrize(
    ("report", "text"),
    [
        (Report(JobState.QUEUED, ""), "7 (queued)"),
        (QUEUED, "7 (PENDING Resources)"),
        (ENDED, "7 (FAILED NonZeroExitCode node1)"),
    ],
)
def test_a_job_reads_as_the_queueing_system_tells_it(report, text):
    """Its id, and the system's own words."""
    assert str(Job("7", "cpu", "cpu-0", 0.0, report)) == text
