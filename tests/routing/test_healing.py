"""What vendors' refusals teach, by their real words."""

# ruff: noqa: E501 -- vendors' sentences stay whole, one case a line

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from routing.catalog import checked, merged, rules_for, with_changes
from routing.healing import understood
from translators.dialect import Rules
from translators.dialects import BACKENDS, SPOKEN
from translators.errors import BadRequest
from translators.neutral import Failure, Message, Opaque, Request, Text, Thinking, ToolCall, ToolResult
from translators.openai_chat import parse_request
from translators.openai_chat.relay import relay_request
from translators.openai_responses import client as responses_client

TOOLS = [{"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}]
SCHEMA = {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "object", "properties": {}}}}
HIGH = {"reasoning_effort": "high"}

CHAT = Rules()
OLD_NAME = Rules(max_tokens_field="max_tokens")
NEW_NAME = Rules(max_tokens_field="max_completion_tokens")
ADAPTIVE = Rules(dialect="anthropic", thinking="adaptive", efforts=("none", "low", "medium", "high", "xhigh", "max"))
BUDGET = Rules(dialect="anthropic", thinking="budget")
LEVEL = Rules(dialect="gemini", thinking="level", efforts=("low", "medium", "high"))
GEMINI_BUDGET = Rules(dialect="gemini", thinking="budget")
NO_MORE = ["low", "medium", "high", "xhigh", "max"]


def asked(**body: Any) -> Request:
    messages = body.pop("messages", [{"role": "user", "content": "Hello"}])
    return parse_request({"model": "m", "messages": messages, **body})


def refused(rules: Rules, error: Any, status: int = 400) -> Failure:
    """*error* as the vendor of this dialect sends it, read by its own parser."""
    if isinstance(error, str):
        error = {"error": {"message": error, "type": "invalid_request_error", "status": "INVALID_ARGUMENT"}}
    return SPOKEN[rules.dialect].parse_error(status, json.dumps(error).encode(), {})


def openai_error(message: str, param: str | None = None, code: str | None = None) -> dict[str, Any]:
    return {"error": {"message": message, "type": "invalid_request_error", "param": param, "code": code}}


def extra_forbidden(*names: Any) -> list[dict[str, Any]]:
    message = "Extra inputs are not permitted"
    return [{"type": "extra_forbidden", "loc": ["body", name], "msg": message, "input": 1} for name in names]


def routed(raw: Any) -> dict[str, Any]:
    """What OpenRouter makes of the answer of the vendor behind it."""
    metadata = {"raw": json.dumps(raw), "provider_name": "OpenAI"}
    return {"error": {"message": "Provider returned error", "code": 400, "metadata": metadata}}


NO_MAX_TOKENS = openai_error(
    "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.",
    "max_tokens",
    "unsupported_parameter",
)
WARM = openai_error(
    "Unsupported value: 'temperature' does not support 0.7 with this model. Only the default (1) value is supported.",
    "temperature",
    "unsupported_value",
)
NO_NONE = (
    "Unsupported value: 'reasoning_effort' does not support 'none' with this model. "
    "Supported values are: 'minimal', 'low', 'medium', and 'high'."
)
TO_RESPONSES = (
    "Function tools with reasoning_effort are not supported for gpt-5.6-sol in /v1/chat/completions. "
    "To use function tools, use /v1/responses or set reasoning_effort to 'none'."
)
NO_EXTRA = "Invalid JSON payload received. Unknown name \"topK\" at 'generation_config': Cannot find field."

