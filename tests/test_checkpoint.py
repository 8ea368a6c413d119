"""Kept results: found again in a resumed run, and read where they are needed."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

import pytest

from asyncflow import (
    ConcurrentExecutionBackend,
    DaskExecutionBackend,
    FencedError,
    TaskState,
    WorkflowEngine,
)
from asyncflow.store import ResultStore
from conftest import IN_PROCESS, open_engine
from gates import Gate
from kept import KINDS, counted, damage, is_done, keys, told


@pytest.mark.parametrize("kind", KINDS)
async def test_a_resumed_run_runs_only_what_is_missing(kind, resumed, notes):
    """Bodies whose result is kept are not run again on any backend, the others are, and the answer is the same."""
    limit = 3

    async def session(flow):
        @flow.function_task(checkpoint=True)
        def square(x):
            notes.add(f"square {x}")
            return x * x

        @flow.function_task(checkpoint=True)
        def total(values):
            notes.add("total")
            return sum(values)

        return await total([square(x) for x in range(limit)])

    async with resumed(kind) as flow:
        assert await session(flow) == 5
    assert counted(notes) == {"square 0": 1, "square 1": 1, "square 2": 1, "total": 1}
    async with resumed(kind) as flow:
        assert await session(flow) == 5
    assert counted(notes) == {}
    limit = 4
    async with resumed(kind) as flow:
        assert await session(flow) == 14
    assert counted(notes) == {"square 3": 1, "total": 1}


@pytest.mark.parametrize("where", ["task", "defaults", "engine", "call"])
async def test_checkpoint_may_be_asked_for_anywhere(where, tmp_path, notes):
    """On the task, in ``defaults:``, for the engine or at the call; a task that says False is left out."""
    config = {**IN_PROCESS, "defaults": {"checkpoint": True} if where == "defaults" else {}}
    options = {"checkpoint": True} if where == "engine" else {}
    asked = {"checkpoint": True} if where == "task" else {}
    at_call = {"task_description": {"checkpoint": True}} if where == "call" else {}
    for _ in range(2):
        async with WorkflowEngine.create(config, resume="campaign", work_dir=tmp_path / "runs", **options) as flow:

            @flow.function_task(**asked)
            def kept(x):
                notes.add("kept")
                return x

            @flow.function_task(checkpoint=False)
            def fresh(x):
                notes.add("fresh")
                return x

            assert await kept(1, **at_call) == 1
            assert await fresh(1) == 1
    assert counted(notes) == {"kept": 1, "fresh": 2}


async def test_a_task_between_that_is_not_kept_runs_again(resumed, notes):
    """Between two kept tasks one without runs in each session, and what is behind it is found all the same."""
    for _ in range(2):
        async with resumed() as flow:

            @flow.function_task(checkpoint=True)
            def first():
                notes.add("first")
                return 1

            @flow.function_task
            def between(x):
                notes.add("between")
                return x + 1

            @flow.function_task(checkpoint=True)
            def last(x):
                notes.add("last")
                return x + 1

            assert await last(between(first())) == 3
    assert counted(notes) == {"first": 1, "between": 2, "last": 1}


@pytest.mark.parametrize("kind", ["dask", "threads"])
async def test_a_result_that_nobody_needs_is_not_read(kind, resumed, results, notes, tmp_path):
    """In a chain that was finished only the last result is read: damage to the others is not even noticed."""
    for again in range(2):
        async with resumed(kind) as flow:

            @flow.function_task(checkpoint=True)
            def step(x):
                notes.add("step")
                return x + 1

            @flow.function_task(checkpoint=True)
            def end(x):
                notes.add("end")
                return -x

            chain = step(step(step(0)))
            future = end(chain)
            if again:
                await is_done(future)
                assert chain.state is TaskState.DONE
            assert await future == -3
        if not again:
            damage(results, "step")
            assert counted(notes) == {"step": 3, "end": 1}
    assert counted(notes) == {}
    assert told(tmp_path, 2)["corrupt"] == 0
    assert told(tmp_path, 2)["found"] == 4


async def test_found_values_do_not_pass_through_the_driver(resumed, notes, monkeypatch):
    """What a dependent needs of a kept result is read on a worker: the client gathers the small answer at most."""
    async with resumed() as flow:

        @flow.function_task(checkpoint=True)
        def large():
            notes.add("large")
            return b"x" * 20_000_000

        assert await flow.function_task(len)(large()) == 20_000_000
    gathered = []
    async with resumed() as flow:
        client, gather = flow.backend._connection._client, flow.backend._connection._client.gather

        async def seen(futures, *args, **kwargs):
            values = await gather(futures, *args, **kwargs)
            gathered.extend(values)
            return values

        monkeypatch.setattr(client, "gather", seen)

        @flow.function_task(checkpoint=True)
        def large():
            notes.add("large")
            return b"x" * 20_000_000

        future = large()
        assert await flow.function_task(len)(future) == 20_000_000
        assert future.state is TaskState.DONE
    assert all(value == 20_000_000 for value in gathered)
    assert counted(notes) == {"large": 1}


@pytest.mark.parametrize("kind", KINDS)
async def test_found_results_reach_dependents_wherever_they_stand(kind, resumed, notes):
    """In lists, dicts and ``after=``, several times in one call, and for several dependents: each read once."""
    for session in range(2):
        async with resumed(kind) as flow:

            @flow.function_task(checkpoint=True)
            def number(x):
                notes.add(f"number {x}")
                return x

            @flow.function_task
            def shape(*args, **kwargs):
                return args, kwargs

            one, two, three = map(number, (1, 2, 3))
            first = shape([one, {"two": two}], deep={"a": (one, [two])}, task_description={"after": [three]})
            second = shape(one, one)
            assert await first == (([1, {"two": 2}],), {"deep": {"a": (1, [2])}})
            assert await second == ((1, 1), {})
            assert await asyncio.gather(one, two, three) == [1, 2, 3]
            assert session == 0 or flow._dispatch.ledger.unfinished() == []
    assert counted(notes) == {"number 1": 1, "number 2": 1, "number 3": 1}


async def test_blocks_compose_kept_tasks(resumed, notes):
    """A block runs again on the driver; its kept members are found, and what it returns is one of them or its own."""
    begun = []
    for _ in range(2):
        async with resumed() as flow:

            @flow.function_task(checkpoint=True)
            def number(x):
                notes.add(f"number {x}")
                return x

            @flow.block
            async def returns_a_call(x):
                begun.append(x)
                return number(await number(x) + 1)

            @flow.block
            async def returns_a_value(x):
                return {"value": await number(x)}

            @flow.function_task(checkpoint=True)
            def total(a, b):
                notes.add("total")
                return a + b["value"]

            assert await total(returns_a_call(1), returns_a_value(5)) == 7
            assert await returns_a_call(1) == 2
    assert counted(notes) == {"number 1": 1, "number 2": 1, "number 5": 1, "total": 1}
    assert begun == [1, 1, 1, 1]


async def test_dependencies_across_backends_are_told_by_their_value(tmp_path, notes):
    """A kept result goes to a call on another backend as its value, which is what that call is known by."""
    for _ in range(2):
        with ThreadPoolExecutor(2) as pool:
            backends = [DaskExecutionBackend(IN_PROCESS), ConcurrentExecutionBackend(pool, name="here")]
            async with WorkflowEngine.create(backend=backends, resume="campaign", work_dir=tmp_path / "runs") as flow:

                @flow.function_task(checkpoint=True)
                def there(x):
                    notes.add("there")
                    return x + 1

                @flow.function_task(checkpoint=True, backend="here")
                def here(x):
                    notes.add("here")
                    return x * 10

                assert await there(here(there(1))) == 21
    assert counted(notes) == {"there": 2, "here": 1}


def test_one_engine_finds_results_on_several_loops(tmp_path, notes):
    """What one loop has found is read by another, and what one has kept is found by the next."""
    for _ in range(2):
        with ThreadPoolExecutor(2) as pool:
            state = {}

            async def begin():
                backend = ConcurrentExecutionBackend(pool)
                flow = await WorkflowEngine.create(backend=backend, resume="campaign", work_dir=tmp_path / "runs")

                @flow.function_task(checkpoint=True)
                def number(x):
                    notes.add(f"number {x}")
                    return x

                state.update(flow=flow, number=number)  # noqa: B023
                assert await number(number(1)) == 1

            async def go_on():
                assert await state["number"](state["number"](2)) == 2  # noqa: B023
                assert await state["number"](1) == 1  # noqa: B023
                await state["flow"].shutdown()  # noqa: B023

            asyncio.run(begin())
            asyncio.run(go_on())
    assert counted(notes) == {"number 1": 2, "number 2": 2}


@pytest.mark.parametrize("kind", KINDS)
async def test_equal_calls_share_one_result(kind, resumed, results, notes):
    """A second equal call finds what the first has kept, within one session too."""
    async with resumed(kind) as flow:

        @flow.function_task(checkpoint=True)
        def number(x):
            notes.add(f"number {x}")
            return [x]

        first = await number(1)
        second = await number(x=1)
        assert first == second == [1]
        assert await number(True) == [True]  # not equal to 1 here: it prints otherwise
    assert counted(notes) == {"number 1": 1, "number True": 1}
    assert len(list(results.glob("*number*"))) == 2


async def test_what_a_call_of_before_computed_is_found_on_any_backend(resumed, notes):
    """Threads, processes and Dask workers know a call by one name."""
    for kind in ("threads", "dask", "processes", "threads"):
        async with resumed(kind) as flow:

            @flow.function_task(checkpoint=True)
            def number(x):
                notes.add("number")
                return x

            assert await number(number(3)) == 3
    assert counted(notes) == {"number": 2}


async def test_results_may_lie_behind_a_url(tmp_path, notes):
    """With ``results="memory://…"`` nothing is below the run, and a resumed run finds it there."""
    url = f"memory://{tmp_path.name}/results"
    try:
        for _ in range(2):
            async with open_engine("threads", resume="campaign", work_dir=tmp_path / "runs", results=url) as flow:

                @flow.function_task(checkpoint=True)
                def number(x):
                    notes.add("number")
                    return x

                assert await number(1) == 1
                assert not (flow.run_dir / "results").exists()
        assert counted(notes) == {"number": 1}
        assert len(ResultStore(url).keys()) == 1
    finally:
        ResultStore(url).delete(ResultStore(url).keys())


async def test_results_may_lie_in_another_directory(tmp_path, notes, monkeypatch):
    """Given in the environment, a directory serves several runs one after the other."""
    monkeypatch.setenv("ASYNCFLOW_RESULTS", str(tmp_path / "shared"))
    for name in ("one", "two"):
        async with open_engine("dask", resume=name, work_dir=tmp_path / "runs") as flow:

            @flow.function_task(checkpoint=True)
            def number(x):
                notes.add("number")
                return x

            assert await number(1) == 1
    assert counted(notes) == {"number": 1}


async def test_another_driver_fences_this_one_off(resumed, results, notes):
    """Once the results are another's, no body begins and no result is written; the error says why."""
    inside, go_on = Gate(results.parent.parent.parent / "inside"), Gate(results.parent.parent.parent / "go")
    async with resumed("threads") as flow:

        @flow.function_task(checkpoint=True)
        def slow():
            notes.add("slow")
            inside.open()
            go_on.wait()
            return 1

        @flow.function_task(checkpoint=True)
        def late():
            notes.add("late")

        future = slow()
        await asyncio.wait_for(inside.reached(), 20)
        await asyncio.to_thread(ResultStore(results).claim, "another")
        go_on.open()
        with pytest.raises(FencedError, match="another driver"):
            await future
        with pytest.raises(FencedError):
            await late()
    assert counted(notes) == {"slow": 1}
    assert keys(results) == []


