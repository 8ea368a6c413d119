"""A journal folded into records: whatever was told of calls, workers, jobs and pools, and whatever became of the file."""

import asyncio
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asyncflow import WorkflowEngine, events
from asyncflow.runs import Journal
from asyncflow.runs.facts import CallState
from asyncflow.runs.following import Following
from asyncflow.runs.history import History
from conftest import IN_PROCESS, eventually

KINDS = sorted(
    {each.kind for each in vars(events).values() if isinstance(each, type) and issubclass(each, events.Event)} - {""}
)


@pytest.fixture
def journal(tmp_path):
    """A journal that is being written."""
    journal = Journal(tmp_path / "journal.jsonl", 1)
    yield journal
    journal.close()


def told(journal, *happened):
    """The history, once these are written."""
    for event in happened:
        journal.take(event)
    journal.close()
    return History.read(journal.path)


def call(number, **facts):
    return events.TaskCreated(id=f"task-{number}", name="task", task_type="function", **facts)


async def test_a_run_is_put_together_from_its_journal(tmp_path):
    """Calls with their ends, times and workers; pools; the limit of the driver."""
    async with WorkflowEngine.create(IN_PROCESS, uid="one", work_dir=tmp_path, max_in_flight=7) as flow:
        inverse = flow.function_task(lambda number: 1 / number, name="inverse")
        good, bad = inverse(inverse(2)), inverse(0)
        assert await good == 2
        with pytest.raises(ZeroDivisionError):
            await bad
        path = tmp_path / "one" / "journal.jsonl"
        have_times = lambda: [bool(each.started) for each in History.read(path).calls.values()] == [True] * 3  # noqa: E731
        assert await asyncio.to_thread(eventually, have_times)
    history = History.read(path)
    assert history.max_in_flight == 7
    assert [each.state for each in history.calls.values()] == [CallState.DONE, CallState.DONE, CallState.FAILED]
    first, second, failed = history.calls.values()
    assert second.depends_on == (first.id,)
    assert first.created - 0.001 <= first.started <= second.started
    assert first.duration >= 0
    assert failed.error == "ZeroDivisionError: division by zero"
    assert {each.pool for each in history.workers.values()} == {""}
    assert {history.pool_of(each) for each in history.workers.values()} == {"local"}
    assert (history.pools["local"].cores, history.is_whole) == (2, True)


async def test_a_call_that_is_sent_again_keeps_its_record_and_so_do_those_behind_it(tmp_path):
    """Under its new id and every earlier one, with the attempt that failed; nothing is left waiting."""
    async with WorkflowEngine.create(IN_PROCESS, uid="one", work_dir=tmp_path) as flow:

        @flow.function_task(retries=1, retry_with={"priority": 5})
        def once_more(path):
            import pathlib

            if not pathlib.Path(path).exists():
                pathlib.Path(path).touch()
                raise OSError("not yet")
            return 1

        add = flow.function_task(lambda number: number + 1, name="add")
        first = once_more(str(tmp_path / "mark"))
        last = add(add(first))
        ids = [first.id, last.id]
        assert await last == 3
    history = History.read(tmp_path / "one" / "journal.jsonl")
    assert [each.state for each in history.calls.values()] == [CallState.DONE] * 3
    again, behind = (history.call(key) for key in ids)
    assert (again.name, behind.name) == ("once_more", "add")
    assert again.id != ids[0]
    assert [(each.how, each.why) for each in again.attempts] == [("retried", "OSError: not yet")]
    assert behind.attempts == []
    assert history.call(behind.depends_on[0]).name == "add"


def test_a_loss_that_is_explained_late_does_not_undo_the_next_attempt(journal):
    """The cause is looked for while the call runs elsewhere already."""
    history = told(
        journal,
        call(1),
        events.TaskStarted(id="task-1", name="task", worker="tcp://a", time=10.0),
        events.TaskStarted(id="task-1", name="task", worker="tcp://b", time=20.0),
        events.TaskLost(id="task-1", name="task", worker="tcp://a", count=1, cause="killed"),
    )
    again = history.calls["task-1"]
    assert (again.state, again.worker, again.started) == (CallState.RUNNING, "tcp://b", 20.0)
    assert [(each.how, each.worker, each.why) for each in again.attempts] == [("lost", "tcp://a", "killed")]


