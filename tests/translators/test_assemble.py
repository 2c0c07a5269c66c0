"""Streamed and whole answers are one thing."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from translators.assemble import Collector, collect, merge_native, replay
from translators.neutral import (
    Audio,
    Choice,
    Failure,
    Finish,
    Image,
    Opaque,
    PartDelta,
    PartEnd,
    PartStart,
    Refusal,
    Response,
    Source,
    Start,
    Text,
    Thinking,
    TokenLogprob,
    ToolCall,
    Usage,
    UsageReport,
)

TEXTS = st.text(max_size=6)
NATIVES = st.dictionaries(
    st.sampled_from(["anthropic", "gemini"]), st.dictionaries(st.sampled_from("ab"), TEXTS, min_size=1), max_size=2
)
ANNOTATIONS = st.lists(st.fixed_dictionaries({"type": st.just("url_citation")}), max_size=2).map(tuple)
PARTS = st.one_of(
    st.builds(Text, TEXTS, ANNOTATIONS, NATIVES),
    st.builds(Thinking, TEXTS, NATIVES),
    st.builds(Refusal, TEXTS, NATIVES),
    st.builds(ToolCall, TEXTS, TEXTS, TEXTS, st.sampled_from(["function", "custom"]), NATIVES),
    st.builds(Image, st.just(Source(url="https://x/y")), st.none(), NATIVES),
    st.builds(Audio, st.just(Source("audio/wav", "AA=="))),
    st.builds(Opaque, st.just("anthropic"), TEXTS, st.just({"a": 1})),
)
USAGES = st.builds(Usage, st.integers(0, 9), st.integers(0, 9))


@st.composite
def responses(draw: Any) -> Response:
    choices = []
    for index in range(draw(st.integers(1, 3))):
        parts = tuple(draw(st.lists(PARTS, max_size=4)))
        spoken = any(isinstance(part, Text | Refusal) for part in parts)
        logprobs = draw(st.none() | st.just((TokenLogprob("a", -1.0),))) if spoken else None
        reason = draw(st.sampled_from(["stop", "length", "tool_calls", "pause"]))
        choices.append(Choice(parts, reason, index, logprobs, draw(NATIVES)))
    failure = draw(st.none() | st.just(Failure("server", "x", 500)))
    return Response("id", "m", 1, tuple(choices), draw(st.none() | USAGES), failure, draw(NATIVES))


@given(responses())
@settings(max_examples=120, deadline=None)
def test_a_replayed_answer_collects_to_itself(response: Response) -> None:
    assert collect(replay(response)) == response


@given(responses(), st.integers(0, 40))
@settings(max_examples=60, deadline=None)
def test_a_cut_stream_gives_what_there_was(response: Response, length: int) -> None:
    collector = Collector()
    for event in list(replay(response))[:length]:
        collector.add(event)

    assert len(collector.response().choices) <= len(response.choices)


def test_deltas_of_open_parts_may_interleave() -> None:
    events = [
        Start("i", "m", 0),
        PartStart(0, ToolCall("a", "f", "")),
        PartStart(1, ToolCall("b", "g", "")),
        PartDelta(0, '{"x"'),
        PartDelta(1, "{}"),
        PartDelta(0, ":1}", native={"gemini": {"s": 1}}),
        PartEnd(1),
        PartEnd(0, native={"gemini": {"t": 2}}),
        UsageReport(Usage(1, 1)),
        UsageReport(Usage(1, 2)),
        Finish("tool_calls"),
    ]

    response = collect(events)

    calls = (ToolCall("a", "f", '{"x":1}', native={"gemini": {"s": 1, "t": 2}}), ToolCall("b", "g", "{}"))
    assert response.choices == (Choice(calls, "tool_calls"),)
    assert response.usage == Usage(1, 2)


def test_natives_merge_field_by_field_and_the_newer_wins() -> None:
    assert merge_native({"a": {"x": 1, "y": 1}}, {"a": {"y": 2}, "b": {"z": 3}}) == {
        "a": {"x": 1, "y": 2},
        "b": {"z": 3},
    }
