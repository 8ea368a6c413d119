"""Futures found in arguments and exchanged for values: the plain functions, over all kinds of nesting."""

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from asyncflow.arguments import Ref, fill, replace
from shapes import Pair, Setup


@dataclass(frozen=True)
class Frozen:
    """One whose fields cannot be set."""

    seed: int


class Token:
    """Stands for a future in tests of the plain functions."""

    def __init__(self, number):
        self.number = number


nested = st.recursive(
    st.one_of(st.integers(), st.text(max_size=3), st.builds(Token, st.integers(0, 20))),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.tuples(inner, inner),
        st.builds(Pair, inner, inner),
        st.builds(lambda a, b: Setup(a, "x", [b]), inner, inner),
        st.dictionaries(st.text(max_size=3), inner, max_size=4),
        st.frozensets(st.builds(Token, st.integers(0, 20)), max_size=3),
    ),
    max_leaves=12,
)


def tokens_in(value):
    """All tokens inside, in order, by a walk of its own."""
    if isinstance(value, Token):
        return [value.number]
    if isinstance(value, Setup):
        return tokens_in(value.seed) + tokens_in(value.parts)
    if isinstance(value, dict):
        return [number for each in value.values() for number in tokens_in(each)]
    if isinstance(value, (list, tuple)):
        return [number for each in value for number in tokens_in(each)]
    return sorted(token.number for token in value) if isinstance(value, frozenset) else []


def is_token(value):
    return isinstance(value, Token)


@given(nested)
def test_whatever_the_nesting_every_future_is_found_and_comes_back_in_its_place(value):
    """Exchanging futures for refs and refs for values restores nested arguments exactly, whatever the containers."""
    found = []

    def exchange(token):
        found.append(token)
        return Ref(len(found) - 1)

    args, kwargs = replace(((value,), {"named": value}), is_token, exchange)
    (positional,), named = fill(args, kwargs, found)
    assert tokens_in(positional) == tokens_in(named["named"]) == tokens_in(value)
    assert type(positional) is type(value)
    assert len(found) == 2 * len(tokens_in(value))


@given(nested)
def test_arguments_without_futures_are_not_copied(value):
    """The very same object comes through where nothing is exchanged."""
    assert replace(value, lambda each: False, lambda each: each) is value


def test_containers_of_the_caller_are_never_changed():
    """Exchanging copies: the caller's list still holds what it held."""
    token = Token(1)
    mine = {"deep": [token, (token,)]}
    replace(mine, is_token, lambda each: 0)
    assert mine == {"deep": [token, (token,)]}


def test_a_frozen_dataclass_is_filled_all_the_same():
    """A future in a field of a frozen dataclass arrives as its value."""
    args, _ = fill((Frozen(Ref(0)),), {}, [7])
    assert args == (Frozen(7),)
