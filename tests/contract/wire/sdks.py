"""The official SDKs of four dialects in front of one modelport, and what each was told.

    sdks.ask("anthropic", model, stream=True).text

An answer is read as a program would read it: by the SDK's own types, its streams joined by the SDK where it does that.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import anthropic
import openai
from google import genai
from google.genai import types as google_types

from tests.replay import Answer, Upstream
from tests.running import Modelport, Reply

Json = dict[str, Any]

TEXT: Final = "Paris is the capital of France."
QUESTION: Final = "What is the capital of France?"
CITIES: Final = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOL: Final = "get_weather"
RESULT: Final = "18 degrees"
AGAIN: Final = "And now?"
STEMS: Final = {
    "openai_chat": "gpt-4.1",
    "openai_responses": "gpt-5.5",
    "anthropic": "claude-sonnet-4-5",
    "gemini": "gemini-2.5-flash",
}
PATHS: Final = {"openai_chat": "/v1", "openai_responses": "/v1", "anthropic": "", "gemini": ""}
CLIENTS: Final = ("openai_chat", "openai_responses", "anthropic", "gemini")


# --- what an SDK was told --------------------------------------------------------------------------


@dataclass(slots=True)
class Told:
    """An answer in no dialect. *finish* is stop, length, calls, filtered, or the client's own word for anything else.

    A call is (name, arguments), its ids apart; *usage* is (input, cached, cache write, output, reasoning) tokens with
    the cached in the input and the reasoning in the output, None for what the dialect does not tell.
    """

    text: str = ""
    thought: str = ""
    refusal: str = ""
    calls: list[tuple[str, Any]] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    finish: str = ""
    usage: tuple[int | None, ...] = ()
    whole: Json = field(default_factory=dict)


def loaded(arguments: str) -> Any:
    """Arguments as JSON; text that is none stays."""
    try:
        return json.loads(arguments)
    except ValueError:
        return arguments


def told_by_chat(answer: Json) -> Told:
    (choice,) = answer["choices"]
    message, usage, reason = choice["message"], answer.get("usage") or {}, str(choice["finish_reason"])
    calls = message.get("tool_calls") or []
    prompt, completion = usage.get("prompt_tokens_details") or {}, usage.get("completion_tokens_details") or {}
    return Told(
        message.get("content") or "",
        message.get("reasoning_content") or "",
        message.get("refusal") or "",
        [(call["function"]["name"], loaded(call["function"]["arguments"])) for call in calls],
        [call["id"] for call in calls],
        {"tool_calls": "calls", "content_filter": "filtered"}.get(reason, reason),
        (
            usage.get("prompt_tokens"),
            prompt.get("cached_tokens") or 0,
            prompt.get("cache_write_tokens") or 0,
            usage.get("completion_tokens"),
            completion.get("reasoning_tokens") or 0,
        ),
        answer,
    )


def told_by_responses(answer: Json) -> Told:
    found = Told(finish="stop", whole=answer)
    for item in answer["output"]:
        match item["type"]:
            case "message":
                for part in item["content"]:
                    if part["type"] == "output_text":
                        found.text += part["text"]
                    else:
                        found.refusal += part["refusal"]
            case "reasoning":
                found.thought += "".join(each["text"] for each in (*item["summary"], *(item.get("content") or ())))
            case "function_call":
                found.calls.append((item["name"], loaded(item["arguments"])))
                found.ids.append(item["call_id"])
                found.finish = "calls"
    if answer["status"] != "completed":
        reason = str((answer.get("incomplete_details") or {}).get("reason"))
        found.finish = {"max_output_tokens": "length", "content_filter": "filtered"}.get(reason, reason)
    usage = answer.get("usage") or {}
    before, after = usage.get("input_tokens_details") or {}, usage.get("output_tokens_details") or {}
    found.usage = (
        usage.get("input_tokens"),
        before.get("cached_tokens"),
        before.get("cache_write_tokens") or 0,
        usage.get("output_tokens"),
        after.get("reasoning_tokens"),
    )
    return found


def told_by_anthropic(answer: Json) -> Told:
    found = Told(whole=answer)
    for block in answer["content"]:
        match block["type"]:
            case "text":
                found.text += block["text"]
            case "thinking":
                found.thought += block["thinking"]
            case "tool_use":
                found.calls.append((block["name"], block["input"]))
                found.ids.append(block["id"])
    words = {"end_turn": "stop", "max_tokens": "length", "tool_use": "calls", "refusal": "filtered"}
    reason = str(answer["stop_reason"])
    found.finish = words.get(reason, reason)
    found.refusal = (answer.get("stop_details") or {}).get("explanation") or ""
    usage = answer["usage"]
    read, written = usage.get("cache_read_input_tokens") or 0, usage.get("cache_creation_input_tokens") or 0
    reasoning = (usage.get("output_tokens_details") or {}).get("thinking_tokens") or 0
    found.usage = (usage["input_tokens"] + read + written, read, written, usage["output_tokens"], reasoning)
    return found


def told_by_gemini(chunks: Sequence[Json]) -> Told:
    found = Told(whole={"chunks": list(chunks)})
    reason = ""
    for chunk in chunks:
        for candidate in chunk.get("candidates") or ():
            reason = candidate.get("finishReason") or reason
            for part in (candidate.get("content") or {}).get("parts") or ():
                if part.get("thought"):
                    found.thought += part.get("text") or ""
                elif part.get("functionCall"):
                    found.calls.append((part["functionCall"]["name"], part["functionCall"].get("args")))
                    found.ids.append(part["functionCall"].get("id"))
                else:
                    found.text += part.get("text") or ""
        if blocked := chunk.get("promptFeedback"):
            reason, found.refusal = "SAFETY", blocked.get("blockReasonMessage") or blocked["blockReason"]
    words = {"STOP": "calls" if found.calls else "stop", "MAX_TOKENS": "length", "SAFETY": "filtered"}
    found.finish = words.get(reason, reason)
    usage: Json = next((each["usageMetadata"] for each in reversed(chunks) if each.get("usageMetadata")), {})
    thoughts = usage.get("thoughtsTokenCount") or 0
    found.usage = (
        (usage.get("promptTokenCount") or 0) + (usage.get("toolUsePromptTokenCount") or 0),
        usage.get("cachedContentTokenCount") or 0,
        None,
        (usage.get("candidatesTokenCount") or 0) + thoughts,
        thoughts,
    )
    return found


# --- the SDKs ----------------------------------------------------------------------------------------


@dataclass(slots=True)
class Sdks:
    """The official SDKs in front of one modelport, and the upstream behind it."""

    server: Modelport
    upstream: Upstream
    chat: openai.OpenAI
    messages: anthropic.Anthropic
    google: genai.Client
    _count: int = 0
    _rows: dict[str, int] = field(default_factory=dict)

    def model(self, vendor: str, answer: Answer | Callable[..., Answer], *more: Answer, stem: str | None = None) -> str:
        """A model that nobody else asks, at *vendor*, as `provider/model`."""
        self._count += 1
        name = f"{stem or STEMS[vendor]}--{self._count}"
        self.upstream.script(name, answer, *more)
        return f"{vendor}/{name}"

    def alone(self, vendor: str, answer: Answer, *more: Answer) -> str:
        """The same at a row that no other test uses."""
        self._rows[vendor] = self._rows.get(vendor, 0) + 1
        assert self._rows[vendor] <= OWN_ROWS
        name = self.model(vendor, answer, *more).split("/", 1)[1]
        return f"{vendor}{self._rows[vendor]}/{name}"

    def post(self, client: str, model: str, stream: bool, headers: Mapping[str, str] | None = None) -> Reply:
        """QUESTION, asked without an SDK."""
        turn: Json = {"role": "user", "content": QUESTION}
        body: Json = {"model": model, "stream": stream}
        path = {"openai_chat": "/v1/chat/completions", "openai_responses": "/v1/responses"}.get(client, "/v1/messages")
        match client:
            case "openai_chat":
                body["messages"] = [turn]
            case "openai_responses":
                body["input"] = [turn]
            case "anthropic":
                body |= {"messages": [turn], "max_tokens": 4096}
            case _:
                method = "streamGenerateContent?alt=sse" if stream else "generateContent"
                path = f"/v1beta/models/{model}:{method}"
                body = {"contents": [{"role": "user", "parts": [{"text": QUESTION}]}]}
        return self.server.post(path, body, headers)

    def asked(self, model: str) -> list[Json]:
        """The bodies that reached the vendor."""
        return [asked.json for asked in self.upstream.asked(model.split("/", 1)[1])]

    def ask(
        self, client: str, model: str, stream: bool, *, tool: str = "", after: Told | None = None, **more: Any
    ) -> Told:
        """QUESTION, asked by the SDK of *client*; or, *after* an answer, the results of its calls and another one.

        *more* are fields of the SDK's own method.
        """
        return ASK[client](self, model, stream, tool, after, more)


def ask_chat(sdks: Sdks, model: str, stream: bool, tool: str, after: Told | None, more: Json) -> Told:
    messages: list[Json] = [{"role": "user", "content": QUESTION}]
    if after:
        messages.append(after.whole["choices"][0]["message"])
        messages += [{"role": "tool", "tool_call_id": each, "content": RESULT} for each in after.ids]
        messages += [] if after.ids else [{"role": "user", "content": AGAIN}]
    asked: Any = {"model": model, "messages": messages, **more}
    if tool:
        asked["tools"] = [{"type": "function", "function": {"name": tool, "parameters": CITIES}}]
    if not stream:
        return told_by_chat(sdks.chat.chat.completions.create(**asked).model_dump(exclude_none=True))
    chunks = sdks.chat.chat.completions.create(**asked, stream=True, stream_options={"include_usage": True})
    return told_by_chat(joined([each.model_dump(exclude_none=True) for each in chunks]))


def joined(chunks: Sequence[Json]) -> Json:
    """A chat stream as one completion. The SDK's own helper raises where an answer was cut or filtered."""
    message: Json = {}
    reason = usage = None
    for chunk in chunks:
        usage = chunk.get("usage") or usage
        for choice in chunk["choices"]:
            reason = choice.get("finish_reason") or reason
            merge(message, choice["delta"])
    for call in message.get("tool_calls", ()):
        del call["index"]
    return {"choices": [{"index": 0, "message": message, "finish_reason": reason}], "usage": usage}


