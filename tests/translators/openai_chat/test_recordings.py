"""Every recorded chat completion exchange, of every provider: read, written again, relayed.

The recordings are not part of the repository; without them these tests are skipped.
"""

import json
import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import orjson
import pytest
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from translators.assemble import collect, replay
from translators.dialect import Rules
from translators.neutral import Failure, Finish, Refusal, Response, Text, Thinking, ToolCall
from translators.openai_chat import (
    StreamParser,
    StreamRelay,
    StreamRenderer,
    error_in,
    parse_error,
    parse_request,
    parse_response,
    relay_request,
    relay_response,
    render_error,
    render_response,
)

ROOT = Path(os.environ.get("MODELPORT_SHARED") or Path(__file__).resolve().parents[4] / "shared") / "recordings"
FALLBACK: dict[str, Any] = {"fallback_id": "chatcmpl-f", "fallback_model": "fallback", "created": 1700000000}
UNREADABLE = {"openai-chat-completions-sse-braintrust-aa57ee": "its body was not recorded"}


def recordings() -> list[dict[str, Any]]:
    if not (ROOT / "index.jsonl").exists():
        return []
    rows = [json.loads(line) for line in (ROOT / "index.jsonl").read_text().splitlines()]
    return [
        json.loads((ROOT / row["provider"] / f"{row['id']}.json").read_bytes())
        for row in rows
        if row["api"] == "chat_completions"
    ]


ALL = recordings()
pytestmark = pytest.mark.skipif(not ALL, reason="no recordings beside the checkout")


def table(keep: Any) -> Any:
    chosen = [pytest.param(r, id=r["id"]) for r in ALL if keep(r)]
    return pytest.mark.parametrize("recording", chosen)


def is_error(recording: dict[str, Any]) -> bool:
    body = recording["response"].get("body")
    return recording["response"]["status"] >= 400 or (isinstance(body, dict) and "error" in body)


def pieces(raw: bytes, size: int) -> list[bytes]:
    return [raw[at : at + size] for at in range(0, len(raw), size)] if size else [raw]


def gist(response: Response, left_out: Collection[str] = ()) -> list[Any]:
    """What must survive: per choice the texts, the calls and the finish; then the tokens.

    Calls in *left_out* have an id that was made for this one reading, as their vendor gave none.
    """
    choices = [
        (
            choice.index,
            "".join(p.text for p in choice.parts if isinstance(p, Text)),
            "".join(p.text for p in choice.parts if isinstance(p, Thinking)),
            "".join(p.text for p in choice.parts if isinstance(p, Refusal)),
            [
                ("" if p.id in left_out else p.id, p.name, p.arguments, p.kind)
                for p in choice.parts
                if isinstance(p, ToolCall)
            ],
            choice.finish_reason,
        )
        for choice in response.choices
    ]
    usage = response.usage
    return [choices, None if usage is None else (usage.input_tokens, usage.output_tokens, usage.cached_input_tokens)]


def made(response: Response, body: Mapping[str, Any]) -> set[str]:
    """The ids of calls in *response* that do not stand in *body*; each is made once."""
    ids = [p.id for choice in response.choices for p in choice.parts if isinstance(p, ToolCall)]
    assert len(set(ids)) == len(ids)
    assert all(ids)
    return {each for each in ids if orjson.dumps(each) not in orjson.dumps(body)}


def frames_of(raw: bytes) -> list[Any]:
    lines = [line[6:] for line in raw.split(b"\n") if line.startswith(b"data: ")]
    assert lines[-1] == b"[DONE]"
    return [orjson.loads(line) for line in lines[:-1]]


def valid_stream(raw: bytes) -> dict[str, Any]:
    """The frames, which have one id, one model, one time, one role in front, a finish for each choice."""
    chunks = [ChatCompletionChunk.model_validate(frame) for frame in frames_of(raw)]
    choices = [choice for chunk in chunks for choice in chunk.choices]
    named = [chunk for chunk in chunks if chunk.choices]
    assert {(c.id, c.model, c.created) for c in named} == {(named[0].id, named[0].model, named[0].created)}
    for number in {choice.index for choice in choices}:
        own = [choice for choice in choices if choice.index == number]
        assert own[0].delta.role == "assistant"
        assert any(choice.finish_reason for choice in own)
    sdk = ChatCompletionStreamState()
    for chunk in chunks:
        sdk.handle_chunk(chunk)
    accumulated = sdk.current_completion_snapshot.model_dump()
    assert {choice["message"]["role"] for choice in accumulated["choices"]} == {"assistant"}
    return accumulated


