"""A pipeline, as programs use it: loaded from a file, run on an engine."""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from asyncflow.errors import ConfigError
from asyncflow.pipelines.bound import Bound, bind, refusals
from asyncflow.pipelines.models import Param
from asyncflow.pipelines.reading import read_source
from asyncflow.pipelines.session import Finished, Session
from asyncflow.pipelines.source import Source
from asyncflow.suggest import hint

if TYPE_CHECKING:
    from asyncflow.engine import WorkflowEngine


class Pipeline:
    """A pipeline file in which nothing is wrong.

    Attributes
    ----------
    name : str
        What it is called.
    path : Path
        Of the file.
    params : dict of str to Param
        Its parameters by name.
    tasks : list of str
        Its tasks, each behind those that it needs.
    outputs : list of str
        What it makes.
    config : Path or None
        The configuration that it names.
    """

    def __init__(self, source: Source) -> None:
        self.source = source
        self.name = source.name
        self.path = source.path
        self.params: dict[str, Param] = source.params
        self.tasks = [step.name for step in source.ordered()]
        self.outputs = list(source.outputs)
        self.config: Path | None = source.directory / source.config if source.config is not None else None

    async def run(self, flow: "WorkflowEngine", /, **params: Any) -> dict[str, Any]:
        """Run it on `flow`, and give its outputs by name.

        Parameters
        ----------
        **params
            Values of its parameters; those that are not given have their defaults.

        Raises
        ------
        ConfigError
            When a parameter is missing or of a wrong type, or no worker could ever run a task; before anything runs.
        Exception
            The error of the first call that failed; what does not need it is cancelled.
        """
        finished = await self.session(flow, params).run()
        if finished.failures:
            error = finished.failures[0].error
            error.add_note(f"in task {finished.failures[0].name!r} of pipeline {self.name!r}")
            raise error
        for error in finished.missing.values():
            raise error
        return finished.outputs

    def session(
        self,
        flow: "WorkflowEngine",
        params: Mapping[str, Any],
        names: Iterable[str] | None = None,
        *,
        keep_going: bool = False,
    ) -> Session:
        """A run about to begin, of the tasks `names` only; see `Session`.

        Raises
        ------
        ConfigError
            As `run` does.
        """
        bound = self.bind(params, directory=str(flow.run_dir or flow.work_dir / flow.uid), run_id=flow.uid)
        problems = refusals(bound, flow.backend.refusal)
        if problems:
            raise ConfigError(problems)
        return Session(flow, bound, None if names is None else list(names), keep_going=keep_going)

    def bind(self, params: Mapping[str, Any], *, directory: str = "", run_id: str = "") -> Bound:
        """The pipeline with values for its parameters.

        Raises
        ------
        ConfigError
            When one is missing or of a wrong type.
        """
        return bind(self.source, params, {"dir": directory, "id": run_id})

    def needed_by(self, names: Iterable[str]) -> list[str]:
        """Those tasks, and all that they need.

        Raises
        ------
        KeyError
            When there is no such task; with those that there are.
        """
        found: set[str] = set()
        waiting = [self._known(name) for name in names]
        while waiting:
            name = waiting.pop()
            if name not in found:
                found.add(name)
                waiting += [each for each in self.source.steps[name].upstream() if each in self.source.steps]
        return [name for name in self.tasks if name in found]

    def up_to(self, names: Iterable[str]) -> list[str]:
        """All tasks but those that need one of these.

        Raises
        ------
        KeyError
            When there is no such task; with those that there are.
        """
        last = {self._known(name) for name in names}
        left: set[str] = set()
        for name in self.tasks:
            if any(each in last or each in left for each in self.source.steps[name].upstream()):
                left.add(name)
        return [name for name in self.tasks if name not in left]

    def _known(self, name: str) -> str:
        if name not in self.source.steps:
            raise KeyError(f"there is no task {name!r}; {hint(name, self.tasks)}")
        return name

    def __repr__(self) -> str:
        """Name, and how many tasks."""
        return f"<Pipeline {self.name!r} of {len(self.tasks)} tasks>"


def load_pipeline(path: str | os.PathLike[str]) -> Pipeline:
    """The pipeline in the file at `path`, checked: what it refers to is there, functions are imported; blocks.

    Its directory is put behind ``sys.path``, as Python does for a script: functions beside it are found, on workers of
    engines that are opened afterwards too.

    Raises
    ------
    ConfigError
        Listing everything that is wrong, each with file, line and column.
    """
    return Pipeline(read_source(os.fspath(path), os.environ))


__all__ = ["Finished", "Pipeline", "load_pipeline"]