def merge(whole: Json, delta: Json) -> None:
    """More of a message: texts are joined, entries of lists by their index, all else is set."""
    for name, value in delta.items():
        known = whole.get(name)
        if isinstance(known, str) and name not in {"role", "type", "id", "name"}:
            whole[name] = known + value
        elif isinstance(known, dict):
            merge(known, value)
        elif isinstance(value, list):
            entries = whole.setdefault(name, [])
            for each in value:
                found = next((entry for entry in entries if entry["index"] == each["index"]), None)
                if found is None:
                    entries.append(dict(each))
                else:
                    merge(found, {part: said for part, said in each.items() if part != "index"})
        else:
            whole[name] = dict(value) if isinstance(value, dict) else value


def ask_responses(sdks: Sdks, model: str, stream: bool, tool: str, after: Told | None, more: Json) -> Told:
    items: list[Any] = [{"role": "user", "content": QUESTION}]
    if after:
        items += after.whole["output"]
        items += [{"type": "function_call_output", "call_id": each, "output": RESULT} for each in after.ids]
        items += [] if after.ids else [{"role": "user", "content": AGAIN}]
    asked: Any = {"model": model, "input": items, "store": False, **more}
    if tool:
        asked["tools"] = [{"type": "function", "name": tool, "parameters": CITIES, "strict": False}]
    if not stream:
        return told_by_responses(sdks.chat.responses.create(**asked).model_dump(exclude_none=True))
    last: Any = None
    for event in sdks.chat.responses.create(**asked, stream=True):
        if event.type in ("response.completed", "response.incomplete", "response.failed"):
            last = event.response
    return told_by_responses(last.model_dump(exclude_none=True))


