"""How many jobs a pool should have, decided from numbers."""

import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asyncflow.queues.scaling import (
    YOUNG,
    Decision,
    JobFacts,
    LongWork,
    PoolFacts,
    decide,
    lacking,
    staying,
    wanted,
)

#: Machines that others use pause when they like.
at_any_pace = settings(deadline=None)

IDLE = 60.0


def queued(number, **facts):
    """A job that waits."""
    return JobFacts(f"q{number}", **facts)


def busy(number, **facts):
    """A job that has run for long, and works."""
    return JobFacts(f"b{number}", **{"age": 1000.0, **facts})


def idle(number, seconds=IDLE, **facts):
    """A job that has run for long, and has had nothing to do for `seconds`."""
    return JobFacts(f"i{number}", **{"age": 1000.0, "idle": seconds, **facts})


def pool(demand, *jobs, **facts):
    """A pool of up to ten jobs, four of which may wait."""
    return PoolFacts(demand, **{"minimum": 0, "maximum": 10, "max_queued": 4, "jobs": jobs, **facts})


SUBMITS = {
    "nothing to do": (pool(0), 0),
    "a fraction of a job": (pool(0.01), 1),
    "whole jobs": (pool(3), 3),
    "no more than may wait": (pool(9), 4),
    "what waits counts as there": (pool(3, queued(1), queued(2)), 1),
    "what waits counts as waiting": (pool(9, queued(1), queued(2), queued(3)), 1),
    "what runs does not count as waiting": (pool(9, busy(1), busy(2)), 4),
    "no more than the maximum": (pool(99, *map(busy, range(9))), 1),
    "the minimum, though nothing is to do": (pool(0, minimum=2), 2),
    "the minimum after a loss": (pool(0, idle(1), minimum=2), 1),
    "one in the stead of one that will leave": (pool(1, busy(1, remaining=5.0), lead=10.0), 1),
    "none in the stead of one that has long to live": (pool(1, busy(1, remaining=50.0), lead=10.0), 0),
    "none in the stead of one that nobody needs": (pool(0, idle(1, remaining=5.0), lead=10.0), 0),
}


@pytest.mark.parametrize(("facts", "count"), SUBMITS.values(), ids=SUBMITS)
def test_jobs_are_submitted(facts, count):
    """As many as the demand lacks, within the limits."""
    assert decide(facts) == Decision(submit=count)


GIVES_BACK = {
    "an idle one": (pool(0, idle(1)), ["i1"]),
    "not before the time": (pool(0, idle(1, IDLE - 1)), []),
    "not one that works": (pool(0, busy(1)), []),
    "not a young one": (pool(0, idle(1, age=YOUNG - 1)), []),
    "not more than are too many": (pool(1, idle(1), idle(2)), ["i1"]),
    "not below the minimum": (pool(0, idle(1), idle(2), minimum=1), ["i1"]),
    "not of a fixed number": (pool(0, idle(1), idle(2), minimum=2, maximum=2), []),
    "the longest idle first": (pool(1, idle(1, 70), idle(2, 90), idle(3, 80)), ["i2", "i3"]),
    "not a waiting one at once": (pool(0, queued(1), surplus=IDLE - 1), []),
    "a waiting one when too many for long": (pool(0, queued(1), surplus=IDLE), ["q1"]),
    "waiting ones first, the youngest of them": (pool(1, idle(1), queued(2), queued(3), surplus=IDLE), ["q3", "q2"]),
    "not what leaves by itself": (pool(0, idle(1, remaining=5.0), lead=10.0), []),
    "what is above the maximum": (pool(99, idle(1), idle(2), maximum=1), ["i1"]),
}


@pytest.mark.parametrize(("facts", "jobs"), GIVES_BACK.values(), ids=GIVES_BACK)
def test_jobs_are_given_back(facts, jobs):
    """Those that nobody has needed for long enough, the cheapest first, and no others."""
    assert decide(facts) == Decision(give_back=tuple(jobs))


#: Tasks of 45 minutes that would keep one job busy.
LONG = [LongWork(2700.0, 1.0)]

FOR_LONG_WORK = {
    "a fresh job beside an idle one that ends sooner": (pool(1, idle(1, lasts=600.0), long=LONG), 1, []),
    "a fresh job beside busy ones": (pool(2, busy(1, lasts=600.0), busy(2, lasts=60.0), long=LONG), 1, []),
    "none beside one that lasts": (pool(1, idle(1, lasts=2700.0), long=LONG), 0, []),
    "none beside one that waits in the queue": (pool(1, idle(1, 9, lasts=600.0), queued(1), long=LONG), 0, []),
    "no more than may wait": (pool(9, long=[LongWork(2700.0, 9.0)]), 4, []),
    "no more than the pool may have, of which the rest work": (
        pool(9, busy(1, lasts=60.0), busy(2, lasts=60.0), maximum=2, long=LONG),
        0,
        [],
    ),
    "an idle one makes room": (pool(2, idle(1, 9, lasts=60.0), busy(2, lasts=60.0), maximum=2, long=LONG), 0, ["i1"]),
    "of a fixed number as well": (pool(0, idle(1, 9, lasts=60.0), minimum=1, maximum=1, long=LONG), 0, ["i1"]),
    "not more make room than are needed": (
        pool(9, idle(1, 9, lasts=60.0), idle(2, 8, lasts=60.0), maximum=2, long=LONG),
        0,
        ["i1"],
    ),
    "not one between two tasks": (pool(0, idle(1, 1, lasts=60.0), minimum=1, maximum=1, long=LONG), 0, []),
    "not one that lasts for some of it": (
        pool(9, idle(1, lasts=3000.0), maximum=1, long=[*LONG, LongWork(5000.0, 1.0)]),
        0,
        [],
    ),
    "what waits in the queue for it is not given back": (
        pool(1, idle(1, 9, lasts=60.0), queued(1), surplus=IDLE, long=LONG),
        0,
        [],
    ),
    "but what is idle is, in time": (pool(1, idle(1, lasts=60.0), queued(1), surplus=IDLE, long=LONG), 0, ["i1"]),
}


