"""What a tally makes of events: counts by name, pools, pace and the last errors."""

import threading

import pytest

from asyncflow.events import (
    Events,
    JobEnded,
    JobsPending,
    JobStarted,
    JobSubmitted,
    PoolDeclared,
    PoolStopped,
    SessionEnded,
    TaskCanceled,
    TaskCompleted,
    TaskCorrupt,
    TaskCreated,
    TaskFailed,
    TaskFound,
    TaskLost,
    TaskQueued,
    TaskRetried,
    TaskStarted,
    WorkerJoined,
    WorkerLeft,
)
from asyncflow.views.pace import WINDOW
from asyncflow.views.snapshot import OTHERS
from asyncflow.views.tally import ERRORS, Tally
from gates import Gate


class Clock:
    """Goes on when it is told to."""

    now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def tally(clock):
    return Tally(clock=clock)


def called(number, name="simulate", kind="function"):
    return TaskCreated(id=f"{name}-{number}", name=name, task_type=kind)


def happened(kind, number, name="simulate", **facts):
    return kind(id=f"{name}-{number}", name=name, **facts)


def take(tally, *events):
    for event in events:
        tally.take(event)
    return {row.name: row for row in tally.snapshot().tasks}


def test_each_call_is_in_one_state_at_a_time(tally):
    """A call waits, runs and ends, and is counted once in each moment."""
    rows = take(tally, *map(called, range(6)), *(happened(TaskStarted, number) for number in range(4)))
    assert (rows["simulate"].waiting, rows["simulate"].running) == (2, 4)
    rows = take(
        tally,
        happened(TaskCompleted, 0, time=12.0, started=10.0),
        happened(TaskCompleted, 1, time=16.0, started=12.0),
        happened(TaskFailed, 2, error="ValueError: no"),
        happened(TaskCanceled, 5),
    )
    row = rows["simulate"]
    assert (row.calls, row.waiting, row.running, row.done, row.failed, row.cancelled) == (6, 1, 1, 2, 1, 1)
    assert (row.mean, row.longest) == (3.0, 4.0)


def test_what_is_told_twice_or_of_nobody_counts_for_nothing(tally):
    """A second end, a second beginning and an end of an unknown call change no count."""
    row = take(
        tally,
        called(1),
        happened(TaskStarted, 1),
        happened(TaskStarted, 1),
        happened(TaskCompleted, 1),
        happened(TaskCompleted, 1),
        happened(TaskStarted, 1, is_late=True),
        happened(TaskCompleted, 99),
    )["simulate"]
    assert (row.calls, row.done, row.running, row.waiting) == (1, 1, 0, 0)


def test_an_attempt_that_fails_makes_its_call_wait_again(tally):
    """Retried, lost or sent again under another id, it is one call, which waits until its body begins again."""
    row = take(tally, called(1), happened(TaskStarted, 1), happened(TaskRetried, 1, attempt=1))["simulate"]
    assert (row.waiting, row.running, row.retried) == (1, 0, 1)
    row = take(tally, happened(TaskStarted, 1), happened(TaskRetried, 1, attempt=2, again="simulate-2"))["simulate"]
    assert (row.waiting, row.running, row.retried) == (1, 0, 2)
    row = take(tally, happened(TaskStarted, 2), happened(TaskLost, 2, worker="tcp://a"))["simulate"]
    assert (row.calls, row.waiting, row.running) == (1, 1, 0)
    row = take(tally, happened(TaskStarted, 2), happened(TaskCompleted, 2))["simulate"]
    assert (row.calls, row.waiting, row.running, row.done) == (1, 0, 0, 1)


def test_a_found_result_is_an_end_unless_it_turns_out_damaged(tally):
    """What an earlier run kept is counted apart; made after all, the call goes on."""
    row = take(tally, called(1), happened(TaskFound, 1, result="r"), happened(TaskCompleted, 1))["simulate"]
    assert (row.calls, row.found, row.done, row.ended) == (1, 1, 0, 1)
    row = take(tally, happened(TaskCorrupt, 1, again="simulate-7", error="torn"))["simulate"]
    assert (row.found, row.waiting) == (0, 1)
    row = take(tally, happened(TaskStarted, 7), happened(TaskCompleted, 7))["simulate"]
    assert (row.calls, row.found, row.done) == (1, 0, 1)


def test_names_beyond_the_most_are_counted_together():
    """A task name made up for each call must not fill memory."""
    tally = Tally(names=2)
    rows = take(tally, *(called(1, name=f"task{number}") for number in range(5)))
    assert {name: row.calls for name, row in rows.items()} == {"task0": 1, "task1": 1, OTHERS: 3}
    rows = take(tally, called(2, name="task0"), *(happened(TaskCompleted, 1, name=f"task{n}") for n in range(5)))
    assert (rows["task0"].calls, rows[OTHERS].done) == (2, 3)


def test_only_unfinished_calls_are_remembered(tally):
    """A million calls leave nothing but counts."""
    for number in range(1000):
        take(tally, called(number), happened(TaskStarted, number), happened(TaskCompleted, number))
    assert not tally._open
    assert not tally._running


def test_the_last_errors_are_those_of_causes(tally):
    """Some are remembered, in one line each; those that failed for another's failure are not worth one."""
    take(tally, *map(called, range(20)))
    for number in range(8):
        take(tally, happened(TaskFailed, number, error=f"ValueError: bad\n  {number}", error_type="ValueError"))
    take(tally, happened(TaskFailed, 10, error="cannot run", error_type="DependencyFailureError"))
    errors = tally.snapshot().errors
    assert len(errors) == ERRORS
    assert (errors[-1].id, errors[-1].text) == ("simulate-7", "ValueError: bad 7")


