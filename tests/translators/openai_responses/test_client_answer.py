"""Answers of any vendor for Responses clients, whole and as streams, read with the official SDK's own types."""

import warnings
from collections.abc import Iterator
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai._types import omit
from openai.lib.streaming.responses._responses import ResponseStreamState
from openai.types.responses import Response as SdkResponse
from openai.types.responses import ResponseStreamEvent
from pydantic import TypeAdapter

from translators.assemble import collect, replay
from translators.dialect import ReplyTo
from translators.neutral import (
    Audio,
    Choice,
    Event,
    Failure,
    Finish,
    Image,
    Opaque,
    PartDelta,
    PartEnd,
    PartStart,
    Refusal,
    Response,
    ResponseNative,
    Source,
    Start,
    Text,
    Thinking,
    TokenLogprob,
    ToolCall,
    Usage,
    UsageReport,
)
from translators.openai_responses.client import (
    StreamRenderer,
    parse_request,
    render_error,
    render_input_tokens,
    render_response,
)
from translators.sealed import unseal

OWN = "openai_responses"
EVENT: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)
BODY = {
    "model": "asked",
    "input": "hi",
    "instructions": "be brief",
    "temperature": 0.5,
    "max_output_tokens": 99,
    "tools": [{"type": "function", "name": "f", "parameters": {"type": "object"}, "strict": False}],
    "tool_choice": "auto",
    "reasoning": {"effort": "low"},
    "text": {"format": {"type": "text"}},
    "metadata": {"a": "b"},
    "store": False,
    "service_tier": "flex",
    "stream": True,
}


def to_client(**fields: Any) -> ReplyTo:
    body = {**BODY, **fields}
    return ReplyTo(parse_request(body), body, "abc", 1700000000)


def answer(*parts: Any, reason: Any = "stop", **fields: Any) -> Response:
    choice = {name: fields.pop(name) for name in ("logprobs",) if name in fields}
    return Response("vendor-1", "told", 1700000001, (Choice(parts, reason, **choice),), **fields)


def decoded(raw: bytes) -> list[dict[str, Any]]:
    """The events, each with the name that its frame gives it."""
    events = []
    for block in raw.decode().split("\n\n"):
        if not block or block.startswith(":"):
            continue
        name, data = block.split("\n")
        events.append(orjson.loads(data.removeprefix("data: ")))
        assert name == f"event: {events[-1]['type']}"
    return events


def streamed(events: list[Event], to: ReplyTo | None = None) -> list[dict[str, Any]]:
    renderer = StreamRenderer(to or to_client())
    return decoded(renderer.render(events) + renderer.close())


def valid(body: dict[str, Any]) -> SdkResponse:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return SdkResponse.model_validate(body)


def sdk_final(frames: list[dict[str, Any]]) -> Any:
    """What the SDK's own accumulator makes of a stream."""
    state: Any = ResponseStreamState(input_tools=omit, text_format=omit)
    fired = [event for told in frames for event in state.handle_event(EVENT.validate_python(told))]
    return fired[-1].response


def said(response: Any) -> Any:
    """The output, without the places that the SDK adds for what it may parse."""
    added = ("parsed", "parsed_arguments")

    def bare(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: bare(item) for name, item in value.items() if name not in added}
        return [bare(item) for item in value] if isinstance(value, list) else value

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return bare(response.model_dump()["output"])


USAGE = Usage(10, 7, cached_input_tokens=4, cache_write_tokens=2, reasoning_tokens=3)


def test_a_whole_answer() -> None:
    """Ids follow from the answer's own and the item's place; the request's fields are repeated."""
    body = render_response(answer(Text("hello"), ToolCall("call_1", "f", '{"a":1}'), usage=USAGE), to_client())

    assert body["output"] == [
        {
            "id": "msg_abc_0",
            "type": "message",
            "status": "completed",
            "role": "assistant",
            "content": [{"type": "output_text", "annotations": [], "logprobs": [], "text": "hello"}],
        },
        {
            "id": "fc_abc_1",
            "type": "function_call",
            "status": "completed",
            "call_id": "call_1",
            "name": "f",
            "arguments": '{"a":1}',
        },
    ]
    assert body["usage"] == {
        "input_tokens": 10,
        "input_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 2},
        "output_tokens": 7,
        "output_tokens_details": {"reasoning_tokens": 3},
        "total_tokens": 17,
    }
    told = {name: body[name] for name in ("id", "object", "created_at", "model", "status", "error")}
    assert told == {
        "id": "resp_abc",
        "object": "response",
        "created_at": 1700000001,
        "model": "told",
        "status": "completed",
        "error": None,
    }
    repeated = {name: body[name] for name in BODY if name not in ("model", "input", "stream", "reasoning")}
    assert repeated == {name: BODY[name] for name in repeated}
    assert body["reasoning"] == {"effort": "low", "summary": None}
    assert valid(body).output_text == "hello"


