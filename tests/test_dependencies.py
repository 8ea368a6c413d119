"""Futures in arguments: dependencies that arrive as values, edges of one Dask graph, keys that are let go."""

import asyncio
import gc
from concurrent.futures import ThreadPoolExecutor

import pytest

from asyncflow import ConcurrentExecutionBackend, TaskState, WorkflowEngine
from gates import Gate, Notes, on_scheduler, until
from shapes import Pair, Setup


async def test_a_future_arrives_as_its_value_anywhere_in_the_arguments(any_flow):
    """Positional, keyword, in a list, tuple, set, dict or dataclass: a future is a dependency and arrives as a value."""

    @any_flow.function_task
    def one():
        return 1

    @any_flow.function_task
    def show(*args, **kwargs):
        return args, kwargs

    future = one()
    args, kwargs = await show(
        future,
        [future, [future]],
        (future,),
        {future},
        {"key": {"deeper": future}},
        Setup(future, parts=[future]),
        Pair(future, 2),
        named=future,
    )
    assert args == (1, [1, [1]], (1,), {1}, {"key": {"deeper": 1}}, Setup(1, parts=[1]), Pair(1, 2))
    assert kwargs == {"named": 1}


async def test_one_future_given_twice_is_the_same_value_twice(flow):
    """A future that stands in two places arrives in both, from one run of its body."""

    @flow.function_task
    def make():
        return object()

    @flow.function_task
    def same(a, b):
        return a is b

    future = make()
    assert await same(future, future)


async def test_plain_awaitables_are_dependencies(any_flow):
    """An asyncio future, a task and a coroutine arrive as their values too."""

    @any_flow.function_task
    def add(*parts):
        return sum(parts)

    async def later(value):
        return value

    bare = asyncio.get_running_loop().create_future()
    total = add(bare, asyncio.create_task(later(10)), later(100), add(later(1000)))
    bare.set_result(1)
    assert await total == 1111


async def test_a_dependent_waits_for_an_upstream_that_waits_itself(any_flow):
    """A call on a call that waits for a plain awaitable starts after both, on whatever backend."""

    @any_flow.function_task
    def add(*parts):
        return sum(parts)

    bare = asyncio.get_running_loop().create_future()
    total = add(1, add(3, bare))
    asyncio.get_running_loop().call_soon(bare.set_result, 4)
    assert await total == 8


async def test_a_future_of_another_engine_arrives_as_its_value(flow, process_flow):
    """Engines understand each other's futures."""

    @process_flow.function_task
    def one():
        return 1

    @flow.function_task
    def increment(number):
        return number + 1

    assert await increment(one()) == 2


async def test_after_orders_without_passing_data(any_flow, tmp_path):
    """`options(after=[...])` begins a call when those have ended, and gives it nothing of them."""
    notes = Notes(tmp_path / "notes")
    gate = Gate(tmp_path / "gate")

    @any_flow.function_task
    def first(notes, gate):
        gate.wait()
        notes.add("first")

    @any_flow.function_task
    def second(notes, *args):
        notes.add("second")
        return args

    late = second.options(after=[first(notes, gate)])(notes, "own")
    gate.open()
    assert await late == ("own",)
    assert notes.lines == ["first", "second"]


async def test_after_takes_futures_only(flow):
    """Something else in `after` fails that call and says what it was."""

    @flow.function_task
    def work():
        return 1

    with pytest.raises(TypeError, match="'after' takes futures; got 3"):
        await work.options(after=[3])()
    assert await work() == 1


async def test_a_task_called_inside_a_body_runs_right_there(any_flow, tmp_path):
    """Inside another task's body a task is its plain function, and a command task runs its command on the spot."""

    @any_flow.function_task
    def double(number):
        return 2 * number

    @any_flow.function_task
    async def triple(number):
        return 3 * number

    @any_flow.executable_task
    def echo(word):
        return ["echo", "-n", word]

    @any_flow.function_task
    async def outer(number):
        return double(number) + await triple(number), echo("said")

    assert await outer(2) == (10, "said")


async def test_one_large_argument_travels_once(dask_flow, tmp_path):
    """The bytes of an argument given to many calls, of one turn or several, are on the cluster once."""
    gate = Gate(tmp_path / "gate")

    @dask_flow.function_task
    def size(data, number, gate):
        gate.wait()
        return len(data) + number

    data = bytes(1_000_000)
    futures = [size(data, number, gate) for number in range(3)]
    await until(lambda: futures[0].state is TaskState.RUNNING)
    futures += [size(data, number, gate) for number in range(3, 6)]
    keys = await on_scheduler(futures[0].dask_future.client, _all_keys)
    gate.open()
    assert len([key for key in keys if key.startswith("argument-")]) == 1
    assert await asyncio.gather(*futures) == [1_000_000 + number for number in range(6)]


async def test_an_array_changed_between_two_calls_arrives_as_it_was_at_each(dask_flow):
    """Large arguments are shared by content: what the caller changes later is another value."""

    @dask_flow.function_task
    def first(data):
        return data[0]

    data = bytearray(100_000)
    before = first(data)
    data[0] = 7
    after = first(data)
    assert await asyncio.gather(before, after) == [0, 7]


def _all_keys(dask_scheduler):
    return [str(key) for key in dask_scheduler.tasks]


