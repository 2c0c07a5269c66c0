"""The verbatim way: bytes out as they came in, the terminal event held back."""

from typing import Any

import orjson
import pytest

from translators.assemble import collect
from translators.dialect import ReplyTo, Rules
from translators.errors import BadAnswer
from translators.neutral import Failure, Text, ToolCall
from translators.openai_responses.client import StreamRelay, parse_request, relay_request, relay_response
from translators.sealed import seal

INPUT = b'"input": [ {"role":"user","content":"h\\u00e9"} ]'


def relayed(raw: bytes, rules: Rules | None = None, model: str = "m") -> Any:
    body = orjson.loads(raw)
    return relay_request(raw, body, parse_request(body), rules or Rules(), model)


@pytest.mark.parametrize(
    ("raw", "sent"),
    [
        (b'{"model":"m",%b}', b'{"model":"m",%b}'),
        (b'{"z":1.0,"model" : "r/m",%b, "a":{"b":[1]}}', b'{"z":1.0,"model" : "m",%b, "a":{"b":[1]}}'),
        (b'{"model":"m","modelport":{"x":1},%b,"models":["a"]}', b'{"model":"m",%b}'),
        (b'{"model":"m","store":false, "stream":true,%b}', b'{"model":"m","store":false, "stream":true,%b}'),
    ],
)
def test_only_what_must_change_is_changed(raw: bytes, sent: bytes) -> None:
    """WIRE 139."""
    result = relayed(raw % INPUT)

    assert result.body == sent % INPUT
    assert result.losses == ()


THINKING = frozenset({"temperature", "top_p", "logprobs", "top_logprobs"})


@pytest.mark.parametrize(
    ("fields", "rules", "sent", "losses"),
    [
        ({"max_output_tokens": 50}, Rules(max_output_tokens=9), {"max_output_tokens": 9}, ["max_output_tokens"]),
        ({"temperature": 1.5}, Rules(temperature_max=1), {"temperature": 1}, ["temperature"]),
        ({"truncation": "auto"}, Rules(refuses=frozenset({"truncation"})), {}, ["truncation"]),
        ({}, Rules(extra_body={"safe": True}), {"safe": True}, []),
        ({"user": "u"}, Rules(rename={"user": "safety_identifier"}), {"safety_identifier": "u"}, []),
        pytest.param(
            {"reasoning": {"effort": "minimal", "summary": "auto"}},
            Rules(efforts=("none", "low", "medium", "high", "xhigh")),
            {"reasoning": {"summary": "auto", "effort": "low"}},
            ["reasoning.effort"],
            id="WIRE 107",
        ),
        (
            {"reasoning": {"effort": "newest", "summary": "detailed"}},
            Rules(refuses=frozenset({"reasoning.visible"})),
            {"reasoning": {"effort": "newest"}},
            ["reasoning.summary"],
        ),
        (
            {"include": ["reasoning.encrypted_content", "code_interpreter_call.outputs"]},
            Rules(refuses=frozenset({"reasoning.encrypted_content"})),
            {"include": ["code_interpreter_call.outputs"]},
            ["include[0]"],
        ),
        ({"include": ["x"]}, Rules(refuses=frozenset({"include"})), {}, ["include"]),
        ({"reasoning": {"effort": "low"}}, Rules(thinking="none"), {}, ["reasoning.effort"]),
        ({"reasoning": {"summary": "auto"}}, Rules(thinking="none"), {}, ["reasoning.summary"]),
        ({"reasoning": {"effort": "none"}}, Rules(thinking="none"), {}, []),
        ({"tool_choice": "required"}, Rules(forced_tools="never"), {"tool_choice": "auto"}, ["tool_choice"]),
        (
            {"text": {"verbosity": "low", "format": {"type": "json_object"}}},
            Rules(refuses=frozenset({"verbosity"})),
            {"text": {"format": {"type": "json_object"}}},
            ["text.verbosity"],
        ),
        pytest.param(
            {
                "reasoning": {"effort": "high"},
                "temperature": 0.5,
                "include": ["reasoning.encrypted_content", "message.output_text.logprobs"],
            },
            Rules(refuses_while_thinking=THINKING),
            {"reasoning": {"effort": "high"}, "include": ["reasoning.encrypted_content"]},
            ["include", "temperature"],
            id="WIRE 106",
        ),
    ],
)
def test_what_the_target_refuses_is_changed_and_told(
    fields: dict[str, Any], rules: Rules, sent: dict[str, Any], losses: list[str]
) -> None:
    result = relayed(orjson.dumps({"model": "m", "input": "hi", **fields}), rules)

    assert orjson.loads(result.body) == {"model": "m", "input": "hi", **sent}
    assert [loss.field for loss in result.losses] == losses


