"""What Gemini answers, whole and streamed, in the neutral form. Numbers in test ids are cases of the wire facts."""

from __future__ import annotations

import json
from itertools import pairwise
from time import process_time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from translators.assemble import collect
from translators.errors import BadAnswer
from translators.gemini import StreamParser, error_in, parse_response
from translators.neutral import (
    Audio,
    Choice,
    Event,
    Failure,
    Finish,
    Image,
    Opaque,
    Part,
    PartDelta,
    PartEnd,
    PartStart,
    Refusal,
    Response,
    Source,
    Start,
    Text,
    Thinking,
    ToolCall,
)

SIGNED = {"gemini": {"thoughtSignature": "sig"}}


def chunk(
    *parts: dict[str, Any], finish: Any = None, usage: dict[str, int] | None = None, **more: Any
) -> dict[str, Any]:
    candidate: dict[str, Any] = {"content": {"parts": list(parts), "role": "model"}, "index": 0, **more}
    if finish is not None:
        candidate["finishReason"] = finish
    return {
        "candidates": [candidate],
        "responseId": "r1",
        "modelVersion": "gemini-x",
        **({"usageMetadata": usage} if usage else {}),
    }


def events_of(*chunks: Any, array: bool = False, end: bytes = b"\r\n\r\n") -> list[Event]:
    sent = json.dumps(chunks).encode() if array else b"".join(b"data: " + json.dumps(c).encode() + end for c in chunks)
    parser = StreamParser(new_id=lambda: "made-up")
    return [*parser.feed(sent), *parser.close()]


def both_ways(*chunks: Any) -> Response:
    """The stream of *chunks*, after making sure that events are well ordered."""
    events = events_of(*chunks)
    open_parts: set[tuple[int, int]] = set()
    for event in events:
        match event:
            case PartStart():
                open_parts.add((event.choice, event.index))
            case PartDelta():
                assert (event.choice, event.index) in open_parts
            case PartEnd():
                open_parts.remove((event.choice, event.index))
            case _:
                pass
    assert not open_parts
    assert events_of(*chunks, array=True) == events
    return collect(events)


def choice_of(*chunks: Any) -> Choice:
    response = both_ways(*chunks)
    assert response.failure is None
    return response.choices[0]


CALL = {"functionCall": {"name": "f", "args": {"a": 1}}}
CODE = {"executableCode": {"code": "1", "language": "PYTHON"}}