@table(lambda r: (r["request"].get("body") or {}).get("messages") and r["response"]["status"] < 400)
def test_recorded_requests_are_read_and_leave_as_they_came(recording: dict[str, Any]) -> None:
    raw = orjson.dumps(recording["request"]["body"])
    body = orjson.loads(raw) | {"model": recording["request"]["body"].get("model") or "m"}
    request = parse_request(body)

    relayed = relay_request(raw, orjson.loads(raw), request, Rules(max_tokens_field="max_tokens"), "other/model")

    sent = orjson.loads(relayed.body)
    assert sent.pop("model") == "other/model"
    expected = {key: value for key, value in body.items() if key not in ("model", "max_completion_tokens")}
    if "max_completion_tokens" in body:
        expected["max_tokens"] = body["max_completion_tokens"]
    if body.get("stream"):
        expected["stream_options"] = {**(body.get("stream_options") or {}), "include_usage": True}
    else:
        expected.pop("stream_options", None)
    assert sent == expected
    assert relayed.losses == ()


@table(lambda r: "body" in r["response"] and not is_error(r))
def test_recorded_answers_stay_the_same_and_become_valid(recording: dict[str, Any]) -> None:
    body = recording["response"]["body"]
    response = parse_response(body)

    rendered = render_response(response, **FALLBACK)
    relayed, seen = relay_response(orjson.dumps(body), Rules())

    ChatCompletion.model_validate(rendered)
    ChatCompletion.model_validate_json(relayed)
    assert gist(seen, made(seen, body)) == gist(response, made(response, body))
    assert gist(parse_response(rendered)) == gist(response)
    passed_on = orjson.loads(relayed)
    again = parse_response(passed_on)
    # A function call of the older form has no id on its way.
    assert gist(again, made(again, passed_on)) == gist(seen, made(seen, passed_on))
    assert gist(collect(replay(response))) == gist(response)
    message = body["choices"][0].get("message", {})
    if isinstance(message.get("content"), str):
        assert "".join(p.text for p in response.choices[0].parts if isinstance(p, Text)) == message["content"]


@table(lambda r: r["response"].get("sse") and r["response"]["status"] < 400)
@pytest.mark.parametrize("size", [0, 997, 7])
def test_recorded_streams_stay_the_same_and_become_valid(recording: dict[str, Any], size: int) -> None:
    raw = recording["response"]["sse"].encode()
    parser = StreamParser()
    relay = StreamRelay(Rules(), include_usage=True, **FALLBACK)
    renderer = StreamRenderer(include_usage=True, **FALLBACK)
    events, seen, relayed, rendered = [], [], b"", b""
    for piece in pieces(raw, size):
        new = parser.feed(piece)
        events += new
        rendered += renderer.render(new)
        passed = relay.feed(piece)
        seen += passed.events
        relayed += passed.frames
    last = parser.close()
    events += last
    rendered += renderer.render(last) + renderer.close(b"{}")
    ended = relay.end()
    seen += ended.events
    relayed += ended.frames + relay.close(b"{}")

    assert not any(isinstance(event, Failure) for event in events)
    response = collect(events)
    assert seen == events
    assert len([e for e in events if isinstance(e, Finish)]) == len(response.choices)
    for stream in (relayed, rendered):
        sdk = valid_stream(stream)
        assert spoken_by(sdk) == [spoken[1:5] for spoken in gist(response)[0]]
        again = StreamParser()
        assert gist(collect([*again.feed(stream), *again.close()])) == gist(response)
    assert gist(parse_response(render_response(response, **FALLBACK))) == gist(response)
    assert gist(response)[0][0][1] == spoken_text(raw)


def spoken_by(accumulated: dict[str, Any]) -> list[Any]:
    """What the official SDK understood."""
    return [
        (
            message.get("content") or "",
            message.get("reasoning_content") or "",
            message.get("refusal") or "",
            [
                (call["id"], call["function"]["name"], call["function"]["arguments"], call["type"])
                for call in message.get("tool_calls") or ()
            ],
        )
        for message in (choice["message"] for choice in accumulated["choices"])
    ]


def spoken_text(raw: bytes) -> str:
    """Choice 0's text, read in the plainest way."""
    text = ""
    for line in raw.split(b"\n"):
        data = line.strip().removeprefix(b"data:").strip()
        if not line.startswith(b"data:") or data == b"[DONE]":
            continue
        for choice in orjson.loads(data).get("choices") or ():
            content = (choice.get("delta") or {}).get("content")
            if choice.get("index", 0) == 0 and isinstance(content, str):
                text += content
            elif choice.get("index", 0) == 0 and isinstance(content, list):
                text += "".join(item.get("text", "") for item in content)
    return text


@table(is_error)
def test_recorded_errors_keep_their_status_and_message(recording: dict[str, Any]) -> None:
    answer = recording["response"]
    raw = orjson.dumps(answer["body"]) if "body" in answer else (answer.get("sse") or answer.get("text", "")).encode()
    failure = error_in(answer["body"]) if answer["status"] == 200 else parse_error(answer["status"], raw, {})

    assert failure is not None
    status, envelope = render_error(failure, "req_1")

    assert status == max(answer["status"], 400)
    assert envelope["error"].keys() == {"message", "type", "param", "code"}
    assert isinstance(envelope["error"]["message"], str)
    assert envelope["error"]["message"][:40] in json.loads(json.dumps(raw.decode())) or b"\\" in raw
