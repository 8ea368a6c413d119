"""What a task may ask for: where options are written, what wins, and what they do."""

import asyncio
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncflow import DaskExecutionBackend, OptionError, RefusedError, TaskOptions, TaskState, WorkflowEngine
from asyncflow.options import parse_options
from asyncflow.units import seconds, size
from conftest import IN_PROCESS, open_engine
from gates import Gate, Notes, until


def one_worker(threads=1, **more):
    """One in-process worker."""
    return {"cluster": {**IN_PROCESS["cluster"], "n_workers": 1, "threads_per_worker": threads, **more}}


def identity(value=None):
    """A body."""
    return value


@pytest.mark.parametrize(
    ("given", "hint"),
    [
        ({"retires": 2}, "did you mean 'retries'"),
        ({"timout": 2}, "did you mean 'timeout'"),
        ({"core": 2}, "did you mean 'cores'"),
    ],
)
@pytest.mark.parametrize("kind", ["function_task", "executable_task", "prompt_task"])
async def test_a_misspelt_option_is_refused_where_it_is_written(thread_flow, kind, given, hint):
    """The decorator raises, names the option, suggests, and lists what is valid."""
    with pytest.raises(OptionError) as caught:
        getattr(thread_flow, kind)(**given)
    assert hint in str(caught.value)
    assert all(name in str(caught.value) for name in ("retries", "timeout", "cores", "resources"))


IMPOSSIBLE = [
    {"timeout": 0}, {"timeout": -1}, {"timeout": "soon"}, {"timeout": "10 parsecs"}, {"timeout": float("inf")},
    {"timeout": float("nan")}, {"retries": -1}, {"retries": 1.5}, {"retry_delay": -1}, {"cores": 0},
    {"cores": "many"}, {"memory": "12 apples"}, {"memory": 0}, {"resources": {"gpu": 0}}, {"resources": 3},
    {"name": ""}, {"priority": "high"}, {"retry_on": 3},
]  # fmt: skip


async def test_an_impossible_value_is_refused_where_it_is_written(thread_flow):
    """The decorator and `options()` raise, naming the option."""
    task = thread_flow.function_task(identity)
    for options in IMPOSSIBLE:
        (name,) = options
        for write in (thread_flow.function_task, task.options):
            with pytest.raises(OptionError, match=name):
                write(**options)


@pytest.mark.parametrize("name", ["shell", "env", "cwd", "workdir"])
async def test_options_of_commands_are_for_commands(thread_flow, name):
    """A function task is told that it shares its worker's process."""
    with pytest.raises(OptionError, match="executable tasks only"):
        thread_flow.function_task(**{name: "x"})


async def test_all_that_is_wrong_is_told_at_once(thread_flow):
    """Two mistakes make one error with both."""
    with pytest.raises(OptionError, match=r"retires.*timout"):
        thread_flow.function_task(retires=1, timout=1)


@given(st.integers(0, 10_000), st.sampled_from(["ms", "s", "m", "h", "d", ""]))
def test_durations_are_read_with_their_units(number, unit):
    """A number and a unit are seconds; a number alone is seconds."""
    factor = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400, "": 1}[unit]
    assert seconds(f"{number}{unit}") == pytest.approx(number * factor)


@given(st.integers(0, 99), st.integers(0, 59), st.integers(0, 59))
def test_clock_times_are_hours_first(hours, minutes, secs):
    """A walltime reads as queues read it."""
    assert seconds(f"{hours:02}:{minutes:02}:{secs:02}") == hours * 3600 + minutes * 60 + secs


@given(st.integers(1, 999), st.sampled_from(["", "k", "M", "G", "T"]), st.booleans())
def test_sizes_are_read_with_their_units(number, prefix, binary):
    """Powers of 1000, or of 1024 with an i."""
    power = ["", "k", "M", "G", "T"].index(prefix)
    text = f"{number}{prefix}{'i' if binary and prefix else ''}B"
    assert size(text) == number * (1024 if binary and prefix else 1000) ** power


@given(st.text(max_size=8))
def test_any_text_is_a_duration_or_an_error_with_the_remedy(text):
    """No text gets through as something else or breaks the reader."""
    try:
        assert seconds(text) >= 0
    except ValueError as error:
        assert "write" in str(error)


def test_the_particular_wins_over_the_general():
    """Options laid over others change what they name, and leave the rest."""
    base = parse_options({"retries": 3, "timeout": "10m"})
    assert parse_options({"retries": 1}, "function", base) == TaskOptions(retries=1, timeout=600)


async def test_options_returns_another_task(any_flow):
    """`task.options()` leaves the task as it was."""
    task = any_flow.function_task(name="first")(identity)
    other = task.options(name="second")
    assert (task(1).name, other(1).name) == ("first", "second")
    assert await other(3) == 3


