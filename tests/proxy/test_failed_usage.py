"""What a failed attempt has cost: the usage that its vendor told, wherever the answer went wrong."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import pytest

from tests.proxy.conftest import Serve
from tests.proxy.keyed import KEYS_ONLY, MASTER, bearer, make
from tests.proxy.serving import DONE, OPENING, QUICK, Reply, Served, chunk, completion, message, provider, route, says
from tests.replay import Answer, Upstream

IN, OUT = 100_000, 7
COST = IN * 1_000 + OUT * 2_000
"""Nano-dollars, at one and two dollars per million tokens."""
SHORT = "timeouts = { connect_s = 2, first_event_s = 1.5, idle_s = 1.5, whole_answer_s = 1.5 }"
"""For servers that fall silent."""
BUDGET = '[budgets.b]\nlimit_usd = "5"\nwindow = "day"\nassumed_output_tokens = 9\n'
ERROR = {"message": "broken", "type": "server_error", "code": 500}

CHAT_USAGE = {"prompt_tokens": IN, "completion_tokens": OUT, "total_tokens": IN + OUT}
CLAUDE_USAGE = {"input_tokens": IN, "output_tokens": OUT}
GEMINI_USAGE = {"promptTokenCount": IN, "candidatesTokenCount": OUT, "totalTokenCount": IN + OUT}
RESPONSES_USAGE = {"input_tokens": IN, "output_tokens": OUT, "total_tokens": IN + OUT}


def _chat(**fields: Any) -> dict[str, Any]:
    return {**completion(), "usage": CHAT_USAGE, **fields}


def _claude(**fields: Any) -> dict[str, Any]:
    return message(usage=CLAUDE_USAGE, **fields)


def _response(**fields: Any) -> dict[str, Any]:
    head = {"id": "resp_1", "object": "response", "created_at": 1_790_000_000, "model": "m"}
    return {**head, "status": "failed", "output": [], "usage": RESPONSES_USAGE, **fields}


def _events(*events: dict[str, Any]) -> str:
    return "".join(f"event: {each['type']}\ndata: {json.dumps(each)}\n\n" for each in events)


def _frame(body: dict[str, Any]) -> str:
    return f"data: {json.dumps(body)}\n\n"


CLAUDE_START = {"type": "message_start", "message": _claude(content=[], stop_reason=None)}
CLAUDE_ERROR = {"type": "error", "error": {"type": "api_error", "message": "broken"}}
THOUGHT = (
    {"type": "content_block_start", "index": 0, "content_block": {"type": "thinking", "thinking": "", "signature": ""}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "signature_delta", "signature": "c2ln"}},
    {"type": "content_block_stop", "index": 0},
)
RESPONSE_CREATED = {"type": "response.created", "response": _response(status="in_progress", usage=None)}
RESPONSE_FAILED = {"type": "response.failed", "response": _response(error={"code": "server_error", "message": "no"})}

WHOLE: dict[tuple[str, str], Answer] = {
    ("openai_chat", "no choices"): Answer.json(_chat(choices=[])),
    ("openai_chat", "choices null"): Answer.json(_chat(choices=None)),
    ("openai_chat", "choices a text"): Answer.json(_chat(choices="x")),
    ("openai_chat", "an error in a 200"): Answer.json(_chat(error=ERROR)),
    ("openai_chat", "a 500"): Answer.json({"error": ERROR, "usage": CHAT_USAGE}, 500),
    ("openai_chat", "a stream that nobody asked for"): Answer.sse(
        chunk({"content": "Hel"}, usage=CHAT_USAGE) + _frame({"error": ERROR})
    ),
    ("openai_completions", "choices a text"): Answer.json(_chat(choices="x")),
    ("openai_completions", "a 500"): Answer.json({"error": ERROR, "usage": CHAT_USAGE}, 500),
    ("openai_responses", "failed"): Answer.json(_response(error={"code": "server_error", "message": "broken"})),
    ("openai_responses", "output a text"): Answer.json(_response(status="completed", output="x")),
    ("openai_responses", "a 500"): Answer.json({"error": ERROR, "usage": RESPONSES_USAGE}, 500),
    ("anthropic", "content a text"): Answer.json(_claude(content="x")),
    ("anthropic", "content of texts"): Answer.json(_claude(content=["x"])),
    ("anthropic", "an error in a 200"): Answer.json({**CLAUDE_ERROR, "usage": CLAUDE_USAGE}),
    ("anthropic", "a 500"): Answer.json({**CLAUDE_ERROR, "usage": CLAUDE_USAGE}, 500),
    ("gemini", "no candidates"): Answer.json({"usageMetadata": GEMINI_USAGE, "modelVersion": "m"}),
    ("gemini", "an error in a 200"): Answer.json({"error": {**ERROR, "status": "X"}, "usageMetadata": GEMINI_USAGE}),
    ("gemini", "a 500"): Answer.json({"error": {**ERROR, "status": "X"}, "usageMetadata": GEMINI_USAGE}, 500),
}
STREAMED: dict[tuple[str, str], Answer] = {
    ("openai_chat", "text, usage and the error in one read"): Answer.sse(
        OPENING + chunk({"content": "Hel"}, usage=CHAT_USAGE) + _frame({"error": ERROR})
    ),
    ("openai_chat", "usage alone"): Answer.sse(_frame(_chat(choices=[])) + DONE),
    ("openai_chat", "a role with usage, cut"): Answer.sse(
        chunk({"role": "assistant", "content": ""}, usage=CHAT_USAGE), end="close"
    ),
    ("openai_chat", "a role with usage, silent"): Answer.sse(
        chunk({"role": "assistant", "content": ""}, usage=CHAT_USAGE), end="hang"
    ),
    ("openai_chat", "an object with an error"): Answer.json(_chat(error=ERROR)),
    ("openai_chat", "a 500"): Answer.json({"error": ERROR, "usage": CHAT_USAGE}, 500),
    ("openai_completions", "usage alone"): Answer.sse(_frame(_chat(choices=[])) + DONE),
    ("openai_responses", "failed"): Answer.sse(_events(RESPONSE_CREATED, RESPONSE_FAILED)),
    ("anthropic", "an error after the start"): Answer.sse(_events(CLAUDE_START, CLAUDE_ERROR)),
    ("anthropic", "cut after the start"): Answer.sse(_events(CLAUDE_START), end="close"),
    ("anthropic", "reset after the start"): Answer.sse(_events(CLAUDE_START), end="reset", delay_between_s=0.02),
    ("anthropic", "silent after the start"): Answer.sse(_events(CLAUDE_START), end="hang"),
    ("anthropic", "an error after a thought"): Answer.sse(_events(CLAUDE_START, *THOUGHT, CLAUDE_ERROR)),
    ("anthropic", "cut after a thought"): Answer.sse(_events(CLAUDE_START, *THOUGHT), end="close", split="events"),
    ("gemini", "no candidates"): Answer.sse(_frame({"usageMetadata": GEMINI_USAGE, "modelVersion": "m"})),
    ("gemini", "an error after usage"): Answer.sse(
        _frame({"usageMetadata": GEMINI_USAGE, "modelVersion": "m"}) + _frame({"error": {**ERROR, "status": "X"}})
    ),
}
PATHS: dict[str, tuple[str, dict[str, Any]]] = {
    "openai_chat": ("/v1/chat/completions", {"messages": [{"role": "user", "content": "Hi"}]}),
    "openai_completions": ("/v1/completions", {"prompt": "Hi"}),
    "openai_responses": ("/v1/responses", {"input": "Hi", "store": False}),
    "anthropic": ("/v1/messages", {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 9}),
}
SCHEMA = {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}}}


@dataclass(frozen=True, slots=True)
class Case:
    """How *dialect*'s server fails, and what asks it: a client of *client*."""

    client: str
    dialect: str
    answer: Answer
    stream: bool
    more: dict[str, Any]