# (rules, the vendor's words, the request's fields, what is learned)
Case = tuple[Rules, Any, dict[str, Any], dict[str, Any]]
TAUGHT: dict[str, Case] = {
    # OpenAI
    "openai: the other name of the limit": (OLD_NAME, NO_MAX_TOKENS, {"max_tokens": 9}, {"max_tokens_field": "max_completion_tokens"}),
    "openai: the client's own name of the limit": (CHAT, NO_MAX_TOKENS, {"max_tokens": 9}, {"max_tokens_field": "max_completion_tokens"}),
    "openai: only the default": (CHAT, WARM, {"temperature": 0.7}, {"refuses": ["temperature"]}),
    "openai: no parameter": (CHAT, openai_error("Unsupported parameter: 'stop' is not supported with this model.", "stop", "unsupported_parameter"), {"stop": "x"}, {"refuses": ["stop"]}),
    "openai: no code": (CHAT, openai_error("Unsupported parameter: 'temperature' is not supported with this model.", "temperature"), {"temperature": 1}, {"refuses": ["temperature"]}),
    "openai: unknown": (CHAT, openai_error("Unknown parameter: 'verbosity'.", "verbosity", "unknown_parameter"), {"verbosity": "low"}, {"refuses": ["verbosity"]}),
    "openai: one value left": (CHAT, openai_error("Unsupported value: 'low' is not supported with the 'gpt-4.1' model. Supported values are: 'medium'.", "verbosity", "unsupported_value"), {"verbosity": "low"}, {"refuses": ["verbosity"]}),
    "openai: native": (CHAT, openai_error("Unknown parameter: 'prompt_cache_key'.", "prompt_cache_key", "unknown_parameter"), {"prompt_cache_key": "k"}, {"refuses": ["prompt_cache_key"]}),
    "openai: efforts": (CHAT, openai_error(NO_NONE, "reasoning_effort", "unsupported_value"), {"reasoning_effort": "none"}, {"efforts": ["minimal", "low", "medium", "high"]}),
    "openai: no effort": (CHAT, openai_error("Unsupported parameter: 'reasoning_effort' is not supported with this model.", "reasoning_effort", "unsupported_parameter"), HIGH, {"refuses": ["reasoning"]}),
    "openai: developer": (CHAT, openai_error("Unsupported value: 'messages[0].role' does not support 'developer' with this model.", "messages[0].role", "unsupported_value"), {"messages": [{"role": "developer", "content": "x"}]}, {"developer_role": False}),
    "openai: schema": (CHAT, openai_error("Invalid parameter: 'response_format' of type 'json_schema' is not supported with this model.", "response_format"), {"response_format": SCHEMA}, {"structured_output": False}),
    "openai: limit": (CHAT, openai_error("max_tokens is too large: 100000. This model supports at most 16384 completion tokens, whereas you provided 100000.", "max_tokens", "invalid_value"), {"max_tokens": 100000}, {"max_output_tokens": 16384}),
    "openai: log probabilities": (CHAT, "logprobs are not supported with reasoning models.", {"logprobs": True, "top_logprobs": 2}, {"refuses": ["logprobs", "top_logprobs"]}),
    "openai: tools beside effort": (CHAT, openai_error(TO_RESPONSES, "reasoning_effort"), {"tools": TOOLS, **HIGH}, {"responses": "reasoning_with_tools"}),
    "openai: tools, reasoning by itself": (CHAT, openai_error(TO_RESPONSES, "reasoning_effort"), {"tools": TOOLS}, {"responses": "reasoning_with_tools", "thinks_by_default": True}),
    "openai: tools even without": (CHAT, openai_error(TO_RESPONSES, "reasoning_effort"), {"tools": TOOLS, "reasoning_effort": "none"}, {"responses": "tools"}),
    "azure": (CHAT, openai_error("Unrecognized request argument supplied: parallel_tool_calls"), {"tools": TOOLS, "parallel_tool_calls": False}, {"refuses": ["parallel_tool_calls"]}),
    "openai: beside an effort": (CHAT, openai_error("Unsupported parameter: 'temperature' is not supported when reasoning effort is 'high'.", "temperature", "unsupported_parameter"), {"temperature": 0.3, **HIGH}, {"refuses_while_thinking": ["temperature"]}),
    # Anthropic
    "anthropic: thinking by itself": (BUDGET, "`temperature` may only be set to 1 when thinking is enabled.", {"temperature": 0.5}, {"refuses": ["temperature"]}),
    "anthropic: deprecated": (ADAPTIVE, "`temperature` is deprecated for this model.", {"temperature": 0.2}, {"refuses": ["temperature"]}),
    "anthropic: extra": (ADAPTIVE, "top_k: Extra inputs are not permitted", {"top_k": 5}, {"refuses": ["top_k"]}),
    "anthropic: adaptive": (BUDGET, '"thinking.type.enabled" is not supported for this model. Use "thinking.type.adaptive" and "output_config.effort" to control thinking behavior.', HIGH, {"thinking": "adaptive", "efforts": ["none", *NO_MORE]}),
    "anthropic: budget": (ADAPTIVE, "adaptive thinking is not supported on this model", HIGH, {"thinking": "budget"}),
    "anthropic: no effort": (ADAPTIVE, "This model does not support the effort parameter.", HIGH, {"thinking": "budget"}),
    "anthropic: effort level": (ADAPTIVE, "This model does not support effort level 'xhigh'. Supported levels: high, low, max, medium.", {"reasoning_effort": "xhigh"}, {"efforts": ["none", "low", "medium", "high", "max"]}),
    "anthropic: forced": (replace(BUDGET, forced_tools="yes"), "Thinking may not be enabled when tool_choice forces tool use.", {"tools": TOOLS, "tool_choice": "required", **HIGH}, {"forced_tools": "not_while_thinking"}),
    "anthropic: forced, always": (ADAPTIVE, "tool_choice: forcing tool use is not supported on this model", {"tools": TOOLS, "tool_choice": "required"}, {"forced_tools": "never"}),
    "anthropic: prefill": (ADAPTIVE, "This model does not support assistant message prefill. The conversation must end with a user message.", {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}, {"prefill": False}),
    "anthropic: one of two": (BUDGET, "`temperature` and `top_p` cannot both be specified for this model. Please use only one.", {"temperature": 0.5, "top_p": 0.5}, {"one_of_temperature_top_p": True}),
    "anthropic: while thinking": (BUDGET, "`temperature` may only be set to 1 when thinking is enabled. Please consult our documentation.", {"temperature": 0.5, **HIGH}, {"refuses_while_thinking": ["temperature"]}),
    "anthropic: limit": (BUDGET, "max_tokens: 8192 > 4096, which is the maximum allowed number of output tokens for claude-3-opus-20240229", {"max_tokens": 8192}, {"max_output_tokens": 4096}),
    "anthropic: no output_config": (ADAPTIVE, "output_config: Extra inputs are not permitted", {"response_format": SCHEMA}, {"structured_output": False}),
    "anthropic: always thinks": (ADAPTIVE, '"thinking.type.disabled" is not supported for this model.', {"reasoning_effort": "none"}, {"efforts": NO_MORE}),
    # Gemini
    "gemini: unknown name": (LEVEL, NO_EXTRA, {"top_k": 5}, {"refuses": ["top_k"]}),
    "gemini: level": (LEVEL, "Thinking level is not supported for this model.", HIGH, {"thinking": "budget"}),
    "gemini: budget": (GEMINI_BUDGET, "Thinking budget is not supported for this model.", HIGH, {"thinking": "level"}),
    "gemini: a level": (replace(LEVEL, efforts=("minimal", "low", "high")), "Thinking level MINIMAL is not supported for this model. Please retry with other thinking level.", {"reasoning_effort": "minimal"}, {"efforts": ["low", "high"]}),
    "gemini: no thinking": (LEVEL, "thinking_config is not supported", HIGH, {"thinking": "none"}),
    "gemini: always thinks": (GEMINI_BUDGET, "Unable to submit request because The model does not support setting thinking_budget to 0", {"reasoning_effort": "none"}, {"efforts": ["minimal", *NO_MORE]}),
    "gemini: penalties": (LEVEL, "Penalty is not enabled for models/gemini-2.5-flash-preview-05-20", {"presence_penalty": 1, "frequency_penalty": 1}, {"refuses": ["frequency_penalty", "presence_penalty"]}),
    "gemini: log probabilities": (LEVEL, "Logprobs is not enabled for models/gemini-2.5-pro", {"logprobs": True}, {"refuses": ["logprobs"]}),
    "gemini: choices": (LEVEL, "Multiple candidates is not enabled for this model", {"n": 2}, {"refuses": ["n"]}),
    "gemini: tools or schema": (LEVEL, "Function calling with a response mime type: 'application/json' is unsupported", {"tools": TOOLS, "response_format": SCHEMA}, {"schema_with_tools": False}),
    "gemini: schema": (LEVEL, "JSON mode is not enabled for models/gemini-2.5-flash-image", {"response_format": SCHEMA}, {"structured_output": False}),
    # compatible servers
    "gemini's other endpoint, a list of one": (CHAT, [{"error": {"code": 400, "message": 'Invalid JSON payload received. Unknown name "frequency_penalty": Cannot find field.\nInvalid JSON payload received. Unknown name "seed": Cannot find field.', "status": "INVALID_ARGUMENT"}}], {"frequency_penalty": 1, "seed": 3}, {"refuses": ["frequency_penalty", "seed"]}),
    "mistral": (CHAT, {"object": "error", "message": {"detail": extra_forbidden("max_completion_tokens")}, "type": "invalid_request_error", "code": None}, {"max_completion_tokens": 9}, {"max_tokens_field": "max_tokens"}),
    "mistral, several": (CHAT, {"detail": extra_forbidden("store", "frequency_penalty")}, {"store": True, "frequency_penalty": 1}, {"refuses": ["frequency_penalty", "store"]}),
    "mistral, as text": (CHAT, {"object": "error", "message": json.dumps({"detail": extra_forbidden("frequency_penalty")}), "code": "1000"}, {"frequency_penalty": 1}, {"refuses": ["frequency_penalty"]}),
    "stream options": (CHAT, {"detail": extra_forbidden("stream_options")}, {"stream": True}, {"stream_options": False}),
    "groq": (CHAT, "property 'store' is unsupported, did you mean 'stop'?", {"store": True, "stop": "x"}, {"refuses": ["store"]}),
    "groq: efforts": (CHAT, "'reasoning_effort' : value is not one of the allowed values ['none','default','low','medium','high']", {"reasoning_effort": "max"}, {"efforts": ["none", "low", "medium", "high"]}),
    "groq: on or off": (CHAT, "`reasoning_effort` must be one of `none` or `default`", HIGH, {"refuses": ["reasoning"]}),
    "groq: schema": (CHAT, "This model does not support response format `json_schema`. See supported models at https://console.groq.com", {"response_format": SCHEMA}, {"structured_output": False}),
    "groq: limit": (CHAT, "`max_completion_tokens` must be less than or equal to `8192`, the maximum value for `max_completion_tokens` is less than the `context_window` for this model", {"max_tokens": 9000}, {"max_output_tokens": 8192}),
    "cerebras": (CHAT, {"message": "body.frequency_penalty: property 'body.frequency_penalty' is unsupported", "type": "invalid_request_error", "param": "validation_error", "code": "wrong_api_format"}, {"frequency_penalty": 1}, {"refuses": ["frequency_penalty"]}),
    "fireworks": (CHAT, "Extra inputs are not permitted, field: 'verbosity', value: 'low'", {"verbosity": "low"}, {"refuses": ["verbosity"]}),
    "deepseek: schema": (CHAT, "This response_format type is unavailable now", {"response_format": SCHEMA}, {"structured_output": False}),
    "deepseek: forced, by a switch": (CHAT, "Thinking mode does not support this tool_choice", {"tools": TOOLS, "tool_choice": "required", "thinking": {"type": "enabled"}}, {"forced_tools": "not_while_thinking"}),
    "qwen: forced": (CHAT, "<400> InternalError.Algo.InvalidParameter: The tool_choice parameter does not support being set to required or object in thinking mode", {"tools": TOOLS, "tool_choice": "required"}, {"forced_tools": "never"}),
    "qwen: developer": (CHAT, "developer is not one of ['system', 'assistant', 'user', 'tool', 'function'] - 'messages.['0].role'", {"messages": [{"role": "developer", "content": "x"}]}, {"developer_role": False}),
    "xai": (CHAT, {"code": "Client specified an invalid argument", "error": "Argument not supported on this model: presencePenalty"}, {"presence_penalty": 1}, {"refuses": ["presence_penalty"]}),
    "xai: effort": (CHAT, {"code": "invalid-argument", "error": "Model grok-4.20-0309-non-reasoning does not support parameter reasoningEffort."}, HIGH, {"refuses": ["reasoning"]}),
    "moonshot": (CHAT, "invalid temperature: only 1 is allowed for this model", {"temperature": 0.3}, {"refuses": ["temperature"]}),
    "copilot": (CHAT, {"error": {"message": 'output_config.effort "high" is not supported by model claude-opus-4.7; supported values: [medium]', "code": "invalid_reasoning_effort"}}, HIGH, {"efforts": ["medium"]}),
    "openrouter: what the vendor said": (CHAT, routed(WARM), {"temperature": 0.7}, {"refuses": ["temperature"]}),
    "openrouter: mandatory": (CHAT, "Reasoning is mandatory for this endpoint and cannot be disabled.", {"reasoning_effort": "none"}, {"efforts": ["minimal", *NO_MORE]}),
    "ollama": (CHAT, '"gemma3:1b" does not support thinking', HIGH, {"thinking": "none"}),
    "a switch of its own": (CHAT, "Unknown parameter: 'thinking'.", {"thinking": {"type": "enabled"}}, {"refuses": ["thinking"]}),
    "a renamed field": (Rules(rename={"seed": "random_seed"}), {"detail": extra_forbidden("random_seed")}, {"seed": 3}, {"refuses": ["seed"]}),
}  # fmt: skip


