"""Replays recorded provider traffic through a running modelport and compares what its client gets.

    python tests/replay_recordings.py FOLDER [--provider P] [--only ID] [--split 1|7|whole|all] [--json]

For every recording of a chat-like API a loopback upstream answers what the provider answered, cut at the split;
modelport stands between, and an OpenAI chat client asks. The client must get a valid OpenAI answer with the same
text, reasoning, tool calls, finish reason and usage, or the fitting error.

What is expected is read from the raw recording by the plain extractors in this file, which share no code with the
project. The recordings' form is described in the folder's README.md.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

if not __package__:
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import aiohttp
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from pydantic import ValidationError

from tests.replay import Answer, Asked, Split, Upstream, recorded_answer
from tests.running import Modelport

DIALECTS: Final = {
    "chat_completions": "openai_chat",
    "messages": "anthropic",
    "generate_content": "gemini",
    "stream_generate_content": "gemini",
}
PATHS: Final = {"openai_chat": "/v1", "anthropic": "", "gemini": ""}
CONFORMANT: Final = frozenset({"openai", "azure"})
"""They define the dialect: a forced tool call that ends in `stop` is theirs to say."""

SKIPPED: Final = {
    "chat": "Cohere's and Writer's own chat API",
    "complete": "Anthropic's former API",
    "responses": "OpenAI Responses",
    "responses_get": "OpenAI Responses",
    "completions": "legacy completions",
    "fim_completions": "legacy completions",
    "ollama_chat": "Ollama's own API",
    "ollama_generate": "Ollama's own API",
    "ollama_info": "not a model call",
    "converse": "Bedrock",
    "converse_stream": "Bedrock",
    "invoke": "Bedrock",
    "invoke_stream": "Bedrock",
    "interactions": "Gemini Interactions",
    "embeddings": "embeddings",
    "embed": "embeddings",
    "batch_embed_contents": "embeddings",
    "rerank": "reranking",
    "models": "not a model call",
    "props": "not a model call",
    "cached_contents": "not a model call",
    "moderations": "moderation",
    "images": "pictures",
}

EXCEPTIONS: Final[dict[str, str]] = {}
"""Recording id -> why it cannot come out as the rule says."""

CONCURRENT: Final = 12
FINE_BYTES: Final = 8192
"""Of larger bodies only the first and last so many bytes are cut finely; the middle goes in pieces of 1 kB."""


# --- what a recording says ---------------------------------------------------------------------------


@dataclass(slots=True)
class Said:
    """One choice of an answer, in OpenAI's words. *finish* holds every acceptable reason."""

    text: str = ""
    reasoning: str = ""
    refusal: str = ""
    calls: list[tuple[str, str]] = field(default_factory=list)
    function_call: tuple[str, str] | None = None
    finish: set[str] = field(default_factory=set)


@dataclass(slots=True)
class Expected:
    """What must come out. *statuses* is set for errors, and then nothing else counts."""

    choices: dict[int, Said] = field(default_factory=dict)
    usage: dict[str, int] = field(default_factory=dict)
    booked: dict[str, int] = field(default_factory=dict)
    """What the ledger must say where it differs from what the client sees."""
    statuses: set[int] = field(default_factory=set)
    message: str = ""
    retry_after: str | None = None


def events_of(text: str) -> Iterator[dict[str, Any]]:
    """The JSON objects of an event stream."""
    for line in text.splitlines():
        if line.startswith("data:"):
            payload = line[5:].strip()
            if payload and payload != "[DONE]":
                yield json.loads(payload)


def expected_of(recording: Mapping[str, Any]) -> Expected:
    """What a client of the chat API must get for *recording*."""
    response = recording["response"]
    if response["status"] >= 400:
        return _expected_error(response["status"], response)
    if "sse" in response:
        values = list(events_of(response["sse"]))
    else:
        values = response["body"] if isinstance(response["body"], list) else [response["body"]]
    if "body" in response and isinstance(response["body"], dict) and response["body"].get("error"):
        inner = response["body"]["error"]
        return _expected_error(int(inner.get("status") or inner.get("code") or 502), response)
    if not values:
        return Expected(statuses={502, 503})
    match DIALECTS[recording["api"]]:
        case "anthropic":
            return _expected_anthropic(values)
        case "gemini":
            return _expected_gemini(values)
        case _:
            return _expected_openai(values, recording["provider"], "sse" in response)


