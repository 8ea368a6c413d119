"""Where tasks that take long begin: on workers whose jobs last as long, and never on others."""

import asyncio
from contextlib import asynccontextmanager
from time import monotonic
from types import SimpleNamespace

import pytest
from distributed import SchedulerPlugin, Worker

from asyncflow import DaskExecutionBackend, RefusedError, TaskState, WorkflowEngine
from asyncflow.queues.durations import ENOUGH, KEPT, LONG, NAMES, Durations
from asyncflow.queues.jobs import Job
from asyncflow.queues.lifetime import lifetime_of
from asyncflow.queues.placement import Placement, PlacingScheduler
from asyncflow.queues.pools import Pool
from asyncflow.queues.recalling import Recalls
from asyncflow.queues.roster import Roster
from gates import Gate, Notes, until

HOUR = 3600.0
LIFETIME = lifetime_of(HOUR)
POOL = Pool("cpu", 4, cores=2, resources={"here": 100}, longest=LIFETIME.longest)

#: What asks for a resource is given to a worker at once, behind others; Dask keeps back other wide fan-outs.
AT_ONCE = {"here": 1}


class _Comers(SchedulerPlugin):
    """Tells the roster who comes and goes, as the scaler does."""

    def __init__(self, roster, placement):
        self.roster, self.placement = roster, placement

    def add_worker(self, scheduler, worker):
        now = monotonic()
        job = self.roster.worker_came(str(scheduler.workers[worker].name), worker, now)
        if job is not None and job.report.elapsed:
            job.started = job.joined = now - job.report.elapsed
        self.placement.note_workers()

    def remove_worker(self, scheduler, worker, **_):
        self.roster.worker_left(worker, monotonic())


class Site:
    """A scheduler that knows walltimes, an engine on it, and workers in jobs of any age."""

    def __init__(self, scheduler, flow, roster, placement):
        self.scheduler, self.flow, self.roster, self.placement = scheduler, flow, roster, placement
        self.recalls = Recalls(scheduler, placement)
        self.workers = []

    async def add(self, left=None, nthreads=1):
        """A worker, in this process, with so many seconds left for a task; a fresh one by default."""
        name = f"cpu-{len(self.workers)}"
        job = Job(name, "cpu", name, monotonic())
        if left is not None:
            age = LIFETIME.limit - LIFETIME.stagger - left
            job.report = SimpleNamespace(elapsed=age, has_ended=False)
        self.roster.add(job)
        address = self.scheduler.address
        worker = Worker(
            address,
            name=name,
            nthreads=nthreads,
            resources=POOL.resources,
            memory_limit=0,
            dashboard_address="127.0.0.1:0",
        )
        self.workers.append(await worker)
        return worker

    def age(self, worker, left):
        """Time has passed; the worker has so many seconds left for a task."""
        job = self.roster.job_of(worker.address)
        job.started = job.joined = monotonic() - (LIFETIME.limit - LIFETIME.stagger - left)
        self.recalls.look(monotonic())

    def processing(self, worker):
        """How many tasks the scheduler has given to it."""
        return len(self.scheduler.workers[worker.address].processing)

    def state(self, future):
        """The state of a call on the scheduler; None where it does not know it."""
        task = self.scheduler.tasks.get(future.dask_future.key)
        return task and task.state

    async def waits(self, *futures):
        """Wait until no worker has been found for any of them."""
        await until(lambda: all(self.state(future) == "no-worker" for future in futures))


@asynccontextmanager
async def site():
    """A scheduler without workers."""
    scheduler = await PlacingScheduler(host="127.0.0.1", port=0, dashboard_address="127.0.0.1:0")
    roster = Roster(["cpu"])
    placement = Placement(scheduler, roster, [POOL], {"cpu": LIFETIME})
    placement.begin()
    scheduler.add_plugin(_Comers(roster, placement), name="test-comers")
    made = None
    try:
        async with WorkflowEngine.create(backend=DaskExecutionBackend(address=scheduler.address)) as flow:
            made = Site(scheduler, flow, roster, placement)
            yield made
    finally:
        if made is not None:
            await made.recalls.close()
            for worker in made.workers:
                await worker.close(nanny=False, executor_wait=False)
        await scheduler.close()


def where(gate=None, notes=None, number=0):
    """Say that it has begun, wait for `gate`, and return the name of the worker."""
    from distributed import get_worker

    if notes is not None:
        notes.add(f"{number} {get_worker().name}")
    if gate is not None:
        gate.wait()
    return get_worker().name


# On a scheduler


async def test_a_task_waits_for_a_worker_that_lasts():
    """It is not begun where the job ends sooner, while others are; it begins on the fresh worker as that comes."""
    async with site() as here:
        old = await here.add(left=600)
        task = here.flow.function_task(where)
        long = task.options(expected="45m")()
        await here.waits(long)
        assert await task() == old.name
        assert await task.options(expected="9m")() == old.name
        fresh = await here.add()
        assert await long == fresh.name


