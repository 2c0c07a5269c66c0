"""A client of each endpoint: asks a scenario in its dialect, reads whole answers and streams, and goes on talking.

A reader is strict about what SDKs rely on: ids, the order of events, indexes, terminators. What it hands back is the
same for all of them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol
from urllib.parse import unquote

from tests.contract.matrix.scenarios import ANSWER_SCHEMA, PNG, RESULTS, SAMPLING, TOOL, TOOL_SCHEMA, Ask
from tests.proxy.serving import Reply

Json = dict[str, Any]


@dataclass(slots=True)
class Facts:
    """What an answer says. *finish* is `stop` or `calls`; *usage* input and output tokens; a call is (id, city).

    *turn* is the assistant's turn as the client would send it back; *error* is (kind, message) of the envelope.
    """

    text: str = ""
    thought: str = ""
    calls: list[tuple[str, str]] = field(default_factory=list)
    finish: str | None = None
    usage: tuple[int, int] | None = None
    turn: list[Json] = field(default_factory=list)
    error: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Posted:
    path: str
    body: Json
    headers: Mapping[str, str] = field(default_factory=dict)


class Client(Protocol):
    """One endpoint."""

    def ask(self, ask: Ask, model: str, stream: bool) -> Posted: ...
    def follow(self, posted: Posted, turn: list[Json], calls: list[tuple[str, str]]) -> Posted:
        """The same conversation, with the assistant's *turn* and the results of its *calls*."""
        ...

    def whole(self, body: Json) -> Facts: ...
    def streamed(self, frames: list[Frame]) -> Facts: ...
    def failed(self, body: Json) -> tuple[str, str]:
        """What an error's envelope says: its kind and its message."""
        ...

    def sampling(self) -> Mapping[str, str]:
        """The parameters of SAMPLING that it sends, with its own names for them."""
        ...


@dataclass(frozen=True, slots=True)
class Frame:
    """One block of an event stream. *comment* is set for a comment, *data* for an event."""

    event: str | None = None
    data: str | None = None
    comment: str | None = None

    @property
    def json(self) -> Json:
        found: Json = json.loads(self.data or "")
        return found


def frames_of(body: bytes) -> list[Frame]:
    """The blocks of *body*; every one ends with a blank line."""
    text = body.decode().replace("\r\n", "\n")
    assert text.endswith("\n\n"), f"the stream ends within a block: {text[-80:]!r}"
    found = []
    for block in text.removesuffix("\n\n").split("\n\n"):
        fields = dict(line.split(":", 1) for line in block.split("\n"))
        assert set(fields) <= {"", "event", "data"}, block
        named = {name or "comment": value.strip() for name, value in fields.items()}
        found.append(Frame(**named))
    return found


def receipt_of(frames: Sequence[Frame]) -> Json:
    """What the closing comment says; a Gemini stream has no comments, so there the last chunk says it."""
    comments = [frame.comment for frame in frames if frame.comment and frame.comment.startswith("modelport ")]
    if not comments:
        in_chunk: Json = frames[-1].json["modelport"]
        return in_chunk
    (comment,) = comments
    found: Json = json.loads(comment.removeprefix("modelport "))
    return found


def losses_of(reply: Reply) -> list[tuple[str, str, str]]:
    """Field, action and reason of each loss in the header."""
    pairs = [pair.split("=", 1) for pair in reply.headers.get("x-modelport-losses", "").split(",") if pair]
    return [(unquote(name), *unquote(said).split(": ", 1)) for name, said in pairs]  # type: ignore[misc]  three of them


def chosen(names: Mapping[str, str]) -> Json:
    """The values of SAMPLING under a client's own names."""
    return {own: SAMPLING[name] for name, own in names.items()}


# --- OpenAI: chat completions ----------------------------------------------------------------------


