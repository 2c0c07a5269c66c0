"""The verbatim way: bytes out as they came in, mended only where the official SDK could not read them."""

from typing import Any

import orjson
import pytest
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from translators.assemble import collect
from translators.dialect import Rules
from translators.neutral import Failure, Text, Thinking, ToolCall, Usage
from translators.openai_chat import StreamRelay, parse_request, relay_request, relay_response

HEAD = {"id": "i", "object": "chat.completion.chunk", "created": 1, "model": "m"}
DONE = b"data: [DONE]\n\n"


def relayed(raw: bytes, rules: Rules | None = None, model: str = "m") -> Any:
    body = orjson.loads(raw)
    return relay_request(raw, body, parse_request(body), rules or Rules(), model)


MESSAGES = b'"messages": [ {"role":"user","content":"h\\u00e9"} ]'


@pytest.mark.parametrize(
    ("raw", "sent"),
    [
        (b'{"model":"m",%b}', b'{"model":"m",%b}'),
        (b'{"z":1.0,"model" : "r/m",%b, "a":{"b":[1]}}', b'{"z":1.0,"model" : "m",%b, "a":{"b":[1]}}'),
        (b'{"model":"m","modelport":{"x":1},%b,"models":["a"]}', b'{"model":"m",%b}'),
        (
            b'{"model":"m",%b,"stream":true}',
            b'{"model":"m",%b,"stream":true,"stream_options":{"include_usage":true}}',
        ),
        (
            b'{"model":"m","stream_options":{"include_usage":true},"stream":true,%b}',
            b'{"model":"m","stream_options":{"include_usage":true},"stream":true,%b}',
        ),
        (
            b'{"model":"m","stream_options":{"include_obfuscation":false},"stream":true,%b}',
            b'{"model":"m","stream_options":{"include_obfuscation":false,"include_usage":true},"stream":true,%b}',
        ),
    ],
)
def test_only_what_must_change_is_changed(raw: bytes, sent: bytes) -> None:
    """WIRE 118, 139."""
    result = relayed(raw % MESSAGES)

    assert result.body == sent % MESSAGES
    assert result.losses == ()


@pytest.mark.parametrize(
    ("fields", "rules", "sent", "losses"),
    [
        ({"max_tokens": 5}, Rules(), {"max_tokens": 5}, []),
        ({"max_tokens": 5}, Rules(max_tokens_field="max_completion_tokens"), {"max_completion_tokens": 5}, []),
        ({"max_completion_tokens": 5}, Rules(max_tokens_field="max_tokens"), {"max_tokens": 5}, []),
        pytest.param(
            {"max_completion_tokens": 5, "max_tokens": 9},
            Rules(max_tokens_field="max_tokens"),
            {"max_tokens": 5},
            ["max_tokens"],
            id="WIRE 8",
        ),
        ({"max_completion_tokens": 5, "max_tokens": 9}, Rules(), {"max_completion_tokens": 5}, ["max_tokens"]),
        ({"max_completion_tokens": 5, "max_tokens": 5}, Rules(), {"max_completion_tokens": 5}, []),
        (
            {"max_completion_tokens": None, "max_tokens": 9},
            Rules(),
            {"max_completion_tokens": None, "max_tokens": 9},
            [],
        ),
        (
            {"max_completion_tokens": None, "max_tokens": 9},
            Rules(max_tokens_field="max_completion_tokens"),
            {"max_completion_tokens": 9},
            [],
        ),
        ({"max_tokens": 0}, Rules(), {"max_tokens": 0}, []),
        ({"max_tokens": 0}, Rules(max_tokens_field="max_completion_tokens"), {"max_completion_tokens": 0}, []),
        ({"max_tokens": 50}, Rules(max_output_tokens=9), {"max_tokens": 9}, ["max_tokens"]),
        ({"temperature": 1.5}, Rules(temperature_max=1), {"temperature": 1}, ["temperature"]),
        ({"temperature": 1, "top_p": 1}, Rules(one_of_temperature_top_p=True), {"temperature": 1}, ["top_p"]),
        ({"seed": 1, "min_p": 0.1}, Rules(refuses=frozenset({"seed", "min_p"})), {}, ["seed", "min_p"]),
        ({"seed": 1}, Rules(rename={"seed": "random_seed"}), {"random_seed": 1}, []),
        ({"top_k": 4}, Rules(conformant=True), {}, ["top_k"]),
        ({"top_k": 4}, Rules(), {"top_k": 4}, []),
        ({}, Rules(extra_body={"safe": True}), {"safe": True}, []),
        (
            {"reasoning_effort": "xhigh"},
            Rules(efforts=("low", "high")),
            {"reasoning_effort": "high"},
            ["reasoning_effort"],
        ),
        (
            {"reasoning_effort": "minimal"},
            Rules(efforts=("none", "low")),
            {"reasoning_effort": "low"},
            ["reasoning_effort"],
        ),
        ({"reasoning_effort": "low"}, Rules(thinking="none"), {}, ["reasoning_effort"]),
        ({"reasoning_effort": "none"}, Rules(thinking="adaptive"), {"thinking": {"type": "disabled"}}, []),
        (
            {"thinking": {"type": "enabled", "budget_tokens": 9}},
            Rules(),
            {"thinking": {"type": "enabled", "budget_tokens": 9}},
            [],
        ),
        (
            {"reasoning_effort": "low", "temperature": 1},
            Rules(refuses_while_thinking=frozenset({"temperature"})),
            {"reasoning_effort": "low"},
            ["temperature"],
        ),
        ({"tool_choice": "required"}, Rules(forced_tools="never"), {"tool_choice": "auto"}, ["tool_choice"]),
        pytest.param(
            {"stream": True, "stream_options": {"include_usage": True}},
            Rules(stream_options=False),
            {"stream": True},
            [],
            id="WIRE 118",
        ),
        (
            {"messages": [{"role": "developer", "content": "a", "x": 1}]},
            Rules(developer_role=False),
            {"messages": [{"role": "system", "content": "a", "x": 1}]},
            [],
        ),
    ],
)
def test_quirks_change_top_level_fields(fields: Any, rules: Rules, sent: Any, losses: list[str]) -> None:
    body = {"model": "m", "messages": [{"role": "user", "content": "h"}], **fields}

    result = relayed(orjson.dumps(body), rules)

    assert orjson.loads(result.body) == {"model": "m", "messages": body["messages"], **sent}
    assert [loss.field for loss in result.losses] == losses


