"""Valid questions in every dialect, and what can stand in the place of each of their values."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

TOOL_SCHEMA: Final = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
PICTURE: Final = "data:image/png;base64,iVBORw0KGgo="


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a *body* is valid. *envelope* holds the keys of its dialect's failure, outer and inner."""

    name: str
    path: str
    body: Mapping[str, Any]
    envelope: tuple[frozenset[str], frozenset[str]]


OPENAI: Final = (frozenset({"error"}), frozenset({"message", "type", "param", "code"}))
ANTHROPIC: Final = (frozenset({"type", "error", "request_id"}), frozenset({"type", "message"}))
GEMINI: Final = (frozenset({"error"}), frozenset({"code", "message", "status"}))

CHAT: Final[dict[str, Any]] = {
    "model": "own/m",
    "messages": [
        {"role": "system", "content": "Be brief."},
        {
            "role": "user",
            "content": [{"type": "text", "text": "Hi"}, {"type": "image_url", "image_url": {"url": PICTURE}}],
        },
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Rome"}'}}
            ],
        },
        {"role": "tool", "tool_call_id": "c1", "content": "fine"},
        {"role": "user", "content": "And now?", "name": "eve"},
    ],
    "tools": [{"type": "function", "function": {"name": "weather", "description": "d", "parameters": TOOL_SCHEMA}}],
    "tool_choice": {"type": "function", "function": {"name": "weather"}},
    "parallel_tool_calls": True,
    "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": TOOL_SCHEMA, "strict": True}},
    "max_tokens": 20,
    "temperature": 0.5,
    "top_p": 0.9,
    "n": 1,
    "stop": ["x"],
    "seed": 1,
    "logit_bias": {"1": 5},
    "logprobs": True,
    "top_logprobs": 2,
    "frequency_penalty": 0.1,
    "presence_penalty": 0.1,
    "user": "u",
    "metadata": {"a": "b"},
    "stream": False,
    "stream_options": {"include_usage": True},
    "reasoning_effort": "low",
    "service_tier": "auto",
    "store": False,
    "modelport": {"cache": "no-cache", "tags": {"team": "a"}, "losses": "ignore", "timeout_s": 5},
}
RESPONSES: Final[dict[str, Any]] = {
    "model": "own/m",
    "input": [
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Hi"}]},
        {"type": "function_call", "call_id": "c1", "name": "weather", "arguments": '{"city":"Rome"}'},
        {"type": "function_call_output", "call_id": "c1", "output": "fine"},
    ],
    "instructions": "Be brief.",
    "tools": [{"type": "function", "name": "weather", "description": "d", "parameters": TOOL_SCHEMA, "strict": False}],
    "tool_choice": {"type": "function", "name": "weather"},
    "text": {"format": {"type": "json_schema", "name": "n", "schema": TOOL_SCHEMA}, "verbosity": "low"},
    "reasoning": {"effort": "low", "summary": "auto"},
    "max_output_tokens": 20,
    "temperature": 0.5,
    "top_p": 0.9,
    "include": ["reasoning.encrypted_content"],
    "metadata": {"a": "b"},
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "prompt_cache_key": "k",
    "store": False,
    "stream": False,
    "truncation": "auto",
    "user": "u",
    "background": False,
}
MESSAGES: Final[dict[str, Any]] = {
    "model": "own/m",
    "max_tokens": 20,
    "system": [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}],
    "messages": [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "Hi"},
                {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}},
            ],
        },
        {
            "role": "assistant",
            "content": [{"type": "tool_use", "id": "t1", "name": "weather", "input": {"city": "Rome"}}],
        },
        {
            "role": "user",
            "content": [{"type": "tool_result", "tool_use_id": "t1", "content": "fine", "is_error": False}],
        },
    ],
    "tools": [{"name": "weather", "description": "d", "input_schema": TOOL_SCHEMA}],
    "tool_choice": {"type": "tool", "name": "weather", "disable_parallel_tool_use": True},
    "thinking": {"type": "disabled"},
    "temperature": 0.5,
    "top_k": 5,
    "top_p": 0.9,
    "stop_sequences": ["x"],
    "metadata": {"user_id": "u"},
    "stream": False,
}
CONTENTS: Final[dict[str, Any]] = {
    "systemInstruction": {"parts": [{"text": "Be brief."}]},
    "contents": [
        {"role": "user", "parts": [{"text": "Hi"}, {"inlineData": {"mimeType": "image/png", "data": "iVBORw0KGgo="}}]},
        {"role": "model", "parts": [{"functionCall": {"name": "weather", "args": {"city": "Rome"}}}]},
        {"role": "user", "parts": [{"functionResponse": {"name": "weather", "response": {"result": "fine"}}}]},
    ],
    "tools": [{"functionDeclarations": [{"name": "weather", "description": "d", "parameters": TOOL_SCHEMA}]}],
    "toolConfig": {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["weather"]}},
    "safetySettings": [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_NONE"}],
    "generationConfig": {
        "maxOutputTokens": 20,
        "temperature": 0.5,
        "topP": 0.9,
        "topK": 5,
        "candidateCount": 1,
        "stopSequences": ["x"],
        "seed": 1,
        "responseMimeType": "application/json",
        "responseSchema": TOOL_SCHEMA,
        "thinkingConfig": {"thinkingBudget": 0, "includeThoughts": False},
    },
}
COMPLETION: Final[dict[str, Any]] = {
    "model": "own/m",
    "prompt": ["Hi"],
    "suffix": "x",
    "max_tokens": 20,
    "temperature": 0.5,
    "top_p": 0.9,
    "n": 1,
    "best_of": 1,
    "logprobs": 1,
    "echo": False,
    "stop": ["x"],
    "logit_bias": {"1": 5},
    "seed": 1,
    "user": "u",
    "stream": False,
}
EMBEDDING: Final[dict[str, Any]] = {
    "model": "own/m",
    "input": ["Hi", "there"],
    "dimensions": 2,
    "encoding_format": "float",
    "user": "u",
}

