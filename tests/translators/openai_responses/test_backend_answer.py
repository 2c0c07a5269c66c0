"""Answers and errors of the Responses API, whole."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from translators.errors import BadAnswer
from translators.neutral import Opaque, Part, Refusal, Text, Thinking, TokenLogprob, ToolCall, Usage
from translators.openai_responses import error_in, parse_error, parse_response

OWN = "openai_responses"
CITED = {"type": "url_citation", "start_index": 0, "end_index": 2, "title": "t", "url": "https://example.com"}
FILE = {"type": "file_citation", "file_id": "f", "filename": "a.txt", "index": 2}


def answer(*output: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {
        "id": "resp_1",
        "object": "response",
        "created_at": 1700000000.0,
        "model": "gpt-6-sol",
        "status": "completed",
        "output": list(output),
        **fields,
    }


def message(*content: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {
        "type": "message",
        "id": "msg_1",
        "role": "assistant",
        "status": "completed",
        "content": [*content],
        **fields,
    }


def said(text: str, **fields: Any) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], **fields}


CALL = {
    "type": "function_call",
    "id": "fc_1",
    "call_id": "call_1",
    "name": "f",
    "arguments": '{"a":1}',
    "status": "completed",
}
SEARCH = {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"type": "search", "query": "q"}}


@pytest.mark.parametrize(
    ("item", "parts"),
    [
        (message(said("Hi")), [Text("Hi", native={OWN: {"id": "msg_1"}})]),
        (
            message(said("Hi"), phase="commentary"),
            [Text("Hi", native={OWN: {"id": "msg_1", "phase": "commentary"}})],
        ),
        (
            message(said("Hi"), {"type": "refusal", "refusal": "No."}),
            [Text("Hi", native={OWN: {"id": "msg_1"}}), Refusal("No.", {OWN: {"id": "msg_1"}})],
        ),
        (
            message(said("Hi", annotations=[CITED, FILE])),
            [
                Text(
                    "Hi",
                    (
                        {"type": "url_citation", "url_citation": {k: v for k, v in CITED.items() if k != "type"}},
                        FILE,
                    ),
                    {OWN: {"id": "msg_1"}},
                )
            ],
        ),
        (CALL, [ToolCall("call_1", "f", '{"a":1}', native={OWN: {"id": "fc_1"}})]),
        (
            {**CALL, "namespace": "n", "status": "incomplete"},
            [
                ToolCall(
                    "call_1", "f", '{"a":1}', native={OWN: {"id": "fc_1", "status": "incomplete", "namespace": "n"}}
                )
            ],
        ),
        (
            {"type": "custom_tool_call", "id": "ct_1", "call_id": "call_2", "name": "c", "input": "raw"},
            [ToolCall("call_2", "c", "raw", "custom", {OWN: {"id": "ct_1"}})],
        ),
        (
            {
                "type": "reasoning",
                "id": "rs_1",
                "summary": [{"type": "summary_text", "text": "One."}, {"type": "summary_text", "text": "Two."}],
                "encrypted_content": "e",
            },
            [
                Thinking(
                    "One.\n\nTwo.",
                    {
                        OWN: {
                            "id": "rs_1",
                            "summary": [
                                {"type": "summary_text", "text": "One."},
                                {"type": "summary_text", "text": "Two."},
                            ],
                            "encrypted_content": "e",
                        }
                    },
                )
            ],
        ),
        (
            {"type": "reasoning", "id": "rs_1", "summary": [], "content": [{"type": "reasoning_text", "text": "Hm"}]},
            [
                Thinking(
                    "Hm",
                    {OWN: {"id": "rs_1", "summary": [], "content": [{"type": "reasoning_text", "text": "Hm"}]}},
                )
            ],
        ),
        (SEARCH, [Opaque(OWN, "web_search_call", SEARCH)]),
        ({"type": "brand_new", "x": 1}, [Opaque(OWN, "brand_new", {"type": "brand_new", "x": 1})]),
    ],
)
def test_an_item_becomes_parts(item: dict[str, Any], parts: list[Part]) -> None:
    """WIRE 113: a call's id is its `call_id`."""
    assert list(parse_response(answer(item)).choices[0].parts) == parts