async def test_of_a_wide_fan_out_none_goes_to_a_worker_that_ends_sooner():
    """Dask hands the tasks of a wide fan-out to whoever is free, whatever they are restricted to later on."""
    async with site() as here:
        old, lasting = await here.add(left=600, nthreads=2), await here.add(left=3000)
        task = here.flow.function_task(where)
        assert set(await asyncio.gather(*(task.options(expected=2700)() for _ in range(40)))) == {lasting.name}
        assert old.name in await asyncio.gather(*(task() for _ in range(40)))


@pytest.mark.parametrize("expected", [None, 2700])
async def test_an_idle_worker_steals_only_what_it_lasts_for(expected, tmp_path):
    """Work stealing moves tasks to where there is room, but none to a worker whose job ends sooner."""
    gate = Gate(tmp_path / "gate")
    async with site() as here:
        lasting = await here.add(left=3000)
        options = {"expected": expected} if expected else {}
        task = here.flow.function_task(resources=AT_ONCE, **options)(where)
        calls = [task(gate) for _ in range(10)]
        await until(lambda: here.processing(lasting) == 10)
        await here.add(left=600)
        stealing = here.scheduler.extensions["stealing"]
        stealing.balance()
        assert bool(stealing.in_flight) == (expected is None)
        gate.open()
        if expected:
            assert set(await asyncio.gather(*calls)) == {lasting.name}
        else:
            await asyncio.gather(*calls, return_exceptions=True)


async def test_what_has_not_begun_in_time_is_called_back(tmp_path):
    """Given to a worker that lasted, behind others; when its time is too short only what has begun stays there."""
    gate, notes = Gate(tmp_path / "gate"), Notes(tmp_path / "notes")
    async with site() as here:
        first = await here.add(left=3000)
        task = here.flow.function_task(resources=AT_ONCE)(where)
        begun = task.options(expected=2700)(gate, notes, 0)
        await until(lambda: notes.lines)
        waiting, short = task.options(expected=2700)(gate, notes, 1), task(gate, notes, 2)
        await until(lambda: here.processing(first) == 3)
        here.age(first, left=2000)
        await here.waits(waiting)
        here.recalls.look(monotonic())
        assert here.processing(first) == 2
        fresh = await here.add()
        gate.open()
        assert (await begun, await waiting) == (first.name, fresh.name)
        await short
    assert sorted(line.split()[0] for line in notes.lines) == ["0", "1", "2"]


async def test_tasks_that_waited_for_a_slot_do_not_get_one_on_a_worker_that_has_aged(tmp_path):
    """What the scheduler kept back, as all workers were busy, is placed by what is true when there is room."""
    gate, notes = Gate(tmp_path / "gate"), Notes(tmp_path / "notes")
    async with site() as here:
        first = await here.add(left=3000)
        task = here.flow.function_task(where)
        calls = [task.options(expected=2700)(gate, notes, number) for number in range(20)]
        await until(lambda: len(here.scheduler.queued) == 18 and notes.lines)
        others = [task.options(name="other")() for _ in range(20)]
        await until(lambda: len(here.scheduler.queued) == 38)
        here.age(first, left=2000)
        await until(lambda: here.processing(first) == 1)
        gate.open()
        await until(lambda: here.processing(first) == 0)
        here.recalls.look(monotonic())
        assert set(await asyncio.gather(*others)) == {first.name}, "they do not wait behind those that may not begin"
        fresh = await here.add(nthreads=2)
        names = await asyncio.gather(*calls)
    assert names.count(first.name) == 1
    assert names.count(fresh.name) == 19


async def test_tasks_without_a_word_go_where_others_of_their_name_would_have_ended():
    """Once enough have ended, a worker that would cut the next one is avoided; other names are not concerned."""
    async with site() as here:
        old = await here.add(left=600)
        task = here.flow.function_task(where)
        for _ in range(ENOUGH - 1):
            here.placement.durations.note("where", 2700.0)
        assert await task() == old.name
        for _ in range(KEPT):
            here.placement.durations.note("where", 2700.0)
        waiting = task()
        await here.waits(waiting)
        assert await task.options(name="other")() == old.name
        fresh = await here.add()
        assert await waiting == fresh.name


async def test_what_is_learnt_keeps_no_task_from_running():
    """Where no pool lasts that long it begins anywhere; where less is learnt, at once."""
    async with site() as here:
        old = await here.add(left=600)
        task = here.flow.function_task(where)
        for _ in range(KEPT):
            here.placement.durations.note("where", 10 * HOUR)
            here.placement.durations.note("once", 2700.0)
        assert await task() == old.name
        waiting = task.options(name="once")()
        await here.waits(waiting)
        for _ in range(KEPT):
            here.placement.durations.note("once", 300.0)
        here.recalls.look(monotonic())
        assert await waiting == old.name


async def test_what_tasks_took_is_learnt_from_the_scheduler():
    """By name, from the start of the body to its end."""
    async with site() as here:
        await here.add()
        noted = []
        here.placement.durations.note = lambda name, seconds: noted.append((name, seconds))
        await here.flow.function_task(where)()
    assert [name for name, _ in noted] == ["where"]
    assert 0 <= noted[0][1] < 10


