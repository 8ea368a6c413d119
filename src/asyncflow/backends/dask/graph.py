"""Calls made one Dask graph: a plain function from nodes to what `Client.get` takes."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from dask._task_spec import Task, TaskRef
from dask.highlevelgraph import HighLevelGraph, MaterializedLayer

from asyncflow.backends.dask.remote import open_large, run
from asyncflow.carrier import Carrier, within
from asyncflow.keep import Ticket
from asyncflow.options import TaskOptions
from asyncflow.pickles import Piece
from asyncflow.queues.losses import GRANTED
from asyncflow.queues.pools import pool_resource


class Needs(NamedTuple):
    """What sets calls of one layer apart from those of another."""

    priority: int = 0
    lost_retries: int | None = None
    resources: tuple[tuple[str, float], ...] = ()
    expected: float | None = None


class Packed(NamedTuple):
    """A call ready for a graph: bytes that no scheduler opens."""

    recipe: bytes
    arguments: bytes
    pieces: list[Piece]
    upstream: list[str]
    needs: Needs
    ticket: Ticket | None = None
    carrier: Carrier | None = None


def needs_of(options: TaskOptions, *, count_cores: bool, pool: str | None = None) -> Needs:
    """The Dask annotations that `options` mean, and those of the `pool` that is to run the call.

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
    return Needs(options.priority, lost_retries, tuple(sorted(resources.items())), options.expected)


def build_graph(
    calls: Mapping[str, Packed], plugin: str, pieces: Mapping[str, Piece]
) -> dict[str, Task] | HighLevelGraph:
    """One graph of all `calls`, by key, with the large arguments that the cluster does not have yet.

    Parameters
    ----------
    plugin : str
        The name under which workers know this engine.
    pieces : mapping of str to Piece
        Large arguments to send along, by key.

    Returns
    -------
    dict or HighLevelGraph
        A plain graph where no call asks for anything, else one layer for each distinct need.
    """
    layers: dict[Needs, dict[str, Task]] = {}
    if pieces:
        layers[Needs()] = {key: Task(key, open_large, piece.data) for key, piece in pieces.items()}
    for key, packed in calls.items():
        inputs = [TaskRef(each) for each in (*packed.upstream, *(piece.key for piece in packed.pieces))]
        what = (run,) if packed.carrier is None else (within, packed.carrier, run)
        task = Task(key, *what, plugin, key, packed.recipe, packed.arguments, packed.ticket, *inputs)
        layers.setdefault(packed.needs, {})[key] = task
    if layers.keys() <= {Needs()}:
        return layers.get(Needs(), {})
    named = {f"asyncflow-{place}": (need, layer) for place, (need, layer) in enumerate(layers.items())}
    return HighLevelGraph(
        {name: MaterializedLayer(layer, annotations=_annotations(need)) for name, (need, layer) in named.items()},
        {name: set() for name in named},
    )


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
    return found
