"""The scripted upstream of each backend dialect: says an answer in its wire format, and reads what it was asked.

Shapes are those of the exchanges in the recordings; no words of theirs.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from tests.contract.matrix.scenarios import (
    CACHED_TOKENS,
    INPUT_TOKENS,
    OUTPUT_TOKENS,
    REASONING_TOKENS,
    SEAL,
    TOOL,
    Said,
)
from tests.replay import Answer

CREATED: Final = 1_795_132_800
TOTAL_TOKENS: Final = INPUT_TOKENS + OUTPUT_TOKENS
FIRST_WORDS: Final = "Paris is"
"""What a vendor says before it breaks off."""
JSON: Final = "application/json"
_NUMBERS: Final = itertools.count(1)
"""No two answers of a vendor have an id in common, nor their calls."""

Json = dict[str, Any]


@dataclass(slots=True)
class Heard:
    """What a vendor found in a request, in order. A call is (id, city), a result (id, text)."""

    stream: bool
    texts: list[str] = field(default_factory=list)
    tools: list[tuple[str, Any]] = field(default_factory=list)
    calls: list[tuple[str | None, str]] = field(default_factory=list)
    results: list[tuple[str | None, str]] = field(default_factory=list)
    images: list[str] = field(default_factory=list)
    schema: Mapping[str, Any] | None = None
    thoughts: list[str] = field(default_factory=list)
    """Seals, or where the vendor has none, the reasoning itself."""


class Vendor(Protocol):
    """One backend dialect."""

    def whole(self, said: Said) -> Answer: ...
    def stream(self, said: Said) -> Answer: ...
    def error(self, status: int) -> Answer: ...
    def broken(self) -> Answer:
        """A stream that says FIRST_WORDS and, when it is released, reports an error."""
        ...

    def heard(self, body: Json, path: str) -> Heard: ...


def fresh(prefix: str) -> str:
    """An id that was not given before."""
    return f"{prefix}{next(_NUMBERS)}"


def words(text: str) -> list[str]:
    """*text* in pieces, as a stream brings it."""
    return re.findall(r"\S+\s*", text)


def halves(text: str) -> tuple[str, str]:
    return text[: len(text) // 2], text[len(text) // 2 :]


def arguments(city: str) -> str:
    return json.dumps({"city": city})


def frames(*events: Json, named: bool = False, line_end: str = "\n") -> str:
    """An event stream, with event names where the dialect has them."""
    return "".join(
        (f"event: {event['type']}{line_end}" if named else "")
        + f"data: {json.dumps(event, separators=(',', ':'))}{line_end * 2}"
        for event in events
    )


def held(before: str, after: str) -> Answer:
    """A stream that goes on with *after* only when it is told to (`Asked.release`)."""
    return Answer.sse(before + after, hold_at=len(before.encode()))


def retry_headers(status: int) -> dict[str, str]:
    return {"retry-after": "7"} if status == 429 else {}


def named_in_words(status: int) -> str:
    """A vendor's message; a status of 400 names no parameter, so that nothing is healed."""
    return {400: "The request is not to my taste.", 401: "Incorrect key.", 429: "Slow down."}.get(status, "I broke.")


# --- OpenAI: chat completions ----------------------------------------------------------------------