PARTS = [
    pytest.param([chunk({"text": "a"}), chunk({"text": "b"}, finish="STOP")], (Text("ab"),), id="chunks-join"),
    pytest.param(
        [chunk({"text": "t", "thought": True}), chunk({"text": "a"}, finish="STOP")],
        (Thinking("t"), Text("a")),
        id="87-thoughts-are-not-content",
    ),
    pytest.param(
        [chunk({"text": "a"}), chunk({"text": "", "thoughtSignature": "sig"}, finish="STOP")],
        (Text("a", native=SIGNED),),
        id="76-a-late-signature-belongs-to-the-text-before-it",
    ),
    pytest.param(
        [chunk({"text": "a", "thoughtSignature": "sig"}), chunk({"text": "b"}, finish="STOP")],
        (Text("a", native=SIGNED), Text("b")),
        id="76-signed-text-is-not-merged-with-unsigned",
    ),
    pytest.param(
        [chunk({"functionCall": {"name": "f", "id": "x"}, "thoughtSignature": "sig"}, finish="STOP")],
        (ToolCall("x", "f", "{}", native=SIGNED),),
        id="76-a-signed-call-without-arguments",
    ),
    pytest.param([chunk({"text": ""}, finish="STOP")], (), id="46-empty-text-is-nothing"),
    pytest.param(
        [chunk({"functionCall": {"name": "f", "id": "x", "args": {"a": [1, "ü"]}}}, finish="STOP")],
        (ToolCall("x", "f", '{"a":[1,"ü"]}'),),
        id="100-arguments-come-whole",
    ),
    pytest.param(
        [
            chunk({"functionCall": {"name": "f", "id": "x", "willContinue": True}}),
            chunk(
                {
                    "functionCall": {
                        "partialArgs": [{"jsonPath": "$.a", "stringValue": "Pa", "willContinue": True}],
                        "willContinue": True,
                    }
                }
            ),
            chunk({"functionCall": {"partialArgs": [{"jsonPath": "$.a", "stringValue": "ris"}], "willContinue": True}}),
            chunk(
                {
                    "functionCall": {
                        "partialArgs": [
                            {"jsonPath": "$.b[1]['c d']", "numberValue": 2.0},
                            {"jsonPath": "$.b[0]", "nullValue": "NULL_VALUE"},
                            {"jsonPath": "$.e", "boolValue": True},
                        ],
                        "willContinue": True,
                    }
                }
            ),
            chunk({"functionCall": {}}),
            chunk({"text": "z"}, finish="STOP"),
        ],
        (ToolCall("x", "f", '{"a":"Paris","b":[null,{"c d":2}],"e":true}'), Text("z")),
        id="100-partial-arguments-are-assembled",
    ),
    pytest.param(
        [chunk({"text": "a"}, CODE, {"codeExecutionResult": {"outcome": "OUTCOME_OK"}}, {"text": "b"}, finish="STOP")],
        (
            Text("a"),
            Opaque("gemini", "executableCode", CODE),
            Opaque("gemini", "codeExecutionResult", {"codeExecutionResult": {"outcome": "OUTCOME_OK"}}),
            Text("b"),
        ),
        id="55-server-tools-are-opaque",
    ),
    pytest.param(
        [chunk({"brandNew": {"x": 1}, "thoughtSignature": "sig"}, finish="STOP")],
        (Opaque("gemini", "brandNew", {"brandNew": {"x": 1}, "thoughtSignature": "sig"}),),
        id="55-unknown-parts-are-opaque",
    ),
    pytest.param(
        [chunk({"inlineData": {"mimeType": "image/png", "data": "QQ=="}, "thoughtSignature": "sig"}, finish="STOP")],
        (Image(Source("image/png", "QQ=="), native=SIGNED),),
        id="55-pictures",
    ),
    pytest.param(
        [chunk({"inlineData": {"mimeType": "audio/wav", "data": "QQ=="}}, finish="STOP")],
        (Audio(Source("audio/wav", "QQ==")),),
        id="55-sounds",
    ),
]


@pytest.mark.parametrize(("chunks", "parts"), PARTS)
def test_parts(chunks: list[dict[str, Any]], parts: tuple[Part, ...]) -> None:
    assert choice_of(*chunks).parts == parts


FINISHES = [
    *(
        pytest.param(name, [{"text": "a"}], "content_filter", id=f"95-{name}")
        for name in [
            "SAFETY",
            "RECITATION",
            "LANGUAGE",
            "BLOCKLIST",
            "PROHIBITED_CONTENT",
            "SPII",
            "IMAGE_SAFETY",
            "IMAGE_PROHIBITED_CONTENT",
            "IMAGE_RECITATION",
            "IMAGE_OTHER",
            "MODEL_ARMOR",
            "ESCALATION",
        ]
    ),
    pytest.param("SAFETY", [], "content_filter", id="95-without-content"),
    pytest.param("STOP", [{"text": "a"}], "stop", id="stop"),
    pytest.param("STOP", [CALL], "tool_calls", id="93-a-call"),
    pytest.param("STOP", [CALL, {"text": "a"}], "tool_calls", id="93-a-call-before-text"),
    pytest.param("MAX_TOKENS", [], "length", id="89-nothing-but-thoughts-fitted"),
    pytest.param("MAX_TOKENS", [CALL], "length", id="49-a-cut-call"),
    pytest.param("CONTINUATION", [{"text": "a"}], "pause", id="97-continuation"),
    pytest.param("MALFORMED_RESPONSE", [{"text": "a"}], "stop", id="94-after-text-the-text-stands"),
    pytest.param("MALFORMED_FUNCTION_CALL", [CALL], "tool_calls", id="94-after-a-call-that-call-stands"),
    pytest.param("TOO_MANY_TOOL_CALLS", [CALL], "tool_calls", id="94-after-a-call-the-call-stands"),
    pytest.param("SOMETHING_NEW", [{"text": "a"}], "stop", id="unknown-reason"),
    pytest.param(1, [{"text": "a"}], "stop", id="52-number-stop"),
    pytest.param(2, [{"text": "a"}], "length", id="52-number-max-tokens"),
    pytest.param(3, [{"text": "a"}], "content_filter", id="52-number-safety"),
]