ENDPOINTS: Final = (
    Endpoint("chat", "/v1/chat/completions", CHAT, OPENAI),
    Endpoint("responses", "/v1/responses", RESPONSES, OPENAI),
    Endpoint("messages", "/v1/messages", MESSAGES, ANTHROPIC),
    Endpoint("gemini", "/v1beta/models/own/m:generateContent", CONTENTS, GEMINI),
    Endpoint("completions", "/v1/completions", COMPLETION, OPENAI),
    Endpoint("embeddings", "/v1/embeddings", EMBEDDING, OPENAI),
)


class Written(str):
    """JSON that no serializer writes."""

    __slots__ = ()


ODD: Final[dict[str, Any]] = {
    "null": None,
    "true": True,
    "false": False,
    "zero": 0,
    "minus one": -1,
    "minus a billion": -1_000_000_000,
    "a fraction": 0.5,
    "a huge number": Written("1e400"),
    "a huge exponent": 1e308,
    "beyond 64 bits": 2**64,
    "5000 digits": Written("9" * 5000),
    "NaN": Written("NaN"),
    "minus infinity": Written("-Infinity"),
    "minus zero": Written("-0.0"),
    "empty text": "",
    "text": "x",
    "digits": "12",
    "NUL": "\x00",
    "line ends": "a\r\nX-Hidden: 1\r\n\r\ndata: [DONE]\n\n",
    "surrogate": Written('"\\ud800"'),
    "long text": "x" * 70_000,
    "long number": "7" * 70_000,
    "letters and digits": "a1" * 35_000,
    "blanks": " " * 70_000,
    "brackets": "[{" * 35_000,
    "backslashes": '\\"' * 35_000,
    "line feeds": "\n" * 70_000,
    "marks": "<think>```" * 7_000,
    "slashes": "a/b:c,d=e;" * 7_000,
    "odd letters": "\u202e\u2028\ufeff\U0001f600</script>\x1b[31m",
    "empty list": [],
    "list of null": [None],
    "nested lists": [[["x"]]],
    "empty object": {},
    "object of null": {"type": None, "x": None},
    "nested object": {"a": {"b": {"c": {}}}},
    "60 deep": Written('{"a":' * 60 + "1" + "}" * 60),
}
"""By their names."""


def places(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """The path of every value in *value*."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in inner:
        yield (*path, key)
        yield from places(child, (*path, key))


def replaced(body: Mapping[str, Any], path: tuple[str | int, ...], odd: Any) -> bytes:
    """*body* with *odd* at *path*, as JSON."""
    mark = "\ue000here"
    whole = json.loads(json.dumps(body))
    at = whole
    for step in path[:-1]:
        at = at[step]
    at[path[-1]] = mark
    return (
        json.dumps(whole).replace(json.dumps(mark), str(odd) if isinstance(odd, Written) else json.dumps(odd)).encode()
    )