class Chat:
    NAMES: Final = {
        "max_output_tokens": "max_completion_tokens",
        "temperature": "temperature",
        "top_p": "top_p",
        "presence_penalty": "presence_penalty",
        "frequency_penalty": "frequency_penalty",
        "seed": "seed",
        "stop": "stop",
        "user": "user",
        "verbosity": "verbosity",
        "service_tier": "service_tier",
        "metadata": "metadata",
    }

    def sampling(self) -> Mapping[str, str]:
        return self.NAMES

    def ask(self, ask: Ask, model: str, stream: bool) -> Posted:
        content: Any = ask.question
        if ask.image:
            picture = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}}
            content = [{"type": "text", "text": ask.question}, picture]
        body: Json = {"model": model, "messages": [{"role": "user", "content": content}]}
        if ask.tools:
            function = {"name": TOOL, "description": "How warm it is.", "parameters": TOOL_SCHEMA}
            body["tools"] = [{"type": "function", "function": function}]
        if ask.schema:
            schema = {"name": "city", "schema": ANSWER_SCHEMA, "strict": True}
            body["response_format"] = {"type": "json_schema", "json_schema": schema}
        if ask.think:
            body["reasoning_effort"] = "low"
        if ask.sampling:
            body |= {**chosen(self.NAMES), "metadata": {"team": SAMPLING["metadata"]}}
        if stream:
            body |= {"stream": True, "stream_options": {"include_usage": True}}
        return Posted("/v1/chat/completions", body)

    def follow(self, posted: Posted, turn: list[Json], calls: list[tuple[str, str]]) -> Posted:
        results = [{"role": "tool", "tool_call_id": call, "content": RESULTS[city]} for call, city in calls]
        return Posted(posted.path, {**posted.body, "messages": [*posted.body["messages"], *turn, *results]})

    def whole(self, body: Json) -> Facts:
        assert body["object"] == "chat.completion"
        (choice,) = body["choices"]
        return self._facts(choice["message"], choice["finish_reason"], body["usage"])

    def streamed(self, frames: list[Frame]) -> Facts:
        assert frames[-1].data == "[DONE]"
        assert (frames[-2].comment or "").startswith("modelport "), "the receipt stands before the terminator"
        chunks = [frame.json for frame in frames if frame.data not in (None, "[DONE]")]
        assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
        assert len({(chunk["id"], chunk["created"], chunk["model"]) for chunk in chunks}) == 1
        assert chunks[-1]["choices"] == []
        choices = [chunk["choices"][0] for chunk in chunks[:-1]]
        assert choices[0]["delta"]["role"] == "assistant"
        reasons = [choice["finish_reason"] for choice in choices if choice["finish_reason"]]
        assert len(reasons) == 1
        assert choices[-1]["finish_reason"]
        return self._facts(self.joined(choices), reasons[0], chunks[-1]["usage"])

    def joined(self, choices: list[Json]) -> Json:
        """The message of a stream; lists are joined by their entries' index, as the SDK does."""
        message: Json = {}
        for choice in choices:
            _join(message, choice["delta"])
        for call in message.get("tool_calls", ()):
            del call["index"]
        return message

    def failed(self, body: Json) -> tuple[str, str]:
        error = body["error"]
        assert set(error) >= {"message", "type", "param", "code"}
        return error["type"], error["message"]

    def _facts(self, message: Json, reason: str, usage: Json) -> Facts:
        calls = message.get("tool_calls") or []
        assert all(call["type"] == "function" and call["function"]["name"] == TOOL for call in calls)
        assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
        return Facts(
            text=message.get("content") or "",
            thought=message.get("reasoning_content") or "",
            calls=[(call["id"], json.loads(call["function"]["arguments"])["city"]) for call in calls],
            finish={"stop": "stop", "tool_calls": "calls"}.get(reason, reason),
            usage=(usage["prompt_tokens"], usage["completion_tokens"]),
            turn=[message],
        )


def _join(whole: Json, delta: Json) -> None:
    """Merge *delta* into *whole*: texts are joined, entries of lists by their index, the rest is set."""
    for name, value in delta.items():
        known = whole.get(name)
        if isinstance(known, str) and isinstance(value, str) and name not in {"role", "type", "id", "name"}:
            whole[name] = known + value
        elif isinstance(value, list) and value and all(isinstance(each, dict) and "index" in each for each in value):
            entries = whole.setdefault(name, []) or []
            whole[name] = entries
            for each in value:
                if (found := next((entry for entry in entries if entry["index"] == each["index"]), None)) is None:
                    entries.append(dict(each))
                else:
                    _join(found, {key: part for key, part in each.items() if key != "index"})
        elif isinstance(value, dict) and isinstance(known, dict):
            _join(known, value)
        elif value is not None or name not in whole:
            whole[name] = dict(value) if isinstance(value, dict) else value


