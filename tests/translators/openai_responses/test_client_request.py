"""Requests of Responses clients in the neutral form."""

from typing import Any, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.responses.response_create_params import ResponseCreateParamsStreaming

from translators.dialect import Rules
from translators.errors import BadRequest
from translators.neutral import (
    Audio,
    Document,
    Image,
    Message,
    Opaque,
    OutputFormat,
    Reasoning,
    Refusal,
    Source,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from translators.openai_responses import render_request
from translators.openai_responses.client import SERVED_FIELDS, expanded, idle, parse_request, without_idle
from translators.sealed import seal

OWN = "openai_responses"
SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}}


def parsed(**fields: Any) -> Any:
    return parse_request({"model": "m", "input": "hi", **fields})


def messages(*items: dict[str, Any]) -> list[Message]:
    return list(parsed(input=list(items)).messages)


def test_a_string_is_a_user_message() -> None:
    request = parsed()

    assert request.messages == (Message("user", (Text("hi"),)),)
    assert request.messages[0].place == "input"
    assert (request.dialect, request.stream, request.include_usage, request.native) == (OWN, False, True, {})


def test_instructions_stand_first_and_say_where_they_came_from() -> None:
    first = parsed(instructions="be brief").messages[0]

    assert (first, first.place) == (Message("system", (Text("be brief"),)), "instructions")


@pytest.mark.parametrize("role", ["user", "system", "developer"])
@pytest.mark.parametrize(
    "item",
    [
        {"content": "x"},
        {"type": "message", "content": "x"},
        {"type": "message", "id": "msg_1", "status": "completed", "content": [{"type": "input_text", "text": "x"}]},
    ],
)
def test_the_easy_and_the_full_form_of_a_message_are_one(role: Any, item: dict[str, Any]) -> None:
    assert messages({"role": role, **item}) == [Message(role, (Text("x"),))]


PARTS: list[Any] = [
    ({"type": "input_text", "text": "x"}, Text("x")),
    (
        {"type": "input_text", "text": "x", "prompt_cache_breakpoint": {"mode": "explicit"}},
        Text("x", native={OWN: {"prompt_cache_breakpoint": {"mode": "explicit"}}}),
    ),
    (
        {"type": "input_text", "text": "x", "cache_control": {"type": "ephemeral"}},
        Text("x", native={"anthropic": {"cache_control": {"type": "ephemeral"}}}),
    ),
    (
        {"type": "input_image", "image_url": "data:image/png;base64,AAAA", "detail": "low"},
        Image(Source("image/png", "AAAA"), "low"),
    ),
    ({"type": "input_image", "image_url": "https://x.test/a.png"}, Image(Source(url="https://x.test/a.png"))),
    ({"type": "input_image", "file_id": "file-1"}, Image(Source(file_id="file-1", vendor=OWN))),
    (
        {"type": "input_file", "file_data": "data:application/pdf;base64,JVBE", "filename": "a.pdf"},
        Document(Source("application/pdf", "JVBE"), "a.pdf"),
    ),
    ({"type": "input_file", "file_url": "https://x.test/a.pdf"}, Document(Source(url="https://x.test/a.pdf"))),
    ({"type": "input_file", "file_id": "file-2"}, Document(Source(file_id="file-2", vendor=OWN))),
    (
        {"type": "input_file", "file_data": "data:text/plain;base64,aGk=", "filename": "a.txt"},
        Document(Source("text/plain"), "a.txt", "hi"),
    ),
    (
        {"type": "input_audio", "input_audio": {"data": "UklG", "format": "wav"}},
        Audio(Source("audio/wav", "UklG")),
    ),
    ({"type": "new_part", "x": 1}, Opaque(OWN, "new_part", {"type": "new_part", "x": 1})),
]


@pytest.mark.parametrize(("part", "meant"), PARTS)
def test_content_parts(part: dict[str, Any], meant: Any) -> None:
    assert messages({"role": "user", "content": [part]})[0].parts == (meant,)


