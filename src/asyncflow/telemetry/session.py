"""Telemetry of one engine, from its start to its stop."""

import asyncio
import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Self

from opentelemetry.sdk.metrics.export import MetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanProcessor

from asyncflow.events import Event, Events, TaskCreated
from asyncflow.telemetry.metrics import Metrics
from asyncflow.telemetry.providers import Providers, choose
from asyncflow.telemetry.spans import Spans

logger = logging.getLogger("asyncflow")

#: Seconds that exporters have to send what is left.
FLUSH = 10.0


class Telemetry:
    """Spans and metrics of what happens in an engine, while it runs.

    Attributes
    ----------
    tracer_provider
        Who makes the spans. ``opentelemetry.trace.set_tracer_provider`` makes it that of the whole process, so that
        spans of your own on this machine go the same way.
    meter_provider
        Who keeps the metrics; None where nobody does.
    """

    def __init__(self, events: Events, providers: Providers) -> None:
        self.tracer_provider = providers.tracer
        self.meter_provider = providers.meter
        self._providers = providers
        self._events = events
        self._spans = Spans(providers.tracer)
        self._metrics = Metrics(providers.meter) if providers.meter is not None else None
        self._stopping: asyncio.Task[None] | None = None
        events.listen(self._take)
        events.carrier_of = self._spans.called

    @classmethod
    async def start(
        cls,
        events: Events,
        *,
        span_processors: Iterable[SpanProcessor] | None,
        metric_readers: Iterable[MetricReader] | None,
        resource: Resource | None,
    ) -> Self:
        """Begin; `WorkflowEngine.start_telemetry` says what it takes."""
        if events.carrier_of is not None:  # before a processor is taken, which can be closed only once
            raise RuntimeError("telemetry of this engine runs already; await its stop() before it is started anew")
        events.carrier_of = _not_yet
        try:
            providers = await asyncio.to_thread(choose, span_processors, metric_readers, resource)
        except BaseException:
            events.carrier_of = None
            raise
        return cls(events, providers)

    async def stop(self) -> None:
        """End all spans and send them; safe to call again. Calls made from now on have none."""
        if self._stopping is None:
            self._events.leave(self._take)
            self._events.carrier_of = None
            self._spans.close(time.time())
            self._stopping = asyncio.get_running_loop().create_task(self._flush())
        await asyncio.shield(self._stopping)

    async def _flush(self) -> None:
        closing = asyncio.to_thread(self._providers.close, FLUSH)
        try:
            await asyncio.wait_for(closing, FLUSH)
        except TimeoutError:
            logger.warning("spans were not sent within %g s; see whether their collector answers", FLUSH)
        except Exception:
            logger.exception("the last spans could not be sent")

    def _take(self, event: Event) -> Any:
        self._spans.take(event)
        if self._metrics is not None:
            self._metrics.take(event)


def _not_yet(event: TaskCreated, upstream: Sequence[Mapping[str, str]]) -> None:
    """Calls made while it is being started have no spans."""
