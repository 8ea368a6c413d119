"""Short calls that travel together: each is its own call all the same."""

import asyncio
import os
import time

import pytest
from distributed import get_worker
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from asyncflow import TaskState, WorkerLostError, WorkflowEngine
from asyncflow.events import TaskLost
from conftest import IN_PROCESS, open_engine
from gates import Gate, Notes, until

pytestmark = pytest.mark.usefixtures("with_bundles")

PROGRAMS = {"cluster": {"kind": "local", "n_workers": 2, "threads_per_worker": 1, "dashboard_address": None}}


def where(*inputs):
    """The key of the Dask task that this call is in."""
    return str(get_worker().get_current_task())


def add(*numbers):
    return sum(numbers) + 1


async def known(*tasks, call=lambda task: task()):
    """Let the engine learn that these are short, however busy the machine is."""
    for task in tasks:
        experience = task._dispatch.default._connection._experience
        while experience.seconds(task.__asyncflow_function__) is None:
            await call(task)


async def travelled(task, call=lambda task: task()):
    """Wait until calls of a task that says where it runs have shared Dask tasks: a busy machine delays that."""
    while len(set(await asyncio.gather(*[call(task) for _ in range(100)]))) >= 25:
        pass


async def heard_everywhere(flow):
    """Wait until both workers have heard what was said before: what is said later has reached them, in order."""

    @flow.function_task(bundle=False)
    def here():
        time.sleep(0.002)
        return get_worker().address

    while len(set(await asyncio.gather(*[here() for _ in range(4)]))) < 2:
        pass


async def test_calls_that_turned_out_short_travel_together(dask_flow):
    """The first calls of a task go alone; when it is known to be short, calls of one turn share Dask tasks."""
    task = dask_flow.function_task(where)
    first = [task() for _ in range(6)]
    assert await asyncio.gather(*first) == [each.id for each in first]
    await travelled(task)


@pytest.mark.parametrize("how", ["option", "default", "environment"])
async def test_bundles_can_be_turned_off(how, monkeypatch):
    """With ``bundle=False``, on the task or for all of them, or ASYNCFLOW_BUNDLE=0, each call is its own Dask task."""
    if how == "environment":
        monkeypatch.setenv("ASYNCFLOW_BUNDLE", "0")
    config = {**IN_PROCESS, **({"defaults": {"bundle": False}} if how == "default" else {})}
    async with WorkflowEngine.create(config) as flow:
        task = flow.function_task(**({"bundle": False} if how == "option" else {}))(where)
        await known(task)
        calls = [task() for _ in range(50)]
        assert await asyncio.gather(*calls) == [each.id for each in calls]


async def test_a_switch_that_is_no_switch_is_refused(monkeypatch):
    """ASYNCFLOW_BUNDLE is 0 or 1."""
    monkeypatch.setenv("ASYNCFLOW_BUNDLE", "perhaps")
    with pytest.raises(ValueError, match="ASYNCFLOW_BUNDLE is 'perhaps'; set it to 0 or 1"):
        WorkflowEngine.create(IN_PROCESS)


async def test_long_tasks_are_never_bundled(dask_flow):
    """Calls of a task that takes longer than a few milliseconds go alone."""

    @dask_flow.function_task
    def long():  # takes long enough
        time.sleep(0.03)
        return where()

    for _ in range(4):
        await long()
    calls = [long() for _ in range(8)]
    assert await asyncio.gather(*calls) == [each.id for each in calls]


async def test_a_task_that_turns_long_travels_alone_from_then_on(dask_flow):
    """One long call is enough for the next calls of its task to go alone."""

    @dask_flow.function_task
    def nap(seconds):
        time.sleep(seconds)
        return where()

    await known(nap, call=lambda task: task(0))
    await travelled(nap, call=lambda task: task(0))
    await nap(0.1)
    calls = [nap(0) for _ in range(20)]
    assert await asyncio.gather(*calls) == [each.id for each in calls]