def test_what_a_model_put_out_is_one_message_until_something_was_put_in() -> None:
    """Ids and phases stay with the parts (WIRE 117); the place is that of the first item."""
    reasoning = {
        "id": "rs_1",
        "type": "reasoning",
        "summary": [{"type": "summary_text", "text": "a"}, {"type": "summary_text", "text": "b"}],
        "encrypted_content": "xyz",
    }
    found = messages(
        {"role": "user", "content": "go"},
        reasoning,
        {
            "type": "message",
            "role": "assistant",
            "id": "msg_1",
            "status": "completed",
            "phase": "commentary",
            "content": [
                {
                    "type": "output_text",
                    "text": "t",
                    "annotations": [
                        {"type": "url_citation", "url": "u", "title": "T", "start_index": 0, "end_index": 1}
                    ],
                    "logprobs": [],
                },
                {"type": "refusal", "refusal": "r"},
            ],
        },
        {"type": "web_search_call", "id": "ws_1", "status": "completed"},
        {
            "type": "function_call",
            "id": "fc_1",
            "call_id": "c1",
            "name": "f",
            "arguments": "{}",
            "status": "completed",
        },
        {"type": "custom_tool_call", "call_id": "c2", "name": "g", "input": "raw"},
        {"type": "function_call_output", "call_id": "c1", "output": "one"},
        {"type": "custom_tool_call_output", "call_id": "c2", "output": [{"type": "input_text", "text": "two"}]},
        {"role": "assistant", "content": "end"},
    )

    own = {OWN: {"id": "msg_1", "phase": "commentary"}}
    citation = {"type": "url_citation", "url_citation": {"url": "u", "title": "T", "start_index": 0, "end_index": 1}}
    kept = {name: value for name, value in reasoning.items() if name != "type"}
    assert found == [
        Message("user", (Text("go"),)),
        Message(
            "assistant",
            (
                Thinking("a\n\nb", {OWN: kept}),
                Text("t", (citation,), own),
                Refusal("r", own),
                Opaque(OWN, "web_search_call", {"type": "web_search_call", "id": "ws_1", "status": "completed"}),
                ToolCall("c1", "f", "{}", native={OWN: {"id": "fc_1"}}),
                ToolCall("c2", "g", "raw", "custom"),
            ),
        ),
        Message("tool", (ToolResult("c1", (Text("one"),), name="f"),)),
        Message("tool", (ToolResult("c2", (Text("two"),), name="g"),)),
        Message("assistant", (Text("end"),)),
    ]
    assert [message.place for message in found] == ["input[0]", "input[1]", "input[6]", "input[7]", "input[8]"]


def test_sealed_reasoning_is_its_own_vendors_again() -> None:
    native = {"anthropic": {"signature": "sig"}}
    item = {
        "id": "rs_x",
        "type": "reasoning",
        "summary": [{"type": "summary_text", "text": "why"}],
        "encrypted_content": seal(native),
    }

    assert messages(item)[0].parts == (Thinking("why", native),)


def test_a_signature_beside_a_call_is_read() -> None:
    item = {
        "type": "function_call",
        "call_id": "c",
        "name": "f",
        "arguments": "{}",
        "extra_content": {"google": {"thought_signature": "sig"}},
    }

    assert messages(item)[0].parts == (ToolCall("c", "f", "{}", native={"gemini": {"thoughtSignature": "sig"}}),)


@pytest.mark.parametrize(
    ("item", "role"),
    [
        ({"type": "computer_call_output", "call_id": "c", "output": {}}, "user"),
        ({"type": "mcp_approval_response", "approval_request_id": "a", "approve": True}, "user"),
        ({"type": "additional_tools", "role": "developer", "tools": []}, "developer"),
        ({"type": "item_reference", "id": "msg_1"}, "assistant"),
        ({"type": "compaction", "encrypted_content": "x"}, "assistant"),
        ({"type": "mcp_list_tools", "id": "l"}, "assistant"),
    ],
)
def test_items_of_other_types_are_kept_whole_in_their_place(item: dict[str, Any], role: str) -> None:
    found = messages({"role": "user", "content": "a"}, item, {"role": "user", "content": "b"})

    assert found[1] == Message(role, (Opaque(OWN, item["type"], item),))  # type: ignore[arg-type]  # a role