@pytest.mark.parametrize(("name", "parts", "reason"), FINISHES)
def test_finish_reasons(name: Any, parts: list[dict[str, Any]], reason: str) -> None:
    choice = choice_of(chunk(*parts, finish=name))

    assert choice.finish_reason == reason
    assert choice.native["gemini"]["finishReason"] == name
    assert parse_response(chunk(*parts, finish=name)).choices[0] == choice


@pytest.mark.parametrize(
    "name",
    [
        "MALFORMED_FUNCTION_CALL",
        "UNEXPECTED_TOOL_CALL",
        "MALFORMED_RESPONSE",
        "TOO_MANY_TOOL_CALLS",
        "MISSING_THOUGHT_SIGNATURE",
        "OTHER",
        9,
    ],
    ids=lambda name: f"94-{name}",
)
@pytest.mark.parametrize(
    "parts", [[], [{"text": ""}], [{"text": "t", "thought": True}]], ids=["none", "empty", "thought"]
)
def test_a_broken_finish_without_output_is_a_failure(name: Any, parts: list[dict[str, Any]]) -> None:
    body = chunk(*parts, finish=name, finishMessage="print(default_")
    whole = parse_response(body)

    assert both_ways(body).failure == whole.failure == error_in(body)
    assert whole.failure is not None
    assert (whole.failure.kind, whole.failure.status) == ("invalid_response", 502)
    assert "print(default_" in whole.failure.message


@pytest.mark.parametrize("name", ["MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL", "MISSING_THOUGHT_SIGNATURE"])
def test_94_a_text_is_no_answer_where_the_call_that_it_announces_is_lost(name: str) -> None:
    body = chunk({"text": "I will look it up."}, finish=name, finishMessage="print(default_")
    streamed = events_of(chunk({"text": "I will look it up."}), chunk(finish=name))

    assert both_ways(body).failure == parse_response(body).failure == error_in(body)
    assert isinstance(streamed[-1], Failure)
    assert name in streamed[-1].message
    assert not any(isinstance(event, Finish) for event in streamed)


def test_93_a_call_in_an_earlier_chunk_makes_the_finish_tool_calls() -> None:
    assert choice_of(chunk(CALL), chunk({"text": ""}, finish="STOP")).finish_reason == "tool_calls"


def test_53_the_last_of_several_finish_reasons_counts_and_finishes_once() -> None:
    events = events_of(chunk({"text": "a"}, finish="STOP"), chunk({"text": "b"}), chunk(finish="MAX_TOKENS"))

    assert [event.reason for event in events if isinstance(event, Finish)] == ["length"]
    assert collect(events).choices[0].parts == (Text("ab"),)


def test_75_calls_without_id_get_unique_ids_that_depend_on_the_answer() -> None:
    first = [part.id for part in choice_of(chunk(CALL, CALL), chunk(CALL, finish="STOP")).parts]
    other = choice_of({**chunk(CALL, finish="STOP"), "responseId": "r2"}).parts[0]

    assert len({*first, other.id}) == 4
    assert [part.id for part in choice_of(chunk(CALL, CALL), chunk(CALL, finish="STOP")).parts] == first


def test_75_an_answer_without_id_takes_the_one_that_is_made_for_it() -> None:
    body = chunk(CALL, finish="STOP")
    del body["responseId"]
    one, two = (parse_response(body, lambda made=made: made) for made in "ab")

    assert (one.id, two.id) == ("a", "b")
    assert one.choices[0].parts[0] != two.choices[0].parts[0]