@pytest.mark.parametrize("name", TAUGHT)
def test_a_refusal_teaches(name: str) -> None:
    """The change is one of Rules, and under it the request goes out otherwise and is not refused that way again."""
    rules, error, fields, change = TAUGHT[name]
    request = asked(**fields)
    failure = refused(rules, error)

    lesson = understood(failure, request, rules)

    assert lesson is not None
    assert lesson.change == change
    assert lesson.reason
    assert json.loads(json.dumps(lesson.change)) == change
    learned = with_changes(rules, checked(change, "lesson"))
    assert sent(request, fields, rules) != sent(request, fields, learned)
    assert understood(failure, request, learned, change) is None


def sent(request: Request, fields: Mapping[str, Any], rules: Rules) -> Any:
    """What a target of *rules* gets, rendered and, from a client of its own dialect, relayed."""
    if rules.responses != "never":
        return "Responses"
    try:
        rendered = BACKENDS[rules.dialect].render_request(request, rules).body
    except BadRequest as error:
        return error.message
    body = {"model": "m", "messages": [{"role": "user", "content": "Hello"}], **fields}
    relayed = relay_request(json.dumps(body).encode(), body, request, rules, "m").body
    return rendered, relayed if rules.dialect == "openai_chat" else b""


def test_openai_moves_to_responses_what_is_served_there_alone() -> None:
    """OpenAI says so with a 404."""
    words = "This model is only supported in v1/responses and not in v1/chat/completions."
    lesson = understood(refused(CHAT, openai_error(words, "model"), 404), asked(), CHAT)

    assert lesson is not None
    assert lesson.change == {"responses": "always"}


