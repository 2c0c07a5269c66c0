"""Answers of every vendor for a Gemini client. Numbers in test ids are cases of the wire facts, read backwards."""

from __future__ import annotations

import json
import os
import re
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import pytest
from google.genai import types
from google.genai._api_client import HttpResponse

from translators.assemble import collect, replay
from translators.codec import dumps
from translators.dialect import ReplyTo
from translators.gemini import StreamParser, parse_error, parse_response
from translators.gemini.client import (
    ArrayRenderer,
    StreamRenderer,
    parse_request,
    render_count,
    render_error,
    render_model,
    render_models,
    render_response,
)
from translators.neutral import (
    Audio,
    Choice,
    Event,
    Failure,
    Finish,
    FinishReason,
    Image,
    Native,
    Opaque,
    Part,
    PartDelta,
    PartEnd,
    PartStart,
    Refusal,
    Request,
    Response,
    ResponseNative,
    Source,
    Start,
    Text,
    Thinking,
    TokenLogprob,
    ToolCall,
    Usage,
    UsageReport,
)
from translators.sealed import unseal

SHARED = Path(os.environ.get("MODELPORT_SHARED") or Path(__file__).resolve().parents[4] / "shared")
TO = ReplyTo(Request("gemini", "gemini-x", ()), {}, "id-1", 1_700_000_000)
RECEIPT = b'{"cost_usd":"0.01","attempts":1,"losses":[]}'
SIGNED: Native = {"gemini": {"thoughtSignature": "c2ln"}}


def response(*parts: Part, reason: FinishReason | None = "stop", **more: Any) -> Response:
    return Response("r1", "gemini-x", 0, (Choice(parts, reason, **more),), Usage(10, 5, reasoning_tokens=2))


def rendered(*parts: Part, **more: Any) -> dict[str, Any]:
    body = render_response(response(*parts, **more), TO)
    official(body)
    return body


def official(body: dict[str, Any]) -> types.GenerateContentResponse:
    """*body* as the official SDK's own type, which must take it; extra fields are left aside as it does."""
    stripped = deepcopy(body)
    stripped.pop("extraContent", None)
    stripped.pop("modelport", None)
    for candidate in stripped.get("candidates", []):
        candidate.pop("extraContent", None)
    stripped.get("usageMetadata", {}).pop("serviceTier", None)
    for found in stripped.get("candidates", []):
        for chunk in found.get("groundingMetadata", {}).get("groundingChunks", []):
            chunk.get("retrievedContext", {}).pop("fileSearchStore", None)
    return types.GenerateContentResponse.model_validate(stripped)


def parts_of(body: dict[str, Any]) -> list[dict[str, Any]]:
    return list(body["candidates"][0]["content"].get("parts", []))


def streamed(events: list[Event], receipt: bytes | None = None) -> list[dict[str, Any]]:
    renderer = StreamRenderer(TO)
    return frames_of(renderer.render(events) + renderer.close(receipt))


def frames_of(stream: bytes) -> list[dict[str, Any]]:
    blocks = stream.split(b"\n\n")
    assert blocks.pop() == b""
    assert all(block.startswith(b"data: {") and b"\n" not in block for block in blocks)
    return [json.loads(block[6:]) for block in blocks]


