"""What users are told of what happens: ``flow.events``."""

import asyncio
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from asyncflow import ConcurrentExecutionBackend, NoEventLoopError, WorkflowEngine, events
from asyncflow.events import define_event, subscriptions
from asyncflow.runs.history import History
from conftest import open_engine
from gates import Gate, fails_once, on_scheduler, until


class Told(list):
    """A callback that keeps what it is told."""

    def __call__(self, event):
        self.append(event)

    def of(self, future):
        """The names of the events of one call, those of waiting left out: they depend on who was free."""
        return [each.event_type for each in self if each.key == future.id and each.event_type != "TaskQueued"]


WHOLE = ["TaskCreated", "TaskResolved", "TaskSubmitted", "TaskStarted"]


def add(x, y=0):
    return x + y


async def test_each_step_of_a_call_is_told_once_and_in_order(any_flow):
    """Created, resolved, submitted, started, completed, each with the same id and name; waiting between, if at all."""
    told = Told()
    any_flow.events.subscribe(told)
    task = any_flow.function_task(add)
    calls = [task(1), *(task(1, 2) for _ in range(20))]
    calls.append(task(calls[0], 1))
    assert await calls[-1] == 2
    await asyncio.gather(*calls)
    await until(lambda: all("TaskCompleted" in told.of(call) for call in calls))
    for call in calls:
        assert told.of(call) == [*WHOLE, "TaskCompleted"]
        assert {each.name for each in told if each.key == call.id} == {"add"}
        order = [each.event_type for each in told if each.key == call.id]
        assert "TaskQueued" not in order or (order[2] == "TaskSubmitted" and order[-2] == "TaskStarted")
    ended = next(each for each in told if each.key == calls[-1].id and each.event_type == "TaskCompleted")
    assert ended.started <= ended.time
    assert ended.duration >= 0
    assert ended.worker
    created = next(each for each in told if each.key == calls[-1].id)
    assert (created.task_type, created.depends_on, created.backend) == (
        "function",
        (calls[0].id,),
        any_flow.backend.name,
    )


async def test_a_failure_is_told_with_its_error_and_its_start(any_flow):
    """However short the body was; dependents fail as well and have never started."""
    told = Told()
    any_flow.events.subscribe(told)

    @any_flow.function_task
    def fails():
        raise LookupError("no such thing")

    first = fails()
    second = any_flow.function_task(add)(first)
    with pytest.raises(Exception, match="no such thing"):
        await second
    await until(lambda: "TaskFailed" in told.of(second))
    assert told.of(first) == [*WHOLE, "TaskFailed"]
    assert "TaskStarted" not in told.of(second)
    failed = next(each for each in told if each.key == first.id and isinstance(each, events.TaskFailed))
    assert (failed.error_type, failed.error) == ("LookupError", "LookupError: no such thing")
    assert failed.started is not None


async def test_each_attempt_is_told(any_flow):
    """Each has its start, and all but the last are told as retried; also where the whole takes a moment."""
    told = Told()
    any_flow.events.subscribe(told)

    @any_flow.function_task(retries=2)
    def fails():
        raise OSError("again")

    call = fails()
    with pytest.raises(OSError, match="again"):
        await call
    await until(lambda: "TaskFailed" in told.of(call))
    again = ["TaskStarted", "TaskRetried"]
    assert told.of(call) == [*WHOLE[:-1], *again, *again, "TaskStarted", "TaskFailed"]
    assert [each.attempt for each in told if isinstance(each, events.TaskRetried)] == [1, 2]


async def test_a_cancelled_call_is_told_with_what_is_known_of_its_start(any_flow, tmp_path):
    """One that runs has a start; one that waits has none."""
    told, begun, end = Told(), Gate(tmp_path / "begun"), Gate(tmp_path / "end")
    any_flow.events.subscribe(told)

    @any_flow.function_task
    def waits(begun, end):
        begun.open()
        end.wait()

    running = waits(begun, end)
    waiting = any_flow.function_task(add)(running)
    await begun.reached()
    running.cancel()
    end.open()
    await until(lambda: "TaskCanceled" in told.of(waiting))
    assert told.of(running)[-1] == "TaskCanceled"
    last = next(each for each in told if each.key == waiting.id and isinstance(each, events.TaskCanceled))
    assert last.started is None


