"""A pipeline on an engine: each task becomes calls as soon as it is known how many."""

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from asyncflow.pipelines import travel
from asyncflow.pipelines.conditions import holds
from asyncflow.pipelines.expressions import references_in
from asyncflow.pipelines.items import items_of, looks_at_files
from asyncflow.pipelines.making import Many, Outputs, Scope, Skipped, is_future_or_late
from asyncflow.pipelines.script import script_words
from asyncflow.pipelines.source import Source, Step
from asyncflow.pipelines.travel import Pick

if TYPE_CHECKING:
    from asyncflow.engine import WorkflowEngine
    from asyncflow.futures import TaskFuture

Make = Callable[[Scope], Any]


class Runner:
    """One run of one pipeline.

    Parameters
    ----------
    flow : WorkflowEngine
        Where it runs.
    source : Source
        The pipeline.
    early : mapping
        ``params``, ``env`` and ``run``.
    options : mapping of str to mapping
        What each task asks for, by its name.
    inner : mapping of str to callable
        For each task that is a pipeline itself: from its parameters to a runner of it.
    prefix : str
        What stands in front of the names of tasks: of an inner pipeline the task that it is.
    """

    def __init__(
        self,
        flow: "WorkflowEngine",
        source: Source,
        early: Mapping[str, Mapping[str, Any]],
        options: Mapping[str, Mapping[str, Any]],
        inner: Mapping[str, Callable[[Mapping[str, Any]], "Runner"]],
        prefix: str = "",
    ) -> None:
        self.open_tasks: set[str] = set()  #: those of which it is not known how many calls they are
        self._flow = flow
        self._source = source
        self._early = early
        self._options = options
        self._inner = inner
        self._prefix = prefix
        self._made: dict[str, Any] = {}
        self._making: dict[str, asyncio.Task[Any]] = {}
        self._helpers: dict[str, Any] = {}
        self._on_call: Callable[[TaskFuture], object] = lambda _: None

    def start(self, names: Iterable[str], on_call: Callable[["TaskFuture"], object] | None = None) -> None:
        """Begin to make the calls of the tasks `names`, of which each comes behind those that it needs.

        Parameters
        ----------
        on_call : callable, optional
            Given each call that is made.
        """
        if on_call is not None:
            self._on_call = on_call
        for name in names:
            self._making[name] = asyncio.get_running_loop().create_task(
                self._make(self._source.steps[name]), name=f"{self._prefix}{name}"
            )

    async def made(self, *, is_all: bool = False) -> None:
        """Wait until all calls are made, or one cannot be; with `is_all` the others are waited for then.

        The error of the first one that cannot be made is raised.
        """
        making = list(self._making.values())
        if making:
            await asyncio.wait(making, return_when=asyncio.ALL_COMPLETED if is_all else asyncio.FIRST_EXCEPTION)
        if (broken := self.broken()) is not None:
            raise broken[1]

    def broken(self) -> tuple[str, BaseException] | None:
        """The first task whose calls could not be made, and why; those behind it have the same error."""
        ended = [task for task in self._making.values() if task.done() and not task.cancelled()]
        errors = [(task.get_name(), task.exception()) for task in ended]  # all are asked: none is left unretrieved
        return next(((name, error) for name, error in errors if error is not None), None)

    def forget(self) -> None:
        """Let go of what was made: what nothing else needs may leave the cluster's memory."""
        self._made.clear()
        self._making.clear()

    def cancel(self) -> None:
        """Make no more calls."""
        for task in self._making.values():
            task.cancel()

    async def outputs(self, names: Iterable[str] | None = None) -> dict[str, Any]:
        """What the outputs refer to: values, futures, or parts of these; of skipped tasks None."""
        listed = self._source.outputs if names is None else {name: self._source.outputs[name] for name in names}
        found: dict[str, Any] = {}
        for name, tree in listed.items():
            needed = {reference.name for reference in references_in(tree) if reference.root == "tasks"}
            made = [await self._making[each] for each in sorted(needed)]
            is_skipped = any(isinstance(each, Skipped) for each in made)
            found[name] = None if is_skipped else self._scope().value(tree)
        return found

    def _scope(self) -> Scope:
        return Scope(self._early, self._made, str(self._source.directory))

    async def _make(self, step: Step) -> Any:
        """What the task becomes, which is known when the tasks are that it needs."""
        upstream = [await self._making[name] for name in step.upstream()]
        is_skipped = any(isinstance(each, Skipped) for each in upstream)
        made = self._made[step.name] = Skipped() if is_skipped else await self._made_of(step)
        return made

    async def _made_of(self, step: Step) -> Any:
        scope = self._scope()
        make = self._maker(step, self._after(step))
        condition = step.trees.get("when")
        if not step.is_many:
            if condition is not None and not await self._holds(condition, scope):
                return Skipped()
            return await _now(make(scope))
        scopes = [scope.within(item=item) for item in await self._items(step, scope)]
        if condition is not None:
            kept = await asyncio.gather(*(self._holds(condition, each) for each in scopes))
            scopes = [each for each, is_kept in zip(scopes, kept, strict=True) if is_kept]
        return Many([await _now(make(each)) for each in scopes])

    def _after(self, step: Step) -> list[Any]:
        """Futures of the tasks that it comes after."""
        found: list[Any] = []
        for name in step.model.after:
            _gather(self._made[name], found)
        return found

    def _over(self, after: list[Any]) -> "TaskFuture":
        """A future of nothing, which is done when those are."""
        options: Any = {"name": f"{self._prefix}after", "after": after, "checkpoint": False}
        over: TaskFuture = self._flow.function_task(**options)(travel.nothing)()
        return over

    async def _items(self, step: Step, scope: Scope) -> list[Any]:
        """What it is done for each of; of a list that is made while it runs, parts that stay where they are."""
        value = scope.value(step.trees.get("foreach", step.model.foreach))
        if isinstance(value, (Pick, asyncio.Future)):
            pick = value if isinstance(value, Pick) else Pick(value, (), "foreach")
            count = await self._helper(travel.count, "count")(pick)
            if type(count) is not int:  # a dry run, in which nobody knows
                count = 1
                self.open_tasks.add(step.name)
            return [Pick(pick.value, (*pick.steps, index), pick.text) for index in range(count)]
        if (after := self._after(step)) and looks_at_files(value):  # which those tasks may make
            over = self._over(after)
            if await over is not True:  # a dry run
                self.open_tasks.add(step.name)
                return [Pick(over, (), "foreach")]
        return await asyncio.to_thread(items_of, value, str(self._source.directory))  # a glob looks at disks

    async def _holds(self, condition: Any, scope: Scope) -> bool:
        value = scope.value(condition)
        if not is_future_or_late(value):
            return holds(value)
        return bool(await self._helper(_condition, "when")(value))

    # What one call is made by

    def _maker(self, step: Step, after: list[Any]) -> Make:
        options = {**self._options[step.name], "name": f"{self._prefix}{step.name}"}
        if after:
            options["after"] = after
        make = {"function": self._function, "command": self._command, "pipeline": self._pipeline}[step.kind](
            step, options
        )
        if step.repeat is None:
            return make
        self.open_tasks.add(step.name)
        return self._repeated(step, make)

    def _function(self, step: Step, options: Mapping[str, Any]) -> Make:
        assert step.function is not None
        flow, tree, function = self._flow, step.trees.get("args") or {}, step.function
        direct = flow.function_task(**options)(function)
        late = flow.function_task(**options)(travel.prepared(function))

        def make(scope: Scope) -> Any:
            args, kwargs = scope.arguments(tree)
            task = late if travel.has_late(args, kwargs) else direct
            return self._note(task(*args, **kwargs))

        return make

    def _command(self, step: Step, options: Mapping[str, Any]) -> Make:
        model, tree = step.model, step.trees["run"]
        words = script_words("sh" if model.shell is True else model.shell, tree) if model.shell else tree
        task = self._flow.executable_task(**options)(travel.command_words)
        form = model.result

        def make(scope: Scope) -> Any:
            files = scope.files(step.trees)
            output = self._note(task(scope.value(words, has_files=True), **files))
            return (
                output
                if form == "text"
                else self._note(self._helper(travel.parsed, f"{step.name}-{form}")(output, form))
            )

        return make

    def _pipeline(self, step: Step, options: Mapping[str, Any]) -> Make:
        tree = step.trees.get("params") or {}
        has_followers = any(step.name in each.model.after for each in self._source.steps.values())

        async def make(scope: Scope) -> Outputs:
            if after := options.get("after"):
                await self._over(after)
            calls: list[TaskFuture] = []

            def note(call: "TaskFuture") -> None:
                if has_followers:
                    calls.append(call)
                self._on_call(call)

            runner = self._inner[step.name](scope.value(tree))
            runner.start((each.name for each in runner._source.ordered()), note)  # noqa: SLF001
            try:
                await runner.made()
                if runner.open_tasks:
                    self.open_tasks.add(step.name)
                return Outputs(await runner.outputs(), self._over(calls) if calls else None)
            except BaseException:
                runner.cancel()
                raise

        return make

    def _repeated(self, step: Step, make: Make) -> Make:
        repeat, until = step.repeat, step.trees["until"]
        assert repeat is not None
        name = f"{self._prefix}{step.name}-rounds"

        async def rounds(scope: Scope) -> Any:
            previous = scope.value(step.trees.get("start", repeat.start))
            for number in range(1, repeat.at_most + 1):
                within = scope.within(previous=previous, round=number)
                previous = await _now(make(within))
                if await self._holds(until, within.within(result=previous)):
                    return previous
            if repeat.at_limit == "accept":
                return previous
            raise RuntimeError(
                f"task {step.name!r}: what it is repeated for did not hold after {repeat.at_most} rounds; "
                "raise at_most, or take the last result with at_limit: accept"
            )

        def start(scope: Scope) -> Any:
            async def run() -> Any:  # a closure: futures among the arguments would be waited for
                return await rounds(scope)

            return rounds(scope) if step.kind == "pipeline" else self._note(self._flow.block(name=name)(run)())

        return start

    def _helper(self, function: Callable[..., Any], name: str) -> Any:
        """A small task of our own, one for each name."""
        if name not in self._helpers:
            self._helpers[name] = self._flow.function_task(name=f"{self._prefix}{name}")(function)
        return self._helpers[name]

    def _note(self, future: "TaskFuture") -> "TaskFuture":
        self._on_call(future)
        return future


async def _now(made: Any) -> Any:
    """What was made; an inner pipeline takes a while to be."""
    return await made if isinstance(made, Coroutine) else made


def _gather(value: Any, into: list[Any]) -> None:
    if isinstance(value, Many):
        for each in value.parts:
            _gather(each, into)
    elif isinstance(value, Outputs):
        _gather(value.over, into)
    elif isinstance(value, asyncio.Future):
        into.append(value)


def _condition(condition: Any) -> bool:
    return holds(travel.settled(condition))
