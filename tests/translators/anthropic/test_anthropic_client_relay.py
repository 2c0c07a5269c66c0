"""The verbatim way of Anthropic Messages: what is changed, and that nothing else is."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.translators.anthropic.sdk_reader import accumulated, validated
from translators.anthropic import StreamParser
from translators.anthropic.client import StreamRelay, parse_request, relay_request, relay_response
from translators.dialect import RelayedRequest, ReplyTo, Rules
from translators.errors import BadAnswer
from translators.neutral import Event, Failure, Finish, Request, Usage
from translators.sealed import seal

ANTHROPIC = Rules(dialect="anthropic", thinking="adaptive", conformant=True)
OTHER = Rules(dialect="anthropic", thinking="adaptive")
TO = ReplyTo(Request("anthropic", "claude-x", (), include_usage=True), {}, "abc", 5, input_tokens=77)


def relayed(raw: str, rules: Rules = ANTHROPIC, model: str = "claude-x") -> RelayedRequest:
    body = json.loads(raw)
    return relay_request(raw.encode(), body, parse_request(body), rules, model)


# --- requests ------------------------------------------------------------------------------------

BARE = '"messages":[{"role":"user","content":"Hi"}],"max_tokens":9'
ODD = '{ "model" : "claude-x",\n' + BARE + ', "new_field":{"b":1.0,"a":[ ]} }'


def test_nothing_to_change_leaves_every_byte() -> None:
    assert relayed(ODD) == RelayedRequest(ODD.encode())


REQUESTS: dict[str, tuple[str, str, Rules, list[str]]] = {
    "model": ('"model":"r"', '"model":"claude-x"', ANTHROPIC, []),
    "the proxy's own fields": ('"model":"claude-x","modelport":{},"models":[]', '"model":"claude-x"', ANTHROPIC, []),
    "WIRE 1 refused": (
        '"model":"claude-x","temperature":1,"stop_sequences":["x"],"top_k":null',
        '"model":"claude-x","top_k":null',
        Rules(refuses=frozenset({"temperature", "stop", "top_k", "max_output_tokens"})),
        ["stop_sequences", "temperature"],
    ),
    "refused while thinking": (
        '"model":"claude-x","thinking":{"type":"adaptive"},"temperature":0.5,"top_p":0.97',
        '"model":"claude-x","thinking":{"type":"adaptive"},"top_p":0.97',
        Rules(refuses_while_thinking=frozenset({"temperature", "top_p"}), thinking="adaptive"),
        ["temperature"],
    ),
    "not while thinking is off": (
        '"model":"claude-x","thinking":{"type":"disabled"},"temperature":0.5',
        '"model":"claude-x","thinking":{"type":"disabled"},"temperature":0.5',
        Rules(refuses_while_thinking=frozenset({"temperature"}), thinking="adaptive"),
        [],
    ),
    "of a model that is not known, while nothing says that it thinks": (
        '"model":"claude-x","temperature":0.5',
        '"model":"claude-x","temperature":0.5',
        Rules(refuses_while_thinking=frozenset({"temperature"})),
        [],
    ),
    "of a model that is not known, beside an effort": (
        '"model":"claude-x","output_config":{"effort":"low"},"temperature":0.5',
        '"model":"claude-x","output_config":{"effort":"low"}',
        Rules(refuses_while_thinking=frozenset({"temperature"})),
        ["temperature"],
    ),
    "WIRE 4 one of two": (
        '"model":"claude-x","top_p":0.9,"temperature":0.5',
        '"model":"claude-x","temperature":0.5',
        Rules(one_of_temperature_top_p=True),
        ["top_p"],
    ),
    "renamed": (
        '"model":"claude-x","top_k":5',
        '"model":"claude-x","k":5',
        Rules(rename={"top_k": "k"}),
        [],
    ),
    "needed by the server": (
        '"model":"claude-x","b":2',
        '"model":"claude-x","b":2,"a":1',
        Rules(extra_body={"a": 1, "b": 1}),
        [],
    ),
}


@pytest.mark.parametrize(("fields", "expected", "rules", "lost"), REQUESTS.values(), ids=REQUESTS)
def test_only_what_must_change_does(fields: str, expected: str, rules: Rules, lost: list[str]) -> None:
    result = relayed("{" + BARE + "," + fields + "}", rules)
    head = "{" + BARE + ","

    assert json.loads(result.body) == json.loads(head + expected + "}")
    assert result.body.decode().startswith(head)
    assert [loss.field for loss in result.losses] == lost


SEALED = {"type": "thinking", "thinking": "Hm.", "signature": seal({"gemini": {"thoughtSignature": "G"}})}
UNSIGNED = {"type": "thinking", "thinking": "Hm.", "signature": seal({})}
SIGNED = {"type": "thinking", "thinking": "Hm.", "signature": "SIG"}
CITATION = {"type": "web_search_result_location", "url": "u", "title": "t", "cited_text": "", "encrypted_index": "E"}
OWN_CITATION = {**CITATION, "encrypted_index": seal({})}
HI = {"type": "text", "text": "Hi"}

CONTENTS: dict[str, tuple[Rules, list[Any], list[Any] | None, list[str]]] = {
    "WIRE 68 of another vendor": (ANTHROPIC, [SEALED, SIGNED, HI], [SIGNED, HI], ["messages[1].content[0]"]),
    "WIRE 68 of nobody": (ANTHROPIC, [SIGNED, UNSIGNED, HI], [SIGNED, HI], ["messages[1].content[1]"]),
    "WIRE 138 nothing else": (ANTHROPIC, [SEALED], None, ["messages[1].content[0]"]),
    "citations": (
        ANTHROPIC,
        [{**HI, "citations": [OWN_CITATION, CITATION]}, {**HI, "citations": [OWN_CITATION]}],
        [{**HI, "citations": [CITATION]}, HI],
        ["messages[1].content[0].citations", "messages[1].content[1].citations"],
    ),
    "a server that signs nothing gets its own back": (
        OTHER,
        [UNSIGNED, HI],
        [{"type": "thinking", "thinking": "Hm."}, HI],
        [],
    ),
    "but not another vendor's": (OTHER, [SEALED, HI], [HI], ["messages[1].content[0]"]),
    "the vendor's own": (
        ANTHROPIC,
        [SIGNED, {**HI, "citations": [CITATION]}],
        [SIGNED, {**HI, "citations": [CITATION]}],
        [],
    ),
}


@pytest.mark.parametrize(("rules", "content", "expected", "lost"), CONTENTS.values(), ids=CONTENTS)
def test_what_the_proxy_wrote_into_earlier_answers_is_taken_out(
    rules: Rules, content: list[Any], expected: list[Any] | None, lost: list[str]
) -> None:
    user = {"role": "user", "content": "Hi"}
    raw = json.dumps(
        {
            "model": "claude-x",
            "max_tokens": 9,
            "messages": [user, {"role": "assistant", "content": content}, user],
        }
    )

    result = relayed(raw, rules)
    kept = [message["content"] for message in json.loads(result.body)["messages"]]

    assert kept == ["Hi", expected, "Hi"] if expected is not None else ["Hi", "Hi"]
    assert [loss.field for loss in result.losses] == lost
    assert (result.body == raw.encode()) is (content == expected)


# --- whole answers -------------------------------------------------------------------------------

WHOLE = (
    b'{ "id":"msg_1","type":"message","role":"assistant","model":"claude-x","content":[{"type":"text","text":"Hi"},'
    b'{"type":"new_block","x":1}],"stop_reason":"end_turn","stop_sequence":null,'
    b'"usage":{"input_tokens":3,"output_tokens":2},"new_field":1.0}'
)


@pytest.mark.parametrize("rules", [ANTHROPIC, OTHER], ids=["Anthropic", "another server"])
def test_a_readable_answer_keeps_every_byte(rules: Rules) -> None:
    raw, response = relay_response(WHOLE, rules, TO)

    assert raw == WHOLE
    assert (response.id, len(response.choices[0].parts)) == ("msg_1", 2)


def test_an_answer_that_the_sdk_could_not_read_is_mended() -> None:
    bare = {
        "content": [
            {"type": "thinking", "thinking": "Hm."},
            {"type": "tool_use", "id": "a", "name": "f", "input": '{"x":1}'},
        ],
        "usage": None,
        "mine": 1,
    }

    raw, response = relay_response(json.dumps(bare).encode(), OTHER, TO)
    body = json.loads(raw)

    assert validated(body) == {
        "id": "msg_abc",
        "type": "message",
        "role": "assistant",
        "model": "claude-x",
        "content": [UNSIGNED, {"type": "tool_use", "id": "a", "name": "f", "input": {"x": 1}}],
        "stop_reason": "tool_use",
        "usage": {
            "input_tokens": 77,
            "output_tokens": 0,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 0,
        },
        "mine": 1,
    }
    assert response.choices[0].finish_reason == "tool_calls"


@pytest.mark.parametrize("raw", [b"", b"[]", b"<html>", b'{"x":1}', b'{"type":"error","error":{"type":"api_error"}}'])
def test_what_is_no_answer_is_said_to_be_none(raw: bytes) -> None:
    with pytest.raises(BadAnswer):
        relay_response(raw, ANTHROPIC, TO)


# --- streams -------------------------------------------------------------------------------------

STOP = b'event: message_stop\ndata: {"type":"message_stop" }\n\n'
BEFORE_STOP = (
    b"event: message_start\n"
    b'data: {"type":"message_start","message":{"id":"msg_1","type":"message","role":"assistant","model":"claude-x",'
    b'"content":[],"stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":3,"output_tokens":1}} }\n\n'
    b'event: content_block_start\ndata: {"type":"content_block_start","index":0,'
    b'"content_block":{"type":"text","text":""}}\n\n'
    b'event: ping\ndata: {"type": "ping"}\n\n'
    b": a comment\n\n"
    b'event: content_block_delta\r\ndata: {"type":"content_block_delta","index":0,'
    b'"delta":{"type":"text_delta","text":"H\xc3\xa9"}}\r\n\r\n'
    b'event: brand_new\ndata: {"type":"brand_new","x":[1]}\n\n'
    b'event: content_block_stop\ndata: {"type":"content_block_stop","index":0   }\n\n'
    b'event: message_delta\ndata: {"type":"message_delta","delta":{"stop_reason":"end_turn","stop_sequence":null},'
    b'"usage":{"output_tokens":5}}\n\n'
)


def fed(stream: bytes, cuts: list[int], rules: Rules) -> tuple[bytes, list[Event], StreamRelay]:
    relay = StreamRelay(rules, TO)
    edges = [0, *sorted({cut % (len(stream) + 1) for cut in cuts}), len(stream)]
    steps = [relay.feed(stream[start:end]) for start, end in pairwise(edges)]
    steps.append(relay.end())
    return b"".join(step.frames for step in steps), [event for step in steps for event in step.events], relay


@given(st.lists(st.integers(0, 2000), max_size=8))
def test_a_stream_passes_byte_for_byte_at_any_split_but_its_end_waits(cuts: list[int]) -> None:
    """WIRE 63: pings, comments and unknown events pass too."""
    parser = StreamParser()
    events = [*parser.feed(BEFORE_STOP + STOP), *parser.close()]

    frames, told, relay = fed(BEFORE_STOP + STOP, cuts, ANTHROPIC)

    assert (frames, told) == (BEFORE_STOP, events)
    assert relay.close(b"{}") == b": modelport {}\n\n" + STOP


@given(st.lists(st.integers(0, 2000), max_size=8))
def test_a_readable_stream_of_another_server_keeps_every_byte_too(cuts: list[int]) -> None:
    frames, _, relay = fed(BEFORE_STOP + STOP, cuts, OTHER)

    assert frames == BEFORE_STOP
    assert relay.close(b"{}", Usage(1, 1)) == b": modelport {}\n\n" + STOP


def test_only_the_message_delta_that_lacks_its_usage_is_written_anew() -> None:
    bare = b'event: message_delta\ndata: {"type":"message_delta", "delta":{"stop_reason":"end_turn"}}\n\n'
    whole = b'event: message_delta\ndata: {"type":"message_delta", "delta":{}, "usage":{"output_tokens":7}}\n\n'
    begun = BEFORE_STOP[: BEFORE_STOP.index(b"event: message_delta")]

    frames, _, relay = fed(begun + bare + whole + STOP, [], OTHER)

    assert frames.startswith(begun)
    first, second = frames[len(begun) :].split(b"\n\n", 1)
    assert json.loads(first.split(b"data: ")[1])["usage"]["output_tokens"] == 7
    assert second == whole
    assert relay.close() == STOP


def test_a_stream_that_lacks_its_end_gets_one() -> None:
    frames, events, relay = fed(BEFORE_STOP.rstrip(), [], ANTHROPIC)

    assert frames == BEFORE_STOP
    assert isinstance(events[-1], Finish)
    assert relay.close() == b'event: message_stop\ndata: {"type":"message_stop"}\n\n'


@pytest.mark.parametrize("at", [30, 400, len(BEFORE_STOP) - 60])
def test_a_cut_stream_is_a_failure_without_a_frame(at: int) -> None:
    frames, events, relay = fed(BEFORE_STOP[:at], [], ANTHROPIC)

    assert BEFORE_STOP.startswith(frames.rstrip())
    assert isinstance(failure := events[-1], Failure)
    assert failure.kind == "invalid_response"
    assert relay.fail(failure).startswith(b'event: error\ndata: {"type":"error","error":{"type":"api_error"')


def test_an_error_event_is_a_failure_and_is_not_relayed() -> None:
    """WIRE 60."""
    error = b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error","message":"busy"}}\n\n'

    frames, events, _ = fed(BEFORE_STOP + error + STOP, [], ANTHROPIC)

    assert frames == BEFORE_STOP
    assert (events[-1].kind, events[-1].message) == ("overloaded", "busy")


def frame_of(**event: Any) -> str:
    return f"data: {json.dumps(event)}\n\n"


POOR = (
    frame_of(type="message_start", message={"id": None, "model": "local"})
    + frame_of(type="content_block_start", index=0, content_block={"type": "thinking", "thinking": ""})
    + frame_of(type="content_block_delta", index=0, delta={"type": "thinking_delta", "thinking": "Hm."})
    + frame_of(type="content_block_stop", index=0)
    + frame_of(type="content_block_start", index=1, content_block={"type": "text", "text": ""})
    + frame_of(type="content_block_delta", index=1, delta={"type": "text_delta", "text": "Hi"})
    + frame_of(type="content_block_stop", index=1)
)
POOR_END = frame_of(type="message_delta", delta={"stop_reason": "max_tokens"})
POOR_STOP = frame_of(type="message_stop") + "data: [DONE]\n\n"

MENDED: dict[str, tuple[str, str]] = {
    "no event names, no usage": (POOR + POOR_END + POOR_STOP, "max_tokens"),
    "no message_delta": (POOR + POOR_STOP, "end_turn"),
    "a [DONE] before the end": (POOR + "data: [DONE]\n\n" + POOR_END + POOR_STOP, "max_tokens"),
}


@pytest.mark.parametrize(("stream", "reason"), MENDED.values(), ids=MENDED)
def test_a_stream_that_the_sdk_could_not_read_is_mended(stream: str, reason: str) -> None:
    frames, _, relay = fed(stream.encode(), [], OTHER)

    message = accumulated(frames + relay.close(b"{}", Usage(12, 5)))

    assert message == {
        "id": "msg_abc",
        "type": "message",
        "role": "assistant",
        "model": "local",
        "content": [UNSIGNED, HI],
        "stop_reason": reason,
        "usage": {
            "input_tokens": 12,
            "output_tokens": 5,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 0,
        },
    }


def test_a_server_that_does_not_stream_is_streamed() -> None:
    frames, events, relay = fed(WHOLE, [], OTHER)

    message = accumulated(frames + relay.close(b"{}"))

    assert [block["type"] for block in message["content"]] == ["text", "new_block"]
    assert any(isinstance(event, Finish) for event in events)


def test_an_event_without_end_is_a_failure() -> None:
    relay = StreamRelay(ANTHROPIC, TO)
    relay.feed(BEFORE_STOP)
    piece = b"x" * (4 * 1024 * 1024)

    told = [event for _ in range(5) for event in relay.feed(piece).events]

    assert [type(event) for event in told] == [Failure]