def test_the_vendors_own_id_tier_and_fields_are_kept() -> None:
    native = {OWN: {"service_tier": "priority", "billing": {"payer": "x"}}, "openai_chat": {"service_tier": "priority"}}
    body = render_response(Response("resp_1", "m", 0, (Choice((), "stop"),), native=native), to_client())

    assert (body["id"], body["created_at"], body["service_tier"]) == ("resp_1", 1700000000, "priority")
    assert body["billing"] == {"payer": "x"}
    assert "extra_content" not in body


@pytest.mark.parametrize(
    ("part", "item"),
    [
        (
            Thinking("why", {"anthropic": {"signature": "s"}}),
            {"id": "rs_abc_0", "type": "reasoning", "summary": [{"type": "summary_text", "text": "why"}]},
        ),
        (Thinking("", {"anthropic": {"redacted_data": "x"}}), {"id": "rs_abc_0", "type": "reasoning", "summary": []}),
        (
            Thinking("why", {OWN: {"id": "rs_9", "summary": [], "encrypted_content": "enc"}}),
            {"id": "rs_9", "type": "reasoning", "summary": [], "encrypted_content": "enc"},
        ),
        (
            ToolCall("c", "g", "raw text", "custom"),
            {"id": "ctc_abc_0", "type": "custom_tool_call", "status": "completed", "call_id": "c", "name": "g"}
            | {"input": "raw text"},
        ),
        (
            ToolCall("c", "f", "", native={"gemini": {"thoughtSignature": "sig"}}),
            {"id": "fc_abc_0", "type": "function_call", "status": "completed", "call_id": "c", "name": "f"}
            | {"arguments": "{}", "extra_content": {"google": {"thought_signature": "sig"}}},
        ),
        (
            Refusal("no"),
            {"id": "msg_abc_0", "type": "message", "status": "completed", "role": "assistant"}
            | {"content": [{"type": "refusal", "refusal": "no"}]},
        ),
        (
            Image(Source("image/png", "AAAA")),
            {"id": "ig_abc_0", "type": "image_generation_call", "status": "completed", "result": "AAAA"}
            | {"output_format": "png"},
        ),
        (
            Opaque(OWN, "web_search_call", {"id": "ws_1", "type": "web_search_call", "status": "completed"}),
            {"id": "ws_1", "type": "web_search_call", "status": "completed"},
        ),
    ],
)
def test_parts_as_items(part: Any, item: dict[str, Any]) -> None:
    found = render_response(answer(part), to_client())["output"]

    sealed = found[0].pop("encrypted_content") if "encrypted_content" not in item and part.__class__ is Thinking else ""
    assert found == [item]
    assert not sealed or unseal(sealed) == part.native


def test_reasoning_without_a_signature_is_sealed_too() -> None:
    """So a Responses server is never asked for an item that it does not know."""
    item = render_response(answer(Thinking("why")), to_client())["output"][0]

    assert unseal(item["encrypted_content"]) == {}


def test_citations_are_flat_and_complete() -> None:
    nested = {"type": "url_citation", "url_citation": {"url": "u", "start_index": 1, "end_index": 2}}
    filed = {"type": "file_citation", "file_id": "f", "filename": "n", "index": 0}
    content = render_response(answer(Text("abc", (nested, filed))), to_client())["output"][0]["content"]

    flat = {"type": "url_citation", "start_index": 1, "end_index": 2, "title": "", "url": "u"}
    assert content[0]["annotations"] == [flat, filed]


def test_neighbouring_texts_are_one_message_unless_their_ids_differ() -> None:
    parts = (
        Text("a"),
        Text("b"),
        ToolCall("c", "f", "{}"),
        Text("d"),
        Text("e", native={OWN: {"id": "msg_1", "phase": "commentary"}}),
        Text("f", native={OWN: {"id": "msg_2", "phase": "final_answer"}}),
    )
    output = render_response(answer(*parts), to_client())["output"]

    assert [(item["id"], len(item.get("content", ()))) for item in output] == [
        ("msg_abc_0", 2),
        ("fc_abc_1", 0),
        ("msg_abc_2", 1),
        ("msg_1", 1),
        ("msg_2", 1),
    ]
    assert [item.get("phase") for item in output[3:]] == ["commentary", "final_answer"]


