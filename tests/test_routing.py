"""Which pool runs a task, which tasks no pool can run, and how many jobs the waiting ones ask for."""

from itertools import count
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asyncflow.options import TaskOptions
from asyncflow.queues.demand import WORTH, can_run, demand, long_work, share
from asyncflow.queues.pools import PLENTY, Pool, pool_resource, refusal, route
from asyncflow.queues.scaling import LongWork

GB = 10**9
CPU = Pool("cpu", 4, cores=8, memory=32 * GB, is_named=True, longest=3600.5)
BIG = Pool("big", 1, cores=64, memory=512 * GB, is_named=True, longest=12 * 3600.0)
GPU = Pool("gpu", 2, cores=8, memory=32 * GB, resources={"gpu": 2}, is_named=True)
GPUS = Pool("gpus", 2, cores=8, memory=32 * GB, resources={"gpu": 8}, is_named=True)
ALL = [CPU, BIG, GPU, GPUS]


ROUTES = {
    "nothing special: the first": ({}, "cpu"),
    "what fits the first": ({"cores": 8, "memory": 32 * GB}, "cpu"),
    "the first that is large enough": ({"cores": 9}, "big"),
    "memory counts as well": ({"memory": 33 * GB}, "big"),
    "by name": ({"pool": "gpu"}, "gpu"),
    "by name, though another has it too": ({"pool": "gpus", "resources": {"gpu": 1}}, "gpus"),
    "a resource that several have: whichever is free": ({"resources": {"gpu": 1}}, None),
    "a resource that one has": ({"resources": {"gpu": 4}}, "gpus"),
    "nowhere": ({"cores": 65}, None),
    "the first that lasts": ({"expected": "2h"}, "big"),
    "by name, and it lasts": ({"expected": "2h", "pool": "gpus"}, "gpus"),
    "longer than any lasts": ({"expected": "13h", "pool": "big"}, None),
}


@pytest.mark.parametrize(("asked", "pool"), ROUTES.values(), ids=ROUTES)
def test_a_task_has_its_pool(asked, pool):
    """By name, else the first where it fits; only declared resources leave a choice to the scheduler."""
    assert route(ALL, TaskOptions(**asked)) == pool


def test_the_order_of_the_configuration_decides():
    """Special pools stand last, and so are kept for what needs them."""
    assert route([GPU, CPU], TaskOptions()) == "gpu"


@pytest.mark.parametrize("pools", [[], [Pool("slurm", 1, cores=8)], [CPU]])
def test_one_pool_needs_no_routing(pools):
    """Calls then carry no restriction."""
    assert route(pools, TaskOptions(cores=4)) is None


REFUSALS = {
    "cores": ({"cores": 65, "pool": "big"}, ["asks for 65 cores", "'big' has 64"]),
    "memory": ({"memory": 33 * GB, "pool": "cpu"}, ["of memory", "'cpu'"]),
    "too many of a resource": ({"resources": {"gpu": 3}, "pool": "gpu"}, ["asks for 3 gpu", "has 2"]),
    "an undeclared resource": ({"resources": {"fpga": 1}, "pool": "cpu"}, ["'fpga'", "add it to resources:"]),
    "a misspelt resource": ({"resources": {"gpuu": 1}, "pool": "gpu"}, ["did you mean 'gpu'?"]),
    "a misspelt pool": ({"pool": "gpuus"}, ["does not name", "did you mean 'gpus'?", "big, cpu, gpu and gpus"]),
    "longer than its walltime": (
        {"expected": "61m", "pool": "cpu"},
        ["expected to take 01:01:00", "'cpu' leaves 01:00:00", "raise walltime:"],
    ),
    "all pools have a say": ({"cores": 65}, ["'cpu' has 8", "'big' has 64", "'gpu' has 8"]),
    "enough of each, but not in one": (
        {"cores": 16, "resources": {"gpu": 1}},
        ["'cpu' has 8", "'big' does not", "'gpu' has 8"],
    ),
}


