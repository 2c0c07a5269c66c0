"""/metrics: valid Prometheus text whose numbers are those of the ledger."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from tests.proxy.conftest import Serve
from tests.proxy.serving import QUICK, Reply, failing, provider, says
from tests.replay import Upstream


def samples(reply: Reply) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(reply.body.decode())
        for sample in family.samples
    }


async def test_the_numbers_are_those_of_the_traffic(serve: Serve, upstream: Upstream) -> None:
    upstream.script("m", says(), failing(400, "no"), says())
    server = await serve(QUICK, provider("one", upstream))
    for _ in range(3):
        await server.ask(model="one/m")
    await server.get("/nowhere")
    await server.get("/nowhere-else")

    reply = await server.get("/metrics")

    found = samples(reply)
    one = ("provider", "one")
    assert reply.headers["content-type"].startswith("text/plain")
    assert found["modelport_attempts_total", (one, ("status", "ok"))] == 2
    assert found["modelport_attempts_total", (one, ("status", "failed"))] == 1
    assert found["modelport_tokens_total", (("direction", "input"), one)] == 20
    assert found["modelport_tokens_total", (("direction", "output"), one)] == 10
    assert abs(found["modelport_cost_usd_total", (one,)] - 0.00004) < 1e-12
    assert found["modelport_http_requests_total", (("path", "/v1/chat/completions"), ("status", "200"))] == 2
    assert found["modelport_http_requests_total", (("path", "(none)"), ("status", "404"))] == 2
    assert found["modelport_in_flight", ()] == 1
    assert found["modelport_storage_up", ()] == 1
    assert found["modelport_provider_state", (one, ("state", "healthy"))] in {0, 1}


async def test_a_clients_words_make_no_labels(serve: Serve, upstream: Upstream) -> None:
    """Paths, models, tags and ids are as many as clients like."""
    upstream.script("m", says())
    server = await serve(provider("one", upstream))
    await server.ask({"x-modelport-tags": "a=canary", "x-request-id": "canary"}, model="one/m")
    await server.ask(model="canary")
    await server.get("/canary")
    await server.get("/v1/models/canary")
    await server.get("/api/v1/exchanges/canary")

    assert "canary" not in (await server.get("/metrics")).body.decode()


async def test_a_failing_store_is_seen(serve: Serve) -> None:
    server = await serve('[storage]\nledger = "relaxed"')
    await server.services.db.close()

    assert samples(await server.get("/metrics"))["modelport_storage_up", ()] == 0