# --- parts -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        (Text("a"), [{"text": "a"}]),
        (Text(""), []),
        pytest.param(Text("a", native=SIGNED), [{"text": "a", "thoughtSignature": "c2ln"}], id="76-text"),
        pytest.param(Thinking("t"), [{"text": "t", "thought": True}], id="87-thought"),
        pytest.param(
            Thinking("", SIGNED), [{"text": "", "thought": True, "thoughtSignature": "c2ln"}], id="76-thought"
        ),
        (Refusal("no"), [{"text": "no"}]),
        pytest.param(
            ToolCall("c1", "f", '{"a":1}', native=SIGNED),
            [{"functionCall": {"id": "c1", "name": "f", "args": {"a": 1}}, "thoughtSignature": "c2ln"}],
            id="76-100-call",
        ),
        (ToolCall("c1", "f", ""), [{"functionCall": {"id": "c1", "name": "f", "args": {}}}]),
        (
            ToolCall("c1", "f", "free text", "custom"),
            [{"functionCall": {"id": "c1", "name": "f", "args": {"input": "free text"}}}],
        ),
        (Image(Source("image/png", "AAAA")), [{"inlineData": {"mimeType": "image/png", "data": "AAAA"}}]),
        (Image(Source(url="https://a/b")), [{"fileData": {"fileUri": "https://a/b"}}]),
        (Audio(Source(), id="1", transcript="hi"), [{"text": "hi"}]),
        (Opaque("gemini", "executableCode", {"executableCode": {"code": "1"}}), [{"executableCode": {"code": "1"}}]),
    ],
)
def test_a_part_whole_and_streamed(part: Part, expected: list[dict[str, Any]]) -> None:
    whole = rendered(part)
    pieces = [
        part
        for chunk in streamed(list(replay(response(part))))
        for candidate in chunk["candidates"]
        for part in candidate["content"]["parts"]
        if part != {"text": ""}
    ]
    joined: dict[str, Any] = {}
    for piece in pieces:
        joined |= {**piece, "text": joined.get("text", "") + piece["text"]} if "text" in piece else piece

    assert parts_of(whole) == expected
    assert [joined] == (expected or [{}])


@pytest.mark.parametrize(
    "part",
    [
        Thinking("hm", {"anthropic": {"signature": "sig"}}),
        Thinking("", {"openai_responses": {"id": "rs_1", "encrypted_content": "x", "summary": []}}),
        Text("hello", native={"openai_responses": {"id": "msg_1", "phase": "final_answer"}}),
        ToolCall("c1", "f", '{"a":1}', native={"openai_responses": {"id": "fc_1"}}),
        Opaque("anthropic", "server_tool_use", {"type": "server_tool_use", "id": "1"}),
    ],
)
@pytest.mark.parametrize("whole", [True, False])
def test_what_other_vendors_need_back_comes_back(part: Part, whole: bool) -> None:
    """The client sends the model's turn back as it got it."""
    if whole:
        contents = [rendered(part)["candidates"][0]["content"]]
    else:
        contents = [chunk["candidates"][0]["content"] for chunk in streamed(list(replay(response(part))))]
    again = parse_request({"contents": contents}, "gemini-x", stream=False)

    assert [message.parts for message in again.messages] == [(part,)]


def test_a_sealed_signature_is_base64_as_the_official_type_wants_it() -> None:
    body = rendered(Thinking("hm", {"anthropic": {"signature": "sig"}}))
    part = types.GenerateContentResponse.model_validate(body).candidates[0].content.parts[0]  # type: ignore[union-attr, index]
    sent = part.model_dump(mode="json", by_alias=True, exclude_none=True)

    assert unseal(parts_of(body)[0]["thoughtSignature"]) == {"anthropic": {"signature": "sig"}}
    assert parse_request({"contents": [{"role": "model", "parts": [sent]}]}, "m", stream=False).messages[0].parts == (
        Thinking("hm", {"anthropic": {"signature": "sig"}}),
    )


# --- ends ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reason", "native", "word"),
    [
        ("stop", {}, "STOP"),
        pytest.param("tool_calls", {}, "STOP", id="93-tool-calls"),
        ("length", {}, "MAX_TOKENS"),
        pytest.param("content_filter", {}, "SAFETY", id="95-other-vendor"),
        pytest.param("content_filter", {"gemini": {"finishReason": "RECITATION"}}, "RECITATION", id="95-own"),
        ("pause", {}, "STOP"),
        pytest.param("pause", {"gemini": {"finishReason": "CONTINUATION"}}, "CONTINUATION", id="97-continuation"),
        (None, {}, "STOP"),
    ],
)
def test_finish_reasons(reason: FinishReason | None, native: Native, word: str) -> None:
    answer = response(Text("a"), reason=reason, native=native)

    assert render_response(answer, TO)["candidates"][0]["finishReason"] == word
    assert streamed(list(replay(answer)))[-1]["candidates"][0]["finishReason"] == word


