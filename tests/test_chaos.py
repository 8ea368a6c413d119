"""Random graphs of tasks under random faults, small and with a known seed; ``make chaos`` plays the large ones."""

from pathlib import Path

import pytest

from asyncflow import DependencyFailureError, WorkerLostError
from chaos import dag as graphs
from chaos import reference, supervisor
from chaos.bodies import Diverged
from chaos.dag import Dag, Deed, Kind, Step
from chaos.faults import SHARES
from chaos.injector import plan
from chaos.judge import Judge
from chaos.records import Record, Records

SEED = 17


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_every_call_ends_right_whatever_strikes_local_workers(tmp_path):
    """A serial run's values, and errors with their causes, while workers die, stop, and run out of disk and memory."""
    report = supervisor.run(SEED, "local", 100, tmp_path, limit=90)
    assert not report.problems, report
    assert report.right_values + report.right_errors + report.uncalled == 100
    assert report.running >= 10


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_every_call_ends_right_whatever_strikes_slurm_jobs(slurm, tmp_path):
    """The same on a real Slurm, whose jobs are cancelled as well."""
    report = supervisor.run(SEED, "slurm", 40, tmp_path, limit=90, slurm=slurm)
    assert not report.problems, report
    assert report.right_values + report.right_errors + report.uncalled == 40
    assert report.running >= 10


@pytest.mark.parametrize("size", [40, 100, 500])
def test_a_seed_is_one_graph_and_one_plan(size):
    """Graph and faults are the same each time, and hold every deed and every fault."""
    graph = graphs.make(SEED, size)
    assert graph.steps == graphs.make(SEED, size).steps
    assert len(graph.steps) == size
    assert {step.deed for step in graph.bodies()} == set(Deed)
    assert {step.kind for step in graph.steps.values()} == set(Kind)
    thrown = plan(SEED, list(SHARES), size)
    assert thrown == plan(SEED, list(SHARES), size)
    assert {fault for _, fault in thrown} == set(SHARES)
    assert graph.steps != graphs.make(SEED + 1, size).steps


def line():
    """A graph of three steps one after the other, of which the second raises, and one beside them."""
    steps = [
        Step(0, Kind.FUNCTION),
        Step(1, Kind.FUNCTION, Deed.RAISES, inputs=(0,)),
        Step(2, Kind.COMMAND, inputs=(1,)),
        Step(3, Kind.COROUTINE, inputs=(0,)),
    ]
    return Dag(0, {step.number: step for step in steps}, [step.number for step in steps])


def right(graph):
    """What the steps of `line` end with."""
    endings = reference.run(graph)
    error = Diverged(1)
    return {0: endings[0].value, 1: error, 2: DependencyFailureError("", ["s1"], error), 3: endings[3].value}


def test_what_is_right_is_called_right():
    """Values of a serial run, errors of those that raise, and of those that depend on them."""
    graph = line()
    judge = Judge(graph, reference.run(graph))
    judge.compare(right(graph))
    assert (judge.problems, judge.right_values, judge.right_errors) == ([], 2, 2)


WRONG = {
    "another value": ({3: 5}, "s3 .* is 5, not"),
    "a value of what must fail": ({2: 5}, "s2 .* is 5, though s1 failed"),
    "an error of what must end well": ({3: WorkerLostError("lost", "tcp://a")}, "s3 .* is WorkerLostError"),
    "another error": ({1: ValueError("no")}, "s1 .* raised ValueError"),
    "another cause": ({2: DependencyFailureError("", ["s1"], Diverged(0))}, "s2 .* blames Diverged"),
    "another way": ({2: DependencyFailureError("", ["s0"], Diverged(1))}, "s2 .* names a way"),
    "half of the way": ({2: DependencyFailureError("", [], Diverged(1))}, "s2 .* names a way"),
}


@pytest.mark.parametrize("changed, complaint", WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_named(changed, complaint):
    """One step that ends otherwise is one complaint with its name."""
    graph = line()
    judge = Judge(graph, reference.run(graph))
    judge.compare({**right(graph), **changed})
    assert len(judge.problems) == 1
    with pytest.raises(AssertionError, match=complaint):
        raise AssertionError(judge.problems[0])


def test_a_call_that_was_never_made_is_named():
    """As is a step without an ending."""
    graph = line()
    judge = Judge(graph, reference.run(graph))
    judge.compare({0: reference.run(graph)[0].value})
    assert judge.problems == ["s1 was never called", "s2 was never called", "s3 was never called"]


LIVES, LOST = 11, 12
ONCE = [Record("begin", 0, LIVES), Record("end", 0, LIVES), Record("begin", 1, LIVES), Record("begin", 3, LIVES)]
BEGUN = {
    "once": (ONCE, set(), []),
    "again where it lives": (
        [*ONCE, Record("begin", 0, LOST)],
        set(),
        ["s0 was begun again, though neither its value was lost nor what is made of it"],
    ),
    "again when its value was lost elsewhere": ([*ONCE, Record("begin", 0, LIVES)], {"s0"}, []),
    "again when what is made of it was": ([*ONCE, Record("begin", 0, LIVES)], {"s3"}, []),
    "again after a loss": ([Record("begin", 0, LOST), Record("end", 0, LOST), *ONCE], set(), []),
    "again for one that was lost": ([*ONCE[:2], Record("begin", 3, LOST), *ONCE, Record("begin", 3, LIVES)], set(), []),
    "never": (ONCE[:3], set(), ["s3 never began"]),
    "a dependent": ([*ONCE, Record("begin", 2, LIVES)], set(), ["s2 began, though s1 failed"]),
}


@pytest.mark.parametrize("lines, lost, problems", BEGUN.values(), ids=BEGUN)
def test_what_begins_without_a_reason_is_named(lines, lost, problems, tmp_path):
    """A body may begin again when its value was lost, or that of a step that needs it; others never do."""
    file = Path(tmp_path, "notes")
    file.write_text("".join(f"{each.what} {each.number} {each.worker}\n" for each in lines))
    records = Records(file)
    records.read()
    graph = line()
    judge = Judge(graph, reference.run(graph))
    judge.look(records, {LIVES}, lost)
    assert judge.problems == problems


def test_half_a_line_is_read_when_it_is_whole(tmp_path):
    """What is being written is not taken for a record."""
    file = Path(tmp_path, "notes")
    file.write_text("begin 1 11\nbegin 2")
    records = Records(file)
    records.read()
    assert records.running(11) == {1}
    file.write_text("begin 1 11\nbegin 2 11\nend 1 11\n")
    records.read()
    assert records.running(11) == {2}