def ask_messages(sdks: Sdks, model: str, stream: bool, tool: str, after: Told | None, more: Json) -> Told:
    messages: list[Json] = [{"role": "user", "content": QUESTION}]
    if after:
        messages.append({"role": "assistant", "content": after.whole["content"]})
        results = [{"type": "tool_result", "tool_use_id": each, "content": RESULT} for each in after.ids]
        messages.append({"role": "user", "content": results or AGAIN})
    asked: Any = {"model": model, "max_tokens": 4096, "messages": messages, **more}
    if tool:
        asked["tools"] = [{"name": tool, "input_schema": CITIES}]
    if not stream:
        return told_by_anthropic(sdks.messages.messages.create(**asked).model_dump(exclude_none=True))
    with sdks.messages.messages.stream(**asked) as events:
        return told_by_anthropic(events.get_final_message().model_dump(exclude_none=True))


def ask_google(sdks: Sdks, model: str, stream: bool, tool: str, after: Told | None, more: Json) -> Told:
    contents: list[Json] = [{"role": "user", "parts": [{"text": QUESTION}]}]
    if after:
        parts = [
            part
            for chunk in after.whole["chunks"]
            for candidate in chunk.get("candidates", ())
            for part in candidate.get("content", {}).get("parts", ())
        ]
        results = [
            {"functionResponse": {"id": each, "name": TOOL, "response": {"output": RESULT}}} for each in after.ids
        ]
        contents += [{"role": "model", "parts": parts}, {"role": "user", "parts": results or [{"text": AGAIN}]}]
    config: Any = {**more}
    if tool:
        config["tools"] = [{"function_declarations": [{"name": tool, "parameters_json_schema": CITIES}]}]
        config["automatic_function_calling"] = {"disable": True}
    asked: Any = {"model": model, "contents": contents, "config": google_types.GenerateContentConfig(**config)}
    ask = sdks.google.models
    answers = ask.generate_content_stream(**asked) if stream else [ask.generate_content(**asked)]
    return told_by_gemini([each.model_dump(mode="json", by_alias=True, exclude_none=True) for each in answers])