def test_a_pause_is_told_beside() -> None:
    assert rendered(Text("a"), reason="pause")["candidates"][0]["extraContent"] == {
        "modelport": {"finishReason": "pause"}
    }


@pytest.mark.parametrize("native", [{}, {"gemini": {"promptFeedback": {"blockReason": "SAFETY"}}}])
def test_96_a_blocked_prompt_is_prompt_feedback(native: Native) -> None:
    parts = (Refusal("Gemini blocked the prompt: SAFETY"),) if native else ()
    answer = response(*parts, reason="content_filter", native=native)
    for body in (render_response(answer, TO), streamed(list(replay(answer)))[-1]):
        assert body["promptFeedback"] == {"blockReason": "SAFETY"}
        assert "candidates" not in body


def test_a_refusal_in_words_is_words_that_end_in_safety() -> None:
    body = rendered(Refusal("no"), reason="content_filter")

    assert "promptFeedback" not in body
    assert (parts_of(body), body["candidates"][0]["finishReason"]) == ([{"text": "no"}], "SAFETY")


def test_89_an_answer_without_words_is_a_candidate_without_parts() -> None:
    body = rendered(reason="length")

    assert body["candidates"] == [{"content": {"role": "model"}, "finishReason": "MAX_TOKENS", "index": 0}]


@pytest.mark.parametrize(("reason", "word"), [("length", "MAX_TOKENS"), ("tool_calls", "MALFORMED_FUNCTION_CALL")])
def test_94_a_call_that_is_no_json_is_no_call(reason: FinishReason, word: str) -> None:
    answer = response(ToolCall("c1", "f", '{"a":'), reason=reason)
    for body in (render_response(answer, TO), streamed(list(replay(answer)))[-1]):
        assert body["candidates"][0]["finishReason"] == word
        assert body["candidates"][0]["finishMessage"].endswith('f({"a":)')
        assert "functionCall" not in json.dumps(body)


def test_90_choices_are_candidates() -> None:
    answer = replace(response(), choices=(Choice((Text("a"),), "stop"), Choice((Text("b"),), "length", 1)))
    last = streamed(list(replay(answer)))[-1]

    assert [(c["index"], c["finishReason"]) for c in render_response(answer, TO)["candidates"]] == [
        (0, "STOP"),
        (1, "MAX_TOKENS"),
    ]
    assert [(c["index"], c["finishReason"]) for c in last["candidates"]] == [(0, "STOP"), (1, "MAX_TOKENS")]


# --- what stands beside the words --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("usage", "told"),
    [
        pytest.param(
            Usage(100, 30, 40, reasoning_tokens=10),
            {
                "promptTokenCount": 100,
                "candidatesTokenCount": 20,
                "totalTokenCount": 130,
                "cachedContentTokenCount": 40,
                "thoughtsTokenCount": 10,
            },
            id="98-99-counts",
        ),
        (Usage(1, 2), {"promptTokenCount": 1, "candidatesTokenCount": 2, "totalTokenCount": 3}),
        (
            Usage(9, 2, audio_input_tokens=4),
            {
                "promptTokenCount": 9,
                "candidatesTokenCount": 2,
                "totalTokenCount": 11,
                "promptTokensDetails": [
                    {"modality": "TEXT", "tokenCount": 5},
                    {"modality": "AUDIO", "tokenCount": 4},
                ],
            },
        ),
        (Usage(1, 2, raw={"promptTokenCount": 1, "later": 3}), {"promptTokenCount": 1, "later": 3}),
        (
            Usage(1, 0, raw={"input_tokens": 1}),
            {"promptTokenCount": 1, "candidatesTokenCount": 0, "totalTokenCount": 1},
        ),
    ],
)
def test_usage(usage: Usage, told: dict[str, Any]) -> None:
    answer = replace(response(Text("a")), usage=usage)

    assert render_response(answer, TO)["usageMetadata"] == told
    assert streamed(list(replay(answer)))[-1]["usageMetadata"] == told