async def test_calls_that_are_sent_again_with_another_are_told_by_their_new_ids(flow, tmp_path):
    """With ``retry_with`` a call gets another id, and so does what depends on it: each is one call all the way."""
    told, path = Told(), str(tmp_path / "tries")
    flow.events.subscribe(told)
    first = flow.function_task(retries=1, retry_with={"timeout": 60})(fails_once)(path, 1)
    second = flow.function_task(add)(first, 1)
    old = first.id, second.id
    assert await second == 2
    await until(lambda: "TaskCompleted" in told.of(second))
    again = [(each.event_type, each.key, each.again) for each in told if getattr(each, "again", "")]
    assert again == [("TaskRetried", old[0], first.id), ("TaskResent", old[1], second.id)]
    assert [each.event_type for each in told if each.key == old[0]][-2:] == ["TaskStarted", "TaskRetried"]


async def test_the_journal_knows_calls_that_were_sent_again_once(tmp_path):
    """What a journal tells is as many calls as were made, under their last ids."""
    async with open_engine("threads", work_dir=tmp_path, uid="again") as flow:
        task = flow.function_task(retries=1, retry_with={"timeout": 60})(fails_once)
        first = task(str(tmp_path / "tries"), 1)
        second = flow.function_task(add)(first, 1)
        assert await second == 2
        ids = {first.id, second.id}
    calls = History.read(tmp_path / "again" / "journal.jsonl").calls
    assert calls.keys() == ids
    assert all(call.is_over for call in calls.values())


# Who is told of what


async def test_filters_choose_by_kind_and_by_task(thread_flow):
    """Classes, base classes, names of kinds, and patterns of names of tasks; both together narrow."""
    every, ends, named, tasks, both = (Told() for _ in range(5))
    thread_flow.events.subscribe(every)
    thread_flow.events.subscribe(ends, kinds=[events.TaskCompleted, events.TaskFailed])
    thread_flow.events.subscribe(named, kinds="TaskStarted")
    thread_flow.events.subscribe(tasks, kinds=events.TaskEvent)
    thread_flow.events.subscribe(both, kinds=["TaskCompleted"], tasks=["a*", "nothing"])
    one = thread_flow.function_task(add)(1)
    two = thread_flow.function_task(name="other")(add)(1)
    await asyncio.gather(one, two)
    await until(lambda: len(ends) == 2 and len(both) == 1)
    assert {type(each) for each in ends} == {events.TaskCompleted}
    assert {each.event_type for each in named} == {"TaskStarted"}
    assert len(named) == 2
    assert len(tasks) == 10
    assert [each.key for each in both] == [one.id]
    assert any(isinstance(each, events.SessionStarted) for each in every)


async def test_a_coroutine_is_awaited_before_the_next_event(thread_flow):
    """Events are told in order, one after the other, also where the callback takes its time."""
    order, running = [], []

    async def slow(event):
        assert not running
        running.append(event)
        await asyncio.sleep(0)
        running.pop()
        order.append(event.key)

    thread_flow.events.subscribe(slow, kinds=events.TaskCreated)
    calls = [thread_flow.function_task(add)(number) for number in range(20)]
    await asyncio.gather(*calls)
    await until(lambda: len(order) == 20)
    assert order == [call.id for call in calls]


@pytest.mark.parametrize("is_async", [False, True])
async def test_a_callback_that_raises_is_logged_once_and_hurts_nobody(thread_flow, caplog, is_async):
    """The run goes on, and so do other callbacks and this one."""
    seen, others = [], Told()

    def bad(event):
        seen.append(event)
        raise RuntimeError("bad callback")

    async def bad_async(event):
        bad(event)

    thread_flow.events.subscribe(bad_async if is_async else bad, kinds=events.TaskCreated)
    thread_flow.events.subscribe(others, kinds=events.TaskCreated)
    assert await asyncio.gather(*(thread_flow.function_task(add)(n) for n in range(5))) == list(range(5))
    await until(lambda: len(seen) == len(others) == 5)
    assert len([each for each in caplog.records if "event callback" in each.message]) == 1


async def test_a_closed_subscription_is_told_nothing_more(thread_flow):
    """At its ``close``, or at the end of its ``with``; closing again does nothing, and nothing of it is kept."""
    told = Told()
    with thread_flow.events.subscribe(told, kinds=events.TaskCreated) as subscription:
        await thread_flow.function_task(add)(1)
        await until(lambda: len(told) == 1)
    subscription.close()
    await thread_flow.function_task(add)(1)
    assert len(told) == 1
    assert not thread_flow.events._subscriptions


async def test_who_comes_late_is_told_what_is_the_case(dask_flow):
    """The session and the workers that there are; not the calls that have been."""
    first, late = Told(), Told()
    dask_flow.events.subscribe(first)
    await dask_flow.function_task(add)(1)
    await until(lambda: sum(isinstance(each, events.WorkerJoined) for each in first) == 2)
    dask_flow.events.subscribe(late)
    await until(lambda: len(late) >= 4)
    assert [each.event_type for each in late[:4]] == ["PoolDeclared", "SessionStarted", *["WorkerJoined"] * 2]
    assert all(each.slots == 2 for each in late[2:4])