ASK: Final[Mapping[str, Callable[[Sdks, str, bool, str, Told | None, Json], Told]]] = {
    "openai_chat": ask_chat,
    "openai_responses": ask_responses,
    "anthropic": ask_messages,
    "gemini": ask_google,
}


OWN_ROWS: Final = 40
"""Provider rows of each dialect beside the shared one. A failure makes a key cool down: each has a row of its own."""
MOVES_ON: Final = (f"anthropic{OWN_ROWS}/busy", "openai_chat/free")
"""The targets of the route `moves-on`."""
PRICE: Final = 'price = { input = "1", output = "2", cached_input = "0.1", cache_write = "1.25" }'


def config(upstream: Upstream) -> str:
    rows = [
        f'[providers.{dialect}{number}]\ndialect = "{dialect}"\nbase_url = "{upstream.url}{path}"\n'
        f'keys = ["env:UPSTREAM_KEY"]\n{PRICE}\n'
        "quirks = { image_urls = true }\n"  # it stands for the vendor, wherever it listens
        for dialect, path in PATHS.items()
        for number in ("", *range(1, OWN_ROWS + 1))
    ]
    rows.append(
        f'[providers.tags]\ndialect = "openai_chat"\nbase_url = "{upstream.url}/v1"\nkeys = ["env:UPSTREAM_KEY"]\n'
        "quirks = { think_tags = true }\n"
    )
    rows.append(f'[providers.openai]\nbase_url = "{upstream.url}/v1"\nkeys = ["env:UPSTREAM_KEY"]\n')
    rows.append(
        f'[providers.stalls]\ndialect = "openai_chat"\nbase_url = "{upstream.url}/v1"\nkeys = ["env:UPSTREAM_KEY"]\n'
        "timeouts = { idle_s = 0.3 }\n"
    )
    rows.append(f"[routes.moves-on]\ntargets = {json.dumps(MOVES_ON)}\n")
    return "\n".join(['[retry]\nattempts = 1\n[cache]\nmode = "off"\n', *rows])
