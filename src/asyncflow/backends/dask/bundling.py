"""Which calls travel together: a plain function from what is known of the calls of one turn to bundles of them."""

from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from math import sqrt
from typing import NamedTuple

#: Seconds of work that a bundle has at most, unless one call of it has more.
MOST = 0.05

#: Seconds of work that are not worth being divided: about what Dask takes for a task from end to end.
LEAST = 0.005

#: Bundles for each slot of the workers, so that none is left with more than its share.
EACH = 4

#: Seconds that one more task costs Dask's scheduler, which makes them one after the other.
SCHEDULING = 0.0005

#: Seconds that a call costs in a bundle beside its body.
OVERHEAD = 0.0001


class Candidate(NamedTuple):
    """One call, as far as matters here.

    Attributes
    ----------
    cost : float or None
        Seconds that it will take; None where it travels alone.
    group : hashable
        Calls of different groups never share a bundle.
    upstream : tuple of int
        The calls of the same turn that it depends on, which come before it.
    outside : frozenset of str
        What else it has to wait for.
    """

    cost: float | None
    group: Hashable
    upstream: tuple[int, ...] = ()
    outside: frozenset[str] = frozenset()


@dataclass(eq=False)
class _Tree:
    """Calls that run one after the other in any case, or nearly; it never waits for anything but what it began with."""

    calls: list[int]
    cost: float | None
    group: Hashable
    outside: frozenset[str]
    behind: "frozenset[_Tree]" = frozenset()
    level: int = 0
    into: "_Tree | None" = field(default=None, repr=False)

    def top(self) -> "_Tree":
        """What it has become a part of."""
        found = self
        while found.into is not None:
            found = found.into
        if found is not self:
            self.into = found
        return found


def bundles(candidates: Sequence[Candidate], slots: int) -> list[list[int]]:
    """The places of `candidates`, those of one bundle together, in the order in which they are to run.

    Bundles never wait for each other in a circle, and no call waits for what another call of its bundle needs.

    Parameters
    ----------
    slots : int
        How many bodies the workers run at once.
    """
    trees = _grow(candidates)
    levels: defaultdict[int, list[_Tree]] = defaultdict(list)
    for tree in trees:
        if tree.into is None:
            levels[tree.level].append(tree)
    made: list[list[int]] = []
    bundle_of: dict[_Tree, int] = {}
    for level in sorted(levels):
        for bundle in _pack(levels[level], bundle_of, slots):
            for tree in bundle:
                bundle_of[tree] = len(made)
            made.append(sorted(place for tree in bundle for place in tree.calls))
    return made


def _grow(candidates: Sequence[Candidate]) -> list[_Tree]:
    """Join calls along the edges between them where no work that could go on at once is joined that way."""
    dependents = [0] * len(candidates)
    for each in candidates:
        for place in each.upstream:
            dependents[place] += 1
    trees: list[_Tree] = []
    tree_of: list[_Tree] = []
    for place, each in enumerate(candidates):
        joined = _joinable(each, {tree_of[up].top() for up in each.upstream}, tree_of, dependents)
        if joined:
            tree = max(joined, key=lambda tree: len(tree.calls))
            for other in joined - {tree}:
                tree.calls += other.calls
                tree.cost = _sum((tree, other))
                other.into = tree
            tree.calls.append(place)
            assert tree.cost is not None
            assert each.cost is not None
            tree.cost += each.cost
        else:
            behind = frozenset(tree_of[up].top() for up in each.upstream)
            level = 1 + max((tree.level for tree in behind), default=-1)
            tree = _Tree([place], each.cost, each.group, each.outside, behind, level)
            trees.append(tree)
        tree_of.append(tree)
    return trees


def _joinable(each: Candidate, trees: set[_Tree], tree_of: list[_Tree], dependents: Sequence[int]) -> set[_Tree]:
    """The `trees` that `each` depends on where all of them and it become one; empty where not."""
    if each.cost is None or not trees:
        return set()
    first = next(iter(trees))
    if any(tree.cost is None or tree.group != each.group or tree.level != first.level for tree in trees):
        return set()
    if not each.outside <= first.outside or any(tree.outside != first.outside for tree in trees):
        return set()
    behind = _tops(first.behind)
    if any(_tops(tree.behind) != behind for tree in trees):
        return set()
    together = _sum(trees) + each.cost
    if together <= LEAST:
        return trees
    longest = max(tree.cost or 0.0 for tree in trees)
    is_line = all(dependents[up] == 1 for up in each.upstream) and together - longest - each.cost <= LEAST
    return trees if is_line and together <= MOST else set()


def _pack(trees: Iterable[_Tree], bundle_of: dict[_Tree, int], slots: int) -> Iterable[list[_Tree]]:
    """Put `trees` of one level together that wait for the same, none for longer than it would have to."""
    alike: defaultdict[Hashable, list[_Tree]] = defaultdict(list)
    for tree in trees:
        if tree.cost is None:
            yield [tree]
        else:
            waits = frozenset(bundle_of[each] for each in _tops(tree.behind))
            alike[tree.group, tree.outside, waits].append(tree)
    for group in alike.values():
        enough = _enough(_sum(group), slots)
        bundle: list[_Tree] = []
        cost = 0.0
        for tree in group:
            assert tree.cost is not None
            if bundle and cost + tree.cost > enough:
                yield bundle
                bundle, cost = [], 0.0
            bundle.append(tree)
            cost += tree.cost
        yield bundle


def _enough(work: float, slots: int) -> float:
    """Seconds of `work` that one bundle is to have.

    A share for each slot; but `n` bundles are over no sooner than after ``n * SCHEDULING + work / n``, however many
    slots there are, and that is least for bundles of ``sqrt(work * SCHEDULING)``.
    """
    return min(MOST, max(LEAST, work / (EACH * max(slots, 1)), sqrt(work * SCHEDULING)))


def _sum(trees: Iterable[_Tree]) -> float:
    return sum(tree.cost or 0.0 for tree in trees)


def _tops(trees: Iterable[_Tree]) -> frozenset[_Tree]:
    return frozenset(tree.top() for tree in trees)
