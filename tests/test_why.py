"""One answer to why a call is where it is: from runs that are held at that very point, and from journals of others."""

import asyncio
import os
import time

import pytest

from asyncflow import WorkflowEngine, events
from asyncflow.runs import Journal
from asyncflow.runs.answers import Reason, Scene
from asyncflow.runs.following import Following
from asyncflow.runs.history import History
from asyncflow.runs.listing import RunState
from asyncflow.runs.picking import pick
from asyncflow.runs.why import why
from conftest import IN_PROCESS, open_engine
from gates import Gate

NOW = 1000.0


# Real runs


async def ask(directory, call, reason, detail=None):
    """The answer, as soon as it is for that reason and has that detail; of any of several calls."""
    calls = call if isinstance(call, list) else [call]
    following = Following(directory)
    answers = []

    def came():
        scene = following.look()
        known = [each for call in calls if (each := following.history.call(call.id)) is not None]
        answers[:] = [why(following.history, each, scene) for each in known]
        fit = [each for each in answers if each.reason is reason and detail in {None, *dict(each.details)}]
        answers[:] = fit or answers
        return bool(fit)

    def wait():
        deadline = time.monotonic() + 15
        while not came():
            assert time.monotonic() < deadline, answers
            time.sleep(0.02)  # until the journal is written

    await asyncio.to_thread(wait)
    return answers[0]


@pytest.fixture
def gate(tmp_path):
    """Bodies wait for it."""
    return Gate(tmp_path / "gate")


def hold(gate):
    gate.wait()


async def test_what_runs_and_what_waits_behind_it(tmp_path, gate):
    """Since when and where; then inputs by name with the root of the chain, and who has to end before whom."""
    directory = tmp_path / "one"
    async with WorkflowEngine.create(IN_PROCESS, uid="one", work_dir=tmp_path, max_in_flight=8) as flow:
        busy = flow.function_task(hold, name="busy")
        merge = flow.function_task(lambda *values: len(values), name="merge")
        calls = [busy(gate) for _ in range(10)]
        end = merge(merge(*calls[:6]))
        running = await ask(directory, calls, Reason.RUNNING)
        assert running.text.startswith("it has been running for ")
        assert " on worker " in running.text
        waits = await ask(directory, end, Reason.INPUTS)
        assert waits.text.startswith("it waits for 1 of its 1 input: merge-")
        assert waits.root in {call.id for call in calls[:6]}
        assert f"; {waits.root} has been running for " in waits.text
        turn = await ask(directory, calls, Reason.BUSY)
        assert turn.text.startswith("all 4 slots of 2 workers are busy, and ")
        held = await ask(directory, calls[9], Reason.DRIVER)
        assert held.text == (
            "it waits on the driver: max_in_flight (8) calls are at the backends, and about 1 call comes before it"
        )
        gate.open()
        assert await end == 1
        await asyncio.gather(*calls)


async def test_a_block_waits_for_what_it_has_called(tmp_path, gate):
    """And what waits for the block waits for that."""
    directory = tmp_path / "one"
    async with WorkflowEngine.create(IN_PROCESS, uid="one", work_dir=tmp_path) as flow:
        step = flow.function_task(hold, name="step")
        use = flow.function_task(lambda value: value, name="use")

        @flow.block
        async def compose():
            return await step(gate)

        block = compose()
        end = use(block)
        answer = await ask(directory, block, Reason.RUNNING)
        assert "on the driver, and 1 of the 1 calls that it has made have not ended; step-" in answer.text
        answer = await ask(directory, end, Reason.INPUTS)
        assert answer.root.startswith("step-")
        gate.open()
        await end


async def test_a_failure_is_traced_to_its_cause(tmp_path):
    """Of a dependent the way to the call that failed, with its error, worker and attempts; and what was cancelled."""
    async with WorkflowEngine.create(IN_PROCESS, uid="one", work_dir=tmp_path) as flow:

        @flow.function_task(retries=1)
        def broken():
            raise ValueError("three is odd")

        use = flow.function_task(lambda value: value, name="use")
        origin = broken()
        end = use(use(origin))
        with pytest.raises(Exception, match="three is odd"):
            await end
        failed = await ask(tmp_path / "one", origin, Reason.FAILED, "attempt 1")
    assert failed.text.startswith("it failed: ValueError: three is odd; it ran for ")
    assert failed.text.endswith(", in attempt 2")
    assert dict(failed.details)["attempt 1"].endswith(": ValueError: three is odd")
    dependent = await ask(tmp_path / "one", end, Reason.UPSTREAM)
    assert dependent.root == origin.id
    assert f"it never ran, for {origin.id}, which it depends on (by way of use-" in dependent.text
    assert "failed: ValueError: three is odd" in dependent.text
    assert "attempt 1" in dict(dependent.details)


