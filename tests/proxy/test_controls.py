"""What a client asks of the proxy itself, and that none of it goes any further."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.controls import Controls, read_controls
from tests.proxy.conftest import Serve
from tests.proxy.serving import QUICK, failing, message, provider, route, says
from tests.replay import Answer, Upstream
from translators.errors import BadRequest

READ: dict[str, tuple[dict[str, str], dict[str, Any], Controls]] = {
    "nothing": ({}, {}, Controls()),
    "an empty object": ({}, {"modelport": {}}, Controls()),
    "null": ({}, {"modelport": None, "models": None}, Controls()),
    "route, header": ({"x-modelport-route": "r"}, {}, Controls(route="r")),
    "route, body": ({}, {"modelport": {"route": "r"}}, Controls(route="r")),
    "header over body": ({"x-modelport-route": "h"}, {"modelport": {"route": "b"}}, Controls(route="h")),
    "no-cache": ({"x-modelport-cache": "no-cache"}, {}, Controls(look_up=False)),
    "no-store": ({}, {"modelport": {"cache": "no-store"}}, Controls(store=False)),
    "both": ({"x-modelport-cache": "No-Cache, no-store"}, {}, Controls(look_up=False, store=False)),
    "losses": ({"x-modelport-losses": "reject"}, {}, Controls(losses="reject")),
    "tags as text": (
        {"x-modelport-tags": "team=search, feature = summary"},
        {},
        Controls(tags={"team": "search", "feature": "summary"}),
    ),
    "tags with a second mark": ({"x-modelport-tags": "a=b=c"}, {}, Controls(tags={"a": "b=c"})),
    "tags as object": (
        {},
        {"modelport": {"tags": {"team": "search", "n": "1"}}},
        Controls(tags={"team": "search", "n": "1"}),
    ),
    "timeout": ({"x-modelport-timeout-s": "1.5"}, {}, Controls(timeout_s=1.5)),
    "resume": ({"x-modelport-resume": "true"}, {}, Controls(resume=True)),
    "no resume": ({}, {"modelport": {"resume": False}}, Controls(resume=False)),
    "timeout, number": ({}, {"modelport": {"timeout_s": 2}}, Controls(timeout_s=2)),
    "idempotency": ({"idempotency-key": "abc"}, {}, Controls(idempotency_key="abc")),
    "idempotency, body": ({}, {"modelport": {"idempotency_key": "abc"}}, Controls(idempotency_key="abc")),
    "chain": ({}, {"models": ["a", "b/c"]}, Controls(chain=("a", "b/c"))),
}
WRONG: dict[str, tuple[dict[str, str], dict[str, Any], str]] = {
    "object": ({}, {"modelport": "x"}, "modelport"),
    "unknown key": ({}, {"modelport": {"roote": "x"}}, "modelport.roote"),
    "cache": ({"x-modelport-cache": "off"}, {}, "x-modelport-cache"),
    "cache, body": ({}, {"modelport": {"cache": 1}}, "modelport.cache"),
    "losses": ({"x-modelport-losses": "loud"}, {}, "x-modelport-losses"),
    "losses, body": ({}, {"modelport": {"losses": True}}, "modelport.losses"),
    "tags": ({"x-modelport-tags": "team"}, {}, "x-modelport-tags"),
    "tags, list": ({}, {"modelport": {"tags": ["a"]}}, "modelport.tags"),
    "tags, no text": ({}, {"modelport": {"tags": {"a": {"b": 1}}}}, "modelport.tags"),
    "too many tags": ({}, {"modelport": {"tags": {str(n): "x" for n in range(17)}}}, "modelport.tags"),
    "a long tag": ({}, {"modelport": {"tags": {"a": "x" * 129}}}, "modelport.tags"),
    "timeout, zero": ({"x-modelport-timeout-s": "0"}, {}, "x-modelport-timeout-s"),
    "resume, word": ({"x-modelport-resume": "perhaps"}, {}, "x-modelport-resume"),
    "resume, number": ({}, {"modelport": {"resume": 1}}, "modelport.resume"),
    "timeout, negative": ({}, {"modelport": {"timeout_s": -1}}, "modelport.timeout_s"),
    "timeout, NaN": ({"x-modelport-timeout-s": "nan"}, {}, "x-modelport-timeout-s"),
    "timeout, endless": ({"x-modelport-timeout-s": "inf"}, {}, "x-modelport-timeout-s"),
    "timeout, other digits": ({"x-modelport-timeout-s": "\u0665"}, {}, "x-modelport-timeout-s"),
    "timeout, underscore": ({"x-modelport-timeout-s": "1_0"}, {}, "x-modelport-timeout-s"),
    "quality, exponent": ({"x-modelport-quality": "1e-1"}, {}, "x-modelport-quality"),
    "timeout, word": ({"x-modelport-timeout-s": "soon"}, {}, "x-modelport-timeout-s"),
    "timeout, list": ({}, {"modelport": {"timeout_s": [1]}}, "modelport.timeout_s"),
    "timeout, boolean": ({}, {"modelport": {"timeout_s": True}}, "modelport.timeout_s"),
    "route, empty": ({"x-modelport-route": ""}, {}, "x-modelport-route"),
    "route, long": ({"x-modelport-route": "r" * 257}, {}, "x-modelport-route"),
    "idempotency, number": ({}, {"modelport": {"idempotency_key": 7}}, "modelport.idempotency_key"),
    "bytes that are no text": ({"idempotency-key": "\udcff"}, {}, "idempotency-key"),
    "chain, text": ({}, {"models": "a"}, "models"),
    "chain, empty": ({}, {"models": []}, "models"),
    "chain, numbers": ({}, {"models": [1]}, "models"),
    "chain, long": ({}, {"models": ["a"] * 17}, "models"),
}


@pytest.mark.parametrize("case", READ)
def test_controls_are_read(case: str) -> None:
    headers, body, expected = READ[case]

    assert read_controls(headers, body) == expected


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_value_is_named(case: str) -> None:
    headers, body, place = WRONG[case]

    with pytest.raises(BadRequest) as raised:
        read_controls(headers, body)

    assert raised.value.param == place
    assert place in raised.value.message


ALL_HEADERS = {
    "x-modelport-route": "r",
    "x-modelport-cache": "no-store",
    "x-modelport-losses": "warn",
    "x-modelport-tags": "team=search",
    "x-modelport-timeout-s": "30",
    "idempotency-key": "abc",
    "authorization": "Bearer client-key-0123456789",
    "x-request-id": "client-id",
    "cookie": "a=b",
    "x-custom": "mine",
}
ALL_KEYS = {
    "cache": "no-store",
    "losses": "warn",
    "tags": {"team": "search"},
    "timeout_s": 30,
    "idempotency_key": "abc",
}


@pytest.mark.parametrize("dialect", ["openai_chat", "anthropic", "gemini"])
async def test_nothing_of_this_reaches_the_provider(serve: Serve, upstream: Upstream, dialect: str) -> None:
    """Neither the controls nor the client's own key, cookies and headers."""
    gemini = {"candidates": [{"content": {"role": "model", "parts": [{"text": "hi"}]}, "finishReason": "STOP"}]}
    answers = {
        "openai_chat": says(),
        "anthropic": Answer.json(message()),
        "gemini": Answer.json(gemini),
    }
    upstream.script("m", answers[dialect])
    server = await serve(provider("one", upstream, dialect), route("r", "one/m"))

    reply = await server.ask(ALL_HEADERS, model="x", models=["one/m"], modelport=ALL_KEYS)

    (asked,) = upstream.asked("m")
    assert reply.status == 200, reply.body
    assert "modelport" not in asked.json
    assert "models" not in asked.json
    sent = f"{asked.headers} {asked.path} {asked.body!r}".lower()
    for foreign in ("x-modelport", "client-key", "client-id", "cookie", "x-custom", "idempotency", "team"):
        assert foreign not in sent, foreign
    assert asked.headers["user-agent"] == "modelport"