GOOD = {
    "id": "i",
    "object": "chat.completion",
    "created": 1,
    "model": "m",
    "new_field": {"x": 1},
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "a"}, "finish_reason": "stop"}],
}


def test_a_good_answer_goes_back_byte_for_byte() -> None:
    raw = orjson.dumps(GOOD, option=orjson.OPT_INDENT_2)

    assert relay_response(raw, Rules())[0] is raw


@pytest.mark.parametrize(
    ("choice", "message", "finish"),
    [
        ({"message": {"content": "a"}, "finish_reason": "eos"}, {"role": "assistant", "content": "a"}, "stop"),
        (
            {
                "message": {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": ""}}]},
                "finish_reason": "stop",
            },
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [{"id": "made", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
            },
            "tool_calls",
        ),
        (
            {"message": {"role": "assistant", "content": "a", "reasoning": "r"}, "finish_reason": "stop"},
            {"role": "assistant", "content": "a", "reasoning": "r", "reasoning_content": "r"},
            "stop",
        ),
        (
            {"message": {"role": "assistant", "content": [{"type": "text", "text": "a"}]}, "finish_reason": "stop"},
            {"role": "assistant", "content": "a"},
            "stop",
        ),
        ({"finish_reason": "content_filter"}, {"role": "assistant", "content": ""}, "content_filter"),
    ],
)
def test_a_bad_answer_is_mended_by_adding_and_correcting(choice: Any, message: Any, finish: str) -> None:
    """WIRE 56, 120, 121, 122."""
    raw = orjson.dumps({"choices": [choice], "extra": 1, "service_tier": "on_demand"})

    sent, _ = relay_response(
        raw, Rules(), fallback_id="chatcmpl-f", fallback_model="fm", created=9, new_id=lambda: "made"
    )

    body = orjson.loads(sent)
    ChatCompletion.model_validate(body)
    found = body["choices"][0]["message"]
    assert {key: value for key, value in found.items() if value or key in message} == message
    assert body["choices"][0]["finish_reason"] == finish
    assert (body["id"], body["model"], body["created"], body["extra"]) == ("chatcmpl-f", "fm", 9, 1)
    assert (body["service_tier"], body["vendor_service_tier"]) == ("default", "on_demand")


# --- streams -------------------------------------------------------------------------------------


def line(delta: Any, finish: Any = None, **fields: Any) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return b"data: " + orjson.dumps({**HEAD, "choices": [choice], **fields}) + b"\n\n"


FIRST = line({"role": "assistant", "content": ""})
USAGE = (
    b"data: "
    + orjson.dumps({**HEAD, "choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}})
    + b"\n\n"
)


def through(
    raw: bytes, size: int = 0, *, rules: Rules | None = None, include_usage: bool = False, **closing: Any
) -> Any:
    relay = StreamRelay(rules or Rules(), include_usage=include_usage, fallback_id="f", fallback_model="fm", created=7)
    pieces = [raw[at : at + size] for at in range(0, len(raw), size)] if size else [raw]
    results = [relay.feed(piece) for piece in pieces]
    results.append(relay.end())
    frames = b"".join(result.frames for result in results) + relay.close(**closing)
    return frames, [event for result in results for event in result.events]


@pytest.mark.parametrize("conformant", [True, False])
@pytest.mark.parametrize("size", [0, 1, 13])
def test_a_good_stream_goes_back_byte_for_byte(conformant: bool, size: int) -> None:
    body = b": hello\n\n" + FIRST + line({"content": "a"}, obfuscation="xx") + line({}, "stop")

    frames, events = through(body + DONE + b"data: {}\n\n", size, rules=Rules(conformant=conformant), receipt=b"{}")

    assert frames == body + b": modelport {}\n\n" + DONE
    assert collect(events).choices[0].parts == (Text("a"),)


def test_the_usage_chunk_reaches_only_who_asked() -> None:
    """WIRE 118."""
    raw = FIRST + line({"content": "a"}, "stop") + USAGE + DONE

    assert through(raw, include_usage=True)[0] == raw
    frames, events = through(raw)
    assert frames == raw.replace(USAGE, b"")
    usage = collect(events).usage
    assert usage is not None
    assert usage.output_tokens == 2


def test_an_own_count_stands_in_for_a_server_without_usage() -> None:
    """WIRE 128."""
    raw = FIRST + line({"content": "a"}, "stop") + DONE

    frames, _ = through(raw, include_usage=True, usage=Usage(4, 2))

    last = orjson.loads(frames.split(b"\n\n")[-3][6:])
    assert (last["choices"], last["usage"]["total_tokens"], last["id"]) == ([], 6, "i")
    assert (
        frames
        == through(raw, include_usage=True)[0].removesuffix(DONE) + b"data: " + orjson.dumps(last) + b"\n\n" + DONE
    )


@pytest.mark.parametrize(
    ("lines", "deltas", "finish"),
    [
        pytest.param(
            [line({"content": "a"}), line({}, "eos")],
            [{"role": "assistant", "content": "a"}, {}],
            "stop",
            id="role, eos",
        ),
        pytest.param(
            [
                line({"role": "assistant", "content": "a"}),
                line({"role": "assistant", "content": "b"}),
                line({}, "stop"),
            ],
            [{"role": "assistant", "content": "a"}, {"content": "b"}, {}],
            "stop",
            id="role doubled",
        ),
        pytest.param(
            [line({"role": "assistant", "reasoning": "r"}), line({}, "stop")],
            [{"role": "assistant", "reasoning": "r", "reasoning_content": "r"}, {}],
            "stop",
            id="WIRE 122",
        ),
        pytest.param(
            [
                line(
                    {
                        "role": "assistant",
                        "tool_calls": [{"index": 0, "id": "a", "function": {"name": "f", "arguments": "{}"}}],
                    }
                ),
                line({"tool_calls": [{"index": 0, "id": "b", "function": {"name": "g", "arguments": ""}}]}),
                line({}, "stop"),
            ],
            [
                {
                    "role": "assistant",
                    "tool_calls": [
                        {"index": 0, "id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}
                    ],
                },
                {
                    "tool_calls": [
                        {"index": 1, "id": "b", "type": "function", "function": {"name": "g", "arguments": ""}}
                    ]
                },
                {"tool_calls": [{"index": 1, "function": {"arguments": "{}"}}]},
            ],
            "tool_calls",
            id="WIRE 56, 120, 121",
        ),
    ],
)
def test_a_bad_stream_is_mended(lines: list[bytes], deltas: list[Any], finish: str) -> None:
    frames, _ = through(b"".join(lines) + DONE)

    chunks = [orjson.loads(frame[6:]) for frame in frames.split(b"\n\n") if frame.startswith(b"data: {")]
    for chunk in chunks:
        ChatCompletionChunk.model_validate(chunk)
    assert [chunk["choices"][0]["delta"] for chunk in chunks] == deltas
    assert chunks[-1]["choices"][0]["finish_reason"] == finish


@pytest.mark.parametrize(
    ("raw", "status", "code"),
    [
        pytest.param(FIRST, 502, "upstream_invalid_response", id="cut"),
        pytest.param(
            FIRST + b'data: {"error":{"message":"x","code":503}}\n\n' + line({"content": "b"}),
            503,
            "overloaded",
            id="WIRE 60",
        ),
        pytest.param(FIRST + b"data: {oops\n\n", 502, "upstream_invalid_response", id="not JSON"),
    ],
)
def test_a_stream_that_fails_ends_in_one_error_frame(raw: bytes, status: int, code: str) -> None:
    """The failure passes as an event; its frame is written in words that the caller has made fit for the client."""
    relay = StreamRelay(Rules(), include_usage=False, fallback_id="f", fallback_model="fm", created=7)

    fed, ended = relay.feed(raw), relay.end()
    failure = [*fed.events, *ended.events][-1]

    assert isinstance(failure, Failure)
    assert failure.status == status
    assert fed.frames + ended.frames == FIRST
    assert orjson.loads(relay.fail(failure)[6:])["error"]["code"] == code


@pytest.mark.parametrize("size", [1, 3, 50])
def test_think_tags_are_split_in_passing(size: int) -> None:
    """WIRE 125."""
    text = "<think>r</think>a"
    raw = (
        b"".join(line({"content": text[at : at + size]}) for at in range(0, len(text), size)) + line({}, "stop") + DONE
    )

    frames, events = through(raw, rules=Rules(think_tags=True, conformant=True))

    again = through(frames)[1]
    assert collect(events).choices[0].parts == collect(again).choices[0].parts == (Thinking("r"), Text("a"))


def test_a_last_event_without_blank_line_is_closed() -> None:
    frames, _ = through((FIRST + line({"content": "a"}, "stop")).rstrip(b"\n"))

    assert frames == FIRST + line({"content": "a"}, "stop") + DONE


def test_calls_of_both_forms_are_read_once() -> None:
    call = {"index": 0, "id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    raw = (
        line({"role": "assistant", "tool_calls": [call], "function_call": call["function"]})
        + line({}, "tool_calls")
        + DONE
    )

    assert collect(through(raw)[1]).choices[0].parts == (ToolCall("c", "f", "{}"),)


@pytest.mark.parametrize(
    "usage",
    [
        {"prompt_tokens": -1, "completion_tokens": 2, "total_tokens": 1},
        {"prompt_tokens": "one", "completion_tokens": 2},
        {"prompt_tokens": True, "completion_tokens": 2, "total_tokens": 3},
        {"prompt_tokens": 1, "completion_tokens": 2e12, "total_tokens": 3},
        {"cost": 0.1},
        "three",
    ],
)
def test_usage_that_cannot_be_is_moved_out_of_the_way(usage: Any) -> None:
    raw = orjson.dumps({**GOOD, "usage": usage})

    sent, response = relay_response(raw, Rules())

    body = orjson.loads(sent)
    ChatCompletion.model_validate(body)
    assert response.usage is None
    assert (body["usage"], body["vendor_usage"]) == (None, usage)


def test_details_of_usage_that_cannot_be_are_mended() -> None:
    details = {"cached_tokens": "many", "audio_tokens": None, "note": "n"}
    usage = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": -3, "prompt_tokens_details": details}
    usage["completion_tokens_details"] = [4]

    sent, _ = relay_response(orjson.dumps({**GOOD, "usage": usage}), Rules())

    body = orjson.loads(sent)
    ChatCompletion.model_validate(body)
    assert body["usage"] == {
        "prompt_tokens": 1,
        "completion_tokens": 2,
        "total_tokens": 3,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": None, "note": "n"},
        "completion_tokens_details": None,
    }


@pytest.mark.parametrize("earlier", [b"", USAGE], ids=["alone", "after-good-counts"])
def test_the_own_count_stands_in_for_a_streams_usage_that_cannot_be(earlier: bytes) -> None:
    wrong = orjson.dumps({**HEAD, "choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": -2}})
    raw = FIRST + line({"content": "a"}, "stop") + earlier + b"data: " + wrong + b"\n\n" + DONE

    frames, events = through(raw, include_usage=True, usage=Usage(4, 2))

    chunks = [orjson.loads(part[6:]) for part in frames.split(b"\n\n") if part.startswith(b"data: {")]
    for chunk in chunks:
        ChatCompletionChunk.model_validate(chunk)
    assert collect(events).usage is None
    assert chunks[-1]["usage"]["total_tokens"] == 6
    assert chunks[-2]["usage"] is None


def test_the_client_and_the_reader_of_a_relayed_answer_know_a_call_by_one_id_that_never_comes_again() -> None:
    calls = [{"function": {"name": "f", "arguments": "{}"}}, {"id": "", "function": {"name": "g", "arguments": "{}"}}]
    raw = orjson.dumps({**GOOD, "choices": [{"message": {"tool_calls": calls}, "finish_reason": "tool_calls"}]})
    told = [relay_response(raw, Rules()) for _ in range(2)]

    ids = [call["id"] for sent, _ in told for call in orjson.loads(sent)["choices"][0]["message"]["tool_calls"]]
    assert [part.id for _, read in told for part in read.choices[0].parts if isinstance(part, ToolCall)] == ids
    assert len(set(ids)) == 4