def test_what_other_vendors_left_in_the_input_stays_here() -> None:
    """WIRE 138: sealed reasoning and foreign fields never reach a server of this dialect."""
    mine = {"id": "rs_1", "type": "reasoning", "summary": [], "encrypted_content": "theirs"}
    items = [
        {"role": "user", "content": "x"},
        {
            "id": "rs_2",
            "type": "reasoning",
            "summary": [],
            "encrypted_content": seal({"anthropic": {"signature": "s"}}),
        },
        mine,
        {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}", "extra_content": {"google": {}}},
        {"role": "assistant", "content": [{"type": "output_text", "text": "t", "extra_content": {"anthropic": {}}}]},
    ]
    result = relayed(orjson.dumps({"model": "m", "input": items}))

    assert orjson.loads(result.body)["input"] == [
        items[0],
        mine,
        {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
        {"role": "assistant", "content": [{"type": "output_text", "text": "t"}]},
    ]
    assert [loss.field for loss in result.losses] == ["input[1]"]


def test_developer_messages_become_system_where_the_server_knows_none() -> None:
    result = relayed(b'{"model":"m","input":[{"role":"developer","content":"x"}]}', Rules(developer_role=False))

    assert orjson.loads(result.body)["input"] == [{"role": "system", "content": "x"}]


# --- answers -------------------------------------------------------------------------------------

BODY = {"model": "m", "input": "hi", "stream": True}
TO = ReplyTo(parse_request(BODY), BODY, "abc", 1)
RESPONSE = {
    "id": "resp_1",
    "object": "response",
    "created_at": 5,
    "status": "completed",
    "model": "m-1",
    "output": [
        {
            "id": "msg_1",
            "type": "message",
            "status": "completed",
            "role": "assistant",
            "content": [{"type": "output_text", "text": "hello", "annotations": []}],
        },
        {"id": "fc_1", "type": "function_call", "call_id": "c", "name": "f", "arguments": "{}", "status": "completed"},
    ],
    "usage": {"input_tokens": 3, "output_tokens": 2, "total_tokens": 5},
}


def test_a_whole_answer_goes_back_as_it_came() -> None:
    raw = b"  " + orjson.dumps({**RESPONSE, "tomorrow": 1})
    sent, response = relay_response(raw, Rules(), TO)

    assert sent == raw
    assert [type(part) for part in response.choices[0].parts] == [Text, ToolCall]
    assert response.usage is not None
    assert (response.usage.input_tokens, response.usage.output_tokens) == (3, 2)


@pytest.mark.parametrize("raw", [b"no json", b"[]", b"{}"])
def test_what_is_no_answer_is_an_upstream_error(raw: bytes) -> None:
    with pytest.raises(BadAnswer):
        relay_response(raw, Rules(), TO)


def event(kind: str, number: int, **fields: Any) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (
        kind.encode(),
        orjson.dumps({"type": kind, "sequence_number": number, **fields}),
    )


BEGUN = {**RESPONSE, "status": "in_progress", "output": [], "usage": None}
CREATED = event("response.created", 0, response=BEGUN)
DELTA = event("response.output_text.delta", 1, item_id="msg_1", output_index=0, content_index=0, delta="hel")
UNKNOWN = event("response.of_tomorrow", 2, x=1)
COMPLETED = event("response.completed", 3, response=RESPONSE)
DONE = b"data: [DONE]\n\n"


def run(raw: bytes, size: int) -> tuple[bytes, list[Any], StreamRelay]:
    relay = StreamRelay(Rules(), TO)
    frames, events = b"", []
    for at in range(0, len(raw), size):
        step = relay.feed(raw[at : at + size])
        frames += step.frames
        events += step.events
    step = relay.end()
    return frames + step.frames, [*events, *step.events], relay


@pytest.mark.parametrize("size", [1, 7, 10**6])
@pytest.mark.parametrize("tail", [b"", b": bye\n\n", DONE])
def test_every_byte_passes_and_the_last_event_waits(size: int, tail: bytes) -> None:
    raw = CREATED + b": ping\n\n" + DELTA + UNKNOWN
    frames, events, relay = run(raw + COMPLETED + tail, size)

    assert frames == raw
    assert relay.close(b"{}") == b": modelport {}\n\n" + COMPLETED + tail
    assert collect(events).choices[0].parts[0].text == "hello"  # type: ignore[union-attr]  # a Text
    assert collect(events).usage is not None


def test_the_last_event_is_whole_when_its_blank_line_is_missing() -> None:
    frames, _, relay = run(CREATED + COMPLETED.rstrip(b"\n"), 5)

    assert frames == CREATED
    assert relay.close() == COMPLETED


ERROR = event("error", 2, error={"type": "tokens", "code": "rate_limit_exceeded", "message": "slow", "param": None})
FAILED = event(
    "response.failed",
    3,
    response={**BEGUN, "status": "failed", "error": {"code": "rate_limit_exceeded", "message": "slow"}},
)


@pytest.mark.parametrize("size", [1, 10**6])
@pytest.mark.parametrize(
    ("end", "kind"),
    [
        (ERROR + FAILED, "rate_limit"),
        (FAILED, "rate_limit"),
        (b"", "invalid_response"),
        (b"data: {nonsense\n\n", "invalid_response"),
    ],
)
def test_a_failure_is_an_event_without_a_frame(end: bytes, kind: str, size: int) -> None:
    """WIRE 115: the words that the client reads are the proxy's own, and no terminator follows."""
    frames, events, relay = run(CREATED + DELTA + end, size)
    failures = [told for told in events if isinstance(told, Failure)]
    told = [orjson.loads(line[6:]) for line in relay.fail(failures[0]).split(b"\n") if line.startswith(b"data: ")]

    assert frames == CREATED + DELTA
    assert [failure.kind for failure in failures] == [kind]
    assert [(one["type"], one["sequence_number"]) for one in told] == [("error", 2), ("response.failed", 3)]
    assert told[1]["response"]["id"] == "resp_1"
    assert told[1]["response"]["status"] == "failed"


def test_an_error_in_place_of_a_stream_is_a_failure() -> None:
    frames, events, _ = run(b'{"error":{"message":"no","type":"x","code":"rate_limit_exceeded"}}', 9)

    assert frames == b""
    assert [told.kind for told in events if isinstance(told, Failure)] == ["rate_limit"]


def test_an_event_beyond_all_bounds_is_a_failure() -> None:
    relay = StreamRelay(Rules(), TO)
    step = relay.feed(b"data: " + b"x" * (17 * 1024 * 1024))

    assert [type(told) for told in step.events] == [Failure]
    assert relay.feed(CREATED) == (b"", ())
