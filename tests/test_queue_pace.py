"""The queue as one run uses it: at a pace that controllers bear."""

import asyncio
import logging
import math
import re
from itertools import pairwise
from types import SimpleNamespace

import pytest

from asyncflow.errors import SubmitError
from asyncflow.queues import queue as queue_module
from asyncflow.queues.jobs import JobState, Report
from asyncflow.queues.queue import GROWTH, LONGEST, SOON, Queue
from gates import Notes

RUNNING, ENDED = Report(JobState.RUNNING, "R"), Report(JobState.ENDED, "F")


class System:
    """A queueing system whose commands are what the test says, and that notes what is cancelled."""

    busy = re.compile("too busy")
    gone = re.compile("already gone")

    def __init__(self, directory):
        self.notes = Notes(directory / "cancelled")
        self.answer = ["echo", "1"]
        self.status, self.said = 0, ""

    def query(self, run, ids):
        """Whatever the test wants."""
        return self.answer

    def reports(self, ran):
        """Jobs that run, one a word; nothing where it failed."""
        return None if ran.returncode else {word: Report(JobState.RUNNING, "R") for word in ran.stdout.split()}

    def cancel(self, ids, word="all"):
        """Note them, and end as the test wants."""
        return [
            "sh",
            "-c",
            f'echo {word} "$@" >> {self.notes.path}; echo {self.said} >&2; exit {self.status}',
            "x",
            *ids,
        ]

    def find(self, run):
        """What is there by name."""
        return ["echo", "7 8"]

    def cancel_queued(self, ids):
        """Only those that wait."""
        return self.cancel(ids, "queued")


class Janitor:
    """Hears what a janitor would."""

    def __init__(self):
        self.heard = []

    def submitting(self):
        """One is on its way."""
        self.heard.append("?")

    def refused(self):
        """It did not arrive."""
        self.heard.append("!")

    def submitted(self, job_id):
        """One more."""
        self.heard.append(f"+{job_id}")

    def ended(self, job_id):
        """One less."""
        self.heard.append(f"-{job_id}")


class Job:
    """A job of dask-jobqueue, as far as submitting it goes."""

    def __init__(self, loop, job_id=None, said="invalid partition"):
        self.loop, self.number, self.job_id, self.said = loop, job_id, None, said
        self.began = None

    async def start(self):
        """Submitted, or refused where it has no number."""
        self.began = self.loop.time()
        if self.number is None:
            raise SubmitError("refused", stderr=self.said)
        self.job_id = self.number


@pytest.fixture
def clock(monkeypatch):
    """A clock that the test moves."""
    clock = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(queue_module, "monotonic", lambda: clock.now)
    return clock


@pytest.fixture
def system(tmp_path):
    """A queueing system."""
    return System(tmp_path)


def queue_of(system, janitor=None, poll=30.0, submit=0.0):
    """The view of one run."""
    return Queue(system, "aflow-0", janitor or Janitor(), poll, submit)


async def test_jobs_are_submitted_at_a_measured_pace(system):
    """So many seconds lie between two of them at least, refused ones included; the first goes at once."""
    loop = asyncio.get_running_loop()
    queue = queue_of(system, submit=0.05)
    jobs = [Job(loop, 1), Job(loop), Job(loop, 3), Job(loop, 4)]
    began = loop.time()
    for job in jobs:
        try:
            await queue.submit(job)
        except SubmitError:
            assert job.number is None
    times = [job.began for job in jobs]
    assert times[0] - began < 0.05
    assert all(later - earlier >= 0.045 for earlier, later in pairwise(times))


async def test_the_janitor_hears_of_each_job_first(system):
    """Of submissions under way, of accepted and refused ones, and of their ends."""
    loop = asyncio.get_running_loop()
    janitor = Janitor()
    queue = queue_of(system, janitor)
    assert await queue.submit(Job(loop, 7)) == "7"
    with pytest.raises(SubmitError):
        await queue.submit(Job(loop))
    queue.ended("7")
    assert janitor.heard == ["?", "+7", "?", "!", "-7"]


async def test_a_submission_that_may_have_been_accepted_is_looked_for_by_name(system):
    """A controller that was too slow to answer may have taken the job; at the end it is cancelled as well."""
    janitor = Janitor()
    queue = queue_of(system, janitor)
    loop = asyncio.get_running_loop()
    assert await queue.submit(Job(loop, 7)) == "7"
    with pytest.raises(SubmitError):
        await queue.submit(Job(loop, said="the server is too busy"))
    assert janitor.heard == ["?", "+7", "?"]  # the second stays under way
    assert queue.strays({"7": RUNNING, "8": RUNNING, "9": ENDED}) == ["8"]
    assert await queue.cancel_all()
    assert [line.split()[1:] for line in system.notes.lines] == [["7", "8"]]