async def test_calls_behind_one_that_takes_long_are_handed_back(dask_flow, tmp_path):
    """A bundle whose first call takes long after all gives back the others, which end while that still runs."""
    gate, begun = Gate(tmp_path / "gate"), Gate(tmp_path / "begun")

    @dask_flow.function_task
    def step(number, *inputs):
        if number == 0:
            begun.open()
            gate.wait()
        return where(), sum(value for _, value in inputs) + number

    await known(step, call=lambda task: task(-1))
    calls = [step(number) for number in range(20)]
    behind = [step(1, call) for call in calls]
    await begun.reached()
    found = await asyncio.wait_for(asyncio.gather(*calls[1:], *behind[1:]), 10)
    assert [value for _, value in found] == [*range(1, 20), *range(2, 21)]
    assert calls[0].state in {TaskState.PENDING, TaskState.RUNNING}
    gate.open()
    assert (await behind[0])[1] == 1


async def test_a_chain_of_short_calls_is_one_dask_task(dask_flow):
    """Calls each of which needs the one before run in one Dask task, and only the last value is kept."""
    task, spot = dask_flow.function_task(add), dask_flow.function_task(where)
    await known(task, spot)
    last = None
    while last is None or await last == last.id:  # on a busy machine even these may take too long for one bundle
        link = task(0)
        for _ in range(99):
            link = task(link)
        last = spot(link)
        assert await link == 100


async def test_values_of_a_bundle_come_when_somebody_asks(dask_flow):
    """Nobody waits for these values when they are made; each is there when it is wanted, in another loop turn."""
    task = dask_flow.function_task(add)
    await known(task)
    calls = [task(number) for number in range(100)]
    await until(lambda: all(call.state is TaskState.DONE for call in calls))
    assert [await call for call in calls] == list(range(1, 101))


async def test_later_calls_take_values_out_of_bundles(dask_flow):
    """A value of a bundle is an argument like any other, of calls in bundles and of calls that go alone."""
    task = dask_flow.function_task(add)
    alone = dask_flow.function_task(bundle=False)(add)
    await known(task)
    calls = [task(number) for number in range(50)]
    await calls[0]
    sums = [task(call, call) for call in calls]
    assert await asyncio.gather(*sums, alone(*calls)) == [*(2 * n + 3 for n in range(50)), 51 * 25 + 1]


async def test_who_asked_for_a_dask_future_has_a_task_of_its_own(dask_flow):
    """A call whose ``dask_future`` was asked for goes alone; asked for afterwards, that has the call's value."""
    task, spot = dask_flow.function_task(add), dask_flow.function_task(where)
    await known(task, spot)
    calls = [spot() for _ in range(100)]
    assert calls[3].dask_future.key == calls[3].id
    found = await asyncio.gather(*calls)
    assert found[3] == calls[3].id
    assert len(set(found)) < 100
    sums = [task(number) for number in range(20)]
    await sums[0]
    later = [call.dask_future for call in sums]
    assert [future.key for future in later] == [call.id for call in sums]
    assert await asyncio.wrap_future(
        asyncio.run_coroutine_threadsafe(_results(later), later[0].client.loop.asyncio_loop)
    ) == list(range(1, 21))


async def _results(futures):
    return [await future for future in futures]


async def test_a_failure_in_a_bundle_is_one_calls_own(dask_flow):
    """One call of a bundle fails, with its own error and traceback; what depends on it fails, and nothing else does."""
    task = dask_flow.function_task(add)

    @dask_flow.function_task
    def divide(number):
        return 1 / number

    await known(task)
    await known(divide, call=lambda each: each(1))
    calls = [divide(number) for number in (1, 0, 2)]
    behind = [task(call) for call in calls]
    assert [type(each).__name__ for each in await asyncio.gather(*calls, return_exceptions=True)] == [
        "float",
        "ZeroDivisionError",
        "float",
    ]
    found = await asyncio.gather(*behind, return_exceptions=True)
    assert (found[0], found[2]) == (2, 1.5)
    assert (
        str(found[1])
        == "cannot run 'add' due to dependency failure: add <- divide: ZeroDivisionError: division by zero"
    )