async def test_what_a_callback_does_not_take_is_dropped_and_counted(thread_flow, monkeypatch):
    """A bound on what waits for one callback; the newest are those that go."""
    monkeypatch.setattr(subscriptions, "WAITING", 3)
    told, tick = Told(), define_event("test.Tick", number=int)
    subscription = thread_flow.events.subscribe(told, kinds=tick)
    for number in range(10):  # and no turn of the loop between them
        thread_flow.events.emit(tick(number=number))
    await until(lambda: len(told) == 3)
    assert [each.number for each in told] == [0, 1, 2]
    assert subscription.dropped == 7


async def test_the_end_of_the_engine_tells_what_is_left():
    """The last event is the end of the session, and the last calls are told with what they took."""
    for kind in ("dask", "threads", "processes"):
        told = Told()
        async with open_engine(kind) as flow:
            flow.events.subscribe(told)
            last = flow.function_task(add)(1)
        assert told.of(last) == [*WHOLE, "TaskCompleted"], kind
        ended = next(each for each in told if isinstance(each, events.TaskCompleted))
        assert ended.worker and ended.started, kind
        assert told[-1].event_type == "SessionEnded"


async def test_a_callback_on_another_loop_is_told_the_last_ones_too():
    """A subscription belongs to the loop on which it was made, wherever the engine is closed."""
    told, threads, is_there = Told(), set(), threading.Event()
    flow = await WorkflowEngine.create(backend=ConcurrentExecutionBackend(pool := ThreadPoolExecutor(1)))

    def callback(event):
        told.append(event)
        threads.add(threading.get_ident())

    async def elsewhere():
        flow.events.subscribe(callback)
        is_there.set()
        await until(lambda: told and told[-1].event_type == "SessionEnded")

    other = threading.Thread(target=lambda: asyncio.run(elsewhere()))
    other.start()
    assert await asyncio.to_thread(is_there.wait, 10)
    call = flow.function_task(add)(1)
    await call
    await flow.shutdown()
    assert told[-1].event_type == "SessionEnded"
    assert threads == {other.ident}
    assert told.of(call) == [*WHOLE, "TaskCompleted"]
    await asyncio.to_thread(other.join)
    pool.shutdown()


async def test_a_blocked_loop_is_told_later_with_true_times(any_flow, tmp_path):
    """A notebook cell that computes delays what it is told, not when that was."""
    told, ran = Told(), Gate(tmp_path / "ran")
    any_flow.events.subscribe(told)

    @any_flow.function_task
    def body(ran):
        ran.open()

    first = body(Gate(tmp_path / "first"))
    await first  # by now everything is set up
    call = body(ran)
    await asyncio.sleep(0)  # the batch leaves
    await asyncio.sleep(0)
    ran.wait()  # on this loop
    over = time.time()
    await call
    await until(lambda: "TaskCompleted" in told.of(call))
    started = next(each for each in told if each.key == call.id and isinstance(each, events.TaskStarted))
    assert started.time <= over


def test_subscribing_needs_a_loop():
    """Outside of one it is refused in the words of calls."""
    pool = ThreadPoolExecutor(1)

    async def make():
        return await WorkflowEngine.create(backend=ConcurrentExecutionBackend(pool))

    async def end(flow):
        await flow.shutdown()

    flow = asyncio.run(make())
    with pytest.raises(NoEventLoopError, match="subscribe"):
        flow.events.subscribe(print)
    asyncio.run(end(flow))
    pool.shutdown()


# Events of users


def test_events_of_users_have_a_namespace_and_fields_of_their_own():
    """What every event has is refused as a field; defaults are each event's own."""
    timer = define_event("etl.StageTimer", stage=str, seconds=(float, 0.0), tags=(list, []))
    one, two = timer(stage="load"), timer(stage="save", time=5.0)
    one.tags.append("x")
    assert (one.event_type, one.kind, one.seconds, two.tags, two.time) == (
        "etl.StageTimer",
        "etl.StageTimer",
        0.0,
        [],
        5.0,
    )
    assert one.facts == {"stage": "load", "tags": ["x"]}
    assert define_event("a.Found", id=int)(id=7).facts == {"id": 7}
    with pytest.raises(TypeError):
        timer(stag="load")
    for name in ("StageTimer", ".StageTimer", "etl.", "etl.stage timer"):
        with pytest.raises(ValueError, match="namespace"):
            define_event(name)
    for field in ("time", "kind", "event_type", "facts", "key", "name", "class"):
        with pytest.raises(ValueError, match=field):
            define_event("etl.Bad", **{field: str})