def _expected_error(status: int, response: Mapping[str, Any]) -> Expected:
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


def _expected_openai(values: Sequence[dict[str, Any]], provider: str, streamed: bool) -> Expected:
    found = Expected()
    calls: dict[int, dict[Any, list[str]]] = defaultdict(dict)
    reasons: dict[int, set[str]] = defaultdict(set)
    for value in values:
        if usage := value.get("usage") or (value.get("x_groq") or {}).get("usage"):
            found.usage, found.booked = _openai_usage(usage), _mistral_booked(usage)
        for choice in value.get("choices") or []:
            index = choice.get("index") or 0
            said = found.choices.setdefault(index, Said())
            # Perplexity puts an empty delta beside the message of whole answers, and the message beside each delta.
            delta = choice.get("delta") if streamed else choice.get("message")
            _add_openai(said, calls[index], delta or {})
            if choice.get("finish_reason"):
                reasons[index].add(choice["finish_reason"])
    for index, said in found.choices.items():
        said.calls = [(name, arguments) for name, arguments in calls[index].values()]
        said.finish = {_OPENAI_FINISH.get(reason, reason) for reason in reasons[index]} or {"stop"}
        if said.calls and said.finish == {"stop"}:
            said.finish = {"stop", "tool_calls"} if provider in CONFORMANT else {"tool_calls"}
        if said.function_call and said.finish == {"stop"}:
            said.finish = {"stop", "function_call"}
    return found


_OPENAI_FINISH: Final = {"eos": "stop", "model_length": "length", "end_turn": "stop"}


def _add_openai(said: Said, calls: dict[Any, list[str]], delta: Mapping[str, Any]) -> None:
    content = delta.get("content")
    if isinstance(content, str):
        said.text += content
    for part in content if isinstance(content, list) else []:
        if part.get("type") == "text":
            said.text += part["text"]
        elif part.get("type") == "thinking":
            said.reasoning += "".join(inner.get("text", "") for inner in part["thinking"])
    details = "".join(part.get("text") or part.get("summary") or "" for part in delta.get("reasoning_details") or [])
    said.reasoning += delta.get("reasoning_content") or delta.get("reasoning") or details
    said.refusal += delta.get("refusal") or ""
    if old := delta.get("function_call"):
        name, arguments = said.function_call or ("", "")
        said.function_call = (name + (old.get("name") or ""), arguments + (old.get("arguments") or ""))
    for fragment in delta.get("tool_calls") or []:
        place = _call_place(calls, fragment)
        name, arguments = _called(fragment)
        calls[place][0] = calls[place][0] or name
        calls[place][1] += arguments


def _call_place(calls: dict[Any, list[str]], fragment: Mapping[str, Any]) -> Any:
    """The call that *fragment* belongs to: by index, unless the index is reused with another id."""
    index, found_id = fragment.get("index"), fragment.get("id")
    if index is None:
        index = len(calls) if found_id or not calls else len(calls) - 1
    latest = max((place for place in calls if place[0] == index), default=None)
    if latest is None or (found_id and found_id != "null" and latest[2] and latest[2] != found_id):
        latest = (index, len(calls), found_id or "")
        calls[latest] = ["", ""]
    return latest


def _called(call: Mapping[str, Any]) -> tuple[str, str]:
    """Name and arguments of a call or of a piece of one; a custom tool has `input` instead of arguments."""
    inner = call.get("function") or call.get("custom") or {}
    arguments = inner.get("arguments", inner.get("input"))
    if not isinstance(arguments, str):
        arguments = "" if arguments is None else json.dumps(arguments)
    return inner.get("name") or "", arguments


def _openai_usage(usage: Mapping[str, Any]) -> dict[str, int]:
    found = {key: usage[key] for key in ("prompt_tokens", "completion_tokens") if isinstance(usage.get(key), int)}
    cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens")
    reasoning = (usage.get("completion_tokens_details") or {}).get("reasoning_tokens")
    return {**found, **{key: n for key, n in (("cached", cached), ("reasoning", reasoning)) if n}}


