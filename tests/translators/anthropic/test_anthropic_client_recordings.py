"""Every recorded exchange of Anthropic Messages through the client's side: requests, whole answers, streams."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.translators.anthropic.sdk_reader import accumulated, plain, raised, validated
from translators.anthropic import StreamParser, parse_error, parse_response, render_request
from translators.anthropic.client import (
    StreamRelay,
    StreamRenderer,
    parse_request,
    relay_request,
    relay_response,
    render_error,
    render_response,
)
from translators.assemble import collect, replay
from translators.dialect import RelayedRequest, ReplyTo, Rules
from translators.errors import BadRequest
from translators.neutral import Event, Request

SHARED = Path(os.environ.get("MODELPORT_SHARED", Path(__file__).resolve().parents[4] / "shared"))
FOLDER = SHARED / "recordings" / "anthropic"
TO = ReplyTo(Request("anthropic", "m", (), include_usage=True), {}, "abc", 5)
ANTHROPIC = Rules(dialect="anthropic", conformant=True)

REFUSED = {
    "anthropic-messages-err400-dd-trace-py-dd03d5": "messages[0]",
    "anthropic-messages-err400-rig-5e79a3": "tools[0].input_schema",
    "anthropic-messages-err400-rig-605afb": "temperature",
}
"""Recorded requests that Anthropic answered with 400, and so does the proxy: the place that it names."""

CHANGED = {
    "anthropic-messages-err400-rig-765b3a": "a strict tool too many is made an ordinary one",
    "anthropic-messages-err400-rig-7788b5": "a schema without a type gets one",
    "anthropic-messages-sse-llm-anthropi-7a4968": "text of blanks alone is left out, and said to be",
}
"""Recorded requests that are not the same when they are rendered again."""

COUNTS = (
    "input_tokens",
    "output_tokens",
    "cache_read_input_tokens",
    "cache_creation_input_tokens",
    "output_tokens_details",
)
"""What the SDK takes over from message_delta; the rest of the usage it takes from message_start alone."""


@cache
def recording(name: str) -> dict[str, Any]:
    return json.loads((FOLDER / f"{name}.json").read_text())


def recorded(kind: str) -> pytest.MarkDecorator:
    """The recordings that have *kind* (`request`, `body`, `sse`, `error`) as the parameter `name`."""
    found = [path.stem for path in sorted(FOLDER.glob("anthropic-messages-*.json")) if kind in _kinds(path.stem)]
    skipped = pytest.param("", marks=pytest.mark.skip(reason="no recordings beside the checkout"))
    return pytest.mark.parametrize("name", found or [skipped])


def _kinds(name: str) -> set[str]:
    request, response = recording(name)["request"], recording(name)["response"]
    kinds = {"request"} if isinstance(request["body"], dict) else set()
    return kinds | ({"error"} if response["status"] >= 400 else {"body", "sse"} & response.keys())


def rules_for(body: Mapping[str, Any]) -> Rules:
    """A model that takes the form of thinking that was asked for."""
    budget = (body.get("thinking") or {}).get("type") == "enabled"
    return Rules(
        dialect="anthropic",
        thinking="budget" if budget else "adaptive",
        max_output_tokens=200_000,
        system_in_messages=True,
        conformant=True,
    )


def normal(body: Mapping[str, Any]) -> dict[str, Any]:
    """*body* with equivalent forms made one: strings as blocks, neighbours of a role joined, defaults left out."""
    fields = {name: value for name, value in body.items() if value is not None and value is not False}
    if "system" in fields:
        fields["system"] = _blocks(fields["system"])
    if "output_format" in fields:
        fields["output_config"] = {"format": fields.pop("output_format")}
    turns: list[dict[str, Any]] = []
    for message in body["messages"]:
        if turns and turns[-1]["role"] == message["role"]:
            turns[-1]["content"] += _blocks(message["content"])
        else:
            turns.append({"role": message["role"], "content": _blocks(message["content"])})
    fields["messages"] = turns
    if "tools" in fields:
        fields["tools"] = [
            {name: value for name, value in tool.items() if value not in (False, "")} for tool in body["tools"]
        ]
    return fields


def _blocks(content: Any) -> list[dict[str, Any]]:
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    blocks = [plain(block) for block in content]
    for block in blocks:
        if block["type"] == "tool_result":
            block["content"] = _blocks(block.get("content", []))
            if not block.get("is_error"):
                block.pop("is_error", None)
    return blocks


@recorded("request")
def test_a_request_is_read_and_rendered_again(name: str) -> None:
    body = recording(name)["request"]["body"]
    if name in REFUSED:
        with pytest.raises(BadRequest) as caught:
            parse_request(body)
        assert caught.value.param == REFUSED[name]
        return

    rendered = render_request(parse_request(body), rules_for(body))

    assert (normal(rendered.body) == normal(body)) is (name not in CHANGED)
    assert not rendered.losses or name in CHANGED


@recorded("request")
def test_a_request_is_relayed_as_it_is(name: str) -> None:
    body = recording(name)["request"]["body"]
    if name in REFUSED:
        pytest.skip("refused")
    raw = json.dumps(body, indent=1).encode()
    request = parse_request(body)

    assert relay_request(raw, body, request, ANTHROPIC, body["model"]) == RelayedRequest(raw)


@recorded("body")
def test_a_whole_answer_is_rendered_as_it_was(name: str) -> None:
    body = recording(name)["response"]["body"]

    rendered = render_response(parse_response(body), TO)

    assert plain(rendered) == plain(body)


@recorded("body")
def test_a_whole_answer_is_relayed_as_it_is(name: str) -> None:
    raw = json.dumps(recording(name)["response"]["body"], indent=1).encode()

    for rules in (ANTHROPIC, Rules(dialect="anthropic")):
        assert relay_response(raw, rules, TO)[0] == raw


@recorded("body")
def test_a_whole_answer_streamed_is_the_same_for_the_sdk(name: str) -> None:
    response = parse_response(recording(name)["response"]["body"])
    renderer = StreamRenderer(TO)

    message = accumulated(renderer.render(list(replay(response))) + renderer.close(b"{}"))

    assert _known(message) == _known(plain(render_response(response, TO)))


@recorded("sse")
@pytest.mark.parametrize("size", [1, 7, None], ids=["by 1", "by 7", "at once"])
def test_a_stream_rendered_again_is_the_same_for_the_sdk(name: str, size: int | None) -> None:
    """Streamed again and collected whole: both are what the SDK reads from the recording."""
    sse = recording(name)["response"]["sse"].encode()
    parser, renderer = StreamParser(), StreamRenderer(TO)
    step = size or len(sse)
    events: list[Event] = []
    stream = b""

    for start in range(0, len(sse), step):
        told = parser.feed(sse[start : start + step])
        stream += renderer.render(told)
        events.extend(told)
    told = parser.close()
    stream += renderer.render(told) + renderer.close(b"{}")
    events.extend(told)

    expected = _known(accumulated(_without_done(sse)))
    assert _known(accumulated(stream)) == expected
    if size is None:
        assert _known(plain(render_response(collect(events), TO))) == expected


@recorded("sse")
@pytest.mark.parametrize("size", [1, 7, None], ids=["by 1", "by 7", "at once"])
def test_a_stream_is_relayed_as_it_is(name: str, size: int | None) -> None:
    sse = recording(name)["response"]["sse"].encode()
    relay, parser = StreamRelay(ANTHROPIC, TO), StreamParser()
    step = size or len(sse)

    steps = [relay.feed(sse[start : start + step]) for start in range(0, len(sse), step)]
    steps.append(relay.end())
    frames = b"".join(step.frames for step in steps)

    assert frames + relay.close() == _without_done(sse).rstrip() + b"\n\n"
    assert b"message_stop" not in frames
    assert [event for step in steps for event in step.events] == [*parser.feed(sse), *parser.close()]


@recorded("sse")
def test_a_stream_of_another_server_is_read_by_the_sdk(name: str) -> None:
    sse = recording(name)["response"]["sse"].encode()
    nameless = b"\n".join(line for line in sse.split(b"\n") if not line.startswith(b"event:"))
    relay = StreamRelay(Rules(dialect="anthropic"), TO)

    frames = relay.feed(nameless).frames + relay.end().frames + relay.close(b"{}")

    assert accumulated(frames) == accumulated(_without_done(sse))


@recorded("error")
def test_an_error_keeps_status_type_and_words(name: str) -> None:
    response = recording(name)["response"]
    failure = parse_error(response["status"], json.dumps(response["body"]).encode(), response["headers"])

    status, body = render_error(failure, "req_1")

    assert status == response["status"]
    assert body["error"] == {name: response["body"]["error"][name] for name in ("type", "message")}
    assert raised(status, body).type == body["error"]["type"]


def _known(message: Mapping[str, Any]) -> dict[str, Any]:
    """*message* without what the SDK's accumulator drops or reads another way."""
    usage = message["usage"]
    counts = {name: usage[name] for name in COUNTS if usage.get(name)}
    content = [{name: value for name, value in block.items() if value != []} for block in message["content"]]
    kept = {name: value for name, value in message.items() if name not in ("usage", "context_management", "container")}
    return {
        **kept,
        "content": [block for block in content if block.get("text") != ""],
        "container": (message.get("container") or {}).get("id"),
        "usage": counts,
    }


def _without_done(sse: bytes) -> bytes:
    """*sse* without OpenAI's terminator, which a router appends and the SDK cannot read."""
    return sse.removesuffix(b"event: data\ndata: [DONE]\n\n")


def test_validated_answers_are_messages() -> None:
    """The reader of these tests refuses what is none."""
    with pytest.raises(ValueError, match="usage"):
        validated({"id": "m", "type": "message", "role": "assistant", "model": "m", "content": []})