def test_openrouter_finds_no_endpoint_for_a_forced_tool() -> None:
    failure = refused(CHAT, {"error": {"message": "No endpoints found that support the provided 'tool_choice' value.", "code": 404}}, 404)  # fmt: skip
    lesson = understood(failure, asked(tools=TOOLS, tool_choice="required"), CHAT)

    assert lesson is not None
    assert lesson.change == {"forced_tools": "never"}


EVERYTHING: dict[str, Any] = {
    "temperature": 0.7,
    "top_p": 0.5,
    "seed": 1,
    "stop": "x",
    "n": 2,
    "max_tokens": 9000,
    "user": "u",
    "metadata": {"a": "b"},
    "tools": TOOLS,
    "tool_choice": "auto",
    "response_format": SCHEMA,
    "stream": True,
    "store": True,
    "reasoning_effort": "high",
}

MEANINGLESS: dict[str, tuple[Rules, Any, int]] = {
    "a value out of range": (CHAT, openai_error("Invalid 'temperature': decimal above maximum value. Expected a value <= 2, but got 99.0 instead.", "temperature", "decimal_above_max_value"), 400),
    "a range": (ADAPTIVE, "temperature: range: 0..1", 400),
    "between": (CHAT, "Validation: Temperature must be between 0 and 2, got 100", 400),
    "a wrong type": (CHAT, "Field 'temperature': [json.exception.type_error.302] type must be number, but is string", 400),
    "missing": (CHAT, openai_error("Missing required parameter: 'messages[1].content[0].type'.", "messages[1].content[0].type", "missing_required_parameter"), 400),
    "the model": (CHAT, openai_error("The requested model 'x' does not exist.", "model", "model_not_found"), 400),
    "an unsupported model": (CHAT, openai_error("Unsupported parameter: 'model' is not supported.", "model", "unsupported_parameter"), 400),
    "the messages": (CHAT, openai_error("Unsupported parameter: 'messages' is not supported with this model.", "messages", "unsupported_parameter"), 400),
    "tools": (CHAT, openai_error("Unsupported parameter: 'tools' is not supported with this model.", "tools", "unsupported_parameter"), 400),
    "stream": (CHAT, openai_error("Unsupported value: 'stream' does not support true with this model. Only the default (false) value is supported.", "stream", "unsupported_value"), 400),
    "a schema's key": (LEVEL, "Invalid JSON payload received. Unknown name \"seed\" at 'tools[0].function_declarations[3].parameters': Cannot find field.", 400),
    "a message's key": (CHAT, "'messages.0' : for 'role:user' the following must be satisfied[('messages.0' : property 'seed' is unsupported)]", 400),
    "a message's extra": (CHAT, {"detail": [{"type": "extra_forbidden", "loc": ["body", "messages", 0, "user", "metadata"], "msg": "Extra inputs are not permitted"}]}, 422),
    "a header that is missing": (ADAPTIVE, "temperature: Extra inputs are not permitted. Send the `sampling-2026-08-01` beta header", 400),
    "a header that is wrong": (ADAPTIVE, "`temperature` is not supported by this `anthropic-beta`.", 400),
    "content": (ADAPTIVE, "messages.65.content.1.tool_use.text: Extra inputs are not permitted", 400),
    "a combination": (CHAT, "temperature is not supported when top_p is set", 400),
    "a combination, with its code": (CHAT, openai_error("Unsupported parameter: 'seed' is not supported when 'n' is greater than 1.", "seed", "unsupported_parameter"), 400),
    "a native field beside another": (CHAT, openai_error("Unsupported parameter: 'store' is not supported when 'n' is greater than 1.", "store", "unsupported_parameter"), 400),
    "a schema beside a stream": (CHAT, openai_error("Invalid parameter: 'response_format' of type 'json_schema' is not supported when streaming.", "response_format"), 400),
    "log probabilities beside several answers": (CHAT, "logprobs are not supported together with n.", 400),
    "an effort beside tools": (CHAT, "'reasoning_effort' 'high' is not supported while tools are given.", 400),
    "only beside another": (CHAT, openai_error("Invalid value: 'parallel_tool_calls' is only allowed when 'tools' are specified.", "parallel_tool_calls"), 400),
    "a user": (CHAT, "Your user is not allowed to sample", 403),
    "an account": (CHAT, openai_error("Your organization must be verified to stream this model.", "stream", "unsupported_value"), 400),
    "a key": (CHAT, {"code": "invalid-argument", "error": "Incorrect API key provided."}, 401),
    "money": (ADAPTIVE, "Your credit balance is too low to access the Anthropic API. temperature is not supported", 400),
    "too long": (CHAT, openai_error("This model's maximum context length is 8192 tokens. Unsupported parameter: 'seed'", "messages", "context_length_exceeded"), 400),
    "a rate": (CHAT, openai_error("Unsupported parameter: 'seed' is not supported with this model.", "seed", "rate_limit_exceeded"), 429),
    "a fault of the server": (CHAT, openai_error("Unsupported parameter: 'seed' is not supported with this model.", "seed"), 500),
    "not in the request": (CHAT, openai_error("Unsupported parameter: 'top_k' is not supported with this model.", "top_k", "unsupported_parameter"), 400),
    "a native field that is not in the request": (CHAT, openai_error("Unknown parameter: 'prediction'.", "prediction", "unknown_parameter"), 400),
    "refused before": (Rules(refuses=frozenset({"seed"})), openai_error("Unknown parameter: 'seed'.", "seed", "unknown_parameter"), 400),
    "the name that was not sent": (NEW_NAME, NO_MAX_TOKENS, 400),
    "the name that the client did not write": (CHAT, extra_forbidden("max_completion_tokens"), 400),
    "the room that is left": (CHAT, "max_tokens is too large: this model supports at most 0 completion tokens", 400),
    "an endpoint for tools": (CHAT, {"error": {"message": "No endpoints found that support tool use.", "code": 404}}, 404),
    "nothing": (CHAT, {}, 400),
    "no JSON": (CHAT, "Bad Request", 400),
    "the schema itself": (ADAPTIVE, "Schemas contains too many parameters with union types (17 parameters with type arrays or anyOf).", 400),
    "strict tools": (ADAPTIVE, "Too many strict tools (21). The maximum number of strict tools supported is 20.", 400),
}  # fmt: skip