def citation(start: int, end: int, url: str = "https://a") -> dict[str, Any]:
    return {
        "type": "url_citation",
        "url_citation": {"start_index": start, "end_index": end, "url": url, "title": "A"},
    }


def test_103_citations_count_bytes_of_the_whole_text() -> None:
    answer = response(Text("é. "), Text("Für Sie.", (citation(0, 3), citation(0, 3, "https://b"))))
    expected = {
        "groundingChunks": [
            {"web": {"uri": "https://a", "title": "A"}},
            {"web": {"uri": "https://b", "title": "A"}},
        ],
        "groundingSupports": [
            {"segment": {"startIndex": 4, "endIndex": 8, "text": "Für"}, "groundingChunkIndices": [0, 1]}
        ],
    }
    body = render_response(answer, TO)

    assert parts_of(body) == [{"text": "é. Für Sie."}]
    assert body["candidates"][0]["groundingMetadata"] == expected
    assert streamed(list(replay(answer)))[-1]["candidates"][0]["groundingMetadata"] == expected
    official(body)
    assert [c["url_citation"]["start_index"] for p in parse_response(body).choices[0].parts for c in p.annotations] == [  # type: ignore[union-attr]
        3,
        3,
    ]


def test_a_citation_without_a_page_is_kept_beside() -> None:
    found = {"type": "file_citation", "file_id": "f1"}

    assert rendered(Text("a", (found,)))["candidates"][0]["extraContent"] == {"modelport": {"annotations": [found]}}


def test_90_log_probabilities() -> None:
    logprobs = (TokenLogprob("a", -0.5, None, (TokenLogprob("b", -1.0),)),)
    expected = {
        "chosenCandidates": [{"token": "a", "logProbability": -0.5}],
        "topCandidates": [{"candidates": [{"token": "b", "logProbability": -1.0}]}],
    }
    answer = response(Text("a"), logprobs=logprobs)

    assert render_response(answer, TO)["candidates"][0]["logprobsResult"] == expected
    assert streamed(list(replay(answer)))[-1]["candidates"][0]["logprobsResult"] == expected


def test_other_vendors_fields_stand_apart() -> None:
    native: Native = {"anthropic": {"stop_sequence": "x"}}
    answer = replace(response(Text("a"), native=native), native={"openai_chat": {"system_fingerprint": "fp"}})
    for body in (render_response(answer, TO), streamed(list(replay(answer)))[-1]):
        assert body["candidates"][0]["extraContent"] == native
        assert body["extraContent"] == {"openai_chat": {"system_fingerprint": "fp"}}


def test_what_the_vendor_did_not_say_comes_from_the_proxy() -> None:
    body = render_response(Response("", "", 0, (Choice((Text("a"),), "stop"),)), TO)

    assert (body["responseId"], body["modelVersion"]) == ("id-1", "gemini-x")
    assert "createTime" not in body
    assert "usageMetadata" not in body
    assert render_response(replace(response(), created=1_700_000_000), TO)["createTime"] == "2023-11-14T22:13:20Z"


# --- streams ---------------------------------------------------------------------------------------