# --- OpenAI: responses -----------------------------------------------------------------------------


class Responses:
    NAMES: Final = {
        "max_output_tokens": "max_output_tokens",
        "temperature": "temperature",
        "top_p": "top_p",
        "user": "user",
        "verbosity": "text.verbosity",
        "service_tier": "service_tier",
        "metadata": "metadata",
    }

    def sampling(self) -> Mapping[str, str]:
        return self.NAMES

    def ask(self, ask: Ask, model: str, stream: bool) -> Posted:
        content: list[Json] = [{"type": "input_text", "text": ask.question}]
        if ask.image:
            content.append(
                {"type": "input_image", "image_url": f"data:image/png;base64,{PNG}", "detail": "auto"},
            )
        body: Json = {"model": model, "input": [{"role": "user", "content": content}], "store": False}
        if ask.tools:
            tool = {"type": "function", "name": TOOL, "description": "How warm it is.", "parameters": TOOL_SCHEMA}
            body["tools"] = [{**tool, "strict": True}]
        if ask.schema:
            body["text"] = {"format": {"type": "json_schema", "name": "city", "schema": ANSWER_SCHEMA, "strict": True}}
        if ask.think:
            body |= {"reasoning": {"effort": "low", "summary": "auto"}, "include": ["reasoning.encrypted_content"]}
        if ask.sampling:
            values = chosen(self.NAMES)
            body |= {**values, "metadata": {"team": values["metadata"]}, "text": {"verbosity": SAMPLING["verbosity"]}}
            del body["text.verbosity"]
        if stream:
            body["stream"] = True
        return Posted("/v1/responses", body)

    def follow(self, posted: Posted, turn: list[Json], calls: list[tuple[str, str]]) -> Posted:
        results = [{"type": "function_call_output", "call_id": call, "output": RESULTS[city]} for call, city in calls]
        return Posted(posted.path, {**posted.body, "input": [*posted.body["input"], *turn, *results]})

    def whole(self, body: Json) -> Facts:
        assert (body["object"], body["status"], body["error"]) == ("response", "completed", None)
        return self._facts(body)

    def streamed(self, frames: list[Frame]) -> Facts:
        assert (frames[-2].comment or "").startswith("modelport "), "the receipt stands before the last event"
        events = [frame.json for frame in frames if frame.data]
        assert [frame.event for frame in frames if frame.data] == [event["type"] for event in events]
        assert [event["sequence_number"] for event in events] == list(range(len(events)))
        kinds = [event["type"].removeprefix("response.") for event in events]
        assert kinds[:2] == ["created", "in_progress"]
        assert kinds[-1] == "completed"
        items = self._items(events[2:-1])
        final = events[-1]["response"]
        assert final["status"] == "completed"
        assert [_without_status(item) for item in items] == [_without_status(item) for item in final["output"]]
        return self._facts(final)

    def _items(self, events: list[Json]) -> list[Json]:
        """The items of a stream, put together from their deltas and compared with how they end."""
        items: list[Json] = []
        texts: dict[tuple[str, int], str] = {}
        for event in events:
            kind = event["type"].removeprefix("response.")
            if kind == "output_item.added":
                assert event["output_index"] == len(items), "items are added in order"
                items.append(event["item"])
            elif kind == "output_item.done":
                assert event["item"]["id"] == items[event["output_index"]]["id"]
                items[event["output_index"]] = event["item"]
            elif kind.endswith(".delta"):
                key = (event["item_id"], event.get("content_index", event.get("summary_index", 0)))
                assert event["item_id"] == items[event["output_index"]]["id"]
                texts[key] = texts.get(key, "") + event["delta"]
            elif kind.endswith(".done") and "part" not in event:
                key = (event["item_id"], event.get("content_index", event.get("summary_index", 0)))
                assert texts.get(key, "") == event.get("text", event.get("arguments"))
        return items

    def failed(self, body: Json) -> tuple[str, str]:
        return Chat().failed(body)

    def _facts(self, body: Json) -> Facts:
        facts = Facts(turn=body["output"], finish="stop")
        for item in body["output"]:
            match item["type"]:
                case "message":
                    assert item["role"] == "assistant"
                    facts.text += "".join(part["text"] for part in item["content"] if part["type"] == "output_text")
                case "function_call":
                    assert item["name"] == TOOL
                    facts.calls.append((item["call_id"], json.loads(item["arguments"])["city"]))
                    facts.finish = "calls"
                case "reasoning":
                    parts = [*item.get("summary", ()), *(item.get("content") or ())]
                    facts.thought += "".join(part["text"] for part in parts)
                case kind:
                    raise AssertionError(f"an item of type {kind}")
        usage = body["usage"]
        assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"]
        facts.usage = (usage["input_tokens"], usage["output_tokens"])
        return facts