@pytest.mark.parametrize("name", MEANINGLESS)
def test_nothing_is_learned_from(name: str) -> None:
    rules, error, status = MEANINGLESS[name]

    assert understood(refused(rules, error, status), asked(**EVERYTHING), rules) is None


def test_a_model_that_was_told_not_to_think_is_not_known_to_think() -> None:
    """What thinks then, and whether it would without being told, cannot be told from the words."""
    words = "`temperature` may only be set to 1 when thinking is enabled."
    request = asked(temperature=0.5, reasoning_effort="none")

    assert understood(refused(BUDGET, words), request, BUDGET) is None


def test_a_native_field_of_another_dialect_was_never_sent() -> None:
    failure = refused(ADAPTIVE, "store: Extra inputs are not permitted")

    assert understood(failure, asked(store=True), ADAPTIVE) is None


def test_a_limit_refused_under_both_names_is_left_out() -> None:
    """Else the two names would be learned in turn, one refusal for each request."""
    error = {"detail": extra_forbidden("max_tokens")}
    lesson = understood(
        refused(OLD_NAME, error, 422), asked(max_tokens=9), OLD_NAME, {"max_tokens_field": "max_tokens"}
    )

    assert lesson is not None
    assert lesson.change == {"refuses": ["max_output_tokens"]}