@pytest.mark.parametrize(("facts", "count", "back"), FOR_LONG_WORK.values(), ids=FOR_LONG_WORK)
def test_work_that_no_job_lasts_for_asks_for_fresh_ones(facts, count, back):
    """However many idle ones there are; those make room where the pool may have no more."""
    assert decide(facts) == Decision(submit=count, give_back=tuple(back))


def test_long_work_needs_jobs_that_last_for_the_longest_of_it():
    """What lasts for the longest also does for the rest, but one job is one job."""
    long = [LongWork(100.0, 1.0), LongWork(1000.0, 0.5), LongWork(1000.0, 0.5)]
    lasting = [idle(number, lasts=lasts) for number, lasts in enumerate((50.0, 100.0, 1000.0))]
    assert lacking(long, []) == 2
    assert lacking(long, lasting[:2]) == 1
    assert lacking(long, lasting[2:]) == 1
    assert lacking(long, lasting) == lacking([], []) == 0


@pytest.mark.parametrize("cores", range(1, 129))
def test_work_for_n_whole_jobs_asks_for_n(cores):
    """Parts of a worker add up to whole ones, although floating-point numbers do not quite."""
    for jobs in range(1, 9):
        assert wanted(pool(sum([1 / cores] * cores * jobs))) == jobs


@at_any_pace
@given(st.floats(min_value=0, exclude_min=True, max_value=1))
def test_the_least_work_asks_for_a_job(demand):
    """However short a task is, it runs."""
    assert wanted(pool(demand)) == 1


seconds = st.floats(min_value=0, max_value=2000)


@st.composite
def pools(draw):
    """Any pool that a configuration allows, in any state."""
    kind = st.builds(
        JobFacts,
        id=st.just(""),
        age=st.none() | seconds,
        idle=st.just(0.0) | seconds,
        remaining=st.just(math.inf) | seconds,
        lasts=st.just(math.inf) | seconds,
    )
    jobs = [replace(job, id=str(number)) for number, job in enumerate(draw(st.lists(kind, max_size=12)))]
    minimum, maximum = sorted((draw(st.integers(0, 10)), draw(st.integers(1, 10))))
    return PoolFacts(
        demand=draw(st.floats(min_value=0, max_value=20)),
        minimum=minimum,
        maximum=maximum,
        max_queued=draw(st.integers(1, 10)),
        surplus=draw(seconds),
        idle_timeout=draw(st.floats(min_value=0.1, max_value=600)),
        lead=draw(st.floats(min_value=0, max_value=600)),
        jobs=jobs,
    )


def waiting(jobs):
    """How many of `jobs` have not begun."""
    return sum(job.age is None for job in jobs)


def applied(facts, decision):
    """The pool just after `decision` was carried out."""
    left = [job for job in facts.jobs if job.id not in decision.give_back]
    return replace(facts, jobs=[*left, *(queued(f"-new-{number}") for number in range(decision.submit))])


@at_any_pace
@given(pools())
def test_limits_hold_in_every_state(facts):
    """Never both ways at once, never above the limits, never below the minimum."""
    decision = decide(facts)
    after = applied(facts, decision)
    assert not (decision.submit and decision.give_back)
    assert waiting(after.jobs) <= max(facts.max_queued, waiting(facts.jobs))
    assert len(staying(after)) <= max(facts.maximum, len(staying(facts)))
    assert len(staying(after)) >= min(facts.minimum, len(staying(facts)))
    assert set(decision.give_back) <= {job.id for job in facts.jobs}
    assert len(set(decision.give_back)) == len(decision.give_back)


@at_any_pace
@given(pools())
def test_no_job_of_use_is_given_back(facts):
    """None that works, is young or has not been idle for long enough; none that waits, before the surplus is old."""
    gone = [job for job in facts.jobs if job.id in decide(facts).give_back]
    for job in gone:
        if job.age is None:
            assert facts.surplus >= facts.idle_timeout
        else:
            assert job.age >= YOUNG
            assert job.idle >= facts.idle_timeout > 0


@at_any_pace
@given(pools())
def test_a_decision_carried_out_leaves_nothing_to_decide(facts):
    """Where neither demand nor jobs change, the next look changes nothing."""
    after = applied(facts, decide(facts))
    assert decide(after) == Decision()


@at_any_pace
@given(pools())
def test_a_fixed_number_of_jobs_is_left_alone(facts):
    """Where minimum and maximum are one number, no job is given back, whatever the demand."""
    count = max(facts.maximum, len(facts.jobs))
    assert decide(replace(facts, minimum=count, maximum=count)).give_back == ()


@at_any_pace
@given(pools(), st.lists(st.builds(LongWork, seconds, st.floats(min_value=0, max_value=5)), max_size=4))
def test_long_work_keeps_within_the_limits(facts, long):
    """Whatever waits for jobs that last: none above the limits is asked for, and none of use to it is given back."""
    facts = replace(facts, long=long)
    decision = decide(facts)
    after = applied(facts, decision)
    assert not (decision.submit and decision.give_back)
    assert waiting(after.jobs) <= max(facts.max_queued, waiting(facts.jobs))
    assert len(staying(after)) <= max(facts.maximum, len(staying(facts)))
    assert lacking(long, staying(after)) <= lacking(long, staying(facts))
    assert all(job.age is None or job.age >= YOUNG for job in facts.jobs if job.id in decision.give_back)
