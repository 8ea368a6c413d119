"""Tasks that are lost with their worker: who is blamed, how often, and what becomes of those that wait for them."""

import asyncio
import os
import subprocess
import sys
from contextlib import asynccontextmanager, contextmanager

import pytest
from distributed import Scheduler, Worker

from asyncflow import DaskExecutionBackend, DependencyFailureError, TaskState, WorkerLostError, WorkflowEngine
from asyncflow.ledger import task_name
from asyncflow.queues.bodies import SLOTS, Bodies, Log, make_page, stub
from asyncflow.queues.causes import Cause, JobEnd
from asyncflow.queues.losses import GRANTED, Losses, fail
from asyncflow.queues.witness import TOPIC
from gates import Gate, Notes, until


class Site:
    """A scheduler that counts losses, an engine on it, and workers that come and go."""

    def __init__(self, scheduler, flow):
        self.scheduler, self.flow = scheduler, flow
        self.losses = scheduler.plugins[Losses.name]
        self.workers = []

    async def add(self, nthreads=2, **options):
        """Another worker, in this process."""
        worker = Worker(
            self.scheduler.address, nthreads=nthreads, memory_limit=0, dashboard_address="127.0.0.1:0", **options
        )
        self.workers.append(await worker)
        return worker

    async def lose(self, worker):
        """The connection to a worker breaks."""
        await self.scheduler.remove_worker(worker.address, stimulus_id="test-lost")
        await worker.close(nanny=False, executor_wait=False)


@asynccontextmanager
async def site():
    """A scheduler without workers."""
    scheduler = await Scheduler(host="127.0.0.1", port=0, dashboard_address="127.0.0.1:0")
    losses = Losses(scheduler)
    scheduler.add_plugin(losses, name=losses.name)
    made = None
    try:
        async with WorkflowEngine.create(backend=DaskExecutionBackend(address=scheduler.address)) as flow:
            made = Site(scheduler, flow)
            yield made
    finally:
        for worker in made.workers if made is not None else ():
            await worker.close(nanny=False, executor_wait=False)
        await scheduler.close()