async def test_another_attempt_is_waited_for(tmp_path):
    """For how long, and why the last one failed."""
    async with WorkflowEngine.create(IN_PROCESS, uid="one", work_dir=tmp_path) as flow:

        @flow.function_task(retries=1, retry_delay=600)
        def flaky():
            raise OSError("not now")

        call = flaky()
        answer = await ask(tmp_path / "one", call, Reason.RETRY)
        assert answer.text.startswith("attempt 1 failed (OSError: not now), and the next begins in ")
        call.cancel()
    answer = await ask(tmp_path / "one", call, Reason.CANCELLED)
    assert answer.text.startswith("it was cancelled at ")


async def test_where_the_result_and_the_output_lie_is_told(tmp_path):
    """Of what is done: the kept result, the directories of its attempts; found by the next session, it says so."""
    for reason in (Reason.DONE, Reason.FOUND):
        async with WorkflowEngine.create(IN_PROCESS, resume="one", work_dir=tmp_path) as flow:

            @flow.executable_task(checkpoint=True, workdir=True)
            def say():
                return ["echo", "yes"]

            call = say()
            assert await call == "yes\n"
            answer = await ask(tmp_path / "one", call, reason, "began" if reason is Reason.DONE else None)
        said = dict(answer.details)
        assert os.path.exists(said["result"])  # noqa: PTH110 - a place as text
        if reason is Reason.DONE:
            assert said["output"].startswith(str(tmp_path / "one" / "tasks" / "say"))


async def test_on_an_executor_calls_wait_for_their_turn(tmp_path, gate):
    """Of its workers nothing is known but that they are busy."""
    async with open_engine("threads", uid="one", work_dir=tmp_path) as flow:
        calls = [flow.function_task(hold, name="busy")(gate) for _ in range(6)]
        answer = await ask(tmp_path / "one", calls[4:], Reason.BUSY)
        assert answer.text.startswith("it waits for its turn on backend ")
        assert "4 calls run, and no other call comes before it" in answer.text
        gate.open()
        await asyncio.gather(*calls)


# Journals of what takes a cluster and a while


class Story:
    """A session with the pool cpu, of at most two jobs with two slots each, told up to `NOW`."""

    def __init__(self, path):
        self.directory = path
        self.events = [
            events.SessionStarted(session_id="one", max_in_flight=100, time=900.0),
            events.PoolDeclared(pool="cpu", cores=2, memory=10**9, least=0, most=2, longest=3600.0, time=900.0),
        ]

    def tell(self, *happened):
        self.events += happened
        return self

    def call(self, number=1, **facts):
        event = events.TaskCreated(
            id=f"task-{number}", name="task", task_type="function", backend="dask", time=900.0 + number, **facts
        )
        return self.tell(event)

    def job(self, number, *, started=None):
        self.tell(events.JobSubmitted(job=str(number), pool="cpu", worker_name=f"cpu-{number}", time=940.0))
        return self if started is None else self.tell(events.JobStarted(job=str(number), pool="cpu", time=started))

    def worker(self, number):
        name = f"cpu-{number}"
        return self.tell(events.WorkerJoined(worker=name, worker_name=name, host="n1", slots=2, pool="cpu", time=960.0))

    def busy(self, *workers):
        for number, worker in enumerate(workers):
            started = events.TaskStarted(id=f"other-{number}", name="other", worker=worker, time=970.0)
            self.tell(events.TaskCreated(id=started.id, name="other", task_type="function", backend="dask"), started)
        return self

    def why(self, task="task-1", state=RunState.RUNNING):
        journal = Journal(self.directory / "journal.jsonl", 1)
        for event in self.events:
            journal.take(event)
        journal._thread.join(0.3)
        history = History.read(journal.path)
        journal.close()
        return why(history, pick(history, task).call, Scene(NOW, state, "process 1 on login", self.directory))


@pytest.fixture
def story(tmp_path):
    return Story(tmp_path)