def _mistral_booked(usage: Mapping[str, Any]) -> dict[str, int]:
    """Mistral counts a sound beside the prompt, in the total alone, and may report more cached than was sent."""
    booked = {}
    if usage.get("prompt_audio_seconds"):
        booked["prompt_tokens"] = usage["total_tokens"] - usage["completion_tokens"]
    if cached := usage.get("num_cached_tokens"):
        booked["cached"] = min(cached, usage["prompt_tokens"])
    return booked


_ANTHROPIC_FINISH: Final = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
    "pause_turn": "stop",
}


def _expected_anthropic(values: Sequence[dict[str, Any]]) -> Expected:
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
                said.calls.append((block["name"], block.get("json") or json.dumps(block["input"])))
    said.finish = {_ANTHROPIC_FINISH[reason]} if reason else set()
    return Expected({0: said}, _anthropic_usage(usage))


def _add_anthropic(block: dict[str, Any], delta: Mapping[str, Any]) -> None:
    match delta["type"]:
        case "text_delta":
            block["text"] += delta["text"]
        case "thinking_delta":
            block["thinking"] += delta["thinking"]
        case "input_json_delta":
            block["json"] += delta["partial_json"]


def _anthropic_usage(usage: Mapping[str, Any]) -> dict[str, int]:
    read, written = usage.get("cache_read_input_tokens") or 0, usage.get("cache_creation_input_tokens") or 0
    found = {
        "prompt_tokens": usage["input_tokens"] + read + written,
        "completion_tokens": usage["output_tokens"],
        "cached": read,
        "written": written,
        "reasoning": (usage.get("output_tokens_details") or {}).get("thinking_tokens") or 0,
    }
    return {key: n for key, n in found.items() if n or key.endswith("_tokens")}


_GEMINI_FINISH: Final = {None: "stop", "STOP": "stop", 1: "stop", "MAX_TOKENS": "length", 2: "length"}
_GEMINI_FAILED: Final = frozenset(
    {"MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL", "MALFORMED_RESPONSE", "TOO_MANY_TOOL_CALLS"}
)


def _expected_gemini(values: Sequence[dict[str, Any]]) -> Expected:
    found = Expected()
    reasons: dict[int, Any] = {}
    for value in values:
        if usage := value.get("usageMetadata"):
            found.usage = _gemini_usage(usage)
        for candidate in value.get("candidates") or []:
            said = found.choices.setdefault(candidate.get("index") or 0, Said())
            reasons[candidate.get("index") or 0] = candidate.get("finishReason") or reasons.get(
                candidate.get("index") or 0
            )
            for part in (candidate.get("content") or {}).get("parts") or []:
                if "text" in part and part.get("thought"):
                    said.reasoning += part["text"]
                elif "text" in part:
                    said.text += part["text"]
                elif call := part.get("functionCall"):
                    said.calls.append((call["name"], json.dumps(call.get("args") or {})))
    for index, said in found.choices.items():
        if reasons[index] in _GEMINI_FAILED and not (said.text or said.calls):
            return Expected(statuses={502, 503})
        finish = _GEMINI_FINISH.get(reasons[index], "content_filter")
        said.finish = {"tool_calls"} if said.calls and finish == "stop" else {finish}
    if not found.choices and not any("promptFeedback" in value for value in values):
        return Expected(statuses={502, 503})
    if not found.choices:
        found.choices[0] = Said(finish={"content_filter"})
    return found


def _gemini_usage(usage: Mapping[str, Any]) -> dict[str, int]:
    prompt = (usage.get("promptTokenCount") or 0) + (usage.get("toolUsePromptTokenCount") or 0)
    thoughts = usage.get("thoughtsTokenCount") or 0
    found = {
        "prompt_tokens": prompt,
        "completion_tokens": (usage.get("candidatesTokenCount") or 0) + thoughts,
        "cached": usage.get("cachedContentTokenCount") or 0,
        "reasoning": thoughts,
    }
    return {key: n for key, n in found.items() if n or key.endswith("_tokens")}


