"""A neutral request as the body of `POST /v1/responses`: the bridge from chat completions and from other vendors.

- System and developer messages stay among the input, each in its place and role, so that a prompt keeps its cached
  prefix; `instructions` is written only for what a Responses client wrote there.
- The server keeps nothing (`store: false`) unless the client asks: chat completions are not stored either, while this
  API's default is to store (WIRE 108). Reasoning comes back encrypted instead (WIRE 109), for models that reason.
- A summary of the reasoning is asked for only when the client wants to see it: some accounts may not have it.
- Of an earlier answer goes back what the model made: reasoning items, the phase of messages, calls. Ids of messages
  and calls do so only for Responses clients; they name what a server stored.
- A tool whose `strict` was not said is not strict, as in chat completions; here the default is another (WIRE 110).

For requests that came in this dialect every field that `incoming` kept is written again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from translators.codec import dumps_text
from translators.dialect import Rendered, Rules
from translators.errors import BadRequest
from translators.losses import Loss, both_halves, field_of, message_place, native_losses
from translators.neutral import OutputFormat, Reasoning, Request, ToolCall, ToolChoice
from translators.openai_chat.outgoing import ToolNames, renamed, strict_obstacle
from translators.openai_chat.quirks import fitted
from translators.openai_responses.includes import ENCRYPTED, LOGPROBS, taken_includes
from translators.openai_responses.input import InputWriter
from translators.openai_responses.items import DIALECT
from translators.openai_responses.tools import chat_web_search, own_tool, render_tools, tool_choice
from translators.tool_choices import without_unmet_choice
from translators.toolbox import written_once

_HERE: Final = "the Responses API"
MIN_OUTPUT_TOKENS: Final = 16
"""OpenAI answers a lower `max_output_tokens` with 400."""

_SHARED: Final = (
    "moderation",
    "prompt_cache_key",
    "prompt_cache_options",
    "prompt_cache_retention",
    "safety_identifier",
    "store",
    "stream_options",
)
"""Fields of chat completions that mean the same here and have no neutral name."""
_NO_EQUIVALENT: Final = ("top_k", "presence_penalty", "frequency_penalty", "seed", "logit_bias")
_TIERS: Final[Mapping[str, str]] = {
    **{tier: tier for tier in ("auto", "default", "flex", "scale", "priority", "fast", "ultrafast")},
    "standard": "default",
    "standard_only": "default",
}
_JSON_INSTRUCTION: Final = "Answer with one JSON object and nothing else."


def render_request(request: Request, rules: Rules) -> Rendered:
    """*request* for the target that *rules* describe.

    Raises:
        Unsupported: a part that the target has no way to take; *param* is its place.
        BadRequest: the conversation ends with an answer and the target cannot continue one.
    """
    asked = request.reasoning
    request, losses = fitted(request, rules)
    if request.dialect != DIALECT:
        request = without_unmet_choice(request, lambda tool: own_tool(tool) is not None, losses)
    _check_ending(request, rules)
    own = dict(request.native.get(DIALECT, {}))
    names = ToolNames(_names_in_use(request))
    writer = InputWriter(request, rules, losses, names)
    body: dict[str, Any] = {"model": request.model}
    items = writer.items(stored=_is_stored(request))
    if writer.instructions is not None:
        body["instructions"] = writer.instructions
    if items or "input" in own:
        body["input"] = items
    _write_tools(body, request, rules, names, losses)
    _write_text(body, request, rules, losses)
    _write_reasoning(body, request, rules, asked, losses)
    _write_sampling(body, request, losses)
    _write_about(body, request, losses)
    _write_shared(body, request, rules, losses)
    _write_include(body, request, rules, own, losses)
    for name, value in own.items():
        if name in rules.refuses:
            losses.append(Loss(name, "dropped", "the target refuses it"))
        elif name == "text":
            body["text"] = both_halves(body.get("text", {}), value)
        else:
            body.setdefault(name, value)
    losses.extend(writer.final_losses())
    losses.extend(names.losses(request))
    return Rendered(renamed(body, rules), tuple(losses), rules.headers, names.back())


def _check_ending(request: Request, rules: Rules) -> None:
    last = request.messages[-1] if request.messages else None
    if last is not None and last.role == "assistant" and not rules.prefill:
        place = message_place(last, len(request.messages) - 1)
        raise BadRequest(f"{place}: the target cannot continue an answer; end with a user message", place)


def _names_in_use(request: Request) -> list[str]:
    declared = [tool.name for tool in request.tools if tool.kind != "native"]
    called = [part.name for message in request.messages for part in message.parts if isinstance(part, ToolCall)]
    return [*declared, *called]


def _is_stored(request: Request) -> bool:
    """Whether the server keeps what it answers, so that the ids of its items mean something to it later."""
    if request.dialect == DIALECT:
        return request.native.get(DIALECT, {}).get("store") is not False
    return request.native.get("openai_chat", {}).get("store") is True


# --- tools ---------------------------------------------------------------------------------------


def _write_tools(body: dict[str, Any], request: Request, rules: Rules, names: ToolNames, losses: list[Loss]) -> None:
    tools, choice = list(enumerate(request.tools)), request.tool_choice
    foreign = request.dialect != DIALECT
    if choice is not None and choice.kind == "allowed" and foreign and not rules.conformant:
        tools = [(position, tool) for position, tool in tools if tool.name in choice.names]
        choice = ToolChoice(choice.mode)
        losses.append(Loss(field_of(request, "tool_choice"), "emulated", "the other tools were left out"))
    how = None if names.back() or len(tools) < len(request.tools) else (DIALECT, request.dialect)
    rendered, told = written_once(request.tools, how, lambda: render_tools(tools, names, request.dialect))
    losses.extend(told)
    search = request.native.get("openai_chat", {}).get("web_search_options")
    if isinstance(search, dict):
        rendered.append(chat_web_search(search))
        losses.append(Loss("web_search_options", "emulated", "here the search is a tool, which the model may use"))
    if rendered:
        body["tools"] = rendered
    if rendered or not foreign:
        if choice is not None:
            body["tool_choice"] = tool_choice(choice, request.tools, names)
        if request.parallel_tool_calls is not None:
            body["parallel_tool_calls"] = request.parallel_tool_calls


# --- what the answer looks like --------------------------------------------------------------------


def _write_text(body: dict[str, Any], request: Request, rules: Rules, losses: list[Loss]) -> None:
    text: dict[str, Any] = {}
    if request.output is not None:
        place = field_of(request, "output")
        if not rules.schema_with_tools and body.get("tools"):
            losses.append(Loss(place, "emulated", "the target takes no format beside tools; asked for in words"))
            _instruct(body, request.output)
        elif request.output.kind == "json_schema" and not rules.structured_output:
            losses.append(Loss(place, "emulated", "the target takes no schema; asked for JSON and told the schema"))
            text["format"] = {"type": "json_object"}
            _instruct(body, request.output)
        else:
            text["format"] = _format(request, request.output, losses)
    if request.verbosity is not None:
        text["verbosity"] = request.verbosity
    if text:
        body["text"] = text


def _format(request: Request, output: OutputFormat, losses: list[Loss]) -> dict[str, Any]:
    if output.kind == "json_object":
        return {"type": "json_object"}
    written: dict[str, Any] = {"type": "json_schema", "name": output.name or "answer", "schema": output.schema or {}}
    if output.description is not None:
        written["description"] = output.description
    if output.strict is not None or request.dialect != DIALECT:
        written["strict"] = bool(output.strict)
    if output.strict and (obstacle := strict_obstacle(request.dialect, output.schema)) is not None:
        written["strict"] = False
        losses.append(Loss(field_of(request, "output.strict"), "dropped", obstacle))
    return written


def _instruct(body: dict[str, Any], output: OutputFormat) -> None:
    """Say in a developer message, after those that stand first, that the answer has to be JSON."""
    words = _JSON_INSTRUCTION
    if output.schema:
        words += f" It has to match this JSON Schema: {dumps_text(output.schema)}"
    items: list[dict[str, Any]] = body.setdefault("input", [])
    first = next((at for at, item in enumerate(items) if item.get("role") not in ("system", "developer")), len(items))
    items.insert(first, {"type": "message", "role": "developer", "content": words})


def _write_reasoning(
    body: dict[str, Any], request: Request, rules: Rules, asked: Reasoning | None, losses: list[Loss]
) -> None:
    """`reasoning`. *asked* is what the client wanted, before the model's rules."""
    reasoning = request.reasoning
    if asked is not None:
        # A model that does not reason takes none of it.
        read = DIALECT if reasoning is not None else ""
        place = field_of(request, "reasoning")
        losses.extend(native_losses(place, asked.native, read, request.dialect))
    if rules.thinking == "none":
        return
    written: dict[str, Any] = {}
    if reasoning is not None:
        written = dict(reasoning.native.get(DIALECT, {}))
        if reasoning.effort is not None:
            written["effort"] = reasoning.effort
        if reasoning.visible and reasoning.effort != "none":
            written.setdefault("summary", "auto")
    effort = request.native.get("openai_chat", {}).get("reasoning_effort")
    if isinstance(effort, str):
        # A word that is not known here yet.
        written.setdefault("effort", effort)
    if written:
        body["reasoning"] = written