@pytest.mark.parametrize(
    ("fields", "output", "reason"),
    [
        ({}, [message(said("Hi"))], "stop"),
        ({}, [message(said("Hi")), CALL], "tool_calls"),
        ({}, [SEARCH, message(said("Hi"))], "stop"),
        ({}, [message({"type": "refusal", "refusal": "No."})], "stop"),
        ({"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}, [CALL], "length"),
        ({"status": "incomplete", "incomplete_details": {"reason": "content_filter"}}, [], "content_filter"),
        ({"status": "incomplete", "incomplete_details": {"reason": "max_messages"}}, [], "length"),
        ({"status": "incomplete", "incomplete_details": {"reason": "brand_new"}}, [], "length"),
        ({"status": "incomplete", "incomplete_details": None}, [], "length"),
        ({"status": "in_progress"}, [], None),
    ],
)
def test_how_an_answer_ended(fields: dict[str, Any], output: list[dict[str, Any]], reason: str | None) -> None:
    """WIRE 114."""
    usage = {"input_tokens": 5, "output_tokens": 2, "total_tokens": 7}
    response = parse_response(answer(*output, usage=usage, **fields))

    assert response.choices[0].finish_reason == reason
    assert response.usage == Usage(5, 2, raw=usage)
    assert response.choices[0].native == ({OWN: {k: v for k, v in fields.items() if v}} if fields else {})


def test_the_answer_as_a_whole() -> None:
    usage = {
        "input_tokens": 100,
        "input_tokens_details": {"cached_tokens": 40, "cache_write_tokens": 10},
        "output_tokens": 30,
        "output_tokens_details": {"reasoning_tokens": 20},
        "total_tokens": 130,
    }
    echoes = {"temperature": 1.0, "tools": [], "instructions": "x", "store": True, "metadata": {}, "user": None}
    response = parse_response(answer(usage=usage, service_tier="flex", tool_usage={"a": 1}, error=None, **echoes))

    assert (response.id, response.model, response.created) == ("resp_1", "gpt-6-sol", 1700000000)
    assert response.usage == Usage(100, 30, 40, 10, 20, raw=usage)
    assert response.native == {
        OWN: {"service_tier": "flex", "tool_usage": {"a": 1}},
        "openai_chat": {"service_tier": "flex"},
    }


def test_log_probabilities_of_all_texts_are_one_sequence() -> None:
    def entry(token: str) -> dict[str, Any]:
        top = [{"token": "x", "bytes": [120], "logprob": -2.0}]
        return {"token": token, "bytes": [97], "logprob": -0.5, "top_logprobs": top}

    response = parse_response(answer(message(said("a", logprobs=[entry("a")]), said("b", logprobs=[entry("b")]))))

    top = (TokenLogprob("x", -2.0, (120,)),)
    assert response.choices[0].logprobs == (TokenLogprob("a", -0.5, (97,), top), TokenLogprob("b", -0.5, (97,), top))


@pytest.mark.parametrize("body", [{}, {"output": None}, {"output": {}}])
def test_what_is_no_response_is_refused(body: dict[str, Any]) -> None:
    with pytest.raises(BadAnswer, match="output: expected an array of items"):
        parse_response(body)


@pytest.mark.parametrize(
    ("code", "kind", "status"),
    [
        ("server_error", "server", 500),
        ("rate_limit_exceeded", "rate_limit", 429),
        ("invalid_prompt", "content_filter", 400),
        ("bio_policy", "content_filter", 400),
        ("image_content_policy_violation", "content_filter", 400),
        ("vector_store_timeout", "timeout", 504),
        ("failed_to_download_image", "invalid_request", 400),
        ("image_too_large", "too_large", 413),
        ("context_length_exceeded", "context_length", 400),
        ("brand_new", "server", 502),
    ],
)
def test_a_failed_response_is_an_error_with_its_code(code: str, kind: str, status: int) -> None:
    """WIRE 115."""
    body = answer(message(said("Be")), status="failed", error={"code": code, "message": "why"})

    failure = error_in(body)

    assert failure is not None
    assert (failure.kind, failure.status, failure.code, failure.message) == (kind, status, code, "why")
    assert parse_response(body).failure == failure
    assert parse_response(body).choices[0].finish_reason is None


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (answer(status="cancelled", error=None), "the vendor ended the response as cancelled, without a reason"),
        ({"error": {"message": "no"}}, "no"),
        ({"type": "error", "code": "server_error", "message": "flat", "param": None}, "flat"),
        ({"type": "error", "error": {"code": "server_error", "message": "nested"}}, "nested"),
    ],
)
def test_other_forms_of_errors_are_found(body: dict[str, Any], message: str) -> None:
    failure = error_in(body)

    assert failure is not None
    assert failure.message == message


def test_a_good_answer_holds_no_error() -> None:
    assert error_in(answer(message(said("Hi")), error=None)) is None
    assert error_in(answer(status="incomplete", error=None)) is None


@pytest.mark.parametrize(
    ("status", "error", "kind"),
    [
        (400, {"code": "invalid_prompt", "type": "invalid_request_error", "message": "flagged"}, "content_filter"),
        (400, {"code": "invalid_image", "type": "invalid_request_error", "message": "bad"}, "invalid_request"),
        (401, {"code": "invalid_api_key", "type": "invalid_request_error", "message": "key"}, "authentication"),
        (429, {"code": "rate_limit_exceeded", "type": "tokens", "message": "slow"}, "rate_limit"),
        (429, {"code": "insufficient_quota", "type": "insufficient_quota", "message": "pay"}, "billing"),
        (500, {"code": None, "type": "server_error", "message": "oops"}, "server"),
    ],
)
def test_an_error_of_the_server_keeps_its_status(status: int, error: dict[str, Any], kind: str) -> None:
    failure = parse_error(status, orjson.dumps({"error": error}), {"retry-after": "7"})

    assert (failure.kind, failure.status, failure.message) == (kind, status, error["message"])
    assert failure.retry_after_s == 7