# --- what the client asks ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Case:
    """One recording at one split. *model* is unique, so that the upstream knows what to answer."""

    recording: Mapping[str, Any]
    split: Split
    provider: str
    model: str

    @property
    def stream(self) -> bool:
        """Whether the client asks for a stream."""
        return bool(self.recording["stream"])

    @property
    def wants_usage(self) -> bool:
        """Whether the client asks for the usage chunk: in the finely cut runs, so that both ways are seen."""
        asked = (self.recording["request"].get("body") or {}).get("stream_options") or {}
        return self.stream and (self.split != "whole" or bool(asked.get("include_usage")))

    def request(self) -> dict[str, Any]:
        """The client's body."""
        recorded = self.recording["request"].get("body")
        if self.recording["api"] == "chat_completions" and recorded:
            body = dict(recorded)
        else:
            body = _plain_request(self.recording)
        body["model"] = f"{self.provider}/{self.model}"
        if self.stream:
            body["stream"] = True
        if self.wants_usage:
            body["stream_options"] = {**(body.get("stream_options") or {}), "include_usage": True}
        return body


def _plain_request(recording: Mapping[str, Any]) -> dict[str, Any]:
    body: dict[str, Any] = {"messages": [{"role": "user", "content": "Please answer."}], "max_tokens": 1024}
    said = expected_of(recording).choices
    if names := list(dict.fromkeys(name for choice in said.values() for name, _ in choice.calls)):
        schema = {"type": "object", "properties": {}}
        body["tools"] = [{"type": "function", "function": {"name": name, "parameters": schema}} for name in names]
    if len(said) > 1:
        body["n"] = len(said)
    return body


def load(folder: Path, provider: str | None = None, only: str | None = None) -> tuple[list[Any], Counter[str]]:
    """The chat-like recordings, and how many others there are for which reason."""
    chosen, skipped = [], Counter[str]()
    for line in (folder / "index.jsonl").read_text("utf-8").splitlines():
        row = json.loads(line)
        if (provider and row["provider"] != provider) or (only and only not in row["id"]):
            continue
        if row["api"] in DIALECTS:
            chosen.append(json.loads((folder / row["provider"] / f"{row['id']}.json").read_text("utf-8")))
        else:
            skipped[SKIPPED.get(row["api"], f"unknown API {row['api']}")] += 1
    return chosen, skipped


def cases_of(recordings: Sequence[Mapping[str, Any]], splits: Sequence[Split]) -> list[Case]:
    """Every recording at every split that makes a difference; errors get a provider row of their own.

    A refused key cools down and would take the provider's other recordings with it.
    """
    cases = []
    for number, recording in enumerate(recordings):
        for split in splits if "sse" in recording["response"] else ["whole" if "whole" in splits else splits[0]]:
            dialect = DIALECTS[recording["api"]]
            own = expected_of(recording).statuses
            suffix = f"_{number}" if own else f"_{dialect}" if recording["provider"] == "vertex" else ""
            stem = str(recording.get("model") or "model").split("/")[-1]
            cases.append(Case(recording, split, recording["provider"] + suffix, f"{stem}--{number}-{split}"))
    return cases


def config_of(cases: Sequence[Case], upstream: Upstream) -> str:
    """A configuration with every provider of *cases* at the upstream."""
    dialects = {case.provider: DIALECTS[case.recording["api"]] for case in cases}
    rows = ["[cache]", 'mode = "off"', "[structured]", "validate_answers = false", ""]
    for name, dialect in sorted(dialects.items()):
        rows += [
            f"[providers.{name}]",
            f'dialect = "{dialect}"',
            f'base_url = "{upstream.url}{PATHS[dialect]}"',
            'keys = ["env:UPSTREAM_KEY"]',
            "",
        ]
    return "\n".join(rows)


# --- what the client gets ----------------------------------------------------------------------------


@dataclass(slots=True)
class Got:
    """The client's view, accumulated as the official SDK does."""

    status: int
    headers: Mapping[str, str]
    choices: dict[int, Said] = field(default_factory=dict)
    usage: dict[str, int] = field(default_factory=dict)
    total_tokens: int | None = None
    wrong: list[str] = field(default_factory=list)
    error: Any = None