async def test_a_cancelled_call_of_a_bundle_never_begins(dask_flow, notes, tmp_path):
    """While the first call of a bundle runs, others of it are cancelled: they never begin, and the rest runs."""
    gate, begun = Gate(tmp_path / "gate"), Gate(tmp_path / "begun")

    @dask_flow.function_task
    def step(name, *inputs):
        notes.add(name)
        if name == "first":
            begun.open()
            gate.wait()
        return name

    await known(step, call=lambda task: task("known"))
    first = step("first")
    calls = [step(f"call {number}", first) for number in range(10)]
    await begun.reached()
    for call in calls[::2]:
        assert call.cancel()
    await heard_everywhere(dask_flow)
    behind = step("behind", calls[1])
    gate.open()
    assert await asyncio.gather(*calls[1::2], behind) == [*(f"call {number}" for number in range(1, 10, 2)), "behind"]
    assert {call.state for call in calls[::2]} == {TaskState.CANCELLED}
    assert not {f"call {number}" for number in range(0, 10, 2)} & set(notes.lines)


async def test_a_running_call_of_a_bundle_can_be_cancelled(dask_flow, tmp_path):
    """The command of a cancelled call ends; the next call of the bundle begins."""
    begun, gate = Gate(tmp_path / "begun"), Gate(tmp_path / "gate")

    @dask_flow.executable_task
    def command(wait):
        if not wait:
            return ["echo", "done"]
        return ["sh", "-c", f"touch {begun.path}; exec sleep 60"]

    await known(command, call=lambda task: task(wait=False))
    first = command(wait=True)
    calls = [first, *(command(wait=False) for _ in range(3))]
    await begun.reached()
    first.cancel()
    assert await asyncio.gather(*calls[1:]) == ["done\n"] * 3
    assert not gate.is_open


async def test_states_and_events_are_each_calls_own(dask_flow, tmp_path):
    """While a bundle runs, the call that has begun is RUNNING and the next PENDING; each has events of its own."""
    gate, begun = Gate(tmp_path / "gate"), Gate(tmp_path / "begun")
    told = []

    @dask_flow.function_task
    def step(number, *before):
        if number == 1:
            begun.open()
            gate.wait()
        return number

    await known(step, call=lambda task: task(0))
    dask_flow.events.subscribe(told.append)
    await step(0)
    calls = [step(0)]
    calls += [step(1, calls[0])]
    calls += [step(2, calls[1])]
    await begun.reached()
    await until(lambda: calls[1].state is TaskState.RUNNING)
    assert calls[2].state is TaskState.PENDING
    gate.open()
    assert await asyncio.gather(*calls) == [0, 1, 2]
    kinds = {"TaskStarted", "TaskCompleted"}
    await until(
        lambda: all(
            kinds <= {type(event).__name__ for event in told if getattr(event, "id", "") == call.id} for call in calls
        )
    )
    for call in calls:
        done = next(event for event in told if type(event).__name__ == "TaskCompleted" and event.id == call.id)
        assert done.worker
        assert done.started <= done.time


async def test_bundles_go_when_nobody_holds_their_calls(dask_flow):
    """When the futures of its calls are dropped, the values of a bundle leave the cluster."""
    task = dask_flow.function_task(add)
    await known(task)
    calls = [task(number) for number in range(50)]
    await calls[7]
    client = calls[7].dask_future.client

    def keys(dask_scheduler):
        return [key for key in dask_scheduler.tasks if str(key).startswith("add-")]

    assert await asyncio.to_thread(client.run_on_scheduler, keys)
    del calls
    for _ in range(100):
        if not await asyncio.to_thread(client.run_on_scheduler, keys):
            break
        await asyncio.sleep(0.02)  # between looks at a fact of another thread
    assert not await asyncio.to_thread(client.run_on_scheduler, keys)


def note_and_die(notes, number):
    Notes(notes).add(str(number))
    if number == 13:
        os._exit(3)
    return number