STREAM: list[Event] = [
    Start("r1", "gemini-x", 0),
    PartStart(0, Thinking("")),
    PartDelta(0, "let me"),
    PartEnd(0, native={"anthropic": {"signature": "s"}}),
    PartStart(1, Text("")),
    PartDelta(1, "Hel"),
    PartDelta(1, "lo"),
    PartEnd(1),
    PartStart(2, ToolCall("c1", "f", "")),
    PartStart(3, ToolCall("c2", "g", "")),
    PartDelta(2, '{"a"'),
    PartDelta(3, "{}"),
    PartDelta(2, ":1}"),
    PartEnd(3),
    PartEnd(2),
    UsageReport(Usage(3, 4)),
    Finish("tool_calls"),
    ResponseNative({"gemini": {"modelStatus": {"modelStage": "STABLE"}}}),
]


def test_a_stream_in_order() -> None:
    renderer = StreamRenderer(TO)
    steps = [renderer.render([event]) for event in STREAM]
    told = [part for step in steps for frame in frames_of(step) for part in frame["candidates"][0]["content"]["parts"]]
    last = frames_of(renderer.close(RECEIPT))

    assert [part.get("text") for part in told] == ["let me", "", "Hel", "lo", None, None]
    assert [bool(part.get("thought")) for part in told] == [True, True, False, False, False, False]
    assert [part["functionCall"] for part in told[4:]] == [
        {"id": "c2", "name": "g", "args": {}},
        {"id": "c1", "name": "f", "args": {"a": 1}},
    ]
    assert last == [
        {
            "candidates": [{"content": {"parts": [{"text": ""}], "role": "model"}, "finishReason": "STOP", "index": 0}],
            "usageMetadata": {"promptTokenCount": 3, "candidatesTokenCount": 4, "totalTokenCount": 7},
            "modelVersion": "gemini-x",
            "responseId": "r1",
            "modelStatus": {"modelStage": "STABLE"},
            "modelport": json.loads(RECEIPT),
        }
    ]


def test_text_goes_out_as_it_comes() -> None:
    renderer = StreamRenderer(TO)
    renderer.render([Start("r1", "gemini-x", 0), PartStart(0, Text(""))])

    assert (
        renderer.render([PartDelta(0, 'a "b"\n é')])
        == (
            'data: {"candidates":[{"content":{"parts":[{"text":"a \\"b\\"\\n é"}],"role":"model"},"index":0}],'
            '"modelVersion":"gemini-x","responseId":"r1"}\n\n'
        ).encode()
    )


def read_by_the_sdk(stream: bytes) -> list[Any]:
    """The objects that google-genai gets out of *stream*."""
    answer = httpx2.Response(200, content=stream)
    return list(HttpResponse({}, answer).segments())


def test_the_official_client_reads_the_stream_with_its_receipt() -> None:
    """It takes every line that does not begin with `data: ` for JSON, a comment too."""
    renderer = StreamRenderer(TO)
    chunks = read_by_the_sdk(renderer.render(STREAM) + renderer.close(RECEIPT))

    assert chunks[-1]["modelport"]["attempts"] == 1
    assert [part.text for chunk in chunks for part in official(chunk).candidates[0].content.parts][:4] == [  # type: ignore[union-attr, index]
        "let me",
        "",
        "Hel",
        "lo",
    ]


def test_every_chunk_has_a_part_so_that_chats_keep_the_turn() -> None:
    """google-genai's chats drop a turn of which any chunk has no parts."""
    assert all(chunk["candidates"][0]["content"]["parts"] for chunk in streamed(STREAM))


def test_the_array_holds_the_same_objects() -> None:
    renderer = ArrayRenderer(TO)
    steps = [renderer.render([event]) for event in STREAM]
    stream = b"".join([*steps, renderer.close(RECEIPT)])

    assert json.loads(stream) == streamed(STREAM, RECEIPT)
    assert stream.startswith(b"[{")
    assert stream.count(b",\r\n") == len(json.loads(stream)) - 1