def said(answer):
    return answer.reason, answer.text


def test_no_pool_has_what_it_asks_for(story):
    """What it lacks, and the pools."""
    assert said(story.call(needs={"cores": 8}).why()) == (
        Reason.MISFIT,
        (
            "no pool has what it asks for: it asks for 8 cores, and a worker of pool 'cpu' has 2; "
            "the pools are cpu (2 cores)"
        ),
    )


def test_no_connected_worker_has_what_it_asks_for(story):
    """Of a cluster that declares no pools, as the scheduler says."""
    del story.events[1]
    story.call(needs={"resources": {"gpu": 1}}).worker(0)
    story.tell(events.TaskQueued(id="task-1", name="task", state="no-worker", time=950.0))
    reason, text = said(story.why())
    assert reason is Reason.MISFIT
    assert text == "no connected worker has what it asks for (1 gpu); there are cpu-0 (2 slots)"


def test_its_jobs_wait_in_the_queue(story):
    """How many, since when, and for what, in the queueing system's own words; or that it says nothing."""
    story.call().job(0).job(1)
    assert said(story.why()) == (
        Reason.PENDING,
        (
            "no worker of pool 'cpu' is there yet: 2 jobs wait in the queue for 1 min "
            "(the queueing system does not say why)"
        ),
    )


def test_the_reason_of_the_queue_is_passed_on(story):
    """As squeue has it."""
    story.call().job(0).tell(events.JobsPending(pool="cpu", reasons={"Resources": 1}))
    assert story.why().text.endswith("1 job waits in the queue for 1 min (1 for Resources)")


def test_a_job_runs_whose_worker_has_not_come(story):
    """Which, where, and since when."""
    story.call().job(0).tell(events.JobStarted(job="0", pool="cpu", nodes="n7", time=990.0))
    assert said(story.why()) == (
        Reason.STARTING,
        "job 0 of pool 'cpu' has been running on n7 for 10 s, and its worker has not connected yet",
    )


def test_no_job_was_submitted_yet(story):
    """Neither worker nor job."""
    assert said(story.call().why()) == (Reason.NO_WORKER, "pool 'cpu' has no job yet")


def test_the_pool_has_stopped(story):
    """And why."""
    story.call().tell(events.PoolStopped(pool="cpu", error="its last 3 jobs died"))
    assert said(story.why()) == (Reason.STOPPED, "pool 'cpu' submits no more jobs: its last 3 jobs died")


def test_the_pool_is_at_its_limit(story):
    """All jobs that there may be have workers, all are busy, and others come first."""
    story.job(0, started=950.0).job(1, started=950.0).worker(0).worker(1)
    story.busy("cpu-0", "cpu-0", "cpu-1", "cpu-1").call(1).call(2)
    assert said(story.why("task-2")) == (
        Reason.LIMIT,
        "pool 'cpu' is at its limit of 2 jobs, all 4 slots of 2 workers are busy, and about 1 call comes before it",
    )


def test_all_workers_are_busy_and_another_job_waits(story):
    """Both are told."""
    story.job(0, started=950.0).worker(0).busy("cpu-0", "cpu-0").job(1).call()
    story.tell(events.JobsPending(pool="cpu", reasons={"Priority": 1}))
    assert said(story.why()) == (
        Reason.BUSY,
        (
            "all 2 slots of 1 worker are busy, and no other call comes before it; "
            "1 job waits in the queue for 1 min (1 for Priority)"
        ),
    )


def test_a_worker_has_room(story):
    """It is about to begin."""
    story.job(0, started=950.0).worker(0).busy("cpu-0").call()
    assert said(story.why()) == (
        Reason.TURN,
        "it is about to begin: 1 of 2 slots are free, and no other call comes before it",
    )


def test_it_waits_for_a_job_that_lasts(story):
    """What it is expected to take, and what is to come."""
    story.job(0, started=950.0).worker(0).call(needs={"expected": 3000.0}).job(1)
    story.tell(events.TaskWaits(id="task-1", name="task", reason="walltime", expected=3000.0, time=961.0))
    assert said(story.why()) == (
        Reason.WALLTIME,
        (
            "it waits for a job that lasts: it is expected to take 50 min, and no worker that is there has so long left; "
            "1 job waits in the queue for 1 min (the queueing system does not say why)"
        ),
    )


