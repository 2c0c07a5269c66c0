"""Streams, read from any server at any cut, and written as OpenAI would."""

from collections.abc import Callable
from itertools import count
from random import Random
from typing import Any

import orjson
import pytest
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types.chat import ChatCompletionChunk

from translators.assemble import collect, replay
from translators.dialect import Rules
from translators.neutral import (
    Choice,
    Event,
    Failure,
    Finish,
    Image,
    Native,
    Opaque,
    Part,
    PartDelta,
    PartEnd,
    PartStart,
    Response,
    Source,
    Start,
    Text,
    Thinking,
    ToolCall,
    Usage,
    UsageReport,
)
from translators.openai_chat import StreamParser, StreamRelay, StreamRenderer, parse_response, render_response

DONE = b"data: [DONE]\n\n"
HEAD = {"id": "i", "object": "chat.completion.chunk", "created": 1, "model": "m"}


def line(*choices: dict[str, Any], **fields: Any) -> bytes:
    return b"data: " + orjson.dumps({**HEAD, "choices": list(choices), **fields}) + b"\n\n"


def delta(finish: Any = None, index: int | None = 0, **fields: Any) -> dict[str, Any]:
    choice: dict[str, Any] = {"delta": fields, "finish_reason": finish}
    return choice if index is None else {"index": index, **choice}


def call(index: int | None = 0, **fields: Any) -> dict[str, Any]:
    inner = {name: fields.pop(name) for name in ("name", "arguments") if name in fields}
    found: dict[str, Any] = {**fields, "function": inner}
    return found if index is None else {"index": index, **found}


def numbered() -> Callable[[], str]:
    """Ids for calls that have none."""
    numbers = count()
    return lambda: f"made_{next(numbers)}"


def parsed(raw: bytes, size: int = 0, rules: Rules | None = None) -> list[Event]:
    parser = StreamParser(rules, numbered())
    pieces = [raw[at : at + size] for at in range(0, len(raw), size)] if size else [raw]
    return [*(event for piece in pieces for event in parser.feed(piece)), *parser.close()]


NAMED = {
    "in pieces": [
        call(id="c", name="get_", arguments=""),
        call(name="wea"),
        call(name="ther", arguments=""),
        call(arguments="{}"),
    ],
    "in pieces, the last with the arguments": [call(id="c", name="get_"), call(name="weather", arguments="{}")],
    "told late": [call(id="c"), call(name="get_weather", arguments="{}")],
    "again and again": [
        call(id="c", name="get_weather", arguments=""),
        call(id="c", name="get_weather", arguments="{"),
        call(id="c", name="get_weather", arguments="}"),
    ],
    "again without arguments": [call(id="c", name="get_weather"), call(name="get_weather")],
    "as far as it goes": [call(id="c", name="get_"), call(name="get_weather", arguments="{}")],
    "another one beside the arguments": [
        call(id="c", name="get_weather", arguments="{"),
        call(name="weather", arguments="}"),
    ],
}
"""Fragments of one call: in which ways servers tell its name."""

