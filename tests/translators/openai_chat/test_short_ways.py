"""Common shapes are read a shorter way, which gives exactly what the careful one does."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from translators.errors import BadRequest
from translators.openai_chat import parse_request, parse_response
from translators.openai_chat.response import _MESSAGE_FIELDS, _parts, _rest

ODD = st.sampled_from([None, "", "x", 0, 1, True, False, [], {}, ["x"], {"a": "b"}])
CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}
FUNCTION = {"name": "f", "description": "d", "parameters": {"type": "object"}, "strict": True}
COMMON_MESSAGES: list[dict[str, Any]] = [
    *({"role": role, "content": "x"} for role in ("system", "developer", "user", "assistant", "tool", "function")),
    *({"role": role, "content": ""} for role in ("system", "user", "assistant")),
    {"role": "user", "content": [{"type": "text", "text": "y"}]},
    {"role": "tool", "tool_call_id": "c1", "content": "x"},
    {"role": "assistant", "content": None, "tool_calls": [CALL, {**CALL, "id": "c2"}]},
    {"role": "assistant", "content": "x", "tool_calls": [CALL]},
    {"role": "assistant", "content": "", "tool_calls": [CALL]},
    {"role": "assistant", "tool_calls": [CALL]},
    {"role": "assistant", "content": None, "tool_calls": []},
]
COMMON_TOOLS: list[dict[str, Any]] = [
    {"type": "function", "function": FUNCTION},
    {"type": "function", "function": {"name": "f", "parameters": {}}},
    {"type": "custom", "custom": {"name": "f"}},
]


def paths(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The place of each member in *value*, and of a new one in each object."""
    if isinstance(value, dict):
        yield (*path, "unknown")
        yield (*path, "cache_control")
        for key, item in value.items():
            yield (*path, key)
            yield from paths(item, (*path, key))
    elif isinstance(value, list):
        for at, item in enumerate(value):
            yield from paths(item, (*path, at))


def changed(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    """*value* with *new* at *path*; Ellipsis removes what stands there."""
    if len(path) > 1:
        inner = changed(value[path[0]], path[1:], new)
        return (
            {**value, path[0]: inner}
            if isinstance(value, dict)
            else [inner if at == path[0] else item for at, item in enumerate(value)]
        )
    rest = {key: item for key, item in value.items() if key != path[0]}
    return rest if new is ... else {**rest, path[0]: new}


@st.composite
def nearly(draw: st.DrawFn, common: list[dict[str, Any]]) -> dict[str, Any]:
    """One of *common*, now and then with one thing in it changed, added or removed."""
    value = draw(st.sampled_from(common))
    if draw(st.booleans()):
        return value
    found: dict[str, Any] = changed(
        value, draw(st.sampled_from(sorted(set(paths(value)), key=repr))), draw(ODD | st.just(...))
    )
    return found


def marked(value: Any) -> Any:
    """*value* with an absent field that nobody knows in each object: the short ways do not take it."""
    if isinstance(value, dict):
        open_to_all = ("arguments", "parameters", "cache_control", "extra_content", "a")
        inner = {key: item if key in open_to_all else marked(item) for key, item in value.items()}
        return {**inner, "nobody_knows": None, "nor_this": None}
    return [marked(item) for item in value] if isinstance(value, list) else value


def read(body: dict[str, Any]) -> str:
    """What the parser makes of *body*, places and all; without the marks, which stay in what is kept whole."""
    try:
        found = repr(parse_request(body))
    except BadRequest as error:
        found = repr((error.message, error.param, error.code))
    marks = "'nobody_knows': None, 'nor_this': None"
    return found.replace(f", {marks}", "").replace(marks, "")


@given(nearly(COMMON_MESSAGES), st.sampled_from(COMMON_MESSAGES))
@settings(max_examples=400, deadline=None)
def test_messages_of_common_shapes_read_the_same(message: dict[str, Any], before: dict[str, Any]) -> None:
    messages = [before, message] if before["role"] == "assistant" else [message]

    assert read({"model": "m", "messages": messages}) == read({"model": "m", "messages": marked(messages)})


@given(nearly(COMMON_TOOLS))
@settings(max_examples=300, deadline=None)
def test_tools_of_common_shapes_read_the_same(tool: dict[str, Any]) -> None:
    hello = [{"role": "user", "content": "x"}]

    assert read({"model": "m", "messages": hello, "tools": [tool]}) == read(
        {"model": "m", "messages": hello, "tools": marked([tool])}
    )


@given(st.dictionaries(st.sampled_from([*sorted(_MESSAGE_FIELDS), "unknown"]), ODD, max_size=4))
@settings(max_examples=300, deadline=None)
def test_answers_of_text_alone_read_the_same(message: dict[str, Any]) -> None:
    found = parse_response({"choices": [{"message": message}]}).choices[0]

    assert repr(found.parts) == repr(tuple(_parts(message, 0)))
    assert found.native.get("openai_chat", {}).get("message", {}) == _rest(message, _MESSAGE_FIELDS)