async def test_one_job_that_is_gone_does_not_excuse_another(system):
    """Only where each line says so were all of a batch cancelled."""
    queue = queue_of(system)
    system.status, system.said = 1, "'job 1 already gone'"
    assert await queue.cancel(["1"])
    system.said = "'job 1 already gone'; echo 'the server has no time' >&2"
    assert not await queue.cancel(["1", "2"])


def test_a_refusal_for_want_of_time_is_no_refusal(system):
    """The queueing system's own words tell them apart."""
    queue = queue_of(system)
    assert queue.is_busy(SubmitError("", stderr="error: the server is too busy, come back"))
    assert not queue.is_busy(SubmitError("", stderr="invalid partition"))


async def waits(queue, clock, count):
    """How long after each of so many questions the next is due; each is asked when it is."""
    found = []
    for _ in range(count):
        clock.now = max(clock.now, queue.next_poll if math.isfinite(queue.next_poll) else 0.0)
        await queue.ask(["1"])
        found.append(queue.next_poll - clock.now)
    return found


async def test_the_queue_is_asked_less_and_less_while_nothing_changes(system, clock):
    """From a second up to the interval of the configuration; soon again when something has changed."""
    queue = queue_of(system, poll=5.0)
    queue.look_soon()
    assert queue.next_poll == clock.now + SOON
    expected = [SOON * GROWTH, SOON * GROWTH**2, SOON * GROWTH**3, 5.0, 5.0]
    assert await waits(queue, clock, 5) == pytest.approx(expected)
    queue.look_soon()
    assert queue.next_poll == clock.now + SOON
    assert await waits(queue, clock, 1) == pytest.approx([SOON * GROWTH])


async def test_a_question_that_is_due_is_not_put_off(system, clock):
    """However often something changes."""
    queue = queue_of(system, poll=5.0)
    queue.look_soon()
    due = queue.next_poll
    for _ in range(5):
        clock.now += SOON / 2
        queue.look_soon()
    assert queue.next_poll == due


async def test_a_short_interval_is_kept(system, clock):
    """Where somebody wants to know more often than once a second, we ask so often."""
    queue = queue_of(system, poll=0.2)
    queue.look_soon()
    assert queue.next_poll == clock.now + 0.2
    assert await waits(queue, clock, 3) == pytest.approx([0.2] * 3)


async def test_a_controller_that_does_not_answer_is_left_in_peace(system, clock, caplog):
    """Twice as long each time, up to five minutes, and told once; when it answers all is as before."""
    queue = queue_of(system, poll=30.0)
    system.answer = ["sh", "-c", "echo 'unable to contact controller' >&2; exit 1"]
    with caplog.at_level(logging.WARNING, "asyncflow"):
        assert await waits(queue, clock, 10) == pytest.approx([2, 4, 8, 16, 32, 64, 128, 256, LONGEST, LONGEST])
    assert len(caplog.records) == 1
    assert "unable to contact controller" in caplog.text
    assert await queue.ask([]) is None
    system.answer = ["echo", "1"]
    assert await waits(queue, clock, 2) == [30.0, 30.0]
    assert set(await queue.ask([])) == {"1"}
    system.answer = ["false"]
    with caplog.at_level(logging.WARNING, "asyncflow"):
        await queue.ask([])
    assert len(caplog.records) == 2


async def test_jobs_are_cancelled_in_batches(system):
    """A hundred at a time, each once; none at all is no command."""
    queue = queue_of(system)
    jobs = [str(number) for number in range(250)]
    assert await queue.cancel(iter(jobs))
    orders = [line.split()[1:] for line in system.notes.lines]
    assert [len(order) for order in orders] == [100, 100, 50]
    assert [job for order in orders for job in order] == jobs
    assert await queue.cancel([])
    assert len(system.notes.lines) == 3


async def test_only_waiting_jobs_can_be_cancelled(system):
    """The queueing system decides at that moment which of them wait."""
    queue = queue_of(system)
    await queue.cancel(["1", "2"], queued=True)
    await queue.cancel(["3"])
    assert system.notes.lines == ["queued 1 2", "all 3"]


async def test_jobs_that_have_ended_already_are_cancelled_well_enough(system, caplog):
    """What we wanted is so."""
    system.status, system.said = 1, "job 1 is already gone"
    assert await queue_of(system).cancel(["1"])
    assert not caplog.records


async def test_a_batch_that_fails_does_not_keep_others_from_being_cancelled(system, caplog):
    """It is told, and the answer says that not all was understood."""
    system.status, system.said = 1, "unable to contact controller"
    jobs = [str(number) for number in range(150)]
    with caplog.at_level(logging.WARNING, "asyncflow"):
        assert not await queue_of(system).cancel(jobs)
    assert [len(line.split()) - 1 for line in system.notes.lines] == [100, 50]
    assert "unable to contact controller" in caplog.text


async def test_what_became_of_cancelled_jobs_is_asked_soon(system, clock):
    """Something has changed."""
    queue = queue_of(system, poll=30.0)
    await waits(queue, clock, 8)
    await queue.cancel(["1"])
    assert queue.next_poll == clock.now + SOON
