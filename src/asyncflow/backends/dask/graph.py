"""Calls made one Dask graph: a plain function from nodes to what Dask's client takes."""

import pickle
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple
from uuid import uuid4

from dask._expr import Expr, HLGExpr, LLGExpr
from dask._task_spec import Task, TaskRef
from dask.highlevelgraph import HighLevelGraph, MaterializedLayer

from asyncflow.backends.dask.parts import picked
from asyncflow.backends.dask.rounds import Input, Member, run_bundle
from asyncflow.backends.dask.running import open_large, run
from asyncflow.carrier import Carrier, within
from asyncflow.keep import Ticket
from asyncflow.node import Node
from asyncflow.options import TaskOptions
from asyncflow.pickles import Piece
from asyncflow.queues.losses import GRANTED
from asyncflow.queues.pools import pool_resource
from asyncflow.recipe import Kind


class Needs(NamedTuple):
    """What sets calls of one layer apart from those of another."""

    priority: int = 0
    lost_retries: int | None = None
    resources: tuple[tuple[str, float], ...] = ()
    expected: float | None = None
    lost_before: int = 0

    def shared(self) -> "Needs":
        """What a bundle needs whose calls need this: lost it is begun again once, lost twice its calls go on alone."""
        granted = GRANTED if self.lost_retries is None else self.lost_retries
        return self._replace(lost_retries=min(1, granted - 1))


class Packed(NamedTuple):
    """A call ready for a graph: bytes that no scheduler opens."""

    recipe: bytes
    arguments: bytes
    pieces: list[Piece]
    needs: Needs
    ticket: Ticket | None = None
    carrier: Carrier | None = None
    is_alone: bool = False  #: whether it was sent with others before, and that went wrong


class Upstream(NamedTuple):
    """What a call depends on, as it was when the call was sent."""

    key: str
    function: Callable[..., Any]
    is_final: bool


class Sent(NamedTuple):
    """A call as it was when it was sent: the loop of the user may change or clear its node meanwhile."""

    node: Node
    key: str
    packed: Packed
    upstream: tuple[Upstream, ...]
    is_wanted: bool

    @classmethod
    def of(cls, node: Node) -> "Sent":
        """`node` as it is now."""
        upstream = tuple(Upstream(each.key, each.recipe.function, each.is_final) for each in node.upstream)
        return cls(node, node.key, node.packed, upstream, node.awaited)

    @property
    def may_travel(self) -> bool:
        """Whether it may be sent in a bundle, if it turns out to be short.

        A call that must not begin twice has to be told from what was lost beside it, and a delay before another attempt
        would be everybody's.
        """
        packed, options = self.packed, self.node.options
        return (
            options.bundle
            and not packed.is_alone
            and options.expected is None
            and options.lost_retries > 0
            and not (options.retries and options.retry_delay)
            and self.node.kind is not Kind.PROMPT
        )

    @property
    def may_come_again(self) -> bool:
        """Whether the driver may send it again though it has ended well for all that its bundle knows."""
        ticket = self.packed.ticket
        return self.node.options.retry_with is not None or (ticket is not None and ticket.only_read)


class Spot(NamedTuple):
    """Where the cluster has a value: under which key, and of a bundle which of its values."""

    key: str
    part: int | None = None


def needs_of(options: TaskOptions, *, count_cores: bool, pool: str | None = None, lost_before: int = 0) -> Needs:
    """The Dask annotations that `options` mean, and those of the `pool` that is to run the call.

    `lost_before` workers were lost under it already.

    Where nobody asks for more than one core, calls carry no restriction: with one, the scheduler hands out all of a
    fan-out at once instead of keeping it back for whoever is free (`is_rootish` in distributed's scheduler).
    """
    resources: dict[str, float] = dict(options.resources)
    if count_cores:
        resources["cores"] = options.cores
    if options.memory:
        resources["memory"] = options.memory
    if pool is not None:
        resources[pool_resource(pool)] = 1
    lost_retries = options.lost_retries if options.lost_retries != GRANTED else None
    return Needs(options.priority, lost_retries, tuple(sorted(resources.items())), options.expected, lost_before)


