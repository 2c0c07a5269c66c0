"""Descriptions of the dialects' endpoints, in outline: what a body may hold stands in the vendors' documentation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from proxy.openapi.operation import ANY_OBJECT, EVENTS, Media, Operation, Operations, Parameter, ok

STREAMED: Final = Media({"type": "string"}, EVENTS)
OPENAI_DOCS: Final = "https://platform.openai.com/docs/api-reference"
ANTHROPIC_DOCS: Final = "https://docs.anthropic.com/en/api"
GEMINI_DOCS: Final = "https://ai.google.dev/api"

_MODEL: Final[Mapping[str, Any]] = {
    "type": "string",
    "description": "A route, `provider/model`, or a model that exactly one provider offers.",
}
_MESSAGES: Final[Mapping[str, Any]] = {"type": "array", "items": {"type": "object"}, "minItems": 1}


def _body(required: Sequence[str] = (), **fields: Mapping[str, Any]) -> Mapping[str, Any]:
    """An object with these fields and any other."""
    extra = {
        "modelport": {
            "type": "object",
            "description": "What is meant for the proxy: route, cache, losses, tags, timeout_s, idempotency_key.",
        }
    }
    return {"type": "object", "required": list(required), "properties": {**fields, **extra}}


def _answer(**fields: Mapping[str, Any]) -> Media:
    return Media({"type": "object", "properties": fields, "additionalProperties": True})


def _either(whole: Media) -> Mapping[int, tuple[Media, ...]]:
    return {200: (whole, STREAMED)}


_STREAM: Final[Mapping[str, Any]] = {"type": "boolean", "default": False}
_OBJECT: Final[Mapping[str, Any]] = {"type": "string"}
_LIST: Final[Mapping[str, Any]] = {"type": "array"}
_USAGE: Final[Mapping[str, Any]] = {"type": "object"}
_ASKED: Final[Mapping[str, Any]] = {"model": "fast", "messages": [{"role": "user", "content": "Hello"}]}
_RESPONSE: Final = _answer(id=_OBJECT, object={"const": "response"}, status=_OBJECT, output=_LIST, usage=_USAGE)
_RESPONSE_ID: Final[Mapping[str, str]] = {"id": "The response's id."}

_OPENAI: Final[Operations] = {
    ("POST", "/v1/chat/completions"): (
        Operation(
            "OpenAI",
            _either(_answer(id=_OBJECT, object={"const": "chat.completion"}, choices=_LIST, usage=_USAGE)),
            body=_body(["messages"], model=_MODEL, messages=_MESSAGES, stream=_STREAM),
            summary="A chat completion",
            description=f"{OPENAI_DOCS}/chat. A body field `models` is a failover chain of its own.",
            example=_ASKED,
        ),
    ),
    ("POST", "/v1/completions"): (
        Operation(
            "OpenAI",
            _either(_answer(id=_OBJECT, object={"const": "text_completion"}, choices=_LIST, usage=_USAGE)),
            body=_body(["prompt"], model=_MODEL, prompt={}, stream=_STREAM),
            summary="A completion of a text",
            description=f"{OPENAI_DOCS}/completions",
        ),
    ),
    ("POST", "/v1/embeddings"): (
        Operation(
            "OpenAI",
            ok({"type": "object", "properties": {"object": {"const": "list"}, "data": _LIST, "usage": _USAGE}}),
            body=_body(["input"], model=_MODEL, input={}),
            summary="Vectors of texts",
            description=f"{OPENAI_DOCS}/embeddings",
        ),
    ),
    ("POST", "/v1/responses"): (
        Operation(
            "OpenAI",
            _either(_RESPONSE),
            body=_body(
                model=_MODEL, input={}, stream=_STREAM, background={"type": "boolean"}, store={"type": "boolean"}
            ),
            summary="A response",
            description=f"{OPENAI_DOCS}/responses",
            example={"model": "fast", "input": "Hello"},
        ),
    ),
    ("POST", "/v1/responses/input_tokens"): (
        Operation(
            "OpenAI",
            {200: _answer(object=_OBJECT, input_tokens={"type": "integer"})},
            body=_body(model=_MODEL, input={}),
            summary="How many tokens a request has",
        ),
    ),
    ("POST", "/v1/responses/compact"): (
        Operation("OpenAI", ok(ANY_OBJECT), body=_body(model=_MODEL), summary="Have the vendor compact a conversation"),
    ),
    ("GET", "/v1/responses/{}"): (
        Operation(
            "OpenAI",
            {200: _RESPONSE},
            path="/v1/responses/{id}",
            parameters=_RESPONSE_ID,
            summary="A stored response",
        ),
        Operation(
            "OpenAI",
            {200: _answer(object={"const": "list"}, data=_LIST, has_more={"type": "boolean"})},
            path="/v1/responses/{id}/input_items",
            parameters=_RESPONSE_ID,
            query=(
                Parameter("order", "Newest first unless it is asc.", {"type": "string", "enum": ["asc", "desc"]}),
                Parameter("after", "The id of the item before the first one."),
                Parameter("limit", "Default: 20.", {"type": "integer", "minimum": 1, "maximum": 100}),
            ),
            summary="The input that a stored response answers",
        ),
    ),
    ("DELETE", "/v1/responses/{}"): (
        Operation(
            "OpenAI",
            {200: _answer(id=_OBJECT, deleted={"const": True})},
            path="/v1/responses/{id}",
            parameters=_RESPONSE_ID,
            summary="Forget a response",
        ),
    ),
    ("POST", "/v1/responses/{}"): (
        Operation(
            "OpenAI",
            {200: _RESPONSE},
            path="/v1/responses/{id}/cancel",
            parameters=_RESPONSE_ID,
            summary="End a response that is made in the background",
        ),
    ),
    ("GET", "/v1/models"): (
        Operation(
            "OpenAI",
            {200: _answer(object={"const": "list"}, data=_LIST)},
            summary="What can be written into `model`",
            description="In the form of the dialect that the request's headers speak.",
        ),
    ),
    ("GET", "/v1/models/{}"): (
        Operation(
            "OpenAI",
            {200: _answer(id=_OBJECT)},
            path="/v1/models/{id}",
            parameters={"id": "A name that /v1/models lists; slashes may stay."},
            summary="One of the names",
        ),
    ),
    ("*", "/v1/{}"): (
        Operation(
            "OpenAI",
            {200: Media({}, "*/*", description="The provider's own answer.")},
            path="/v1/{path}",
            parameters={"path": "Any path that the provider has."},
            methods=("GET", "POST", "PUT", "PATCH", "DELETE"),
            summary="Anything else that a provider has, passed on as it is",
            description="The provider is the one that offers the `model` of the body, form or query, or the one that"
            " the header `x-modelport-provider` names.",
        ),
    ),
}
_ANTHROPIC: Final[Operations] = {
    ("POST", "/v1/messages"): (
        Operation(
            "Anthropic",
            _either(_answer(id=_OBJECT, type={"const": "message"}, content=_LIST, usage=_USAGE)),
            body=_body(["messages"], model=_MODEL, messages=_MESSAGES, max_tokens={"type": "integer"}, stream=_STREAM),
            summary="A message",
            description=f"{ANTHROPIC_DOCS}/messages",
            example={**_ASKED, "max_tokens": 200},
        ),
    ),
    ("POST", "/v1/messages/count_tokens"): (
        Operation(
            "Anthropic",
            {200: _answer(input_tokens={"type": "integer"})},
            body=_body(["messages"], model=_MODEL, messages=_MESSAGES),
            summary="How many tokens a request has",
        ),
    ),
}


_GEMINI_MODEL: Final = {"model": "A model's name or a route's."}


def _gemini(prefix: str) -> tuple[Operation, ...]:
    """What can be asked of a model below *prefix*."""
    contents = _body(["contents"], contents=_MESSAGES)
    answer = _answer(candidates=_LIST, usageMetadata=_USAGE)
    return (
        Operation(
            "Gemini",
            {200: answer},
            path=f"{prefix}:generateContent",
            parameters=_GEMINI_MODEL,
            body=contents,
            summary="An answer",
            description=f"{GEMINI_DOCS}/generate-content",
            example={"contents": [{"role": "user", "parts": [{"text": "Hello"}]}]},
        ),
        Operation(
            "Gemini",
            {200: (STREAMED, Media({"type": "array", "items": {"type": "object"}}))},
            path=f"{prefix}:streamGenerateContent",
            parameters=_GEMINI_MODEL,
            query=(Parameter("alt", "sse: events instead of one array.", {"type": "string", "enum": ["sse"]}),),
            body=contents,
            summary="An answer, streamed",
        ),
        Operation(
            "Gemini",
            {200: _answer(totalTokens={"type": "integer"})},
            path=f"{prefix}:countTokens",
            parameters=_GEMINI_MODEL,
            body=ANY_OBJECT,
            summary="How many tokens a request has",
        ),
        Operation(
            "Gemini",
            {200: _answer(embedding={"type": "object"})},
            path=f"{prefix}:embedContent",
            parameters=_GEMINI_MODEL,
            body=_body(["content"], content={"type": "object"}, outputDimensionality={"type": "integer", "minimum": 1}),
            summary="A vector for a text",
            description=f"{GEMINI_DOCS}/embeddings",
        ),
        Operation(
            "Gemini",
            {200: _answer(embeddings=_LIST)},
            path=f"{prefix}:batchEmbedContents",
            parameters=_GEMINI_MODEL,
            body=_body(["requests"], requests={"type": "array", "items": {"type": "object"}}),
            summary="Vectors for texts",
        ),
    )


_GEMINI: Final[Operations] = {
    ("POST", "/v1beta/models/{}"): _gemini("/v1beta/models/{model}"),
    ("POST", "/v1beta/{}"): _gemini("/v1beta/{model}"),
    ("POST", "/v1alpha/models/{}"): _gemini("/v1alpha/models/{model}"),
    ("POST", "/v1/models/{}"): _gemini("/v1/models/{model}"),
    ("GET", "/v1beta/models"): (
        Operation(
            "Gemini",
            {200: _answer(models=_LIST, nextPageToken=_OBJECT)},
            query=(
                Parameter("pageSize", "Models on a page.", {"type": "integer", "minimum": 1}),
                Parameter("pageToken", "The `nextPageToken` of the page before."),
            ),
            summary="What can be asked",
        ),
    ),
    ("GET", "/v1beta/models/{}"): (
        Operation(
            "Gemini",
            {200: _answer(name=_OBJECT)},
            path="/v1beta/models/{model}",
            parameters=_GEMINI_MODEL,
            summary="One of the names",
        ),
    ),
}
DIALECTS: Final[Operations] = {**_OPENAI, **_ANTHROPIC, **_GEMINI}
