"""A client's request, read: every field, every place of an error."""

import base64
from typing import Any

import pytest

from translators.errors import BadRequest
from translators.neutral import (
    Audio,
    Document,
    Image,
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
from translators.openai_chat import parse_request, uses_functions

HELLO = [{"role": "user", "content": "hi"}]
FUNCTION = {"type": "function", "function": {"name": "f"}}


def request(**fields: Any) -> Any:
    return parse_request({"model": "m", "messages": HELLO, **fields})


def parts(**message: Any) -> Any:
    return request(messages=[{"role": "user", **message}]).messages[0].parts


@pytest.mark.parametrize(
    ("fields", "name", "value"),
    [
        pytest.param({"max_completion_tokens": 5, "max_tokens": 9}, "max_output_tokens", 5, id="WIRE 8"),
        pytest.param({"max_tokens": 0}, "max_output_tokens", 0, id="WIRE 9"),
        ({"max_completion_tokens": 0, "max_tokens": 9}, "max_output_tokens", 0),
        ({"stop": "x"}, "stop", ("x",)),
        ({"stop": ["x", "y"]}, "stop", ("x", "y")),
        ({"stop": None}, "stop", ()),
        ({"temperature": 0}, "temperature", 0),
        ({"top_k": -1}, "top_k", None),
        ({"logit_bias": {"5": -100}}, "logit_bias", {"5": -100}),
        ({"safety_identifier": "u"}, "user", "u"),
        ({"stream": True, "stream_options": {"include_usage": True}}, "include_usage", True),
        ({"modalities": ["text", "audio"]}, "modalities", ("text", "audio")),
        ({"reasoning_effort": "xhigh"}, "reasoning", Reasoning("xhigh")),
        ({"reasoning_effort": "brand-new"}, "native", {"openai_chat": {"reasoning_effort": "brand-new"}}),
        ({"reasoning": {"max_tokens": 2000}}, "reasoning", Reasoning(budget_tokens=2000)),
        ({"reasoning": {"effort": "low", "exclude": True}}, "reasoning", Reasoning("low", visible=False)),
        ({"thinking": {"type": "enabled", "budget_tokens": 2000}}, "reasoning", Reasoning(budget_tokens=2000)),
        ({"thinking": {"type": "disabled"}}, "reasoning", Reasoning("none")),
        ({"thinking": {"type": "adaptive"}}, "native", {"openai_chat": {"thinking": {"type": "adaptive"}}}),
        ({"response_format": {"type": "text"}}, "output", None),
        ({"response_format": {"type": "json_object"}}, "output", OutputFormat("json_object")),
        (
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "n", "schema": {"a": 1}, "strict": True},
                }
            },
            "output",
            OutputFormat("json_schema", {"a": 1}, "n", None, True),
        ),
        ({"tools": [FUNCTION]}, "tools", (Tool("f"),)),
        ({"functions": [{"name": "f", "parameters": {}}]}, "tools", (Tool("f", parameters={}),)),
        (
            {"tools": [{"type": "custom", "custom": {"name": "c", "format": {"type": "text"}}}]},
            "tools",
            (Tool("c", kind="custom", native={"openai_chat": {"format": {"type": "text"}}}),),
        ),
        (
            {"tools": [{"type": "browser", "x": 1}]},
            "tools",
            (Tool("browser", kind="native", native={"openai_chat": {"type": "browser", "x": 1}}),),
        ),
        (
            {"tools": [{**FUNCTION, "cache_control": {"type": "ephemeral"}}]},
            "tools",
            (Tool("f", native={"anthropic": {"cache_control": {"type": "ephemeral"}}}),),
        ),
        ({"tool_choice": "required"}, "tool_choice", ToolChoice("required")),
        ({"tool_choice": FUNCTION}, "tool_choice", ToolChoice("named", ("f",))),
        ({"tool_choice": {"type": "custom", "custom": {"name": "c"}}}, "tool_choice", ToolChoice("named", ("c",))),
        (
            {"tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [FUNCTION]}}},
            "tool_choice",
            ToolChoice("allowed", ("f",), "required"),
        ),
        ({"function_call": {"name": "f"}}, "tool_choice", ToolChoice("named", ("f",))),
        ({"modelport": {"route": "r"}, "models": ["a"]}, "native", {}),
        ({"store": True, "min_p": 0.1}, "native", {"openai_chat": {"store": True, "min_p": 0.1}}),
    ],
)
def test_each_field_is_read(fields: dict[str, Any], name: str, value: Any) -> None:
    assert getattr(request(**fields), name) == value


