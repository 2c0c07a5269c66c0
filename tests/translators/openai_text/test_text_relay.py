"""The verbatim way of completions: what changes and what does not, and every recorded exchange."""

import json
import os
from pathlib import Path
from typing import Any

import orjson
import pytest
from openai.types import Completion

from translators.assemble import collect
from translators.dialect import ReplyTo, Rules
from translators.errors import BadAnswer, BadRequest
from translators.neutral import Failure, Text, Usage
from translators.openai_text import StreamParser, parse_error
from translators.openai_text.client import StreamRelay, parse_request, relay_request, relay_response, render_error

RULES = Rules()
CONFORMANT = Rules(conformant=True)


def reply_to(body: dict[str, Any] | None = None) -> ReplyTo:
    body = {"model": "m", "prompt": "Say", **(body or {})}
    return ReplyTo(parse_request(body), body, id="abc", created=1700000000)


def relayed(raw: bytes, rules: Rules = RULES, model: str = "target") -> tuple[bytes, dict[str, str]]:
    body = orjson.loads(raw)
    result = relay_request(raw, body, parse_request(body), rules, model)
    return result.body, {loss.field: loss.action for loss in result.losses}


# --- requests ------------------------------------------------------------------------------------


def test_only_the_model_changes() -> None:
    raw = b'{"prompt" : ["a", "\\u00fc"],"model":"p/m","fresh": {"x": [1.50]},"echo":true,"suffix":null}'

    assert relayed(raw) == (raw.replace(b"p/m", b"target"), {})


def test_nothing_changes_where_the_model_is_already_right() -> None:
    raw = b'{ "prompt" : [[1, 2]] , "model" : "target" }'

    assert relayed(raw)[0] is raw


@pytest.mark.parametrize(
    ("options", "rules", "sent"),
    [
        (None, RULES, {"include_usage": True}),
        ({"include_usage": False, "x": 1}, RULES, {"include_usage": True, "x": 1}),
        ({"include_usage": True}, RULES, {"include_usage": True}),
        ({"include_usage": True}, Rules(stream_options=False), None),
    ],
)
def test_usage_is_always_asked_for_in_streams(options: Any, rules: Rules, sent: Any) -> None:
    fields = {} if options is None else {"stream_options": options}

    body, losses = relayed(orjson.dumps({"model": "m", "prompt": "a", "stream": True, **fields}), rules)

    assert orjson.loads(body).get("stream_options") == sent
    assert losses == {}


def test_what_the_target_refuses_renames_or_bounds() -> None:
    raw = orjson.dumps(
        {"model": "m", "prompt": "a", "temperature": 1.5, "seed": 3, "max_tokens": 99, "best_of": 2, "modelport": {}}
    )
    rules = Rules(
        temperature_max=1.0,
        max_output_tokens=50,
        rename={"seed": "random_seed"},
        refuses=frozenset({"best_of", "user"}),
        extra_body={"extra": 1},
    )

    body, losses = relayed(raw, rules)

    assert orjson.loads(body) == {
        "model": "target",
        "prompt": "a",
        "temperature": 1.0,
        "random_seed": 3,
        "max_tokens": 50,
        "extra": 1,
    }
    assert losses.pop("best_of") == "dropped"
    assert set(losses.values()) == {"clamped"}
    assert len(losses) == 2


def test_a_refused_sampling_field_is_dropped_once() -> None:
    raw = b'{"model":"m","prompt":"a","temperature":1.5,"seed":3}'
    body = orjson.loads(raw)

    result = relay_request(raw, body, parse_request(body), Rules(refuses=frozenset({"temperature", "seed"})), "target")

    assert orjson.loads(result.body) == {"model": "target", "prompt": "a"}
    assert sorted(loss.field for loss in result.losses) == ["seed", "temperature"]


# --- whole answers -------------------------------------------------------------------------------


def test_a_sound_answer_passes_byte_for_byte() -> None:
    raw = (
        b'{ "id":"c", "object":"text_completion","created":1,"model":"m","choices":[{"text":"x","index":0,'
        b'"logprobs":null,"finish_reason":"stop"}],"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}}'
    )

    sent, response = relay_response(raw, RULES, reply_to())

    assert sent is raw
    assert response.choices[0].parts == (Text("x"),)
    assert response.usage is not None


def test_an_unsound_answer_is_mended_by_adding() -> None:
    usage = {"prompt_tokens": 1, "completion_tokens": 2}
    choice = {"text": "x", "finish_reason": "eos"}
    raw = orjson.dumps({"object": "text.completion", "choices": [choice], "usage": usage, "new": 1})

    sent, _ = relay_response(raw, RULES, reply_to())

    body = orjson.loads(sent)
    Completion.model_validate(body, strict=True)
    assert body["id"] == "cmpl-abc"
    assert body["choices"] == [{"text": "x", "finish_reason": "stop", "index": 0}]
    assert (body["usage"]["total_tokens"], body["new"]) == (3, 1)
    assert relay_response(raw, CONFORMANT, reply_to())[0] is raw


