"""The facts of a recording, read from its raw bytes by plain extractors, one for each API."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from tests.recordings.facts import DIALECTS, Call, Expected, Said, counts, details

CONFORMANT: Final = frozenset({"openai", "azure"})
"""They define the chat dialect: a forced tool call that ends in `stop` is theirs to say."""


def events_of(text: str) -> Iterator[dict[str, Any]]:
    """The JSON objects of an event stream."""
    for line in text.splitlines():
        if line.startswith("data:"):
            payload = line[5:].strip()
            if payload and payload != "[DONE]":
                yield json.loads(payload)


def expected_of(recording: Mapping[str, Any]) -> Expected:
    """What *recording* says."""
    response = recording["response"]
    if response["status"] >= 400:
        return _error(response["status"], response)
    if "sse" in response:
        values = list(events_of(response["sse"]))
    else:
        values = response["body"] if isinstance(response["body"], list) else [response["body"]]
    if "body" in response and isinstance(response["body"], dict) and response["body"].get("error"):
        inner = response["body"]["error"]
        return _error(int(inner.get("status") or inner.get("code") or 502), response)
    if not values:
        return Expected(statuses={502, 503})
    match DIALECTS[recording["api"]]:
        case "anthropic":
            return _anthropic(values)
        case "gemini":
            return _gemini(values)
        case "openai_responses":
            return _responses(values)
        case "openai_completions":
            return _completions(values)
        case _:
            return _chat(values, recording["provider"], "sse" in response)


def _error(status: int, response: Mapping[str, Any]) -> Expected:
    body = response.get("body")
    text = json.dumps(body)
    if status in {401, 402, 403} or (status == 400 and "API_KEY_INVALID" in text):
        statuses = {502}
    elif status >= 500:
        statuses = {500, 502, 503, 504}
    else:
        statuses = {status}
    inner = body.get("error", body) if isinstance(body, dict) else {}
    message = inner if isinstance(inner, str) else inner.get("message") or ""
    retry_after = {k.lower(): v for k, v in (response.get("headers") or {}).items()}.get("retry-after")
    return Expected(statuses=statuses, message=message if statuses == {400} else "", retry_after=retry_after)


# --- chat completions ------------------------------------------------------------------------------

_CHAT_FINISH: Final = {"eos": "stop", "model_length": "length", "end_turn": "stop"}


def _chat(values: Sequence[dict[str, Any]], provider: str, streamed: bool) -> Expected:
    found = Expected()
    calls: dict[int, dict[Any, list[Any]]] = defaultdict(dict)
    reasons: dict[int, set[str]] = defaultdict(set)
    for value in values:
        if usage := value.get("usage") or (value.get("x_groq") or {}).get("usage"):
            found.usage, found.booked = chat_usage(usage), _chat_booked(usage)
        for choice in value.get("choices") or []:
            index = choice.get("index") or 0
            said = found.choices.setdefault(index, Said())
            # Perplexity puts an empty delta beside the message of whole answers, and the message beside each delta.
            delta = choice.get("delta") if streamed else choice.get("message")
            add_chat(said, calls[index], delta or {})
            if choice.get("finish_reason"):
                reasons[index].add(choice["finish_reason"])
    for index, said in found.choices.items():
        said.calls = [Call(name, arguments, custom) for name, arguments, custom in calls[index].values()]
        said.finish = {_CHAT_FINISH.get(reason, reason) for reason in reasons[index]} or {"stop"}
        if said.calls and said.finish == {"stop"}:
            said.finish = {"stop", "tool_calls"} if provider in CONFORMANT else {"tool_calls"}
        if said.function_call and said.finish == {"stop"}:
            said.finish = {"stop", "function_call"}
    return found


def add_chat(said: Said, calls: dict[Any, list[Any]], delta: Mapping[str, Any]) -> None:
    """A message or a delta of one, in any server's spelling; *calls* are collected apart."""
    content = delta.get("content")
    if isinstance(content, str):
        said.text += content
    for part in content if isinstance(content, list) else []:
        if part.get("type") == "text":
            said.text += part["text"]
        elif part.get("type") == "thinking":
            said.reasoning += "".join(inner.get("text", "") for inner in part["thinking"])
    told = "".join(part.get("text") or part.get("summary") or "" for part in delta.get("reasoning_details") or [])
    said.reasoning += delta.get("reasoning_content") or delta.get("reasoning") or told
    said.refusal += delta.get("refusal") or ""
    said.media += ["image" for _ in delta.get("images") or []]
    if delta.get("audio") and "audio" not in said.media:
        said.media.append("audio")
    if old := delta.get("function_call"):
        before = said.function_call or Call("", "")
        name, arguments = before.name + (old.get("name") or ""), before.arguments + (old.get("arguments") or "")
        said.function_call = Call(name, arguments)
    for fragment in delta.get("tool_calls") or []:
        place = _call_place(calls, fragment)
        name, arguments = called(fragment)
        calls[place][0] = calls[place][0] or name
        calls[place][1] += arguments
        calls[place][2] |= "custom" in fragment


