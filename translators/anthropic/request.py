"""A neutral Request as a body for `POST /v1/messages`.

Every field of the request ends in the body or in a loss. What Anthropic answers with 400 is known from its SDK's types,
its documentation and recorded errors, or comes with the model's Rules.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import MISSING, fields, replace
from operator import attrgetter
from typing import Any, Final

from translators.anthropic.blocks import Rendering
from translators.anthropic.response import NAME
from translators.anthropic.thinking import effort_while_off, plan_thinking
from translators.anthropic.tools import ToolNames, render_tools
from translators.anthropic.turns import Turns
from translators.codec import dumps_text
from translators.dialect import Rendered, Rules
from translators.json_schema import anthropic_output_schema
from translators.labels import labelled
from translators.losses import Loss, field_of, field_of_wire, native_losses, request_native_losses
from translators.neutral import Request
from translators.tool_choices import without_unmet_choice

FALLBACK_MAX_TOKENS: Final = 4096
"""For a model whose maximum is unknown: every Claude model since 2024 takes it."""
MAX_CACHE_MARKS: Final = 4
_NEEDED: Final = frozenset({"model", "max_tokens", "messages"})

_DEFAULTS: Final[Mapping[str, Any]] = {
    item.name: item.default if item.default_factory is MISSING else item.default_factory()
    for item in fields(Request)
    if item.default is not MISSING or item.default_factory is not MISSING
}
_NO_EQUIVALENT: Final = (
    "presence_penalty",
    "frequency_penalty",
    "seed",
    "logprobs",
    "top_logprobs",
    "logit_bias",
    "verbosity",
    "metadata",
)
_values_without_equivalent: Final = attrgetter(*_NO_EQUIVALENT)
# OpenAI's tiers and Anthropic's own; the others name a way to pay that Anthropic does not sell.
_SERVICE_TIERS: Final[Mapping[str, str]] = {
    "auto": "auto",
    "default": "standard_only",
    "standard_only": "standard_only",
    "priority": "auto",
}
# The values of restricted fields that thinking models take all the same, lowest and highest.
# (platform.claude.com/docs/en/build-with-claude/extended-thinking, feature compatibility, 2026-11)
_TAKEN_WHILE_THINKING: Final[Mapping[str, tuple[float, float]]] = {"temperature": (1.0, 1.0), "top_p": (0.95, 1.0)}
_JSON_OBJECT_INSTRUCTION: Final = (
    "Answer with exactly one JSON object, without any text or code fence before or after it."
)


def render_request(request: Request, rules: Rules) -> Rendered:
    """The body for a model that follows *rules*.

    Raises:
        BadRequest: the messages cannot be said to the target (an orphan result, unreadable arguments, a prefill).
        Unsupported: a part or tool has no form there at all.
    """
    losses: list[Loss] = []
    if rules.refuses:
        request = _without(request, rules.refuses, "the model refuses it", losses)
    request = without_unmet_choice(request, lambda tool: NAME in tool.native, losses)
    rendering = Rendering(request, rules, ToolNames(request), losses=losses)
    turns = Turns(rendering)
    for index, message in enumerate(request.messages):
        turns.add(index, message)
    messages = turns.messages()
    plan = plan_thinking(request, rules, _max_tokens(request, rules, losses), turns.continues_unsigned_tools, losses)
    if plan.on:
        refused = [name for name in rules.refuses_while_thinking if not taken_while_thinking(request, name)]
        request = _without(request, refused, "the model refuses it while thinking", losses)
    tools = render_tools(request, rules, rendering.names, plan.on, losses)
    output = _output(request, rules, bool(tools.get("tools")), turns.system, losses)
    body: dict[str, Any] = {"model": request.model, "max_tokens": plan.max_tokens}
    if turns.system:
        body["system"] = turns.system
    body["messages"] = messages
    body |= tools
    body |= _sampling(request, rules, losses)
    body |= plan.fields
    if output:
        body["output_config"] = {**body.get("output_config", {}), **output}
    body |= _about_request(request, losses)
    _report_rest(request, losses)
    if request.native:
        _add_native(body, _undecided(request))
    if rules.refuses:
        for name in sorted(rules.refuses & body.keys() - _NEEDED):
            del body[name]
            losses.append(Loss(field_of_wire(request, NAME, name), "dropped", "the model refuses it"))
    _limit_cache_marks(body, request.dialect, losses)
    body |= rules.extra_body
    if rules.rename:
        body = {rules.rename.get(name, name): value for name, value in body.items()}
    return Rendered(body, tuple(losses), dict(rules.headers), rendering.names.restored)


def _undecided(request: Request) -> Mapping[str, Any]:
    """This dialect's native fields of *request*, without an effort of which the plan for thinking has decided."""
    native = request.native.get(NAME, {})
    if effort_while_off(request) is None:
        return native
    config = {name: value for name, value in native["output_config"].items() if name != "effort"}
    return {name: value for name, value in native.items() if name != "output_config"} | (
        {"output_config": config} if config else {}
    )


