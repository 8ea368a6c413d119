"""Further attempts: which errors are worth one, how long it waits, and what the driver is told."""

import pickle
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncflow import TaskOptions
from asyncflow.attempts import LONGEST_DELAY, delay_before
from asyncflow.call import RetryLater, attempt
from asyncflow.recipe import Kind, Recipe
from asyncflow.site import Site
from asyncflow.stop import Stop
from gates import Notes

seeds = st.integers(0, 2**32).map(Random)


class Edge(Random):
    """Chance at its ends."""

    def __init__(self, value):
        super().__init__()
        self.value = value

    def random(self):
        """Always the same."""
        return self.value


def options(delay, factor=2.0):
    """Options as a task has them."""
    return TaskOptions(retry_delay=delay, retry_backoff=factor)


# How long


@given(st.integers(1, 10**6), st.floats(0, 1e6), st.floats(1, 1e6), seeds)
def test_a_delay_is_never_longer_than_an_hour_or_the_first(failed, delay, factor, random):
    """Whatever is asked for, however often it failed: between three quarters of the first delay and the cap."""
    found = delay_before(failed, options(delay, factor), random)
    assert found <= max(LONGEST_DELAY, delay)
    assert found >= 0.75 * delay or found == pytest.approx(0.75 * delay)


@given(st.floats(0.001, 1.0), st.floats(1, 3), st.integers(1, 6), seeds)
def test_delays_grow_by_the_factor_and_vary_by_a_quarter(delay, factor, failed, random):
    """Below the cap a delay lies within 25 % of the first one times the factor, once for each failure but the first."""
    middle = delay * factor ** (failed - 1)
    assert 0.75 * middle * 0.999 <= delay_before(failed, options(delay, factor), random) <= 1.25 * middle * 1.001


def test_the_quarter_is_used_both_ways():
    """Calls that failed together come back apart."""
    assert [delay_before(3, options(10), Edge(value)) for value in (0, 0.5, 1)] == [30, 40, 50]


@given(st.integers(1, 10**9), st.floats(1, 1e300), seeds)
def test_no_delay_stays_none(failed, factor, random):
    """Without `retry_delay` the next attempt follows at once, whatever the factor."""
    assert delay_before(failed, options(0, factor), random) == 0


async def test_recipes_carry_what_the_options_say():
    """What travels to the worker waits as the options ask."""
    asked = TaskOptions(retry_delay="3s", retry_backoff=5)
    recipe = Recipe.of(print, Kind.FUNCTION, "print", asked, "")
    assert delay_before(2, recipe, Edge(0.5)) == delay_before(2, asked, Edge(0.5)) == 15


# Which errors


async def test_a_predicate_that_fails_hides_nothing(any_flow, tmp_path):
    """The body's own error comes out, with a note of what went wrong, and no other attempt is made."""
    notes = Notes(tmp_path / "notes")

    @any_flow.function_task(retries=3, retry_on=lambda error: error.no_such_thing)
    def fail():
        notes.add("tried")
        raise ValueError("the body's own")

    with pytest.raises(ValueError, match="the body's own") as caught:
        await fail()
    assert notes.lines == ["tried"]
    (note,) = caught.value.__notes__
    assert "retry_on itself raised AttributeError" in note


async def test_an_isolated_body_has_its_attempts(any_flow, tmp_path):
    """Retries, delay and predicate are the same for a body in a process of its own."""
    notes = Notes(tmp_path / "notes")

    @any_flow.function_task(isolate="process", retries=2, retry_delay="10ms", retry_on=OSError)
    def fail(notes):
        notes.add("tried")
        raise OSError(len(notes.lines)) if len(notes.lines) < 3 else KeyError("end")

    with pytest.raises(KeyError):
        await fail(notes)
    assert len(notes.lines) == 3


# What is told


def test_a_failed_attempt_is_told_with_number_error_and_delay():
    """What a backend hears when another attempt follows is enough for a journal, and travels."""

    def fail():
        raise ValueError("own")

    site = Site(cores=1)
    recipe = Recipe(fail, Kind.FUNCTION, "fail", retries=5, retry_delay=10)
    for failed_before, (least, most) in enumerate([(7.5, 12.5), (15, 25), (30, 50)]):
        with pytest.raises(RetryLater) as caught:
            attempt(recipe, "fail-1", (), {}, site, Stop(), failed_before)
        for later in (caught.value, pickle.loads(pickle.dumps(caught.value))):
            assert (later.attempt, later.reason) == (failed_before + 1, "ValueError: own")
            assert least <= later.delay <= most
        assert isinstance(caught.value.__cause__, ValueError)
    with pytest.raises(ValueError, match="own"):
        attempt(recipe, "fail-1", (), {}, site, Stop(), 5)