@pytest.mark.parametrize(
    ("feedback", "refusal"),
    [
        ({"blockReason": "PROHIBITED_CONTENT"}, "Gemini blocked the prompt: PROHIBITED_CONTENT"),
        ({"blockReason": "SAFETY", "blockReasonMessage": "No."}, "No."),
    ],
    ids=["96-reason", "96-message"],
)
def test_a_blocked_prompt_is_one_choice_with_a_refusal(feedback: dict[str, Any], refusal: str) -> None:
    body = {"promptFeedback": feedback, "usageMetadata": {"promptTokenCount": 3}, "responseId": "r"}
    choice = choice_of(body)

    assert error_in(body) is None
    assert choice.parts == (Refusal(refusal),)
    assert choice.finish_reason == "content_filter"
    assert choice.native["gemini"]["promptFeedback"] == feedback
    assert parse_response(body).choices == (choice,)


def test_97_the_token_to_continue_with_is_kept() -> None:
    choice = choice_of(chunk({"text": "a"}, finish="CONTINUATION", continuationToken="tok"))

    assert choice.native["gemini"]["continuationToken"] == "tok"


@pytest.mark.parametrize(
    ("reports", "expected"),
    [
        pytest.param(
            [
                {
                    "promptTokenCount": 10,
                    "toolUsePromptTokenCount": 5,
                    "candidatesTokenCount": 3,
                    "thoughtsTokenCount": 7,
                }
            ],
            {"input_tokens": 15, "output_tokens": 10, "reasoning_tokens": 7, "cached_input_tokens": 0},
            id="98-sums",
        ),
        pytest.param(
            [{"promptTokenCount": 10, "cachedContentTokenCount": 8}],
            {"input_tokens": 10, "cached_input_tokens": 8, "output_tokens": 0},
            id="99-cached-is-inside-the-prompt",
        ),
        pytest.param(
            [{"promptTokenCount": 10, "candidatesTokenCount": 1}, {"candidatesTokenCount": 4}],
            {"input_tokens": 10, "output_tokens": 4},
            id="98-the-last-counts-and-may-leave-keys-out",
        ),
        pytest.param(
            [{"promptTokenCount": 4, "promptTokensDetails": [{"modality": "AUDIO", "tokenCount": 3}]}],
            {"audio_input_tokens": 3},
            id="98-audio",
        ),
    ],
)
def test_usage(reports: list[dict[str, Any]], expected: dict[str, int]) -> None:
    usage = both_ways(*(chunk({"text": "a"}, finish="STOP", usage=report) for report in reports)).usage

    assert usage is not None
    assert {name: getattr(usage, name) for name in expected} == expected
    assert usage.raw == {key: value for report in reports for key, value in report.items()}


def test_103_grounding_bytes_become_characters() -> None:
    text = "Größe 5€. Zweiter Satz."
    start, end = len("Größe 5€. ".encode()), len(text.encode())
    grounding = {
        "groundingChunks": [{"web": {"uri": "https://a.test", "title": "A"}}, {"web": {"uri": "https://b.test"}}],
        "groundingSupports": [
            {
                "segment": {"startIndex": start, "endIndex": end, "text": "Zweiter Satz."},
                "groundingChunkIndices": [0, 1],
            },
            {"segment": {"endIndex": 9}, "groundingChunkIndices": [1, 7]},
        ],
    }
    choice = choice_of(
        chunk({"text": text[:5]}, groundingMetadata={}),
        chunk({"text": text[5:]}, groundingMetadata=grounding),
        chunk({"text": "", "thoughtSignature": "s"}, finish="STOP", groundingMetadata=grounding),
    )
    part = choice.parts[0]
    assert isinstance(part, Text)
    cited = [annotation["url_citation"] for annotation in part.annotations]

    assert [(c["url"], c["title"], text[c["start_index"] : c["end_index"]]) for c in cited] == [
        ("https://a.test", "A", "Zweiter Satz."),
        ("https://b.test", "", "Zweiter Satz."),
        ("https://b.test", "", "Größe 5"),
    ]
    assert choice.native["gemini"]["groundingMetadata"] == grounding


def test_90_logprobs_stand_beside_their_text() -> None:
    result = {
        "chosenCandidates": [{"token": "é", "logProbability": -0.5}],
        "topCandidates": [
            {"candidates": [{"token": "é", "logProbability": -0.5}, {"token": "e", "logProbability": -2}]}
        ],
    }
    logprobs = choice_of(chunk({"text": "é"}, finish="STOP", logprobsResult=result)).logprobs

    assert logprobs is not None
    assert [(token.token, token.logprob, token.bytes) for token in logprobs] == [("é", -0.5, (0xC3, 0xA9))]
    assert [top.token for top in logprobs[0].top] == ["é", "e"]