async def test_defaults_of_the_configuration_are_for_every_task(tmp_path):
    """`defaults:` hold where a task says nothing else, for the kinds they fit."""
    notes = Notes(tmp_path / "notes")
    config = {**IN_PROCESS, "defaults": {"retries": 2, "timeout": "1h", "env": {"FROM": "defaults"}}}
    async with WorkflowEngine.create(config) as flow:

        @flow.function_task
        def fail(line):
            notes.add(line)
            raise ValueError(line)

        @flow.executable_task(shell=True)
        def show():
            return "echo $FROM"

        with pytest.raises(ValueError, match="default"):
            await fail("default")
        with pytest.raises(ValueError, match="own"):
            await fail.options(retries=0)("own")
        assert await show() == "defaults\n"
    assert notes.lines == ["default"] * 3 + ["own"]


async def test_a_task_description_at_the_call_is_options_of_that_call(any_flow):
    """The peers' `task_description=` and `workflow_id=` work, are checked, and do not reach the body."""
    task = any_flow.function_task(identity)
    future = task(1, task_description={"name": "renamed"}, workflow_id="wf-7")
    assert (future.name, future.workflow_id) == ("renamed", "wf-7")
    assert await future == 1
    assert task(2).name == "identity"
    with pytest.raises(OptionError, match="did you mean 'retries'"):
        task(1, task_description={"retires": 1})
    with pytest.raises(TypeError, match="mapping"):
        task(1, task_description=3)


async def test_a_function_with_such_parameters_gets_them_itself(any_flow):
    """Where the function has a parameter of that name, the keyword is the function's."""

    @any_flow.function_task
    def own(task_description, workflow_id="none"):
        return task_description, workflow_id

    future = own(task_description="mine", workflow_id="also mine")
    assert future.workflow_id is None
    assert await future == ("mine", "also mine")


async def test_a_failed_body_is_tried_again(any_flow, tmp_path):
    """`retries=2` makes at most three attempts, and the first success counts."""
    notes = Notes(tmp_path / "notes")

    @any_flow.function_task(retries=2)
    def sometimes(good):
        notes.add("tried")
        if len(notes.lines) < good:
            raise ValueError(f"attempt {len(notes.lines)}")
        return len(notes.lines)

    future = sometimes(2)
    dependent = any_flow.function_task(identity)(future)
    assert await dependent == 2
    assert await future == 2
    with pytest.raises(ValueError, match="attempt 5"):
        await sometimes(99)
    assert len(notes.lines) == 5


async def test_commands_are_tried_again(any_flow, tmp_path):
    """A command that exits non-zero has its retries too."""
    notes = Notes(tmp_path / "notes")

    @any_flow.executable_task(retries=2, shell=True)
    def sometimes():
        return f"echo tried >> {notes.path}; test $(wc -l < {notes.path}) -ge 3 && echo good"

    assert await sometimes() == "good\n"


@pytest.mark.parametrize(
    ("retry_on", "attempts"),
    [(OSError, 1), (ValueError, 3), ((OSError, ValueError), 3), (lambda error: "good" in str(error), 1)],
    ids=["other type", "type", "types", "function"],
)
async def test_retry_on_says_which_errors_are_worth_it(any_flow, tmp_path, retry_on, attempts):
    """Types or a function of the exception decide whether another attempt is made."""
    notes = Notes(tmp_path / "notes")

    @any_flow.function_task(retries=2, retry_on=retry_on)
    def fail():
        notes.add("tried")
        raise ValueError("bad")

    with pytest.raises(ValueError, match="bad"):
        await fail()
    assert len(notes.lines) == attempts


@pytest.mark.parametrize("cores", [1, 2])
@pytest.mark.parametrize("kind", ["dask", "threads"])
async def test_the_delay_between_attempts_holds_no_slot(kind, cores, tmp_path):
    """While a task waits for its next attempt, others have all the cores of the worker."""
    from concurrent.futures import ThreadPoolExecutor

    from asyncflow import ConcurrentExecutionBackend

    notes, gate = Notes(tmp_path / "notes"), Gate(tmp_path / "gate")
    with ThreadPoolExecutor(cores) as pool:
        given = {"config": one_worker(cores)}
        if kind == "threads":
            given = {"backend": ConcurrentExecutionBackend(pool)}
        async with WorkflowEngine.create(**given) as flow:

            @flow.function_task(retries=1, retry_delay="1000s", cores=cores)
            def fail(notes):
                notes.add("tried")
                raise ValueError

            @flow.function_task(cores=cores)
            def open_it(gate):
                gate.open()

            waiting = fail(notes)
            await until(lambda: notes.lines == ["tried"])
            await asyncio.wait_for(open_it(gate), 10)
            assert gate.is_open
            assert not asyncio.Future.done(waiting)
            waiting.cancel()


