"""One run of a pipeline watched to its end: what failed, what was made."""

import asyncio
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from asyncflow.pipelines import travel
from asyncflow.pipelines.bound import Bound, bind
from asyncflow.pipelines.expressions import references_in
from asyncflow.pipelines.making import is_future_or_late, plain
from asyncflow.pipelines.runner import Runner
from asyncflow.states import TaskState

if TYPE_CHECKING:
    from asyncflow.engine import WorkflowEngine
    from asyncflow.futures import TaskFuture
    from asyncflow.node import Node

#: Failures that are remembered; the rest is counted.
MOST = 100


@dataclass
class Failure:
    """A call that failed by itself: the task, the id of the call, the error.

    Without an id it is the task whose calls could not be made.
    """

    name: str
    id: str
    error: BaseException


@dataclass
class Finished:
    """What came of a run.

    Attributes
    ----------
    outputs : dict
        Those that were made, by name.
    missing : dict of str to BaseException
        Why the others were not.
    failures : list of Failure
        The first calls that failed; `failed` is how many did.
    """

    outputs: dict[str, Any] = field(default_factory=dict)
    missing: dict[str, BaseException] = field(default_factory=dict)
    failures: list[Failure] = field(default_factory=list)
    failed: int = 0


class Session:
    """Runs a pipeline on an engine, to its end or to its first failure.

    Parameters
    ----------
    flow : WorkflowEngine
        Where it runs.
    bound : Bound
        The pipeline.
    names : sequence of str
        The tasks that are done; all by default.
    keep_going : bool
        Whether tasks that do not need one that failed go on.

    Attributes
    ----------
    names : list of str
        The tasks that are done, each behind those that it needs.
    """

    def __init__(
        self, flow: "WorkflowEngine", bound: Bound, names: Sequence[str] | None = None, *, keep_going: bool = False
    ) -> None:
        self._flow = flow
        self.bound = bound
        self.calls: Counter[str] = Counter()  #: by name, as far as they are made
        self.names = [step.name for step in bound.source.ordered() if names is None or step.name in names]
        self._keep_going = keep_going
        self._finished = Finished()
        self._unfinished: set[int] = set()
        self._turned = asyncio.Event()  # something ended, perhaps the last
        self._runner = runner_of(flow, bound)

    @property
    def open_tasks(self) -> set[str]:
        """Tasks of which a dry run cannot know how many calls they are."""
        return self._runner.open_tasks

    async def run(self) -> Finished:
        """Make all calls and wait for them; cancelling it cancels them."""
        self._runner.start(self.names, self._watch)
        try:
            await self._until_over(asyncio.ensure_future(self._runner.made(is_all=self._keep_going)))
        except BaseException:
            self._cancel()
            raise
        return self._finished

    async def _until_over(self, made: "asyncio.Future[None]") -> None:
        try:
            while not (made.done() and not self._unfinished):
                self._turned.clear()
                turned = asyncio.ensure_future(self._turned.wait())
                waiting: list[asyncio.Future[Any]] = [turned] if made.done() else [turned, made]
                await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                turned.cancel()
                if not self._keep_going and (self._finished.failed or (made.done() and made.exception())):
                    self._cancel()
                    break
            await self._fetch()
        finally:
            made.cancel()

    async def _fetch(self) -> None:
        """The outputs, each by itself: one that is not made must not cost the others."""
        if not self._finished.failed and (broken := self._runner.broken()) is not None:
            self._finished.failures.append(Failure(broken[0], "", broken[1]))
            self._finished.failed += 1
        if self._finished.failed and not self._keep_going:
            first = self._finished.failures[0].error
            self._finished.missing = dict.fromkeys(self._wanted(), first)
            return
        for name in self._wanted():
            try:
                self._finished.outputs[name] = await self._value(name)
            except Exception as error:
                self._finished.missing[name] = error
        self._runner.forget()

    def _wanted(self) -> Iterable[str]:
        """Outputs of which all tasks are among those that are done."""
        return wanted_outputs(self.bound, self.names)

    async def _value(self, name: str) -> Any:
        value = plain((await self._runner.outputs([name]))[name])
        if not is_future_or_late(value):
            return value
        return await self._flow.function_task(name=f"output-{name}")(travel.settled)(value)

    def _watch(self, future: "TaskFuture") -> None:
        node = future.node
        self.calls[node.name] += 1
        self._unfinished.add(node.number)

        def look() -> None:
            if node.is_final:
                self._ended(node)
            else:
                node.resolved.append(look)

        look()

    def _ended(self, node: "Node") -> None:
        self._unfinished.discard(node.number)
        if node.state is TaskState.FAILED and node.cause == node.key and node.error is not None:
            self._finished.failed += 1
            asyncio.get_running_loop().call_soon(self._flow._dispatch.ledger.seen, node)  # noqa: SLF001 - we tell it
            if len(self._finished.failures) < MOST:
                self._finished.failures.append(Failure(node.name, node.key, node.error))
        self._turned.set()

    def _cancel(self) -> None:
        """Make no more calls, and cancel those that have not ended."""
        self._runner.cancel()
        dispatch = self._flow._dispatch  # noqa: SLF001 - futures need not live any more
        for node in dispatch.ledger.unfinished():
            if node.number in self._unfinished and not node.is_final:
                future = node.future()
                if future is not None:
                    future.cancel()
                else:
                    dispatch.cancel(node, None)


def runner_of(flow: "WorkflowEngine", bound: Bound, prefix: str = "") -> Runner:
    """What makes the calls of `bound`; inner pipelines get theirs when their parameters are known."""
    inner = {}
    for step in bound.source.steps.values():
        if step.inner is not None:
            inner[step.name] = _inner(flow, bound, step.name, prefix)
    return Runner(flow, bound.source, bound.early, bound.options, inner, prefix)


def _inner(flow: "WorkflowEngine", outer: Bound, name: str, prefix: str) -> Any:
    source = outer.source.steps[name].inner
    assert source is not None

    def make(given: Mapping[str, Any]) -> Runner:
        bound = bind(source, given, outer.early["run"], outer.early["env"])
        return runner_of(flow, bound, f"{prefix}{name}.")

    return make


def wanted_outputs(bound: Bound, names: Sequence[str]) -> list[str]:
    """The outputs that follow from the tasks `names`."""
    done = set(names)
    return [
        name
        for name, tree in bound.source.outputs.items()
        if {reference.name for reference in references_in(tree) if reference.root == "tasks"} <= done
    ]