def test_jobs_and_pools_are_told_as_they_stand(journal):
    """Reasons, starts and ends of jobs; one that was put back waits again; workers are known by their jobs."""
    history = told(
        journal,
        events.PoolDeclared(pool="cpu", cores=4, memory=10**9, least=0, most=3, longest=500.0),
        *(events.JobSubmitted(job=str(number), pool="cpu", worker_name=f"cpu-{number}") for number in (1, 2, 3)),
        events.JobsPending(pool="cpu", reasons={"Resources": 1}),
        events.JobStarted(job="1", pool="cpu", nodes="n1"),
        events.JobStarted(job="2", pool="cpu"),
        events.JobSubmitted(job="2", pool="cpu", worker_name="cpu-2"),
        events.WorkerJoined(worker="tcp://a", worker_name="cpu-1-0", host="n1", pool="cpu"),
        events.JobEnded(job="3", pool="cpu", state="TIMEOUT", log="/logs/3", nodes="n3"),
        events.PoolStopped(pool="cpu", error="they die"),
    )
    pool, jobs = history.pools["cpu"], history.jobs
    assert (pool.most, pool.longest, pool.reasons, pool.stopped) == (3, 500.0, {"Resources": 1}, "they die")
    assert [jobs[number].started is not None for number in "123"] == [True, False, False]
    assert (jobs["3"].state, jobs["3"].log, jobs["3"].nodes, jobs["3"].is_asked) == ("TIMEOUT", "/logs/3", "n3", False)
    assert history.job_of("tcp://a").id == "1"


def test_unknown_lines_are_passed_over_and_damaged_ones_are_noted(journal):
    """A later version tells more; a disk that was full tears a line; facts that were too long are cut."""
    journal.take(call(1))
    journal.close()
    with journal.path.open("ab") as file:
        file.write(b'{"time": 1, "session": 1, "state": "invented", "facts": {"much": "more"}}\n')
    assert History.read(journal.path).is_whole
    with journal.path.open("ab") as file:
        file.write(b'{"time": 1, "session": 1, "state": "worker-joined", "facts": {"cut": "200000 bytes"}}\n{"torn')
    history = History.read(journal.path)
    assert not history.is_whole
    assert list(history.calls) == ["task-1"]
    assert history.workers == {}


def test_only_the_last_session_counts_unless_all_are_wanted(tmp_path):
    """What an earlier one was about is another matter."""
    for session in (1, 2):
        journal = Journal(tmp_path / "journal.jsonl", session)
        journal.take(call(session))
        journal.close()
    assert list(History.read(journal.path).calls) == ["task-2"]
    assert list(History.read(journal.path, sessions="all").calls) == ["task-1", "task-2"]


def test_a_run_that_goes_on_is_followed(journal):
    """Each look reads what has come since, whole lines only, and another session begins anew."""
    following = Following(journal.path.parent)
    following.look()
    assert following.history.calls == {}
    journal.take(call(1))
    assert eventually(lambda: following.look() and list(following.history.calls) == ["task-1"])
    journal.close()
    line = json.dumps({"time": 5.0, "session": 1, "state": "done", "key": "task-1", "name": "task"}) + "\n"
    with journal.path.open("a") as file:
        file.write(line[:20])
        file.flush()
        following.look()
        assert following.history.calls["task-1"].state is CallState.WAITING
        file.write(line[20:])
    following.look()
    assert following.history.calls["task-1"].state is CallState.DONE
    assert following.history.is_whole
    Journal(journal.path, 2).close()
    following.look()
    assert (following.history.session, following.history.calls) == (2, {})


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
FACT = st.sampled_from(
    ["again", "delay", "depends_on", "job", "max_in_flight", "needs", "pool", "reasons", "started", "worker"]
)
LINES = st.lists(
    st.fixed_dictionaries(
        {
            "time": st.floats(0, 1e9),
            "session": st.just(1),
            "state": st.sampled_from([*KINDS, "begun", "ended", "dropped", "invented"]),
            "key": st.sampled_from(["", "a-1", "a-2", "b-3"]),
            "name": st.sampled_from(["a", "b"]),
            "facts": st.dictionaries(FACT | st.text(max_size=3), PLAIN | st.sampled_from(["a-1", "a-2"]), max_size=4),
        }
    ),
    max_size=20,
)


@settings(max_examples=150, deadline=None)
@given(lines=LINES, cut=st.integers(0, 400))
def test_no_journal_whatsoever_is_too_much(tmp_path_factory, lines, cut):
    """Any lines in any order with any facts, torn anywhere, are folded, and every call has one record."""
    path = tmp_path_factory.getbasetemp() / "any.jsonl"
    data = "".join(json.dumps(line) + "\n" for line in lines).encode()
    path.write_bytes(data[: len(data) - cut] if cut < len(data) else data)
    for sessions in ("last", "all"):
        history = History.read(path, sessions=sessions)
        assert all(key == each.id for key, each in history.calls.items())
        for key in ("a-1", "a-2", "b-3"):
            history.call(key)