def answered(*parts: Any) -> Request:
    messages = (Message("user", (Text("a"),)), Message("assistant", parts), Message("tool", (ToolResult("c", ()),)))
    return Request("openai_chat", "m", messages)


@pytest.mark.parametrize(
    "error",
    [
        "'messages.1' : for 'role:assistant' the following must be satisfied"
        "[('messages.1' : property 'reasoning_content' is unsupported)]",
        {"detail": [{"type": "extra_forbidden", "loc": ["body", "messages", 1, "assistant", "reasoning_content"]}]},
        "messages[1].reasoning_content: Extra inputs are not permitted",
    ],
)
def test_reasoning_that_a_server_does_not_take_back_is_kept_from_it(error: Any) -> None:
    lesson = understood(refused(CHAT, error, 422), answered(Thinking("hm"), ToolCall("c", "f", "{}")), CHAT)

    assert lesson is not None
    assert lesson.change == {"takes_back": ["reasoning", "reasoning_details"], "reasoning_replay": "never"}
    assert with_changes(CHAT, lesson.change).takes_back == {"reasoning", "reasoning_details"}


@pytest.mark.parametrize(
    "words",
    [
        "The `reasoning_content` in the thinking mode must be passed back to the API.",
        "thinking is enabled but reasoning_content is missing in assistant tool call message at index 2",
    ],
)
def test_reasoning_that_a_server_wants_back_is_given_back(words: str) -> None:
    lesson = understood(refused(CHAT, words), answered(ToolCall("c", "f", "{}")), CHAT)

    assert lesson is not None
    assert lesson.change == {"reasoning_replay": "tool_turns"}
    assert understood(refused(CHAT, words), answered(Opaque("openai_chat", "x", {})), CHAT) is None