def _call_place(calls: dict[Any, list[Any]], fragment: Mapping[str, Any]) -> Any:
    """The call that *fragment* belongs to: by index, unless the index is reused with another id."""
    index, found_id = fragment.get("index"), fragment.get("id")
    if index is None:
        index = len(calls) if found_id or not calls else len(calls) - 1
    latest = max((place for place in calls if place[0] == index), default=None)
    if latest is None or (found_id and found_id != "null" and latest[2] and latest[2] != found_id):
        latest = (index, len(calls), found_id or "")
        calls[latest] = ["", "", False]
    return latest


def called(call: Mapping[str, Any]) -> tuple[str, str]:
    """Name and arguments of a call or of a piece of one; a custom tool has `input` instead of arguments."""
    inner = call.get("function") or call.get("custom") or {}
    arguments = inner.get("arguments", inner.get("input"))
    if not isinstance(arguments, str):
        arguments = "" if arguments is None else json.dumps(arguments)
    return inner.get("name") or "", arguments


def chat_usage(usage: Mapping[str, Any]) -> dict[str, int]:
    """`usage` of chat completions in OpenAI's own fields."""
    prompt = details(usage, "prompt_tokens_details")
    return counts(
        input=usage.get("prompt_tokens"),
        output=usage.get("completion_tokens"),
        cached=prompt.get("cached_tokens"),
        written=prompt.get("cache_write_tokens"),
        reasoning=details(usage, "completion_tokens_details").get("reasoning_tokens"),
    )


def _chat_booked(usage: Mapping[str, Any]) -> dict[str, int]:
    """Mistral counts a sound beside the prompt, in the total alone, and may report more cached than was sent."""
    booked = {}
    if usage.get("prompt_audio_seconds"):
        booked["input"] = usage["total_tokens"] - usage["completion_tokens"]
    if cached := usage.get("num_cached_tokens"):
        booked["cached"] = min(cached, usage["prompt_tokens"])
    return booked


# --- completions -----------------------------------------------------------------------------------


def _completions(values: Sequence[dict[str, Any]]) -> Expected:
    found = Expected()
    reasons: dict[int, str] = {}
    for value in values:
        if usage := value.get("usage"):
            found.usage = chat_usage(usage)
        for choice in value.get("choices") or []:
            index = choice.get("index") or 0
            found.choices.setdefault(index, Said()).text += choice.get("text") or ""
            if choice.get("finish_reason"):
                reasons[index] = choice["finish_reason"]
    for index, said in found.choices.items():
        reason = reasons.get(index, "stop")
        said.finish = {_CHAT_FINISH.get(reason, reason)}
    return found


# --- Anthropic -------------------------------------------------------------------------------------

ANTHROPIC_FINISH: Final = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
    "pause_turn": "stop",
}


def _anthropic(values: Sequence[dict[str, Any]]) -> Expected:
    said = Said()
    usage: dict[str, Any] = {}
    blocks: dict[int, dict[str, Any]] = {}
    reason = None
    for value in values:
        match value["type"]:
            case "message":
                blocks = dict(enumerate(value["content"]))
                usage, reason = value["usage"], value["stop_reason"]
            case "message_start":
                usage = dict(value["message"]["usage"])
            case "content_block_start":
                blocks[value["index"]] = {**value["content_block"], "json": ""}
            case "content_block_delta":
                _add_anthropic(blocks[value["index"]], value["delta"])
            case "message_delta":
                usage |= {key: n for key, n in (value.get("usage") or {}).items() if n is not None}
                reason = value["delta"].get("stop_reason") or reason
    for _, block in sorted(blocks.items()):
        match block["type"]:
            case "text":
                said.text += block["text"]
            case "thinking":
                said.reasoning += block["thinking"]
            case "tool_use":
                said.calls.append(Call(block["name"], block.get("json") or json.dumps(block["input"])))
    said.finish = {ANTHROPIC_FINISH[reason]} if reason else set()
    return Expected({0: said}, anthropic_usage(usage))


def _add_anthropic(block: dict[str, Any], delta: Mapping[str, Any]) -> None:
    match delta["type"]:
        case "text_delta":
            block["text"] += delta["text"]
        case "thinking_delta":
            block["thinking"] += delta["thinking"]
        case "input_json_delta":
            block["json"] += delta["partial_json"]


def anthropic_usage(usage: Mapping[str, Any]) -> dict[str, int]:
    """`usage` of a message: what the cache gave or took stands beside `input_tokens`."""
    read, written = usage.get("cache_read_input_tokens") or 0, usage.get("cache_creation_input_tokens") or 0
    return counts(
        input=usage["input_tokens"] + read + written,
        output=usage["output_tokens"],
        cached=read,
        written=written,
        reasoning=details(usage, "output_tokens_details").get("thinking_tokens"),
    )