def _write_include(
    body: dict[str, Any], request: Request, rules: Rules, own: dict[str, Any], losses: list[Loss]
) -> None:
    if "include" in rules.refuses:
        if request.dialect != DIALECT and request.logprobs:
            losses.append(Loss(field_of(request, "logprobs"), "dropped", "the target refuses include"))
        return
    asked, lost = taken_includes(own.pop("include", ()), rules)
    losses.extend(lost)
    include = [name for name in asked if name != LOGPROBS or request.logprobs]
    if request.dialect != DIALECT:
        silent = request.reasoning is not None and request.reasoning.effort == "none"
        if rules.thinking != "none" and not silent and ENCRYPTED not in rules.refuses:
            include.append(ENCRYPTED)
        if request.logprobs:
            include.append(LOGPROBS)
    if include:
        body["include"] = include


# --- plain fields ----------------------------------------------------------------------------------


def _write_sampling(body: dict[str, Any], request: Request, losses: list[Loss]) -> None:
    for name in ("temperature", "top_p", "top_logprobs"):
        if (value := getattr(request, name)) is not None:
            body[name] = value
    limit = request.max_output_tokens
    if limit is not None and limit < MIN_OUTPUT_TOKENS and request.dialect != DIALECT:
        place = field_of(request, "max_output_tokens")
        losses.append(Loss(place, "clamped", f"the target takes at least {MIN_OUTPUT_TOKENS}"))
        limit = MIN_OUTPUT_TOKENS
    if limit is not None:
        body["max_output_tokens"] = limit
    losses.extend(_unknown(request, name) for name in _NO_EQUIVALENT if getattr(request, name) is not None)
    if request.stop:
        losses.append(_unknown(request, "stop"))
    if request.n is not None and request.n > 1:
        losses.append(Loss(field_of(request, "n"), "emulated", "the API has no n: one call for each"))
    if set(request.modalities or ()) - {"text"}:
        losses.append(Loss(field_of(request, "modalities"), "dropped", "the target answers in text alone"))