def _cases() -> list[Any]:
    """Every row asked by a chat, by its own dialect's client, and by a chat whose JSON is checked on its way."""
    found = []
    for stream, table in ((False, WHOLE), (True, STREAMED)):
        for (dialect, name), answer in table.items():
            clients: dict[str, tuple[str, dict[str, Any]]] = {}
            if dialect != "openai_completions":
                clients["chat"] = ("openai_chat", {})
                clients["chat, checked"] = ("openai_chat", {"response_format": SCHEMA})
            if dialect in PATHS and dialect != "openai_chat":
                clients["its own"] = (dialect, {})
            for title, (client, more) in clients.items():
                case = Case(client, dialect, answer, stream, more)
                found.append(pytest.param(case, id=f"{dialect}-{name}-{title}-{'stream' if stream else 'whole'}"))
    return found


async def _ask(server: Served, case: Case, model: str, headers: dict[str, str] | None = None) -> Reply:
    path, body = PATHS[case.client]
    raw = json.dumps({"model": model, "stream": case.stream, **body, **case.more}).encode()
    return await server.request("POST", path, raw, {"content-type": "application/json", **(headers or {})})


def _provider(upstream: Upstream, dialect: str, answer: Answer) -> str:
    more = SHORT if answer.hang or answer.end == "hang" else ""
    if dialect == "openai_completions":
        return provider("one", upstream, more=f"completions = true\n{more}")
    return provider("one", upstream, dialect, more=more)


