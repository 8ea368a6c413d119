"""OpenTelemetry: spans of sessions, workflows, blocks and tasks, and the user's own inside of bodies."""

import asyncio
import os
import subprocess
import sys
import time

import pytest
from opentelemetry import trace
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from asyncflow import WorkflowEngine
from asyncflow.telemetry.providers import choose
from asyncflow.telemetry.workflows import Workflows
from conftest import IN_PROCESS, open_engine
from gates import Gate, Notes, until


class Spans:
    """What was exported, and which is whose."""

    def __init__(self):
        self.exporter = InMemorySpanExporter()
        self.processor = SimpleSpanProcessor(self.exporter)

    @property
    def all(self):
        return self.exporter.get_finished_spans()

    def named(self, name):
        return [each for each in self.all if each.name == name]

    def one(self, name):
        (found,) = self.named(name)
        return found

    def path(self, span):
        """The names from the session down to `span`."""
        ids = {each.context.span_id: each for each in self.all}
        names = [span.name]
        while span.parent is not None:
            span = ids[span.parent.span_id]
            names.insert(0, span.name)
        return names

    def links(self, span):
        ids = {each.context.span_id: each.name for each in self.all}
        return [ids[each.context.span_id] for each in span.links]


@pytest.fixture
def spans():
    return Spans()


@pytest.fixture
def own_tracer(spans):
    """A tracer as users have one: of another provider, which sends to the same place."""
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(spans.exporter))
    return provider.get_tracer("user")


def here():
    """Trace and span that are current, as a body sees them."""
    found = trace.get_current_span().get_span_context()
    return found.trace_id, found.span_id


async def here_soon():
    await asyncio.sleep(0)
    return here()


def of(span):
    return span.context.trace_id, span.context.span_id


async def test_spans_nest_as_the_work_does(any_flow, spans):
    """Session, workflow, block, task; each with what is known of it, and with links to what it depends on."""
    await any_flow.start_telemetry(span_processors=[spans.processor])

    @any_flow.function_task
    def first():
        return 1

    @any_flow.function_task
    def second(x):
        return x + 1

    @any_flow.block
    async def pair():
        return await second(first())

    async with any_flow.workflow_scope("wf-7"):
        assert await pair() == 2
    alone = first()
    await alone
    await any_flow.shutdown()
    assert sorted(map(spans.path, spans.all)) == sorted(
        [
            ["session"],
            ["session", "workflow"],
            ["session", "workflow", "pair"],
            ["session", "workflow", "pair", "first"],
            ["session", "workflow", "pair", "second"],
            ["session", "first"],
        ]
    )
    assert len({each.context.trace_id for each in spans.all}) == 1
    assert spans.links(spans.one("second")) == ["first"]
    about = spans.one("second").attributes
    assert about["asyncflow.workflow_id"] == "wf-7"
    assert about["asyncflow.session_id"] == any_flow.uid
    assert about["asyncflow.task.type"] == "function"
    assert about["asyncflow.task.backend"] == any_flow.backend.name
    assert about["asyncflow.task.state"] == "DONE"
    assert about["asyncflow.task.attempt"] == 1
    assert about["asyncflow.task.worker"]
    assert about["asyncflow.task.duration"] >= 0
    assert alone.id in {each.attributes["asyncflow.task.id"] for each in spans.named("first")}
    assert spans.one("pair").attributes["asyncflow.kind"] == "block"


async def test_spans_have_the_times_of_what_happened(any_flow, spans):
    """From the call to the end of the body, whoever waits for it; when the body began is an event of the span."""
    await any_flow.start_telemetry(span_processors=[spans.processor])

    @any_flow.function_task
    def times():
        began = time.time()
        return began, time.time()

    called = time.time()
    began, ended = await times()
    await any_flow.shutdown()
    span = spans.one("times")
    (start,) = (each.timestamp for each in span.events if each.name == "TaskStarted")
    for told, true in ((span.start_time, called), (start, began), (span.end_time, ended)):
        assert abs(told / 1e9 - true) < 0.1
    session = spans.one("session")
    assert session.start_time <= span.start_time <= start <= span.end_time <= session.end_time


# What bodies see

WAYS = {
    "def": (here, {}),
    "async def": (here_soon, {}),
    "a thread of its own": (here, {"timeout": 30}),
    "async in a thread of its own": (here_soon, {"timeout": 30}),
    "a process of its own": (here, {"isolate": "process"}),
    "async in a process of its own": (here_soon, {"isolate": "process", "timeout": 30}),
}