def test_90_logprobs_beside_a_picture_alone_stand_at_an_empty_text() -> None:
    result = {"chosenCandidates": [{"token": "x", "logProbability": -0.5}]}
    picture = {"inlineData": {"mimeType": "image/png", "data": "AA=="}}

    choice = choice_of(chunk(picture, finish="STOP", logprobsResult=result))

    assert [type(part) for part in choice.parts] == [Image, Text]
    assert [(token.token, token.logprob) for token in choice.logprobs or ()] == [("x", -0.5)]


def test_90_candidates_are_choices() -> None:
    second = {**chunk({"text": "b"}, finish="STOP")["candidates"][0], "index": 1}
    body = chunk({"text": "a"}, finish="MAX_TOKENS")
    body["candidates"].append(second)

    assert [(c.index, c.parts, c.finish_reason) for c in both_ways(body).choices] == [
        (0, (Text("a"),), "length"),
        (1, (Text("b"),), "stop"),
    ]


def test_safety_ratings_url_context_and_citations_are_kept() -> None:
    kept = {
        "safetyRatings": [{"category": "X"}],
        "urlContextMetadata": {"urlMetadata": []},
        "citationMetadata": {"citationSources": [{"uri": "u"}]},
        "avgLogprobs": -0.1,
    }

    assert choice_of(chunk({"text": "a"}, finish="STOP", **kept)).native == {"gemini": {**kept, "finishReason": "STOP"}}


def test_45_a_last_chunk_without_candidates_brings_the_usage() -> None:
    response = both_ways(
        chunk({"text": "a"}),
        {"candidates": [{"content": {"role": "model"}, "finishReason": "STOP"}]},
        {"candidates": [{"finishReason": "STOP"}]},
        {"usageMetadata": {"promptTokenCount": 2, "candidatesTokenCount": 1}},
    )

    assert response.choices[0].parts == (Text("a"),)
    assert response.usage is not None
    assert response.usage.output_tokens == 1


def test_start_tells_id_model_and_time() -> None:
    body = {**chunk({"text": "a"}, finish="STOP"), "createTime": "2025-12-19T23:45:00.5Z"}

    start = events_of(body)[0]
    assert isinstance(start, Start)
    assert (start.id, start.model, start.created) == ("r1", "gemini-x", 1766187900)


BROKEN_STREAMS = [
    pytest.param(b"", "ended before it began", id="56-an-empty-stream"),
    pytest.param(b": comment\r\n\r\n", "ended before it began", id="56-comments-alone"),
    pytest.param(b'data: {"candidates":[{"content":{"parts":[{"text":"a"}]}}]}\r\n\r\n', "cut", id="no-finish-reason"),
    pytest.param(b'data: {"candidates":[{"content":{"parts":[{"te', "not valid JSON", id="cut-inside-an-event"),
    pytest.param(b'[{"candidates":[{"content":{"par', "cut", id="44-cut-inside-an-array"),
    pytest.param(b"<html>502</html>", "ended before it began", id="html"),
    pytest.param(b'data: "text"\r\n\r\n', "expected a JSON object", id="not-an-object"),
    pytest.param(b'data: {"usageMetadata":{"promptTokenCount":1}}\r\n\r\n', "ended before it began", id="usage-alone"),
]


@pytest.mark.parametrize(("sent", "message"), BROKEN_STREAMS)
@pytest.mark.parametrize("step", [1, 1000])
def test_a_stream_that_is_none_ends_in_one_failure(sent: bytes, message: str, step: int) -> None:
    parser = StreamParser(new_id=lambda: "made-up")
    events = [event for at in range(0, len(sent), step) for event in parser.feed(sent[at : at + step])]
    events.extend(parser.close())

    assert isinstance(events[0], Start)
    assert [event for event in events if isinstance(event, Failure)] == [events[-1]]
    assert isinstance(events[-1], Failure)
    assert events[-1].kind == "invalid_response"
    assert message in events[-1].message


ERROR = {"error": {"code": 503, "message": "The model is overloaded.", "status": "UNAVAILABLE"}}


