"""Which calls travel together: decided by a plain function, for any graph of calls."""

from hypothesis import given, settings
from hypothesis import strategies as st

from asyncflow.backends.dask.bundling import LEAST, MOST, Candidate, bundles

COSTS = st.one_of(st.none(), st.floats(0.0001, 0.02))


@st.composite
def turns(draw):
    """The calls of one turn: each may depend on any before it, and on what came in earlier turns."""
    candidates = []
    for place in range(draw(st.integers(0, 40))):
        before = st.lists(st.integers(0, place - 1), unique=True, max_size=4) if place else st.just([])
        outside = draw(st.frozensets(st.sampled_from(["x", "y"]), max_size=2))
        candidates.append(Candidate(draw(COSTS), draw(st.sampled_from("ab")), tuple(draw(before)), outside))
    return candidates


def short(count, seconds=0.0002, **facts):
    return [Candidate(seconds, "a", **facts) for _ in range(count)]


def line(count, seconds):
    return [Candidate(seconds, "a", (place - 1,) if place else ()) for place in range(count)]


def waits(candidates, made):
    """What each bundle waits for: other bundles, and what is outside."""
    bundle_of = {place: number for number, bundle in enumerate(made) for place in bundle}
    found = []
    for number, bundle in enumerate(made):
        others = {bundle_of[up] for place in bundle for up in candidates[place].upstream} - {number}
        found.append(others | {each for place in bundle for each in candidates[place].outside})
    return found


@settings(max_examples=300, deadline=None)
@given(turns(), st.integers(1, 8))
def test_every_call_is_in_one_bundle_that_can_run(candidates, slots):
    """Each call is in one bundle, behind what it needs there; and bundles do not wait for each other in a circle."""
    made = bundles(candidates, slots)
    assert sorted(place for bundle in made for place in bundle) == list(range(len(candidates)))
    assert all(bundle == sorted(bundle) for bundle in made)
    left = dict(enumerate(waits(candidates, made)))
    while left:
        free = [number for number, others in left.items() if not any(other in left for other in others)]
        assert free, f"in a circle: {left}"
        for number in free:
            del left[number]


@settings(max_examples=300, deadline=None)
@given(turns(), st.integers(1, 8))
def test_bundles_hold_only_what_goes_together(candidates, slots):
    """Calls of two groups, calls that go alone, and calls that would wait for what others need share no bundle."""
    for bundle in bundles(candidates, slots):
        calls = [candidates[place] for place in bundle]
        if len(bundle) > 1:
            assert None not in {call.cost for call in calls}
            assert len({call.group for call in calls}) == 1
            assert sum(call.cost for call in calls) <= MOST + 0.02
            roots = {call.outside for call in calls if not set(call.upstream) & set(bundle)}
            assert len(roots) == 1


def test_a_wide_turn_is_shared_out_among_the_workers():
    """Many short calls become several bundles for each slot, none of which has more work than is worth it."""
    made = bundles(short(2000), 2)
    assert 8 <= len(made) <= 10
    assert max(map(len, made)) * 0.0002 <= MOST + 1e-9


def test_more_workers_are_not_worth_more_bundles_than_the_scheduler_can_make_meanwhile():
    """On hundreds of slots the work is not cut so fine that making the bundles takes longer than the work itself."""
    calls = short(5000, 0.0001)
    assert len(bundles(calls, 200)) == len(bundles(calls, 1000)) < 40
    assert len(bundles(short(5000, 0.01), 1000)) >= 1000


def test_few_calls_that_take_a_while_stay_apart():
    """What idle workers could do at once is not put into a line."""
    assert bundles(short(2, 0.01), 2) == [[0], [1]]


def test_a_line_of_calls_is_one_bundle():
    """Calls each of which needs the one before run one after the other in any case."""
    assert bundles(line(100, 0.0002), 2) == [list(range(100))]


def test_a_long_line_is_cut():
    """A line of more work than a bundle has becomes several, one behind the other."""
    made = bundles(line(20, 0.01), 2)
    assert [len(bundle) for bundle in made] == [5, 5, 5, 5]


def test_small_workflows_are_not_torn():
    """A call and the two it needs are in one bundle, and several of these in one."""
    candidates = []
    for _ in range(100):
        candidates += [*short(2), Candidate(0.0002, "a", (len(candidates), len(candidates) + 1))]
    made = bundles(candidates, 2)
    assert all(set(candidates[place].upstream) <= set(bundle) for bundle in made for place in bundle)
    assert 1 < len(made) <= 2 * 4 + 1


def test_what_many_need_holds_up_no_one():
    """Calls behind one that all of them need are shared out; what needs all of them waits for no half of them."""
    candidates = [Candidate(0.01, "a"), *short(40, 0.005, upstream=(0,)), Candidate(0.01, "a", tuple(range(1, 41)))]
    made = bundles(candidates, 2)
    assert [0] in made
    assert [41] in made
    assert len(made) >= 2 + 8


def test_who_waits_for_something_else_is_not_waited_for():
    """Calls behind different calls that are under way are not sent together; those behind the same are."""
    candidates = [*short(3, outside=frozenset({"x"})), *short(3, outside=frozenset({"y"})), *short(3)]
    assert bundles(candidates, 1) == [[0, 1, 2], [3, 4, 5], [6, 7, 8]]
    assert LEAST > 9 * 0.0002