def test_a_reference_needs_no_type() -> None:
    assert messages({"id": "msg_1"})[0].parts == (Opaque(OWN, "item_reference", {"id": "msg_1"}),)


GRAMMAR = {"type": "grammar", "syntax": "lark", "definition": "start: X"}
NEW_FORMAT = {"format": {"type": "grammar", "g": 1}}
HINTS = {"prompt_cache_key": "k", "safety_identifier": "s"}
FIELDS: list[Any] = [
    ({"temperature": 0.5, "top_p": 0.9}, {"temperature": 0.5, "top_p": 0.9}),
    ({"max_output_tokens": 9}, {"max_output_tokens": 9}),
    ({"parallel_tool_calls": False}, {"parallel_tool_calls": False}),
    ({"top_logprobs": 2}, {"logprobs": True, "top_logprobs": 2}),
    ({"top_logprobs": 0}, {"logprobs": None, "top_logprobs": 0}),
    ({"include": ["message.output_text.logprobs"]}, {"logprobs": True}),
    ({"metadata": {"a": "b"}, "user": "u", "service_tier": "flex"}, {"metadata": {"a": "b"}, "user": "u"}),
    ({"stream": True}, {"stream": True, "include_usage": True}),
    ({"reasoning": {"effort": "xhigh"}}, {"reasoning": Reasoning("xhigh")}),
    ({"reasoning": {"effort": "low", "summary": "auto"}}, {"reasoning": Reasoning("low", visible=True)}),
    (
        {"reasoning": {"summary": "detailed", "mode": "pro"}},
        {"reasoning": Reasoning(visible=True, native={OWN: {"summary": "detailed", "mode": "pro"}})},
    ),
    ({"reasoning": {"effort": "extreme"}}, {"reasoning": Reasoning(native={OWN: {"effort": "extreme"}})}),
    ({"reasoning": {"effort": None, "summary": None}}, {"reasoning": None}),
    ({"text": {"format": {"type": "text"}, "verbosity": "low"}}, {"output": None, "verbosity": "low"}),
    ({"text": {"format": {"type": "json_object"}}}, {"output": OutputFormat("json_object")}),
    (
        {"text": {"format": {"type": "json_schema", "name": "n", "schema": SCHEMA, "strict": True}}},
        {"output": OutputFormat("json_schema", SCHEMA, "n", None, True)},
    ),
    ({"text": NEW_FORMAT}, {"native": {OWN: {"text": NEW_FORMAT}}}),
    ({"tool_choice": "required"}, {"tool_choice": ToolChoice("required")}),
    ({"tool_choice": {"type": "function", "name": "f"}}, {"tool_choice": ToolChoice("named", ("f",))}),
    ({"tool_choice": {"type": "custom", "name": "f"}}, {"tool_choice": ToolChoice("named", ("f",))}),
    (
        {"tool_choice": {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "f"}]}},
        {"tool_choice": ToolChoice("allowed", ("f",), "required")},
    ),
    (
        {"tool_choice": {"type": "web_search_preview"}},
        {"tool_choice": None, "native": {OWN: {"tool_choice": {"type": "web_search_preview"}}}},
    ),
    ({"a_new_field": 1}, {"native": {OWN: {"a_new_field": 1}}}),
    (HINTS, {"native": {OWN: HINTS}}),
    ({"modelport": {"x": 1}, "models": ["a"]}, {"native": {}}),
]