CASES = [
    pytest.param([line(delta(content="a")), line(delta("stop"))], [Text("a")], "stop", id="no role, no [DONE]"),
    pytest.param(
        [line(), line(delta(content="a")), line(delta("stop")), DONE], [Text("a")], "stop", id="choices empty first"
    ),
    pytest.param(
        [line(delta(content="a")), line(delta("stop")), line(delta("stop")), DONE],
        [Text("a")],
        "stop",
        id="finish twice",
    ),
    pytest.param(
        [line(delta(content="a")), line(delta("", index=None)), DONE], [Text("a")], "stop", id="empty finish, no index"
    ),
    pytest.param([line(delta("eos", content="a")), DONE], [Text("a")], "stop", id="finish with content, foreign word"),
    pytest.param(
        [line({"index": 0, "delta": None}), line(delta("stop", content="a")), DONE],
        [Text("a")],
        "stop",
        id="null delta",
    ),
    pytest.param(
        [line(delta(tool_calls=[call(id="c", name="f", arguments="{}")])), line(delta("stop")), DONE],
        [ToolCall("c", "f", "{}")],
        "tool_calls",
        id="WIRE 120",
    ),
    pytest.param(
        [
            line(delta(tool_calls=[call(id="c1", name="f", arguments='{"a"')])),
            line(delta(tool_calls=[call(arguments=":1}")])),
            line(delta(tool_calls=[call(id="c2", name="g", arguments="{}")])),
            line(delta("tool_calls")),
            DONE,
        ],
        [ToolCall("c1", "f", '{"a":1}'), ToolCall("c2", "g", "{}")],
        "tool_calls",
        id="WIRE 121 all on index 0",
    ),
    pytest.param(
        [
            line(
                delta(
                    "tool_calls",
                    tool_calls=[call(None, id="c1", name="f", arguments=""), call(None, id="c2", name="g")],
                )
            ),
            DONE,
        ],
        [ToolCall("c1", "f", "{}"), ToolCall("c2", "g", "{}")],
        "tool_calls",
        id="WIRE 56, 121 no index, no arguments",
    ),
    pytest.param(
        [
            line(delta(tool_calls=[call(0, id="c1", name="f"), call(1, id="c2", name="g")])),
            line(delta(tool_calls=[call(1, id=None, name=None, arguments="{}")])),
            line(delta(tool_calls=[call(0, id="", name="", arguments="[]")])),
            line(delta("tool_calls")),
            DONE,
        ],
        [ToolCall("c1", "f", "[]"), ToolCall("c2", "g", "{}")],
        "tool_calls",
        id="interleaved, null ids later",
    ),
    pytest.param(
        [
            line(delta(function_call={"name": "f", "arguments": ""})),
            line(delta("function_call", function_call={"arguments": "{}"})),
            DONE,
        ],
        [ToolCall("made_0", "f", "{}")],
        "tool_calls",
        id="older form",
    ),
    pytest.param(
        [
            line(
                delta(
                    tool_calls=[call(id="c", name="f", arguments="{}")], function_call={"name": "f", "arguments": "{}"}
                )
            ),
            line(delta("stop")),
            DONE,
        ],
        [ToolCall("c", "f", "{}")],
        "tool_calls",
        id="both forms at once",
    ),
    *(
        pytest.param(
            [line(delta(tool_calls=[each])) for each in told] + [line(delta("tool_calls")), DONE],
            [ToolCall("c", "get_weather", "{}")],
            "tool_calls",
            id=f"a name {how}",
        )
        for how, told in NAMED.items()
    ),
    pytest.param(
        [line(delta(reasoning="r", content="")), line(delta(content="a")), line(delta("stop")), DONE],
        [Thinking("r"), Text("a")],
        "stop",
        id="WIRE 122",
    ),
    pytest.param(
        [
            line(delta(reasoning="r", reasoning_details=[{"type": "reasoning.text", "text": "r", "index": 0}])),
            line(delta(reasoning_details=[{"type": "reasoning.encrypted", "data": "e", "index": 0}])),
            line(delta("stop", content="a")),
            DONE,
        ],
        [
            Thinking(
                "r",
                {
                    "openai_chat": {
                        "reasoning_details": [
                            {"type": "reasoning.text", "text": "r", "index": 0},
                            {"type": "reasoning.encrypted", "data": "e", "index": 0},
                        ]
                    }
                },
            ),
            Text("a"),
        ],
        "stop",
        id="reasoning details",
    ),
    pytest.param(
        [
            line(delta(content=[{"type": "thinking", "thinking": [{"type": "text", "text": "r"}]}])),
            line(delta("stop", content="a")),
            DONE,
        ],
        [Thinking("r"), Text("a")],
        "stop",
        id="content list",
    ),
    pytest.param(
        [
            line({**delta(content="a"), "message": {"content": "a"}}),
            line({**delta("stop"), "message": {"content": "a"}}),
            DONE,
        ],
        [Text("a")],
        "stop",
        id="message beside delta",
    ),
    pytest.param([line(delta(content="a")), DONE], [Text("a")], "stop", id="finish forgotten"),
    pytest.param(
        [line(delta(images=[{"image_url": {"url": "https://x"}}])), line(delta("stop")), DONE],
        [Image(Source(url="https://x"))],
        "stop",
        id="picture",
    ),
]


@pytest.mark.parametrize(("lines", "parts", "reason"), CASES)
def test_streams_of_all_servers_are_read(lines: list[bytes], parts: list[Part], reason: str) -> None:
    raw = b"".join(lines)
    whole = parsed(raw)

    assert all(parsed(raw, size) == whole for size in (1, 7, 64))
    response = collect(whole)
    assert list(response.choices[0].parts) == parts
    assert response.choices[0].finish_reason == reason
    assert response.failure is None