@pytest.mark.parametrize("kind", ["dask", "threads"])
async def test_larger_priority_runs_first(kind, tmp_path):
    """Of what waits for a worker, the largest priority is next; equals go in the order of their calls."""
    from concurrent.futures import ThreadPoolExecutor

    from asyncflow import ConcurrentExecutionBackend

    notes, gate = Notes(tmp_path / "notes"), Gate(tmp_path / "gate")

    def hold(gate):
        gate.wait()

    def tell(notes, line):
        notes.add(line)

    with ThreadPoolExecutor(1) as pool:
        given = {"config": one_worker(1)}
        if kind == "threads":
            given = {"backend": ConcurrentExecutionBackend(pool)}
        async with WorkflowEngine.create(**given) as flow:
            first, task = flow.function_task(hold)(gate), flow.function_task(tell)
            await until(lambda: first.state is TaskState.RUNNING)
            waiting = [task.options(priority=rank)(notes, rank) for rank in (0, 5, -3, 10)]
            await asyncio.sleep(0)
            for _ in range(3):  # the graph is on its worker when an answer of the scheduler is back
                if kind == "dask":
                    await asyncio.to_thread(first.dask_future.client.run_on_scheduler, lambda: None)
            gate.open()
            await asyncio.gather(*waiting)
    assert notes.lines == ["10", "5", "0", "-3"]


async def test_calls_of_several_tasks_begin_in_their_order(tmp_path):
    """Where nothing else tells which is to be first, the order of the calls does, not that of their names."""
    notes, gate = Notes(tmp_path / "notes"), Gate(tmp_path / "gate")
    async with WorkflowEngine.create(one_worker(1)) as flow:
        first, task = flow.function_task(Gate.wait)(gate), flow.function_task(Notes.add)
        await until(lambda: first.state is TaskState.RUNNING)
        waiting = [task.options(name=name)(notes, name) for name in "zam"]
        gate.open()
        await asyncio.gather(*waiting)
    assert notes.lines == ["z", "a", "m"]


async def test_names_are_what_others_call_the_task(any_flow):
    """`name=` is in the future, its id, and the errors."""

    @any_flow.function_task(name="relax")
    def body():
        raise ValueError

    future = body()
    assert future.name == "relax"
    assert future.id.startswith("relax-")
    with pytest.raises(ValueError):
        await future


async def test_timeouts_count_from_the_start_of_the_body(tmp_path):
    """Waiting for a worker costs nothing of a task's time."""
    gate = Gate(tmp_path / "gate")
    async with WorkflowEngine.create(one_worker(1)) as flow:

        @flow.function_task
        def hold(gate):
            gate.wait()

        @flow.function_task(timeout=0.4)
        def quick():
            return "in time"

        first = hold(gate)
        await until(lambda: first.state is TaskState.RUNNING)
        second = quick()
        began = time.monotonic()
        await until(lambda: time.monotonic() - began > 0.6)  # the fact is that its timeout has passed
        assert second.state is TaskState.PENDING
        gate.open()
        assert await second == "in time"
        await first


async def test_a_foreign_scheduler_refuses_nothing():
    """Where no pool is declared a task waits for a worker that has what it asks for."""
    from distributed import LocalCluster

    async with (
        LocalCluster(
            processes=False, n_workers=1, threads_per_worker=1, dashboard_address=None, asynchronous=True
        ) as cluster,
        WorkflowEngine.create(backend=DaskExecutionBackend(cluster=cluster)) as flow,
    ):
        task = flow.function_task(identity)
        waiting = task.options(resources={"quantum": 1})(1)
        assert await task(2) == 2
        assert not waiting.done()
        waiting.cancel()


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        ({"cores": 3}, "asks for 3 cores, and a worker of pool 'local' has 2"),
        ({"memory": "2GB"}, "asks for 2 GB of memory"),
        ({"resources": {"gpu": 2}}, "asks for 2 gpu, and a worker of pool 'local' has 1"),
        ({"resources": {"gpus": 1}}, "did you mean 'gpu'"),
        ({"resources": {"quantum": 1}}, "asks for the resource 'quantum'"),
    ],
    ids=str,
)
async def test_what_no_pool_can_ever_run_is_refused_when_it_is_called(asked, reason):
    """The call raises with the reason, and the engine lives; what fits is run."""
    async with WorkflowEngine.create(one_worker(2, resources={"gpu": 1}, memory_limit="1GB")) as flow:
        task = flow.function_task(identity)
        with pytest.raises(RefusedError) as caught:
            task.options(**asked)(1)
        assert reason in str(caught.value)
        assert caught.value.reason in str(caught.value)
        fits = {"cores": 2, "memory": "800MB", "resources": {"gpu": 1}}
        assert await task.options(**fits)(1) == 1


@pytest.mark.parametrize("kind", ["threads", "processes"])
async def test_an_executor_refuses_what_it_does_not_have(kind):
    """More cores than workers, and any resource, are refused with the reason."""
    async with open_engine(kind) as flow:
        task = flow.function_task(identity)
        with pytest.raises(RefusedError, match="asks for 5 cores"):
            task.options(cores=5)(1)
        with pytest.raises(RefusedError, match="no such resources"):
            task.options(resources={"gpu": 1})(1)
        assert await task.options(cores=2)(1) == 1