def test_the_rate_is_that_of_late_and_tells_when_all_is_done(tally, clock):
    """It is taken over the last half minute, and the time that is left follows from it."""
    take(tally, *map(called, range(1000)))
    for number in range(100):
        clock.now += 0.1
        take(tally, happened(TaskCompleted, number))
    snapshot = tally.snapshot()
    assert snapshot.rate == pytest.approx(10)
    assert snapshot.eta == pytest.approx(90)
    assert snapshot.elapsed == pytest.approx(10)
    clock.now += 2 * WINDOW  # nothing ends: what is known is how many have ended in all
    assert tally.snapshot().rate == pytest.approx(100 / (10 + 2 * WINDOW))


def test_blocks_are_shown_and_not_counted_as_work(tally):
    """What is left to do, and how fast it goes, is about tasks."""
    take(tally, called(1, "campaign", "block"), called(1))
    assert [row.is_block for row in tally.snapshot().tasks] == [True, False]
    take(tally, happened(TaskStarted, 1, "campaign"), happened(TaskCompleted, 1))
    assert (tally.snapshot().total.calls, tally.snapshot().eta) == (1, None)


def test_pools_tell_of_workers_jobs_and_what_these_wait_for():
    """Each is there as long as it lives, and the pools of an engine as long as that is open."""
    events, tally = Events(), Tally()
    events.tell(PoolDeclared(pool="cpu", least=0, most=4))
    tally.watch(events)
    for event in (
        *(JobSubmitted(job=str(number), pool="cpu") for number in range(3)),
        JobStarted(job="0", pool="cpu"),
        JobEnded(job="2", pool="cpu", state="CANCELLED"),
        JobsPending(pool="cpu", reasons={"Resources": 1}),
        WorkerJoined(worker="tcp://a", pool="cpu", slots=8),
        WorkerJoined(worker="tcp://b", slots=2),  # of the only pool there is
        WorkerLeft(worker="tcp://nobody"),
    ):
        events.tell(event)
    (pool,) = tally.snapshot().pools
    assert (pool.pool, pool.workers, pool.slots, pool.jobs, pool.pending, pool.most) == ("cpu", 2, 10, 1, 1, 4)
    assert dict(pool.reasons) == {"Resources": 1}
    events.tell(PoolStopped(pool="cpu", error="its jobs die"))
    assert tally.snapshot().pools[0].stopped == "its jobs die"
    assert tally.snapshot().errors[0].name == "pool cpu"
    events.tell(SessionEnded(session_id="one", duration=1.0))
    assert tally.snapshot().pools == ()


def test_engines_share_one_tally():
    """Calls of one name and pools of one name are added up; an engine that closes leaves its calls counted."""
    first, second, tally = Events(), Events(), Tally()
    for events in (first, second):
        tally.watch(events)
        events.tell(WorkerJoined(worker=f"tcp://{id(events)}", slots=2))
        events.tell(called(id(events)))
        events.tell(happened(TaskCompleted, id(events)))
    assert tally.snapshot().tasks[0].done == 2
    assert [pool.slots for pool in tally.snapshot().pools] == [4]
    first.tell(SessionEnded(session_id="one", duration=1.0))
    assert tally.snapshot().tasks[0].done == 2
    assert [pool.slots for pool in tally.snapshot().pools] == [2]


def test_it_says_once_that_there_is_something_new():
    """Until somebody looks: a display need not be woken for each of ten thousand events, or for what changes nothing."""
    woken = []
    tally = Tally(lambda: woken.append(1))
    take_all = [called(1), called(2), happened(TaskStarted, 1)]
    for event in take_all:
        tally.take(event)
    assert len(woken) == 1
    tally.snapshot()
    tally.take(happened(TaskQueued, 2))
    assert len(woken) == 1
    tally.take(happened(TaskStarted, 2))
    assert len(woken) == 2


def test_threads_may_tell_at_once(tally):
    """No count is lost where events come from several threads."""

    def tell(first):
        for number in range(first, first + 500):
            tally.take(called(number))
            tally.take(happened(TaskStarted, number))
            tally.take(happened(TaskCompleted, number))

    threads = [threading.Thread(target=tell, args=(1000 * each,)) for each in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    row = tally.snapshot().tasks[0]
    assert (row.calls, row.done, row.running, row.waiting) == (2000, 2000, 0, 0)


async def test_calls_that_were_made_before_are_counted_while_they_last(flow, tmp_path):
    """Who begins to look in the middle sees what is unfinished, and the ends of that."""
    begun, goes_on = Gate(tmp_path / "begun"), Gate(tmp_path / "goes_on")

    @flow.function_task
    def hold():
        begun.open()
        goes_on.wait()

    @flow.function_task
    def after(value):
        return value

    future = after(hold())
    await begun.reached()
    tally = Tally()
    tally.watch(flow._dispatch.events, flow._dispatch.ledger.unfinished())
    assert {row.name: row.waiting + row.running for row in tally.snapshot().tasks} == {"hold": 1, "after": 1}
    goes_on.open()
    await future
    await flow.shutdown()
    assert {row.name: (row.calls, row.done) for row in tally.snapshot().tasks} == {"hold": (1, 1), "after": (1, 1)}
    tally.leave()