@pytest.mark.parametrize("raw", [b"<html>", b"[]", b"{}", b'{"choices":[]}'])
def test_an_answer_that_is_none_is_bad(raw: bytes) -> None:
    with pytest.raises(BadAnswer):
        relay_response(raw, RULES, reply_to())


# --- streams -------------------------------------------------------------------------------------

HEAD = b'"id":"c","object":"text_completion","created":1,"model":"m"'
CHUNK = b'data: {%b,"choices":[{"text":"x","index":0,"logprobs":null,"finish_reason":null}]}\n\n' % HEAD
LAST = b'data: {%b,"choices":[{"text":"","index":0,"logprobs":null,"finish_reason":"stop"}]}\n\n' % HEAD
TOKENS = b'data: {%b,"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}}\n\n' % HEAD
DONE = b"data: [DONE]\n\n"
ASKED = {"stream": True, "stream_options": {"include_usage": True}}


def passed(
    raw: bytes, rules: Rules = RULES, body: dict[str, Any] | None = None, size: int = 0
) -> tuple[bytes, list[Any]]:
    relay = StreamRelay(rules, reply_to(body))
    frames, events = b"", []
    for at in range(0, len(raw), size or len(raw)):
        step = relay.feed(raw[at : at + (size or len(raw))])
        frames += step.frames
        events.extend(step.events)
    step = relay.end()
    events.extend(step.events)
    failed = any(isinstance(event, Failure) for event in events)
    return frames + step.frames + (b"" if failed else relay.close(b'{"x":1}')), events


@pytest.mark.parametrize("rules", [RULES, CONFORMANT])
def test_a_sound_stream_passes_byte_for_byte_but_for_the_usage_that_nobody_asked_for(rules: Rules) -> None:
    raw = b": ping\n\n" + CHUNK + LAST + TOKENS + DONE

    frames, events = passed(raw, rules)

    assert frames == b": ping\n\n" + CHUNK + LAST + b': modelport {"x":1}\n\n' + DONE
    assert passed(raw, rules, ASKED)[0] == b": ping\n\n" + CHUNK + LAST + TOKENS + b': modelport {"x":1}\n\n' + DONE
    usage = collect(events).usage
    assert usage is not None
    assert usage.output_tokens == 1


def test_done_is_withheld_until_close() -> None:
    relay = StreamRelay(RULES, reply_to())

    assert relay.feed(CHUNK + LAST + DONE).frames == CHUNK + LAST
    assert relay.close() == DONE


def test_a_forgotten_finish_and_asked_usage_are_added() -> None:
    relay = StreamRelay(RULES, reply_to(ASKED))
    frames = relay.feed(CHUNK + DONE).frames

    frames += relay.close(None, Usage(input_tokens=3, output_tokens=4))

    assert b'"finish_reason":"stop"' in frames
    assert b'"total_tokens":7' in frames
    assert frames.endswith(DONE)


def test_a_cut_stream_and_an_error_are_failures_without_a_frame() -> None:
    for raw in (CHUNK, CHUNK + b'data: {"error":{"message":"m"}}\n\n', CHUNK + b"data: {\n\n"):
        frames, events = passed(raw)

        assert frames == CHUNK
        assert isinstance(events[-1], Failure)


def test_the_one_error_frame_is_in_this_dialects_words() -> None:
    frame = StreamRelay(RULES, reply_to()).fail(Failure("server", "broken", 500))

    assert orjson.loads(frame.removeprefix(b"data: "))["error"]["message"] == "broken"


def test_chat_chunks_from_a_completions_endpoint_become_texts() -> None:
    choice = {"index": 0, "delta": {"content": "x"}, "finish_reason": "model_length"}
    sent = {"id": "c", "created": 1, "model": "m", "object": "chat.completion.chunk", "choices": [choice]}
    raw = b"data: " + orjson.dumps(sent) + b"\n\n"

    (line,) = [line for line in passed(raw + DONE)[0].split(b"\n") if b"choices" in line]

    chunk = orjson.loads(line.removeprefix(b"data: "))
    Completion.model_validate(chunk, strict=True)
    assert (chunk["choices"][0]["text"], chunk["choices"][0]["finish_reason"]) == ("x", "length")


# --- recordings ----------------------------------------------------------------------------------

ROOT = Path(os.environ.get("MODELPORT_SHARED") or Path(__file__).resolve().parents[4] / "shared") / "recordings"


def recordings() -> list[dict[str, Any]]:
    if not (ROOT / "index.jsonl").exists():
        return []
    rows = [json.loads(line) for line in (ROOT / "index.jsonl").read_text().splitlines()]
    return [
        json.loads((ROOT / row["provider"] / f"{row['id']}.json").read_bytes())
        for row in rows
        if row["api"] in ("completions", "fim_completions")
    ]


