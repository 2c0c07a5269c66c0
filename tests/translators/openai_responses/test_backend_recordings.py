"""Every recorded Responses exchange, of every provider: read whole and as a stream, shown to a chat client, sent again.

The recordings are not part of the repository; without them these tests are skipped.
"""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

import orjson
import pytest
from openai.types.chat import ChatCompletion

from translators import openai_chat
from translators.assemble import collect, replay
from translators.dialect import ReplyTo, Rules
from translators.neutral import Choice, Event, Failure, Response, Text, Thinking, ToolCall
from translators.openai_chat import client
from translators.openai_responses import StreamParser, parse_error, parse_response, render_request
from translators.openai_responses.incoming import parse_request

SHARED = Path(os.environ.get("MODELPORT_SHARED", Path(__file__).resolve().parents[4] / "shared"))
CONFORMANT = Rules(dialect="openai_responses", conformant=True)
FAILED = {
    "openai-responses-sse-braintrust-1252c5": "invalid_response",  # an empty stream
    "openai-responses-sse-prism-69babf": "rate_limit",
    "openai-responses-sse-prism-c5cee1": "server",
}
NO_FINAL_OUTPUT = frozenset({"chatgpt"})
"""Providers whose final response lists none of the items that were streamed."""


def recordings() -> list[Any]:
    index = SHARED / "recordings" / "index.jsonl"
    if not index.exists():
        return [pytest.param(None, marks=pytest.mark.skip(reason="the recordings are not here"))]
    lines = map(orjson.loads, index.read_bytes().splitlines())
    return [
        pytest.param(SHARED / "recordings" / line["provider"] / f"{line['id']}.json", id=line["id"])
        for line in lines
        if line["api"] == "responses"
    ]


def read(path: Path) -> dict[str, Any]:
    exchange: dict[str, Any] = orjson.loads(path.read_bytes())
    return exchange


def streamed(raw: bytes, size: int) -> list[Event]:
    parser = StreamParser()
    events: list[Event] = []
    for begin in range(0, len(raw), size):
        events += parser.feed(raw[begin : begin + size])
    return [*events, *parser.close()]


def final_response(sse: str) -> dict[str, Any] | None:
    events = [orjson.loads(line[5:]) for line in sse.splitlines() if line.startswith("data:") and "[DONE]" not in line]
    ends = [event["response"] for event in events if event["type"] in ("response.completed", "response.incomplete")]
    return ends[-1] if ends else None


def comparable(response: Response) -> Response:
    """*response* without what servers make anew for each event: ids and ciphertexts."""

    def plain(part: Any) -> Any:
        native = part.native.get("openai_responses", {}) if isinstance(part, Text | Thinking | ToolCall) else {}
        kept = {name: value for name, value in native.items() if name not in ("id", "encrypted_content")}
        return dataclasses.replace(part, native={"openai_responses": kept}) if native else part

    def choice(found: Choice) -> Choice:
        return dataclasses.replace(found, parts=tuple(map(plain, found.parts)))

    return dataclasses.replace(response, id="", choices=tuple(map(choice, response.choices)))


@pytest.mark.parametrize("path", recordings())
def test_an_answer_is_read_and_shown_to_a_chat_client(path: Path) -> None:
    """Cut anywhere, a stream says what its final response says; both have a form that the chat SDK reads."""
    exchange = read(path)
    answer = exchange["response"]
    if answer["status"] >= 400:
        body = answer.get("body")
        failure = parse_error(answer["status"], orjson.dumps(body) if body else answer.get("text", "").encode(), {})
        assert (failure.status, bool(failure.message)) == (answer["status"], True)
        return
    if "sse" in answer:
        raw = answer["sse"].encode()
        events = streamed(raw, len(raw) or 1)
        assert streamed(raw, 7) == events
        if (kind := FAILED.get(exchange["id"])) is not None:
            assert isinstance(events[-1], Failure)
            assert events[-1].kind == kind
            return
        response = collect(events)
        final = final_response(answer["sse"])
        assert final is not None
        if exchange["provider"] not in NO_FINAL_OUTPUT:
            assert comparable(response) == comparable(parse_response(final))
    else:
        response = parse_response(answer["body"])
        assert collect(replay(response)) == response
    assert response.failure is None
    asked = {"model": "m", "messages": [{"role": "user", "content": "x"}]}
    to = ReplyTo(openai_chat.parse_request(asked), asked, "1", 1)
    shown = ChatCompletion.model_validate(client.render_response(response, to)).choices[0]
    parts = response.choices[0].parts
    assert (shown.message.content or "") == "".join(part.text for part in parts if isinstance(part, Text))
    assert [call.id for call in shown.message.tool_calls or ()] == [p.id for p in parts if isinstance(p, ToolCall)]


def normal(item: Any) -> Any:
    """One of the several ways to write the same item."""
    if not isinstance(item, dict):
        return item
    kept = {name: value for name, value in item.items() if name != "status" and value is not None}
    kept.setdefault("type", "message")
    if kept["type"] == "message":
        kept.pop("id", None)
        if isinstance(kept["content"], str):
            kept["content"] = [{"text": kept["content"]}]
        unsaid = ("type", "logprobs", "annotations")
        kept["content"] = [{k: v for k, v in part.items() if k not in unsaid or v == 0} for part in kept["content"]]
    elif kept["type"].endswith("_output"):
        kept.pop("id", None)
    return kept


@pytest.mark.parametrize("path", recordings())
def test_a_request_of_this_dialect_is_written_as_it_was(path: Path) -> None:
    exchange = read(path)
    body = exchange["request"].get("body")
    if not body or "model" not in body or exchange["response"]["status"] >= 400:
        pytest.skip("no request that this proxy could place")

    rendered = render_request(parse_request(body), CONFORMANT)

    wanted = {name: value for name, value in body.items() if value not in (None, []) and name != "stream"}
    if isinstance(body.get("input"), str):
        wanted["input"] = [{"role": "user", "content": body["input"]}]
    sent = {name: value for name, value in rendered.body.items() if name != "stream"}
    for fields in (wanted, sent):
        fields["input"] = [normal(item) for item in fields.get("input", ())]
        fields["tools"] = [
            {name: value for name, value in tool.items() if value is not None} for tool in fields.get("tools", ())
        ]
    assert rendered.losses == ()
    assert sent == wanted