async def test_nothing_stands_in_the_way_of_tasks_that_say_nothing(tmp_path):
    """A worker that leaves in a minute takes them."""
    async with site() as here:
        old = await here.add(left=1)
        calls = [here.flow.function_task(where)() for _ in range(30)]
        assert set(await asyncio.gather(*calls)) == {old.name}
        assert all(call.state is TaskState.DONE for call in calls)


async def test_a_worker_that_does_not_answer_is_asked_again(monkeypatch, tmp_path):
    """Meanwhile nothing is taken from it, and nobody waits for it."""
    gate, notes = Gate(tmp_path / "gate"), Notes(tmp_path / "notes")
    async with site() as here:
        first = await here.add(left=3000)
        task = here.flow.function_task(expected=2700, resources=AT_ONCE)(where)
        begun = task(gate, notes, 0)
        await until(lambda: notes.lines)
        waiting = task(gate, notes, 1)
        await until(lambda: here.processing(first) == 2)
        with monkeypatch.context() as patch:
            asked = []

            async def broken(*args):
                asked.append(args)
                raise OSError("the connection is gone")

            patch.setattr("asyncflow.queues.recalling.ask", broken)
            here.age(first, left=2000)
            await until(lambda: asked)
            assert here.processing(first) == 2
        await asyncio.sleep(0)
        here.recalls.look(monotonic())
        await here.waits(waiting)
        fresh = await here.add()
        gate.open()
        assert (await begun, await waiting) == (first.name, fresh.name)


# What is learnt


def noted(*durations):
    """What is learnt from tasks of one name."""
    learnt = Durations()
    for seconds in durations:
        learnt.note("work", seconds)
    return learnt


LEARNT = {
    "nothing from few": ([HOUR] * (ENOUGH - 1), None),
    "from enough": ([HOUR] * ENOUGH, HOUR),
    "nothing of short ones": ([LONG - 1] * 50, None),
    "what nearly all of them took": ([100.0] * 18 + [HOUR] * 2, 100.0),
    "one in five is not nearly none": ([100.0] * 16 + [HOUR] * 4, HOUR),
    "only the last ones": ([HOUR] * 50 + [100.0] * KEPT, 100.0),
    "that they are short now": ([HOUR] * 50 + [1.0] * KEPT, None),
}


@pytest.mark.parametrize(("durations", "estimate"), LEARNT.values(), ids=LEARNT)
def test_an_estimate_is_what_nearly_all_of_the_last_ones_took(durations, estimate):
    """A high quantile, of a bounded history, and only where tasks are long."""
    assert noted(*durations).estimates.get("work") == estimate


def test_only_so_many_names_are_remembered():
    """The oldest are forgotten, with their estimates."""
    learnt = noted(*[HOUR] * ENOUGH)
    for number in range(NAMES):
        learnt.note(f"name-{number}", HOUR)
    assert not learnt.estimates
    assert learnt.changes == 1


# What a worker has time for


def test_a_worker_lasts_until_it_may_be_told_to_leave():
    """By its job's end, or by its own lifetime at the earliest, whichever comes first."""
    life = lifetime_of(HOUR)
    assert life.sure_end(0.0, 10.0) == 10.0 + life.limit - life.stagger
    assert life.sure_end(0.0, 500.0) == life.end
    assert life.time_for_task(0.0, 10.0, 1000.0) == life.sure_end(0.0, 10.0) - 1000.0


def test_a_fresh_worker_is_good_enough_for_anything():
    """However long its start took: there may be no better one."""
    life = lifetime_of(HOUR)
    assert life.time_for_task(0.0, 3000.0, 3000.0 + life.stagger) == float("inf")
    assert life.time_for_task(0.0, 3000.0, 3001.0 + life.stagger) < HOUR - 3000
    assert life.time_for_task(None, None, 5.0) == life.sure_end(None, None) == float("inf")


@pytest.mark.parametrize("walltime", [20, 60, 600, HOUR, 24 * HOUR])
def test_the_longest_task_ends_on_a_worker_that_has_just_come(walltime):
    """What is accepted at the call can be run by the job that is asked for, if that starts within reason."""
    life = lifetime_of(walltime)
    come = life.stagger
    assert life.sure_end(0.0, come) - (come + life.stagger) >= life.longest


async def test_what_lasts_longer_than_any_walltime_is_refused_at_the_call(tmp_path):
    """With the reason; the pool with the longer walltime takes what the first one is too short for."""
    common = {"queue": "debug", "cores": 1, "memory": "1GB", "jobs": {"min": 0, "max": 1}}
    pools = {"short": {**common, "walltime": "01:00:00"}, "long": {**common, "walltime": "12:00:00"}}
    here = {"kind": "slurm", "interface": "lo", "shared_temp_directory": str(tmp_path), "pools": pools}
    async with WorkflowEngine.create({"cluster": here}) as flow:
        task = flow.function_task(where)
        with pytest.raises(
            RefusedError, match=r"expected to take 13:00:00.*'short' leaves 00:55:00.*; .*'long' leaves"
        ):
            await task.options(expected="13h")()
        with pytest.raises(RefusedError, match="'short' leaves 00:55:00 for a task; raise walltime: of the pool"):
            await task.options(expected="56m", pool="short")()
