"""A Gemini client in front of Gemini: bytes pass, but for what must change."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from translators.codec import dumps
from translators.dialect import RelayedRequest, ReplyTo, Rules
from translators.errors import BadAnswer
from translators.gemini import StreamParser
from translators.gemini.client import ArrayRelay, StreamRelay, parse_request, relay_request, relay_response
from translators.gemini.contents import SKIP_SIGNATURE
from translators.neutral import Event, Failure, Request, Usage
from translators.sealed import seal

SHARED = Path(os.environ.get("MODELPORT_SHARED") or Path(__file__).resolve().parents[4] / "shared")
RULES = Rules(dialect="gemini", thinking="budget")
LEVEL = Rules(dialect="gemini", thinking="level")
TO = ReplyTo(Request("gemini", "gemini-x", ()), {}, "id-1", 0)
RECEIPT = b'{"cost_usd":"0.01"}'
HI = '{"contents" : [{"parts":[{"text":"hi"}]}]'


# --- requests --------------------------------------------------------------------------------------


def relayed(raw: str, rules: Rules = RULES) -> RelayedRequest:
    body = json.loads(raw)
    return relay_request(raw.encode(), body, parse_request(body, "gemini-x", stream=False), rules, "gemini-x")


@pytest.mark.parametrize(
    "raw",
    [
        HI + "}",
        HI + ' , "later":{"z":1, "a" : 2},"generation_config":{"top_k":1 ,"speechConfig":{}}}',
        HI + ',"contents ":[1.0, 1e3, "\\u00e9"]}',
    ],
)
def test_bytes_pass_as_they_came(raw: str) -> None:
    assert relayed(raw) == RelayedRequest(raw.encode())


@pytest.mark.parametrize(
    ("system", "opening"),
    [
        ('{"role":"system","parts":[{"text":"Be brief."}]}', [{"text": "Be brief."}]),
        ('{"parts":{"text":"Be brief."}}', [{"text": "Be brief."}]),
        ('"Be brief."', [{"text": "Be brief."}]),
        ('{"parts":[]}', None),
    ],
)
@pytest.mark.parametrize("name", ["systemInstruction", "system_instruction"])
def test_instructions_open_the_first_turn_of_a_model_that_takes_none(name: str, system: str, opening: Any) -> None:
    raw = f'{HI},"{name}":{system}, "later":1}}'
    found = relayed(raw, Rules(dialect="gemini", system_instruction=False))

    if opening is None:
        assert found == RelayedRequest(raw.encode())
        return
    assert json.loads(found.body) == {"contents": [{"parts": [*opening, {"text": "hi"}]}], "later": 1}
    assert [(loss.field, loss.action) for loss in found.losses] == [("systemInstruction", "emulated")]


def test_instructions_before_the_models_first_turn_are_a_turn_of_their_own() -> None:
    raw = '{"systemInstruction":"Be brief.","contents":[{"role":"model","parts":[{"text":"Yes?"}]}]}'
    found = json.loads(relayed(raw, Rules(dialect="gemini", system_instruction=False)).body)

    assert [content["role"] for content in found["contents"]] == ["user", "model"]


def test_the_proxys_own_fields_stay_here() -> None:
    assert relayed(HI + ', "modelport":{"route":"a"},"models":["b"] , "store": true}').body == (
        b'{"contents" : [{"parts":[{"text":"hi"}]}] , "store": true}'
    )


@pytest.mark.parametrize(
    ("fields", "rules", "expected", "lost"),
    [
        (
            {"generationConfig": {"topK": 1, "temperature": 0.5}},
            Rules(refuses=frozenset({"top_k"})),
            {"generationConfig": {"temperature": 0.5}},
            ["generationConfig.topK"],
        ),
        (
            {"generation_config": {"max_output_tokens": 99, "stop_sequences": ["a"]}},
            Rules(max_output_tokens=9),
            {"generation_config": {"max_output_tokens": 9, "stop_sequences": ["a"]}},
            ["generationConfig.maxOutputTokens"],
        ),
        (
            {"generationConfig": {"stopSequences": list("abcdefg")}},
            Rules(),
            {"generationConfig": {"stopSequences": list("abcde")}},
            ["generationConfig.stopSequences"],
        ),
        (
            {"generationConfig": {"responseMimeType": "application/json", "responseSchema": {}, "seed": 1}},
            Rules(refuses=frozenset({"output"})),
            {"generationConfig": {"seed": 1}},
            ["generationConfig.responseSchema"],
        ),
        (
            {"tools": [{"googleSearch": {}}], "toolConfig": {"retrievalConfig": {}}},
            Rules(refuses=frozenset({"tools"})),
            {},
            ["tools"],
        ),
        ({"safetySettings": [1]}, Rules(refuses=frozenset({"safetySettings"})), {}, ["safetySettings"]),
        (
            {"generation_config": {"speech_config": {}, "seed": 1}},
            Rules(refuses=frozenset({"speechConfig"})),
            {"generation_config": {"seed": 1}},
            ["generationConfig.speechConfig"],
        ),
        ({"store": True}, Rules(rename={"store": "keep"}, extra_body={"more": 1}), {"keep": True, "more": 1}, []),
    ],
)
def test_what_the_target_refuses(
    fields: dict[str, Any], rules: Rules, expected: dict[str, Any], lost: list[str]
) -> None:
    contents = [{"parts": [{"text": "hi"}]}]
    found = relayed(json.dumps({"contents": contents, **fields}), rules)

    assert json.loads(found.body) == {"contents": contents, **expected}
    assert [loss.field for loss in found.losses] == lost


def call(**more: Any) -> dict[str, Any]:
    return {"functionCall": {"name": "f", "args": {}}, **more}


@pytest.mark.parametrize(
    ("parts", "expected", "lost"),
    [
        ([call(thoughtSignature="s")], None, []),
        pytest.param([call()], [call(thoughtSignature=SKIP_SIGNATURE)], ["contents"], id="77-lost-signature"),
        ([call(thoughtSignature="s"), call()], None, []),
        (
            [call(thoughtSignature=seal({"openai_responses": {"id": "fc_1"}}))],
            [call(thoughtSignature=SKIP_SIGNATURE)],
            ["contents[0].parts[0].thoughtSignature", "contents"],
        ),
        pytest.param(
            [
                {"text": "hm", "thought": True, "thought_signature": seal({"anthropic": {"signature": "s"}})},
                {"text": "", "thought": True, "thoughtSignature": seal({"anthropic": {"opaque": {}}})},
                {"text": "hello", "thoughtSignature": seal({"openai_responses": {"id": "msg_1"}})},
            ],
            [{"text": "hello"}],
            ["contents[0].parts[0]", "contents[0].parts[1]", "contents[0].parts[2].thoughtSignature"],
            id="138-another-vendors-reasoning",
        ),
    ],
)
def test_what_only_the_proxy_can_read(parts: list[Any], expected: list[Any] | None, lost: list[str]) -> None:
    raw = json.dumps({"contents": [{"role": "model", "parts": parts}]})
    found = relayed(raw, LEVEL)

    if expected is None:
        assert found.body == raw.encode()
    else:
        assert json.loads(found.body)["contents"] == [{"role": "model", "parts": expected}]
    assert [loss.field for loss in found.losses] == lost


# --- whole answers -----------------------------------------------------------------------------------


def test_a_whole_answer_passes() -> None:
    raw = b'{"candidates":[ {"content":{"parts":[{"text":"a"}]},"finishReason":"STOP"}],"later":1}'
    body, response = relay_response(raw, RULES, TO)

    assert body is raw
    assert response.id == "id-1"
    assert response.choices[0].finish_reason == "stop"


@pytest.mark.parametrize("raw", [b"", b"<html>", b"3", b"{}", b"[]"])
def test_what_is_no_answer(raw: bytes) -> None:
    with pytest.raises(BadAnswer):
        relay_response(raw, RULES, TO)


# --- streams ---------------------------------------------------------------------------------------


def chunk(*texts: str, **candidate: Any) -> bytes:
    parts = [{"text": text} for text in texts]
    return b"data: " + dumps({"candidates": [{"content": {"parts": parts}, **candidate}], "responseId": "r"})


FIRST, LAST = chunk("Hel"), chunk("lo", finishReason="STOP")


def run(pieces: list[bytes], relay: StreamRelay | None = None) -> tuple[bytes, list[Event], StreamRelay]:
    relay = relay or StreamRelay(RULES, TO)
    frames = b""
    events: list[Event] = []
    for piece in pieces:
        step = relay.feed(piece)
        frames += step.frames
        events += step.events
    step = relay.end()
    return frames + step.frames, [*events, *step.events], relay


@pytest.mark.parametrize("end", [b"\n\n", b"\r\n\r\n", b"\r\r"])
def test_the_last_frame_waits_and_gets_the_receipt(end: bytes) -> None:
    frames, events, relay = run([FIRST + end + LAST + end])

    assert frames == FIRST + end
    assert not any(isinstance(event, Failure) for event in events)
    assert relay.close(RECEIPT) == LAST[:-1] + b',"modelport":{"cost_usd":"0.01"}}\n\n'


def test_without_a_receipt_every_byte_is_as_it_came() -> None:
    stream = b": hello\n\n" + FIRST + b"\n\n" + LAST + b"\n\n"
    frames, _, relay = run([stream])

    assert frames + relay.close() == stream


def test_text_is_not_held_back() -> None:
    assert StreamRelay(RULES, TO).feed(FIRST + b"\n\n").frames == FIRST + b"\n\n"


def test_a_finish_reason_on_several_chunks_is_no_end() -> None:
    stream = LAST + b"\n\n" + LAST + b"\n\n"
    frames, _, relay = run([stream])

    assert frames == LAST + b"\n\n"
    assert relay.close() == LAST + b"\n\n"


def test_usage_of_the_proxy_fills_in_for_none() -> None:
    _, _, relay = run([LAST + b"\n\n"])
    closed = json.loads(relay.close(None, Usage(1, 2))[6:])

    assert closed["usageMetadata"] == {"promptTokenCount": 1, "candidatesTokenCount": 2, "totalTokenCount": 3}


def test_usage_of_the_server_counts() -> None:
    told = LAST[:-1] + b',"usageMetadata":{"promptTokenCount":9}}\n\n'
    _, _, relay = run([told])

    assert relay.close(None, Usage(1, 2)) == told


@pytest.mark.parametrize(
    ("stream", "kind"),
    [
        (FIRST + b'\n\ndata: {"error":{"code":503,"message":"m","status":"UNAVAILABLE"}}\n\n', "overloaded"),
        (FIRST + b"\n\n", "invalid_response"),
        (FIRST + b"\n\ndata: {broken\n\n", "invalid_response"),
        (chunk(finishReason="MALFORMED_FUNCTION_CALL") + b"\n\n", "invalid_response"),
        (b"", "invalid_response"),
    ],
)
def test_a_failure_has_no_frame_of_the_servers(stream: bytes, kind: str) -> None:
    frames, events, relay = run([stream])
    failures = [event for event in events if isinstance(event, Failure)]

    assert frames in (b"", FIRST + b"\n\n")
    assert [failure.kind for failure in failures] == [kind]
    assert events[-1] is failures[0]
    assert relay.fail(Failure("overloaded", "m", 503)) == (
        b'data: {"error":{"code":503,"message":"m","status":"UNAVAILABLE"}}\n\n'
    )
    assert run([b"more"], relay)[:2] == (b"", [])


def test_an_array_of_the_server_becomes_frames() -> None:
    frames, _, relay = run([b"[" + FIRST[6:] + b",\r\n" + LAST[6:-1] + b'\n, "a": 1}\n]'])

    assert frames == FIRST + b"\n\n"
    assert json.loads(relay.close()[6:])["a"] == 1


@pytest.mark.parametrize("array", [False, True])
def test_an_array_for_a_client_that_wants_one(array: bool) -> None:
    sent = b"[" + FIRST[6:] + b",\r\n" + LAST[6:] + b"]" if array else FIRST + b"\n\n" + LAST + b"\n\n"
    relay = ArrayRelay(RULES, TO)
    frames, _, _ = run([sent[:50], sent[50:]], relay)
    found = json.loads(frames + relay.close(RECEIPT))

    assert found == [json.loads(FIRST[6:]), {**json.loads(LAST[6:]), "modelport": {"cost_usd": "0.01"}}]


def test_a_failure_ends_the_array() -> None:
    relay = ArrayRelay(RULES, TO)
    frames, _, _ = run([FIRST + b"\n\n"], relay)

    assert json.loads(frames + relay.fail(Failure("server", "m", 500)))[1]["error"]["code"] == 500


# --- recordings, cut anywhere ------------------------------------------------------------------------


@cache
def _streams() -> tuple[tuple[str, bytes], ...]:
    paths = sorted((SHARED / "recordings" / "gemini").glob("*-stream-generate-content-sse-*.json"))
    found = ((path.stem, json.loads(path.read_text())["response"].get("sse")) for path in paths)
    return tuple((name, stream.encode()) for name, stream in found if stream and len(stream) < 200_000)


def _recorded() -> list[Any]:
    found = [pytest.param(stream, id=name) for name, stream in _streams()]
    return found or [pytest.param(None, marks=pytest.mark.skip("no recordings here"))]


def _cut(stream: bytes, size: int) -> Iterator[bytes]:
    return (stream[at : at + size] for at in range(0, len(stream), size))


@pytest.mark.parametrize("stream", _recorded())
def test_a_recorded_stream_passes_as_it_came(stream: bytes) -> None:
    """At every cut the same bytes and the same events, which are those of the parser."""
    parser = StreamParser(new_id=lambda: "id-1")
    wanted = [*parser.feed(stream), *parser.close()]
    failed = any(isinstance(event, Failure) for event in wanted)
    for size in (len(stream), 997, 61):
        frames, events, relay = run(list(_cut(stream, size)))

        assert events == wanted
        if failed:
            assert stream.startswith(frames)
        else:
            assert frames + relay.close() == stream


@given(st.lists(st.integers(0, 600), max_size=8))
def test_the_cut_makes_no_difference(cuts: list[int]) -> None:
    stream = b": x\r\n\r\n" + FIRST + b"\r\n\r\n" + chunk("\u2028é", "\n") + b"\n\n" + LAST + b"\n\n"
    edges = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    pieces = [stream[start:end] for start, end in pairwise(edges)]
    frames, events, relay = run(pieces)
    whole, wanted, _ = run([stream])

    assert frames == whole
    assert events == wanted
    assert frames + relay.close() == stream