async def test_dependencies_are_edges_of_the_dask_graph(dask_flow, tmp_path):
    """The scheduler knows what a call depends on, before anything of it has run."""
    gate = Gate(tmp_path / "gate")

    @dask_flow.function_task
    def hold(gate):
        gate.wait()
        return 1

    @dask_flow.function_task
    def add(a, b):
        return a + sum(b)

    left, right = hold(gate), hold(gate)
    total = add(left, [right])
    await until(lambda: left.state is TaskState.RUNNING)

    def edges(dask_scheduler, key):
        return sorted(str(each.key) for each in dask_scheduler.tasks[key].dependencies)

    found = await on_scheduler(total.dask_future.client, edges, key=total.id)
    gate.open()
    assert found == sorted([left.id, right.id])
    assert await total == 2


class Homebody:
    """A value that refuses to leave the worker it was made on."""

    def __init__(self, notes):
        self.notes = notes

    def __reduce__(self):
        self.notes.add("pickled")
        return Homebody, (self.notes,)


async def test_values_between_tasks_never_pass_the_driver(tmp_path):
    """A value handed from task to task on one worker is never pickled, let alone sent to the driver."""
    notes = Notes(tmp_path / "notes")
    config = {"cluster": {"kind": "local", "n_workers": 1, "threads_per_worker": 1}}
    async with WorkflowEngine.create(config) as flow:

        @flow.function_task
        def make(notes):
            return Homebody(notes)

        @flow.function_task
        def hand_on(value):
            return value

        @flow.function_task
        def name(value):
            return type(value).__name__

        middle = hand_on(make(notes))
        assert await name(middle) == "Homebody"
        assert middle.state is TaskState.DONE
        assert not asyncio.Future.done(middle)
        assert notes.lines == []
        await middle
        assert notes.lines, "awaiting pickles the value, or this test could not fail"


async def test_equal_calls_run_as_often_as_they_are_called(any_flow, tmp_path):
    """Five equal calls have five ids and run five times."""
    notes = Notes(tmp_path / "notes")

    @any_flow.function_task
    def same(notes):
        notes.add("ran")

    futures = [same(notes) for _ in range(5)]
    await asyncio.gather(*futures)
    assert len({future.id for future in futures}) == 5
    assert notes.lines == ["ran"] * 5


async def test_keys_are_the_name_and_an_id_that_dask_takes_for_one(dask_flow):
    """Dask shows calls of one task under the task's name."""
    from dask.utils import key_split

    @dask_flow.function_task(name="my-step")
    def work():
        return 1

    future = work()
    assert future.id.startswith("my-step-")
    assert key_split(future.id) == "my-step"
    assert str(future.dask_future.key) == future.id
    await future


async def test_finished_intermediates_leave_the_cluster(dask_flow):
    """A key that no live handle and no unfinished dependent needs is released while the engine lives on."""

    @dask_flow.function_task(bundle=False)
    def increment(number):
        return number + 1

    last = increment(0)
    client = last.dask_future.client
    for _ in range(20):
        last = increment(last)
    assert await last == 21
    await until_keys_are(client, [last.id])
    del last
    await until_keys_are(client, [])


async def until_keys_are(client, keys):
    """Wait until the scheduler holds the values of just these keys, the recipes of their ancestors aside."""
    async with asyncio.timeout(10):
        while await on_scheduler(client, _keys_in_memory) != keys:
            gc.collect()


def _keys_in_memory(dask_scheduler):
    return [str(key) for key, task in dask_scheduler.tasks.items() if task.state == "memory"]


async def test_an_upstream_that_nobody_holds_is_kept_for_its_unfinished_dependent(flow, tmp_path):
    """Dropping the future of an input does not take it from the call that still needs it."""
    gate = Gate(tmp_path / "gate")

    @flow.function_task
    def make():
        return 5

    @flow.function_task
    def hold(gate):
        gate.wait()

    @flow.function_task
    def add(a, _):
        return a + 1

    made = make()
    await made
    total = add(made, hold(gate))
    await asyncio.sleep(0)
    del made
    gc.collect()
    gate.open()
    assert await total == 6


async def test_a_value_crosses_from_one_backend_to_another():
    """A dependency between backends of one engine arrives as its value."""
    with ThreadPoolExecutor(1) as first, ThreadPoolExecutor(1) as second:
        backends = [ConcurrentExecutionBackend(first, name="a"), ConcurrentExecutionBackend(second, name="b")]
        async with WorkflowEngine.create(backend=backends) as flow:

            @flow.function_task
            def one():
                return 1

            @flow.function_task(backend="b")
            def increment(number):
                return number + 1

            there = increment(one())
            back = increment.options(backend="a")(there)
            assert await back == 3


async def test_a_chain_of_thousands_settles_and_cancels_without_deep_recursion(flow):
    """A long chain is walked, not recursed: it can be awaited, and another cancelled from its first link."""

    @flow.function_task
    def increment(number):
        return number + 1

    first = last = increment(0)
    for _ in range(1200):
        last = increment(last)
    first.cancel()
    assert last.state is TaskState.CANCELLED
    last = increment(0)
    for _ in range(300):
        last = increment(last)
    assert await last == 301
    await until(lambda: last.state is TaskState.DONE)


async def test_a_list_of_very_many_futures_arrives_as_their_values(dask_flow):
    """However large the list is: what is sent apart for its size has no places for inputs."""

    @dask_flow.function_task
    def one(number):
        return number

    ones = [one(number) for number in range(200)]
    padded = [*ones, "x" * 100_000]

    @dask_flow.function_task
    def of_numbers(values):
        return sum(value for value in values if isinstance(value, int))

    assert await of_numbers(padded) == sum(range(200))