@pytest.mark.parametrize("kind", KINDS)
async def test_plain_use_leaves_no_files(kind, tmp_path, monkeypatch):
    """Without a checkpoint, a directory or captured output nothing is made where the program runs."""
    monkeypatch.chdir(tmp_path)
    async with open_engine(kind) as flow:
        assert await flow.function_task(abs)(-1) == 1
        assert await flow.executable_task(lambda: "echo a")() == "a\n" if kind == "threads" else True
        assert flow.run_dir is None
    assert list(tmp_path.iterdir()) == []


async def test_a_checkpoint_makes_the_run(tmp_path, monkeypatch):
    """The first call of a kept task begins the run, below ``asyncflow-runs`` where nothing else is said."""
    monkeypatch.chdir(tmp_path)
    async with open_engine("dask") as flow:
        assert await flow.function_task(abs)(-1) == 1
        assert list(tmp_path.iterdir()) == []
        task = flow.function_task(checkpoint=True)(abs)
        assert await asyncio.gather(*map(task, range(-5, 0))) == [5, 4, 3, 2, 1]
        assert flow.run_dir == tmp_path / "asyncflow-runs" / flow.uid
    assert len(keys(flow.run_dir / "results")) == 5


async def test_a_dry_run_keeps_nothing(tmp_path, monkeypatch):
    """It checks what can be checked, and leaves no files."""
    monkeypatch.chdir(tmp_path)
    async with open_engine("threads", dry_run=True) as flow:

        @flow.function_task(checkpoint=True)
        def body(x):
            return x

        await body(body(1))
    assert list(tmp_path.iterdir()) == []
