"""Which of a lost worker's tasks it was lost under: as its page of bodies tells, else as far as that can be known."""

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from asyncflow.queues.bodies import Bodies, stub

if TYPE_CHECKING:
    from distributed.scheduler import TaskState

#: What a worker has room for beside its resources.
THREADS = "threads of the worker"


@dataclass(eq=False)
class Case:
    """One lost worker.

    Attributes
    ----------
    worker, host : str
        Where it was.
    is_silent : bool
        Whether it gave no sign of life; its process may still be there.
    tasks : sequence of TaskState
        All that it had been given and had not told to have ended.
    guess : sequence of TaskState
        Those of them that can have been running.
    bodies : tuple of str
        Stubs of the keys of the bodies it was lost under, as its page tells; a task may run several.
    counts : dict of TaskState to int, or None
        Of those it was lost under, how many losses that makes; None until it is decided.
    """

    worker: str
    host: str
    is_silent: bool
    tasks: "Sequence[TaskState]"
    guess: "Sequence[TaskState]"
    bodies: tuple[str, ...] = ()
    counts: "dict[TaskState, int] | None" = None

    def under(self, bodies: Bodies | None) -> "Sequence[TaskState]":
        """The tasks that the worker was lost under.

        Where its page says that no body ran, one that had just ended may have left something behind that ended the
        process. Somebody is blamed each time, or such a task would be begun for ever.
        """
        if bodies is not None and bodies.running:
            return [task for task in self.tasks if stub(task.key) in bodies.running]
        ended = bodies.ended if bodies is not None else ()
        return [task for task in self.tasks if stub(task.key) in ended] or self.guess


def running(tasks: "Iterable[TaskState]", begun: Container[str], room: Mapping[str, float]) -> "list[TaskState]":
    """Those of a lost worker's `tasks` that it can have been running.

    Parameters
    ----------
    begun : container of str
        Keys that it has said to have begun; it says so with a delay, and of short ones not at all.
    room : mapping of str to float
        The worker's threads and resources: as many others, by priority, as fit beside those.
    """
    left = dict(room)
    found = []
    for task in sorted(tasks, key=lambda task: (task.key not in begun, task.priority)):
        needs = {THREADS: 1, **(task.resource_restrictions or {})}
        if task.key in begun or all(left.get(name, 0) >= amount for name, amount in needs.items()):
            found.append(task)
            for name, amount in needs.items():
                left[name] = left.get(name, 0) - amount
    return found