@pytest.mark.parametrize("case", _cases())
async def test_usage_that_a_failed_attempt_told_is_booked(serve: Serve, upstream: Upstream, case: Case) -> None:
    """With the vendor's own object, priced as any other, in the row, `/costs` and the budget."""
    upstream.script("m", case.answer)
    server = await serve(QUICK, _provider(upstream, case.dialect, case.answer), BUDGET)

    reply = await _ask(server, case, "one/m")

    row = (await server.rows())[-1]
    (made,) = (await server.row(row["id"]))["attempts"]
    costs = (await server.get("/costs")).json["total"]
    (standing,) = await server.services.budgets.standings()
    assert reply.status >= 400, reply.body
    assert (row["status"], made["status"]) == ("failed", "failed")
    assert (made["input_tokens"], made["output_tokens"]) == (IN, OUT)
    assert made["raw_usage"]
    assert made["estimated"] is False
    assert [round(float(each["cost_usd"]) * 1e9) for each in (made, row)] == [COST, COST]
    assert (costs["input_tokens"], round(float(costs["exact_usd"]) * 1e9)) == (IN, COST)
    assert (standing.spent_nanousd, standing.reserved_nanousd) == (COST, 0)


NOTHING_TOLD: dict[str, Answer] = {
    "a 500": Answer.json({"error": ERROR}, 500),
    "a 500 with a usage of other things": Answer.json({"error": ERROR, "usage": {"requests": 3}}, 500),
    "a 500 with a usage that is none": Answer.json({"error": ERROR, "usage": "x"}, 500),
    "a 500 of a list": Answer.json([{"error": ERROR, "usage": CHAT_USAGE}], 500),
    "impossible counts": Answer.json(_chat(choices=[], usage={"prompt_tokens": -1, "completion_tokens": 1})),
    "a page": Answer(200, {"content-type": "text/html"}, b"<html>"),
    "cut": Answer.sse(OPENING, end="close"),
    "silent": Answer(hang=True),
}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("name", NOTHING_TOLD)
async def test_a_failed_attempt_whose_vendor_told_no_usage_costs_nothing(
    serve: Serve, upstream: Upstream, name: str, *, stream: bool
) -> None:
    """And nothing is estimated."""
    upstream.script("m", NOTHING_TOLD[name])
    server = await serve(QUICK, _provider(upstream, "openai_chat", NOTHING_TOLD[name]))

    reply = await server.ask(model="one/m", stream=stream)

    (made,) = (await server.row(reply.id))["attempts"]
    assert made["status"] == "failed"
    assert (made["input_tokens"], made["output_tokens"], made["raw_usage"]) == (0, 0, None)
    assert (float(made["cost_usd"]), made["estimated"]) == (0, False)


