"""What a pipeline would do: gone through with nothing run, and held against what an earlier run has kept."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from asyncflow import clusters
from asyncflow.backends.noop import NoopExecutionBackend
from asyncflow.config import Settings
from asyncflow.engine import WorkflowEngine
from asyncflow.errors import CheckpointError, ConfigError, Problem
from asyncflow.identity import Identity
from asyncflow.keep import Ticket
from asyncflow.keeping import Keeping
from asyncflow.opening import Opened
from asyncflow.pipelines.bound import Bound, refusals
from asyncflow.pipelines.session import Failure
from asyncflow.queues.pools import Pool, refusal, route
from asyncflow.runs.record import read_record
from asyncflow.store import ResultStore

if TYPE_CHECKING:
    from asyncflow.node import Node
    from asyncflow.notebook.graph import Graph
    from asyncflow.pipelines.pipeline import Pipeline


@dataclass
class Planned:
    """One task, as it would be done.

    Attributes
    ----------
    name, kind, help : str
        Of the task; the kind is ``function``, ``command`` or ``pipeline``.
    calls : int
        How many; of a pipeline those that it makes.
    is_open : bool
        Whether that is known only when other tasks have ended, and there may be more.
    kept : int
        How many of them an earlier run has done.
    pool : str
        Where they run; empty where the configuration names no pools.
    options : mapping
        What they ask for.
    needs : list of str
        The tasks that it needs.
    """

    name: str
    kind: str
    help: str
    calls: int
    is_open: bool
    kept: int
    pool: str
    options: Mapping[str, Any]
    needs: Sequence[str]


@dataclass
class Plan:
    """What a pipeline would do: its tasks in order, and their graph."""

    tasks: list[Planned]
    graph: "Graph"


def check(pipeline: "Pipeline", params: Mapping[str, Any], settings: Settings) -> None:
    """See that `pipeline` can run with `params` where `settings` say, before anything is opened there.

    Raises
    ------
    ConfigError
        When a parameter is missing or wrong, or no pool could ever run a task.
    """
    pools = _pools(settings)
    problems = refusals(pipeline.bind(params), lambda options: refusal(pools, options))
    if problems:
        raise ConfigError(problems)


async def plan(
    pipeline: "Pipeline", params: Mapping[str, Any], settings: Settings, run: Path | None, names: Sequence[str] | None
) -> Plan:
    """Go through `pipeline` without running anything.

    Parameters
    ----------
    run : Path, optional
        The directory of the run that would be resumed.
    names : sequence of str, optional
        The tasks that would be done; all by default.

    Raises
    ------
    ConfigError
        When a parameter is missing or wrong, or no pool could ever run a task.
    """
    pools = _pools(settings)
    keeping = _Looked(_kept(run))
    backend = await NoopExecutionBackend("dask", lambda options: refusal(pools, options))
    opened = Opened("plan", Path(), [backend], settings.defaults, keeping, 100_000, 30.0)
    async with WorkflowEngine(opened) as flow:
        session = pipeline.session(flow, params, names)
        finished = await session.run()
        if finished.failures:
            raise ConfigError([_problem(session.bound, finished.failures[0])])
        graph = flow.graph(by_name=True)
        bound = session.bound
        tasks = []
        for name in session.names:
            step = bound.source.steps[name]
            mine = [each for each in session.calls if each == name or each.startswith(f"{name}.")]
            options = bound.typed(step)
            tasks.append(
                Planned(
                    name,
                    step.kind,
                    step.model.help,
                    sum(session.calls[each] for each in mine),
                    name in session.open_tasks,
                    sum(keeping.found[each] for each in mine),
                    (route(pools, options) or "") if step.kind != "pipeline" else "",
                    {key: value for key, value in bound.options[name].items() if value not in (None, "", (), False)},
                    [each for each in step.upstream() if each in session.names],
                )
            )
        return Plan(tasks, graph)


def _problem(bound: Bound, failure: Failure) -> Problem:
    """Why the calls of a task cannot be made, and where it stands."""
    document = bound.source.document
    found = ("tasks", failure.name, "foreach"), ("tasks", failure.name)
    place = next((each for each in found if each in document.lines), ())
    where = document.source, document.lines.get(place), document.columns.get(place)
    return Problem(str(failure.error), ".".join(map(str, place)), *where)


def _pools(settings: Settings) -> list[Pool]:
    kind = clusters.load(settings.kind)
    found: list[Pool] = kind.pools(settings.cluster or kind.Config())
    return found


def _kept(run: Path | None) -> frozenset[str] | None:
    """Keys of what the run has kept; nobody takes it over."""
    if run is None:
        return None
    results = read_record(run).get("results") or str(run / "results")
    return frozenset(ResultStore(results).keys())


class _Looked(Keeping):
    """Knows which results are kept, begins no run, and writes nothing."""

    def __init__(self, kept: Iterable[str] | None) -> None:
        super().__init__(_no_run)
        self._is_asked = kept is not None
        self._kept = frozenset(kept or ())
        self.found: Counter[str] = Counter()

    @property
    def is_wanted(self) -> bool:
        """Whether anybody asks what is kept: else calls need not be known for what they are."""
        return self._is_asked

    @is_wanted.setter
    def is_wanted(self, value: bool) -> None:
        """Whatever tasks want to keep."""

    async def _begin_once(self) -> None:
        """No run is begun."""

    def identify(self, node: "Node") -> None:
        """Find out what the call is, where that can be told."""
        with suppress(CheckpointError):  # a run would say so
            node.identity = self._identity(node)
        if node.options.checkpoint and isinstance(node.identity, Identity):
            node.ticket = Ticket("", "", node.identity.key, {})

    def has(self, node: "Node") -> bool:
        """Whether it is kept; counted."""
        is_kept = super().has(node)
        self.found[node.name] += is_kept
        return is_kept


def _no_run() -> NoReturn:
    raise AssertionError("a plan begins no run")