class OpenAIChat:
    USAGE: Final[Json] = {
        "prompt_tokens": INPUT_TOKENS,
        "completion_tokens": OUTPUT_TOKENS,
        "total_tokens": TOTAL_TOKENS,
        "prompt_tokens_details": {"cached_tokens": CACHED_TOKENS},
        "completion_tokens_details": {"reasoning_tokens": REASONING_TOKENS},
    }

    def whole(self, said: Said) -> Answer:
        message: Json = {"role": "assistant", "content": said.text or None, "refusal": None}
        if said.thought:
            message["reasoning_content"] = said.thought
        if said.cities:
            message["tool_calls"] = [self._call(index, city) for index, city in enumerate(said.cities)]
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": self._reason(said)}
        return Answer.json(
            {**self._head(fresh("chatcmpl-"), "chat.completion"), "choices": [choice], "usage": self.USAGE}
        )

    def stream(self, said: Said) -> Answer:
        deltas: list[Json] = [
            {"role": "assistant", "content": ""},
            *({"reasoning_content": word} for word in words(said.thought)),
            *({"content": word} for word in words(said.text)),
        ]
        for index, city in enumerate(said.cities):
            call = self._call(index, city)
            deltas.append({"tool_calls": [{**call, "index": index, "function": {"name": TOOL, "arguments": ""}}]})
            deltas += [
                {"tool_calls": [{"index": index, "function": {"arguments": half}}]} for half in halves(arguments(city))
            ]
        answer_id = fresh("chatcmpl-")
        chunks = [*(self._chunk(answer_id, delta) for delta in deltas), self._chunk(answer_id, {}, self._reason(said))]
        chunks.append({**self._head(answer_id, "chat.completion.chunk"), "choices": [], "usage": self.USAGE})
        return Answer.sse(frames(*chunks) + "data: [DONE]\n\n")

    def broken(self) -> Answer:
        answer_id = fresh("chatcmpl-")
        deltas: list[Json] = [{"role": "assistant", "content": ""}, {"content": FIRST_WORDS}]
        chunks = [self._chunk(answer_id, delta) for delta in deltas]
        error = {"error": {"message": "I broke.", "type": "server_error", "param": None, "code": None}}
        return held(frames(*chunks), frames(error))

    def error(self, status: int) -> Answer:
        error = {"message": named_in_words(status), "type": "invalid_request_error", "param": None, "code": None}
        return Answer.json({"error": error}, status, retry_headers(status))

    def heard(self, body: Json, path: str) -> Heard:
        assert path == "/v1/chat/completions", path
        found = Heard(bool(body.get("stream")))
        for message in body["messages"]:
            self._message(message, found)
        for tool in body.get("tools", ()):
            assert tool["type"] == "function", tool
            found.tools.append((tool["function"]["name"], tool["function"].get("parameters")))
        wanted = body.get("response_format") or {}
        if wanted.get("type") == "json_schema":
            found.schema = wanted["json_schema"]["schema"]
        return found

    def _message(self, message: Json, found: Heard) -> None:
        content = message.get("content")
        if isinstance(content, str):
            if message["role"] == "tool":
                found.results.append((message["tool_call_id"], content))
            else:
                found.texts.append(content)
        for part in content if isinstance(content, list) else ():
            if part["type"] == "image_url":
                found.images.append(part["image_url"]["url"])
            elif message["role"] == "tool":
                found.results.append((message["tool_call_id"], part["text"]))
            else:
                found.texts.append(part["text"])
        for call in message.get("tool_calls") or ():
            assert (call["type"], call["function"]["name"]) == ("function", TOOL), call
            found.calls.append((call["id"], json.loads(call["function"]["arguments"])["city"]))
        if message.get("reasoning_content"):
            found.thoughts.append(message["reasoning_content"])

    def _head(self, answer_id: str, kind: str) -> Json:
        return {"id": answer_id, "object": kind, "created": CREATED, "model": "m"}

    def _call(self, index: int, city: str) -> Json:
        function = {"name": TOOL, "arguments": arguments(city)}
        return {"id": fresh(f"call_{index}_"), "type": "function", "function": function}

    def _reason(self, said: Said) -> str:
        return "tool_calls" if said.cities else "stop"

    def _chunk(self, answer_id: str, delta: Json, reason: str | None = None) -> Json:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
        return {**self._head(answer_id, "chat.completion.chunk"), "choices": [choice], "usage": None}


# --- OpenAI: responses -----------------------------------------------------------------------------