@pytest.mark.parametrize("begun", [True, False])
def test_a_failure_ends_either_form(begun: bool) -> None:
    failure = Failure("overloaded", "too busy", 503)
    error = {"error": {"code": 503, "message": "too busy", "status": "UNAVAILABLE"}}
    frames, array = StreamRenderer(TO), ArrayRenderer(TO)
    head = STREAM[:3] if begun else []

    assert frames_of(frames.render(head) + frames.fail(failure))[-1] == error
    assert json.loads(array.render(head) + array.fail(failure))[-1] == error
    assert json.dumps(read_by_the_sdk(frames.fail(failure))[0]).startswith('{"error":')


def test_our_own_parser_reads_the_stream_as_the_answer_was() -> None:
    renderer = StreamRenderer(TO)
    parser = StreamParser()
    found = collect([*parser.feed(renderer.render(STREAM) + renderer.close(RECEIPT)), *parser.close()])

    assert [type(part) for part in found.choices[0].parts] == [Thinking, Text, ToolCall, ToolCall]
    assert found.choices[0].finish_reason == "tool_calls"
    assert found.usage is not None
    assert (found.usage.input_tokens, found.usage.output_tokens) == (3, 4)


# --- errors ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("failure", "status", "name"),
    [
        (Failure("invalid_request", "m", 400), 400, "INVALID_ARGUMENT"),
        (Failure("authentication", "m", 401), 401, "UNAUTHENTICATED"),
        (Failure("billing", "m", 402), 402, "FAILED_PRECONDITION"),
        (Failure("permission", "m", 403), 403, "PERMISSION_DENIED"),
        (Failure("permission", "m", 400, "FAILED_PRECONDITION"), 400, "FAILED_PRECONDITION"),
        (Failure("not_found", "m", 404, "model_not_found"), 404, "NOT_FOUND"),
        (Failure("too_large", "m", 413), 413, "INVALID_ARGUMENT"),
        (Failure("context_length", "m", 400), 400, "INVALID_ARGUMENT"),
        pytest.param(Failure("rate_limit", "m", 429), 429, "RESOURCE_EXHAUSTED", id="101-rate-limit"),
        (Failure("server", "m", 500), 500, "INTERNAL"),
        (Failure("invalid_response", "m", 502), 502, "INTERNAL"),
        pytest.param(Failure("overloaded", "m", 503), 503, "UNAVAILABLE", id="101-unavailable"),
        (Failure("overloaded", "m", 529), 529, "UNAVAILABLE"),
        (Failure("timeout", "m", 504), 504, "DEADLINE_EXCEEDED"),
        (Failure("connection", "m", 0), 502, "INTERNAL"),
    ],
)
def test_errors(failure: Failure, status: int, name: str) -> None:
    found, body = render_error(failure, "req-1")
    read = parse_error(found, dumps(body), {})

    assert (found, body["error"]["code"], body["error"]["status"]) == (status, status, name)
    assert (read.status, read.message) == (status, "m")
    if failure.kind not in ("too_large", "context_length", "connection", "invalid_response", "billing"):
        assert read.kind == failure.kind


def test_101_an_errors_details() -> None:
    _, body = render_error(Failure("rate_limit", "slow", 429, "quota-hit", "contents", 34.07), "req-1")

    assert body["error"]["details"] == [
        {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "QUOTA_HIT", "domain": "modelport"},
        {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "34.07s"},
        {
            "@type": "type.googleapis.com/google.rpc.BadRequest",
            "fieldViolations": [{"field": "contents", "description": "slow"}],
        },
        {"@type": "type.googleapis.com/google.rpc.RequestInfo", "requestId": "req-1"},
    ]
    assert parse_error(429, dumps(body), {}).retry_after_s == 34.07


def test_models_and_counts() -> None:
    model = render_model("openai/gpt", "GPT", 100, 10, ["generateContent"])

    assert render_models([model, render_model("m")])["models"] == [
        {
            "name": "models/openai/gpt",
            "version": "001",
            "displayName": "GPT",
            "inputTokenLimit": 100,
            "outputTokenLimit": 10,
            "supportedGenerationMethods": ["generateContent"],
        },
        {
            "name": "models/m",
            "version": "001",
            "displayName": "m",
            "supportedGenerationMethods": ["generateContent", "streamGenerateContent", "countTokens"],
        },
    ]
    assert types.CountTokensResponse.model_validate(render_count(7)).total_tokens == 7


