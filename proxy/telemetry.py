"""OpenTelemetry: the one module that knows its packages, and the names of its conventions for generative AI.

A request becomes a span of kind server, each of its attempts one of kind client below it; both are made when the
request has ended, with the times that were noted on its way, so that nothing is done while it is answered. What was
asked and answered is in none of them.

The names are those of the conventions as of 2026-11, which are still in development
(github.com/open-telemetry/semantic-conventions-genai).
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from proxy.config.model import TelemetrySettings
from proxy.errors import StartError
from proxy.version import version
from storage.ledger import Status
from storage.money import usd
from translators.neutral import Failure

if TYPE_CHECKING:
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span, Tracer

    from proxy.exchange import Attempt, Exchange

OPERATION: Final = "gen_ai.operation.name"
PROVIDER: Final = "gen_ai.provider.name"
REQUEST_MODEL: Final = "gen_ai.request.model"
STREAM: Final = "gen_ai.request.stream"
FIRST_CHUNK: Final = "gen_ai.response.time_to_first_chunk"
INPUT_TOKENS: Final = "gen_ai.usage.input_tokens"
OUTPUT_TOKENS: Final = "gen_ai.usage.output_tokens"
CACHED_TOKENS: Final = "gen_ai.usage.cache_read.input_tokens"
REASONING_TOKENS: Final = "gen_ai.usage.reasoning.output_tokens"
COUNTED: Final = "gen_ai.token.type"
ERROR: Final = "error.type"
HTTP_STATUS: Final = "http.response.status_code"
DURATION_METRIC: Final = "gen_ai.client.operation.duration"
FIRST_METRIC: Final = "gen_ai.client.operation.time_to_first_chunk"
USAGE_METRIC: Final = "gen_ai.client.token.usage"

OPERATIONS: Final[Mapping[str, str]] = {
    "gemini": "generate_content",
    "openai_completions": "text_completion",
    "embeddings": "embeddings",
}
"""Dialect -> operation; of all others it is a chat."""
PROVIDERS: Final[Mapping[str, str]] = {
    "azure": "azure.ai.openai",
    "gemini": "gcp.gemini",
    "mistral": "mistral_ai",
    "xai": "x_ai",
}
"""Our name of a provider -> the conventions' one, where it is another."""
DURATIONS_S: Final = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
TOKENS: Final = tuple(4**power for power in range(14))
"""Bounds of histograms, as the conventions want them."""
MODELS: Final = 200
"""A client may put any name behind a provider: so many are told apart in metrics, the others are OTHERS."""
OTHERS: Final = "(other)"
SEND_S: Final = 3.0
"""How long a receiver is tried, with repeats, which a stopping process has to wait for."""
TIMEOUT_VARIABLE: Final = "OTEL_EXPORTER_OTLP_TIMEOUT"
MISSING: Final = "telemetry.enabled is true, but its packages are missing; install modelport[otel]"


class Telemetry:
    """Makes spans and metrics of exchanges that have ended. Without a provider there are none of its kind."""

    def __init__(self, traces: TracerProvider | None, metrics: MeterProvider | None) -> None:
        self._traces = traces
        self._metrics = metrics
        self._models: set[str] = set()
        self._tracer = traces.get_tracer("modelport", version()) if traces else None
        if metrics is not None:
            meter = metrics.get_meter("modelport", version())
            self._duration = meter.create_histogram(
                DURATION_METRIC,
                "s",
                "How long attempts took.",
                explicit_bucket_boundaries_advisory=DURATIONS_S,
            )
            self._first = meter.create_histogram(
                FIRST_METRIC,
                "s",
                "Until the first content of a stream.",
                explicit_bucket_boundaries_advisory=DURATIONS_S,
            )
            self._tokens = meter.create_histogram(
                USAGE_METRIC, "{token}", "Tokens of attempts.", explicit_bucket_boundaries_advisory=TOKENS
            )

    def ended(self, exchange: Exchange, status: Status, total_ms: float, failure: Failure | None) -> None:
        """Tell of *exchange*, which has ended just now after *total_ms*."""
        began_ns = time.time_ns() - int(total_ms * 1e6)
        operation = OPERATIONS.get(exchange.dialect, "chat")
        if self._metrics is not None:
            for attempt in exchange.attempts:
                self._measure(attempt, operation)
        if self._tracer is not None:
            above = self._trace(self._tracer, exchange, _of_exchange(exchange, operation, status), began_ns)
            _mark(above, failure.kind if failure else None)
            above.end(began_ns + int(total_ms * 1e6))

    async def close(self) -> None:
        """Send what waits."""
        providers = [provider for provider in (self._traces, self._metrics) if provider is not None]
        await asyncio.gather(*(asyncio.to_thread(provider.shutdown) for provider in providers))

    @staticmethod
    def _trace(tracer: Tracer, exchange: Exchange, attributes: Mapping[str, Any], began_ns: int) -> Span:
        """The span of *exchange*, still open, with those of its attempts below it."""
        from opentelemetry.trace import SpanKind, set_span_in_context
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        callers = None
        if exchange.trace_parent is not None:
            callers = TraceContextTextMapPropagator().extract({"traceparent": exchange.trace_parent})
        operation = attributes[OPERATION]
        name = f"{operation} {exchange.route}"
        span = tracer.start_span(name, callers, SpanKind.SERVER, attributes, start_time=began_ns)
        inner = set_span_in_context(span, callers)
        for attempt in exchange.attempts:
            at_ns = began_ns + int((attempt.started - exchange.started) * 1e9)
            told = _of_attempt(attempt, operation)
            name = f"{operation} {attempt.target.model}"
            child = tracer.start_span(name, inner, SpanKind.CLIENT, told, start_time=at_ns)
            _mark(child, attempt.error_kind)
            child.end(at_ns + int(attempt.elapsed_ms() * 1e6))
        return span

    def _measure(self, attempt: Attempt, operation: str) -> None:
        labels: dict[str, Any] = {
            OPERATION: operation,
            PROVIDER: _provider(attempt),
            REQUEST_MODEL: self._model(attempt.target.model),
        }
        told = {**labels, **({ERROR: attempt.error_kind} if attempt.error_kind else {})}
        self._duration.record(attempt.elapsed_ms() / 1000, told)
        if attempt.streams and attempt.first_event_ms is not None:
            self._first.record(attempt.first_event_ms / 1000, labels)
        if attempt.usage is not None:
            for kind, count in (("input", attempt.usage.input_tokens), ("output", attempt.usage.output_tokens)):
                self._tokens.record(count, {**labels, COUNTED: kind})

    def _model(self, name: str) -> str:
        if name not in self._models:
            if len(self._models) >= MODELS:
                return OTHERS
            self._models.add(name)
        return name


