"""Targets in turn: failover before the first content, keys, several choices, custom tools, losses."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any
from urllib.parse import unquote

import pytest

from proxy.backends.backend import Call
from proxy.backends.demo import DemoAnswer as Answered
from tests.proxy.conftest import Serve
from tests.proxy.serving import (
    BOTH,
    KEY,
    OPENING,
    QUICK,
    SECOND_KEY,
    by_form,
    chunk,
    failing,
    message,
    provider,
    route,
    says,
    streams,
)
from tests.replay import Answer, Upstream, free_port

CLOCKS = "timeouts = { connect_s = 1, first_event_s = 0.15, idle_s = 0.15 }"

TAKES_OVER: dict[str, Answer] = {
    "500": failing(500),
    "429": failing(429),
    "401": failing(401),
    "503 with Retry-After": failing(503, headers={"retry-after": "60"}),
    "silent": Answer(hang=True),
    "closed": Answer(raw_head=b"", end="close"),
    "malformed": Answer(200, {"content-type": "text/html"}, b"<html>"),
    "empty": Answer(200, {}, b"", chunked=False),
    "a redirect": Answer(302, {"location": "/"}, chunked=False),
    "an error in a 200": Answer.json({"error": {"message": "x", "code": 500}}),
    "cut before content": Answer.sse(OPENING, end="close"),
    "silent before content": Answer.sse(OPENING, end="hang"),
    "heartbeats alone": Answer.sse(": ping\n\n" * 3, end="hang"),
    "an error before content": Answer.sse(OPENING + 'data: {"error":{"message":"x","code":500}}\n\n'),
    "an end without content": Answer.sse(""),
}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("case", TAKES_OVER)
async def test_another_target_takes_over_unseen(serve: Serve, upstream: Upstream, case: str, stream: bool) -> None:
    upstream.script("bad", TAKES_OVER[case])
    upstream.script("good", BOTH)
    server = await serve(
        QUICK, provider("one", upstream, more=CLOCKS), provider("two", upstream), route("r", "one/bad", "two/good")
    )

    reply = await server.ask(model="r", stream=stream)

    row = await server.row(reply.id)
    assert reply.status == 200, reply.body
    assert reply.text == "Hello there"
    assert reply.headers["x-modelport-target"] == "two/good"
    assert reply.headers["x-modelport-attempts"] == "2"
    assert [made["status"] for made in row["attempts"]] == ["failed", "ok"]
    assert len(upstream.asked("bad")) == 1
    if stream:
        assert reply.done
        assert reply.receipt["attempts"] == 2


async def test_a_refused_connection_is_passed_over(serve: Serve, upstream: Upstream) -> None:
    upstream.script("good", says())
    dead = provider("dead", f"http://127.0.0.1:{free_port()}/v1")
    server = await serve(QUICK, dead, provider("two", upstream), route("r", "dead/m", "two/good"))

    assert (await server.ask(model="r")).headers["x-modelport-target"] == "two/good"


@pytest.mark.parametrize("status", [400, 404, 413, 422])
async def test_what_the_client_did_wrong_is_not_tried_elsewhere(serve: Serve, upstream: Upstream, status: int) -> None:
    upstream.script("bad", failing(status))
    upstream.script("good", says())
    server = await serve(QUICK, provider("one", upstream), provider("two", upstream), route("r", "one/bad", "two/good"))

    reply = await server.ask(model="r")

    assert reply.status == status
    assert upstream.asked("good") == []


@pytest.mark.parametrize("end", ["close", "reset", "hang"])
async def test_after_the_first_content_nobody_takes_over(serve: Serve, upstream: Upstream, end: Any) -> None:
    """One error event, no terminator."""
    body = OPENING + chunk({"content": "Hel"})
    upstream.script("bad", Answer.sse(body, split="events", end=end, delay_between_s=0.02))
    upstream.script("good", streams())
    server = await serve(
        QUICK, provider("one", upstream, more=CLOCKS), provider("two", upstream), route("r", "one/bad", "two/good")
    )

    reply = await server.ask(model="r", stream=True)

    assert reply.status == 200
    assert reply.text == "Hel"
    assert [("error" in each) for each in reply.chunks].count(True) == 1
    assert "error" in reply.chunks[-1]
    assert not reply.done
    assert upstream.asked("good") == []


@pytest.mark.parametrize("status", [401, 402, 403, 429])
async def test_a_refused_key_gives_way_to_the_next(serve: Serve, upstream: Upstream, status: int) -> None:
    """In the same request; the refused one rests."""

    def by_key(asked: Any) -> Answer:
        return failing(status, "no") if KEY in asked.headers["authorization"] else says()

    upstream.script("m", by_key)
    server = await serve(provider("one", upstream, keys=(KEY, SECOND_KEY)))

    first = await server.ask(model="one/m")
    second = await server.ask(model="one/m")

    (entry,) = (each for each in (await server.get("/health")).json["providers"] if each["name"] == "one")
    row = await server.row(first.id)
    assert (first.status, second.status) == (200, 200)
    assert first.headers["x-modelport-attempts"] == "2"
    assert second.headers["x-modelport-attempts"] == "1"
    assert [made["key_index"] for made in row["attempts"]] == [0, 1]
    assert entry["keys"] == {"total": 2, "available": 1}


# --- several choices -------------------------------------------------------------------------------


def numbered(failing_call: int = 0, answer: Answer | None = None) -> Any:
    """An Anthropic that numbers its answers; call *failing_call* of each round of three fails."""
    calls = iter(range(1, 100))

    def say(_asked: Any) -> Answer:
        number = next(calls)
        if answer and number == failing_call:
            return answer
        return Answer.json(message(f"answer {number}"))

    return say


@pytest.mark.parametrize("stream", [False, True])
async def test_several_choices_are_several_calls(serve: Serve, upstream: Upstream, stream: bool) -> None:
    """Where the dialect gives one answer: usage and cost are summed, each call has its row."""
    upstream.script("m", numbered())
    server = await serve(provider("one", upstream, "anthropic"))

    reply = await server.ask(
        model="one/m", n=3, max_tokens=50, stream=stream, stream_options={"include_usage": True} if stream else None
    )

    row = await server.row(reply.id)
    if stream:
        texts = reply.texts()
        usage = next(each["usage"] for each in reply.chunks if each.get("usage"))
        assert reply.done
    else:
        texts = {choice["index"]: choice["message"]["content"] for choice in reply.json["choices"]}
        usage = reply.json["usage"]
    assert sorted(texts) == [0, 1, 2]
    assert sorted(texts.values()) == ["answer 1", "answer 2", "answer 3"]
    assert (usage["prompt_tokens"], usage["completion_tokens"]) == (30, 15)
    assert len(upstream.asked("m")) == 3
    assert [made["status"] for made in row["attempts"]] == ["ok"] * 3
    assert sorted(made["number"] for made in row["attempts"]) == [1, 2, 3]
    assert (row["input_tokens"], row["output_tokens"]) == (30, 15)
    assert Decimal(row["cost_usd"]) == Decimal("0.00006")
    assert "n" in [loss["field"] for loss in row["losses"]]


async def test_one_failed_choice_fails_the_round_and_the_rest_is_booked(serve: Serve, upstream: Upstream) -> None:
    """What the others took is not forgotten, and the next target gives all choices."""
    upstream.script("bad", numbered(3, failing(500)))
    upstream.script("good", numbered())
    server = await serve(
        QUICK,
        provider("one", upstream, "anthropic"),
        provider("two", upstream, "anthropic"),
        route("r", "one/bad", "two/good"),
    )

    reply = await server.ask(model="r", n=3, max_tokens=50)

    row = await server.row(reply.id)
    by_provider = [(made["provider"], made["status"]) for made in row["attempts"]]
    assert reply.status == 200
    assert len(reply.json["choices"]) == 3
    assert by_provider.count(("two", "ok")) == 3
    assert by_provider.count(("one", "failed")) == 1
    assert by_provider.count(("one", "aborted")) == 2
    assert row["cost_usd"] is not None
    assert all(made["cost_usd"] is not None for made in row["attempts"])
    assert Decimal(row["cost_usd"]) > Decimal("0.00006")


async def test_a_failed_round_at_the_last_target_is_booked(serve: Serve, upstream: Upstream) -> None:
    upstream.script("m", numbered(2, failing(400, "no")))
    server = await serve(QUICK, provider("one", upstream, "anthropic"))

    reply = await server.ask(model="one/m", n=3, max_tokens=50)

    row = await server.row(reply.id)
    assert reply.status == 400
    assert "one of 3 calls, one for each choice" in reply.error["message"]
    assert row["status"] == "failed"
    assert sorted(made["status"] for made in row["attempts"]) == ["aborted", "aborted", "failed"]
    assert row["cost_usd"] is not None


# --- custom tools ----------------------------------------------------------------------------------

CUSTOM = [{"type": "custom", "custom": {"name": "run", "description": "Runs code."}}]
CALL_INPUT = {"input": "print(1)\nprint(2)"}
ANTHROPIC_CALL = message(
    content=[{"type": "tool_use", "id": "toolu_1", "name": "run", "input": CALL_INPUT}], stop_reason="tool_use"
)
ANTHROPIC_STREAM = "".join(
    f"event: {event['type']}\ndata: {json.dumps(event)}\n\n"
    for event in (
        {"type": "message_start", "message": message(content=[], stop_reason=None)},
        {
            "type": "content_block_start",
            "index": 0,
            "content_block": {"type": "tool_use", "id": "toolu_1", "name": "run", "input": {}},
        },
        *(
            {"type": "content_block_delta", "index": 0, "delta": {"type": "input_json_delta", "partial_json": part}}
            for part in ('{"input": "pri', "nt(1)\\n", 'print(2)"}')
        ),
        {"type": "content_block_stop", "index": 0},
        {
            "type": "message_delta",
            "delta": {"stop_reason": "tool_use", "stop_sequence": None},
            "usage": {"output_tokens": 5},
        },
        {"type": "message_stop"},
    )
)
GEMINI_CALL = {
    "candidates": [
        {
            "content": {"role": "model", "parts": [{"functionCall": {"name": "run", "args": CALL_INPUT}}]},
            "finishReason": "STOP",
        }
    ],
    "usageMetadata": {"promptTokenCount": 10, "candidatesTokenCount": 5, "totalTokenCount": 15},
}
CALLERS: dict[str, Any] = {
    "anthropic": by_form(Answer.json(ANTHROPIC_CALL), Answer.sse(ANTHROPIC_STREAM, split="events")),
    "gemini": lambda asked: (
        Answer.sse(f"data: {json.dumps(GEMINI_CALL)}\n\n") if "stream" in asked.path else Answer.json(GEMINI_CALL)
    ),
}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("dialect", CALLERS)
async def test_a_custom_tool_is_emulated(serve: Serve, upstream: Upstream, dialect: str, stream: bool) -> None:
    """The backend sees a function with one text, the client a custom call with plain text."""
    upstream.script("m", CALLERS[dialect])
    server = await serve(provider("one", upstream, dialect))

    reply = await server.ask(model="one/m", tools=CUSTOM, max_tokens=50, stream=stream)

    sent = upstream.asked("m")[0].body.decode()
    row = await server.row(reply.id)
    if stream:
        deltas = [
            call
            for each in reply.chunks
            for choice in each["choices"]
            for call in choice["delta"].get("tool_calls", ())
        ]
        name = next(call["custom"]["name"] for call in deltas if call.get("custom", {}).get("name"))
        text = "".join(call.get("custom", {}).get("input") or "" for call in deltas)
        reason = next(
            choice["finish_reason"] for each in reply.chunks for choice in each["choices"] if choice["finish_reason"]
        )
    else:
        (call,) = reply.json["choices"][0]["message"]["tool_calls"]
        assert call["type"] == "custom"
        name, text = call["custom"]["name"], call["custom"]["input"]
        reason = reply.json["choices"][0]["finish_reason"]
    assert (name, text, reason) == ("run", "print(1)\nprint(2)", "tool_calls")
    assert '"custom"' not in sent
    assert '"input"' in sent
    assert any(loss["action"] == "emulated" and "custom" in loss["field"] for loss in row["losses"])


# --- losses ----------------------------------------------------------------------------------------

LOSSY: dict[str, Any] = {"model": "one/m", "max_tokens": 50, "logit_bias": {"50256": -100}}


@pytest.mark.parametrize("stream", [False, True])
async def test_losses_are_told(serve: Serve, upstream: Upstream, stream: bool) -> None:
    """In a header, in a stream's receipt, and in the ledger."""
    upstream.script("m", by_form(Answer.json(message()), Answer.sse(ANTHROPIC_STREAM)))
    server = await serve(provider("one", upstream, "anthropic"))

    reply = await server.ask(**LOSSY, stream=stream)

    row = await server.row(reply.id)
    pairs = dict(pair.split("=", 1) for pair in reply.headers["x-modelport-losses"].split(","))
    assert unquote(pairs["logit_bias"]).startswith("dropped: ")
    assert [loss["field"] for loss in row["losses"]] == ["logit_bias"]
    if stream:
        assert [loss["field"] for loss in reply.receipt["losses"]] == ["logit_bias"]