@pytest.mark.parametrize(
    ("reason", "status", "details", "item_status"),
    [
        ("stop", "completed", None, "completed"),
        ("tool_calls", "completed", None, "completed"),
        ("pause", "completed", None, "completed"),
        ("length", "incomplete", {"reason": "max_output_tokens"}, "incomplete"),
        ("content_filter", "incomplete", {"reason": "content_filter"}, "incomplete"),
    ],
)
def test_how_an_answer_ends(reason: Any, status: str, details: Any, item_status: str) -> None:
    """WIRE 114 the other way; only the last item was cut off, and the stream's last event is named after it."""
    whole = answer(Thinking("t"), Text("a"), reason=reason)
    body = render_response(whole, to_client())
    frames = streamed(list(replay(whole)))

    assert (body["status"], body["incomplete_details"]) == (status, details)
    assert (body["output"][-1]["status"], body["output"][0].get("status")) == (item_status, None)
    assert (frames[-1]["type"], frames[-1]["response"]) == (f"response.{status}", body)
    assert (body.get("extra_content") == {"modelport": {"finish_reason": "pause"}}) is (reason == "pause")


def test_a_failed_answer_says_so() -> None:
    failed = Response("x", "m", 1, (Choice((Text("a"),), None),), failure=Failure("rate_limit", "slow down", 429))
    body = render_response(failed, to_client())

    assert (body["status"], body["error"]) == ("failed", {"code": "rate_limit_exceeded", "message": "slow down"})
    assert valid(body).status == "failed"


def test_what_only_the_vendor_understands_stands_beside_the_output() -> None:
    block = {"type": "server_tool_use", "id": "s"}
    end = {"anthropic": {"stop_sequence": "E"}}
    choice = Choice((Opaque("anthropic", "server_tool_use", block),), "stop", native=end)
    native = {"anthropic": {"container": "c"}, "openai_chat": {"system_fingerprint": "fp"}}
    body = render_response(Response("x", "m", 1, (choice,), native=native), to_client())

    assert body["output"] == []
    assert body["extra_content"] == {
        "anthropic": {"container": "c", "stop_sequence": "E", "blocks": [block]},
        "openai_chat": {"system_fingerprint": "fp"},
    }


def test_a_sound_is_told_by_its_transcript() -> None:
    output = render_response(answer(Audio(Source("audio/wav", "AA"), transcript="hi")), to_client())["output"]

    assert output[0]["content"][0]["text"] == "hi"


def test_calls_of_a_namespace_find_home() -> None:
    space = {"type": "namespace", "name": "crm", "description": "d", "tools": [{"type": "function", "name": "find"}]}
    to = to_client(tools=[space])
    whole = answer(ToolCall("c", "crm__find", "{}"))
    item = render_response(whole, to)["output"][0]

    assert (item["namespace"], item["name"]) == ("crm", "find")
    assert streamed(list(replay(whole)), to)[-1]["response"]["output"] == [item]


LOGPROBS = (TokenLogprob("ab", -0.5, top=(TokenLogprob("ab", -0.5), TokenLogprob("x", -2.0))), TokenLogprob("é", -1.0))


def test_log_probabilities_belong_to_the_text_of_their_tokens() -> None:
    content = render_response(answer(Text("ab"), Text("é"), logprobs=LOGPROBS), to_client())["output"][0]["content"]

    assert [[entry["token"] for entry in part["logprobs"]] for part in content] == [["ab"], ["é"]]
    assert content[0]["logprobs"][0]["top_logprobs"][1] == {"token": "x", "logprob": -2.0, "bytes": [120]}


# --- streams -------------------------------------------------------------------------------------


def test_the_events_of_a_text() -> None:
    events = [
        Start("v", "m", 5),
        PartStart(0, Text("")),
        PartDelta(0, "he"),
        PartDelta(0, "llo", annotations=({"type": "url_citation", "url_citation": {"url": "u"}},)),
        PartEnd(0),
        Finish("stop"),
        UsageReport(USAGE),
    ]
    frames = streamed(events)

    assert [frame["type"].removeprefix("response.") for frame in frames] == [
        "created",
        "in_progress",
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.delta",
        "output_text.annotation.added",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "completed",
    ]
    assert [frame["sequence_number"] for frame in frames] == list(range(len(frames)))
    place = {"item_id": "msg_abc_0", "output_index": 0, "content_index": 0}
    assert frames[4] == {
        "type": "response.output_text.delta",
        "sequence_number": 4,
        **place,
        "delta": "he",
        "logprobs": [],
    }
    assert frames[0]["response"]["status"] == "in_progress"
    assert frames[-1]["response"]["usage"]["total_tokens"] == 17