class OpenAIResponses:
    def whole(self, said: Said) -> Answer:
        return Answer.json(self._response(said))

    def stream(self, said: Said) -> Answer:
        whole = self._response(said)
        start = {**whole, "status": "in_progress", "output": [], "usage": None}
        events: list[Json] = [{"type": f"response.{word}", "response": start} for word in ("created", "in_progress")]
        for index, item in enumerate(whole["output"]):
            events += self._item_events(index, item)
        events.append({"type": "response.completed", "response": whole})
        return Answer.sse(self._frames(events))

    def broken(self) -> Answer:
        whole = self._response(Said(FIRST_WORDS))
        start = {**whole, "status": "in_progress", "output": [], "usage": None}
        (item,) = whole["output"]
        events: list[Json] = [{"type": "response.created", "response": start}]
        events += self._item_events(0, item)[:3]
        error = {"code": "server_error", "message": "I broke."}
        report = {"type": "error", "error": {**error, "type": "server_error", "param": None}}
        failed = {**start, "status": "failed", "error": error}
        before = self._frames(events)
        return held(
            before, self._frames([*events, report, {"type": "response.failed", "response": failed}])[len(before) :]
        )

    def error(self, status: int) -> Answer:
        return OpenAIChat().error(status)

    def heard(self, body: Json, path: str) -> Heard:
        assert path == "/v1/responses", path
        found = Heard(bool(body.get("stream")))
        asked = body["input"]
        if isinstance(asked, str):
            found.texts.append(asked)
        for item in asked if isinstance(asked, list) else ():
            self._input(item, found)
        for tool in body.get("tools", ()):
            assert tool["type"] == "function", tool
            found.tools.append((tool["name"], tool.get("parameters")))
        wanted = (body.get("text") or {}).get("format") or {}
        if wanted.get("type") == "json_schema":
            found.schema = wanted["schema"]
        return found

    def _input(self, item: Json, found: Heard) -> None:
        match item.get("type", "message"):
            case "message":
                content = item["content"]
                parts = [{"type": "input_text", "text": content}] if isinstance(content, str) else content
                for part in parts:
                    if part["type"] == "input_image":
                        found.images.append(part["image_url"])
                    else:
                        found.texts.append(part["text"])
            case "function_call":
                found.calls.append((item["call_id"], json.loads(item["arguments"])["city"]))
            case "function_call_output":
                output = item["output"]
                text = output if isinstance(output, str) else "".join(part["text"] for part in output)
                found.results.append((item["call_id"], text))
            case "reasoning":
                found.thoughts.append(item["encrypted_content"])
            case kind:
                raise AssertionError(f"an input item of type {kind}")

    def _items(self, said: Said) -> Iterator[Json]:
        if said.thought:
            summary = [{"type": "summary_text", "text": said.thought}]
            yield {
                "id": fresh("rs_"),
                "type": "reasoning",
                "encrypted_content": SEAL,
                "summary": summary,
                "content": [],
            }
        if said.text:
            content = [{"type": "output_text", "text": said.text, "annotations": [], "logprobs": []}]
            yield {
                "id": fresh("msg_"),
                "type": "message",
                "role": "assistant",
                "status": "completed",
                "content": content,
            }
        for index, city in enumerate(said.cities):
            yield {
                "id": fresh(f"fc_{index}_"),
                "type": "function_call",
                "status": "completed",
                "call_id": fresh(f"call_{index}_"),
                "name": TOOL,
                "arguments": arguments(city),
            }

    def _item_events(self, index: int, item: Json) -> list[Json]:
        at = {"item_id": item["id"], "output_index": index}
        match item["type"]:
            case "reasoning":
                empty: Json = {"summary": []}
                part = item["summary"][0]
                at = {**at, "summary_index": 0}
                start = {"type": "response.reasoning_summary_part.added", **at, "part": {**part, "text": ""}}
                name, key, text = "response.reasoning_summary_text", "text", part["text"]
                ends = [{"type": "response.reasoning_summary_part.done", **at, "part": part}]
            case "message":
                empty = {"content": []}
                part = item["content"][0]
                at = {**at, "content_index": 0}
                start = {"type": "response.content_part.added", **at, "part": {**part, "text": ""}}
                name, key, text = "response.output_text", "text", part["text"]
                ends = [{"type": "response.content_part.done", **at, "part": part}]
            case _:
                empty = {"arguments": ""}
                start, ends = None, []
                name, key, text = "response.function_call_arguments", "arguments", item["arguments"]
        begun = {**item, **empty, **({"status": "in_progress"} if "status" in item else {})}
        pieces = words(text) if key == "text" else halves(text)
        return [
            {"type": "response.output_item.added", "output_index": index, "item": begun},
            *([start] if start else ()),
            *({"type": f"{name}.delta", **at, "delta": piece} for piece in pieces),
            {"type": f"{name}.done", **at, key: text},
            *ends,
            {"type": "response.output_item.done", "output_index": index, "item": item},
        ]

    def _response(self, said: Said) -> Json:
        return {
            "id": fresh("resp_"),
            "object": "response",
            "created_at": CREATED,
            "status": "completed",
            "error": None,
            "incomplete_details": None,
            "model": "m",
            "output": list(self._items(said)),
            "parallel_tool_calls": True,
            "tool_choice": "auto",
            "tools": [],
            "usage": {
                "input_tokens": INPUT_TOKENS,
                "input_tokens_details": {"cached_tokens": CACHED_TOKENS, "cache_write_tokens": 0},
                "output_tokens": OUTPUT_TOKENS,
                "output_tokens_details": {"reasoning_tokens": REASONING_TOKENS},
                "total_tokens": TOTAL_TOKENS,
            },
        }

    def _frames(self, events: list[Json]) -> str:
        return frames(*({**event, "sequence_number": number} for number, event in enumerate(events)), named=True)