@pytest.mark.parametrize("stream", [False, True])
async def test_failures_use_a_keys_budget_up(serve: Serve, upstream: Upstream, *, stream: bool) -> None:
    upstream.script("m", Answer.json(_chat(error=ERROR)))
    server = await serve(KEYS_ONLY, QUICK, provider("one", upstream))
    made = await make(server, budget={"limit_usd": f"{2 * COST / 1e9:.9f}", "window": "day"})

    replies = [await server.ask(bearer(made["key"]), model="one/m", max_tokens=5, stream=stream) for _ in range(4)]

    assert [reply.status for reply in replies] == [502, 502, 429, 429]
    assert replies[-1].error["code"] == "budget_exceeded"
    assert len(upstream.asked("m")) == 2
    costs = (await server.get("/costs", MASTER)).json["total"]
    assert round(float(costs["cost_usd"]) * 1e9) == 2 * COST


async def test_what_a_failed_target_cost_is_part_of_the_answers_cost(serve: Serve, upstream: Upstream) -> None:
    """In the header of the answer that the next target gave, and in a ledger that verifies."""
    upstream.script("bad", Answer.json(_chat(choices=[])))
    upstream.script("m", says())
    server = await serve(QUICK, provider("one", upstream), route("r", "one/bad", "one/m"))

    reply = await server.ask(model="r")

    row = await server.row(reply.id)
    verified = (await server.request("POST", "/api/v1/ledger/verify")).json
    assert reply.status == 200
    assert round(float(reply.headers["x-modelport-cost-usd"]) * 1e9) == COST + 20_000
    assert reply.json["usage"]["prompt_tokens"] == 10
    assert [round(float(made["cost_usd"]) * 1e9) for made in row["attempts"]] == [COST, 20_000]
    assert row["input_tokens"] == IN + 10
    assert (verified["status"], verified["costs_recomputed"]) == ("ok", 2)


async def test_a_failure_on_the_fast_lane_is_booked_as_well(serve: Serve, upstream: Upstream) -> None:
    upstream.script("m", says(), says(), Answer.json(_chat(choices=[])))
    server = await serve(QUICK, provider("one", upstream))

    replies = [await server.ask(model="one/m") for _ in range(3)]

    (made,) = (await server.row(replies[-1].id))["attempts"]
    assert [reply.status for reply in replies] == [200, 200, 502]
    assert (made["input_tokens"], round(float(made["cost_usd"]) * 1e9)) == (IN, COST)


async def test_a_model_without_a_price_that_fails_has_a_cost_that_is_not_known(
    serve: Serve, upstream: Upstream
) -> None:
    upstream.script("m", Answer.json(_chat(choices=[])))
    server = await serve(QUICK, provider("one", upstream, more='price = { other = { input = "1", output = "1" } }\n'))

    reply = await server.ask(model="one/m")

    (made,) = (await server.row(reply.id))["attempts"]
    assert (made["input_tokens"], made["cost_usd"]) == (IN, None)


async def test_the_rest_of_an_interrupted_answer_that_fails_is_booked_apart(serve: Serve, upstream: Upstream) -> None:
    """The first call's usage stays its own; the second, which gave nothing, has what its vendor told of it."""
    text = (
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hello"}},
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "pause_turn"}, "usage": {"output_tokens": 5}},
        {"type": "message_stop"},
    )
    start = {"type": "message_start", "message": message(content=[], stop_reason=None)}
    upstream.script("m", Answer.sse(_events(start, *text)), Answer.sse(_events(CLAUDE_START, CLAUDE_ERROR)))
    server = await serve(QUICK, provider("one", upstream, "anthropic"))

    reply = await server.ask(model="one/m", stream=True)

    first, second = (await server.row(reply.id))["attempts"]
    assert reply.text == "Hello"
    assert (first["status"], first["input_tokens"], first["output_tokens"]) == ("ok", 10, 5)
    assert (second["status"], second["input_tokens"], second["output_tokens"]) == ("failed", IN, OUT)
    assert round(float(second["cost_usd"]) * 1e9) == COST