@pytest.mark.parametrize(
    ("fields", "meant"), FIELDS, ids=lambda value: ",".join(value) if isinstance(value, dict) else ""
)
def test_fields(fields: dict[str, Any], meant: dict[str, Any]) -> None:
    request = parsed(**fields)

    assert {name: getattr(request, name) for name in meant} == meant


SAMPLES: dict[str, Any] = {
    "access_programs": {"cyber": "standard"},
    "background": True,
    "background_options": {"completion_window": "soonest"},
    "context_management": [{"type": "compaction"}],
    "conversation": "conv_1",
    "image": {"context_compression": "auto"},
    "include": ["file_search_call.results"],
    "input": "other",
    "instructions": "x",
    "max_output_tokens": 1,
    "max_tool_calls": 1,
    "metadata": {"a": "b"},
    "model": "other",
    "moderation": {"model": "x"},
    "parallel_tool_calls": False,
    "previous_response_id": "resp_1",
    "prompt": {"id": "p"},
    "prompt_cache_key": "k",
    "prompt_cache_options": {"mode": "explicit"},
    "prompt_cache_retention": "24h",
    "reasoning": {"effort": "low"},
    "safety_identifier": "s",
    "service_tier": "flex",
    "store": False,
    "stream": True,
    "stream_options": {"include_obfuscation": False},
    "temperature": 1,
    "text": {"verbosity": "low"},
    "tool_choice": "none",
    "tools": [{"type": "web_search"}],
    "top_logprobs": 1,
    "top_p": 1,
    "truncation": "auto",
    "user": "u",
}
"""One value for each field of the request; a new SDK shows a new field by a failing test."""


def test_every_documented_field_is_in_the_samples() -> None:
    assert set(get_type_hints(ResponseCreateParamsStreaming)) == set(SAMPLES)


@pytest.mark.parametrize("name", SAMPLES)
def test_no_documented_field_is_lost(name: str) -> None:
    """It changes the request, and the same dialect writes it so that it is read alike."""
    request = parsed(**{name: SAMPLES[name]})
    written = render_request(request, Rules(dialect=OWN)).body

    assert request != parsed()
    assert parse_request(written) == request


TOOLS: list[Any] = [
    (
        {"type": "function", "name": "f", "description": "d", "parameters": SCHEMA, "strict": True},
        Tool("f", "d", SCHEMA, True),
    ),
    (
        {"type": "function", "name": "f", "parameters": None, "strict": None, "defer_loading": True},
        Tool("f", native={OWN: {"defer_loading": True}}),
    ),
    (
        {"type": "custom", "name": "g", "format": GRAMMAR},
        Tool("g", kind="custom", native={OWN: {"format": GRAMMAR}}),
    ),
    (
        {"type": "web_search", "search_context_size": "low"},
        Tool("web_search", kind="native", native={OWN: {"type": "web_search", "search_context_size": "low"}}),
    ),
]


@pytest.mark.parametrize(("tool", "meant"), TOOLS)
def test_tools(tool: dict[str, Any], meant: Tool) -> None:
    assert parsed(tools=[tool]).tools == (meant,)


