"""A neutral request as a body of generateContent. Model, stream flag and key are not in the body but in the URL."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any, Final

from translators.codec import dumps_text
from translators.dialect import Rendered, Rules
from translators.errors import BadRequest
from translators.gemini.contents import opened_with, render_contents
from translators.gemini.merging import merged, nested
from translators.gemini.tools import RENAMED, ToolNames, render_tool_choice, render_tools, tool_names
from translators.json_schema import gemini_response_schema
from translators.labels import labelled
from translators.losses import (
    Loss,
    field_of,
    field_of_wire,
    native_losses,
    renamed_in_history,
    request_native_losses,
)
from translators.neutral import Effort, Reasoning, Request
from translators.tool_choices import without_unmet_choice
from translators.written import WrittenSchema

_DEFAULTS: Final[Mapping[str, Any]] = {field.name: field.default for field in fields(Request)}
_MAX_STOPS: Final = 5
_EFFORTS: Final[tuple[Effort, ...]] = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
_LEVELS: Final[tuple[Effort, ...]] = ("minimal", "low", "medium", "high", "xhigh")
# Google's own equivalents of effort words. (ai.google.dev, OpenAI compatibility, thinking)
_BUDGETS: Final[Mapping[Effort, int]] = {
    "none": 0,
    "minimal": 512,
    "low": 1024,
    "medium": 8192,
    "high": 24576,
    "xhigh": 24576,
    "max": 24576,
}
_SERVICE_TIERS: Final = {
    "default": "standard",
    "standard": "standard",
    "standard_only": "standard",
    "flex": "flex",
    "priority": "priority",
    "fast": "priority",
}
_NO_FIELD: Final = ("logit_bias", "verbosity", "user")
_MODALITIES: Final = {word: word.upper() for word in ("text", "image", "audio", "video")}
PLAIN_FIELDS: Final = {
    "temperature": "temperature",
    "top_p": "topP",
    "top_k": "topK",
    "n": "candidateCount",
    "max_output_tokens": "maxOutputTokens",
    "presence_penalty": "presencePenalty",
    "frequency_penalty": "frequencyPenalty",
    "seed": "seed",
    "logprobs": "responseLogprobs",
    "top_logprobs": "logprobs",
}


def render_request(request: Request, rules: Rules) -> Rendered:
    """The body for *request*.

    Raises:
        Unsupported: a part that Gemini or the model cannot take.
        BadRequest: arguments that are no JSON object, a result without a call, or a schema that unfolds too far.
    """
    losses: list[Loss] = []
    request = fitted(request, rules, losses)
    request = without_unmet_choice(request, lambda tool: "gemini" in tool.native, losses)
    names = tool_names(request)
    system, contents = render_contents(request.messages, rules, names, losses, request.dialect)
    if not contents and not system:
        place = field_of(request, "messages")
        raise BadRequest(f"{place}: nothing in them says anything", place, "invalid_value")
    config = _sampling(request)
    config |= _thinking(request, rules, losses)
    config |= _output(request, rules, system, losses)
    if system and not rules.system_instruction:
        contents, system = opened_with(system, contents), []
    body: dict[str, Any] = {"contents": contents}
    if system:
        body["systemInstruction"] = {"parts": system}
    if request.tools or request.tool_choice is not None:
        body |= _tools(request, rules, names, losses)
    if names.renamed:
        offered = [tool.name for tool in request.tools if tool.kind != "native"]
        renamed = renamed_in_history(request, offered, names.__getitem__, results=True)
        losses.extend(Loss(place, "renamed", RENAMED) for place, _ in renamed)
    if config:
        body["generationConfig"] = config
    if request.metadata is not None and request.dialect == "gemini":
        # Google's labels take fewer characters than other vendors' metadata.
        body["labels"] = dict(request.metadata)
    body |= _service_tier(request, losses)
    losses.extend(_unsaid(request))
    if request.native:
        losses.extend(request_native_losses(request, "gemini"))
        body = merged(body, nested(request.native.get("gemini", {})))
    if rules.extra_body:
        body = merged(body, rules.extra_body)
    if rules.refuses:
        _drop_refused(body, request, rules, losses)
    if rules.rename:
        body = {rules.rename.get(key, key): value for key, value in body.items()}
    return Rendered(body, tuple(dict.fromkeys(losses)), rules.headers, names.renamed)


def _drop_refused(body: dict[str, Any], request: Request, rules: Rules, losses: list[Loss]) -> None:
    """Leave out of *body* what *rules* refuse by its name on the wire."""
    config = body.get("generationConfig", {})
    for name in sorted(rules.refuses):
        for place, found in (("", body), ("generationConfig.", config)):
            if name in found and name != "contents":
                del found[name]
                losses.append(Loss(field_of_wire(request, "gemini", place + name), "dropped", "the model refuses it"))
    if not config:
        body.pop("generationConfig", None)


def fitted(request: Request, rules: Rules, losses: list[Loss]) -> Request:
    """*request* without what the target refuses, numbers within its limits."""

    def named(name: str) -> str:
        return field_of(request, name)

    refused = rules.refuses
    if rules.refuses_while_thinking and _thinks(request, rules):
        refused |= rules.refuses_while_thinking
    if refused:
        request = _without(refused, request, losses)
    if rules.one_of_temperature_top_p and request.temperature is not None and request.top_p is not None:
        losses.append(Loss(named("top_p"), "dropped", "the model takes temperature or top_p, not both"))
        request = replace(request, top_p=None)
    if rules.temperature_max is not None and (request.temperature or 0) > rules.temperature_max:
        losses.append(Loss(named("temperature"), "clamped", f"the model takes at most {rules.temperature_max}"))
        request = replace(request, temperature=rules.temperature_max)
    if rules.max_output_tokens is not None and (request.max_output_tokens or 0) > rules.max_output_tokens:
        losses.append(Loss(named("max_output_tokens"), "clamped", f"the model gives {rules.max_output_tokens} at most"))
        request = replace(request, max_output_tokens=rules.max_output_tokens)
    if len(request.stop) > _MAX_STOPS:
        losses.append(Loss(named("stop"), "clamped", f"Gemini takes {_MAX_STOPS} stop sequences"))
        request = replace(request, stop=request.stop[:_MAX_STOPS])
    if request.top_logprobs is not None and not request.logprobs:
        losses.append(Loss(named("top_logprobs"), "dropped", "Gemini gives alternatives only beside logprobs"))
        request = replace(request, top_logprobs=None)
    return request


def _without(refused: frozenset[str], request: Request, losses: list[Loss]) -> Request:
    """*request* without the fields that are *refused*."""
    reset: dict[str, Any] = {
        name: _DEFAULTS[name]
        for name in sorted(refused & _DEFAULTS.keys())
        if getattr(request, name) != _DEFAULTS[name]
    }
    losses.extend(Loss(field_of(request, name), "dropped", "the model refuses it") for name in reset)
    own = request.native.get("gemini", {})
    gone = [path for path in own if path in refused or path.rpartition(".")[2] in refused]
    if gone:
        losses.extend(Loss(path, "dropped", "the model refuses it") for path in gone)
        kept = {path: value for path, value in own.items() if path not in gone}
        reset["native"] = {**request.native, "gemini": kept}
    return replace(request, **reset) if reset else request


def _sampling(request: Request) -> dict[str, Any]:
    config = {key: value for name, key in PLAIN_FIELDS.items() if (value := getattr(request, name)) is not None}
    if request.stop:
        config["stopSequences"] = list(request.stop)
    if request.modalities is not None:
        config["responseModalities"] = [_MODALITIES.get(word, word) for word in request.modalities]
    return config


def _unsaid(request: Request) -> list[Loss]:
    """Fields that Gemini has no counterpart for."""
    losses = [
        Loss(field_of(request, name), "dropped", "Gemini has no such field")
        for name in _NO_FIELD
        if getattr(request, name) is not None
    ]
    if request.metadata is not None and request.dialect != "gemini":
        losses.append(Loss(field_of(request, "metadata"), "dropped", "Gemini has no such field"))
    if request.parallel_tool_calls is False:
        losses.append(Loss(field_of(request, "parallel_tool_calls"), "dropped", "Gemini cannot be kept to one call"))
    return losses


def _service_tier(request: Request, losses: list[Loss]) -> dict[str, Any]:
    tier = request.service_tier
    if tier is None or tier == "auto":
        return {}
    if tier not in _SERVICE_TIERS:
        losses.append(Loss(field_of(request, "service_tier"), "dropped", f"Gemini has no tier {tier}"))
        return {}
    return {"serviceTier": _SERVICE_TIERS[tier]}


# --- thinking --------------------------------------------------------------------------------------


def _thinks(request: Request, rules: Rules) -> bool:
    """Whether *request* asks for thoughts. Models that think by level always do."""
    asked = request.reasoning
    if rules.thinking == "none":
        return False
    if rules.thinking == "level":
        return True
    return asked is not None and asked.effort != "none" and asked.budget_tokens != 0


def _thinking(request: Request, rules: Rules, losses: list[Loss]) -> dict[str, Any]:
    asked = request.reasoning
    if asked is None:
        return {}
    place = field_of(request, "reasoning")
    losses.extend(native_losses(place, asked.native, "gemini", request.dialect))
    own = asked.native.get("gemini", {})
    off = asked.effort == "none" or asked.budget_tokens == 0
    if rules.thinking == "none":
        if not off and (asked.effort is not None or asked.budget_tokens is not None or asked.visible):
            losses.append(Loss(place, "dropped", "the model does not think"))
        losses.extend(Loss(f"{place}.{name}", "dropped", "the model does not think") for name in own)
        return {}
    amount = field_of(request, "reasoning.budget_tokens" if asked.effort is None else "reasoning.effort")
    config = (_budget if rules.thinking == "budget" else _level)(asked, rules, amount, losses)
    # Clients of other vendors expect thoughts when they ask for thinking; Gemini's have a word of their own for it.
    said = request.dialect != "gemini" and (asked.effort is not None or asked.budget_tokens is not None)
    if asked.visible is False:
        config["includeThoughts"] = False
    elif (asked.visible or said) and not off:
        config["includeThoughts"] = True
    config |= own
    return {"thinkingConfig": config} if config else {}


def _budget(asked: Reasoning, rules: Rules, place: str, losses: list[Loss]) -> dict[str, Any]:
    if asked.budget_tokens is not None:
        return {"thinkingBudget": asked.budget_tokens}
    if asked.effort is None:
        return {}
    return {"thinkingBudget": _BUDGETS[_nearest(asked.effort, rules.efforts, place, losses)]}


def _level(asked: Reasoning, rules: Rules, place: str, losses: list[Loss]) -> dict[str, Any]:
    levels = tuple(level for level in _LEVELS if level in rules.efforts) or _LEVELS
    effort = asked.effort
    if effort is None and asked.budget_tokens is not None and asked.budget_tokens >= 0:
        effort = next((word for word in _LEVELS if asked.budget_tokens <= _BUDGETS[word]), "high")
        losses.append(Loss(place, "emulated", f"the model takes a level, not a number of tokens: {effort}"))
    if effort is None:
        return {}
    return {"thinkingLevel": _nearest(effort, levels, place, losses).upper()}


def _nearest(effort: Effort, taken: tuple[Effort, ...], place: str, losses: list[Loss]) -> Effort:
    """*effort*, or the word nearest to it that the model takes; of two the lower."""
    if effort in taken or not taken:
        return effort
    at = _EFFORTS.index(effort)
    nearest = min(taken, key=lambda word: (abs(_EFFORTS.index(word) - at), _EFFORTS.index(word)))
    losses.append(Loss(place, "clamped", f"the model does not take {effort}: {nearest}"))
    return nearest


# --- output and tools ------------------------------------------------------------------------------


def _output(request: Request, rules: Rules, system: list[dict[str, Any]], losses: list[Loss]) -> dict[str, Any]:
    """responseMimeType and responseJsonSchema, or an instruction appended to *system* where they are refused.

    Gemini holds every answer to its schema, so that `strict` asks for what happens anyway, and a schema's name is a
    label that holds it to nothing.
    """
    wanted = request.output
    if wanted is None:
        return {}
    place = field_of(request, "output")
    with_tools = bool(request.tools) and not (request.tool_choice and request.tool_choice.kind == "none")
    if not rules.structured_output or (with_tools and not rules.schema_with_tools):
        why = "beside tools" if rules.structured_output else "from this model"
        losses.append(Loss(place, "emulated", f"Gemini gives no forced JSON {why}: asked for in the instructions"))
        system.append({"text": _json_instruction(request, losses)})
        return {}
    config: dict[str, Any] = {"responseMimeType": "application/json"}
    if isinstance(wanted.schema, WrittenSchema):
        config[wanted.schema.field] = wanted.schema.value
    elif wanted.kind == "json_schema" and wanted.schema is not None:
        schema, schema_losses = gemini_response_schema(wanted.schema, field_of(request, "output.schema"))
        losses.extend(schema_losses)
        config["responseJsonSchema"] = labelled(schema, request, losses)
    return config


def _json_instruction(request: Request, losses: list[Loss]) -> str:
    ask = "When you give your final answer, give one JSON object and nothing else, without a code fence."
    if request.output is None or request.output.schema is None:
        return ask
    schema = labelled(dict(request.output.schema), request, losses)
    return f"{ask} It must be valid against this JSON Schema:\n{dumps_text(schema)}"


def _tools(request: Request, rules: Rules, names: ToolNames, losses: list[Loss]) -> dict[str, Any]:
    said: dict[str, Any] = {}
    if tools := render_tools(request, rules, names, losses):
        said["tools"] = tools
    field = field_of(request, "tool_choice")
    choice = render_tool_choice(request, rules, names, losses, field=field, thinking=_thinks(request, rules))
    if choice is not None:
        said["toolConfig"] = {"functionCallingConfig": choice}
    return said