@pytest.mark.parametrize("how", ["header", "body", "route"])
async def test_a_loss_can_be_refused(serve: Serve, upstream: Upstream, how: str) -> None:
    """Before anything is asked."""
    upstream.script("m", Answer.json(message()))
    more = 'losses = "reject"' if how == "route" else ""
    server = await serve(provider("one", upstream, "anthropic"), route("r", "one/m", more=more))
    body = {**LOSSY, "model": "r"}
    if how == "body":
        body["modelport"] = {"losses": "reject"}

    reply = await server.ask({"x-modelport-losses": "reject"} if how == "header" else {}, **body)

    assert reply.status == 400
    assert reply.error["code"] == "loss_rejected"
    assert reply.error["param"] == "logit_bias"
    assert upstream.requests == []


async def test_the_client_overrules_the_route(serve: Serve, upstream: Upstream) -> None:
    upstream.script("m", Answer.json(message()))
    server = await serve(provider("one", upstream, "anthropic"), route("r", "one/m", more='losses = "reject"'))

    reply = await server.ask({"x-modelport-losses": "warn"}, **{**LOSSY, "model": "r"})

    assert reply.status == 200


@pytest.mark.parametrize("stream", [False, True])
async def test_ignored_losses_stand_in_the_ledger_alone(serve: Serve, upstream: Upstream, stream: bool) -> None:
    upstream.script("m", by_form(Answer.json(message()), Answer.sse(ANTHROPIC_STREAM)))
    server = await serve(provider("one", upstream, "anthropic"))

    reply = await server.ask({"x-modelport-losses": "ignore"}, **LOSSY, stream=stream)

    assert "x-modelport-losses" not in reply.headers
    assert [loss["field"] for loss in (await server.row(reply.id))["losses"]] == ["logit_bias"]
    if stream:
        assert reply.receipt["losses"] == []


