"""/v1/models, /health, /costs, /metrics, the ledger and the cache, as DESIGN sections 3 to 6 promise them."""

from __future__ import annotations

import csv
import io
from decimal import Decimal
from typing import Any

import openai
import pytest
from openai import OpenAI

from tests.contract.backends import Backends
from tests.replay import Upstream, cassette
from tests.running import Modelport

TEXT = "Paris is the capital of France."
QUESTION: Any = [{"role": "user", "content": "What is the capital of France?"}]
SUMS = {
    "exchanges",
    "attempts",
    "errors",
    "cache_hits",
    "input_tokens",
    "cached_input_tokens",
    "cache_write_tokens",
    "output_tokens",
    "reasoning_tokens",
    "cost_usd",
    "exact_usd",
    "estimated_usd",
    "unpriced_attempts",
    "saved_usd",
    "saved_input_tokens",
    "saved_output_tokens",
}
ROW = {
    "id",
    "opened_at",
    "settled_at",
    "status",
    "key_id",
    "tags",
    "dialect",
    "route",
    "target",
    "stream",
    "attempts",
    "cache",
    "input_tokens",
    "cached_input_tokens",
    "cache_write_tokens",
    "output_tokens",
    "reasoning_tokens",
    "cost_usd",
    "estimated",
    "latency_ms",
    "first_event_ms",
    "losses",
}


def test_models_are_listed_and_found(client: OpenAI) -> None:
    """Configured models by `provider/model`, and routes by their name."""
    names = {model.id for model in client.models.list()}

    assert {"keyless/corner-model", "careful"} <= names
    assert client.models.retrieve("keyless/corner-model").object == "model"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("nobody/none")


def test_a_bare_name_finds_its_provider(client: OpenAI, upstream: Upstream) -> None:
    upstream.script("corner-other", cassette("openai_chat/text"))

    raw = client.chat.completions.with_raw_response.create(model="corner-other", messages=QUESTION)

    assert raw.headers["x-modelport-target"] == "keyless/corner-other"


