"""Wire cases that no test of one dialect covers: what comes back from clients and goes to another vendor, and waits."""

from __future__ import annotations

import json
from typing import Any, get_args

import pytest
from anthropic.types.beta import BetaStopReason
from google.genai.types import FinishReason
from openai.types.responses.response import IncompleteDetails

from translators import anthropic, gemini, openai_responses
from translators.assemble import collect
from translators.dialect import Rules
from translators.gemini.finish import BROKEN, finish_reason
from translators.neutral import Message, Reasoning, Request, Text, Tool, ToolCall
from translators.openai_chat import StreamParser, StreamRelay, parse_error, parse_request, relay_request, render_request

USER = {"role": "user", "content": "Hello"}
CALL = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
RESULT = {"role": "tool", "tool_call_id": "c", "content": "ok"}
BLOCKS = [{"type": "thinking", "thinking": "Hm.", "signature": "made-by-anthropic"}]
SEALED = {"google": {"thought_signature": "made-by-google"}}
ENCRYPTED = [{"type": "reasoning.encrypted", "data": "made-by-openai"}]

PLAIN = Rules()
NOTHING = Rules(takes_back=frozenset())
GROQ = Rules(takes_back=frozenset({"reasoning"}))
DEEPSEEK = Rules(takes_back=frozenset({"reasoning_content"}), reasoning_replay="tool_turns")
CLAUDE = Rules(takes_back=frozenset({"thinking_blocks"}))
GEMINI = Rules(takes_back=frozenset({"extra_content"}))


def relayed(rules: Rules, *messages: dict[str, Any]) -> tuple[bytes, list[Any], list[tuple[str, str]]]:
    """The bytes that were relayed, their messages, and the losses, for a client that sent *messages*."""
    raw = json.dumps({"model": "m", "messages": [USER, *messages]}).encode()
    body = json.loads(raw)
    sent = relay_request(raw, body, parse_request(body), rules, "m")
    return sent.body, json.loads(sent.body)["messages"][1:], [(loss.field, loss.action) for loss in sent.losses]


def said(**fields: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": "Yes.", **fields}


def called(**fields: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": None, "tool_calls": [CALL], **fields}


ECHOES = [
    pytest.param(PLAIN, said(thinking_blocks=BLOCKS), said(), ["thinking_blocks"], id="78-blocks"),
    pytest.param(PLAIN, said(extra_content=SEALED), said(), ["extra_content"], id="78-extra"),
    pytest.param(
        PLAIN, called(tool_calls=[{**CALL, "extra_content": SEALED}]), called(), ["tool_calls"], id="78-signed-call"
    ),
    pytest.param(
        PLAIN, said(thinking_blocks=BLOCKS, extra_content=SEALED), said(), ["thinking_blocks"], id="78-reported-once"
    ),
    pytest.param(NOTHING, said(reasoning_details=ENCRYPTED), said(), ["reasoning_details"], id="138-encrypted"),
    pytest.param(NOTHING, said(reasoning_content="Hm."), said(), ["reasoning_content"], id="138-strict-server"),
    pytest.param(
        GROQ,
        said(reasoning="Hm.", reasoning_content="Hm.", reasoning_details=[{"type": "reasoning.text", "text": "Hm."}]),
        said(reasoning="Hm."),
        [],
        id="122-the-servers-own-name-keeps-it",
    ),
    pytest.param(
        Rules(call_ids="short"),
        called(tool_calls=[{**CALL, "id": "c" * 41}]),
        called(tool_calls=[{**CALL, "id": "call_fvkzacq5gqe5pjmzxnuzi3f5"}]),
        [],
        id="21-too-long-an-id",
    ),
    pytest.param(DEEPSEEK, called(), called(reasoning_content=""), [], id="123-empty-key"),
    pytest.param(DEEPSEEK, called(reasoning="Hm."), called(reasoning_content="Hm."), [], id="123-other-name"),
    pytest.param(
        DEEPSEEK,
        called(reasoning_details=[{"type": "reasoning.text", "text": "Hm."}]),
        called(reasoning_content="Hm."),
        [],
        id="123-other-form",
    ),
]


@pytest.mark.parametrize(("rules", "message", "sent", "lost"), ECHOES)
def test_echoes_of_earlier_answers_are_fitted_to_the_next_server(
    rules: Rules, message: dict[str, Any], sent: dict[str, Any], lost: list[str]
) -> None:
    _, messages, losses = relayed(rules, message, RESULT, USER)

    assert messages == [sent, RESULT, USER]
    assert losses == [(f"messages[1].{name}", "dropped") for name in lost]


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        pytest.param(CLAUDE, said(thinking_blocks=BLOCKS), id="78-claude"),
        pytest.param(GEMINI, called(tool_calls=[{**CALL, "extra_content": SEALED}]), id="78-gemini"),
        pytest.param(PLAIN, said(reasoning_details=ENCRYPTED), id="138-the-dialects-own-form"),
        pytest.param(PLAIN, said(reasoning_content="Hm.", reasoning="Hm."), id="122-both-names"),
        pytest.param(PLAIN, said(brand_new={"x": 1}, refusal=None, annotations=[]), id="124-unknown-field"),
        pytest.param(NOTHING, called(brand_new=1), id="124-strict-server"),
        pytest.param(DEEPSEEK, called(reasoning_content="Hm."), id="123-as-it-came"),
        pytest.param(DEEPSEEK, said(), id="123-plain-turn"),
        pytest.param(PLAIN, called(tool_calls=[{**CALL, "id": "c" * 90}]), id="21-any-id"),
        pytest.param(Rules(call_ids="short"), called(tool_calls=[{**CALL, "id": "c" * 40}]), id="21-short-id"),
        pytest.param(Rules(call_ids="nine"), called(tool_calls=[{**CALL, "id": "aB3456789"}]), id="21-nine"),
        pytest.param(PLAIN, {**USER, "extra_content": SEALED}, id="138-answers-alone"),
    ],
)
def test_what_the_next_server_reads_goes_out_byte_for_byte(rules: Rules, message: dict[str, Any]) -> None:
    body, _, losses = relayed(rules, message)

    assert body == json.dumps({"model": "m", "messages": [USER, message]}).encode()
    assert losses == []