async def test_the_header_of_many_losses_stays_readable(serve: Serve, upstream: Upstream) -> None:
    """Clients refuse an answer whose header lines are too long (8190 bytes in aiohttp)."""
    upstream.script("m", Answer.json(message()))
    server = await serve(provider("one", upstream, "anthropic"))
    unknown = {f"an_unknown_field_number_{number}": 1 for number in range(300)}

    reply = await server.ask(**LOSSY, **unknown)

    assert reply.status == 200
    pairs = reply.headers["x-modelport-losses"].split(",")
    assert len(reply.headers["x-modelport-losses"]) < 5000
    assert unquote(pairs[-1]) == f"losses=clamped: {301 - len(pairs) + 1} more than a header holds"


async def test_rate_limit_headers_pass_through(serve: Serve, upstream: Upstream) -> None:
    """And nothing else of the vendor's."""
    headers = {"x-ratelimit-remaining-requests": "9", "set-cookie": "a=b", "x-vendor": "1", "openai-organization": "o"}
    upstream.script("m", Answer.json(says().body, headers=headers))
    server = await serve(provider("one", upstream))

    reply = await server.ask(model="one/m")

    assert reply.headers["x-ratelimit-remaining-requests"] == "9"
    assert not {"set-cookie", "x-vendor", "openai-organization"} & set(reply.headers)


