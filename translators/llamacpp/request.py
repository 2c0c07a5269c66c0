"""A neutral Request as keyword arguments for `llama_cpp.Llama.create_chat_completion` (0.3.36).

What that function does with its arguments, and what therefore is done here:

- `response_format` json_schema is ignored in silence: sent as json_object with `schema`, which becomes a grammar.
- `tools` only reach the chat template. Calls are read out of the text by `calls`; a forced call is a grammar.
- `tool_choice` named reports `tool_calls` even for arguments that max_tokens has cut: not used, for the same grammar
  by way of `response_format` keeps the true finish reason.
- `max_tokens` 0 means no limit, an empty stop sequence ends every answer at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, fields, replace
from typing import Any, Final

from translators.dialect import Rendered, Rules
from translators.errors import BadRequest
from translators.llamacpp.grammar import arguments_schema, call_schema, grammar_schema
from translators.llamacpp.hints import HINTS, Calls, Hints
from translators.llamacpp.messages import NAME, render_messages
from translators.losses import Loss, field_of, native_losses, request_native_losses, tool_place
from translators.neutral import Request, Tool, ToolChoice
from translators.tool_choices import without_unmet_choice

_DEFAULTS: Final[Mapping[str, Any]] = {
    item.name: item.default if item.default_factory is MISSING else item.default_factory()
    for item in fields(Request)
    if item.default is not MISSING or item.default_factory is not MISSING
}
_AS_IS: Final = ("temperature", "top_p", "top_k", "presence_penalty", "frequency_penalty")
_NO_EQUIVALENT: Final[Mapping[str, str]] = {
    "n": "a local model gives one answer at a time",
    "parallel_tool_calls": "how many calls a model writes cannot be limited",
    "reasoning": "how much a local model thinks is up to its chat template",
    "verbosity": "a local model has no such setting",
    "user": "a local model has no users",
    "metadata": "a local model keeps no records",
    "service_tier": "a local model has no tiers",
}
_HARMLESS: Final[Mapping[str, tuple[Any, ...]]] = {
    "n": (1,),
    "parallel_tool_calls": (True,),
    "service_tier": ("auto", "default"),
}
"""Values that ask for what happens anyway."""
_SAMPLERS: Final = ("min_p", "typical_p", "repeat_penalty", "mirostat_mode", "mirostat_tau", "mirostat_eta")
"""llama.cpp's own settings, read from the unknown fields of whatever dialect the client speaks."""
_SEED_MASK: Final = 0xFFFF_FFFF


def render_request(request: Request, rules: Rules) -> Rendered:
    """The body for the backend's child process.

    Raises:
        BadRequest: the tool choice names no offered tool, or there are no messages.
        Unsupported: a part that the model cannot take.
    """
    losses: list[Loss] = []
    request = _without_refused(request, rules, losses)
    request = without_unmet_choice(request, lambda _tool: False, losses)
    body: dict[str, Any] = {
        "model": request.model,
        "messages": render_messages(request.messages, rules, losses, request.dialect),
        **_sampling(request, losses),
    }
    tools = _offered(request, losses)
    hints, schema = _constraint(request, tools, losses)
    if tools:
        body["tools"] = [_tool(tool) for tool in tools]
    if schema is not None:
        body["response_format"] = {"type": "json_object", **({"schema": schema} if schema else {})}
    body |= _own_fields(request, losses)
    _report_rest(request, losses)
    body |= rules.extra_body
    body["stream"] = request.stream
    body[HINTS] = hints.wire()
    return Rendered(body, tuple(losses))


def _without_refused(request: Request, rules: Rules, losses: list[Loss]) -> Request:
    changes = {
        name: _DEFAULTS[name]
        for name in sorted(rules.refuses)
        if name in _DEFAULTS and getattr(request, name) != _DEFAULTS[name]
    }
    losses.extend(Loss(field_of(request, name), "dropped", "this model does not take it") for name in changes)
    return replace(request, **changes) if changes else request


def _sampling(request: Request, losses: list[Loss]) -> dict[str, Any]:
    sampling = {name: value for name in _AS_IS if (value := getattr(request, name)) is not None}
    if request.max_output_tokens is not None:
        if request.max_output_tokens < 1:
            losses.append(Loss(field_of(request, "max_output_tokens"), "clamped", "0 would mean no limit: 1"))
        sampling["max_tokens"] = max(request.max_output_tokens, 1)
    if request.seed is not None:
        sampling["seed"] = request.seed & _SEED_MASK
    if stop := [sequence for sequence in request.stop if sequence]:
        sampling["stop"] = stop
    if len(stop) < len(request.stop):
        losses.append(Loss(field_of(request, "stop"), "dropped", "an empty sequence would end every answer"))
    if request.logit_bias:
        sampling["logit_bias"] = dict(request.logit_bias)
    if request.logprobs:
        # Without a number the library gives none at all.
        sampling |= {"logprobs": True, "top_logprobs": request.top_logprobs or 0}
    elif request.top_logprobs:
        losses.append(Loss(field_of(request, "top_logprobs"), "dropped", "logprobs is not set"))
    return sampling