def test_78_a_later_developer_message_and_a_signature_are_both_mended() -> None:
    rules = Rules(developer_role=False)

    _, messages, _ = relayed(rules, said(extra_content=SEALED), {"role": "developer", "content": "Be brief."})

    assert messages == [said(), {"role": "system", "content": "Be brief."}]


LOADING = {"error": {"code": 503, "message": "Loading model", "type": "unavailable_error"}}


@pytest.mark.parametrize(
    ("status", "body", "headers", "seconds"),
    [
        pytest.param(503, LOADING, {}, 2.0, id="129-llama-server"),
        pytest.param(503, {"error": "Model m is currently loading"}, {}, 2.0, id="129-other-words"),
        pytest.param(503, LOADING, {"retry-after": "9"}, 9.0, id="129-the-servers-own-wait"),
        pytest.param(503, {"error": {"message": "no slot available"}}, {}, None, id="129-busy"),
        pytest.param(500, {"error": {"message": "error loading model"}}, {}, None, id="129-broken"),
    ],
)
def test_a_server_that_loads_its_model_is_asked_again_soon(
    status: int, body: dict[str, Any], headers: dict[str, str], seconds: float | None
) -> None:
    failure = parse_error(status, json.dumps(body).encode(), headers)

    assert failure.retry_after_s == seconds
    assert status != 503 or failure.kind == "overloaded"


def test_27_a_budget_raises_a_limit_of_which_the_models_maximum_is_unknown() -> None:
    request = Request(
        "openai_chat",
        "claude-x",
        (Message("user", (Text("Hello"),)),),
        max_output_tokens=500,
        reasoning=Reasoning(budget_tokens=4000),
    )

    body = anthropic.render_request(request, Rules(dialect="anthropic", thinking="budget")).body

    assert (body["thinking"]["budget_tokens"], body["max_tokens"]) == (4000, 4500)


@pytest.mark.parametrize("body", [b"", b"<html>Overloaded</html>", b'{"error": {"type": "brand_new_error"}}'])
def test_61_the_status_alone_says_overloaded(body: bytes) -> None:
    failure = anthropic.parse_error(529, body, {"retry-after": "3"})

    assert (failure.kind, failure.status, failure.retry_after_s) == ("overloaded", 529, 3.0)


@pytest.mark.parametrize("words", [{"text": "one"}, {}], ids=["103-words-that-come-twice", "103-offsets-alone"])
def test_a_citation_stands_where_its_bytes_are(words: dict[str, str]) -> None:
    text = "Größe: one, one"
    end = len(text.encode())
    grounding = {
        "groundingChunks": [{"web": {"uri": "https://a.test", "title": "A"}}],
        "groundingSupports": [
            {"segment": {"startIndex": end - 3, "endIndex": end, **words}, "groundingChunkIndices": [0]}
        ],
    }
    candidate = {"content": {"parts": [{"text": text}]}, "finishReason": "STOP", "groundingMetadata": grounding}

    (part,) = gemini.parse_response({"candidates": [candidate]}).choices[0].parts

    assert isinstance(part, Text)
    cited = part.annotations[0]["url_citation"]
    assert (cited["start_index"], cited["end_index"]) == (len(text) - 3, len(text))