@pytest.mark.parametrize(
    ("raw", "kind", "status"),
    [
        pytest.param(
            line(delta(content="a")) + b'data: {"error":{"message":"x","code":429}}\n\n',
            "rate_limit",
            429,
            id="WIRE 60, 126",
        ),
        (line(delta(content="a")), "invalid_response", 502),
        (b"", "invalid_response", 502),
        (b": hello\n\n", "invalid_response", 502),
        (b"data: {oops\n\n", "invalid_response", 502),
        (b"data: [1]\n\n", "invalid_response", 502),
        (b'event: error\ndata: {"message":"x","code":503}\n\n', "overloaded", 503),
    ],
)
def test_a_stream_that_fails_ends_in_a_failure(raw: bytes, kind: str, status: int) -> None:
    for size in (0, 1):
        failure = parsed(raw, size)[-1]
        assert isinstance(failure, Failure)
        assert (failure.kind, failure.status) == (kind, status)


def test_nothing_counts_after_the_end() -> None:
    raw = line(delta("stop", content="a")) + DONE

    assert parsed(raw + line(delta(content="b"))) == parsed(raw)


def test_usage_counts_on_any_chunk_and_the_last_wins() -> None:
    """WIRE 119."""
    usage = {"prompt_tokens": 1, "completion_tokens": 1}
    raw = line(delta(content="a"), usage=usage) + line(delta("stop"), usage={**usage, "completion_tokens": 2}) + DONE

    response = collect(parsed(raw))

    assert response.usage is not None
    assert (response.usage.input_tokens, response.usage.output_tokens) == (1, 2)


def test_choices_may_interleave_and_the_second_may_begin() -> None:
    raw = b"".join(
        line(delta(finish, index, content=text))
        for index, text, finish in [(1, "b", None), (0, "a", None), (1, "B", "stop"), (0, "A", "length")]
    )

    response = collect(parsed(raw + DONE))

    assert [(choice.parts, choice.finish_reason) for choice in response.choices] == [
        ((Text("aA"),), "length"),
        ((Text("bB"),), "stop"),
    ]


@pytest.mark.parametrize("size", range(1, 12))
def test_think_tags_are_split_at_every_cut(size: int) -> None:
    """WIRE 125."""
    text = "<think>\nr\n\nr2\n</think>\n\nanswer <think>"
    raw = b"".join(line(delta(content=text[at : at + size])) for at in range(0, len(text), size))

    response = collect(parsed(raw + line(delta("stop")) + DONE, rules=Rules(think_tags=True)))

    assert response.choices[0].parts == (Thinking("r\n\nr2"), Text("answer <think>"))


JUNK: list[Any] = [None, 0, -1, "", [], {}, "x", True, [None], [1], {"a": 1}, 1.5, 1e300]


def mutated(value: Any, rng: Random) -> Any:
    if rng.random() < 0.08:
        return rng.choice(JUNK)
    if isinstance(value, dict):
        return {key: mutated(item, rng) for key, item in value.items()}
    return [mutated(item, rng) for item in value] if isinstance(value, list) else value


RICH = [
    {
        "index": 0,
        "delta": {"role": "assistant", "content": "a", "annotations": [{"type": "url_citation"}]},
        "finish_reason": None,
    },
    {
        "index": 0,
        "delta": {"reasoning": "r", "reasoning_details": [{"text": "r", "index": 0}]},
        "logprobs": {"content": [{"token": "a", "logprob": -1, "top_logprobs": []}]},
    },
    {
        "index": 1,
        "delta": {"tool_calls": [call(0, id="c", name="f", arguments="{}"), call(1, id="d", name="g", arguments="")]},
    },
    {
        "index": 0,
        "delta": {
            "thinking_blocks": [{"type": "thinking", "thinking": "t", "signature": "s"}],
            "extra_content": {"x": {"blocks": [{}]}},
        },
    },
    {
        "index": 0,
        "delta": {
            "audio": {"id": "a", "data": "AA==", "transcript": "t"},
            "images": [{"image_url": {"url": "u"}}],
            "refusal": "no",
        },
    },
    {"index": 0, "delta": {"function_call": {"name": "f"}}, "finish_reason": "stop", "message": {"content": "x"}},
]