@pytest.mark.parametrize(
    ("part", "names"),
    [
        (
            Thinking("t"),
            [
                "output_item.added",
                "reasoning_summary_part.added",
                "reasoning_summary_text.delta",
                "reasoning_summary_text.done",
                "reasoning_summary_part.done",
                "output_item.done",
            ],
        ),
        (Thinking("", {"anthropic": {"redacted_data": "x"}}), ["output_item.added", "output_item.done"]),
        (
            ToolCall("c", "f", ""),
            ["output_item.added", "function_call_arguments.delta", "function_call_arguments.done", "output_item.done"],
        ),
        (
            ToolCall("c", "g", "x", "custom"),
            ["output_item.added", "custom_tool_call_input.delta", "custom_tool_call_input.done", "output_item.done"],
        ),
        (
            Refusal("no"),
            [
                "output_item.added",
                "content_part.added",
                "refusal.delta",
                "refusal.done",
                "content_part.done",
                "output_item.done",
            ],
        ),
        (Image(Source("image/png", "AAAA")), ["output_item.added", "output_item.done"]),
        (Opaque("anthropic", "x", {"type": "x"}), []),
    ],
)
def test_the_events_of_other_parts(part: Any, names: list[str]) -> None:
    frames = streamed(list(replay(answer(part))))

    assert [frame["type"].removeprefix("response.") for frame in frames[2:-1]] == names


def test_parts_that_are_open_at_once_have_items_of_their_own() -> None:
    events = [
        Start("v", "m", 5),
        PartStart(0, Text("")),
        PartDelta(0, "a"),
        PartStart(1, ToolCall("c1", "f", "")),
        PartStart(2, ToolCall("c2", "f", "")),
        PartDelta(2, "{}"),
        PartDelta(0, "b"),
        PartDelta(1, "[]"),
        PartEnd(2),
        PartEnd(1),
        PartEnd(0),
        PartStart(3, Text("")),
        PartDelta(3, "c"),
        PartEnd(3),
        Finish("tool_calls"),
    ]
    frames = streamed(events)

    deltas = [(frame["output_index"], frame["delta"]) for frame in frames if frame["type"].endswith(".delta")]
    assert deltas == [(0, "a"), (2, "{}"), (0, "b"), (1, "[]"), (3, "c")]
    done = [frame["output_index"] for frame in frames if frame["type"] == "response.output_item.done"]
    assert sorted(done) == [0, 1, 2, 3]
    assert frames[-1]["response"] == render_response(collect(events), to_client())
    assert sdk_final(frames).output_text == "abc"


def test_only_the_first_choice_is_streamed() -> None:
    events = [
        Start("v", "m", 5),
        PartStart(0, Text(""), 1),
        PartDelta(0, "other", 1),
        PartEnd(0, 1),
        Finish("length", 1),
        PartStart(0, Text("one")),
        PartEnd(0),
        Finish("stop"),
    ]
    frames = streamed(events)

    assert frames[-1]["response"] == render_response(
        collect([e for e in events if getattr(e, "choice", 0) == 0]), to_client()
    )


def test_the_receipt_stands_before_the_last_event() -> None:
    renderer = StreamRenderer(to_client())
    renderer.render([Start("v", "m", 5), Finish("stop")])

    assert renderer.close(b'{"cost_usd":"0"}').startswith(
        b': modelport {"cost_usd":"0"}\n\nevent: response.completed\n'
    )


def test_a_stream_that_said_nothing_is_still_an_answer() -> None:
    frames = decoded(StreamRenderer(to_client()).close())

    assert [frame["type"] for frame in frames] == ["response.created", "response.in_progress", "response.completed"]


def test_a_failure_is_told_to_the_sdk_and_to_those_who_read_the_answer() -> None:
    """WIRE 115 the other way: no terminator follows, the numbers go on, what was complete stays."""
    renderer = StreamRenderer(to_client())
    before = decoded(renderer.render([Start("v", "m", 5), *list(replay(answer(Text("a"), Text("b"))))[1:3]]))
    frames = decoded(renderer.fail(Failure("context_length", "too long", 400, code="context_length_exceeded")))

    assert [frame["type"] for frame in frames] == ["error", "response.failed"]
    assert [frame["sequence_number"] for frame in frames] == [len(before), len(before) + 1]
    assert frames[0]["error"]["message"] == frames[0]["message"] == "too long"
    assert frames[1]["response"]["error"] == {"code": "context_length_exceeded", "message": "too long"}
    assert EVENT.validate_python(frames[0]).code == "context_length_exceeded"