def _without(request: Request, refused: Iterable[str], reason: str, losses: list[Loss]) -> Request:
    """*request* with the fields of *refused* back at their defaults, each reported."""
    changes = {
        name: _DEFAULTS[name]
        for name in sorted(refused)
        if name in _DEFAULTS and getattr(request, name) != _DEFAULTS[name]
    }
    losses.extend(Loss(field_of(request, name), "dropped", reason) for name in changes)
    return replace(request, **changes) if changes else request


def taken_while_thinking(request: Request, name: str) -> bool:
    """Whether the field *name*, which is refused while thinking, has one of the values that are not."""
    value = getattr(request, name, None)
    if name not in _TAKEN_WHILE_THINKING or value is None:
        return False
    lowest, highest = _TAKEN_WHILE_THINKING[name]
    return bool(lowest <= value <= highest)


def _max_tokens(request: Request, rules: Rules, losses: list[Loss]) -> int:
    """Anthropic demands a limit; 0 is one (it fills the prompt cache and writes nothing)."""
    wanted, ceiling = request.max_output_tokens, rules.max_output_tokens
    if wanted is not None and (ceiling is None or wanted <= ceiling):
        return wanted
    name = field_of(request, "max_output_tokens")
    if ceiling is None:
        reason = f"the target needs a limit and the model's is unknown: {FALLBACK_MAX_TOKENS}"
        losses.append(Loss(name, "emulated", reason))
        return FALLBACK_MAX_TOKENS
    if wanted is not None:
        losses.append(Loss(name, "clamped", f"the model writes {ceiling} tokens at most"))
    return ceiling


def _sampling(request: Request, rules: Rules, losses: list[Loss]) -> dict[str, Any]:
    sampling: dict[str, Any] = {}
    if request.temperature is not None:
        # "temperature: range: 0..1" (recorded 400)
        highest = 1.0 if rules.temperature_max is None else min(rules.temperature_max, 1.0)
        if request.temperature > highest:
            name = field_of(request, "temperature")
            losses.append(Loss(name, "clamped", f"the target takes 0 to {highest:g}"))
        sampling["temperature"] = min(request.temperature, highest)
    if request.top_p is not None:
        if rules.one_of_temperature_top_p and sampling:
            name = field_of(request, "top_p")
            losses.append(Loss(name, "dropped", "the model takes only one of temperature and top_p"))
        else:
            sampling["top_p"] = request.top_p
    if request.top_k is not None:
        sampling["top_k"] = request.top_k
    if request.stop:
        told = [sequence for sequence in request.stop if sequence.strip()]
        if len(told) < len(request.stop):
            name = field_of(request, "stop")
            losses.append(Loss(name, "dropped", "the target refuses stop sequences of blanks alone"))
        if told:
            sampling["stop_sequences"] = told
    return sampling