@pytest.mark.parametrize(("asked", "said"), REFUSALS.values(), ids=REFUSALS)
def test_what_no_pool_can_run_is_refused_with_the_reason(asked, said):
    """Each pool's lack, with what to write instead."""
    text = refusal(ALL, TaskOptions(**asked))
    assert all(part in text for part in said), text


def test_where_no_pool_is_declared_nothing_is_refused():
    """A foreign scheduler may have anything, or get it."""
    assert refusal([], TaskOptions(cores=999, pool="any", resources={"gpu": 9})) is None


def test_a_pool_without_a_limit_of_memory_has_enough():
    """None is not zero."""
    assert refusal([Pool("one", 1, cores=1)], TaskOptions(memory=10**15)) is None


def test_a_flat_configuration_has_no_pool_to_ask_for():
    """The name of a kind is no name of a pool: the same script runs where none is named."""
    flat = [Pool("slurm", 1, cores=8)]
    assert refusal(flat, TaskOptions(pool="gpu")) is None
    assert "has 8" in refusal(flat, TaskOptions(pool="gpu", cores=9))


resources = st.dictionaries(st.sampled_from(["gpu", "fpga"]), st.integers(1, 4), max_size=2)
lengths = st.none() | st.sampled_from([60.0, 120.0])
shapes = st.builds(
    Pool,
    name=st.from_regex(r"[a-z]{3}", fullmatch=True),
    workers=st.just(1),
    cores=st.integers(1, 16),
    memory=st.none() | st.integers(1, 16),
    resources=resources,
    is_named=st.just(True),
    longest=lengths,
)
many = st.lists(shapes, min_size=1, max_size=5, unique_by=lambda pool: pool.name)


expecting = st.just({}) | st.builds(dict, expected=st.sampled_from([30.0, 90.0, 150.0]))


@st.composite
def asked(draw, pools):
    """What a task may ask for, where there are `pools`."""
    name = draw(st.none() | st.sampled_from([pool.name for pool in pools]))
    memory = draw(st.none() | st.integers(1, 20))
    return TaskOptions(
        pool=name, cores=draw(st.integers(1, 20)), memory=memory, resources=draw(resources), **draw(expecting)
    )


@settings(deadline=None)
@given(st.data())
def test_a_task_is_refused_or_runs_where_it_fits(data):
    """What is not refused fits a pool; where it has one, that one, and never one that it did not name."""
    pools = data.draw(many)
    options = data.draw(asked(pools))
    fitting = [pool.name for pool in pools if pool.lack(options) is None and options.pool in {None, pool.name}]
    assert (refusal(pools, options) is None) == bool(fitting)
    chosen = route(pools, options)
    assert chosen is None or chosen == fitting[0]
    if chosen is None and fitting and len(pools) > 1:
        assert options.resources
        assert len(fitting) > 1


@settings(deadline=None)
@given(st.data())
def test_a_pool_is_asked_for_jobs_by_what_it_can_run(data):
    """The workers of the pool that a task is routed to have what its Dask annotations ask for."""
    pools = data.draw(many)
    options = data.draw(asked(pools))
    chosen = route(pools, options)
    for pool in pools:
        needs = {"cores": options.cores, **options.resources}
        needs |= {"memory": options.memory} if options.memory else {}
        assert can_run(task(**needs), pool, options.expected or 0) == (pool.lack(options) is None)
        if chosen == pool.name:
            assert can_run(task(**needs, **{pool_resource(chosen): 1}), pool, options.expected or 0)


numbers = count()


def task(average=-1.0, expected=None, **needs):
    """A task as the scheduler knows it."""
    return SimpleNamespace(
        key=f"task-{next(numbers)}",
        resource_restrictions=needs or None,
        annotations={"expected": expected} if expected else None,
        prefix=SimpleNamespace(name="task", duration_average=average),
    )