@pytest.mark.parametrize("seed", range(150))
@pytest.mark.parametrize("think_tags", [False, True])
def test_nothing_that_a_server_may_send_raises(seed: int, think_tags: bool) -> None:
    rng = Random(seed)
    chunks = [{**HEAD, "choices": [choice], "usage": {"prompt_tokens": 1}} for choice in RICH]
    raw = b"".join(b"data: " + orjson.dumps(mutated(chunk, rng)) + b"\n\n" for chunk in chunks) + DONE
    rules = Rules(think_tags=think_tags)
    options: dict[str, Any] = {"include_usage": True, "fallback_id": "f", "fallback_model": "m", "created": 1}
    relay = StreamRelay(rules, **options, new_id=numbered())

    events = parsed(raw, rules=rules)
    passed = relay.feed(raw)

    assert isinstance(events[-1], Finish | UsageReport | Failure)
    assert passed.events == events
    StreamRenderer(**options).render(events)


@pytest.mark.parametrize("how", NAMED)
def test_a_relayed_name_reads_the_same_for_a_client_that_joins_it(how: str) -> None:
    raw = b"".join(line(delta(tool_calls=[each])) for each in NAMED[how]) + line(delta("tool_calls")) + DONE
    relay = StreamRelay(Rules(), include_usage=False, fallback_id="f", fallback_model="m", created=1)
    state = ChatCompletionStreamState()

    frames = relay.feed(raw).frames
    for frame in frames.split(b"\n\n"):
        if frame.startswith(b"data: {"):
            state.handle_chunk(ChatCompletionChunk.model_validate_json(frame[6:]))

    told = [call.function for call in state.get_final_completion().choices[0].message.tool_calls or ()]
    assert [(each.name, each.arguments) for each in told] == [("get_weather", "{}")]


def test_ids_of_calls_that_a_server_leaves_out_never_come_again() -> None:
    """An answer's own id may be the same each time; what is relayed and what is read of it agree."""
    raw = line(delta(tool_calls=[call(name="f", arguments="{}")])) + line(delta("tool_calls")) + DONE
    ids = set()
    for _ in range(2):
        relay = StreamRelay(Rules(), include_usage=False, fallback_id="f", fallback_model="m", created=1)
        relayed = relay.feed(raw)
        (read,) = collect(list(relayed.events)).choices[0].parts
        assert isinstance(read, ToolCall)
        assert f'"id":"{read.id}"'.encode() in relayed.frames
        ids |= {read.id, *(part.id for part in _calls_in(raw))}

    assert len(ids) == 4


def _calls_in(raw: bytes) -> list[ToolCall]:
    parser = StreamParser()
    events = [*parser.feed(raw), *parser.close()]
    return [part for part in collect(events).choices[0].parts if isinstance(part, ToolCall)]


# --- writing -------------------------------------------------------------------------------------


def rendered(events: list[Event], *, include_usage: bool = False, **options: Any) -> tuple[list[Any], bytes]:
    renderer = StreamRenderer(include_usage=include_usage, fallback_id="f", fallback_model="fm", created=7, **options)
    raw = b"".join(renderer.render([event]) for event in events) + renderer.close(b'{"cost_usd":"0"}')
    frames = [orjson.loads(line[6:]) for line in raw.split(b"\n") if line.startswith(b"data: {")]
    for frame in frames:
        if "error" not in frame:
            ChatCompletionChunk.model_validate(frame)
    return frames, raw


def answer(*parts: Part, reason: Any = "stop", native: Native | None = None) -> list[Event]:
    return list(replay(Response("i", "m", 1, (Choice(parts, reason, native=native or {}),), Usage(3, 2))))


def deltas(frames: list[Any]) -> list[Any]:
    return [choice["delta"] for frame in frames for choice in frame["choices"]]


def test_every_chunk_has_one_head_and_the_end_is_in_order() -> None:
    """WIRE 62."""
    frames, raw = rendered(answer(Text("a"), Text("b")), include_usage=True)

    assert {(f["id"], f["created"], f["model"], f["object"]) for f in frames} == {
        ("i", 1, "m", "chat.completion.chunk")
    }
    assert deltas(frames) == [{"role": "assistant", "content": ""}, {"content": "a"}, {"content": "b"}, {}]
    assert frames[-2]["choices"][0]["finish_reason"] == "stop"
    assert frames[-1]["choices"] == []
    assert frames[-1]["usage"]["total_tokens"] == 5
    assert raw.endswith(b': modelport {"cost_usd":"0"}\n\ndata: [DONE]\n\n')


def test_usage_is_kept_from_clients_that_did_not_ask() -> None:
    """WIRE 62, 118."""
    frames, _ = rendered(answer(Text("a")))

    assert all("usage" not in frame and frame["choices"] for frame in frames)