@pytest.mark.parametrize("way", WAYS)
async def test_bodies_see_the_span_of_their_task(any_flow, spans, way):
    """Whatever runs them, and wherever: what a body traces nests under its task."""
    await any_flow.start_telemetry(span_processors=[spans.processor])
    body, options = WAYS[way]
    seen = await asyncio.gather(*(any_flow.function_task(**options)(body)() for _ in range(2)))
    await any_flow.shutdown()
    assert set(map(tuple, seen)) == {of(each) for each in spans.named(body.__name__)}


async def test_bodies_in_worker_programs_see_it_too(spans):
    """Across processes that were started by themselves."""
    cluster = {**IN_PROCESS["cluster"], "processes": True, "n_workers": 1}
    async with WorkflowEngine.create({"cluster": cluster}) as flow:
        await flow.start_telemetry(span_processors=[spans.processor])
        seen = await flow.function_task(here)()
    assert tuple(seen) == of(spans.one("here"))


class Tracers:
    """Where bodies in this process find the user's tracer, which cannot be pickled."""

    one = None


def traced():
    with Tracers.one.start_as_current_span("in body"):
        pass


async def traced_soon():
    with Tracers.one.start_as_current_span("in body"):
        await asyncio.sleep(0)


@pytest.mark.parametrize("body", [traced, traced_soon])
async def test_own_spans_nest_under_the_task(flow, spans, own_tracer, monkeypatch, body):
    """On threads, on in-process workers and in blocks they go where the user's provider sends them."""
    monkeypatch.setattr(Tracers, "one", own_tracer)
    await flow.start_telemetry(span_processors=[spans.processor])

    @flow.block
    async def block():
        with own_tracer.start_as_current_span("in block"):
            await asyncio.sleep(0)

    await asyncio.gather(flow.function_task(name="task")(body)(), block())
    await flow.shutdown()
    assert spans.path(spans.one("in body")) == ["session", "task", "in body"]
    assert spans.path(spans.one("in block")) == ["session", "block", "in block"]


@pytest.mark.parametrize("options", [{}, {"timeout": 30}])
async def test_commands_have_it_in_their_environment(any_flow, spans, options):
    """``TRACEPARENT``, as programs that trace expect it; so have functions in processes of their own."""
    await any_flow.start_telemetry(span_processors=[spans.processor])

    @any_flow.executable_task(**options)
    def command():
        return ["sh", "-c", "echo $TRACEPARENT"]

    @any_flow.function_task(isolate="process", **options)
    def apart():
        return os.environ["TRACEPARENT"]

    texts = [(await command()).strip(), await apart()]
    await any_flow.shutdown()
    for text, name in zip(texts, ("command", "apart"), strict=True):
        trace_id, span_id = of(spans.one(name))
        assert text.split("-")[1:3] == [f"{trace_id:032x}", f"{span_id:016x}"]


async def test_a_task_inside_a_body_belongs_to_the_span_that_is_current_there(thread_flow, spans):
    """Called in another's body it is a plain function there, and so it is for spans."""
    await thread_flow.start_telemetry(span_processors=[spans.processor])
    inner = thread_flow.function_task(here)

    @thread_flow.executable_task(timeout=30)
    def command():
        return ["sh", "-c", "echo $TRACEPARENT"]

    @thread_flow.function_task
    def outer():
        return inner(), command()

    seen, text = await outer()
    await thread_flow.shutdown()
    assert seen == of(spans.one("outer"))
    assert f"{seen[1]:016x}" in text


async def test_a_span_around_a_call_is_linked(thread_flow, spans, own_tracer):
    """The tree is that of the work; what was current where the call was made is linked to."""
    await thread_flow.start_telemetry(span_processors=[spans.processor])
    with own_tracer.start_as_current_span("around"):
        await thread_flow.function_task(here)()
    await thread_flow.shutdown()
    assert spans.path(spans.one("here")) == ["session", "here"]
    assert spans.links(spans.one("here")) == ["around"]


# How calls end


async def test_failures_have_a_status_and_their_error(any_flow, spans):
    """What failed by itself, and what depends on it; each attempt that another followed is an event."""
    await any_flow.start_telemetry(span_processors=[spans.processor])

    @any_flow.function_task(retries=1)
    def fails():
        raise LookupError("no such thing")

    @any_flow.function_task
    def needs(x):
        return x

    with pytest.raises(Exception, match="no such thing"):
        await needs(fails())
    await any_flow.shutdown()
    span = spans.one("fails")
    assert span.status.status_code is trace.StatusCode.ERROR
    assert "no such thing" in span.status.description
    (error,) = (each.attributes for each in span.events if each.name == "exception")
    assert dict(error) == {"exception.type": "LookupError", "exception.message": "no such thing"}
    assert [each.name for each in span.events].count("TaskRetried") == 1
    assert span.attributes["asyncflow.task.attempt"] == 2
    assert span.attributes["asyncflow.task.state"] == "FAILED"
    assert spans.one("needs").status.status_code is trace.StatusCode.ERROR
    assert spans.links(spans.one("needs")) == ["fails"]


