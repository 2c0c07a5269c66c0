"""From readings to one answer, without a server."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.config.model import ConsensusSettings
from proxy.runners.agreement import agree
from proxy.runners.readings import read
from routing.consensus import METHODS, Learned
from routing.targets import Target
from translators.neutral import (
    Choice,
    Message,
    OutputFormat,
    Part,
    Refusal,
    Request,
    Response,
    Text,
    TokenLogprob,
    Tool,
    ToolCall,
)

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-5, 5)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=8,
)
OBJECTS = st.dictionaries(st.sampled_from("abc"), VALUES, max_size=3)
TEXTS = st.text(max_size=200) | VALUES.map(json.dumps) | OBJECTS.map(lambda value: f"```json\n{json.dumps(value)}\n```")
CALLS = st.builds(
    ToolCall,
    st.sampled_from(["call_0", "call_1"]),
    st.sampled_from(["first", "second", "unknown"]),
    OBJECTS.map(json.dumps) | st.sampled_from(["", "{", "[1]", "null"]),
)
PARTS: st.SearchStrategy[list[Part]] = (
    TEXTS.map(lambda text: [Text(text)])
    | st.lists(CALLS, min_size=1, max_size=3)
    | st.just([Refusal("no")])
    | st.just([])
)
TOOLS = tuple(Tool(name, parameters={"type": "object"}) for name in ("first", "second"))


def _request(output: OutputFormat | None = None, **more: Any) -> Request:
    return Request("openai_chat", "m", (Message("user", (Text("?"),)),), output=output, **more)


def _response(parts: list[Part], logprob: float | None = None) -> Response:
    tokens = None if logprob is None else (TokenLogprob("x", logprob),)
    return Response("id", "m", 0, (Choice(tuple(parts), "stop", logprobs=tokens),))


@settings(max_examples=300)
@given(
    st.lists(PARTS, min_size=1, max_size=5),
    st.sampled_from([None, OutputFormat("json_object"), OutputFormat("json_schema", {"type": "object"})]),
    st.sampled_from([None, *METHODS]),
)
def test_whatever_targets_say_one_answer_comes_out(
    said: list[list[Part]], output: OutputFormat | None, method: str | None
) -> None:
    """It is one that somebody gave, or it can be read as what it was made of."""
    request = _request(output, tools=TOOLS)
    readings = [read(Target("p", f"m{at}"), _response(parts), request) for at, parts in enumerate(said)]
    found = agree(readings, request, Learned(), ConsensusSettings(), method, asked=len(said))
    again = read(found.base.target, found.response, request)

    assert len(found.response.choices) <= 1
    assert 0 <= found.merged.confidence <= 1
    assert found.losers <= {one.target.name for one in readings}
    if found.as_came:
        assert list(found.response.choices[0].parts) in said
    else:
        assert not again.trouble
        assert again.form.kind == found.group.form.kind


def test_a_merged_call_keeps_the_id_of_one_that_agrees() -> None:
    def call(identity: str, days: int) -> Response:
        return _response([ToolCall(identity, "first", json.dumps({"city": "Bonn", "days": days}))])

    request = _request(tools=TOOLS)
    answers = [call("x", 1), call("y", 2), call("z", 2)]
    readings = [read(Target("p", f"m{at}"), answer, request) for at, answer in enumerate(answers)]
    found = agree(readings, request, Learned(), ConsensusSettings(), asked=3)
    (part,) = found.response.choices[0].parts

    assert isinstance(part, ToolCall)
    assert (part.id, json.loads(part.arguments)) == ("y", {"city": "Bonn", "days": 2})
    assert (found.agreeing, found.losers) == (2, {"p/m0"})


def test_what_a_tool_takes_as_text_is_voted_on_as_text() -> None:
    request = _request(tools=(Tool("first", kind="custom"),))
    texts = ["SELECT 1", "SELECT 2", "SELECT 2"]
    readings = [
        read(Target("p", f"m{at}"), _response([ToolCall("x", "first", text, kind="custom")]), request)
        for at, text in enumerate(texts)
    ]
    found = agree(readings, request, Learned(), ConsensusSettings(), asked=3)
    (part,) = found.response.choices[0].parts

    assert isinstance(part, ToolCall)
    assert (part.arguments, part.kind) == ("SELECT 2", "custom")


def test_the_targets_own_confidence_is_replaced_by_that_of_the_merge() -> None:
    schema = {"type": "object", "properties": {"city": {"type": "string"}, "sure": {"type": "number"}}}
    request = _request(OutputFormat("json_schema", schema))
    texts = [{"city": "Bonn", "sure": 0.99}, {"city": "Bonn", "sure": 0.2}, {"city": "Graz", "sure": 1.0}]
    readings = [
        read(Target("p", f"m{at}"), _response([Text(json.dumps(text))]), request) for at, text in enumerate(texts)
    ]
    found = agree(readings, request, Learned(), ConsensusSettings(confidence_field="sure"), asked=3)
    (part,) = found.response.choices[0].parts

    assert isinstance(part, Text)
    merged = json.loads(part.text)
    assert merged["city"] == "Bonn"
    assert merged["sure"] == round(found.merged.confidence, 3)