async def ask(session: aiohttp.ClientSession, url: str, case: Case) -> Got:
    """Send the request of *case* and read the whole answer."""
    async with session.post(f"{url}/v1/chat/completions", json=case.request()) as answer:
        body = await answer.read()
        got = Got(answer.status, {name.lower(): value for name, value in answer.headers.items()})
    try:
        if got.status != 200:
            got.error = json.loads(body)
        elif case.stream:
            _read_stream(got, body, case.wants_usage)
        else:
            _read_whole(got, json.loads(body))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        got.wrong.append(f"unreadable answer: {error!r}: {body[:200]!r}")
    return got


def _check_type(got: Got, kind: type[ChatCompletion | ChatCompletionChunk], value: Any) -> None:
    try:
        kind.model_validate(value)
    except ValidationError as error:
        first = error.errors()[0]
        got.wrong.append(f"not a {kind.__name__}: {'.'.join(map(str, first['loc']))}: {first['msg']}")


def _read_whole(got: Got, value: Any) -> None:
    _check_type(got, ChatCompletion, value)
    if value.get("object") != "chat.completion":
        got.wrong.append(f"object is {value.get('object')!r}")
    for choice in value["choices"]:
        message = choice["message"]
        if "content" not in message:
            got.wrong.append("message has no content key")
        calls: dict[Any, list[str]] = {}
        said = got.choices.setdefault(choice["index"], Said())
        _add_openai(said, calls, {**message, "tool_calls": None, "reasoning": None, "reasoning_details": None})
        ids = [call["id"] for call in message.get("tool_calls") or []]
        if not all(ids) or len(set(ids)) != len(ids):
            got.wrong.append(f"tool call ids {ids}")
        said.calls = [_called(call) for call in message.get("tool_calls") or []]
        said.finish = {choice["finish_reason"]}
    _read_usage(got, value.get("usage"))


def _read_usage(got: Got, usage: Any) -> None:
    if not usage:
        return
    got.usage = _openai_usage(usage)
    got.total_tokens = usage.get("total_tokens")
    if written := (usage.get("prompt_tokens_details") or {}).get("cache_write_tokens"):
        got.usage["written"] = written


def _read_stream(got: Got, body: bytes, wants_usage: bool) -> None:
    frames = [frame for frame in body.decode().replace("\r\n", "\n").split("\n\n") if frame.strip()]
    _check_frames(got, frames, body)
    chunks = list(events_of(body.decode()))
    calls: dict[int, dict[int, dict[str, str]]] = defaultdict(dict)
    finishes: Counter[int] = Counter()
    for chunk in chunks:
        if "error" in chunk:
            got.error = chunk
            return
        _check_type(got, ChatCompletionChunk, chunk)
        if chunk.get("usage"):
            _read_usage(got, chunk["usage"])
            if not wants_usage and not chunk["choices"]:
                got.wrong.append("a usage chunk that nobody asked for")
        for choice in chunk["choices"]:
            _read_chunk_choice(got, choice, calls[choice["index"]], finishes)
    for index, by_index in calls.items():
        got.choices[index].calls = [(call["name"], call["arguments"]) for _, call in sorted(by_index.items())]
        ids = [call["id"] for call in by_index.values()]
        if sorted(by_index) != list(range(len(by_index))):
            got.wrong.append(f"tool call indexes {sorted(by_index)}")
        if not all(ids) or len(set(ids)) != len(ids):
            got.wrong.append(f"tool call ids {ids}")
    for name in ("id", "created", "model", "object"):
        values = {json.dumps(chunk.get(name)) for chunk in chunks}
        if len(values) != 1 or values & {'""', "null"}:
            got.wrong.append(f"{name} of the chunks: {sorted(values)[:3]}")
    if bad := {index: finishes[index] for index in got.choices if finishes[index] != 1}:
        got.wrong.append(f"finish reasons by choice: {bad}")