def call_task(sent: Sent, plugin: str, spots: Mapping[str, Spot]) -> Task:
    """The Dask task of one call.

    Parameters
    ----------
    plugin : str
        The name under which workers know this engine.
    spots : mapping of str to Spot
        Where upstream values are, by the keys of their calls.
    """
    packed = sent.packed
    found = [*(spots[each.key] for each in sent.upstream), *(Spot(piece.key) for piece in packed.pieces)]
    picks = [spot.part for spot in found] if any(spot.part is not None for spot in found) else None
    what = (run,) if packed.carrier is None else (within, packed.carrier, run)
    arguments = (packed.recipe, packed.arguments, packed.ticket, sent.is_wanted, picks)
    return Task(sent.key, *what, plugin, sent.key, *arguments, *(TaskRef(spot.key) for spot in found))


def bundle_task(key: str, calls: Sequence[Sent], plugin: str, spots: Mapping[str, Spot], kept: Sequence[bool]) -> Task:
    """The Dask task of several `calls`, which run in this order; the other arguments are those of `call_task`.

    Parameters
    ----------
    kept : sequence of bool
        Of which calls anybody may ask for the value.
    """
    recipes: dict[bytes, int] = {}
    inputs: dict[str, int] = {}
    places: dict[str, int] = {}
    members = []
    for place, ((_, name, packed, upstream, is_wanted), is_kept) in enumerate(zip(calls, kept, strict=True)):
        found: list[Input] = []
        for each in upstream:
            if each.key in places:
                found.append(Input(places[each.key], is_member=True))
            else:
                spot = spots[each.key]
                found.append(Input(inputs.setdefault(spot.key, len(inputs)), spot.part))
        found += [Input(inputs.setdefault(piece.key, len(inputs))) for piece in packed.pieces]
        recipe = recipes.setdefault(packed.recipe, len(recipes))
        facts = (packed.ticket, packed.carrier)
        members.append(Member(name, recipe, packed.arguments, tuple(found), is_wanted, is_kept, *facts))
        places[name] = place
    data = pickle.dumps((list(recipes), members), protocol=5)  # the scheduler carries one string of bytes
    return Task(key, run_bundle, plugin, key, data, *map(TaskRef, inputs))


def value_task(key: str, data: bytes) -> Task:
    """The Dask task under `key` whose value is pickled in `data`."""
    return Task(key, open_large, data)


def pick_task(key: str, spot: Spot) -> Task:
    """The Dask task under `key` whose value is the one at `spot` of a bundle."""
    return Task(key, picked, TaskRef(spot.key), spot.part)


class Graph(NamedTuple):
    """A graph as Dask's client sends it.

    Attributes
    ----------
    keys : list of str
        Of all its tasks.
    expression : Expr
        The tasks, under a name of no meaning: Dask's own would be a hash of every argument, for which it takes as long
        as for all the rest.
    order : dict or None
        Which task is to run before which others, where nothing but the order of the calls says so; Dask finds out in
        all other cases, so that no value is kept for longer than it must be.
    """

    keys: list[str]
    expression: Expr
    order: dict[str, int] | None


def build_graph(tasks: Sequence[tuple[Task, Needs]], pieces: Mapping[str, Piece]) -> Graph:
    """One graph of all `tasks`, with the large arguments that the cluster does not have yet.

    It is a plain one where no task asks for anything, else there is one layer for each distinct need.
    """
    opened = [(value_task(key, piece.data), Needs()) for key, piece in pieces.items()]
    everything = [*opened, *tasks]
    found = {task.key: task for task, _ in everything}
    is_flat = all(found.keys().isdisjoint(task.dependencies) for task in found.values())
    order = {key: place for place, key in enumerate(found)} if is_flat else None
    return Graph(list(found), _expression(everything), order)


def _expression(tasks: Iterable[tuple[Task, Needs]]) -> Expr:
    layers: dict[Needs, dict[str, Task]] = {}
    for task, needs in tasks:
        layers.setdefault(needs, {})[task.key] = task
    name = uuid4().hex
    if layers.keys() == {Needs()}:
        return LLGExpr(layers[Needs()], _determ_token=name)
    named = {f"asyncflow-{place}": (need, layer) for place, (need, layer) in enumerate(layers.items())}
    graph = HighLevelGraph(
        {name: MaterializedLayer(layer, annotations=_annotations(need)) for name, (need, layer) in named.items()},
        {name: set() for name in named},
    )
    return HLGExpr(graph, _determ_token=name)


def _annotations(need: Needs) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if need.priority:
        found["priority"] = need.priority
    if need.lost_retries is not None:
        found["lost_retries"] = need.lost_retries
    if need.resources:
        found["resources"] = dict(need.resources)
    if need.expected is not None:
        found["expected"] = need.expected
    if need.lost_before:
        found["lost_before"] = need.lost_before
    return found
