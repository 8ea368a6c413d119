"""What a report says of a run, without a browser: rows, levels, the critical path, failures, what would fit."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import synthetic
from asyncflow.runs.entries import Entry
from asyncflow.runs.history import History
from asyncflow.views.report import report
from asyncflow.views.report.bars import worker_of
from asyncflow.views.report.concurrency import level, pool_use, running, waiting
from asyncflow.views.report.critical import critical_path
from asyncflow.views.report.events import Spent, moments
from asyncflow.views.report.failures import failures, is_of_others
from asyncflow.views.report.fit import fits, nice_size, pool_fits, written
from asyncflow.views.report.lanes import ROUNDING, lay
from asyncflow.views.report.timeline import timeline

GB = 10**9


class Lines:
    """A history made by hand: times are seconds since its beginning."""

    def __init__(self):
        self.history = History()
        self("begun", 0.0)

    def __call__(self, state, time, key="", name="", /, **facts):
        self.history.take(Entry(1000.0 + time, 1, state, key, name, facts))

    def call(self, key, created, started=None, ended=None, *, how="done", worker="w", cpu=None, peak=None, **about):
        """One call, whose name is its id without the number."""
        name = key.rstrip("0123456789")
        told = {"needs": about.pop("needs", {}), "task_type": about.pop("task_type", "function")}
        ending = {"error": about.pop("error", ""), "error_type": about.pop("error_type", "")}
        self("called", created, key, name, **told, **about)
        if ended is not None:
            begun = {} if started is None else {"started": 1000.0 + started, "worker": worker}
            self(how, ended, key, name, **begun, cpu=cpu, peak_memory=peak, **ending)
        elif started is not None:
            self("running", started, key, name, worker=worker)

    def path(self):
        told = timeline(self.history)
        return critical_path(moments(self.history, told, lay(told.bodies, worker_of)))


@pytest.fixture
def lines():
    return Lines()


def shorter(path):
    return {lever.name: pytest.approx(lever.shorter, abs=0.01) for lever in path.levers}


# Runs nobody would believe


times = st.floats(0, 100, allow_nan=False).map(lambda time: round(time, 3))


@st.composite
def histories(draw):
    """Calls at any time, of any state, that depend on any before, also where clocks must have differed."""
    lines = Lines()
    keys = []
    for number in range(draw(st.integers(0, 12))):
        name = draw(st.sampled_from("abc"))
        key = f"{name}{number}"
        about = {
            "depends_on": draw(st.lists(st.sampled_from(keys), max_size=3, unique=True)) if keys else [],
            "block": draw(st.sampled_from(["", *keys])),
            "task_type": draw(st.sampled_from(["function", "block", "command"])),
            "workflow_id": draw(st.sampled_from(["", "one", "two"])),
        }
        started = draw(st.none() | times)
        ended = draw(st.none() | times)
        how = draw(st.sampled_from(["done", "failed", "cancelled"]))
        lines.call(key, draw(times), started, ended, how=how, worker=draw(st.sampled_from("uvw")), **about)
        if ended is None and draw(st.booleans()):
            lines("lost", draw(times), key, name, started=1000.0 + draw(times), worker="u", cause="gone")
        keys.append(key)
    return lines


@given(histories())
@settings(max_examples=150, deadline=None)
def test_bodies_of_a_row_never_overlap(lines):
    """Whatever ran when: one after the other in each row, and no more rows than ran at once."""
    bodies = timeline(lines.history).bodies
    lanes = lay(bodies, worker_of)
    rows = {}
    for number, (body, row) in enumerate(zip(bodies, lanes.row, strict=True)):
        before = rows.get((body.worker, row))
        assert lanes.before[number] == before
        assert before is None or bodies[before].ended <= body.started + ROUNDING
        rows[body.worker, row] = number
    for worker, count in lanes.rows.items():
        own = level((body.started, max(body.ended, body.started + 1e-9)) for body in bodies if body.worker == worker)
        assert count <= max(own.counts, default=0)


@given(histories())
@settings(max_examples=150, deadline=None)
def test_what_ran_at_once_adds_up_to_the_time_that_bodies_took(lines):
    """The area below the line is the sum of durations, also where the line is made of fewer steps."""
    told = timeline(lines.history)
    busy = pytest.approx(sum(body.seconds for body in told.bodies), abs=1e-6)
    assert running(told).area == busy
    assert running(told).in_steps(7).area == busy
    assert min([*running(told).counts, *waiting(told).counts], default=0) >= 0


@given(histories())
@settings(max_examples=300, deadline=None)
def test_the_critical_path_has_no_gap_and_is_no_longer_than_the_run(lines):
    """Its steps follow each other; no task saves more than half of its time on it."""
    path = lines.path()
    for step, following in zip(path.steps, path.steps[1:], strict=False):
        assert step.ended == following.began
    assert path.seconds <= timeline(lines.history).seconds + 1e-6
    assert sum(path.spent(kind) for kind in Spent) == pytest.approx(path.seconds)
    for lever in path.levers:
        assert -1e-9 <= lever.shorter <= lever.seconds / 2 + 1e-6


# The critical path


def test_the_path_goes_through_what_each_call_waited_for(lines):
    """Of two inputs the later one is on it, and what is not on it is not worth speeding up."""
    lines.call("quick0", 0, 1, 2)
    lines.call("slow1", 0, 1, 11, worker="v")
    lines.call("join2", 0, 12, 14, depends_on=["quick0", "slow1"])
    path = lines.path()
    assert [(step.body.call.name, step.spent) for step in path.steps] == [
        ("slow", Spent.WAITING),
        ("slow", Spent.BODY),
        ("join", Spent.WAITING),
        ("join", Spent.BODY),
    ]
    assert path.seconds == pytest.approx(14)
    assert shorter(path) == {"slow": 5, "join": 1}


def test_another_chain_that_becomes_the_longest_is_counted(lines):
    """Where a second chain is nearly as long, making the first one faster gains only the difference."""
    lines.call("long0", 0, 0, 10)
    lines.call("other1", 0, 0, 9, worker="v")
    lines.call("join2", 0, 10, 11, depends_on=["long0", "other1"])
    assert shorter(lines.path()) == {"long": 1, "join": 0.5}


def test_a_worker_that_is_busy_is_what_a_call_waits_for(lines):
    """Calls without inputs that run one after the other on one slot are a chain: twice as fast, half as long."""
    for number in range(10):
        lines.call(f"work{number}", 0, number, number + 1)
    path = lines.path()
    assert path.spent(Spent.BODY) == pytest.approx(10, abs=0.01)
    assert shorter(path) == {"work": 5}


def test_a_block_is_as_long_as_its_calls(lines):
    """The path goes through the calls of a block, in the order in which it made them, to what hangs on the block."""
    lines.call("block0", 0, 0, 9, task_type="block", worker="")
    lines.call("first1", 0.5, 1, 4, block="block0")
    lines.call("second2", 4, 4.5, 8, block="block0", worker="v")
    lines.call("after3", 0, 9.5, 10.5, depends_on=["block0"])
    path = lines.path()
    assert [step.body.call.name for step in path.steps if step.spent is Spent.BODY] == ["first", "second", "after"]
    assert shorter(path) == {"first": 1.5, "second": 1.75, "after": 0.5}


def test_a_script_that_awaits_before_it_calls_is_a_chain(lines):
    """A call that was made when another had ended comes after it, though it gets no value of it."""
    lines.call("first0", 0, 0.5, 5)
    lines.call("second1", 5.1, 5.5, 7, worker="v")
    assert shorter(lines.path()) == {"first": 2.25, "second": 0.75}


def test_each_attempt_is_on_the_path(lines):
    """A call that was lost and began again takes the time of both."""
    lines.call("task0", 0, 1, None)
    lines("lost", 4, "task0", "task", started=1001.0, worker="w", cause="the node died", again="task9")
    lines("done", 9, "task9", "task", started=1005.0, worker="v")
    lines.call("next1", 0, 9.5, 10, depends_on=["task0"])
    path = lines.path()
    assert path.spent(Spent.BODY) == pytest.approx(3 + 4 + 0.5)
    assert shorter(path) == {"task": 3.5, "next": 0.25}


def test_ends_that_were_rounded_up_still_come_before_what_they_allowed(lines):
    """A journal rounds ends to milliseconds, so a call may seem to begin before its input has ended."""
    lines.call("first0", 0, 0, 1.001)
    lines.call("second1", 0, 1.0006, 2, depends_on=["first0"], worker="v")
    bodies = [step.body.call.name for step in lines.path().steps if step.spent is Spent.BODY]
    assert bodies == ["first", "second"]


# Waiting, levels and pools


def test_a_call_waits_from_the_end_of_its_inputs(lines):
    """Not from when it was called: until then it waited for others and not for a worker."""
    lines.call("first0", 0, 1, 5)
    lines.call("second1", 0.5, 7, 8, depends_on=["first0"])
    told = timeline(lines.history)
    assert [told.waited(call) for call in told.calls] == [1.0, 2.0]
    assert waiting(told).area == pytest.approx(3.0)


def test_pools_show_their_workers_and_jobs(lines):
    """Workers with their slots while they are there, jobs that wait and jobs that run."""
    lines("job-submitted", 1, job="7", pool="cpu", worker_name="cpu-0")
    lines("job-started", 4, job="7", pool="cpu")
    lines("worker-joined", 5, worker="w", worker_name="cpu-0", slots=4, memory=16 * GB, pool="cpu")
    lines("worker-left", 9, worker="w")
    lines("job-ended", 10, job="7", pool="cpu", state="COMPLETED")
    (use,) = pool_use(lines.history, until=1020.0)
    assert (use.name, use.workers.area, use.slots.area, use.jobs.area, use.pending.area) == ("cpu", 4, 16, 6, 3)


# Failures


def test_failures_that_differ_in_numbers_are_told_once(lines):
    """With how many there are and some of their ids; what failed because of others stands apart."""
    for number in range(5):
        error = f"ValueError: seed {number} at 0x7f{number:x}"
        lines.call(f"task{number}", 0, 1, 2, how="failed", error=error, error_type="ValueError")
    why = "DependencyFailureError: cannot run 'join'"
    lines.call("join9", 0, None, 3, how="failed", error=why, error_type="DependencyFailureError")
    lines.call("task8", 0, 1, None)
    lines("retried", 2, "task8", "task", started=1001.0, worker="w", error="OSError: disk full")
    own, others, retried = failures(lines.history)
    assert (own.name, own.how, own.type, own.count) == ("task", "failed", "ValueError", 5)
    assert own.examples == ["task0", "task1", "task2"]
    assert is_of_others(others) and not is_of_others(own)
    assert (retried.how, retried.type, retried.text) == ("retried", "OSError", "OSError: disk full")


# What would fit


@pytest.mark.parametrize(("peak", "fitting"), [(1.3 * GB, "2GB"), (85e6, "150MB"), (8 * GB, "10GB"), (4.8e9, "6GB")])
def test_memory_that_would_fit_is_a_round_number_with_some_room(peak, fitting):
    """A quarter more than the peak, rounded up."""
    assert written(nice_size(peak * 1.25)) == fitting


def fit_of(lines):
    told = timeline(lines.history)
    return fits(told, lay(told.bodies, worker_of))


def test_memory_and_cores_that_nobody_used_are_told(lines):
    """Much more memory than the peak, or cores that stayed idle: what to write, and why."""
    asked = {"cores": 4, "memory": 8 * GB}
    lines.call("tool0", 0, 0, 10, task_type="command", cpu=9.8, peak=1.3 * GB, needs=asked)
    (fit,) = fit_of(lines)
    assert fit.advice == ["memory: 2GB", "cores: 1"]
    assert fit.reasons == ["none had more than 1.3GB of 8GB", "0.98 of 4 cores were busy"]


def test_too_little_memory_or_cores_are_told(lines):
    """What had more than was asked for, and what kept more cores busy."""
    lines.call("tool0", 0, 0, 10, task_type="command", cpu=38, peak=3 * GB, needs={"memory": 2 * GB})
    (fit,) = fit_of(lines)
    assert fit.advice == ["memory: 4GB", "cores: 4"]


def test_what_fits_gets_no_advice(lines):
    """A little room is no waste."""
    lines.call("tool0", 0, 0, 10, task_type="command", cpu=39, peak=1.3 * GB, needs={"cores": 4, "memory": 2 * GB})
    (fit,) = fit_of(lines)
    assert fit.advice == []


def test_the_memory_of_others_in_the_same_worker_is_no_reason_to_ask_for_more(lines):
    """The peak of a function is that of its worker; only one that was alone there is known to have had it."""
    for number in range(2):
        lines.call(f"task{number}", 0, 0, 10, peak=3 * GB, needs={"memory": 2 * GB})
    (fit,) = fit_of(lines)
    assert (fit.is_own, fit.advice) == (False, [])
    lines.call("task5", 10, 11, 12, peak=1 * GB, needs={"memory": 2 * GB})
    (fit,) = fit_of(lines)
    assert (fit.is_own, fit.peak) == (True, 1 * GB)


def test_a_pool_whose_workers_are_too_large_is_told(lines):
    """From the looks at its workers."""
    lines("worker-joined", 0, worker="w", worker_name="cpu-0", slots=4, memory=16 * GB, pool="cpu")
    lines("resources", 5, worker="w", cpu=250.0, memory=3 * GB)
    (fit,) = pool_fits(lines.history)
    assert (fit.name, fit.busy, fit.advice) == ("cpu", 2.5, ["memory: 4GB"])


# The file


def test_a_report_is_small_and_asks_for_nothing(tmp_path):
    """A hundred thousand calls must fit into 20 MB, so one takes 200 bytes at most; nothing is loaded from anywhere."""
    synthetic.write_run(tmp_path / "few", 10)
    synthetic.write_run(tmp_path / "many", 3000)
    few, many = report(tmp_path / "few"), report(tmp_path / "many")
    assert len(few.encode()) < 2_000_000
    assert (len(many.encode()) - len(few.encode())) / 3000 < 180
    tags = re.sub(r"(<script[^>]*>).*?</script>", r"\1", many, flags=re.DOTALL)
    assert not re.findall(r"""(?:src|href)\s*=\s*["']?(?!data:)[^"'\s>]+|url\(|@import|https?:""", tags)


def test_all_sessions_or_the_last(tmp_path):
    """A report is of the last session, unless all are asked for."""
    path = synthetic.write_run(tmp_path / "run", 10)
    path.write_text(path.read_text() + path.read_text().replace('"session":1', '"session":2').replace("-000", "-00a"))
    assert "10: " in report(tmp_path / "run")
    assert "20: " in report(tmp_path / "run", sessions="all")