def _check_frames(got: Got, frames: Sequence[str], body: bytes) -> None:
    """The last frame is [DONE], the receipt stands before it, and the body ends with a blank line."""
    if frames[-1:] != ["data: [DONE]"]:
        got.wrong.append(f"the last frame is {frames[-1][:80]!r}" if frames else "no frame at all")
    if not body.endswith(b"\n\n"):
        got.wrong.append("the last frame has no end")
    receipt = next((frame for frame in reversed(frames[:-1]) if frame.startswith(":")), "")
    if not receipt.startswith(": modelport {") or frames[-2:-1] != [receipt]:
        got.wrong.append(
            f"no receipt before the terminator but {frames[-2][:80]!r}" if len(frames) > 1 else "no receipt"
        )
        return
    facts = json.loads(receipt.removeprefix(": modelport "))
    if facts.get("attempts") != 1 or not isinstance(facts.get("losses", []), list) or "cost_usd" not in facts:
        got.wrong.append(f"receipt {facts}")


def _read_chunk_choice(
    got: Got, choice: Mapping[str, Any], calls: dict[int, dict[str, str]], finishes: Counter[int]
) -> None:
    index, delta = choice["index"], choice["delta"]
    if index not in got.choices and delta.get("role") != "assistant":
        got.wrong.append(f"choice {index} begins without its role")
    said = got.choices.setdefault(index, Said())
    _add_openai(said, {}, {**delta, "tool_calls": None, "reasoning": None, "reasoning_details": None})
    for fragment in delta.get("tool_calls") or []:
        name, arguments = _called(fragment)
        if fragment["index"] not in calls:
            calls[fragment["index"]] = {"id": "", "name": "", "arguments": ""}
            if fragment.get("type") not in {"function", "custom"}:
                got.wrong.append(f"a call begins with type {fragment.get('type')!r}")
        call = calls[fragment["index"]]
        call["id"] += fragment.get("id") or ""
        call["name"] += name
        call["arguments"] += arguments
    if choice.get("finish_reason"):
        finishes[index] += 1
        said.finish.add(choice["finish_reason"])


# --- comparing ---------------------------------------------------------------------------------------


def compare(case: Case, expected: Expected, got: Got) -> list[str]:
    """What differs, one line each; empty when all is right."""
    if expected.statuses:
        return _compare_error(expected, got)
    if got.status != 200 or got.error is not None:
        return [f"status {got.status}: {json.dumps(got.error)[:300]}", *got.wrong]
    wrong = list(dict.fromkeys(got.wrong))
    if set(expected.choices) != set(got.choices):
        return [*wrong, f"choices {sorted(got.choices)}, not {sorted(expected.choices)}"]
    for index, said in expected.choices.items():
        wrong += [f"choice {index}: {line}" for line in _compare_choice(said, got.choices[index])]
    if expected.usage and (got.usage or not case.stream or case.wants_usage):
        for key in {**expected.usage, **got.usage}:
            if key == "written" and case.recording["api"] == "chat_completions":
                continue
            if expected.usage.get(key, 0) != got.usage.get(key, 0):
                wrong.append(f"usage {key} {got.usage.get(key)}, not {expected.usage.get(key)}")
    if got.usage and not got.total_tokens and sum(got.usage.values()):
        wrong.append("usage without total_tokens")
    for name in ("x-request-id", "x-modelport-target", "x-modelport-attempts", "x-modelport-cache"):
        if name not in got.headers:
            wrong.append(f"no header {name}")
    return wrong


def _compare_error(expected: Expected, got: Got) -> list[str]:
    if got.status not in expected.statuses:
        return [f"status {got.status}, not {sorted(expected.statuses)}: {json.dumps(got.error)[:300]}"]
    error = (got.error or {}).get("error")
    if not isinstance(error, dict) or set(error) < {"message", "type", "param", "code"}:
        return [f"not the error envelope: {got.error}"]
    wrong = []
    if not error["message"] or not isinstance(error["message"], str) or not isinstance(error["type"], str):
        wrong.append(f"error without message or type: {error}")
    sent = "x-modelport-attempts" in got.headers
    if sent and got.headers.get("x-should-retry") != "false":
        wrong.append(f"x-should-retry is {got.headers.get('x-should-retry')}")
    if sent and expected.message[:24] not in error["message"]:
        wrong.append(f"the vendor's {expected.message[:60]!r} is not in {error['message'][:200]!r}")
    if expected.retry_after and got.headers.get("retry-after") is None and got.status == 429:
        wrong.append("retry-after is lost")
    return wrong