def _without_status(item: Json) -> Json:
    return {name: value for name, value in item.items() if name != "status"}


# --- Anthropic -------------------------------------------------------------------------------------


class Messages:
    NAMES: Final = {
        "max_output_tokens": "max_tokens",
        "temperature": "temperature",
        "top_k": "top_k",
        "stop": "stop_sequences",
        "user": "metadata.user_id",
    }

    def sampling(self) -> Mapping[str, str]:
        return self.NAMES

    def ask(self, ask: Ask, model: str, stream: bool) -> Posted:
        content: list[Json] = [{"type": "text", "text": ask.question}]
        if ask.image:
            content.append(
                {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}},
            )
        body: Json = {"model": model, "max_tokens": 4096, "messages": [{"role": "user", "content": content}]}
        if ask.tools:
            body["tools"] = [{"name": TOOL, "description": "How warm it is.", "input_schema": TOOL_SCHEMA}]
        if ask.schema:
            body["output_config"] = {"format": {"type": "json_schema", "schema": ANSWER_SCHEMA}}
        if ask.think:
            body["thinking"] = {"type": "enabled", "budget_tokens": 1024}
        if ask.sampling:
            body |= {
                "max_tokens": SAMPLING["max_output_tokens"],
                "temperature": SAMPLING["temperature"],
                "top_k": SAMPLING["top_k"],
                "stop_sequences": [SAMPLING["stop"]],
                "metadata": {"user_id": SAMPLING["user"]},
            }
        if stream:
            body["stream"] = True
        return Posted("/v1/messages", body, {"anthropic-version": "2023-06-01"})

    def follow(self, posted: Posted, turn: list[Json], calls: list[tuple[str, str]]) -> Posted:
        results = [{"type": "tool_result", "tool_use_id": call, "content": RESULTS[city]} for call, city in calls]
        more = [{"role": "assistant", "content": turn}, {"role": "user", "content": results}]
        return Posted(posted.path, {**posted.body, "messages": [*posted.body["messages"], *more]}, posted.headers)

    def whole(self, body: Json) -> Facts:
        assert (body["type"], body["role"]) == ("message", "assistant")
        return self._facts(body["content"], body["stop_reason"], body["usage"])

    def streamed(self, frames: list[Frame]) -> Facts:
        assert (frames[-2].comment or "").startswith("modelport "), "the receipt stands before the last event"
        events = [frame.json for frame in frames if frame.data]
        assert [frame.event for frame in frames if frame.data] == [event["type"] for event in events]
        events = [event for event in events if event["type"] != "ping"]
        assert [events[0]["type"], events[-2]["type"], events[-1]["type"]] == [
            "message_start",
            "message_delta",
            "message_stop",
        ]
        start = events[0]["message"]
        assert (start["content"], start["stop_reason"]) == ([], None)
        assert start["usage"]["input_tokens"] > 0, "clients read the input's size from the first event"
        usage = {**start["usage"], **events[-2]["usage"]}
        return self._facts(self.blocks(events[1:-2]), events[-2]["delta"]["stop_reason"], usage)

    def blocks(self, events: list[Json]) -> list[Json]:
        """The blocks of a stream: one at a time, with indexes in order."""
        blocks: list[Json] = []
        open_at: int | None = None
        for event in events:
            match event["type"]:
                case "content_block_start":
                    assert (open_at, event["index"]) == (None, len(blocks)), event
                    open_at = event["index"]
                    blocks.append({**event["content_block"], "json": ""})
                case "content_block_delta":
                    assert event["index"] == open_at, event
                    delta = event["delta"]
                    match delta["type"]:
                        case "text_delta":
                            blocks[-1]["text"] += delta["text"]
                        case "thinking_delta":
                            blocks[-1]["thinking"] += delta["thinking"]
                        case "signature_delta":
                            blocks[-1]["signature"] = delta["signature"]
                        case "input_json_delta":
                            blocks[-1]["json"] += delta["partial_json"]
                        case kind:
                            raise AssertionError(f"a delta of type {kind}")
                case "content_block_stop":
                    assert event["index"] == open_at, event
                    open_at = None
                    if text := blocks[-1].pop("json"):
                        blocks[-1]["input"] = json.loads(text)
                case kind:
                    raise AssertionError(f"an event of type {kind} between blocks")
        assert open_at is None
        return blocks

    def failed(self, body: Json) -> tuple[str, str]:
        assert body["type"] == "error"
        return body["error"]["type"], body["error"]["message"]

    def _facts(self, blocks: list[Json], reason: str, usage: Json) -> Facts:
        known = {"text", "thinking", "tool_use"}
        assert {block["type"] for block in blocks} <= known, blocks
        called = [block for block in blocks if block["type"] == "tool_use"]
        assert all(block["name"] == TOOL for block in called)
        cached = (usage.get("cache_read_input_tokens") or 0) + (usage.get("cache_creation_input_tokens") or 0)
        return Facts(
            text="".join(block["text"] for block in blocks if block["type"] == "text"),
            thought="".join(block["thinking"] for block in blocks if block["type"] == "thinking"),
            calls=[(block["id"], block["input"]["city"]) for block in called],
            finish={"end_turn": "stop", "tool_use": "calls"}.get(reason, reason),
            usage=(usage["input_tokens"] + cached, usage["output_tokens"]),
            turn=blocks,
        )


