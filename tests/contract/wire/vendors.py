"""What vendors say: one answer of each dialect, told once, whole and streamed.

says = claude(text("Let me see."), use("toolu_1", "Paris"), reason="tool_use")
says(stream=True)                                                # tests.replay.Answer
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from tests.contract.wire.sdks import TEXT, TOOL, Json
from tests.replay import Answer


@dataclass(frozen=True, slots=True)
class Says:
    """One answer of a vendor, in both forms."""

    vendor: str
    whole: Answer
    streamed: Answer

    def __call__(self, stream: bool) -> Answer:
        return self.streamed if stream else self.whole


def frames(*events: Json, done: bool = False) -> Answer:
    """An event stream; events that have a type are named by it."""
    named = (f"event: {event['type']}\n" if "type" in event else "" for event in events)
    text = "".join(f"{name}data: {json.dumps(event)}\n\n" for name, event in zip(named, events, strict=True))
    return Answer.sse(text + ("data: [DONE]\n\n" if done else ""))


CLAUDE_USAGE: Final = {
    "input_tokens": 12,
    "cache_read_input_tokens": 5,
    "cache_creation_input_tokens": 3,
    "output_tokens": 9,
    "output_tokens_details": {"thinking_tokens": 4},
}


MESSAGE: Final = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": []}
"""Anthropic's message before it says anything."""


def claude(*content: Json, reason: str = "end_turn", usage: Json = CLAUDE_USAGE, **more: Any) -> Says:
    """Anthropic. A `_pieces` of a tool_use is what is streamed of its input."""
    head: Json = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m"}
    end = {"stop_reason": reason, "stop_sequence": None, **more}
    plain = [{name: value for name, value in block.items() if name != "_pieces"} for block in content]
    whole = {**head, "content": plain, **end, "usage": usage}
    begun = {**usage, "output_tokens": 1}
    events: list[Json] = [
        {"type": "message_start", "message": {**head, "content": [], "stop_reason": None, "usage": begun}},
        {"type": "ping"},
    ]
    for index, block in enumerate(content):
        events += _block_events(index, block)
    events += [{"type": "message_delta", "delta": end, "usage": usage}, {"type": "message_stop"}]
    return Says("anthropic", Answer.json(whole), frames(*events))