def _compare_choice(said: Said, got: Said) -> list[str]:
    wrong = []
    if said.text != got.text:
        wrong.append(f"text {_apart(said.text, got.text)}")
    if "".join(said.reasoning.split()) != "".join(got.reasoning.split()):
        wrong.append(f"reasoning {_apart(said.reasoning, got.reasoning)}")
    if said.refusal != got.refusal:
        wrong.append(f"refusal {got.refusal[:60]!r}, not {said.refusal[:60]!r}")
    if [name for name, _ in said.calls] != [name for name, _ in got.calls]:
        wrong.append(f"calls {got.calls}, not {said.calls}")
    else:
        for (name, asked), (_, came) in zip(said.calls, got.calls, strict=True):
            if not _same_arguments(asked, came):
                wrong.append(f"arguments of {name}: {came[:120]!r}, not {asked[:120]!r}")
    if said.function_call != got.function_call:
        wrong.append(f"function_call {got.function_call}, not {said.function_call}")
    if not got.finish or not got.finish <= said.finish:
        wrong.append(f"finish {sorted(map(str, got.finish))}, not {sorted(said.finish)}")
    return wrong


def _same_arguments(asked: str, came: str) -> bool:
    """Equal as JSON, or as the cut text; nothing may become an empty object."""
    if asked == came or (not asked and came == "{}"):
        return True
    try:
        return bool(json.loads(asked) == json.loads(came))
    except ValueError:
        return False


def _apart(asked: str, came: str) -> str:
    at = next((i for i, (a, b) in enumerate(zip(asked, came, strict=False)) if a != b), min(len(asked), len(came)))
    return f"differs at {at} of {len(asked)}/{len(came)}: {came[at : at + 40]!r}, not {asked[at : at + 40]!r}"


# --- the run -----------------------------------------------------------------------------------------


@dataclass(slots=True)
class Result:
    """How one recording came out at one split."""

    id: str
    provider: str
    split: str
    wrong: list[str]
    excepted: str | None = None


def _finely(answer: Answer) -> Answer:
    """*answer* with the fine cuts only at both ends when it is large."""
    size, length = answer.split, len(answer.body)
    if not isinstance(size, int) or length <= 2 * FINE_BYTES:
        return answer
    places = [*range(size, FINE_BYTES, size), *range(FINE_BYTES, length - FINE_BYTES, 1024)]
    cuts = (*places, *range(length - FINE_BYTES, length, size))
    return Answer(answer.status, answer.headers, answer.body, cuts)


async def replay_all(cases: Sequence[Case], url: str) -> list[Result]:
    """Every case, a dozen at a time; then the ledger's rows of all of them."""
    gate = asyncio.Semaphore(CONCURRENT)
    timeout = aiohttp.ClientTimeout(total=60)
    connector = aiohttp.TCPConnector(limit=CONCURRENT)

    async def one(case: Case, session: aiohttp.ClientSession) -> tuple[str, Result]:
        recording = case.recording
        request_id = ""
        async with gate:
            try:
                got = await ask(session, url, case)
                request_id = got.headers.get("x-request-id", "")
                wrong = compare(case, expected_of(recording), got)
            except (aiohttp.ClientError, TimeoutError) as error:
                wrong = [f"no answer: {error!r}"]
        excepted = EXCEPTIONS.get(recording["id"])
        return request_id, Result(recording["id"], recording["provider"], str(case.split), wrong, excepted)

    async with aiohttp.ClientSession(timeout=timeout, connector=connector, read_bufsize=1 << 20) as session:
        asked = await asyncio.gather(*(one(case, session) for case in cases))
        rows = await _ledger(session, url)
    for case, (request_id, result) in zip(cases, asked, strict=True):
        result.wrong += _compare_row(expected_of(case.recording), rows.get(request_id))
    return [result for _, result in asked]


async def _ledger(session: aiohttp.ClientSession, url: str) -> dict[str, Any]:
    """All rows by their id."""
    rows: dict[str, Any] = {}
    cursor = ""
    while True:
        async with session.get(f"{url}/api/v1/exchanges?limit=1000{cursor}") as answer:
            page = await answer.json()
        rows |= {row["id"]: row for row in page["data"]}
        if not page["next"]:
            return rows
        cursor = f"&cursor={quote(str(page['next']))}"