PDF = base64.b64encode(b"%PDF-1.7").decode()
MARK = {"type": "ephemeral"}


@pytest.mark.parametrize(
    ("part", "read"),
    [
        ({"type": "text", "text": "t"}, Text("t")),
        (
            {"type": "text", "text": "t", "cache_control": MARK, "prompt_cache_breakpoint": {"mode": "explicit"}},
            Text(
                "t",
                native={
                    "openai_chat": {"prompt_cache_breakpoint": {"mode": "explicit"}},
                    "anthropic": {"cache_control": MARK},
                },
            ),
        ),
        (
            {"type": "image_url", "image_url": {"url": "https://x/y.png", "detail": "low"}},
            Image(Source(url="https://x/y.png"), "low"),
        ),
        (
            {"type": "image_url", "image_url": {"url": "data:image/webp;base64,AA=="}},
            Image(Source("image/webp", "AA==")),
        ),
        ({"type": "image_url", "image_url": "https://x/y.png"}, Image(Source(url="https://x/y.png"))),
        ({"type": "input_audio", "input_audio": {"data": "AA==", "format": "mp3"}}, Audio(Source("audio/mp3", "AA=="))),
        (
            {"type": "file", "file": {"file_data": f"data:application/pdf;base64,{PDF}", "filename": "a.pdf"}},
            Document(Source("application/pdf", PDF), "a.pdf"),
        ),
        ({"type": "file", "file": {"file_data": PDF}}, Document(Source("application/pdf", PDF))),
        (
            {"type": "file", "file": {"file_data": "data:text/plain;base64,aGk=", "filename": "a.txt"}},
            Document(Source("text/plain"), "a.txt", "hi"),
        ),
        ({"type": "file", "file": {"file_id": "file-1"}}, Document(Source(file_id="file-1", vendor="openai_chat"))),
        (
            {"type": "video_url", "video_url": {"url": "x"}},
            Opaque("openai_chat", "video_url", {"type": "video_url", "video_url": {"url": "x"}}),
        ),
    ],
)
def test_each_kind_of_content_is_read(part: dict[str, Any], read: Any) -> None:
    assert parts(content=[part]) == (read,)


def test_an_answer_is_read_back_with_its_signatures_in_order() -> None:
    """WIRE 76: what we wrote into an answer comes back as it was."""
    message = {
        "role": "assistant",
        "content": "text",
        "refusal": None,
        "annotations": [],
        "reasoning_content": "thought",
        "thinking_blocks": [
            {"type": "thinking", "thinking": "thought", "signature": "sig", "index": 0},
            {"type": "redacted_thinking", "data": "xx", "index": 1},
        ],
        "extra_content": {
            "google": {"thought_signature": "g1"},
            "anthropic": {"blocks": [{"type": "server_tool_use", "id": "s"}]},
        },
        "tool_calls": [
            {
                "id": "c1",
                "type": "function",
                "function": {"name": "f", "arguments": "{}"},
                "extra_content": {"google": {"thought_signature": "g2"}},
            }
        ],
    }

    read = request(messages=[*HELLO, message, {"role": "tool", "tool_call_id": "c1", "content": "r"}]).messages

    assert read[1].parts == (
        Thinking("thought", {"anthropic": {"signature": "sig"}}),
        Thinking("", {"anthropic": {"redacted_data": "xx"}}),
        Opaque("anthropic", "server_tool_use", {"type": "server_tool_use", "id": "s"}),
        Text("text", native={"gemini": {"thoughtSignature": "g1"}}),
        ToolCall("c1", "f", "{}", native={"gemini": {"thoughtSignature": "g2"}}),
    )
    assert read[2].parts == (ToolResult("c1", (Text("r"),), name="f"),)