@pytest.mark.parametrize(
    ("fields", "place"),
    [
        ({"model": None}, "model"),
        ({"input": None}, "input"),
        ({"input": 5}, "input"),
        ({"input": ["x"]}, "input[0]"),
        ({"input": [{"content": "x"}]}, "input[0].type"),
        ({"input": [{"role": "user"}]}, "input[0].content"),
        ({"input": [{"role": "robot", "content": "x"}]}, "input[0].role"),
        ({"input": [{"role": "user", "content": [{"type": "input_text"}]}]}, "input[0].content[0].text"),
        ({"input": [{"role": "user", "content": [{"type": "input_image"}]}]}, "input[0].content[0].image_url"),
        ({"input": [{"role": "user", "content": [{"type": "input_file"}]}]}, "input[0].content[0].file_data"),
        ({"input": [{"type": "function_call", "name": "f", "arguments": "{}"}]}, "input[0].call_id"),
        ({"input": [{"type": "function_call_output", "output": "x"}]}, "input[0].call_id"),
        ({"input": [{"type": "function_call_output", "call_id": "c"}]}, "input[0].output"),
        ({"tools": [{"type": "function"}]}, "tools[0].name"),
        ({"tools": [{"type": "namespace", "name": "n", "tools": [{"type": "function"}]}]}, "tools[0].tools[0].name"),
        ({"tool_choice": 4}, "tool_choice"),
        ({"text": {"format": {"type": "json_schema", "name": "n"}}}, "text.format.schema"),
        ({"temperature": "hot"}, "temperature"),
        ({"store": "yes"}, "store"),
        ({"conversation": 4}, "conversation"),
    ],
)
def test_a_wrong_field_is_named(fields: dict[str, Any], place: str) -> None:
    body = {key: value for key, value in {"model": "m", "input": "hi", **fields}.items() if value is not None}

    with pytest.raises(BadRequest) as error:
        parse_request(body)

    assert error.value.param == place


@pytest.mark.parametrize("name", ["previous_response_id", "conversation"])
def test_input_may_be_missing_where_something_earlier_is_named(name: str) -> None:
    request = parse_request({"model": "m", name: "x_1"})

    assert request.messages == ()
    assert request.native == {OWN: {name: "x_1"}}


IDLE: list[Any] = [
    ({"store": True}, {"store"}),
    ({"store": False}, {"store"}),
    ({"background": False}, {"background"}),
    ({"background": True}, set()),
    ({"truncation": "disabled"}, {"truncation"}),
    ({"truncation": "auto"}, set()),
    ({"include": ["reasoning.encrypted_content"]}, {"include"}),
    ({"include": []}, {"include"}),
    ({"include": ["file_search_call.results"]}, set()),
    ({"stream_options": {"include_obfuscation": False}}, {"stream_options"}),
    ({"prompt_cache_key": "k"}, set()),
]


@pytest.mark.parametrize(("fields", "names"), IDLE)
def test_fields_that_ask_for_what_happens_anyway(fields: dict[str, Any], names: set[str]) -> None:
    request = parsed(**fields)

    assert idle(request.native) == names
    assert without_idle(request).native == ({} if names else request.native)


def test_names_of_earlier_items_mean_nothing_elsewhere() -> None:
    """What is a loss stays: the encrypted reasoning, the phase."""
    request = parsed(
        input=[
            {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "x"},
            {"type": "message", "id": "msg_1", "role": "assistant", "phase": "commentary", "content": "t"},
            {"type": "function_call", "id": "fc_1", "call_id": "c", "name": "f", "arguments": "{}"},
        ]
    )

    assert without_idle(request).messages[0].parts == (
        Thinking("", {OWN: {"encrypted_content": "x"}}),
        Text("t", native={OWN: {"phase": "commentary"}}),
        ToolCall("c", "f", "{}"),
    )
    assert without_idle(parsed()) == parsed()


def test_the_fields_that_the_proxy_serves() -> None:
    assert {"previous_response_id", "store", "background", "conversation"} == SERVED_FIELDS