def _offered(request: Request, losses: list[Loss]) -> list[Tool]:
    """The tools that the model may call; with choice `none` nothing is offered, so that nothing can be called."""
    choice = request.tool_choice
    if choice is not None and choice.kind == "none":
        return []
    offered: list[Tool] = []
    for index, tool in enumerate(request.tools):
        place = tool_place(tool, index, request.dialect)
        losses.extend(native_losses(place, tool.native, NAME, request.dialect) if tool.kind != "native" else ())
        if tool.kind != "function":
            losses.append(Loss(place, "dropped", f"a local model has functions only, no {tool.name}"))
            continue
        if tool.strict and not _forces(choice):
            losses.append(Loss(f"{place}.strict", "dropped", "held to only where a call is forced"))
        offered.append(tool)
    if choice is None or not choice.names:
        return offered
    return _chosen(choice, offered, field_of(request, "tool_choice"))


def _forces(choice: ToolChoice | None) -> bool:
    """Whether the answer must be a call."""
    return choice is not None and (choice.kind in ("required", "named") or choice.mode == "required")


def _chosen(choice: ToolChoice, offered: list[Tool], place: str) -> list[Tool]:
    missing = [name for name in choice.names if all(tool.name != name for tool in offered)]
    if missing:
        raise BadRequest(f"{place}: {missing[0]!r} is not a function among the tools", place, "invalid_value")
    return [tool for tool in offered if tool.name in choice.names]


def _constraint(request: Request, tools: list[Tool], losses: list[Loss]) -> tuple[Hints, dict[str, Any] | None]:
    """How the answer is to be read, and the schema that holds it: None for free text, empty for any JSON."""
    choice = request.tool_choice
    names = tuple(tool.name for tool in tools)
    forced = _forces(choice)
    if forced and not tools:
        place = field_of(request, "tool_choice")
        raise BadRequest(f"{place}: a call is demanded, but there are no functions", place, "invalid_value")
    if forced:
        if request.output is not None:
            name = field_of(request, "output")
            losses.append(Loss(name, "dropped", "the answer is a call, as tool_choice demands"))
        if len(tools) == 1:
            return Hints("named", names, constrained=True), arguments_schema(tools[0])
        return Hints("one", names, constrained=True), call_schema(tools)
    calls: Calls = "auto" if tools else "none"
    if request.output is None:
        return Hints(calls, names), None
    schema: dict[str, Any] = {}
    if request.output.kind == "json_schema":
        schema, ignored = grammar_schema(request.output.schema or {}, field_of(request, "output.schema"))
        losses.extend(ignored)
        if request.output.description is not None:
            name = field_of(request, "output.description")
            losses.append(Loss(name, "dropped", "a grammar holds the answer without a word to the model"))
        if tools:
            losses.append(
                Loss(
                    field_of(request, "tools"),
                    "emulated",
                    "under a schema calls are written as JSON, not in the model's form",
                )
            )
            schema = call_schema(tools, schema)
    return Hints(calls, names, constrained=True), schema


def _tool(tool: Tool) -> dict[str, Any]:
    function: dict[str, Any] = {"name": tool.name}
    if tool.description is not None:
        function["description"] = tool.description
    function["parameters"] = dict(tool.parameters) if tool.parameters else {"type": "object", "properties": {}}
    return {"type": "function", "function": function}


def _own_fields(request: Request, losses: list[Loss]) -> dict[str, Any]:
    """llama.cpp's samplers out of the client's unknown fields; losses for the others."""
    own = {
        name: value
        for unknown in request.native.values()
        for name, value in unknown.items()
        if name in _SAMPLERS and isinstance(value, int | float) and not isinstance(value, bool)
    }
    losses.extend(loss for loss in request_native_losses(request, NAME) if loss.field not in own)
    return own


def _report_rest(request: Request, losses: list[Loss]) -> None:
    for name, reason in _NO_EQUIVALENT.items():
        value = getattr(request, name)
        if value not in (None, _DEFAULTS[name], *_HARMLESS.get(name, ())):
            losses.append(Loss(field_of(request, name), "dropped", reason))
    if request.modalities is not None and set(request.modalities) - {"text"}:
        losses.append(Loss(field_of(request, "modalities"), "dropped", "a local model answers in text"))