# --- Gemini ----------------------------------------------------------------------------------------


class Gemini:
    NAMES: Final = {
        "max_output_tokens": "maxOutputTokens",
        "temperature": "temperature",
        "top_p": "topP",
        "top_k": "topK",
        "presence_penalty": "presencePenalty",
        "frequency_penalty": "frequencyPenalty",
        "seed": "seed",
        "stop": "stopSequences",
    }

    def sampling(self) -> Mapping[str, str]:
        return {name: f"generationConfig.{own}" for name, own in self.NAMES.items()} | {"service_tier": "serviceTier"}

    def ask(self, ask: Ask, model: str, stream: bool) -> Posted:
        parts: list[Json] = [{"text": ask.question}]
        if ask.image:
            parts.append({"inlineData": {"mimeType": "image/png", "data": PNG}})
        config: Json = {}
        body: Json = {"contents": [{"role": "user", "parts": parts}]}
        if ask.tools:
            function = {"name": TOOL, "description": "How warm it is.", "parametersJsonSchema": TOOL_SCHEMA}
            body["tools"] = [{"functionDeclarations": [function]}]
        if ask.schema:
            config |= {"responseMimeType": "application/json", "responseJsonSchema": ANSWER_SCHEMA}
        if ask.think:
            config["thinkingConfig"] = {"includeThoughts": True, "thinkingBudget": 1024}
        if ask.sampling:
            config |= {**chosen(self.NAMES), "stopSequences": [SAMPLING["stop"]]}
            body["serviceTier"] = SAMPLING["service_tier"]
        if config:
            body["generationConfig"] = config
        method = "streamGenerateContent?alt=sse" if stream else "generateContent"
        return Posted(f"/v1beta/models/{model}:{method}", body)

    def follow(self, posted: Posted, turn: list[Json], calls: list[tuple[str, str]]) -> Posted:
        results = [
            {
                "functionResponse": {
                    **({"id": call} if call else {}),
                    "name": TOOL,
                    "response": {"output": RESULTS[city]},
                }
            }
            for call, city in calls
        ]
        more = [{"role": "model", "parts": turn}, {"role": "user", "parts": results}]
        return Posted(posted.path, {**posted.body, "contents": [*posted.body["contents"], *more]})

    def whole(self, body: Json) -> Facts:
        return self._facts([body])

    def streamed(self, frames: list[Frame]) -> Facts:
        assert all(frame.event is None for frame in frames)
        chunks = [frame.json for frame in frames if frame.data]
        assert [bool(chunk["candidates"][0].get("finishReason")) for chunk in chunks] == [
            *([False] * (len(chunks) - 1)),
            True,
        ]
        return self._facts(chunks)

    def failed(self, body: Json) -> tuple[str, str]:
        error = body["error"]
        assert isinstance(error["code"], int)
        return error["status"], error["message"]

    def _facts(self, chunks: list[Json]) -> Facts:
        assert len({chunk["responseId"] for chunk in chunks}) == 1
        facts = Facts()
        for chunk in chunks:
            (candidate,) = chunk["candidates"]
            facts.finish = candidate.get("finishReason") or facts.finish
            for part in (candidate.get("content") or {}).get("parts") or ():
                facts.turn.append(part)
                if part.get("thought"):
                    facts.thought += part["text"]
                elif "text" in part:
                    facts.text += part["text"]
                elif call := part.get("functionCall"):
                    assert call["name"] == TOOL
                    facts.calls.append((call.get("id", ""), call["args"]["city"]))
                else:
                    assert set(part) == {"thoughtSignature"}, part
        assert facts.finish == "STOP", facts.finish
        facts.finish = "calls" if facts.calls else "stop"  # Gemini has one word for both
        usage = chunks[-1]["usageMetadata"]
        output = usage.get("candidatesTokenCount", 0) + usage.get("thoughtsTokenCount", 0)
        assert usage["totalTokenCount"] == usage["promptTokenCount"] + output
        facts.usage = (usage["promptTokenCount"], output)
        return facts