def test_calls_are_numbered_among_themselves_and_named_once() -> None:
    """WIRE 54, 55, 56, 67: the index counts calls, not parts; deltas of open calls may interleave."""
    events: list[Event] = [
        Start("", "", 0),
        PartStart(0, Text("")),
        PartDelta(0, "t"),
        PartEnd(0),
        PartStart(1, ToolCall("c1", "f", "")),
        PartStart(2, ToolCall("c2", "g", "")),
        PartDelta(1, '{"a":1}'),
        PartEnd(1),
        PartEnd(2),
        Finish("tool_calls"),
    ]

    frames, _ = rendered(events)

    assert [d["tool_calls"][0] for d in deltas(frames) if "tool_calls" in d] == [
        {"index": 0, "id": "c1", "type": "function", "function": {"name": "f", "arguments": ""}},
        {"index": 1, "id": "c2", "type": "function", "function": {"name": "g", "arguments": ""}},
        {"index": 0, "function": {"arguments": '{"a":1}'}},
        {"index": 1, "function": {"arguments": "{}"}},
    ]
    assert {(f["id"], f["model"], f["created"]) for f in frames} == {("f", "fm", 7)}


def test_a_failure_is_the_last_frame() -> None:
    """WIRE 60, 133."""
    failure = Failure("overloaded", "busy", 529)
    events: list[Event] = [Start("i", "m", 1), PartStart(0, Text("a")), failure]
    renderer = StreamRenderer(include_usage=True, fallback_id="f", fallback_model="fm", created=7)

    said, last = renderer.render(events), renderer.fail(failure)

    assert b"error" not in said
    assert orjson.loads(last[6:]) == {
        "error": {"message": "busy", "type": "server_error", "param": None, "code": "overloaded"}
    }


SIGNED: tuple[Part, ...] = (
    Thinking("t", {"anthropic": {"signature": "s"}}),
    Thinking("", {"anthropic": {"redacted_data": "d"}}),
    Opaque("anthropic", "server_tool_use", {"type": "server_tool_use", "id": "x"}),
    Opaque("anthropic", "web_search_tool_result", {"type": "web_search_tool_result"}),
    Text("a", native={"gemini": {"thoughtSignature": "g1"}}),
    ToolCall("c", "f", '{"a":1}', native={"gemini": {"thoughtSignature": "g2"}}),
    ToolCall("c2", "g", "{}"),
)


def test_a_stream_says_what_the_whole_answer_says() -> None:
    """WIRE 57, 58, 59, 64, 76: signatures, opaque blocks and the stop sequence survive the official SDK's joining."""
    native = {"anthropic": {"stop_sequence": "X"}}
    events = answer(*SIGNED, reason="tool_calls", native=native)
    frames, raw = rendered(events, include_usage=True)
    sdk = ChatCompletionStreamState()
    for frame in frames:
        sdk.handle_chunk(ChatCompletionChunk.model_validate(frame))

    joined = parse_response(sdk.current_completion_snapshot.model_dump(exclude_none=True))

    assert joined.choices[0].parts == SIGNED
    assert collect(parsed(raw)).choices[0].parts == SIGNED
    assert collect(parsed(raw)).choices[0].native == native
    whole = render_response(collect(events), fallback_id="", fallback_model="", created=0)
    assert parse_response(whole).choices[0].parts == SIGNED


def test_a_pause_stands_beside_stop() -> None:
    """WIRE 47."""
    frames, _ = rendered(answer(Text("a"), reason="pause"))

    assert frames[-1]["choices"][0]["finish_reason"] == "stop"
    assert frames[-1]["choices"][0]["extra_content"] == {"modelport": {"finish_reason": "pause"}}


def test_a_client_of_the_older_form_gets_function_call_deltas() -> None:
    frames, _ = rendered(answer(ToolCall("c", "f", "{}"), reason="tool_calls"), legacy_functions=True)

    assert deltas(frames)[1:3] == [
        {"function_call": {"name": "f", "arguments": ""}},
        {"function_call": {"arguments": "{}"}},
    ]
    assert frames[-1]["choices"][0]["finish_reason"] == "function_call"


def test_without_usage_no_zero_is_claimed() -> None:
    """WIRE 128."""
    events = [event for event in answer(Text("a")) if not isinstance(event, UsageReport)]

    frames, _ = rendered(events, include_usage=True)

    assert all(frame["choices"] for frame in frames)