def scheduler(unrunnable=(), queued=(), processing=()):
    """A scheduler with tasks that wait for a worker, for a slot, and that have one."""
    workers = {f"w{number}": SimpleNamespace(processing=list(tasks)) for number, tasks in enumerate(processing)}
    return SimpleNamespace(unrunnable=list(unrunnable), queued=list(queued), workers=workers)


ONE = Pool("one", 8, cores=4, memory=16 * GB, resources={"gpu": 2})

SHARES = {
    "one core of four": (task(), 1 / 4),
    "all cores": (task(cores=4), 1.0),
    "the scarcest counts": (task(cores=1, memory=8 * GB, gpu=1), 1 / 2),
    "long ones count in full": (task(average=100.0, cores=4), 1.0),
    "short ones by their length": (task(average=WORTH / 10, cores=4), 1 / 10),
    "the pool's own name costs nothing": (task(**{pool_resource("one"): 1}), 1 / 4),
}


@pytest.mark.parametrize(("work", "part"), SHARES.values(), ids=SHARES)
def test_a_task_takes_its_part_of_a_worker(work, part):
    """The scarcest of what it asks for, less where tasks of its kind are known to be over soon."""
    assert share(work, ONE) == pytest.approx(part)


def test_all_that_could_run_counts():
    """Waiting for a worker, for a slot, or assigned to one; jobs of two workers take twice as much."""
    tasks = scheduler([task()], [task(), task()], [[task()], [task() for _ in range(4)]])
    assert demand(tasks, [ONE], {"one": 1}) == {"one": 2.0}
    assert demand(tasks, [ONE], {"one": 2}) == {"one": 1.0}
    assert demand(scheduler(), [ONE], {"one": 1}) == {"one": 0.0}


def test_work_that_takes_long_asks_for_jobs_that_last():
    """Of a pool whose walltime suffices, whichever tells how long it takes; what nobody knows anything of is no part."""
    pools = [Pool("short", 4, cores=1, longest=60.0), Pool("long", 4, cores=1, longest=600.0)]
    processes = {"short": 1, "long": 2}
    tasks = [task(expected=100.0), task(expected=100.0), task(expected=30.0), task(), task(expected=9999.0)]
    assert long_work(tasks, pools, processes) == {"long": [LongWork(100.0, 1.0)], "short": [LongWork(30.0, 1.0)]}
    assert long_work(tasks[3:], pools, processes, lambda _: 100.0) == {"long": [LongWork(100.0, 0.5)] * 2}
    assert demand(scheduler(tasks[:4]), pools, processes) == {"short": 2.0, "long": 1.0}


def test_each_pool_answers_for_its_own():
    """By the pool in a task's restrictions; where there is none, the first that can run it; what none can, counts not."""
    tasks = [
        *(task(cores=8, **{pool_resource("gpu"): 1}) for _ in range(2)),
        task(cores=8),
        task(cores=64),
        task(gpu=8),
        task(cores=65),
    ]
    found = demand(scheduler(tasks), ALL, {pool.name: 1 for pool in ALL})
    assert found == {"gpu": 2.0, "cpu": 1.0, "big": 1.0, "gpus": 1.0}


def test_ten_thousand_short_tasks_need_no_hundred_jobs():
    """Ten seconds of work in tasks of a millisecond are two workers' worth, not a thousand."""
    work = task(average=0.001)
    found = demand(scheduler(queued=[work] * 10_000), [Pool("one", 1, cores=1)], {"one": 1})
    assert found["one"] == pytest.approx(10 / WORTH)


def test_work_of_one_pool_hides_none_of_another():
    """However much there is of it."""
    many = [task(**{"pool-cpu": 1}) for _ in range(50_000)]
    few = [task(**{"pool-gpu": 1})]
    pools = [Pool("cpu", 4, cores=1, is_named=True), Pool("gpu", 4, cores=1, is_named=True)]
    assert demand(scheduler(many + few), pools, {"cpu": 1, "gpu": 1})["gpu"] == 1


def test_a_worker_never_runs_out_of_its_own_pool():
    """Each task takes one of what its worker declares plenty of."""
    assert PLENTY > 10**9