def _compare_row(expected: Expected, row: Mapping[str, Any] | None) -> list[str]:
    """The ledger has what the vendor reported, whether or not the client asked to see it."""
    if expected.statuses:
        return [f"the ledger's row is {row['status']}"] if row and row["status"] != "failed" else []
    if row is None or row["status"] != "ok":
        return [f"the ledger's row is {row and row['status']}"]
    booked = {**expected.usage, **expected.booked}
    wrong = [
        f"the ledger's {name} {row[name]}, not {booked.get(key, 0)}"
        for name, key in _COLUMNS.items()
        if booked and row[name] != booked.get(key, 0)
    ]
    if row["estimated"] is bool(expected.usage):
        wrong.append(f"the ledger's row has estimated = {row['estimated']}")
    return wrong


_COLUMNS: Final = {
    "input_tokens": "prompt_tokens",
    "output_tokens": "completion_tokens",
    "cached_input_tokens": "cached",
    "reasoning_tokens": "reasoning",
}


def run(folder: Path, splits: Sequence[Split], provider: str | None = None, only: str | None = None) -> list[Result]:
    """Start an upstream and one modelport, and replay."""
    recordings, _ = load(folder, provider, only)
    cases = cases_of(recordings, splits)
    answers = {case.model: _finely(recorded_answer(case.recording["response"], case.split)) for case in cases}

    def script(asked: Asked) -> Answer:
        return answers.get(asked.model or "") or Answer.json({"error": {"message": f"unknown {asked.model}"}}, 418)

    with tempfile.TemporaryDirectory() as home, Upstream(script) as upstream:
        config = config_of(cases, upstream)
        with Modelport(Path(home), config, {"UPSTREAM_KEY": "sk-loopback-000000000000"}) as modelport:
            results = asyncio.run(replay_all(cases, modelport.url))
            if any(result.wrong for result in results):
                Path(tempfile.gettempdir(), "modelport-replay.log").write_text(modelport.log, "utf-8")
            return results


def table(results: Sequence[Result]) -> str:
    """The share that passes, by provider."""
    by_provider: dict[str, list[Result]] = defaultdict(list)
    for result in results:
        by_provider[result.provider].append(result)
        by_provider["total"].append(result)
    rows = [f"{'provider':<26}{'runs':>6}{'right':>7}{'excepted':>10}{'share':>9}"]
    for name, own in sorted(by_provider.items(), key=lambda item: (item[0] == "total", item[0])):
        right = sum(not result.wrong for result in own)
        excepted = sum(bool(result.wrong and result.excepted) for result in own)
        rows.append(f"{name:<26}{len(own):>6}{right:>7}{excepted:>10}{right / len(own):>9.1%}")
    return "\n".join(rows)


SPLITS: Final[dict[str, list[Split]]] = {"1": [1], "7": [7], "whole": ["whole"], "all": ["whole", 1, 7]}


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; 1 when something failed that is not a named exception."""
    parser = argparse.ArgumentParser(description="Replay recorded provider traffic through modelport.")
    parser.add_argument("folder", type=Path, help="the recordings, with their index.jsonl")
    parser.add_argument("--provider", help="only this provider's")
    parser.add_argument("--only", help="only ids that contain this")
    parser.add_argument("--split", choices=SPLITS, default="all", help="where streams are cut (default: all)")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of the table")
    chosen = parser.parse_args(arguments)
    results = run(chosen.folder, SPLITS[chosen.split], chosen.provider, chosen.only)
    _, skipped = load(chosen.folder, chosen.provider, chosen.only)
    failed = [result for result in results if result.wrong and not result.excepted]
    if chosen.json:
        print(json.dumps({"skipped": skipped, "results": [asdict(result) for result in results]}, indent=1))
        return bool(failed)
    print(table(results))
    print("skipped: " + ", ".join(f"{count} {reason}" for reason, count in skipped.most_common()))
    for result in results:
        if result.wrong:
            kind = f"excepted ({result.excepted})" if result.excepted else "FAILED"
            print(f"{kind} {result.id} [{result.split}]: {' | '.join(result.wrong)}")
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