async def test_a_cancelled_call_has_a_span_without_an_error(any_flow, spans, tmp_path):
    """Its state says so; at the end of the session what still runs is cancelled, and ends its span as well."""
    await any_flow.start_telemetry(span_processors=[spans.processor])
    begun, end = Gate(tmp_path / "begun"), Gate(tmp_path / "end")

    @any_flow.function_task
    def waits(begun, end):
        begun.open()
        end.wait()

    @any_flow.function_task
    def never(x):
        return x

    running = waits(begun, end)
    waiting = never(running)
    await begun.reached()
    waiting.cancel()
    end.open()
    await any_flow.shutdown()
    span = spans.one("never")
    assert span.status.status_code is trace.StatusCode.UNSET
    assert span.attributes["asyncflow.task.state"] == "CANCELLED"
    assert spans.one("waits").attributes["asyncflow.task.state"] in {"CANCELLED", "DONE"}
    assert spans.one("session").end_time


async def test_a_call_that_is_sent_again_is_one_span(flow, spans, tmp_path):
    """Under another id, as is what depends on it."""
    await flow.start_telemetry(span_processors=[spans.processor])

    @flow.function_task(retries=1, retry_with={"timeout": 60})
    def fails_once(path):
        notes = Notes(path)
        notes.add("try")
        if len(notes.lines) == 1:
            raise OSError("once")
        return here()

    @flow.function_task
    def after(x):
        return here()

    first = fails_once(str(tmp_path / "tries"))
    second = after(first)
    seen = await asyncio.gather(first, second)
    await flow.shutdown()
    assert [tuple(each) for each in seen] == [of(spans.one("fails_once")), of(spans.one("after"))]
    assert spans.one("after").attributes["asyncflow.task.id"] == second.id
    assert spans.one("fails_once").attributes["asyncflow.task.attempt"] == 2


async def test_open_spans_are_those_of_unfinished_calls(thread_flow, spans):
    """Nothing is kept of calls that have ended, and of idle workflows a bounded number."""
    telemetry = await thread_flow.start_telemetry(span_processors=[spans.processor])
    task = thread_flow.function_task(here)
    for number in range(150):
        await task.options(workflow_id=f"wf-{number}")()
    await until(lambda: len(spans.named("here")) == 150)
    assert not telemetry._spans._calls
    assert len(spans.named("workflow")) == 50
    await thread_flow.shutdown()
    assert len(spans.named("workflow")) == 150


def test_a_workflow_is_as_long_as_its_calls():
    """Calls that follow later belong to the same span, which ends with the last of them."""
    ended = []

    class Span:
        def end(self, now):
            ended.append(now)

    workflows = Workflows(lambda name, now: Span())
    span = workflows.enter("a", 1)
    workflows.leave("a", 2)
    assert workflows.enter("a", 3) is span
    workflows.leave("a", 4)
    assert not ended
    workflows.close(9)
    assert ended == [4]


# Start and stop


async def test_it_begins_late_and_ends_early(thread_flow, spans):
    """Of the session from its start, of calls those made in between; after ``stop`` it may be started anew."""
    task = thread_flow.function_task
    opened = time.time()
    await task(name="before")(here)()
    telemetry = await thread_flow.start_telemetry(span_processors=[spans.processor])
    with pytest.raises(RuntimeError, match="runs already"):
        await thread_flow.start_telemetry(span_processors=[spans.processor])
    await task(name="during")(here)()
    await telemetry.stop()
    await telemetry.stop()
    assert await task(name="after")(here)() == (0, 0)
    assert {each.name for each in spans.all} == {"session", "during"}
    assert spans.one("session").start_time / 1e9 <= opened
    anew = Spans()
    await thread_flow.start_telemetry(span_processors=[anew.processor])
    await task(name="again")(here)()
    await thread_flow.shutdown()
    assert {each.name for each in anew.all} == {"session", "again"}


async def test_metrics_count_calls_and_how_long_they_took(thread_flow, spans):
    """By the name of the task and by state."""
    reader = InMemoryMetricReader()
    await thread_flow.start_telemetry(
        span_processors=[], metric_readers=[reader], resource=Resource.create({"service.name": "campaign"})
    )

    @thread_flow.function_task(retries=1)
    def fails():
        raise OSError("no")

    await asyncio.gather(*(thread_flow.function_task(here)() for _ in range(3)))
    with pytest.raises(OSError, match="no"):
        await fails()
    (found,) = reader.get_metrics_data().resource_metrics
    assert found.resource.attributes["service.name"] == "campaign"
    points = {}
    for metric in found.scope_metrics[0].metrics:
        for point in metric.data.data_points:
            labels = (point.attributes["asyncflow.task.name"], point.attributes.get("asyncflow.task.state"))
            points[metric.name, *labels] = getattr(point, "value", None) or point.count
    assert points == {
        ("asyncflow.tasks.called", "here", None): 3,
        ("asyncflow.tasks.called", "fails", None): 1,
        ("asyncflow.tasks.retried", "fails", None): 1,
        ("asyncflow.tasks.ended", "here", "DONE"): 3,
        ("asyncflow.tasks.ended", "fails", "FAILED"): 1,
        ("asyncflow.task.duration", "here", "DONE"): 3,
        ("asyncflow.task.duration", "fails", "FAILED"): 1,
    }