ALL = recordings()
recorded = pytest.mark.skipif(not ALL, reason="no recordings beside the checkout")
FOREIGN = {"writer-completions-sse-openllmetry-60be40": "Writer's chunks are `{value}`, without choices"}
STREAMS = [pytest.param(r, id=r["id"]) for r in ALL if "sse" in r["response"] and r["id"] not in FOREIGN]
ANSWERS = [pytest.param(r, id=r["id"]) for r in ALL if r["response"]["status"] == 200 and "body" in r["response"]]
ERRORS = [pytest.param(r, id=r["id"]) for r in ALL if r["response"]["status"] >= 400]
REQUESTS = [pytest.param(r, id=r["id"]) for r in ALL if "prompt" in r["request"]["body"]]


def said(raw: str) -> tuple[str, str]:
    """What the recorded chunks say, read as plainly as can be."""
    text, word = "", ""
    for line in raw.splitlines():
        if not line.startswith("data: {"):
            continue
        for choice in json.loads(line[6:]).get("choices", ()):
            text += choice.get("text") or (choice.get("delta") or {}).get("content") or ""
            word = choice.get("finish_reason") or word
    return text, word


@recorded
@pytest.mark.parametrize("recording", STREAMS)
def test_a_recorded_stream_reads_the_same_at_every_cut(recording: dict[str, Any]) -> None:
    raw = recording["response"]["sse"].encode()
    text, word = said(recording["response"]["sse"])

    for size in (0, 1, 7):
        parser = StreamParser()
        pieces = [raw[at : at + size] for at in range(0, len(raw), size)] if size else [raw]
        events = [event for piece in pieces for event in parser.feed(piece)] + parser.close()
        response = collect(events)
        assert [p.text for p in response.choices[0].parts if isinstance(p, Text)] == [text]
        assert response.choices[0].finish_reason == word
        assert response.failure is None


@recorded
@pytest.mark.parametrize("recording", STREAMS)
def test_a_recorded_stream_is_relayed_so_that_the_sdk_can_read_it(recording: dict[str, Any]) -> None:
    raw = recording["response"]["sse"].encode()

    whole = passed(raw, RULES, ASKED)[0]

    assert passed(raw, RULES, ASKED, size=5)[0] == whole
    text = ""
    for line in whole.split(b"\n"):
        if not line.startswith(b"data: {"):
            continue
        chunk = orjson.loads(line[6:])
        text += "".join(choice["text"] for choice in chunk["choices"])
        for choice in chunk["choices"]:
            # The type knows no null, which every server sends before the end.
            choice["finish_reason"] = choice["finish_reason"] or "stop"
        Completion.model_validate(chunk)
    assert text == said(recording["response"]["sse"])[0]
    assert whole.endswith(DONE)


@recorded
@pytest.mark.parametrize("recording", [p for p in STREAMS if p.values[0]["provider"] == "openai"])
def test_openais_own_streams_pass_byte_for_byte(recording: dict[str, Any]) -> None:
    raw = recording["response"]["sse"].encode()

    assert passed(raw, CONFORMANT)[0] == raw.removesuffix(DONE) + b': modelport {"x":1}\n\n' + DONE
    assert passed(raw, RULES)[0] == passed(raw, CONFORMANT)[0]


@recorded
@pytest.mark.parametrize("recording", ANSWERS)
def test_a_recorded_answer_is_relayed_so_that_the_sdk_can_read_it(recording: dict[str, Any]) -> None:
    body = recording["response"]["body"]

    sent, response = relay_response(orjson.dumps(body), RULES, reply_to())

    Completion.model_validate(orjson.loads(sent), strict=True)
    assert response.choices[0].parts == (Text(body["choices"][0]["text"]),)
    assert response.usage is not None
    assert response.usage.output_tokens == body["usage"]["completion_tokens"]


@recorded
@pytest.mark.parametrize("recording", ERRORS)
def test_a_recorded_error_keeps_its_status_and_words(recording: dict[str, Any]) -> None:
    response = recording["response"]

    failure = parse_error(response["status"], orjson.dumps(response["body"]), {})

    status, body = render_error(failure, "req")
    assert status == response["status"]
    assert body["error"]["message"] == response["body"]["error"]["message"]


@recorded
@pytest.mark.parametrize("recording", REQUESTS)
def test_a_recorded_request_is_relayed_as_it_came(recording: dict[str, Any]) -> None:
    body = recording["request"]["body"]
    if body["prompt"] == [12345, 123456]:
        with pytest.raises(BadRequest):
            parse_request(body)
        return

    sent, losses = relayed(orjson.dumps(body))

    extra = {"stream_options": {"include_usage": True}} if body.get("stream") else {}
    assert orjson.loads(sent) == {**body, "model": "target", **extra}
    assert losses == {}