# --- Anthropic -------------------------------------------------------------------------------------


class Anthropic:
    USAGE: Final[Json] = {
        "input_tokens": INPUT_TOKENS - CACHED_TOKENS,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": CACHED_TOKENS,
        "output_tokens": OUTPUT_TOKENS,
        "output_tokens_details": {"thinking_tokens": REASONING_TOKENS},
    }

    def whole(self, said: Said) -> Answer:
        return Answer.json({**self._head(), "content": list(self._blocks(said)), "stop_reason": self._reason(said)})

    def stream(self, said: Said) -> Answer:
        usage = {**self.USAGE, "output_tokens": 1}
        events: list[Json] = [{"type": "message_start", "message": {**self._head(), "usage": usage}}]
        for index, block in enumerate(self._blocks(said)):
            events += self._block_events(index, block)
            events.append({"type": "ping"})
        delta = {"stop_reason": self._reason(said), "stop_sequence": None}
        events += [{"type": "message_delta", "delta": delta, "usage": self.USAGE}, {"type": "message_stop"}]
        return Answer.sse(frames(*events, named=True))

    def broken(self) -> Answer:
        start = {"type": "message_start", "message": self._head()}
        error = {"type": "error", "error": {"type": "api_error", "message": "I broke."}}
        block = self._block_events(0, {"type": "text", "text": FIRST_WORDS})[:2]
        return held(frames(start, *block, named=True), frames(error, named=True))

    def error(self, status: int) -> Answer:
        kind = {400: "invalid_request_error", 401: "authentication_error", 429: "rate_limit_error"}
        error = {"type": kind.get(status, "api_error"), "message": named_in_words(status)}
        return Answer.json({"type": "error", "error": error, "request_id": "req_1"}, status, retry_headers(status))

    def heard(self, body: Json, path: str) -> Heard:
        assert path == "/v1/messages", path
        assert isinstance(body["max_tokens"], int), "Anthropic requires max_tokens"
        found = Heard(bool(body.get("stream")))
        for message in body["messages"]:
            content = message["content"]
            for block in [{"type": "text", "text": content}] if isinstance(content, str) else content:
                self._block(block, found)
        for tool in body.get("tools", ()):
            found.tools.append((tool["name"], tool["input_schema"]))
        wanted = (body.get("output_config") or {}).get("format") or {}
        if wanted.get("type") == "json_schema":
            found.schema = wanted["schema"]
        return found

    def _block(self, block: Json, found: Heard) -> None:
        match block["type"]:
            case "text":
                found.texts.append(block["text"])
            case "image":
                found.images.append(f"data:{block['source']['media_type']};base64,{block['source']['data']}")
            case "tool_use":
                found.calls.append((block["id"], block["input"]["city"]))
            case "tool_result":
                content = block["content"]
                text = content if isinstance(content, str) else "".join(part["text"] for part in content)
                found.results.append((block["tool_use_id"], text))
            case "thinking":
                found.thoughts.append(block["signature"])
            case kind:
                raise AssertionError(f"a block of type {kind}")

    def _head(self) -> Json:
        return {
            "id": fresh("msg_"),
            "type": "message",
            "role": "assistant",
            "model": "m",
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": self.USAGE,
        }

    def _blocks(self, said: Said) -> Iterator[Json]:
        if said.thought:
            yield {"type": "thinking", "thinking": said.thought, "signature": SEAL}
        if said.text:
            yield {"type": "text", "text": said.text}
        for index, city in enumerate(said.cities):
            yield {"type": "tool_use", "id": fresh(f"toolu_{index}_"), "name": TOOL, "input": {"city": city}}

    def _block_events(self, index: int, block: Json) -> list[Json]:
        match block["type"]:
            case "thinking":
                start = {**block, "thinking": "", "signature": ""}
                deltas = [{"type": "thinking_delta", "thinking": word} for word in words(block["thinking"])]
                deltas.append({"type": "signature_delta", "signature": SEAL})
            case "text":
                start = {**block, "text": ""}
                deltas = [{"type": "text_delta", "text": word} for word in words(block["text"])]
                if block["text"] == FIRST_WORDS:
                    deltas = [{"type": "text_delta", "text": FIRST_WORDS}]
            case _:
                start = {**block, "input": {}}
                pieces = ("", *halves(json.dumps(block["input"])))
                deltas = [{"type": "input_json_delta", "partial_json": piece} for piece in pieces]
        return [
            {"type": "content_block_start", "index": index, "content_block": start},
            *({"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas),
            {"type": "content_block_stop", "index": index},
        ]

    def _reason(self, said: Said) -> str:
        return "tool_use" if said.cities else "end_turn"


# --- Gemini ----------------------------------------------------------------------------------------


class Gemini:
    USAGE: Final[Json] = {
        "promptTokenCount": INPUT_TOKENS,
        "candidatesTokenCount": OUTPUT_TOKENS - REASONING_TOKENS,
        "thoughtsTokenCount": REASONING_TOKENS,
        "cachedContentTokenCount": CACHED_TOKENS,
        "totalTokenCount": TOTAL_TOKENS,
    }

    def whole(self, said: Said) -> Answer:
        thought = [{"text": said.thought, "thought": True}] if said.thought else []
        text = [{"text": said.text}] if said.text else []
        return Answer.json(self._chunk(fresh("r"), [*thought, *text, *self._calls(said)], "STOP"))

    def stream(self, said: Said) -> Answer:
        parts: list[Json] = [
            *({"text": word, "thought": True} for word in words(said.thought)),
            *({"text": word} for word in words(said.text)),
            *self._calls(said),
        ]
        answer_id = fresh("r")
        chunks = [self._chunk(answer_id, [part]) for part in parts[:-1]]
        return Answer.sse(frames(*chunks, self._chunk(answer_id, parts[-1:], "STOP"), line_end="\r\n"))

    def broken(self) -> Answer:
        error = {"error": {"code": 500, "message": "I broke.", "status": "INTERNAL"}}
        words_said = self._chunk(fresh("r"), [{"text": FIRST_WORDS}])
        return held(frames(words_said, line_end="\r\n"), frames(error, line_end="\r\n"))

    def error(self, status: int) -> Answer:
        names = {400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 429: "RESOURCE_EXHAUSTED"}
        error: Json = {"code": status, "message": named_in_words(status), "status": names.get(status, "INTERNAL")}
        if status == 429:
            error["details"] = [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "7s"}]
        return Answer.json({"error": error}, status)

    def heard(self, body: Json, path: str) -> Heard:
        method = path.rpartition(":")[2].partition("?")[0]
        assert method in {"generateContent", "streamGenerateContent"}, path
        found = Heard(method == "streamGenerateContent")
        for content in body["contents"]:
            for part in content["parts"]:
                self._part(part, found)
        for tool in body.get("tools", ()):
            for function in tool["functionDeclarations"]:
                found.tools.append((function["name"], function.get("parametersJsonSchema", function.get("parameters"))))
        config = body.get("generationConfig", {})
        found.schema = config.get("responseJsonSchema", config.get("responseSchema"))
        assert found.schema is None or config["responseMimeType"] == JSON
        return found

    def _part(self, part: Json, found: Heard) -> None:
        if seal := part.get("thoughtSignature"):
            found.thoughts.append(seal)
        if part.get("thought"):
            return
        if "text" in part:
            found.texts.append(part["text"])
        elif "inlineData" in part:
            data = part["inlineData"]["data"].replace("-", "+").replace("_", "/")  # Google's SDK writes it URL-safe
            kind = part["inlineData"].get("mimeType") or part["inlineData"]["mime_type"]  # Google takes both
            found.images.append(f"data:{kind};base64,{data}")
        elif "functionCall" in part:
            assert part["functionCall"]["name"] == TOOL, part
            found.calls.append((part["functionCall"].get("id"), part["functionCall"]["args"]["city"]))
        elif "functionResponse" in part:
            answer = part["functionResponse"]
            assert answer["name"] == TOOL, part
            found.results.append((answer.get("id"), str(answer["response"].get("output", answer["response"]))))
        else:
            raise AssertionError(f"a part {part}")

    def _calls(self, said: Said) -> Iterator[Json]:
        for index, city in enumerate(said.cities):
            part: Json = {"functionCall": {"name": TOOL, "args": {"city": city}}}
            yield {**part, "thoughtSignature": SEAL} if said.thought and index == 0 else part

    def _chunk(self, answer_id: str, parts: list[Json], finish: str | None = None) -> Json:
        candidate: Json = {"content": {"role": "model", "parts": parts}, "index": 0}
        if finish:
            candidate["finishReason"] = finish
        return {"candidates": [candidate], "usageMetadata": self.USAGE, "modelVersion": "m", "responseId": answer_id}


# --- llama.cpp -------------------------------------------------------------------------------------


class LlamaCpp:
    """Its answers are the lines of a child process, not HTTP: `lines` and `failure` go to `llama_child.py`."""

    def whole(self, said: Said) -> Answer:
        raise AssertionError("a local model is asked through its process")

    stream = whole
    error = whole
    broken = whole

    def text(self, said: Said) -> str:
        """As a model of the Hermes family writes it."""
        thought = f"<think>\n{said.thought}\n</think>\n\n" if said.thought else ""
        calls = "".join(
            f"\n<tool_call>\n{json.dumps({'name': TOOL, 'arguments': {'city': city}})}\n</tool_call>"
            for city in said.cities
        )
        return thought + said.text + calls

    def heard(self, body: Json, path: str) -> Heard:
        found = OpenAIChat().heard({**body, "response_format": None}, "/v1/chat/completions")
        wanted = body.get("response_format") or {}
        found.schema = wanted.get("schema")
        return found


VENDORS: Final[Mapping[str, Vendor]] = {
    "openai_chat": OpenAIChat(),
    "openai_responses": OpenAIResponses(),
    "anthropic": Anthropic(),
    "gemini": Gemini(),
    "llamacpp": LlamaCpp(),
}