@pytest.mark.parametrize("form", ["sse", "array", "bare"])
@pytest.mark.parametrize("before", [[], [chunk({"text": "a"})]], ids=["at-once", "after-text"])
def test_60_an_error_in_a_stream_is_its_last_event(form: str, before: list[Any]) -> None:
    if form == "bare" and before:
        return
    parser = StreamParser(new_id=lambda: "x")
    sent = (
        json.dumps(ERROR).encode()
        if form == "bare"
        else json.dumps([*before, ERROR]).encode()
        if form == "array"
        else b"".join(b"data: " + json.dumps(c).encode() + b"\r\n\r\n" for c in [*before, ERROR])
    )
    events = [*parser.feed(sent), *parser.feed(b"data: {}\r\n\r\n"), *parser.close()]
    failure = events[-1]

    assert isinstance(failure, Failure)
    assert (failure.kind, failure.status, failure.code) == ("overloaded", 503, "UNAVAILABLE")
    assert sum(isinstance(event, Failure) for event in events) == 1


def test_a_whole_answer_needs_a_finish_reason_only_when_it_is_empty() -> None:
    said = parse_response(chunk({"text": "a"}))
    empty = parse_response({"candidates": [{}]})

    assert (said.choices[0].finish_reason, said.failure) == ("stop", None)
    assert empty.failure is not None
    assert empty.failure.kind == "invalid_response"


@pytest.mark.parametrize("body", [{}, {"candidates": []}, ERROR, {"name": "cachedContents/x"}])
def test_what_is_no_answer_is_refused(body: dict[str, Any]) -> None:
    with pytest.raises(BadAnswer):
        parse_response(body)


JSON_VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-5, 99), st.text(max_size=4), st.sampled_from(["STOP", "OTHER"])),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(
                [
                    "candidates",
                    "content",
                    "parts",
                    "text",
                    "thought",
                    "functionCall",
                    "name",
                    "args",
                    "id",
                    "index",
                    "finishReason",
                    "inlineData",
                    "groundingMetadata",
                    "groundingSupports",
                    "groundingChunks",
                    "segment",
                    "promptFeedback",
                    "blockReason",
                    "usageMetadata",
                    "promptTokensDetails",
                    "logprobsResult",
                    "chosenCandidates",
                    "topCandidates",
                    "partialArgs",
                    "jsonPath",
                    "error",
                    "details",
                ]
            ),
            inner,
            max_size=4,
        ),
    ),
    max_leaves=25,
)


@given(st.lists(JSON_VALUES, max_size=3), st.lists(st.integers(0, 400), max_size=4))
def test_no_answer_makes_the_parser_raise_and_no_cut_changes_it(values: list[Any], cuts: list[int]) -> None:
    wrapped = [{"candidates": [{"content": {"parts": [value]}}]} if n % 2 else value for n, value in enumerate(values)]
    sent = b"".join(b"data: " + json.dumps(value).encode() + b"\r\n\r\n" for value in [*values, *wrapped])
    whole, cut = (StreamParser(new_id=lambda: "x") for _ in range(2))
    bounds = [0, *sorted(min(at, len(sent)) for at in cuts), len(sent)]
    events = [*whole.feed(sent), *whole.close()]
    pieces = [event for start, end in pairwise(bounds) for event in cut.feed(sent[start:end])]

    assert [*pieces, *cut.close()] == events
    assert isinstance(events[-1], Failure) or any(isinstance(event, Finish) for event in events)


def test_counts_that_cannot_be_any_are_no_usage() -> None:
    good, wrong = {"promptTokenCount": 3, "candidatesTokenCount": 1}, {"candidatesTokenCount": -1}

    assert both_ways(chunk({"text": "a"}, usage=good), chunk({"text": "b"}, finish="STOP", usage=wrong)).usage is None


def test_blanks_before_a_stream_are_not_kept() -> None:
    parser = StreamParser()
    began = process_time()

    for _ in range(4096):
        assert parser.feed(b" \n" * 512) == []

    assert process_time() - began < 1
    assert isinstance(
        parser.feed(b"data: " + json.dumps(chunk({"text": "a"}, finish="STOP")).encode() + b"\n\n")[0], Start
    )