def _block_events(index: int, block: Json) -> list[Json]:
    match block["type"]:
        case "text":
            begun = {**block, "text": ""}
            deltas: list[Json] = [{"type": "text_delta", "text": block["text"]}] if block["text"] else []
            if block.get("citations"):
                begun["citations"] = []
                deltas += [{"type": "citations_delta", "citation": each} for each in block["citations"]]
        case "thinking":
            begun = {**block, "thinking": "", "signature": ""}
            deltas = [{"type": "thinking_delta", "thinking": block["thinking"]}] if block["thinking"] else []
            deltas.append({"type": "signature_delta", "signature": block["signature"]})
        case "tool_use" | "server_tool_use":
            pieces = block.get("_pieces", [json.dumps(block["input"])] if block["input"] else [])
            begun = {name: value for name, value in block.items() if name != "_pieces"} | {"input": {}}
            deltas = [{"type": "input_json_delta", "partial_json": piece} for piece in pieces]
        case _:
            begun, deltas = block, []
    return [
        {"type": "content_block_start", "index": index, "content_block": begun},
        *({"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas),
        {"type": "content_block_stop", "index": index},
    ]


GOOGLE_USAGE: Final = {
    "promptTokenCount": 20,
    "cachedContentTokenCount": 5,
    "candidatesTokenCount": 5,
    "thoughtsTokenCount": 4,
    "totalTokenCount": 29,
}


def google(*parts: Json, reason: str = "STOP", usage: Json = GOOGLE_USAGE, **more: Any) -> Says:
    """Gemini: every part in a chunk of its own, the end in a last one without any."""
    head = {"modelVersion": "m", "responseId": "r1"}

    def answer(said: Sequence[Json], **end: Any) -> Json:
        content = {"content": {"role": "model", "parts": list(said)}} if said else {}
        return {"candidates": [{**content, "index": 0, **end}], **head}

    whole = {**answer(parts, finishReason=reason, **more), "usageMetadata": usage}
    last = {**answer([], finishReason=reason, **more), "usageMetadata": usage}
    return Says("gemini", Answer.json(whole), frames(*(answer([part]) for part in parts), last))


CHAT_USAGE: Final = {
    "prompt_tokens": 20,
    "completion_tokens": 9,
    "total_tokens": 29,
    "prompt_tokens_details": {"cached_tokens": 5, "cache_write_tokens": 3},
    "completion_tokens_details": {"reasoning_tokens": 4},
}


def chat(message: Json, reason: str = "stop", usage: Json | None = CHAT_USAGE, streamed: str = "") -> Says:
    """An OpenAI-compatible server; it streams *streamed* as finish reason when that is another."""
    head = {"id": "c1", "created": 1_795_132_800, "model": "m"}
    whole = {
        **head,
        "object": "chat.completion",
        "choices": [{"index": 0, "message": {"role": "assistant", **message}, "finish_reason": reason}],
        **({"usage": usage} if usage else {}),
    }

    def chunk(delta: Json, finish: str | None = None) -> Json:
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        return {**head, "object": "chat.completion.chunk", "choices": [choice]}

    deltas: list[Json] = [{"role": "assistant", "content": ""}]
    for name, value in message.items():
        if name == "tool_calls":
            for index, call in enumerate(value):
                deltas.append({"tool_calls": [{"index": index, **call}]})
        elif value is not None:
            deltas.append({name: value})
    events = [*(chunk(delta) for delta in deltas), chunk({}, streamed or reason)]
    if usage:
        events.append({**head, "object": "chat.completion.chunk", "choices": [], "usage": usage})
    return Says("openai_chat", Answer.json(whole), frames(*events, done=True))


RESPONSES_USAGE: Final = {
    "input_tokens": 20,
    "input_tokens_details": {"cached_tokens": 5, "cache_write_tokens": 3},
    "output_tokens": 9,
    "output_tokens_details": {"reasoning_tokens": 4},
    "total_tokens": 29,
}


def responses(*items: Json, status: str = "completed", why: str | None = None, **more: Any) -> Says:
    """OpenAI's Responses; items of a stream come whole, in `output_item.done`, but for texts and arguments."""
    whole: Json = {
        "id": "resp_1",
        "object": "response",
        "created_at": 1_795_132_800,
        "model": "m",
        "status": status,
        "error": None,
        "incomplete_details": {"reason": why} if why else None,
        "output": list(items),
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "usage": RESPONSES_USAGE,
        **more,
    }
    start = {**whole, "status": "in_progress", "output": [], "usage": None, "incomplete_details": None, "error": None}
    events: list[Json] = [{"type": "response.created", "response": start}]
    for index, item in enumerate(items):
        events += _item_events(index, item)
    events.append({"type": f"response.{status}", "response": whole})
    numbered = [{**event, "sequence_number": number} for number, event in enumerate(events)]
    return Says("openai_responses", Answer.json(whole), frames(*numbered))


def _item_events(index: int, item: Json) -> list[Json]:
    at = {"item_id": item["id"], "output_index": index}
    middle: list[Json] = []
    begun = {**item, **({"status": "in_progress"} if "status" in item else {})}
    match item["type"]:
        case "message":
            begun["content"] = []
            for number, part in enumerate(item["content"]):
                name, key = ("output_text", "text") if part["type"] == "output_text" else ("refusal", "refusal")
                here = {**at, "content_index": number}
                middle += [
                    {"type": "response.content_part.added", **here, "part": {**part, key: ""}},
                    {"type": f"response.{name}.delta", **here, "delta": part[key], "logprobs": []},
                    {"type": f"response.{name}.done", **here, key: part[key], "logprobs": []},
                    {"type": "response.content_part.done", **here, "part": part},
                ]
        case "function_call":
            begun["arguments"] = ""
            name = "response.function_call_arguments"
            middle = [
                {"type": f"{name}.delta", **at, "delta": item["arguments"]},
                {"type": f"{name}.done", **at, "arguments": item["arguments"], "name": item["name"]},
            ]
        case "reasoning":
            begun["summary"] = []
    added = {"type": "response.output_item.added", "output_index": index, "item": begun}
    return [added, *middle, {"type": "response.output_item.done", "output_index": index, "item": item}]


def text(words: str = TEXT, **more: Any) -> Json:
    """A text: block of Anthropic's and part of Gemini's alike, but for the type."""
    return {"type": "text", "text": words, **more}


def output(words: str = TEXT, kind: str = "output_text", **more: Any) -> Json:
    part: Json = {"type": kind, "refusal": words}
    if kind == "output_text":
        part = {"type": kind, "text": words, "annotations": [], "logprobs": []}
    return {"id": "msg_1", "type": "message", "role": "assistant", "status": "completed", "content": [part], **more}


def use(call_id: str, city: str | None, **more: Any) -> Json:
    return {"type": "tool_use", "id": call_id, "name": TOOL, "input": {"city": city} if city else {}, **more}


def called(call_id: str, city: str | None, **more: Any) -> Json:
    function = {"name": TOOL, "arguments": json.dumps({"city": city}) if city else ""}
    return {"id": call_id, "type": "function", "function": function, **more}


def item_call(call_id: str, city: str, **more: Any) -> Json:
    arguments = json.dumps({"city": city})
    return {
        "id": f"fc_{call_id}",
        "type": "function_call",
        "status": "completed",
        "call_id": call_id,
        "name": TOOL,
        "arguments": arguments,
        **more,
    }


def google_call(city: str, **more: Any) -> Json:
    return {"functionCall": {"name": TOOL, "args": {"city": city}, **more}}


PARIS: Final = (TOOL, {"city": "Paris"})
OSLO: Final = (TOOL, {"city": "Oslo"})
SEARCH: Final = {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "Paris"}}
FOUND: Final = {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": []}
NEW_BLOCK: Final = {"type": "brand_new_block", "value": 1}
SIGNED: Final = {"type": "thinking", "thinking": "Hm.", "signature": "c2lnbmVk"}
UNSAID: Final = {"type": "thinking", "thinking": "", "signature": "c2lnbmVk"}
REASONED: Final = {
    "id": "rs_1",
    "type": "reasoning",
    "summary": [{"type": "summary_text", "text": "Hm."}],
    "encrypted_content": "ZW5j",
}


def chunk(delta: Json, finish: str | None = None, **more: Any) -> Json:
    """A chunk of an OpenAI-compatible server."""
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice], **more}


def calls(*cities: Any) -> list[tuple[str, Any]]:
    return [(TOOL, {"city": city} if city else {}) for city in cities]


NEXT: Final = {
    "anthropic": claude(text()),
    "gemini": google({"text": TEXT}),
    "openai_chat": chat({"content": TEXT}),
    "openai_responses": responses(output()),
}
