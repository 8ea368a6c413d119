"""Who takes spans and metrics: who was given, the process's own provider, or what ``OTEL_…`` variables name."""

import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from importlib.metadata import entry_points
from typing import Any, NamedTuple

from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import MetricReader, PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

_PROTOCOLS = {"grpc": "otlp_proto_grpc", "http/protobuf": "otlp_proto_http"}


class Providers(NamedTuple):
    """Who makes spans and keeps metrics; those of our own are closed with us, those of the process only flushed."""

    tracer: Any
    meter: Any
    own: tuple[Any, ...]

    def close(self, timeout: float) -> None:
        """Send what is left; blocks, `timeout` seconds at most for each where the exporters keep to that."""
        for provider in (self.tracer, self.meter):
            if provider in self.own:
                provider.shutdown()
            elif hasattr(provider, "force_flush"):
                with suppress(TypeError):  # not the SDK's
                    provider.force_flush(int(timeout * 1000))


def choose(
    span_processors: Iterable[SpanProcessor] | None,
    metric_readers: Iterable[MetricReader] | None,
    resource: Resource | None,
    environ: Mapping[str, str] = os.environ,
) -> Providers:
    """The providers, made where there are none; blocks.

    Raises
    ------
    ValueError
        Where nothing says who takes the spans, or who is named is not installed.
    """
    own: list[Any] = []
    tracer = trace.get_tracer_provider()
    is_none_there = isinstance(tracer, trace.ProxyTracerProvider | trace.NoOpTracerProvider)
    if span_processors is not None or resource is not None or is_none_there:
        processors = _named_processors(environ) if span_processors is None else list(span_processors)
        tracer = TracerProvider(resource=resource)
        for processor in processors:
            tracer.add_span_processor(processor)
        own.append(tracer)
    meter: Any = metrics.get_meter_provider()
    if metric_readers is not None or not isinstance(meter, MeterProvider):
        readers = _named_readers(environ) if metric_readers is None else list(metric_readers)
        meter = MeterProvider(readers, resource) if readers else None
        own += [meter] if readers else []
    return Providers(tracer, meter, tuple(own))


def _named_processors(environ: Mapping[str, str]) -> list[SpanProcessor]:
    if environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return []
    named = environ.get("OTEL_TRACES_EXPORTER", "").strip()
    try:
        made = _exporters("traces", named or "otlp", environ)
    except LookupError as error:
        if named:
            raise ValueError(f"OTEL_TRACES_EXPORTER={named}: {error}") from None
        raise ValueError(
            "nothing says who takes the spans; install opentelemetry-exporter-otlp to send them to a collector, set "
            "OTEL_TRACES_EXPORTER=console to print them, or give start_telemetry(span_processors=[...])"
        ) from None
    return [BatchSpanProcessor(each) for each in made]


def _named_readers(environ: Mapping[str, str]) -> list[MetricReader]:
    named = environ.get("OTEL_METRICS_EXPORTER", "").strip()
    try:
        made = _exporters("metrics", named or "none", environ)
    except LookupError as error:
        raise ValueError(f"OTEL_METRICS_EXPORTER={named}: {error}") from None
    return [PeriodicExportingMetricReader(each) for each in made]


def _exporters(signal: str, named: str, environ: Mapping[str, str]) -> list[Any]:
    """One of each that is named, in the words that the SDK's own configuration understands."""
    found = {each.name: each for each in entry_points(group=f"opentelemetry_{signal}_exporter")}
    made = []
    for name in filter(None, (each.strip() for each in named.split(","))):
        if name == "none":
            continue
        candidates = [name] if name != "otlp" else _otlp(signal, environ)
        entry = next((found[each] for each in candidates if each in found), None)
        if entry is None:
            there = ", ".join(sorted(found)) or "none"
            raise LookupError(f"no exporter {name!r} is installed here; there is {there}; install its package")
        made.append(entry.load()())
    return made


def _otlp(signal: str, environ: Mapping[str, str]) -> list[str]:
    asked = environ.get(f"OTEL_EXPORTER_OTLP_{signal.upper()}_PROTOCOL") or environ.get("OTEL_EXPORTER_OTLP_PROTOCOL")
    return [_PROTOCOLS.get(asked, asked)] if asked else list(_PROTOCOLS.values())