def _provider(attempt: Attempt) -> str:
    return PROVIDERS.get(attempt.target.provider, attempt.target.provider)


def _of_exchange(exchange: Exchange, operation: str, status: Status) -> dict[str, Any]:
    told: dict[str, Any] = {
        OPERATION: operation,
        STREAM: exchange.stream,
        "modelport.request_id": exchange.id,
        "modelport.route": exchange.route,
        "modelport.status": status,
        "modelport.cache": exchange.cache,
        "modelport.attempts": len(exchange.attempts),
    }
    if exchange.target is not None:
        told["modelport.target"] = exchange.target.name
    if (cost := exchange.cost_nanousd) is not None:
        told["modelport.cost_usd"] = usd(cost)
    if exchange.waited_s:
        told["modelport.queue_s"] = exchange.waited_s
    return told


def _of_attempt(attempt: Attempt, operation: str) -> dict[str, Any]:
    told: dict[str, Any] = {
        OPERATION: operation,
        PROVIDER: _provider(attempt),
        REQUEST_MODEL: attempt.target.model,
        STREAM: attempt.streams,
    }
    if attempt.http_status is not None:
        told[HTTP_STATUS] = attempt.http_status
    if attempt.streams and attempt.first_event_ms is not None:
        told[FIRST_CHUNK] = attempt.first_event_ms / 1000
    if attempt.usage is not None:
        told[INPUT_TOKENS] = attempt.usage.input_tokens
        told[OUTPUT_TOKENS] = attempt.usage.output_tokens
        told[CACHED_TOKENS] = attempt.usage.cached_input_tokens
        told[REASONING_TOKENS] = attempt.usage.reasoning_tokens
    return {name: value for name, value in told.items() if value is not None}


def _mark(span: Span, kind: str | None) -> None:
    from opentelemetry.trace import StatusCode

    if kind is not None:
        span.set_attribute(ERROR, kind)
        span.set_status(StatusCode.ERROR)


# --- the real ones


def new_telemetry(settings: TelemetrySettings) -> Telemetry | None:
    """What *settings* want; None: nothing.

    Raises:
        StartError: the packages are not there.
    """
    if not settings.enabled or not (settings.traces or settings.metrics):
        return None
    try:
        return Telemetry(
            _traces(settings) if settings.traces else None, _metrics(settings) if settings.metrics else None
        )
    except ImportError as error:
        raise StartError(MISSING) from error


def _timeout_s() -> float | None:
    """None: as OpenTelemetry's own variable says."""
    return None if TIMEOUT_VARIABLE in os.environ else SEND_S


def _traces(settings: TelemetrySettings) -> TracerProvider:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
    from opentelemetry.sdk.trace.sampling import ParentBasedTraceIdRatio

    provider = TracerProvider(
        sampler=ParentBasedTraceIdRatio(settings.sample),
        resource=Resource.create({"service.name": settings.service, "service.version": version()}),
        shutdown_on_exit=False,
    )
    endpoint = f"{settings.endpoint}/v1/traces" if settings.endpoint else None
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint, timeout=_timeout_s())))
    return provider


def _metrics(settings: TelemetrySettings) -> MeterProvider:
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
    from opentelemetry.sdk.resources import Resource

    endpoint = f"{settings.endpoint}/v1/metrics" if settings.endpoint else None
    reader = PeriodicExportingMetricReader(
        OTLPMetricExporter(endpoint=endpoint, timeout=_timeout_s()), export_interval_millis=settings.interval_s * 1000
    )
    resource = Resource.create({"service.name": settings.service, "service.version": version()})
    return MeterProvider([reader], resource, shutdown_on_exit=False)