# Who takes the spans


def test_exporters_are_those_that_the_variables_name():
    """``OTEL_TRACES_EXPORTER`` and its like are read as OpenTelemetry's own configuration reads them."""
    for environ, count in (
        ({"OTEL_TRACES_EXPORTER": "console"}, 1),
        ({"OTEL_TRACES_EXPORTER": "none"}, 0),
        ({"OTEL_TRACES_EXPORTER": "console", "OTEL_SDK_DISABLED": "true"}, 0),
    ):
        providers = choose(None, None, None, environ)
        assert len(providers.tracer._active_span_processor._span_processors) == count
        assert providers.meter is None
        providers.close(1.0)
    providers = choose([], None, None, {"OTEL_METRICS_EXPORTER": "console"})
    assert providers.meter is not None
    providers.close(1.0)
    with pytest.raises(ValueError, match="console"):
        choose(None, None, None, {"OTEL_TRACES_EXPORTER": "carrier-pigeon"})


def test_where_nothing_takes_the_spans_is_said():
    """With what to install, to set, or to give."""
    with pytest.raises(ValueError, match="opentelemetry-exporter-otlp"):
        choose(None, None, None, {})


SCRIPT = """
import asyncio, sys
from concurrent.futures import ThreadPoolExecutor
from asyncflow import LocalExecutionBackend, WorkflowEngine
async def main():
    with ThreadPoolExecutor(1) as pool:
        async with WorkflowEngine.create(backend=LocalExecutionBackend(pool)) as flow:
            {body}
asyncio.run(main())
"""


def _run(body, **env):
    program = SCRIPT.format(body=body)
    ran = subprocess.run(
        [sys.executable, "-c", program], check=False, capture_output=True, text=True, env={**os.environ, **env}
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def test_the_providers_own_of_the_process_is_used():
    """Where the user has set one up, spans go there, and it stays open."""
    body = """
            from opentelemetry import trace
            from opentelemetry.sdk.trace import TracerProvider
            from opentelemetry.sdk.trace.export import SimpleSpanProcessor
            from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
            exporter = InMemorySpanExporter()
            provider = TracerProvider()
            provider.add_span_processor(SimpleSpanProcessor(exporter))
            trace.set_tracer_provider(provider)
            def body():
                with trace.get_tracer("mine").start_as_current_span("inside"):
                    pass
            telemetry = await flow.start_telemetry()
            assert telemetry.tracer_provider is provider
            await flow.function_task(body)()
            await flow.shutdown()
            with trace.get_tracer("mine").start_as_current_span("afterwards"):
                pass
            print(*sorted(each.name for each in exporter.get_finished_spans()))
    """
    assert _run(body) == "afterwards body inside session\n"


def test_nothing_is_imported_where_nobody_asks():
    """A run without telemetry does not load OpenTelemetry, and its calls carry nothing."""
    body = """
            await flow.function_task(print)("ran")
            print([name for name in sys.modules if name.startswith("opentelemetry")])
    """
    assert _run(body) == "ran\n[]\n"


def test_what_is_missing_is_named():
    """Without the SDK, the error says which extra to install; calls go on."""
    body = """
            sys.modules["opentelemetry.sdk"] = None
            try:
                await flow.start_telemetry()
            except ModuleNotFoundError as error:
                print(error)
            await flow.function_task(print)("ran")
    """
    out = _run(body)
    assert "pip install 'asyncflow[otel]'" in out
    assert out.endswith("ran\n")


async def test_calls_that_carry_nothing_travel_as_before(dask_flow):
    """Off means off: no span, no wrapping of what a worker runs."""
    call = dask_flow.function_task(here)()
    assert tuple(await call) == (0, 0)
    assert call.node.carrier is None


async def test_a_worker_without_opentelemetry_runs_bodies_all_the_same(spans, monkeypatch):
    """What is carried is then for commands alone."""
    async with open_engine("threads") as flow:
        await flow.start_telemetry(span_processors=[spans.processor])
        monkeypatch.setattr("asyncflow.carrier._tools", lambda: None)
        assert await flow.function_task(here)() == (0, 0)
    assert spans.one("here")