def test_the_responses_endpoint_sends_nothing_to_itself() -> None:
    """A refusal of the Responses endpoint does not send the request to the Responses endpoint."""
    rules = Rules(dialect="openai_responses")

    assert understood(Failure("invalid_request", TO_RESPONSES, 400), asked(tools=TOOLS, **HIGH), rules) is None


VISIBLE = {"refuses": ["reasoning.visible"]}
ENCRYPTED = {"refuses": ["reasoning.encrypted_content"]}
NO_SUMMARY = openai_error(
    "Unsupported parameter: 'reasoning.summary' is not supported with this model.",
    "reasoning.summary",
    "unsupported_parameter",
)
UNVERIFIED = openai_error(
    "Your organization must be verified to generate reasoning summaries. Please go to the settings.",
    "reasoning.summary",
    "unsupported_value",
)
NOT_ENCRYPTED = openai_error("Encrypted content is not supported with this model.", "include")
NO_INCLUDE = openai_error("Unsupported parameter: 'include' is not supported.", "include", "unsupported_parameter")
SEEN = {"reasoning_effort": "low", "include_reasoning": True}
WANTED = {"reasoning": {"effort": "low", "summary": "detailed"}, "include": ["reasoning.encrypted_content"]}


@pytest.mark.parametrize(
    ("error", "change"),
    [(NO_SUMMARY, VISIBLE), (UNVERIFIED, VISIBLE), (NOT_ENCRYPTED, ENCRYPTED), (NO_INCLUDE, {"refuses": ["include"]})],
)
@pytest.mark.parametrize(
    "request_", [asked(**SEEN), responses_client.parse_request({"model": "m", "input": "x", **WANTED})]
)
def test_the_responses_endpoint_teaches_what_it_does_not_show(error: Any, change: Any, request_: Request) -> None:
    """Whether the client asked for it or the bridge did."""
    rules = Rules(dialect="openai_responses")
    failure = refused(rules, error)

    lesson = understood(failure, request_, rules)

    assert lesson is not None
    assert lesson.change == change
    learned = with_changes(rules, checked(change, "lesson"))
    render = SPOKEN["openai_responses"].render_request
    assert render(request_, rules).body != render(request_, learned).body
    assert understood(failure, request_, learned, change) is None