def test_a_provider_that_is_off_says_what_it_takes(client: OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as raised:
        client.chat.completions.create(model="xai/grok-4.7", messages=QUESTION)

    assert "the provider xai is off: no key: set XAI_API_KEY" in raised.value.message


def test_an_unknown_model_is_not_found_with_near_names(client: OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as raised:
        client.chat.completions.create(model="corner-modl", messages=QUESTION)

    assert raised.value.code == "model_not_found"
    assert "corner-model" in raised.value.message


def test_health_has_every_provider(modelport: Modelport, client: OpenAI, backends: Backends) -> None:
    client.chat.completions.create(model=backends.says("openai_chat", cassette("openai_chat/text")), messages=QUESTION)

    reply = modelport.get("/health")

    health = reply.json
    assert reply.status == 200
    assert {"status", "version", "uptime_s", "providers", "storage", "cache"} <= set(health)
    assert health["status"] in {"ok", "degraded"}
    used = next(provider for provider in health["providers"] if provider["name"] == "oa0")
    assert set(used) >= {
        "name",
        "status",
        "breaker",
        "requests",
        "errors",
        "success_rate",
        "latency_ms",
        "first_event_ms",
        "last_success",
        "last_failure",
        "last_error",
        "cooldown_s",
        "keys",
    }
    assert used["requests"] >= 1
    assert used["last_success"].endswith("Z")
    assert used["keys"] == {"total": 1, "available": 1}
    assert set(used["latency_ms"]) == {"p50", "p95"}
    assert health["storage"]["status"] == "ok"
    assert {"entries", "hits", "misses", "hit_rate"} <= set(health["cache"])


@pytest.mark.parametrize("path", ["/health/live", "/health/ready"])
def test_orchestrators_get_their_200(modelport: Modelport, path: str) -> None:
    assert modelport.get(path).status == 200


def test_costs_are_the_sum_of_what_was_answered(upstream: Upstream, modelport: Modelport) -> None:
    """20 input and 9 output tokens at 1 and 2 USD a million."""
    upstream.script("priced", cassette("openai_chat/text"))
    body = {"model": "keyless/priced", "messages": QUESTION, "modelport": {"tags": "team=search"}}
    reply = modelport.post("/v1/chat/completions", body)

    costs = modelport.get("/costs?since=1h&group_by=provider,model").json

    assert costs["currency"] == "USD"
    assert set(costs["total"]) >= SUMS
    mine = next(group for group in costs["groups"] if group["model"] == "priced")
    assert set(mine) >= SUMS | {"provider", "model"}
    assert (mine["provider"], mine["exchanges"], mine["attempts"], mine["errors"]) == ("keyless", 1, 1, 0)
    assert (mine["input_tokens"], mine["cached_input_tokens"], mine["output_tokens"]) == (20, 5, 9)
    assert Decimal(mine["cost_usd"]) == Decimal(reply.headers["x-modelport-cost-usd"]) > 0
    assert isinstance(mine["cost_usd"], str)
    total = sum(Decimal(group["cost_usd"]) for group in costs["groups"])
    assert Decimal(costs["total"]["cost_usd"]) == total


@pytest.mark.parametrize("by", ["provider", "model", "route", "key", "tag", "day", "hour"])
def test_costs_can_be_grouped(modelport: Modelport, by: str) -> None:
    costs = modelport.get(f"/costs?since=24h&group_by={by}").json

    assert costs["group_by"] == [by]
    assert all(by in group for group in costs["groups"])


def test_costs_as_csv(modelport: Modelport) -> None:
    reply = modelport.get("/costs?since=24h&group_by=provider&format=csv")

    rows = list(csv.DictReader(io.StringIO(reply.body.decode())))
    assert reply.headers["content-type"].startswith("text/csv")
    assert all(set(row) >= {"provider", "cost_usd"} for row in rows)


@pytest.mark.parametrize("query", ["since=yesterday", "group_by=colour", "format=xml", "since=-5h"])
def test_a_wrong_question_about_costs_is_a_400(modelport: Modelport, query: str) -> None:
    reply = modelport.get(f"/costs?{query}")

    assert reply.status == 400
    assert query.split("=", maxsplit=1)[0] in reply.json["error"]["message"]


def test_the_ledgers_rows(client: OpenAI, modelport: Modelport, backends: Backends) -> None:
    """Newest first, one page after another, each with all fields."""
    model = backends.says("gemini", cassette("gemini/text"))
    ids = [
        client.chat.completions.with_raw_response.create(model=model, messages=QUESTION).headers["x-request-id"]
        for _ in range(3)
    ]

    first = modelport.get("/api/v1/exchanges?limit=2").json
    second = modelport.get(f"/api/v1/exchanges?limit=2&cursor={first['next']}").json

    rows = [*first["data"], *second["data"]]
    assert [found["id"] for found in rows[:3]] == ids[::-1]
    assert all(set(found) >= ROW for found in rows)
    assert (rows[0]["status"], rows[0]["dialect"], rows[0]["stream"]) == ("ok", "openai_chat", False)
    assert (rows[0]["input_tokens"], rows[0]["output_tokens"], rows[0]["reasoning_tokens"]) == (20, 9, 3)


@pytest.mark.parametrize("dialect", ["openai_chat", "anthropic", "gemini"])
def test_the_ledger_is_right_before_the_last_byte_of_a_stream(
    client: OpenAI, modelport: Modelport, backends: Backends, dialect: str
) -> None:
    """Usage is booked although the client did not ask for it."""
    model = backends.says(dialect, cassette(f"{dialect}/text_stream", 7))
    with client.chat.completions.with_streaming_response.create(model=model, messages=QUESTION, stream=True) as raw:
        list(raw.iter_lines())

    found = modelport.get(f"/api/v1/exchanges/{raw.headers['x-request-id']}").json

    assert (found["status"], found["stream"], found["estimated"]) == ("ok", True, False)
    assert (found["input_tokens"], found["output_tokens"]) == (20, 9)


def test_metrics(modelport: Modelport) -> None:
    reply = modelport.get("/metrics")

    assert reply.status == 200
    assert b"# TYPE modelport_" in reply.body


@pytest.mark.parametrize("dialect", ["openai_chat", "anthropic", "gemini"])
def test_the_same_question_is_not_paid_twice(client: OpenAI, backends: Backends, dialect: str) -> None:
    """At temperature 0 the second answer comes from the cache: equal, also as a stream."""
    model = backends.says(dialect, cassette(f"{dialect}/text"), cassette("openai_chat/error_500"))
    create = client.chat.completions.with_raw_response.create
    first = create(model=model, messages=QUESTION, temperature=0)
    second = create(model=model, messages=QUESTION, temperature=0)
    with client.chat.completions.with_streaming_response.create(
        model=model, messages=QUESTION, temperature=0, stream=True
    ) as third:
        streamed = "".join(chunk.choices[0].delta.content or "" for chunk in third.parse() if chunk.choices)

    assert [raw.headers["x-modelport-cache"] for raw in (first, second)] == ["miss", "hit"]
    assert third.headers["x-modelport-cache"] == "hit"
    assert _essence(second.parse()) == _essence(first.parse())
    assert streamed == TEXT
    assert Decimal(second.headers["x-modelport-cost-usd"]) == 0
    assert len(backends.asked(model)) == 1


def _essence(answer: Any) -> Any:
    choice, usage = answer.choices[0], answer.usage
    return choice.message.content, choice.finish_reason, usage.prompt_tokens, usage.completion_tokens, answer.model


def test_a_stream_fills_the_cache(client: OpenAI, backends: Backends) -> None:
    """What came as a stream is replayed whole."""
    model = backends.says("openai_chat", cassette("openai_chat/text_stream"), cassette("openai_chat/error_500"))
    list(client.chat.completions.create(model=model, messages=QUESTION, seed=1, stream=True))

    raw = client.chat.completions.with_raw_response.create(model=model, messages=QUESTION, seed=1)

    assert raw.headers["x-modelport-cache"] == "hit"
    assert _essence(raw.parse())[:2] == (TEXT, "stop")
    assert len(backends.asked(model)) == 1


@pytest.mark.parametrize(
    ("changes", "cache"),
    [
        ({}, "bypass"),
        ({"temperature": 0.7}, "bypass"),
        ({"temperature": 0, "extra_headers": {"x-modelport-cache": "no-cache"}}, None),
        ({"temperature": 0, "extra_body": {"modelport": {"cache": "no-cache"}}}, None),
        ({"temperature": 0, "extra_body": {"modelport": {"cache": "no-store"}}}, None),
    ],
)
def test_what_is_not_cached(client: OpenAI, backends: Backends, changes: dict[str, Any], cache: str | None) -> None:
    model = backends.says("openai_chat", cassette("openai_chat/text"))

    raws = [
        client.chat.completions.with_raw_response.create(model=model, messages=QUESTION, **changes) for _ in range(2)
    ]

    assert len(backends.asked(model)) == 2
    assert all(raw.headers["x-modelport-cache"] != "hit" for raw in raws)
    if cache:
        assert [raw.headers["x-modelport-cache"] for raw in raws] == [cache, cache]


@pytest.mark.parametrize(
    "name", ["openai_chat/truncated", "openai_chat/refusal", "anthropic/refusal", "anthropic/tools"]
)
def test_unfinished_and_refused_answers_are_not_kept(client: OpenAI, backends: Backends, name: str) -> None:
    """Nor those that wait for a tool."""
    model = backends.says(name.split("/", maxsplit=1)[0], cassette(name))

    for _ in range(2):
        client.chat.completions.create(model=model, messages=QUESTION, temperature=0)

    assert len(backends.asked(model)) == 2