# --- Gemini ----------------------------------------------------------------------------------------

GEMINI_FINISH: Final = {None: "stop", "STOP": "stop", 1: "stop", "MAX_TOKENS": "length", 2: "length"}
GEMINI_FAILED: Final = frozenset(
    {"MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL", "MALFORMED_RESPONSE", "TOO_MANY_TOOL_CALLS"}
)


def _gemini(values: Sequence[dict[str, Any]]) -> Expected:
    found = Expected()
    reasons: dict[int, Any] = {}
    for value in values:
        if usage := value.get("usageMetadata"):
            found.usage = gemini_usage(usage)
        for candidate in value.get("candidates") or []:
            index = candidate.get("index") or 0
            add_gemini(found.choices.setdefault(index, Said()), candidate)
            reasons[index] = candidate.get("finishReason") or reasons.get(index)
    for index, said in found.choices.items():
        if reasons[index] in GEMINI_FAILED and not (said.text or said.calls):
            return Expected(statuses={502, 503})
        finish = GEMINI_FINISH.get(reasons[index], "content_filter")
        said.finish = {"tool_calls"} if said.calls and finish == "stop" else {finish}
    if not found.choices and not any("promptFeedback" in value for value in values):
        return Expected(statuses={502, 503})
    if not found.choices:
        found.choices[0] = Said(finish={"content_filter"})
    return found


def add_gemini(said: Said, candidate: Mapping[str, Any]) -> None:
    """The parts of a candidate, or of a chunk of one."""
    for part in (candidate.get("content") or {}).get("parts") or []:
        if "text" in part and part.get("thought"):
            said.reasoning += part["text"]
        elif "text" in part:
            said.text += part["text"]
        elif call := part.get("functionCall"):
            said.calls.append(Call(call["name"], json.dumps(call.get("args") or {})))
        elif "inlineData" in part:
            said.media.append(part["inlineData"]["mimeType"].partition("/")[0])


def gemini_usage(usage: Mapping[str, Any]) -> dict[str, int]:
    """`usageMetadata`: thoughts and tool results come on top."""
    thoughts = usage.get("thoughtsTokenCount") or 0
    return counts(
        input=(usage.get("promptTokenCount") or 0) + (usage.get("toolUsePromptTokenCount") or 0),
        output=(usage.get("candidatesTokenCount") or 0) + thoughts,
        cached=usage.get("cachedContentTokenCount"),
        reasoning=thoughts,
    )


# --- Responses -------------------------------------------------------------------------------------


def _responses(values: Sequence[dict[str, Any]]) -> Expected:
    if values[0].get("object") == "response":
        whole, items = values[0], values[0]["output"]
    else:
        error = next((value for value in values if value["type"] in ("error", "response.failed")), None)
        if error is not None:
            inner = error.get("error") or error.get("response", {}).get("error") or error
            statuses = {429} if "rate_limit" in str(inner.get("code")) else {500, 502, 503, 504}
            return Expected(statuses=statuses)
        whole = values[-1]["response"]
        done = {v["output_index"]: v["item"] for v in values if v["type"] == "response.output_item.done"}
        items = [item for _, item in sorted(done.items())] or whole["output"]
    said = said_in_items(items)
    said.finish = {responses_finish(whole, bool(said.calls))}
    return Expected({0: said}, responses_usage(whole["usage"]) if whole.get("usage") else {})


def said_in_items(items: Sequence[Mapping[str, Any]]) -> Said:
    """The output items of a Response object, without its reason."""
    said = Said()
    for item in items:
        match item["type"]:
            case "message":
                said.text += "".join(part.get("text", "") for part in item["content"] if part["type"] == "output_text")
                said.refusal += "".join(part["refusal"] for part in item["content"] if part["type"] == "refusal")
            case "reasoning":
                told = item.get("summary") or item.get("content") or []
                said.reasoning += "".join(part.get("text", "") for part in told)
            case "function_call":
                said.calls.append(Call(item["name"], item["arguments"]))
            case "custom_tool_call":
                said.calls.append(Call(item["name"], item["input"], custom=True))
            case "image_generation_call":
                said.media.append("image")
    return said


def responses_finish(whole: Mapping[str, Any], has_calls: bool) -> str:
    """The class of a Response object's status."""
    if whole["status"] == "incomplete":
        return {"content_filter": "content_filter"}.get(whole["incomplete_details"]["reason"], "length")
    return "tool_calls" if has_calls else "stop"


def responses_usage(usage: Mapping[str, Any]) -> dict[str, int]:
    """`usage` of a Response object."""
    told = details(usage, "input_tokens_details")
    return counts(
        input=usage.get("input_tokens"),
        output=usage.get("output_tokens"),
        cached=told.get("cached_tokens"),
        written=told.get("cache_write_tokens"),
        reasoning=details(usage, "output_tokens_details").get("reasoning_tokens"),
    )