@pytest.mark.parametrize("error", [NO_SUMMARY, UNVERIFIED, NOT_ENCRYPTED, NO_INCLUDE])
def test_what_was_not_asked_for_is_not_what_was_refused(error: Any) -> None:
    rules = Rules(dialect="openai_responses")
    request = responses_client.parse_request({"model": "m", "input": "x", "reasoning": {"effort": "low"}})

    assert understood(refused(rules, error), request, rules) is None


def test_two_lessons_are_one() -> None:
    first = {"refuses": ["top_p"], "efforts": ["low", "high"], "rename": {"seed": "s"}, "prefill": False}
    second = {"refuses": ["temperature"], "efforts": ["low"], "rename": {"user": "u"}}

    assert merged(first, second) == {
        "refuses": ["temperature", "top_p"],
        "efforts": ["low"],
        "rename": {"seed": "s", "user": "u"},
        "prefill": False,
    }


# --- recorded --------------------------------------------------------------------------------------

SHARED = Path(os.environ.get("MODELPORT_SHARED", Path(__file__).resolve().parents[3] / "shared")) / "recordings"
DIALECT_OF = {"chat_completions": "openai_chat", "messages": "anthropic", "generate_content": "gemini"}
RECORDED = {
    "openai-chat-completions-err400-crewai-e39bd7": {"refuses": ["stop"]},
    "mistral-chat-completions-err400-rig-b586f2": {"refuses": ["logprobs", "top_logprobs"]},
    "mistral-chat-completions-err400-rig-ade230": {"refuses": ["logprobs", "top_logprobs"]},
    "deepseek-chat-completions-err400-rig-e16d1a": {"forced_tools": "not_while_thinking"},
}
"""The recorded refusals that name a parameter of a chat request; from every other one nothing is to be learned."""


def recorded_errors() -> list[str]:
    if not SHARED.is_dir():
        return []
    rows = [json.loads(line) for line in (SHARED / "index.jsonl").read_text("utf-8").splitlines()]
    return [
        f"{row['provider']}/{row['id']}"
        for row in rows
        if row["status"] >= 400 and row["api"].removeprefix("stream_") in DIALECT_OF
    ]


@pytest.mark.skipif(not SHARED.is_dir(), reason="the recordings are not here")
def test_recorded_refusals_teach_what_they_say_and_no_more() -> None:
    taught = {}
    for place in recorded_errors():
        exchange = json.loads((SHARED / f"{place}.json").read_text("utf-8"))
        dialect = DIALECT_OF[exchange_api(place)]
        body, answer = exchange["request"]["body"], exchange["response"]
        content = answer["body"] if "body" in answer else answer.get("text", answer.get("sse", ""))
        raw = content if isinstance(content, str) else json.dumps(content)
        failure = BACKENDS[dialect].parse_error(answer["status"], raw.encode(), {})
        request = asked(**EVERYTHING)
        if dialect == "openai_chat" and body:
            try:
                request = parse_request({**body, "model": body.get("model", "m")})
            except BadRequest:
                continue
        if lesson := understood(failure, request, Rules(dialect=dialect)):
            taught[place.partition("/")[2]] = lesson.change

    assert taught == RECORDED


def exchange_api(place: str) -> str:
    name = place.partition("/")[2]
    kinds = {"chat-completions": "chat_completions", "generate-content": "generate_content"}
    return next((api for part, api in kinds.items() if part in name), "messages")


def test_what_is_shipped_already_is_not_learned_again() -> None:
    """The rows know most of it: a lesson is for what they do not know yet."""
    rules = rules_for("openai_chat", "o1-mini")
    failure = refused(rules, TAUGHT["openai: no parameter"][1])

    assert understood(failure, asked(stop="x"), rules) is None