async def test_a_call_that_ends_its_worker_costs_only_itself(tmp_path):
    """Of a bundle of 30 calls one ends its worker each time: it is begun as often as it may be, and the others end well."""
    notes = Notes(tmp_path / "notes")
    async with WorkflowEngine.create(PROGRAMS) as flow:
        losses = []
        flow.events.subscribe(losses.append, kinds=TaskLost)
        task = flow.function_task(note_and_die)
        await known(task, call=lambda each: each(notes.path, -1))
        calls = [task(notes.path, number) for number in range(30)]
        found = await asyncio.wait_for(asyncio.gather(*calls, return_exceptions=True), 60)
    assert isinstance(found[13], WorkerLostError)
    assert "was lost 4 times with its worker" in str(found[13])
    assert [each for each in found if not isinstance(each, WorkerLostError)] == [n for n in range(30) if n != 13]
    assert notes.lines.count("13") == 4
    assert sorted(loss.count for loss in losses) == [1, 2, 3, 4]  # each is told when its cause is known


# The same graph, bundled and not

KINDS = ("add", "add", "add", "fail", "flaky", "slow", "cancelled")


@st.composite
def graphs(draw):
    """Steps, each with its kind and what it depends on; the first waits until cancelling is over."""
    steps = [("gate", ())]
    for place in range(1, draw(st.integers(2, 25))):
        kind = draw(st.sampled_from(KINDS))
        before = draw(st.lists(st.integers(0, place - 1), unique=True, max_size=3))
        steps.append((kind, tuple({0, *before} if kind == "cancelled" else before)))
    return steps


async def outcomes(steps, folder, *, bundle):
    """How each step ends, how often it began, and how many Dask tasks there were."""
    notes, gate, begun = (
        Notes(folder / f"notes {bundle}"),
        Gate(folder / f"gate {bundle}"),
        Gate(folder / f"begun {bundle}"),
    )

    def body(kind, name, *inputs):
        notes.add(name)
        if kind == "gate":
            begun.open()
            gate.wait()
        elif kind == "fail":
            raise ValueError(name)
        elif kind == "flaky" and notes.lines.count(name) == 1:
            raise OSError(name)
        return sum(inputs) + 1

    async def slow(kind, name, *inputs):
        notes.add(name)
        await asyncio.sleep(5 if kind == "slow" else 0)

    async with open_engine("dask") as flow:
        tasks = {kind: flow.function_task(bundle=bundle)(body) for kind in {*KINDS, "gate"}}
        tasks["flaky"] = flow.function_task(bundle=bundle, retries=1)(body)
        tasks["slow"] = flow.function_task(bundle=bundle, timeout=0.25)(slow)
        await known(tasks["add"], flow.function_task(slow), call=lambda task: task("add", "known"))
        calls = []
        for number, (kind, upstream) in enumerate(steps):
            calls.append(tasks[kind](kind, f"step {number}", *(calls[up] for up in upstream)))
        await begun.reached()
        for call, (kind, _) in zip(calls, steps, strict=True):
            if kind == "cancelled":
                call.cancel()
        await heard_everywhere(flow)
        gate.open()
        found = await asyncio.gather(*calls, return_exceptions=True)
    ends = [each if isinstance(each, int) else type(each).__name__ for each in found]
    # What depends on two calls of which one fails and one is cancelled ends as the first of them does.
    ends = ["nothing" if each in {"CancelledError", "DependencyFailureError"} else each for each in ends]
    starts = [notes.lines.count(f"step {number}") for number in range(len(steps))]
    return list(zip(ends, starts, strict=True))


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(graphs())
async def test_a_graph_ends_the_same_bundled_or_not(tmp_path_factory, steps):
    """Values, errors, retries, timeouts, cancellations and the number of starts are the same with bundles and without."""
    folder = tmp_path_factory.mktemp("graph")
    assert await outcomes(steps, folder, bundle=True) == await outcomes(steps, folder, bundle=False)