@pytest.mark.parametrize(
    ("message", "read"),
    [
        ({"content": None, "reasoning": "r"}, (Thinking("r"),)),
        ({"content": "", "refusal": "no"}, (Refusal("no"),)),
        ({"audio": {"id": "audio_1"}}, (Audio(Source(), id="audio_1"),)),
        (
            {"tool_calls": [{"id": "c", "type": "custom", "custom": {"name": "n", "input": "4+4"}}]},
            (ToolCall("c", "n", "4+4", "custom"),),
        ),
        ({"function_call": {"name": "f", "arguments": "{}"}}, (ToolCall("call_of_message_0", "f", "{}"),)),
        (
            {"content": "x", "reasoning_details": [{"type": "reasoning.encrypted", "data": "e"}]},
            (
                Thinking("", {"openai_chat": {"reasoning_details": [{"type": "reasoning.encrypted", "data": "e"}]}}),
                Text("x"),
            ),
        ),
    ],
)
def test_each_form_of_an_answer_is_read(message: dict[str, Any], read: Any) -> None:
    assert request(messages=[{"role": "assistant", **message}]).messages[0].parts == read


def test_the_older_function_role_answers_the_call_before_it() -> None:
    messages = [
        *HELLO,
        {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}},
        {"role": "function", "name": "f", "content": "r"},
    ]
    body = {"model": "m", "messages": messages, "functions": [{"name": "f"}]}

    read = parse_request(body).messages

    assert read[2].parts[0].call_id == read[1].parts[0].id  # type: ignore[union-attr]
    assert uses_functions(body)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"messages": []}, "messages"),
        ({"messages": "hi"}, "messages"),
        ({"messages": ["hi"]}, "messages[0]"),
        ({"messages": [{"role": "user"}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": 1}]}, "messages[0].content"),
        ({"messages": [*HELLO, *HELLO, {"role": "alien", "content": ""}]}, "messages[2].role"),
        ({"messages": [{"role": "user", "content": [{"role": "user"}]}]}, "messages[0].content[0].type"),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages[0].content[0].text"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "messages[0].content[0].image_url"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": 1}}]}]},
            "messages[0].content[0].image_url.url",
        ),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].tool_call_id"),
        (
            {"messages": [{"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": 1}}]}]},
            "messages[0].tool_calls[0].function.arguments",
        ),
        ({"model": 1}, "model"),
        ({"model": ""}, "model"),
        ({"temperature": 2.1}, "temperature"),
        ({"n": 0}, "n"),
        ({"top_logprobs": 21}, "top_logprobs"),
        ({"max_tokens": "5"}, "max_tokens"),
        ({"stop": [1]}, "stop[0]"),
        ({"stream": "yes"}, "stream"),
        ({"stream_options": {"include_usage": 1}}, "stream_options.include_usage"),
        ({"tools": [{"type": "function"}]}, "tools[0].function"),
        ({"tools": [{"type": "function", "function": {"name": 1}}]}, "tools[0].function.name"),
        ({"tool_choice": "sometimes"}, "tool_choice"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
        ({"logit_bias": {"5": "x"}}, "logit_bias.5"),
        ({"store": "yes"}, "store"),
    ],
)
def test_an_error_names_its_place(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(BadRequest) as caught:
        request(**fields)

    assert caught.value.param == param
    assert caught.value.message.startswith(f"{param}: ")