async def test_events_of_users_are_told_and_journaled_under_their_name(tmp_path):
    """To those who ask for them by class or name, and in the journal; what is no event is refused."""
    told, timer = Told(), define_event("etl.StageTimer", stage=str)
    async with open_engine("threads", work_dir=tmp_path, uid="own") as flow:
        flow.events.subscribe(told, kinds="etl.StageTimer")
        flow.events.emit(timer(stage="load"))
        with pytest.raises(TypeError, match="define_event"):
            flow.events.emit({"stage": "load"})
    assert [each.stage for each in told] == ["load"]
    text = await asyncio.to_thread((tmp_path / "own" / "journal.jsonl").read_text)
    lines = [json.loads(line) for line in text.splitlines()]
    assert [line["facts"] for line in lines if line["state"] == "etl.StageTimer"] == [{"stage": "load"}]


# Nobody listens, and truth


def _heard_by(dask_scheduler):
    told = [dict(task.metadata or {}) for task in dask_scheduler.tasks.values()]
    return [name for name in dask_scheduler.plugins if name.endswith("-observer")], [each for each in told if each]


def _listening(dask_worker):
    sites = [getattr(each, "site", None) for each in dask_worker.plugins.values()]
    return [name for name in dask_worker.plugins if name.endswith("-hearing")], any(s and s.is_heard for s in sites)


async def test_nothing_is_measured_or_sent_where_nobody_listens(dask_flow):
    """No plugin on the scheduler, none on workers; with a listener there is; nothing stays with the tasks."""
    task = dask_flow.function_task(add)
    for is_heard in (False, True):
        call = task(1)
        await call
        client = call.dask_future.client
        plugins, metadata = await on_scheduler(client, _heard_by)
        workers = await asyncio.to_thread(client.run, _listening)
        assert (len(plugins), bool(metadata)) == (is_heard, False)
        assert all((len(names), heard) == (is_heard, is_heard) for names, heard in workers.values())
        if not is_heard:
            dask_flow.events.subscribe(lambda event: None)


async def test_no_books_are_kept_when_the_last_listener_has_left(dask_flow):
    """What workers tell of calls that nobody wants to hear of is let go."""
    told = Told()
    with dask_flow.events.subscribe(told):
        await dask_flow.function_task(add)(1)
        await until(lambda: any(isinstance(each, events.TaskCompleted) for each in told))
    await asyncio.gather(*(dask_flow.function_task(add)(n) for n in range(50)))
    accounts = dask_flow._dispatch.ledger.accounts
    assert not accounts._early
    assert not accounts._done


def measured(seconds):
    began = time.time()
    time.sleep(seconds)
    return began, time.time()


WORKER_PROGRAMS = {
    "cluster": {
        "kind": "local",
        "n_workers": 2,
        "threads_per_worker": 2,
        "dashboard_address": None,
        "memory_limit": 0,
    }
}


def _most_at_once(spans):
    """The most that overlap; one that begins as another ends does not."""
    steps = sorted([(end, -1) for _, end in spans] + [(start, 1) for start, _ in spans])
    now = most = 0
    for _, step in steps:
        now += step
        most = max(most, now)
    return most


@pytest.mark.parametrize("kind", ["dask", "programs", "threads", "processes"])
async def test_times_are_true(kind):
    """Starts and stops are what 500 bodies measured, and at no instant does a worker run more than it has slots."""
    told = Told()
    engine = WorkflowEngine.create(WORKER_PROGRAMS) if kind == "programs" else open_engine(kind)
    async with engine as flow:
        flow.events.subscribe(told)
        task = flow.function_task(measured)
        calls = {(call := task(0.001 + 0.019 * (n * 7919 % 500) / 500)).id: call for n in range(500)}
        values = dict(zip(calls, await asyncio.gather(*calls.values()), strict=True))
    ends = {each.id: each for each in told if isinstance(each, events.TaskCompleted)}
    starts = {each.id: each for each in told if isinstance(each, events.TaskStarted)}
    assert ends.keys() == starts.keys() == calls.keys()
    off = sorted(
        abs(told - true)
        for key, (began, ended) in values.items()
        for told, true in ((starts[key].time, began), (ends[key].started, began), (ends[key].time, ended))
    )
    assert off[int(len(off) * 0.95)] < 0.020
    assert off[-1] < 0.100
    slots = {each.worker: each.slots for each in told if isinstance(each, events.WorkerJoined)}
    for worker in {each.worker for each in ends.values()}:
        spans = [(each.started, each.time) for each in ends.values() if each.worker == worker]
        assert _most_at_once(spans) <= slots.get(worker, 1), worker
