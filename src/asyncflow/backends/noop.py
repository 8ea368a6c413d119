"""A backend that runs nothing: for dry runs, and for tests of what is around the bodies."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import ClassVar

from asyncflow.backends.base import ExecutionBackend
from asyncflow.node import Node, Outcome
from asyncflow.options import TaskOptions
from asyncflow.recipe import Kind
from asyncflow.states import TaskState

logger = logging.getLogger("asyncflow")

DUMMY_OUTPUT = "Dummy Output"
DUMMY_PROMPT_OUTPUT = "Dummy Prompt Output"


class NoopExecutionBackend(ExecutionBackend):
    """Answers every call without running its body.

    Functions and commands give ``"Dummy Output"``, prompts ``"Dummy Prompt Output"``, in the order of their
    dependencies.

    Parameters
    ----------
    name : str
        Unique within an engine.
    refusal : callable, optional
        What it stands in for would refuse these options, with this reason; a dry run refuses the same.
    """

    serves_prompts: ClassVar[bool] = True

    def __init__(self, name: str = "noop", refusal: Callable[[TaskOptions], str | None] | None = None) -> None:
        super().__init__(name)
        self._refusal = refusal

    async def start(self) -> None:
        """Nothing to open."""
        logger.info("Noop execution backend started successfully")

    def refusal(self, options: TaskOptions) -> str | None:
        """What the backend it stands in for says; None for one of its own."""
        return self._refusal(options) if self._refusal is not None else None

    def submit(self, nodes: Sequence[Node]) -> None:
        """Answer in the next turn: no future is done before its caller can look at it."""
        answered = [node for node in nodes if not node.is_final]
        asyncio.get_running_loop().call_soon(self._answer, answered)

    def cancel(self, nodes: Sequence[Node]) -> None:
        """Nothing runs."""

    def _answer(self, nodes: Sequence[Node]) -> None:
        self.post(
            (
                node,
                Outcome(
                    TaskState.DONE, DUMMY_PROMPT_OUTPUT if node.kind is Kind.PROMPT else DUMMY_OUTPUT, has_value=True
                ),
            )
            for node in nodes
        )
