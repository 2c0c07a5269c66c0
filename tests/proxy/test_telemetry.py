"""OpenTelemetry: spans and metrics of real requests, in memory; nothing of it where it is off."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import pytest
from aiohttp import web
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from proxy.config.model import TelemetrySettings
from proxy.errors import StartError
from proxy.telemetry import MODELS, OTHERS, Telemetry, new_telemetry
from tests.proxy.conftest import Serve
from tests.proxy.serving import QUICK, Served, failing, provider, route, says, streams
from tests.replay import Upstream
from tests.running import ROOT

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
Watched = Callable[..., Awaitable[Served]]


@dataclass
class Seen:
    """What was exported."""

    exporter: InMemorySpanExporter
    reader: InMemoryMetricReader

    @property
    def spans(self) -> list[ReadableSpan]:
        """By their beginning; of those that begin together the one above first."""
        return sorted(self.exporter.get_finished_spans(), key=lambda span: (span.start_time, span.kind.value))

    def points(self) -> dict[str, list[Any]]:
        """The metrics' data points by name."""
        found = self.reader.get_metrics_data()
        assert found is not None
        metrics = [each for one in found.resource_metrics for scope in one.scope_metrics for each in scope.metrics]
        return {metric.name: list(metric.data.data_points) for metric in metrics}


@pytest.fixture
def seen() -> Seen:
    return Seen(InMemorySpanExporter(), InMemoryMetricReader())


@pytest.fixture
def watched(serve: Serve, seen: Seen) -> Watched:
    """A server that is watched."""

    async def start(*sections: str) -> Served:
        server = await serve(QUICK, *sections)
        traces = TracerProvider(shutdown_on_exit=False)
        traces.add_span_processor(SimpleSpanProcessor(seen.exporter))
        metrics = MeterProvider([seen.reader], shutdown_on_exit=False)
        server.services.endings.telemetry = Telemetry(traces, metrics)
        return server

    return start


async def test_a_request_is_a_span_with_one_for_each_attempt(watched: Watched, upstream: Upstream, seen: Seen) -> None:
    upstream.script("m", failing(503))
    upstream.script("n", streams())
    server = await watched(
        provider("one", upstream), provider("mistral", upstream), route("town", "one/m", "mistral/n")
    )

    reply = await server.ask({"traceparent": PARENT}, model="town", stream=True)
    await server.services.drain()

    whole, first, second = seen.spans
    assert [span.name for span in seen.spans] == ["chat town", "chat m", "chat n"]
    assert [span.kind for span in seen.spans] == [SpanKind.SERVER, SpanKind.CLIENT, SpanKind.CLIENT]
    assert whole.parent is not None
    assert f"{whole.context.trace_id:032x}-{whole.parent.span_id:016x}" == PARENT[3:-3]
    assert {span.parent.span_id for span in (first, second) if span.parent} == {whole.context.span_id}
    assert dict(whole.attributes or {}) == {
        "gen_ai.operation.name": "chat",
        "gen_ai.request.stream": True,
        "modelport.request_id": reply.id,
        "modelport.route": "town",
        "modelport.status": "ok",
        "modelport.cache": "bypass",
        "modelport.attempts": 2,
        "modelport.target": "mistral/n",
        "modelport.cost_usd": "0.000020000",
    }
    told = dict(second.attributes or {})
    assert 0 <= told.pop("gen_ai.response.time_to_first_chunk") < 60
    assert told == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "mistral_ai",
        "gen_ai.request.model": "n",
        "gen_ai.request.stream": True,
        "http.response.status_code": 200,
        "gen_ai.usage.input_tokens": 10,
        "gen_ai.usage.output_tokens": 5,
        "gen_ai.usage.cache_read.input_tokens": 0,
        "gen_ai.usage.reasoning.output_tokens": 0,
    }
    assert (first.attributes or {})["error.type"] == "overloaded"
    assert [span.status.status_code for span in seen.spans] == [StatusCode.UNSET, StatusCode.ERROR, StatusCode.UNSET]
    assert whole.start_time <= first.start_time <= first.end_time <= second.start_time <= second.end_time


async def test_a_request_that_fails_is_a_failed_span(watched: Watched, upstream: Upstream, seen: Seen) -> None:
    upstream.script("m", failing(400, "secret words of the vendor"))
    server = await watched(provider("one", upstream))

    await server.ask(model="one/m", messages=[{"role": "user", "content": "secret words of the client"}])
    await server.services.drain()

    whole, attempt = seen.spans
    assert {span.status.status_code for span in seen.spans} == {StatusCode.ERROR}
    assert (whole.attributes or {})["error.type"] == (attempt.attributes or {})["error.type"] == "invalid_request"
    assert "secret words" not in "".join(span.to_json() for span in seen.spans)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("headers", [{}, {"traceparent": PARENT}], ids=["none", "the caller's"])