@contextmanager
def program(address):
    """A worker of one thread that is a process of its own, and has no nanny."""
    argv = ["-m", "distributed.cli.dask_worker", address, "--no-nanny", "--nthreads=1", "--memory-limit=0"]
    argv += ["--dashboard-address=127.0.0.1:0", "--host=127.0.0.1"]
    with subprocess.Popen([sys.executable, *argv], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as worker:
        try:
            yield worker
        finally:
            worker.kill()


def hold(number, notes, gate):
    """Say that it has begun, and where; then wait."""
    from distributed import get_worker

    notes.add(f"{number} {get_worker().address}")
    gate.wait()
    return number


def begun(notes, worker):
    """The numbers of the tasks that began on `worker`."""
    return {int(line.split()[0]) for line in notes.lines if line.split()[1] == worker.address}


async def outcomes(futures):
    """The numbers of those that were lost, and the values of the others."""
    results = await asyncio.gather(*futures, return_exceptions=True)
    lost = {number for number, result in enumerate(results) if isinstance(result, WorkerLostError)}
    return lost, [result for result in results if not isinstance(result, WorkerLostError)]


async def test_those_that_ran_are_blamed_and_no_others(tmp_path):
    """Of eight tasks that a worker of two threads had been given, the two that had begun are lost with it."""
    notes, gate = Notes(tmp_path / "notes"), Gate(tmp_path / "gate")
    async with site() as here:
        task = here.flow.function_task(lost_retries=0)(hold)
        worker = await here.add()
        futures = [task(number, notes, gate) for number in range(8)]
        await until(lambda: sum(future.state is TaskState.RUNNING for future in futures) == 2)
        await until(lambda: len(here.scheduler.workers[worker.address].processing) > 2)
        first = begun(notes, worker)
        await here.lose(worker)
        gate.open()
        await here.add()
        lost, values = await outcomes(futures)
    assert lost == first
    assert values == sorted(set(range(8)) - first)


async def test_a_wide_task_leaves_room_for_no_other(tmp_path):
    """Of tasks that need all cores of the worker only one can have been running."""
    notes, gate = Notes(tmp_path / "notes"), Gate(tmp_path / "gate")
    async with site() as here:
        task = here.flow.function_task(lost_retries=0, cores=2)(hold)
        worker = await here.add(resources={"cores": 2})
        futures = [task(number, notes, gate) for number in range(4)]
        await until(lambda: any(future.state is TaskState.RUNNING for future in futures))
        await until(lambda: len(here.scheduler.workers[worker.address].processing) == 4)
        first = begun(notes, worker)
        await here.lose(worker)
        gate.open()
        await here.add(resources={"cores": 2})
        lost, values = await outcomes(futures)
    assert len(first) == 1
    assert lost == first
    assert values == sorted(set(range(4)) - first)


async def test_a_later_task_of_higher_priority_is_not_blamed(tmp_path):
    """It waits for a slot that the one before it holds."""
    notes, gate = Notes(tmp_path / "notes"), Gate(tmp_path / "gate")
    async with site() as here:
        task = here.flow.function_task(lost_retries=0)(hold)
        worker = await here.add(nthreads=1)
        futures = [task(0, notes, gate)]
        await until(lambda: futures[0].state is TaskState.RUNNING)
        futures.append(task.options(priority=10)(1, notes, gate))
        await until(lambda: len(here.scheduler.workers[worker.address].processing) == 2)
        await here.lose(worker)
        gate.open()
        await here.add(nthreads=1)
        lost, values = await outcomes(futures)
    assert (lost, values) == ({0}, [1])


@pytest.mark.parametrize("granted", [None, 1])
async def test_a_task_is_begun_again_as_often_as_it_may(granted, tmp_path):
    """And no more often: then it fails with what the end of its worker meant, and names that worker."""
    notes, gate = Notes(tmp_path / "notes"), Gate(tmp_path / "gate")
    times = 1 + (GRANTED if granted is None else granted)
    async with site() as here:
        options = {} if granted is None else {"lost_retries": granted}
        task = here.flow.function_task(**options)(hold)
        future = task(0, notes, gate)
        for _ in range(times):
            worker = await here.add(nthreads=1)
            await until(lambda worker=worker: begun(notes, worker))
            await here.lose(worker)
        gate.open()
        with pytest.raises(WorkerLostError, match=f"'hold' was lost {times} times") as caught:
            await future
    assert caught.value.worker == worker.address
    assert len(notes.lines) == times


async def test_a_worker_that_leaves_in_order_counts_as_well(tmp_path):
    """A task longer than the lifetime of its workers would be begun again for ever."""
    notes, gate = Notes(tmp_path / "notes"), Gate(tmp_path / "gate")
    async with site() as here:
        task = here.flow.function_task(lost_retries=0)(hold)
        future = task(0, notes, gate)
        worker = await here.add(nthreads=1)
        await until(lambda: begun(notes, worker))
        await here.scheduler.remove_worker(worker.address, stimulus_id="test-left", expected=True, close=True)
        gate.open()
        with pytest.raises(WorkerLostError):
            await future


async def test_a_task_that_ends_well_is_not_reminded_of_its_losses(tmp_path):
    """Neither it, nor those that wait for it."""
    notes, gate = Notes(tmp_path / "notes"), Gate(tmp_path / "gate")
    async with site() as here:
        task = here.flow.function_task(lost_retries=1)(hold)

        @here.flow.function_task(lost_retries=0)
        def double(value):
            return 2 * value

        future = task(21, notes, gate)
        dependent = double(future)
        worker = await here.add(nthreads=1)
        await until(lambda: begun(notes, worker))
        await here.lose(worker)
        gate.open()
        await here.add(nthreads=1)
        assert (await future, await dependent) == (21, 42)


async def test_results_lost_with_a_worker_are_nobodys_fault(tmp_path):
    """A finished task whose value went with its worker is run again, though it is granted no loss."""
    notes, gate = Notes(tmp_path / "notes"), Gate(tmp_path / "gate")
    gate.open()
    async with site() as here:
        task = here.flow.function_task(lost_retries=0)(hold)
        worker = await here.add(nthreads=1)
        future = task(5, notes, gate)
        key = future.dask_future.key
        await until(lambda: key in here.scheduler.tasks and here.scheduler.tasks[key].state == "memory")
        await here.lose(worker)
        await here.add(nthreads=1)
        assert await future == 5
    assert len(notes.lines) == 2


async def test_a_task_that_kills_its_worker_fails_with_those_that_wait_for_it(tmp_path):
    """A program ended by a body takes nobody along: dependents are told the cause, a bystander ends well."""
    notes = Notes(tmp_path / "notes")
    async with site() as here:

        @here.flow.function_task(lost_retries=1, priority=1)  # it is the first to begin, and so the one that is blamed
        def crash(notes):
            notes.add("crash")
            os._exit(3)

        @here.flow.function_task(lost_retries=0)
        def follow(value):
            return value

        @here.flow.function_task
        def stand_by():
            return "well"

        future = crash(notes)
        dependent = follow(future)
        last = follow(dependent)
        bystander = stand_by()  # granted losses: it may be the one that begins while the other ends its process
        for number in range(2):
            with program(here.scheduler.address) as worker:
                assert await asyncio.to_thread(worker.wait, 30) == 3
            await until(lambda number=number: len(notes.lines) == number + 1 and not here.scheduler.workers)
        with pytest.raises(WorkerLostError, match="'crash' was lost 2 times") as caught:
            await future
        for waiting, way in ((dependent, ["crash"]), (last, ["follow", "crash"])):
            with pytest.raises(DependencyFailureError) as failure:
                await waiting
            assert failure.value.failed_dependencies == way
            assert str(failure.value.root_cause) == str(caught.value)
        with program(here.scheduler.address):
            assert await bystander == "well"
    assert len(notes.lines) == 2


async def test_tasks_that_nothing_can_run_are_failed_with_the_reason(tmp_path):
    """With those that wait for them; what has ended or waits for others is left alone."""
    notes, gate = Notes(tmp_path / "notes"), Gate(tmp_path / "gate")
    async with site() as here:

        @here.flow.function_task
        def plus(value):
            return value + 1

        task = here.flow.function_task(hold)
        await here.add(nthreads=1)
        running = task(1, notes, gate)
        doomed = task.options(resources={"gpu": 1})(2, notes, gate)
        dependent, other = plus(doomed), plus(running)
        await until(lambda: here.scheduler.unrunnable and notes.lines)
        tasks = list(here.scheduler.tasks.values())
        fail(
            here.scheduler, [each for each in tasks if each in here.scheduler.unrunnable], WorkerLostError("nobody can")
        )
        with pytest.raises(WorkerLostError):
            await doomed
        with pytest.raises(DependencyFailureError):
            await dependent
        fail(here.scheduler, [each for each in tasks if each.state in {"waiting", "memory", "erred"}], OSError())
        gate.open()
        assert (await running, await other) == (1, 2)


class Record:
    """A job of which the queue says nothing before `speaks`."""

    def __init__(self):
        self.speaks = False

    def is_settled(self, process):
        return self.speaks

    def end(self, log):
        return JobEnd("12", "cpu", "NODE_FAIL node3", Cause.NODE if self.speaks else None, log=log)

    def tail(self):
        return "the last line"


async def lose_with(here, record, task, *args):
    """Run `task` until it has begun on a worker whose job has `record`, and lose that; another worker is there."""
    here.losses.record = lambda _: record
    worker = await here.add(nthreads=1)
    future = task(*args)
    await until(lambda: begun(args[1], worker))
    await here.lose(worker)
    return future, worker


async def test_a_task_waits_for_its_cause_and_begins_nowhere(tmp_path):
    """Though another worker is free, and other tasks run there."""
    notes, gate, record = Notes(tmp_path / "notes"), Gate(tmp_path / "gate"), Record()
    async with site() as here:
        task = here.flow.function_task(lost_retries=0)(hold)
        future, worker = await lose_with(here, record, task, 0, notes, gate)
        gate.open()
        await here.add(nthreads=1)
        assert await task(1, notes, gate) == 1
        assert len(notes.lines) == 2
        assert not future.done()
        record.speaks = True
        here.losses.look()
        with pytest.raises(WorkerLostError, match="the node of its job failed \\(NODE_FAIL node3\\)") as caught:
            await future
    error = caught.value
    assert (error.worker, error.task, error.job, error.reason) == (worker.address, "hold", "12", "NODE_FAIL node3")
    assert error.log == "the last line"
    assert len(notes.lines) == 2


async def test_a_cause_that_never_comes_is_not_waited_for_for_ever(tmp_path, monkeypatch):
    """The task fails with what is known."""
    monkeypatch.setattr("asyncflow.queues.inquests.PATIENCE", 0.05)
    notes, gate = Notes(tmp_path / "notes"), Gate(tmp_path / "gate")
    async with site() as here:
        task = here.flow.function_task(lost_retries=0)(hold)
        future, _ = await lose_with(here, Record(), task, 0, notes, gate)
        with pytest.raises(WorkerLostError, match="nobody can tell why"):
            await future


async def test_a_record_that_fails_keeps_nobody_waiting(tmp_path):
    """Whatever is wrong with who is asked."""

    class Bad(Record):
        def end(self, log):
            raise RuntimeError("no such job")

    notes, gate, record = Notes(tmp_path / "notes"), Gate(tmp_path / "gate"), Bad()
    record.speaks = True
    async with site() as here:
        task = here.flow.function_task(lost_retries=0)(hold)
        future, _ = await lose_with(here, record, task, 0, notes, gate)
        with pytest.raises(WorkerLostError, match="nobody can tell why"):
            await future


async def test_a_task_that_is_begun_again_waits_for_no_cause(tmp_path):
    """Only what is to fail needs one."""
    notes, gate, record = Notes(tmp_path / "notes"), Gate(tmp_path / "gate"), Record()
    async with site() as here:
        task = here.flow.function_task(lost_retries=1)(hold)
        future, _ = await lose_with(here, record, task, 0, notes, gate)
        gate.open()
        await here.add(nthreads=1)
        assert await future == 0
        assert not record.speaks


async def test_a_task_that_waits_for_its_cause_can_be_cancelled(tmp_path):
    """And nothing of it is left."""
    notes, gate, record = Notes(tmp_path / "notes"), Gate(tmp_path / "gate"), Record()
    async with site() as here:
        task = here.flow.function_task(lost_retries=0)(hold)
        future, _ = await lose_with(here, record, task, 0, notes, gate)
        future.cancel()
        await until(lambda: not here.scheduler.tasks)
        record.speaks = True
        here.losses.look()
        gate.open()
        await here.add(nthreads=1)
        assert await task(1, notes, gate) == 1


async def test_a_task_whose_inputs_are_lost_as_well_fails_all_the_same(tmp_path):
    """They are made again, for others perhaps; it is not begun again."""
    notes, gate = Notes(tmp_path / "notes"), Gate(tmp_path / "gate")
    async with site() as here:

        @here.flow.function_task
        def make():
            return 7

        task = here.flow.function_task(lost_retries=0)(hold)
        value = make()
        future, _ = await lose_with(here, None, task, value, notes, gate)
        gate.open()
        await here.add(nthreads=1)
        with pytest.raises(WorkerLostError):
            await future
        assert await value == 7
    assert len(notes.lines) == 1


def say(here, worker, **word):
    """The nanny of `worker` tells of the end of its process."""
    here.scheduler.log_event(TOPIC, {"worker": worker.address, **word})


async def run_two(here, task, *args):
    """Two calls that have begun on a worker of two threads that has a nanny; with that worker."""
    worker = await here.add(nthreads=2)
    here.scheduler.workers[worker.address].nanny = "tcp://127.0.0.1:1"
    futures = [task(number, *args) for number in range(2)]
    await until(lambda: begun(args[0], worker) == {0, 1})
    return futures, worker


@pytest.mark.parametrize("order", ["before the loss", "after the loss"])
async def test_what_a_nanny_says_to_have_run_is_blamed_and_no_other(order, tmp_path):
    """Though by what the scheduler knows it may as well have been the other; whichever it hears of first."""
    notes, gate = Notes(tmp_path / "notes"), Gate(tmp_path / "gate")
    async with site() as here:
        futures, worker = await run_two(here, here.flow.function_task(lost_retries=0)(hold), notes, gate)
        bodies = {"running": [stub(futures[1].dask_future.key)], "ended": []}
        if order == "before the loss":
            say(here, worker, bodies=bodies)
        await here.lose(worker)
        gate.open()
        await here.add()
        if order == "after the loss":
            await until(lambda: len(here.scheduler.unrunnable) == 2)  # neither begins before it is known
            say(here, worker, bodies=bodies)
        assert await futures[0] == 0
        assert len(notes.lines) == 3
        say(here, worker, end={"exit_code": 3})
        with pytest.raises(WorkerLostError, match=r"exited with status 3|nobody can tell why"):
            await futures[1]
    assert len(notes.lines) == 3


async def test_where_no_body_ran_the_one_that_had_just_ended_is_blamed(tmp_path):
    """It may have left something behind that ended the process; blaming nobody would begin it for ever."""
    notes, gate = Notes(tmp_path / "notes"), Gate(tmp_path / "gate")
    async with site() as here:
        futures, worker = await run_two(here, here.flow.function_task(lost_retries=0)(hold), notes, gate)
        await here.lose(worker)
        say(here, worker, bodies={"running": [], "ended": ["other-1", stub(futures[0].dask_future.key)]})
        say(here, worker, end={"exit_code": 3})
        gate.open()
        await here.add()
        assert await futures[1] == 1
        with pytest.raises(WorkerLostError, match="exited with status 3"):
            await futures[0]


async def test_a_nanny_that_says_nothing_is_not_waited_for_for_ever(tmp_path, monkeypatch):
    """Those count that can have been running, as where there is none."""
    monkeypatch.setattr("asyncflow.queues.inquests.PATIENCE", 0.05)
    notes, gate = Notes(tmp_path / "notes"), Gate(tmp_path / "gate")
    async with site() as here:
        futures, worker = await run_two(here, here.flow.function_task(lost_retries=0)(hold), notes, gate)
        await here.lose(worker)
        assert await outcomes(futures) == ({0, 1}, [])


async def test_what_may_be_lost_once_more_does_not_wait_for_the_nanny(tmp_path):
    """It is begun again at once; what the nanny says then is counted as if it had come in time."""
    notes, gate = Notes(tmp_path / "notes"), Gate(tmp_path / "gate")
    async with site() as here:
        task = here.flow.function_task(lost_retries=1)(hold)
        futures, worker = await run_two(here, task, notes, gate)
        await here.lose(worker)
        second = await here.add()
        await until(lambda: begun(notes, second) == {0, 1})
        await here.lose(second)  # one that has no nanny: both are counted, and may be too many
        await until(lambda: len(here.scheduler.unrunnable) == 2)
        await here.add()
        say(here, worker, bodies={"running": [stub(futures[1].dask_future.key)], "ended": []})
        say(here, worker, end={"exit_code": 3})
        gate.open()
        assert await futures[0] == 0
        with pytest.raises(WorkerLostError, match="'hold' was lost 2 times"):
            await futures[1]


def test_a_page_tells_what_ran_when_its_process_ended():
    """Also what had just ended; it is wiped for the next process, and tells nothing where nobody wrote."""
    page = make_page()
    try:
        assert page.take() is None
        log = Log(page.path)
        long = "\N{SNOWMAN}" * 200
        for key in ("a-1", long, "b-2"):
            log.begin(key)
        log.begin("b-2")  # a cancelled one that still runs, called again
        log.end("b-2")
        log.end("b-2")
        assert page.take() == Bodies(frozenset({"a-1", stub(long)}), frozenset({"b-2"}))
        assert page.take() is None
        Log(page.path).begin("c-3")
        assert page.take() == Bodies(frozenset({"c-3"}), frozenset())
    finally:
        page.close()


def test_a_page_tells_whose_it_is():
    """A worker may end before its nanny is told that it has come: it signs, and the next one anew."""
    page = make_page()
    try:
        assert page.worker is None
        log = Log(page.path)
        log.sign("tls://127.0.0.1:40000")
        log.begin("a-1")
        assert page.worker == "tls://127.0.0.1:40000"
        assert page.take() == Bodies(frozenset({"a-1"}), frozenset())
        assert page.worker is None
    finally:
        page.close()


def test_a_page_without_room_for_all_says_nothing():
    """Half of the truth would blame the wrong ones; what has ended makes room."""
    page = make_page()
    try:
        log = Log(page.path)
        for number in range(2 * SLOTS):
            log.begin(f"short-{number}")
            log.end(f"short-{number}")
        for number in range(SLOTS):
            log.begin(f"waits-{number}")
        assert len(page.take().running) == SLOTS
        log = Log(page.path)
        for number in range(SLOTS + 1):
            log.begin(f"waits-{number}")
        assert page.take() is None
    finally:
        page.close()


async def test_each_loss_is_an_event(tmp_path):
    """Also one after which the task is begun again; with key, worker, count and cause."""
    notes, gate, record = Notes(tmp_path / "notes"), Gate(tmp_path / "gate"), Record()
    record.speaks = True
    async with site() as here:
        task = here.flow.function_task(lost_retries=1)(hold)
        future, worker = await lose_with(here, record, task, 0, notes, gate)
        key = future.dask_future.key
        gate.open()
        await here.add(nthreads=1)
        assert await future == 0
        await until(lambda: here.scheduler.get_events(Losses.name))
        events = [event for _, event in here.scheduler.get_events(Losses.name)]
    cause = "the node of its job failed (NODE_FAIL node3)"
    assert events == [{"key": key, "worker": worker.address, "count": 1, "cause": cause}]


def test_a_task_is_called_by_its_name():
    """Keys are names with a number; what has none is called as it is."""
    assert task_name("relax-step-7a01") == "relax-step"
    assert task_name("alone") == "alone"