async def test_odd_bytes_in_a_vendors_header_do_no_harm(serve: Serve, upstream: Upstream) -> None:
    upstream.script("m", Answer.json(says().body, headers={"x-ratelimit-note": "caf\xe9"}))
    server = await serve(provider("one", upstream))

    assert (await server.ask(model="one/m")).status == 200


async def test_a_server_that_cannot_stream_is_streamed_for(serve: Serve, upstream: Upstream) -> None:
    upstream.script("m", says())
    server = await serve(provider("one", upstream))

    reply = await server.ask(model="one/m", stream=True)

    assert reply.text == "Hello there"
    assert reply.done


async def test_the_clients_bytes_go_out_in_their_order(serve: Serve, upstream: Upstream) -> None:
    """Vendors' prompt caches depend on it; only the model is exchanged."""
    upstream.script("m", says())
    server = await serve(provider("one", upstream))
    body = b'{ "zeta" : 1,\n "messages":[{"content":"h\\u00e9", "role":"user"}] , "model":"one/m","alpha":[1, 2]}'

    await server.request("POST", "/v1/chat/completions", body)

    (asked,) = upstream.asked("m")
    assert list(asked.json) == ["zeta", "messages", "model", "alpha"]
    assert b'[{"content":"h\\u00e9", "role":"user"}]' in asked.body
    assert b"[1, 2]" in asked.body