def _output(
    request: Request, rules: Rules, has_tools: bool, system: list[dict[str, Any]], losses: list[Loss]
) -> dict[str, Any]:
    """The fields of `output_config` for the answer's form; without them an instruction ends *system*."""
    output = request.output
    if output is None:
        return {}
    name = field_of(request, "output")
    place = field_of(request, "output.schema")
    native = rules.structured_output and (rules.schema_with_tools or not has_tools)
    if output.kind == "json_schema" and native:
        if request.dialect == NAME:
            return {"format": {"type": "json_schema", "schema": dict(output.schema or {})}}
        schema, found = anthropic_output_schema(output.schema or {"type": "object"}, place)
        losses.extend(found)
        return {"format": {"type": "json_schema", "schema": labelled(schema, request, losses)}}
    losses.append(Loss(name, "emulated", "the target has no such mode here; an instruction asks for it"))
    instruction = _JSON_OBJECT_INSTRUCTION
    if output.schema is not None:
        instruction += f" It must match this JSON Schema: {dumps_text(labelled(dict(output.schema), request, losses))}"
    system.append({"type": "text", "text": instruction})
    return {}


def _about_request(request: Request, losses: list[Loss]) -> dict[str, Any]:
    """Who asks, at which tier, and whether as a stream."""
    about: dict[str, Any] = {}
    if request.user is not None:
        about["metadata"] = {"user_id": request.user}
    if request.service_tier is not None:
        tier = _SERVICE_TIERS.get(request.service_tier)
        name = field_of(request, "service_tier")
        if tier is None:
            losses.append(Loss(name, "dropped", f"the target has no tier {request.service_tier}"))
        else:
            about["service_tier"] = tier
            if request.service_tier == "priority":
                losses.append(Loss(name, "renamed", "the target gives priority where it can: auto"))
    if request.stream:
        about["stream"] = True
    return about


def _report_rest(request: Request, losses: list[Loss]) -> None:
    """The losses of fields that nothing above has read; a value that asks for the default loses nothing."""
    if any(values := _values_without_equivalent(request)):
        losses.extend(
            Loss(field_of(request, name), "dropped", "the target has no such field")
            for name, value in zip(_NO_EQUIVALENT, values, strict=True)
            if value
        )
    if request.n is not None and request.n > 1:
        losses.append(Loss(field_of(request, "n"), "emulated", "Anthropic has no n: one call for each"))
    if request.modalities is not None and set(request.modalities) - {"text"}:
        losses.append(Loss(field_of(request, "modalities"), "dropped", "the target answers in text alone"))
    if request.native:
        losses.extend(request_native_losses(request, NAME))
    if request.reasoning is not None and request.reasoning.native:
        place = field_of(request, "reasoning")
        losses.extend(native_losses(place, request.reasoning.native, NAME, request.dialect))


def _add_native(body: dict[str, Any], native: Mapping[str, Any]) -> None:
    """Fields that are not known here. Of `metadata`, `output_config` and the like *native* holds the unknown part."""
    for name, value in native.items():
        if name == "tool_choice" and name not in body and "type" not in value:
            continue
        known = body.setdefault(name, value)
        if known is not value and isinstance(known, dict) and isinstance(value, dict):
            body[name] = dict(known)
            _add_native(body[name], value)


def _limit_cache_marks(body: Mapping[str, Any], dialect: str, losses: list[Loss]) -> None:
    """Leave the last marks, which cover the longest prefixes; more than four are answered with 400."""
    marked = [block for name in ("tools", "system") for block in body.get(name, ()) if "cache_control" in block]
    marked += [block for message in body["messages"] for block in message["content"] if "cache_control" in block]
    surplus = len(marked) - (MAX_CACHE_MARKS - ("cache_control" in body))
    for block in marked[: max(surplus, 0)]:
        del block["cache_control"]
    if surplus > 0:
        name = "cache_control" if dialect == NAME else "prompt_cache_breakpoint"
        losses.append(Loss(name, "dropped", f"the target takes {MAX_CACHE_MARKS} at most; {surplus} less"))
