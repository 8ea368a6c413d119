"""Calls sent to the scheduler: each turn as one graph, short calls of it in bundles."""

import weakref
from collections import defaultdict
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import dask
from distributed import Future
from distributed.spans import SpanMetadata

from asyncflow.backends.dask.bundle import Bundle, Share
from asyncflow.backends.dask.bundling import OVERHEAD, Candidate, bundles
from asyncflow.backends.dask.experience import Experience
from asyncflow.backends.dask.graph import (
    Graph,
    Needs,
    Sent,
    Spot,
    build_graph,
    bundle_task,
    call_task,
    pick_task,
    value_task,
)
from asyncflow.backends.dask.remote import BUNDLES_OP
from asyncflow.backends.dask.watch import BundleWatch, Listener, Watch
from asyncflow.node import Node

_LARGE = 5_000_000  # bytes; half of what Dask warns of
_LARGE_GRAPH = "distributed.admin.large-graph-warning-threshold"

#: Graphs sent within this time of each other have one priority, as with `Client.get`.
_ONE_BATCH = "60s"


class Sender:
    """Makes graphs of calls, and knows under which keys their values are; all but `handle` on Dask's thread.

    Parameters
    ----------
    client : distributed.Client
        Connected.
    plugin : str
        The name under which workers and scheduler know this engine.
    listener : Listener
        Told what becomes of it all.
    experience : Experience
        What calls have taken.
    slots : callable
        How many bodies the workers run at once, as far as is known.
    call : callable
        Calls a function with an argument on Dask's thread, soon; from any thread.
    """

    def __init__(
        self,
        client: Any,
        plugin: str,
        listener: Listener,
        experience: Experience,
        slots: Callable[[], int],
        call: Callable[..., object],
    ) -> None:
        self._client = client
        self._plugin = plugin
        self._listener = listener
        self._experience = experience
        self._slots = slots
        self._call = call
        self._pieces: weakref.WeakValueDictionary[str, Future] = weakref.WeakValueDictionary()
        self._shares: weakref.WeakValueDictionary[str, Share] = weakref.WeakValueDictionary()
        self.can_bundle = False  #: whether the scheduler tells what becomes of the calls of a bundle

    def send(self, calls: Sequence[Sent]) -> None:
        """Send `calls` as one graph."""
        wanted = {piece.key: piece for sent in calls for piece in sent.packed.pieces}
        pieces = {key: piece for key, piece in wanted.items() if key not in self._pieces}
        groups = self._groups(calls)
        alone = [group[0] for group in groups if len(group) == 1]
        watches = [self.watch(sent.node, sent.key) for sent in alone]
        begun = [self._begin(group) for group in groups if len(group) > 1]
        # What was cancelled since, another thread's doing, finds no share to let go of.
        self.forget({bundle.key: [sent.key for sent in group if sent.node.is_final] for bundle, group in begun})
        spots = self._spots(calls)
        tasks = [(call_task(sent, self._plugin, spots), sent.packed.needs) for sent in alone]
        for bundle, group in begun:
            tasks += self._bundle_tasks(bundle, group, spots)
        futures = self._send(build_graph(tasks, pieces), sum(len(piece.data) for piece in pieces.values()))
        self._pieces.update((key, futures[key]) for key in pieces)
        for sent, watch in zip(alone, watches, strict=True):
            if watch is not None and watch.node is not None:
                watch.sent = sent
                watch.pieces = [self._pieces.get(piece.key) for piece in sent.packed.pieces]
        for bundle, group in begun:
            bundle.pieces = [self._pieces.get(piece.key) for sent in group for piece in sent.packed.pieces]

    def resend(self, calls: Iterable[Sent]) -> None:
        """Send each of `calls` in a graph of its own."""
        for sent in calls:
            pieces = {piece.key: piece for piece in sent.packed.pieces}
            task = call_task(sent, self._plugin, self._spots([sent]))
            self._send(build_graph([(task, sent.packed.needs)], pieces))

    # Which go together

    def _groups(self, calls: Sequence[Sent]) -> list[list[Sent]]:
        """Those that go together, in the order in which they run."""
        if len(calls) == 1 or not self.can_bundle:
            return [[sent] for sent in calls]
        places = {sent.key: place for place, sent in enumerate(calls)}
        found = bundles([self._candidate(sent, places) for sent in calls], self._slots())
        return [[calls[place] for place in each] for each in found]

    def _candidate(self, sent: Sent, places: Mapping[str, int]) -> Candidate:
        upstream = tuple({places[each.key]: None for each in sent.upstream if each.key in places})
        seconds = self._seconds(sent)
        # A large value is not to be carried to where others happen to run.
        if seconds is None or not all(self._experience.is_small(each.function) for each in sent.upstream):
            return Candidate(None, None, upstream)
        outside = (each for each in sent.upstream if not each.is_final and each.key not in places)
        waits = frozenset(self._spot(each.key).key for each in outside)
        is_kept = sent.packed.ticket is not None
        return Candidate(seconds + OVERHEAD, (sent.packed.needs, is_kept), upstream, waits)

    def _seconds(self, sent: Sent) -> float | None:
        """What the call will probably take; None where it goes alone."""
        if not sent.may_travel or sent.node.remote is not None:  # whoever asked for its Dask future has that of its own
            return None
        return self._experience.seconds(sent.node.recipe.function)

    def _begin(self, group: list[Sent]) -> tuple[Bundle, list[Sent]]:
        names = {sent.node.name for sent in group}
        _, _, number = group[0].key.rpartition("-")
        key = f"{names.pop() if len(names) == 1 else 'calls'}-{number}x{len(group)}"
        client = self._client
        with client._refcount_lock:  # noqa: SLF001 - the lock that its own Future.__init__ relies on
            client.futures[key] = watch = BundleWatch(key, self._listener, (sent.key for sent in group))
            bundle = watch.bundle = Bundle(key, group, Future(key, client))
            for index, sent in enumerate(group):
                if sent.node.is_final:
                    bundle.drop(sent.key)
                    continue
                share = self._shares[sent.key] = Share(bundle, index, sent.key)
                share.picked, sent.node.remote = sent.node.remote, share  # a Dask future was asked for a moment ago
        return bundle, group

    def _bundle_tasks(self, bundle: Bundle, group: list[Sent], spots: Mapping[str, Spot]) -> list[tuple[Any, Needs]]:
        needs = group[0].packed.needs
        inside = {sent.key for sent in group}
        is_fickle = any(sent.may_come_again for sent in group)
        kept = [is_fickle or _is_observable(sent.node, inside) for sent in group]
        tasks = [(bundle_task(bundle.key, group, self._plugin, spots, kept), needs.shared())]
        shares = (self._shares.get(sent.key) for sent in group)
        tasks += [
            (pick_task(each.key, each.spot), needs) for each in shares if each is not None and each.picked is not None
        ]
        return tasks

    def _spots(self, calls: Iterable[Sent]) -> dict[str, Spot]:
        return {each.key: self._spot(each.key) for sent in calls for each in sent.upstream}

    def _spot(self, key: str) -> Spot:
        share = self._shares.get(key)
        return share.spot if share is not None else Spot(key)

    def _send(self, graph: Graph, size: int = 0) -> dict[str, Future]:
        """Have the client send `graph`, which contains `size` bytes of large arguments; its futures."""
        # The arguments are large because the user's are; Dask's advice about graphs would puzzle them.
        is_large = size > _LARGE
        with dask.config.set({_LARGE_GRAPH: "1 TiB"}) if is_large else nullcontext():
            found: dict[str, Future] = self._client._graph_to_futures(  # noqa: SLF001 - `get` hashes every argument first
                graph.expression,
                graph.keys,
                internal_priority=graph.order,
                fifo_timeout=_ONE_BATCH,
                span_metadata=SpanMetadata(collections=[{"type": "low-level-graph"}]),
            )
        return found

    # Who is spoken of

    def node(self, key: str) -> Node | None:
        """The unfinished call with that key."""
        share = self._shares.get(key)
        if share is not None:
            return share.node
        watch = self.watch_of(key)
        return watch.node if isinstance(watch, Watch) else None

    def watch_of(self, key: str) -> Watch | BundleWatch | None:
        """What is known of the Dask task with that key; None where that is another client's, or gone."""
        watch = self._client.futures.get(key)
        return watch if isinstance(watch, (Watch, BundleWatch)) else None

    def bundle(self, key: str) -> Bundle | None:
        """The unfinished bundle with that key."""
        watch = self.watch_of(key)
        return watch.bundle if isinstance(watch, BundleWatch) else None

    # Dask futures

    def handle(self, node: Node) -> Any:
        """The `distributed.Future` of `node`; from any thread."""
        self.watch(node, node.key)
        share = node.remote
        if not isinstance(share, Share):
            return share
        with self._client._refcount_lock:  # noqa: SLF001 - as in `_begin`
            is_new = share.picked is None
            if is_new:
                share.picked = Future(share.key, self._client)
        if is_new:
            self._call(self._pick, share)
        return share.picked

    def _pick(self, share: Share) -> None:
        self._send(build_graph([(pick_task(share.key, share.spot), Needs())], {}))

    def set_apart(self, values: Mapping[str, bytes]) -> set[str]:
        """Make values of calls whose bundle still runs those of Dask tasks of their own.

        Parameters
        ----------
        values : mapping of str to bytes
            Pickled, by the keys of their calls.

        Returns
        -------
        set of str
            Those of which that cannot be: somebody asked for their Dask futures, and so for the end of the bundle.
        """
        stuck, tasks = set(), []
        for key, data in values.items():
            share = self._shares.get(key)
            if share is None or (node := share.node) is None:
                continue
            with self._client._refcount_lock:  # noqa: SLF001 - as in `_begin`
                if share.picked is not None:
                    stuck.add(key)
                elif _is_observable(node, ()):
                    share.picked = node.remote = Future(key, self._client)
                    del self._shares[key]
                    tasks.append((value_task(key, data), Needs()))
        if tasks:
            self._send(build_graph(tasks, {}))
        return stuck

    def watch(self, node: Node, key: str) -> Watch | None:
        """The client's record of `node` under `key`, made with its future where there is none yet."""
        client = self._client
        with client._refcount_lock:  # noqa: SLF001 - the lock that its own Future.__init__ relies on
            if node.remote is None and not node.is_final:
                client.futures[key] = Watch(node, key, self._listener)
                node.remote = Future(key, client)
            watch = client.futures.get(key)
        return watch if isinstance(watch, Watch) else None

    def release(self, nodes: Iterable[Node]) -> None:
        """Let go of `nodes`, in the order given: dependents first, or the scheduler loses count."""
        unwanted: defaultdict[str, list[str]] = defaultdict(list)
        is_connected = self._client.status == "running"
        for node in nodes:
            held, node.remote = node.remote, None
            if not is_connected or held is None:
                continue
            if not isinstance(held, Share):
                held.release()
            elif (bundle := held.bundle).drop(held.key):
                unwanted[bundle.key].append(held.key)
                if not bundle.nodes():
                    self._abandon(bundle)
        self.forget(unwanted)

    def forget(self, unwanted: Mapping[str, Sequence[str]]) -> None:
        """Have these calls of bundles, by bundle, not begun any more, and ended."""
        named = {bundle: keys for bundle, keys in unwanted.items() if keys}
        if named and self.can_bundle:
            message = {"op": BUNDLES_OP, "plugin": f"{self._plugin}-herald", "unwanted": named}
            self._client._send_to_scheduler(message)  # noqa: SLF001 - in order with the graphs

    def _abandon(self, bundle: Bundle) -> None:
        """Nobody wants any of it; other bundles may still depend on it."""
        watch = self.watch_of(bundle.key)
        if isinstance(watch, BundleWatch):
            watch.bundle = None
        bundle.future.release()


def _is_observable(node: Node, inside: Container[str]) -> bool:
    """Whether anything but the calls `inside` its bundle can ask for the value of `node`."""
    return node.future() is not None or any(each.key not in inside for each in list(node.dependents))
