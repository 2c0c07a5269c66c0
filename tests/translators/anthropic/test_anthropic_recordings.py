"""Every recorded answer of Anthropic Messages, whole and streamed, against a plain reading of the recording."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from translators.anthropic import StreamParser, parse_error, parse_response
from translators.assemble import collect, replay
from translators.neutral import Failure, Opaque, Response, Start, Text, Thinking, ToolCall

SHARED = Path(os.environ.get("MODELPORT_SHARED", Path(__file__).resolve().parents[4] / "shared"))
FOLDER = SHARED / "recordings" / "anthropic"

FINISH_REASONS = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "tool_use": "tool_calls",
}


@cache
def recording(name: str) -> dict[str, Any]:
    """One recorded exchange."""
    return json.loads((FOLDER / f"{name}.json").read_text())


def _names() -> Iterator[tuple[str, str]]:
    for path in sorted(FOLDER.glob("anthropic-messages-*.json")):
        response = recording(path.stem)["response"]
        kind = "error" if response["status"] >= 400 else "stream" if "sse" in response else "whole"
        yield path.stem, kind


NAMES = list(_names())


def named(kind: str) -> pytest.MarkDecorator:
    """The recordings of *kind* as the parameter `name`; skipped where there is no folder of recordings."""
    found = [name for name, its_kind in NAMES if its_kind == kind]
    skipped = pytest.param("", marks=pytest.mark.skip(reason="no recordings beside the checkout"))
    return pytest.mark.parametrize("name", found or [skipped])


def rebuilt(sse: str) -> dict[str, Any]:
    """The message that an event stream means, put together the way the vendor's SDK does it."""
    message: dict[str, Any] = {}
    inputs: dict[int, str] = {}
    for line in sse.splitlines():
        if not line.startswith("data:") or line[5:].strip() == "[DONE]":
            continue
        event = json.loads(line[5:])
        match event["type"]:
            case "message_start":
                message = event["message"]
            case "content_block_start":
                message["content"].append(event["content_block"])
            case "content_block_delta":
                block, delta = message["content"][event["index"]], event["delta"]
                match delta["type"]:
                    case "text_delta":
                        block["text"] += delta["text"]
                    case "thinking_delta":
                        block["thinking"] += delta["thinking"]
                    case "signature_delta":
                        block["signature"] = delta["signature"]
                    case "citations_delta":
                        block["citations"] = [*(block.get("citations") or []), delta["citation"]]
                    case "input_json_delta":
                        inputs[event["index"]] = inputs.get(event["index"], "") + delta["partial_json"]
            case "message_delta":
                message.update({key: value for key, value in event["delta"].items() if value is not None})
                message["usage"].update({key: value for key, value in event["usage"].items() if value is not None})
    for index, text in inputs.items():
        # Arguments that a token limit cut are compared as text.
        try:
            message["content"][index]["input"] = json.loads(text or "{}")
        except ValueError:
            message["content"][index]["input"] = text
    return message


def assert_same(response: Response, message: dict[str, Any]) -> None:
    """*response* says what the vendor's *message* says."""
    (choice,) = response.choices
    blocks = message["content"]
    of_type = {kind: [block for block in blocks if block["type"] == kind] for kind in ("text", "tool_use", "thinking")}
    calls = [part for part in choice.parts if isinstance(part, ToolCall)]
    usage = message["usage"]
    cached, written = usage.get("cache_read_input_tokens") or 0, usage.get("cache_creation_input_tokens") or 0

    assert response.id == message["id"]
    assert response.model == message["model"]
    assert [part.text for part in choice.parts if isinstance(part, Text)] == [b["text"] for b in of_type["text"]]
    assert [(call.id, call.name) for call in calls] == [(b["id"], b["name"]) for b in of_type["tool_use"]]
    assert [_value(call.arguments) for call in calls] == [b["input"] for b in of_type["tool_use"]]
    assert [
        (part.text, part.native["anthropic"]["signature"])
        for part in choice.parts
        if isinstance(part, Thinking) and "redacted_data" not in part.native["anthropic"]
    ] == [(b["thinking"], b["signature"]) for b in of_type["thinking"]]
    assert [part.value for part in choice.parts if isinstance(part, Opaque)] == [
        b for b in blocks if b["type"] not in (*of_type, "redacted_thinking")
    ]
    assert [
        part.native["anthropic"]["redacted_data"]
        for part in choice.parts
        if isinstance(part, Thinking) and "redacted_data" in part.native["anthropic"]
    ] == [b["data"] for b in blocks if b["type"] == "redacted_thinking"]
    assert len(choice.parts) == len(blocks)
    assert choice.finish_reason == FINISH_REASONS[message["stop_reason"]]
    assert response.usage is not None
    assert response.usage.input_tokens == usage["input_tokens"] + cached + written
    assert response.usage.output_tokens == usage["output_tokens"]
    assert (response.usage.cached_input_tokens, response.usage.cache_write_tokens) == (cached, written)
    assert response.usage.raw == {key: value for key, value in usage.items() if value is not None} or (
        response.usage.raw == usage
    )


def _value(arguments: str) -> Any:
    try:
        return json.loads(arguments)
    except ValueError:
        return arguments


@named("whole")
def test_whole_answer_says_what_was_recorded(name: str) -> None:
    body = recording(name)["response"]["body"]

    response = parse_response(body)

    assert_same(response, body)
    assert collect(replay(response)) == response


@named("stream")
@pytest.mark.parametrize("size", [1, 7, None], ids=["by 1", "by 7", "at once"])
def test_stream_says_what_was_recorded_at_any_split(name: str, size: int | None) -> None:
    sse = recording(name)["response"]["sse"]
    data = sse.encode()
    parser = StreamParser()
    step = size or len(data)

    events = [event for at in range(0, len(data), step) for event in parser.feed(data[at : at + step])]
    events.extend(parser.close())

    assert isinstance(events[0], Start)
    assert sum(isinstance(event, Start) for event in events) == 1
    assert_same(collect(events), rebuilt(sse))


@named("stream")
def test_stream_with_crlf_or_without_event_names_is_the_same(name: str) -> None:
    sse = recording(name)["response"]["sse"]
    nameless = "\n".join(line for line in sse.split("\n") if not line.startswith("event:"))

    def response_of(text: str) -> Response:
        parser = StreamParser()
        return collect([*parser.feed(text.encode()), *parser.close()])

    assert response_of(nameless) == response_of(sse.replace("\r\n", "\n").replace("\n", "\r\n")) == response_of(sse)


@named("error")
def test_error_keeps_message_and_request_id(name: str) -> None:
    response = recording(name)["response"]
    body = response["body"]
    kinds = {400: "invalid_request", 401: "authentication", 404: "not_found"}

    failure = parse_error(response["status"], json.dumps(body).encode(), response["headers"])

    assert isinstance(failure, Failure)
    assert (failure.kind, failure.status) == (kinds[response["status"]], response["status"])
    assert failure.message == body["error"]["message"]
    assert failure.code == body["error"]["type"]
    if body.get("request_id"):
        assert failure.raw["request_id"] == body["request_id"]