async def test_models_is_a_failover_chain(serve: Serve, upstream: Upstream) -> None:
    upstream.script("bad", failing(500))
    upstream.script("good", says())
    server = await serve(QUICK, provider("one", upstream), provider("two", upstream))

    reply = await server.ask(model="one/bad", models=["one/bad", "two/good"])

    assert reply.status == 200
    assert reply.headers["x-modelport-target"] == "two/good"
    assert reply.headers["x-modelport-attempts"] == "2"
    assert [asked.json["model"] for asked in upstream.requests] == ["bad", "good"]


async def test_the_route_header_wins_over_model_and_models(serve: Serve, upstream: Upstream) -> None:
    upstream.script("m", says())
    server = await serve(provider("one", upstream), route("r", "one/m"))

    reply = await server.ask({"x-modelport-route": "r"}, model="one/other", models=["one/third"])

    assert reply.headers["x-modelport-route"] == "r"
    assert upstream.asked("m")


async def test_a_route_header_that_names_nothing_is_named_in_the_error(serve: Serve, upstream: Upstream) -> None:
    server = await serve(provider("one", upstream), route("fast", "one/m"))
    reply = await server.ask({"x-modelport-route": "fats"}, model="one/m")

    assert (reply.status, reply.error["param"]) == (404, "x-modelport-route")
    assert "did you mean fast?" in reply.error["message"]


async def test_a_wrong_control_is_a_400_before_anything_is_asked(serve: Serve, upstream: Upstream) -> None:
    server = await serve(provider("one", upstream))

    reply = await server.ask({"x-modelport-losses": "loud"}, model="one/m")

    assert reply.status == 400
    assert reply.error["param"] == "x-modelport-losses"
    assert upstream.requests == []
    assert await server.rows() == []
