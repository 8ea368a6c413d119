"""Whether each step ended as the serial run says, and no body ran that should not have."""

import errno

from asyncflow import (
    CommandError,
    DependencyFailureError,
    OutOfMemoryError,
    ProcessDiedError,
    TaskExitError,
    TaskTimeoutError,
    WorkerLostError,
)
from chaos import bodies
from chaos.dag import Deed, Kind

#: Beginnings of what ends its workers and may do so twice. There may be some more: of a body whose worker dies within a
#: tenth of a second of its beginning nobody knows that it had begun.
_MANY = 10


class Judge:
    """Compares.

    Attributes
    ----------
    problems : list of str
        What is not as it should be.
    right_values, right_errors, uncalled : int
        How many steps ended as they should, and how many were rightly never called.
    """

    def __init__(self, dag, endings):
        self.problems = []
        self.right_values = self.right_errors = self.uncalled = 0
        self._dag = dag
        self._endings = endings

    def compare(self, results):
        """Look at the value or error of each step that was called."""
        for number, ending in self._endings.items():
            step = self._dag.steps[number]
            if number not in results:
                self.uncalled += not ending.is_called
                if ending.is_called:
                    self.problems.append(f"{step.name} was never called")
            elif not ending.is_called:
                self.problems.append(f"{step.name} was called, though its block cannot run")
            elif problem := self._problem(step, ending, results[number]):
                self.problems.append(f"{step.name} ({step.kind} that {step.deed}) {problem}")
            elif ending.roots:
                self.right_errors += 1
            else:
                self.right_values += 1

    def _problem(self, step, ending, result):
        if not ending.roots:
            value = result if isinstance(result, BaseException) else int(result)
            return "" if value == ending.value else f"is {result!r}, not {ending.value}"
        if not isinstance(result, BaseException):
            return f"is {result!r}, though {self._names(ending.roots)} failed"
        if ending.is_own:
            return self._own_problem(ending, result)
        if not isinstance(result, DependencyFailureError):
            return f"raised {result!r}, not that {self._names(ending.roots)} failed"
        if not any(is_right(self._dag.steps[root], result.root_cause) for root in ending.roots):
            return f"blames {result.root_cause!r}, not {self._names(ending.roots)}"
        return self._way_problem(step, ending, result.failed_dependencies)

    def _own_problem(self, ending, error):
        (root,) = ending.roots
        return "" if is_right(self._dag.steps[root], error) else f"raised {error!r}"

    def _way_problem(self, step, ending, way):
        """The way goes along edges, and ends at the cause or at a block with the cause in it."""
        by_name = {each.name: each for each in self._dag.steps.values()}
        at = step
        for name in way:
            following = by_name.get(name)
            if following is None or following.number not in {*at.inputs, *at.after, *at.members}:
                return f"names a way that there is not: {way}"
            at = following
        last = self._endings[at.number]
        if not way or (not last.is_own and at.kind is not Kind.BLOCK) or not last.roots <= ending.roots:
            return f"names a way that does not end at {self._names(ending.roots)}: {way}"
        return ""

    def _names(self, numbers):
        return " or ".join(self._dag.steps[number].name for number in sorted(numbers))

    def look(self, records, alive, lost):
        """Look at what began, and what began again.

        Parameters
        ----------
        records : Records
            Of the bodies.
        alive : set of int
            The workers that were never lost.
        lost : set of str
            The names of steps whose values were lost with a worker.
        """
        for number in _again(records.all, alive):
            step = self._dag.steps[number]
            # To make a lost value again its inputs are needed, which may have been let go of when it was made.
            needed = [each for each in self._dag.dependents(number) if self._was_lost(each, records, alive, lost)]
            if step.name not in lost and not needed:
                self.problems.append(
                    f"{step.name} was begun again, though neither its value was lost nor what is made of it"
                )
        for step in self._dag.bodies():
            if problem := self._beginning_problem(step, self._endings[step.number], records.begun(step.number)):
                self.problems.append(f"{step.name} {problem}")

    @staticmethod
    def _was_lost(step, records, alive, lost):
        ran = {record.worker for record in records.all if record.number == step.number}
        return step.name in lost or not ran <= alive

    def _beginning_problem(self, step, ending, begun):
        if begun and ending.roots and not ending.is_own:
            return f"began, though {self._names(ending.roots)} failed"
        if not begun and ending.is_called and (ending.is_own or not ending.roots):
            return "never began"
        if begun > _MANY and step.deed in {Deed.FATAL, Deed.EATS_ALL}:
            return f"began {begun} times, though only one loss is granted"
        return ""


def _again(records, alive):
    """Steps that began after they had ended well on a worker that was never lost."""
    ended, again = {}, set()
    for record in records:
        if record.what == "end":
            ended[record.number] = record.worker
        elif record.what == "begin" and ended.get(record.number) in alive:
            again.add(record.number)
    return again


def is_right(step, error):
    """Whether `error` is what `step` must fail with."""
    if step.kind is Kind.COMMAND and step.deed is Deed.EXITS:
        return isinstance(error, CommandError) and error.returncode == step.code
    return _RIGHT[step.deed](step, error)


def _is_exit(step, error):
    cause = error.__cause__ if isinstance(error, TaskExitError) else None
    return isinstance(cause, SystemExit) and cause.code == step.code


def _is_loss(step, error):
    return isinstance(error, WorkerLostError) and error.worker != ""


_RIGHT = {
    Deed.RAISES: lambda step, error: isinstance(error, bodies.Diverged) and error.number == step.number,
    Deed.EXITS: _is_exit,
    Deed.LATE: lambda step, error: isinstance(error, TaskTimeoutError) and error.timeout == step.timeout,
    Deed.DIES: lambda step, error: isinstance(error, ProcessDiedError) and error.exit_code == step.code,
    Deed.EATS: lambda step, error: isinstance(error, OutOfMemoryError) and error.task == step.name,
    Deed.FILLS: lambda step, error: isinstance(error, OSError) and error.errno == errno.ENOSPC,
    Deed.FATAL: _is_loss,
    Deed.EATS_ALL: _is_loss,
}