def test_79_gemini_gets_the_whole_of_json_schema() -> None:
    """What the older field cannot say stays as it is."""
    either = {"type": ["string", "null"]}
    schema = {
        "type": "object",
        "properties": {"unit": {"const": "C"}, "city": either},
        "additionalProperties": False,
    }
    request = Request("openai_chat", "gemini-x", (Message("user", (Text("Hello"),)),), tools=(Tool("f", None, schema),))

    rendered = gemini.render_request(request, Rules(dialect="gemini"))

    (declared,) = rendered.body["tools"][0]["functionDeclarations"]
    assert declared == {"name": "f", "parametersJsonSchema": schema}
    assert rendered.losses == ()


# --- how answers end: the SDKs know every word of today, and a new one fails here until it is decided ---------------


def test_95_every_finish_reason_of_googles_sdk_is_decided() -> None:
    """94, 95, 97: only STOP means that the model was done."""
    names = [reason.value for reason in FinishReason]

    assert [name for name in names if name not in BROKEN and finish_reason(name, called=False) == "stop"] == ["STOP"]


@pytest.mark.parametrize("word", get_args(BetaStopReason))
def test_45_every_stop_reason_of_anthropics_sdk_is_decided(word: str) -> None:
    body = {"type": "message", "content": [{"type": "text", "text": "Paris"}], "stop_reason": word}

    reason = anthropic.parse_response(body).choices[0].finish_reason

    assert (reason == "stop") == (word in {"end_turn", "stop_sequence"})


@pytest.mark.parametrize("word", get_args(get_args(IncompleteDetails.model_fields["reason"].annotation)[0]))
def test_114_every_reason_of_an_incomplete_response_is_decided(word: str) -> None:
    details = {"status": "incomplete", "incomplete_details": {"reason": word}}

    reason = openai_responses.parse_response({"output": [], **details}).choices[0].finish_reason

    expected = {"content_filter": "content_filter", "steered": "pause"}.get(word, "length")
    assert reason == expected


# --- what a stream is asked, what calls are called, and what stays at home --------------------------------------


def test_118_a_server_that_refuses_stream_options_is_not_sent_them_for_any_client() -> None:
    request = Request("anthropic", "m", (Message("user", (Text("Hello"),)),), stream=True)
    bodies = [render_request(request, Rules(stream_options=taken)).body for taken in (True, False)]

    assert [body.get("stream_options") for body in bodies] == [{"include_usage": True}, None]


NAMELESS = {"type": "function", "function": {"name": "f", "arguments": "{}"}}


def nameless_stream() -> bytes:
    """Two calls without ids, told apart by their indexes."""
    head = {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    delta = {"role": "assistant", "tool_calls": [{"index": 0, **NAMELESS}, {"index": 1, **NAMELESS}]}
    chunks = [{"delta": delta, "finish_reason": None}, {"delta": {}, "finish_reason": "tool_calls"}]
    lines = [json.dumps({**head, "choices": [{"index": 0, **each}]}) for each in chunks]
    return "".join(f"data: {line}\n\n" for line in [*lines, "[DONE]"]).encode()


def test_121_calls_without_ids_get_unique_ones_that_are_no_empty_text() -> None:
    parser = StreamParser()
    response = collect([*parser.feed(nameless_stream()), *parser.close()])
    told = [part.id for part in response.choices[0].parts if isinstance(part, ToolCall)]

    relay = StreamRelay(PLAIN, include_usage=False, fallback_id="i", fallback_model="m", created=1)
    lines = (relay.feed(nameless_stream()).frames + relay.close()).decode().splitlines()
    deltas = [json.loads(line[6:])["choices"][0]["delta"] for line in lines if line.startswith("data: {")]
    relayed_ids = [call["id"] for delta in deltas for call in delta.get("tool_calls", ())]

    for ids in (told, relayed_ids):
        assert len(ids) == len(set(filter(None, ids))) == 2


def test_124_unknown_fields_of_an_answer_are_written_at_home_and_reported_abroad() -> None:
    body = {"model": "m", "messages": [USER, said(brand_new={"a": 1}), USER]}
    request = parse_request(body)
    home, abroad = render_request(request, PLAIN), anthropic.render_request(request, Rules(dialect="anthropic"))

    assert home.body["messages"][1] == said(brand_new={"a": 1})
    assert "brand_new" not in json.dumps(abroad.body)
    assert ("messages[1].brand_new", "dropped") in [(loss.field, loss.action) for loss in abroad.losses]