async def test_many_at_once_do_not_mix(serve: Serve, upstream: Upstream) -> None:
    upstream.script("m", lambda asked: says(asked.json["messages"][0]["content"]))
    server = await serve(provider("one", upstream))

    replies = await asyncio.gather(
        *(server.ask(model="one/m", messages=[{"role": "user", "content": f"number {n}"}]) for n in range(50))
    )

    assert [reply.text for reply in replies] == [f"number {n}" for n in range(50)]
    assert len({reply.id for reply in replies}) == 50


async def test_a_failed_call_tells_its_target_and_the_vendors_limits(serve: Serve, upstream: Upstream) -> None:
    upstream.script("m", Answer.json({"error": {"message": "no"}}, status=429, headers={"x-ratelimit-remaining": "0"}))
    server = await serve(QUICK, provider("one", upstream))

    reply = await server.ask(model="one/m")

    assert reply.status == 429
    assert reply.headers["x-modelport-target"] == "one/m"
    assert reply.headers["x-ratelimit-remaining"] == "0"


async def test_a_vendors_header_does_not_carry_our_key_on(serve: Serve, upstream: Upstream) -> None:
    upstream.script("m", Answer.json(json.loads(says().body), headers={"x-ratelimit-key": KEY}))
    server = await serve(provider("one", upstream))

    reply = await server.ask(model="one/m")

    assert (reply.status, reply.headers["x-ratelimit-key"]) == (200, "[secret]")


@pytest.mark.parametrize(("fallback_on", "status"), [("", 400), ('fallback_on = ["context_length"]', 200)])
async def test_a_request_that_is_too_long_goes_on_where_the_route_says_so(
    serve: Serve, upstream: Upstream, fallback_on: str, status: int
) -> None:
    upstream.script("short", failing(400, "maximum context length is 10 tokens"))
    upstream.script("long", says())
    roads = f'[routes.r]\ntargets = ["one/short", "one/long"]\n{fallback_on}\n'
    server = await serve(QUICK, provider("one", upstream), roads)

    assert (await server.ask(model="r")).status == status


