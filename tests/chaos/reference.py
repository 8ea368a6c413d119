"""How each step must end: the graph run serially, by plain arithmetic, without an engine."""

from dataclasses import dataclass

from chaos.bodies import mix
from chaos.dag import GOOD, Kind


@dataclass(frozen=True)
class Ending:
    """A value, or an error.

    Attributes
    ----------
    value : int or None
        None for an error.
    roots : frozenset of int
        Steps, one of which is the cause.
    is_own : bool
        The error is what the cause raised, and not that of a dependent.
    is_called : bool
        Members of a block that never runs are not.
    """

    value: int | None = None
    roots: frozenset[int] = frozenset()
    is_own: bool = False
    is_called: bool = True


def run(dag):
    """The ending of every step, by number."""
    endings = {}
    for number in dag.top:
        _run(dag, dag.steps[number], endings)
    return endings


def _run(dag, step, endings):
    needed = [endings[each] for each in (*step.inputs, *step.after)]
    if roots := frozenset().union(*(each.roots for each in needed)):
        endings[step.number] = Ending(roots=roots)
        _never_called(dag, step, endings)
    elif step.kind is Kind.BLOCK:
        endings[step.number] = _run_block(dag, step, endings)
    elif step.deed in GOOD:
        endings[step.number] = Ending(mix(step.number, [endings[each].value for each in step.inputs]))
    else:
        endings[step.number] = Ending(roots=frozenset({step.number}), is_own=True)


def _run_block(dag, step, endings):
    """A block calls all its members and then awaits them in their order."""
    for member in step.members:
        _run(dag, dag.steps[member], endings)
    for member in step.members:
        if endings[member].roots:
            return endings[member]
    return Ending(mix(step.number, [endings[member].value for member in step.members]))


def _never_called(dag, step, endings):
    for member in step.members:
        endings[member] = Ending(is_called=False)
        _never_called(dag, dag.steps[member], endings)
