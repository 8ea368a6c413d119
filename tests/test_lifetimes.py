"""When the workers of a job with a walltime leave."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asyncflow.queues.lifetime import lifetime_of

LIFETIMES = {
    20: (15, 5, 12.5),
    60: (50, 35, 45),
    600: (570, 510, 555),
    3600: (3480, 3120, 3420),
    86400: (86280, 85680, 86220),
}


@pytest.mark.parametrize(("walltime", "ends"), LIFETIMES.items())
def test_workers_leave_before_the_walltime(walltime, ends):
    """First no new task, then no task at all, and in the end the worker goes by itself."""
    lifetime = lifetime_of(walltime)
    assert (lifetime.end, lifetime.drain, lifetime.limit) == ends


def test_the_margin_can_be_set():
    """Tasks that are known to be long are begun only where there is time for them."""
    assert lifetime_of(3600, 1800).drain == lifetime_of(3600).end - 1800
    assert lifetime_of(3600, 99999).drain == 900


@settings(deadline=None)
@given(st.floats(min_value=1, max_value=1e7), st.none() | st.floats(min_value=0.001, max_value=1e7))
def test_the_parts_of_a_life_come_in_their_order(walltime, margin):
    """Whatever walltime and margin: a worker takes tasks for a while, then none, and is gone before it is killed."""
    life = lifetime_of(walltime, margin)
    assert 0 < life.drain <= life.end < walltime
    assert 0 < life.limit <= life.limit + life.stagger <= life.end * (1 + 1e-9)
    assert life.drain >= walltime / 4
