"""A whole Responses answer as a neutral Response of one choice."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from translators.codec import type_name
from translators.errors import BadAnswer
from translators.neutral import (
    NO_NATIVE,
    Choice,
    FinishReason,
    Native,
    Part,
    Response,
    TokenLogprob,
    ToolCall,
)
from translators.openai_chat.parts import created_s, objects_in
from translators.openai_responses.error import error_in
from translators.openai_responses.items import DIALECT, logprobs_of, parts_of, text_in
from translators.openai_responses.usage import usage_in

_INCOMPLETE: Final[Mapping[str, FinishReason]] = {
    "max_output_tokens": "length",
    "max_messages": "length",
    "content_filter": "content_filter",
    "steered": "pause",
}
_RUNNING: Final = frozenset({"queued", "in_progress"})

_ANSWER_FIELDS: Final = frozenset(
    {"id", "object", "created_at", "completed_at", "model", "output", "output_text", "usage", "status", "error"}
    | {"incomplete_details"}
)
_REPEATED: Final = frozenset(
    {
        "access_programs",
        "background",
        "frequency_penalty",
        "image",
        "instructions",
        "max_output_tokens",
        "max_tool_calls",
        "metadata",
        "parallel_tool_calls",
        "presence_penalty",
        "previous_response_id",
        "prompt",
        "prompt_cache_key",
        "prompt_cache_options",
        "prompt_cache_retention",
        "reasoning",
        "safety_identifier",
        "store",
        "temperature",
        "text",
        "tool_choice",
        "tools",
        "top_logprobs",
        "top_p",
        "truncation",
        "user",
    }
)
"""Fields of an answer that say what was asked."""
_KNOWN: Final = _ANSWER_FIELDS | _REPEATED
_SHARED_WITH_CHAT: Final[tuple[str, ...]] = ("moderation", "service_tier")
"""Fields of an answer that chat completions have under the same name."""


def parse_response(body: Mapping[str, Any]) -> Response:
    """*body* in the neutral form. A response that failed on its way has its `failure`, one that still runs no reason.

    Raises:
        BadAnswer: *body* is not a response.
    """
    output = body.get("output")
    if not isinstance(output, list):
        raise BadAnswer(f"output: expected an array of items, found {type_name(output)}")
    parts: list[Part] = []
    logprobs: list[TokenLogprob] = []
    for item in objects_in(output):
        parts += parts_of(item)
        if item.get("type") == "message":
            for content in objects_in(item.get("content")):
                if content.get("logprobs"):
                    logprobs += logprobs_of(content["logprobs"]) or ()
    has_calls = bool([part for part in parts if isinstance(part, ToolCall)])
    choice = Choice(
        parts=tuple(parts),
        finish_reason=finish_reason(body, has_calls=has_calls),
        logprobs=tuple(logprobs) or None,
        native=finish_native(body),
    )
    return Response(
        id=text_in(body.get("id")),
        model=text_in(body.get("model")),
        created=created_s(body.get("created_at")),
        choices=(choice,),
        usage=usage_in(body),
        failure=error_in(body),
        native=response_native(body),
    )


def finish_reason(response: Mapping[str, Any], *, has_calls: bool) -> FinishReason | None:
    """Why the answer ended; None while it has not."""
    status = response.get("status")
    if status in _RUNNING or status in ("failed", "cancelled"):
        return None
    if status == "incomplete":
        details = response.get("incomplete_details")
        word = details.get("reason") if isinstance(details, dict) else None
        # Whatever cut the answer off, it is not whole.
        return _INCOMPLETE.get(text_in(word), "length")
    return "tool_calls" if has_calls else "stop"


def finish_native(response: Mapping[str, Any]) -> Native:
    """How the response ended, in the API's words, unless it simply completed."""
    status = response.get("status")
    if status in (None, "completed"):
        return NO_NATIVE
    fields: dict[str, Any] = {"status": status}
    if response.get("incomplete_details") is not None:
        fields["incomplete_details"] = response["incomplete_details"]
    return {DIALECT: fields}


def response_native(response: Mapping[str, Any]) -> Native:
    """The fields of the response as a whole that say more than what was asked."""
    if not [name for name in response.keys() - _KNOWN if response[name] is not None]:
        return NO_NATIVE
    fields = {name: value for name, value in response.items() if value is not None and name not in _KNOWN}
    shared: dict[str, Any] = {name: fields[name] for name in _SHARED_WITH_CHAT if name in fields}
    native: dict[str, Mapping[str, Any]] = {DIALECT: fields}
    if shared:
        native["openai_chat"] = shared
    return native