def test_functions_of_a_namespace_get_names_of_their_own_elsewhere() -> None:
    request = parsed(
        tools=[
            {"type": "function", "name": "plain", "parameters": {}},
            {
                "type": "namespace",
                "name": "crm",
                "description": "d",
                "tools": [{"type": "function", "name": "find", "parameters": SCHEMA}],
            },
        ],
        input=[
            {"type": "function_call", "call_id": "c", "name": "find", "namespace": "crm", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c", "output": "x"},
        ],
    )

    flat, losses = expanded(request)

    assert [(tool.name, tool.kind) for tool in flat.tools] == [("plain", "function"), ("crm__find", "function")]
    assert flat.messages[0].parts == (ToolCall("c", "crm__find", "{}"),)
    assert [(loss.field, loss.action) for loss in losses] == [("tools[1]", "emulated")]
    assert expanded(parsed()) == (parsed(), [])


# --- shapes that are read at once ------------------------------------------------------------------

_TEXTS = st.text(max_size=4)
_ODD: Any = st.one_of(st.none(), st.booleans(), st.integers(0, 2), _TEXTS, st.just([]), st.just({"a": 1}))
_CONTENTS: Any = st.one_of(
    _TEXTS,
    st.lists(
        st.fixed_dictionaries(
            {"type": st.sampled_from(["input_text", "output_text", "text", "refusal", "x", ["text"]]), "text": _TEXTS},
            optional={"annotations": st.just([]), "tomorrow": st.just(1)},
        ),
        max_size=2,
    ),
    _ODD,
)
_ITEMS: Any = st.fixed_dictionaries(
    {},
    optional={
        "type": st.sampled_from(["message", "function_call", "function_call_output", "web_search_call", "x", None, 1]),
        "role": st.sampled_from(["user", "assistant", "system", "developer", "x", None, ["user"]]),
        "content": _CONTENTS,
        "call_id": st.one_of(st.sampled_from(["a", "b"]), _ODD),
        "name": st.one_of(st.sampled_from(["f", "g"]), _ODD),
        "arguments": st.one_of(_TEXTS, _ODD),
        "output": _CONTENTS,
        "id": st.one_of(st.sampled_from(["i", "j"]), _ODD),
        "status": _ODD,
    },
)
_TOOLS: Any = st.fixed_dictionaries(
    {"type": st.sampled_from(["function", "custom", "web_search", None])},
    optional={
        "name": st.one_of(st.just("f"), _ODD),
        "description": _ODD,
        "parameters": st.one_of(st.just(SCHEMA), _ODD),
        "strict": _ODD,
    },
)


def read(items: list[Any], tools: list[Any]) -> str:
    """All that is read of *items* and *tools*, with all places; or what is said against them."""
    try:
        request = parsed(input=items, tools=tools)
    except BadRequest as error:
        return f"{error.param} {error.code} {error.message}"
    return repr(request).replace(", 'null': None", "").replace("'null': None", "")


def looked_over(value: Any) -> Any:
    """*value* with a null in each object and list of parts, which counts as absent and keeps it from being usual."""
    if isinstance(value, dict):
        told = {name: looked_over(inner) if name in ("content", "output") else inner for name, inner in value.items()}
        return {**told, "null": None}
    return [looked_over(inner) for inner in value] if isinstance(value, list) else value


@given(st.lists(_ITEMS, min_size=1, max_size=4), st.lists(_TOOLS, max_size=2))
def test_what_is_read_at_once_is_read_as_with_care(items: list[Any], tools: list[Any]) -> None:
    assert read(items, tools) == read(looked_over(items), looked_over(tools))


@pytest.mark.parametrize("value", [None, "", []])
def test_an_empty_input_is_refused_by_name(value: Any) -> None:
    with pytest.raises(BadRequest) as refusal:
        parse_request({"model": "m", "input": value})

    assert (refusal.value.param, refusal.value.code) == ("input", "missing_required_parameter")
    assert "previous_response_id" in refusal.value.message


@pytest.mark.parametrize("earlier", [{"prompt": {"id": "p"}}, {"previous_response_id": "r"}, {"conversation": "c"}])
@pytest.mark.parametrize("value", [None, []])
def test_an_empty_input_is_fine_after_something_earlier(value: Any, earlier: dict[str, Any]) -> None:
    assert parse_request({"model": "m", "input": value, **earlier}).messages == ()


def test_one_conversation_is_continued_by_one_name() -> None:
    with pytest.raises(BadRequest, match="previous_response_id, found both") as refusal:
        parsed(conversation={"id": "conv_1"}, previous_response_id="resp_1")

    assert (refusal.value.param, refusal.value.code) == ("conversation", "mutually_exclusive_parameters")
