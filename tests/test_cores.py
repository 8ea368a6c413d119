"""Cores, memory and resources: what runs on a worker at one time never needs more than it has."""

import asyncio
import random

import pytest

from asyncflow import TaskState, WorkflowEngine
from asyncflow.slots import Slots, visible_devices
from conftest import IN_PROCESS, open_engine
from gates import Gate, Notes, on_scheduler, until


def work(notes, cores):
    """Say which worker holds how many cores, and for how long."""
    try:
        from distributed import get_worker

        where = str(get_worker().name)
    except ValueError:
        where = "here"
    notes.add(f"{where} {cores}")
    total = sum(range(20_000))
    notes.add(f"{where} -{cores}")
    return total


def peaks(lines):
    """The most cores that were held at once, by worker."""
    held, most = {}, {}
    for line in lines:
        where, cores = line.split()
        held[where] = held.get(where, 0) + int(cores)
        most[where] = max(most.get(where, 0), held[where])
    return most


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize(("kind", "limit"), [("dask", 2), ("threads", 4)])
async def test_cores_never_exceed_a_workers(kind, limit, seed, tmp_path):
    """Whatever the mix, and though the first calls were sent before anybody asked for more than one core."""
    notes = Notes(tmp_path / "notes")
    chance = random.Random(seed)
    async with open_engine(kind) as flow:
        task = flow.function_task(work)
        early = [task(notes, 1) for _ in range(8)]
        await asyncio.sleep(0)
        mixed = [task.options(cores=cores)(notes, cores) for cores in chance.choices(range(1, limit + 1), k=30)]
        await asyncio.gather(*early, *mixed)
    assert len(notes.lines) == 2 * 38
    assert max(peaks(notes.lines).values()) <= limit


async def test_a_call_for_many_cores_is_not_overtaken_for_ever(flow, tmp_path):
    """A wide call runs though narrow ones never stop coming."""
    gate = Gate(tmp_path / "gate")

    @flow.function_task
    def narrow():
        return 1

    @flow.function_task(cores=2)
    def wide(gate):
        gate.open()

    future = wide(gate)
    while not gate.is_open:
        await asyncio.gather(*[narrow() for _ in range(8)])
    await future


async def test_calls_carry_no_restriction_where_nobody_asks_for_more_than_one_core(dask_flow, tmp_path):
    """Without wide tasks the scheduler is free to queue; with one, all that follows counts."""
    gate = Gate(tmp_path / "gate")

    @dask_flow.function_task
    def hold(gate):
        gate.wait()

    def needs(dask_scheduler, key):
        return dict(dask_scheduler.tasks[key].resource_restrictions or {})

    plain = hold(gate)
    client = plain.dask_future.client
    await until(lambda: plain.state is TaskState.RUNNING)
    wide = hold.options(cores=2, memory="1kB")(gate)
    await until(lambda: wide.state is TaskState.RUNNING)
    found = [await on_scheduler(client, needs, key=each.id) for each in (plain, wide)]
    gate.open()
    await asyncio.gather(plain, wide)
    assert found == [{}, {"cores": 2, "memory": 1000}]


async def test_resources_are_never_shared_beyond_what_is_declared(tmp_path):
    """With one GPU a worker, tasks for a GPU run one at a time on each."""
    notes = Notes(tmp_path / "notes")
    config = {"cluster": {**IN_PROCESS["cluster"], "resources": {"gpu": 1}}}
    async with WorkflowEngine.create(config) as flow:
        task = flow.function_task(resources={"gpu": 1})(work)
        await asyncio.gather(*[task(notes, 1) for _ in range(20)])
    assert len(notes.lines) == 40
    assert set(peaks(notes.lines).values()) == {1}


async def test_memory_is_set_aside(tmp_path):
    """Tasks that together ask for more memory than a worker has run one after the other."""
    notes = Notes(tmp_path / "notes")
    config = {"cluster": {**IN_PROCESS["cluster"], "n_workers": 1, "memory_limit": "1GB"}}
    async with WorkflowEngine.create(config) as flow:
        task = flow.function_task(memory="600MB")(work)
        await asyncio.gather(*[task(notes, 1) for _ in range(10)])
    assert set(peaks(notes.lines).values()) == {1}


def test_slots_hand_out_devices_by_name_and_take_them_back():
    """Each holder has devices of its own."""
    slots = Slots(4, 2)
    with slots.hold(1, 1) as one, slots.hold(1, 1) as two:
        assert (one, two) == (["0"], ["1"])
    with slots.hold(4, 2) as both:
        assert both == ["0", "1"]


def test_devices_are_those_the_worker_was_given():
    """A worker that sees GPUs 4 and 5 hands out 4 and 5."""
    assert visible_devices(2, {"CUDA_VISIBLE_DEVICES": "4,5"}) == ["4", "5"]
    assert visible_devices(2, {"CUDA_VISIBLE_DEVICES": "GPU-aa, GPU-bb"}) == ["GPU-aa", "GPU-bb"]
    assert visible_devices(2, {}) == ["0", "1"]