def test_an_input_that_failed_will_never_be(story):
    """Which, and why."""
    story.call(1).call(2, depends_on=("task-1",)).tell(events.TaskFailed(id="task-1", name="task", error="Oops: no"))
    assert said(story.why("task-2")) == (
        Reason.INPUTS,
        "it waits for 1 of its 1 input: task-1 (failed); and that can never be: task-1 failed: Oops: no",
    )


def test_a_long_chain_hangs_on_its_first(story):
    """However long it is; other calls of its name that ended tell how long it may take."""
    story.job(0, started=950.0).worker(0)
    for number in range(1, 3000):
        story.call(number, depends_on=(f"task-{number - 1}",) if number > 1 else ())
    story.tell(events.TaskStarted(id="task-1", name="task", worker="cpu-0", time=990.0))
    answer = story.why("task-2999")
    assert (answer.reason, answer.root) == (Reason.INPUTS, "task-1")
    assert answer.text.endswith("; task-1 has been running for 10 s on worker cpu-0 (host n1, job 0, pool cpu)")


def test_others_of_its_name_tell_how_long_it_may_take(story):
    """Their median, and the longest."""
    story.job(0, started=950.0).worker(0)
    for number, ended in ((1, 910.0), (2, 940.0), (3, 930.0)):
        story.call(number).tell(
            events.TaskCompleted(id=f"task-{number}", name="task", started=900.0, time=ended, worker="cpu-0")
        )
    story.call(4).tell(events.TaskStarted(id="task-4", name="task", worker="cpu-0", time=990.0))
    assert story.why("task-4").text.endswith("; 3 others of its name took 30 s (median), 40 s at most")


def test_a_run_that_died_is_told_with_what_was_going_on(story):
    """Whether the call ran, and how to go on."""
    story.job(0, started=950.0).worker(0).call(1).call(2)
    story.tell(events.TaskStarted(id="task-1", name="task", worker="cpu-0", time=990.0))
    reason, text = said(story.why("task-1", RunState.KILLED))
    assert reason is Reason.CUT_OFF
    assert text.startswith("it was running on worker cpu-0 (host n1, job 0, pool cpu) since ")
    assert "when its driver, process 1 on login, died; go on with asyncflow run --resume " in text


def test_one_that_never_began_says_so(story):
    """Where the run is no more."""
    assert said(story.call().why(state=RunState.ENDED))[1].startswith(
        "it never began: it waited for its turn when the run ended"
    )


def test_the_job_that_killed_it_is_named_with_its_log(story):
    """Attempts, the end of the job in the queueing system's words, and where its log lies."""
    story.job(0, started=950.0).worker(0).call()
    story.tell(
        events.TaskLost(
            id="task-1", name="task", worker="cpu-0", count=1, cause="the walltime was reached", time=980.0
        ),
        events.TaskFailed(
            id="task-1", name="task", error="WalltimeError: cut", started=985.0, worker="cpu-0", time=990.0
        ),
        events.JobEnded(job="0", pool="cpu", state="TIMEOUT", log="/logs/0.err", time=991.0),
    )
    answer = story.why()
    assert answer.text == (
        "it failed: WalltimeError: cut; it ran for 5 s on worker cpu-0 (host n1, job 0, pool cpu), in attempt 2"
    )
    details = dict(answer.details)
    assert (
        details["attempt 1"] == "lost its worker on worker cpu-0 (host n1, job 0, pool cpu): the walltime was reached"
    )
    assert details["job"] == "0 of pool cpu, which ended: TIMEOUT"
    assert details["log of the job"] == "/logs/0.err"


def test_a_call_is_meant_by_id_part_or_name(story):
    """Of a name the newest that is unfinished, else that failed; what is ambiguous or unknown is refused."""
    story.call(1).call(2).call(12)
    story.tell(events.TaskFailed(id="task-2", name="task", error="no"), events.TaskCompleted(id="task-12", name="task"))
    story.tell(events.TaskCreated(id="tidy-2", name="tidy", task_type="function"))
    assert story.why("task").call.id == "task-1"
    assert story.why("k-12").call.id == "task-12"
    story.events.append(events.TaskCompleted(id="task-1", name="task"))
    assert story.why("task").call.id == "task-2"
    with pytest.raises(LookupError, match="is in the ids of 2 calls"):
        story.why("-2")
    with pytest.raises(LookupError, match="did you mean 'task'"):
        story.why("taks")