# --- recordings ------------------------------------------------------------------------------------

NO_ANSWER = ("cachedContents/", "models/")


def _recorded() -> list[Any]:
    found = []
    for folder in ("gemini", "vertex"):
        for path in sorted((SHARED / "recordings" / folder).glob("*-generate-content-*.json")):
            answer = json.loads(path.read_text())["response"]
            chunks = _chunks(answer)
            if answer["status"] == 200 and any("candidates" in chunk for chunk in chunks):
                found.append(pytest.param(chunks, id=path.stem))
    return found or [pytest.param(None, marks=pytest.mark.skip("no recordings here"))]


def _chunks(answer: dict[str, Any]) -> list[dict[str, Any]]:
    if "sse" in answer:
        return [json.loads(line[5:]) for line in answer["sse"].splitlines() if line.startswith("data:")]
    return answer["body"] if isinstance(answer["body"], list) else [answer["body"]]


def _same(chunks: list[dict[str, Any]]) -> dict[str, Any]:
    """What *chunks* say, however they cut it: parts joined, the last word on everything else."""
    found: dict[str, Any] = {"candidates": {}, "usageMetadata": {}}
    for chunk in deepcopy(chunks):
        found["usageMetadata"] |= chunk.pop("usageMetadata", {})
        for candidate in chunk.pop("candidates", []):
            mine = found["candidates"].setdefault(candidate.pop("index", 0), {"parts": []})
            content = candidate.pop("content", None) or {}
            for part in content.get("parts", []):
                _join(mine["parts"], part)
            mine |= {name: value for name, value in candidate.items() if value}
        found |= {name: value for name, value in chunk.items() if value}
    found.pop("responseId", None)
    for mine in found["candidates"].values():
        if mine.get("finishReason") in (1, 2):
            mine["finishReason"] = {1: "STOP", 2: "MAX_TOKENS"}[mine["finishReason"]]
    return found


def _join(parts: list[dict[str, Any]], part: dict[str, Any]) -> None:
    if not part.get("thought"):
        part.pop("thought", None)
    if isinstance(part.get("functionCall"), dict):
        part["functionCall"].pop("id", None)
        part["functionCall"].setdefault("args", {})
    last = parts[-1] if parts else {}
    plain = set(part) <= {"text", "thought", "thoughtSignature"} and "text" in part
    if plain and "text" in last and "thoughtSignature" not in last and (
        last.get("thought") == part.get("thought") or not part["text"]
    ):  # fmt: skip
        part.pop("thought", None)
        parts[-1] = {**last, **part, "text": last["text"] + part["text"]}
    elif part and part != {"text": ""}:
        parts.append(part)


@pytest.mark.parametrize("chunks", _recorded())
def test_a_recorded_answer_comes_out_as_it_was(chunks: list[dict[str, Any]]) -> None:
    parser = StreamParser()
    stream = b"".join(b"data: " + dumps(chunk) + b"\n\n" for chunk in chunks)
    events = [*parser.feed(stream), *parser.close()]
    answer = collect(events)
    if isinstance(answer.failure, Failure):
        pytest.skip("an answer that the proxy gives as an error")
    whole = render_response(answer, TO)
    again = streamed(events)
    wanted = _same(chunks)
    wanted.pop("createTime", None)
    for found in (_same([whole]), _same(again)):
        found.pop("createTime", None)
        assert found == wanted
    if "trafficType" not in whole["usageMetadata"]:
        # Enums that came as numbers; the official types take names alone.
        for body in (whole, *again):
            official(body)
    assert re.search(r'"candidates":\[\{', dumps(whole).decode())