def test_an_error_has_openais_envelope() -> None:
    status, body = render_error(Failure("rate_limit", "slow", 429), "req_1")

    assert status == 429
    assert body["error"] == {
        "message": "slow",
        "type": "rate_limit_error",
        "param": None,
        "code": "rate_limit_exceeded",
    }


def test_counted_tokens() -> None:
    assert render_input_tokens(7) == {"object": "response.input_tokens", "input_tokens": 7}


def test_a_long_stream_of_parts_costs_no_more_than_its_length() -> None:
    """Items that are done are not looked at again."""
    renderer = StreamRenderer(to_client())
    renderer.render([Start("v", "m", 5)])
    for index in range(3000):
        renderer.render([PartStart(index, ToolCall(f"c{index}", "f", "{}")), PartEnd(index)])

    assert len(renderer._undone) <= 1


TEXTS = st.text(max_size=6)
SIGNED = st.sampled_from([{}, {"anthropic": {"signature": "s"}}, {"gemini": {"thoughtSignature": "g"}}])
CITATION = {"type": "url_citation", "url_citation": {"url": "u", "title": "t", "start_index": 0, "end_index": 1}}
OWNED = st.sampled_from([{OWN: {"id": "msg_1"}}, {OWN: {"id": "msg_2", "phase": "commentary"}}])
NAMES, KINDS = st.sampled_from(["f", "g"]), st.sampled_from(["function", "custom"])
PARTS = st.one_of(
    st.builds(Text, TEXTS, st.sampled_from([(), (CITATION,)]), SIGNED),
    st.builds(Text, TEXTS, native=OWNED),
    st.builds(Thinking, TEXTS, SIGNED),
    st.builds(Refusal, TEXTS),
    st.builds(Image, st.just(Source("image/png", "AA"))),
    st.just(Opaque("anthropic", "x", {"type": "x"})),
    st.builds(ToolCall, st.uuids().map(str), NAMES, TEXTS, KINDS, SIGNED),
)
REASONS = st.sampled_from(["stop", "length", "tool_calls", "content_filter", "pause", None])


@st.composite
def answers(draw: Any) -> Response:
    parts = draw(st.lists(PARTS, max_size=6))
    own_ids = [part.native[OWN]["id"] for part in parts if isinstance(part, Text) and OWN in part.native]
    if len(own_ids) != len(set(own_ids)):
        # An item's parts stand together, or its id would be given twice.
        parts = [part for part in parts if not (isinstance(part, Text) and OWN in part.native)]
    spoken = any(isinstance(part, Text | Refusal) for part in parts)
    logprobs = draw(st.sampled_from([None, LOGPROBS])) if spoken else None
    usage = draw(st.sampled_from([None, USAGE]))
    return Response("v", "m", 5, (Choice(tuple(parts), draw(REASONS), logprobs=logprobs),), usage)


def pieces(events: list[Event], size: int) -> Iterator[list[Event]]:
    return (events[at : at + size] for at in range(0, len(events), size))


@settings(max_examples=150, deadline=None)
@given(answers(), st.integers(1, 4))
def test_a_stream_ends_with_the_whole_answer(whole: Response, size: int) -> None:
    """However events are bundled: valid frames in order, which the SDK adds up to the answer in one piece."""
    to = to_client()
    events = list(replay(whole))
    renderer = StreamRenderer(to)
    raw = b"".join(renderer.render(some) for some in pieces(events, size)) + renderer.close()
    frames = decoded(raw)

    assert [frame["sequence_number"] for frame in frames] == list(range(len(frames)))
    assert frames[-1]["response"] == render_response(collect(events), to)
    for frame in frames:
        EVENT.validate_python(frame)
    if frames[-1]["type"] == "response.completed":
        assert said(sdk_final(frames)) == said(valid(frames[-1]["response"]))


def test_fields_that_become_known_late_are_in_the_last_event() -> None:
    frames = streamed([Start("v", "m", 5), ResponseNative({OWN: {"service_tier": "priority"}}), Finish("stop")])

    assert frames[-1]["response"]["service_tier"] == "priority"