def _unknown(request: Request, name: str) -> Loss:
    return Loss(field_of(request, name), "dropped", "the Responses API has no such field")


def _write_about(body: dict[str, Any], request: Request, losses: list[Loss]) -> None:
    """Who asks, at which tier, and whether as a stream."""
    if request.user is not None:
        body["user"] = request.user
    if request.metadata is not None:
        body["metadata"] = dict(request.metadata)
    if request.service_tier is not None:
        tier = request.service_tier if request.dialect == DIALECT else _TIERS.get(request.service_tier)
        if tier is None:
            place = field_of(request, "service_tier")
            losses.append(Loss(place, "dropped", f"{request.service_tier!r} is another vendor's tier"))
        else:
            body["service_tier"] = tier
    if request.stream:
        body["stream"] = True


def _write_shared(body: dict[str, Any], request: Request, rules: Rules, losses: list[Loss]) -> None:
    """What chat completions call the same, `store` where nothing is said of it, and the losses of all other fields."""
    if request.dialect != DIALECT:
        body["store"] = False
    if not request.native:
        return
    unread = dict(request.native)
    chat = dict(unread.pop("openai_chat", {}))
    for name in ("web_search_options", *(["reasoning_effort"] if "reasoning" in body else [])):
        chat.pop(name, None)
    for name in sorted(rules.refuses & chat.keys()):
        del chat[name]
        losses.append(Loss(name, "dropped", "the target refuses it"))
    body.update((name, chat.pop(name)) for name in _SHARED if name in chat)
    unread.pop(DIALECT, None)
    losses.extend(native_losses("", {**unread, "openai_chat": chat}, _HERE, request.dialect))