# --- OpenAI: legacy completions --------------------------------------------------------------------


class Completions:
    NAMES: Final = {
        "max_output_tokens": "max_tokens",
        "temperature": "temperature",
        "top_p": "top_p",
        "presence_penalty": "presence_penalty",
        "frequency_penalty": "frequency_penalty",
        "seed": "seed",
        "stop": "stop",
        "user": "user",
    }

    def sampling(self) -> Mapping[str, str]:
        return self.NAMES

    def ask(self, ask: Ask, model: str, stream: bool) -> Posted:
        body: Json = {"model": model, "prompt": ask.question, "max_tokens": 256}
        if ask.sampling:
            body |= chosen(self.NAMES)
        if stream:
            body |= {"stream": True, "stream_options": {"include_usage": True}}
        return Posted("/v1/completions", body)

    def follow(self, posted: Posted, turn: list[Json], calls: list[tuple[str, str]]) -> Posted:
        raise AssertionError("a legacy completion is one turn")

    def whole(self, body: Json) -> Facts:
        assert body["object"] == "text_completion"
        (choice,) = body["choices"]
        return self._facts(choice["text"], choice["finish_reason"], body["usage"])

    def streamed(self, frames: list[Frame]) -> Facts:
        assert frames[-1].data == "[DONE]"
        assert (frames[-2].comment or "").startswith("modelport "), "the receipt stands before the terminator"
        chunks = [frame.json for frame in frames if frame.data not in (None, "[DONE]")]
        assert {chunk["object"] for chunk in chunks} == {"text_completion"}
        assert len({(chunk["id"], chunk["model"]) for chunk in chunks}) == 1
        choices = [choice for chunk in chunks for choice in chunk["choices"]]
        text = "".join(choice["text"] for choice in choices)
        (reason,) = [choice["finish_reason"] for choice in choices if choice.get("finish_reason")]
        return self._facts(text, reason, chunks[-1]["usage"])

    def failed(self, body: Json) -> tuple[str, str]:
        return Chat().failed(body)

    def _facts(self, text: str, reason: str, usage: Json) -> Facts:
        return Facts(text=text, finish=reason, usage=(usage["prompt_tokens"], usage["completion_tokens"]))


CLIENTS: Final[Mapping[str, Client]] = {
    "chat": Chat(),
    "responses": Responses(),
    "messages": Messages(),
    "gemini": Gemini(),
    "completions": Completions(),
}