class OneAtATime:
    """A local model's backend, as far as a fan-out can see it: it counts the calls that are open side by side."""

    def __init__(self) -> None:
        self.open = self.most = self.calls = 0

    @asynccontextmanager
    async def send(self, call: Call) -> AsyncIterator[Answered]:
        self.calls += 1
        self.open += 1
        self.most = max(self.most, self.open)
        try:
            await asyncio.sleep(0)
            message = {"role": "assistant", "content": f"answer {self.calls}"}
            choice = {"index": 0, "message": message, "finish_reason": "stop"}
            usage = {"prompt_tokens": 2, "completion_tokens": 3, "total_tokens": 5}
            body = {"id": "x", "model": call.model, "created": 1, "choices": [choice], "usage": usage}
            yield Answered(200, [json.dumps(body).encode()], {"content-type": "application/json"})
        finally:
            self.open -= 1

    async def close(self) -> None:
        """Nothing is held."""


async def test_a_local_model_is_asked_for_one_choice_after_the_other(serve: Serve) -> None:
    """Side by side they would wait for each other, and the waiting is on the request's own clock."""
    server = await serve('[providers.local]\ndialect = "llamacpp"\nmodels = { m = { path = "none.gguf" } }\n')
    local = OneAtATime()
    server.services.setup.backends = {**server.services.setup.backends, "local": local}

    reply = await server.ask(model="local/m", n=3)

    assert reply.status == 200
    assert [choice["message"]["content"] for choice in reply.json["choices"]] == ["answer 1", "answer 2", "answer 3"]
    assert (local.calls, local.most) == (3, 1)
    assert reply.json["usage"]["completion_tokens"] == 9


STRICT = 'losses = "reject"'
SEEDED = {"model": "r", "seed": 1, "max_tokens": 9}


@pytest.mark.parametrize(("status", "told"), [(500, 502), (429, 429), (503, 503)])
async def test_the_trouble_of_the_target_that_can_say_it_is_not_the_clients(
    serve: Serve, upstream: Upstream, status: int, told: int
) -> None:
    """The other target of the route cannot say the seed: every attempt is told, and why it made none."""
    upstream.script("good", failing(status))
    two = provider("two", upstream, "anthropic")
    server = await serve(QUICK, provider("one", upstream), two, route("r", "one/good", "two/m", more=STRICT))

    first, second = await server.ask(**SEEDED), await server.ask(**SEEDED)

    assert (first.status, second.status) == (told, told)
    assert first.headers["x-modelport-attempts"] == "1"
    assert f"one/good: {status}" in first.error["message"]
    assert "two/m: not tried, seed: would be dropped for two/m" in first.error["message"]
    assert upstream.asked("m") == []


async def test_a_loss_that_one_target_makes_sends_to_the_next(serve: Serve, upstream: Upstream) -> None:
    """Also where it only shows when the target refuses the field."""
    refusal = failing(400, "Unsupported parameter: 'seed'", param="seed", code="unsupported_parameter")
    upstream.script("picky", refusal)
    upstream.script("good", says())
    both, alone_route = route("r", "one/picky", "one/good", more=STRICT), route("s", "one/picky", more=STRICT)
    server = await serve(QUICK, provider("one", upstream), both, alone_route)

    replies = [await server.ask(model="r", seed=seed) for seed in range(2)]
    alone = await server.ask(model="s", seed=2)

    assert [(reply.status, reply.text) for reply in replies] == [(200, "Hello there")] * 2
    assert [len(upstream.asked(model)) for model in ("picky", "good")] == [3, 2]
    assert (alone.status, alone.error["param"]) == (400, "seed")
    assert server.services.overlay.of("one", "picky").lessons == {}


async def test_a_tuned_model_is_asked_where_its_base_is(serve: Serve, upstream: Upstream) -> None:
    """WIRE 104: tools beside reasoning go to the Responses endpoint."""
    upstream.script("ft:gpt-5.5:acme::x", failing(400))
    both = 'also_speaks = ["openai_responses"]'
    server = await serve(QUICK, provider("one", upstream, more=both))
    tools = [{"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}]

    await server.ask(model="one/ft:gpt-5.5:acme::x", tools=tools)

    assert [asked.path for asked in upstream.asked("ft:gpt-5.5:acme::x")] == ["/v1/responses"]