async def test_the_trace_is_the_same_on_the_fast_lane(
    watched: Watched, upstream: Upstream, seen: Seen, headers: dict[str, str], stream: bool
) -> None:
    """The third request of a head goes that way; its last one fails there, and the next target answers."""
    upstream.script("m", *[streams() if stream else says()] * 4, failing(500))
    upstream.script("n", streams() if stream else says())
    server = await watched(provider("one", upstream), provider("two", upstream), route("town", "one/m", "two/n"))

    for _ in range(5):
        assert (await server.ask(headers, model="town", stream=stream)).status == 200
    await server.services.drain()

    wholes = [span for span in seen.spans if span.kind is SpanKind.SERVER]
    parents = [f"{span.context.trace_id:032x}-{span.parent.span_id:016x}" if span.parent else None for span in wholes]
    assert parents == [PARENT[3:-3] if headers else None] * 5
    told = [{name: value for name, value in (span.attributes or {}).items() if "id" not in name} for span in wholes]
    assert all(each == told[0] for each in told[:4])
    assert told[4]["modelport.attempts"] == 2
    assert len(seen.spans) == 11


async def test_a_broken_traceparent_is_nobodys(watched: Watched, upstream: Upstream, seen: Seen) -> None:
    upstream.script("m", says())
    server = await watched(provider("one", upstream))

    reply = await server.ask({"traceparent": "00-zz-zz-zz"}, model="one/m")

    assert reply.status == 200
    assert seen.spans[0].parent is None


async def test_metrics_by_the_conventions(watched: Watched, upstream: Upstream, seen: Seen) -> None:
    upstream.script("m", says(), streams(), failing(400, "no"))
    server = await watched(provider("one", upstream))
    for stream in (False, True, False):
        await server.ask(model="one/m", stream=stream)
    await server.services.drain()

    points = seen.points()

    names = {"gen_ai.operation.name": "chat", "gen_ai.provider.name": "one", "gen_ai.request.model": "m"}
    durations = {point.attributes.get("error.type"): point for point in points["gen_ai.client.operation.duration"]}
    assert {kind: point.count for kind, point in durations.items()} == {None: 2, "invalid_request": 1}
    assert dict(durations[None].attributes) == names
    assert durations[None].explicit_bounds[:3] == (0.01, 0.02, 0.04)
    (first,) = points["gen_ai.client.operation.time_to_first_chunk"]
    assert first.count == 1
    tokens = {point.attributes["gen_ai.token.type"]: point for point in points["gen_ai.client.token.usage"]}
    assert {kind: (point.count, point.sum) for kind, point in tokens.items()} == {"input": (2, 20), "output": (2, 10)}
    assert tokens["input"].explicit_bounds[:4] == (1, 4, 16, 64)


def test_clients_words_make_no_labels_without_end() -> None:
    telemetry = Telemetry(None, None)

    found = [telemetry._model(f"m{number}") for number in range(MODELS + 3)]

    assert found[-4:] == [f"m{MODELS - 1}", OTHERS, OTHERS, OTHERS]
    assert telemetry._model("m0") == "m0"


# --- the real thing ----------------------------------------------------------------------------------


async def test_it_is_sent_to_the_receiver_that_is_configured(serve: Serve, upstream: Upstream) -> None:
    """By OTLP over HTTP, when it stops at the latest."""
    upstream.script("m", says())
    came: list[tuple[str, bytes]] = []

    async def take(request: web.BaseRequest) -> web.Response:
        came.append((request.path, await request.read()))
        return web.Response(content_type="application/x-protobuf")

    runner = web.ServerRunner(web.Server(take))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    server = await serve(
        QUICK,
        f'[telemetry]\nenabled = true\nendpoint = "http://{host}:{port}"\nservice = "front-door"',
        provider("one", upstream),
    )

    await server.ask(model="one/m")
    telemetry = server.services.endings.telemetry
    assert telemetry is not None
    await telemetry.close()
    await runner.cleanup()

    found = dict(came)
    assert found.keys() == {"/v1/traces", "/v1/metrics"}
    assert b"gen_ai.client.operation.duration" in found["/v1/metrics"]
    assert all(b"front-door" in body for body in found.values())


@pytest.mark.parametrize("settings", [{}, {"enabled": True, "traces": False, "metrics": False}], ids=["off", "nothing"])
def test_where_it_is_off_there_is_nothing(settings: dict[str, Any]) -> None:
    assert new_telemetry(TelemetrySettings.model_validate(settings)) is None


def test_where_it_is_off_its_packages_are_not_loaded() -> None:
    program = "import sys, proxy.app; print([name for name in sys.modules if name.startswith('opentelemetry')])"
    ran = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)

    assert ran.stdout.strip() == "[]"


def test_without_its_packages_the_start_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)  # type: ignore[arg-type]  # "not there"

    with pytest.raises(StartError, match=r"telemetry\.enabled is true, .*; install modelport\[otel\]"):
        new_telemetry(TelemetrySettings(enabled=True))


def test_the_names_are_those_of_the_conventions() -> None:
    """As far as the package of the conventions still has them."""
    from opentelemetry.semconv._incubating.attributes import gen_ai_attributes as known
    from opentelemetry.semconv._incubating.metrics import gen_ai_metrics

    from proxy import telemetry

    theirs = {value for value in vars(known).values() if isinstance(value, str)}
    metrics = {value for value in vars(gen_ai_metrics).values() if isinstance(value, str)}
    ours = {value for value in vars(telemetry).values() if isinstance(value, str) and value.startswith("gen_ai.")}

    assert len(ours) > 10
    assert ours - theirs - metrics == set()
    assert set(telemetry.PROVIDERS.values()) <= {each.value for each in known.GenAiProviderNameValues}
    assert set(telemetry.OPERATIONS.values()) <= {each.value for each in known.GenAiOperationNameValues}
