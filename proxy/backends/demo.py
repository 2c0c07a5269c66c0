"""The built-in provider: answers without network or key, says plainly that it is a simulation, fails on request.

It speaks the `openai_chat` dialect in bytes, like any server would. Model names:

    echo            repeats the last user text; calls a tool when one is forced or named in the text;
                    gives an instance of the schema when one is asked for
    slow            the same, a tenth of a second between words
    fail-STATUS     answers with that HTTP status (fail-429 with Retry-After: 1)
    hang            never answers
    cut             breaks off after the second piece (a whole answer: before its end)
    malformed       answers with something that is not JSON

Asked for embeddings it gives vectors without meaning (translators.embeddings.demo) under all of these names.
The same request gives the same answer.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from array import array
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

from proxy.backends.backend import Answer, BackendError, Call
from translators.codec import JsonError, dumps, dumps_text, loads_object
from translators.embeddings import demo_vector, encoded
from translators.embeddings.demo import DEMO_DIMENSIONS
from translators.neutral import Failure
from translators.sse import frame

CREATED: Final = 1_767_225_600
"""2026-01-01: a fixed time keeps answers reproducible."""
SLOW_WORD_S: Final = 0.1
DEEPEST: Final = 32
MOST_VALUES: Final = 1000
LONGEST_LIST: Final = 100
"""Of an instance of a schema."""
MOST_NUMBERS: Final = 2048 * DEMO_DIMENSIONS
"""Of the vectors of one answer."""
_FAILS = re.compile(r"fail-([45]\d\d)")
_WORD = re.compile(r"\S+\s*|\s+")


class DemoAnswer:
    """An answer made here. *cut* breaks it off after that many pieces."""

    connect_s: float | None = None

    def __init__(
        self,
        status: int,
        pieces: list[bytes],
        headers: Mapping[str, str],
        *,
        pause_s: float = 0,
        cut: int | None = None,
    ) -> None:
        self.status = status
        self.headers: Mapping[str, str] = headers
        self._pieces = pieces
        self._pause_s = pause_s
        self._cut = cut

    async def pieces(self) -> AsyncIterator[bytes]:
        """The pieces, with the model's pace."""
        for number, piece in enumerate(self._pieces):
            if number == self._cut:
                raise BackendError(Failure("connection", "the answer broke off: simulated", 502))
            await asyncio.sleep(self._pause_s)
            yield piece

    async def read(self) -> bytes:
        """All pieces."""
        return b"".join([piece async for piece in self.pieces()])


class DemoBackend:
    """See the module."""

    @asynccontextmanager
    async def send(self, call: Call) -> AsyncIterator[Answer]:
        """Answer from nothing but the request."""
        if call.model == "hang":
            await _hang(call)
        yield await asyncio.to_thread(_answer, call) if call.operation == "embed" else _answer(call)

    async def close(self) -> None:
        """Nothing is held."""


async def _hang(call: Call) -> None:
    wait_s = call.timeouts.first_event_s if call.stream else call.timeouts.whole_answer_s
    await asyncio.sleep(wait_s)
    raise BackendError(Failure("timeout", f"no answer within {wait_s:g} s", 504))


def _answer(call: Call) -> DemoAnswer:
    json_headers = {"content-type": "application/json"}
    if failing := _FAILS.fullmatch(call.model):
        status = int(failing[1])
        error = {"message": f"simulated failure {status}", "type": "simulated", "param": None, "code": None}
        retry = {"retry-after": "1"} if status == 429 else {}
        return DemoAnswer(status, [dumps({"error": error})], {**json_headers, **retry})
    if call.model == "malformed":
        return DemoAnswer(200, [b"<html>this is not JSON</html>"], {"content-type": "text/html"})
    try:
        request = loads_object(call.body)
    except JsonError as problem:
        return DemoAnswer(
            400, [dumps({"error": {"message": str(problem), "type": "invalid_request_error"}})], json_headers
        )
    cut = 2 if call.model == "cut" else None
    if call.operation == "embed":
        return _vectors(request, call.model, json_headers, cut)
    completion = _completion(request, call.model)
    if not call.stream:
        whole = dumps(completion)
        half = len(whole) // 2
        return DemoAnswer(200, [whole[: half // 2], whole[half // 2 : half], whole[half:]], json_headers, cut=cut)
    usage = bool((request.get("stream_options") or {}).get("include_usage"))
    pause_s = SLOW_WORD_S if call.model == "slow" else 0
    return DemoAnswer(
        200, _frames(completion, usage=usage), {"content-type": "text/event-stream"}, pause_s=pause_s, cut=cut
    )


def _vectors(request: Mapping[str, Any], model: str, headers: Mapping[str, str], cut: int | None) -> DemoAnswer:
    asked = request.get("input")
    inputs = asked if isinstance(asked, list) and not all(isinstance(item, int) for item in asked) else [asked]
    texts = [item if isinstance(item, str) else dumps_text(item) for item in inputs]
    dimensions = request.get("dimensions") or DEMO_DIMENSIONS
    if len(texts) * dimensions > MOST_NUMBERS:
        error = {"message": f"the simulation makes at most {MOST_NUMBERS} numbers", "type": "invalid_request_error"}
        return DemoAnswer(400, [dumps({"error": error})], headers)
    in_base64 = request.get("encoding_format") == "base64"
    vectors = [demo_vector(text, dimensions) for text in texts]
    tokens = sum(len(_WORD.findall(text)) for text in texts)
    whole = dumps(
        {
            "object": "list",
            "data": [
                {"object": "embedding", "index": at, "embedding": encoded(array("f", vector)) if in_base64 else vector}
                for at, vector in enumerate(vectors)
            ],
            "model": f"{model} (a simulation: vectors without meaning)",
            "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
        }
    )
    half = len(whole) // 2
    return DemoAnswer(200, [whole[: half // 2], whole[half // 2 : half], whole[half:]], headers, cut=cut)


def _completion(request: Mapping[str, Any], model: str) -> dict[str, Any]:
    digest = hashlib.sha256(dumps(request)).hexdigest()
    text = _last_user_text(request)
    message: dict[str, Any] = {"role": "assistant", "content": None, "refusal": None}
    reason = "stop"
    if calls := _calls(request, text, digest):
        message["tool_calls"] = calls
        reason = "tool_calls"
    elif schema := _schema(request):
        message["content"] = dumps_text(instance(schema))
    else:
        message["content"] = f"This is Modelport's demo provider, a simulation. You said: {text}"
    content = message["content"] or dumps_text(message.get("tool_calls"))
    words = _WORD.findall(content)
    limit = request.get("max_completion_tokens") or request.get("max_tokens")
    if message["content"] and isinstance(limit, int) and limit < len(words):
        words, reason = words[:limit], "length"
        message["content"] = "".join(words).rstrip()
    prompt_tokens = len(_WORD.findall(dumps_text(request.get("messages", []))))
    choices = [
        {"index": index, "message": message, "logprobs": None, "finish_reason": reason}
        for index in range(request.get("n") or 1)
    ]
    output_tokens = len(words) * len(choices)
    return {
        "id": f"chatcmpl-demo-{digest[:24]}",
        "object": "chat.completion",
        "created": CREATED,
        "model": model,
        "choices": choices,
        "usage": {
            "prompt_tokens": prompt_tokens,
            "completion_tokens": output_tokens,
            "total_tokens": prompt_tokens + output_tokens,
        },
        "system_fingerprint": "demo",
    }


def _frames(completion: Mapping[str, Any], *, usage: bool) -> list[bytes]:
    head = {key: completion[key] for key in ("id", "created", "model", "system_fingerprint")}
    head["object"] = "chat.completion.chunk"

    def chunk(choices: list[dict[str, Any]], **more: Any) -> bytes:
        return frame(dumps({**head, "choices": choices, **more}))

    frames = []
    for choice in completion["choices"]:
        index, message = choice["index"], choice["message"]

        def delta(fields: dict[str, Any], reason: str | None = None, index: int = index) -> bytes:
            return chunk([{"index": index, "delta": fields, "logprobs": None, "finish_reason": reason}])

        frames.append(delta({"role": "assistant", "content": "" if message["content"] is not None else None}))
        frames.extend(delta({"content": word}) for word in _WORD.findall(message["content"] or ""))
        for number, call in enumerate(message.get("tool_calls", ())):
            function = call["function"]
            opening = {**call, "index": number, "function": {"name": function["name"], "arguments": ""}}
            frames.append(delta({"tool_calls": [opening]}))
            rest = {"index": number, "function": {"arguments": function["arguments"]}}
            frames.append(delta({"tool_calls": [rest]}))
        frames.append(delta({}, choice["finish_reason"]))
    if usage:
        frames.append(chunk([], usage=completion["usage"]))
    return [*frames, frame(b"[DONE]")]


def _last_user_text(request: Mapping[str, Any]) -> str:
    for message in reversed(request.get("messages") or []):
        if message.get("role") != "user":
            continue
        content = message.get("content")
        if isinstance(content, list):
            return " ".join(_spoken(part) for part in content)
        return str(content)
    return ""


def _spoken(part: Any) -> str:
    if isinstance(part, dict):
        return str(part.get("text", f"[{part.get('type')}]"))
    return str(part)


def _calls(request: Mapping[str, Any], text: str, digest: str) -> list[dict[str, Any]]:
    """The call of a tool that is forced, or of every tool that the text names while no result is there yet."""
    functions = [tool["function"] for tool in request.get("tools") or [] if tool.get("type") == "function"]
    messages = request.get("messages") or []
    choice = request.get("tool_choice")
    if not functions or choice == "none" or (messages and messages[-1].get("role") == "tool"):
        return []
    if isinstance(choice, dict):
        wanted = [f for f in functions if f["name"] == (choice.get("function") or {}).get("name")]
    else:
        wanted = [f for f in functions if f["name"] in text]
        if not wanted and choice == "required":
            wanted = functions[:1]
    if request.get("parallel_tool_calls") is False:
        wanted = wanted[:1]
    return [
        {
            "id": f"call_{digest[:16]}{number}",
            "type": "function",
            "function": {
                "name": function["name"],
                "arguments": dumps_text(instance(function.get("parameters") or {"type": "object"})),
            },
        }
        for number, function in enumerate(wanted)
    ]


def _schema(request: Mapping[str, Any]) -> Mapping[str, Any] | None:
    output = request.get("response_format") or {}
    if output.get("type") == "json_object":
        return {"type": "object"}
    schema = (output.get("json_schema") or {}).get("schema")
    return schema if isinstance(schema, dict) else None


def instance(schema: Any) -> Any:
    """A small value that fits *schema*, as far as it goes: first enum members, all properties, short lists.

    A schema may refer to itself several times over, so depth and number of values are bounded; beyond it is null.
    """
    return _Maker(schema).value(schema, 0)


@dataclass(slots=True)
class _Maker:
    root: Any
    left: int = MOST_VALUES

    def value(self, schema: Any, depth: int) -> Any:
        self.left -= 1
        if depth > DEEPEST or self.left < 0:
            return None
        if not isinstance(schema, dict):
            return "demo"
        if isinstance(reference := schema.get("$ref"), str):
            return self.value(self._referred(reference), depth + 1)
        for name in ("anyOf", "oneOf", "allOf"):
            if isinstance(branches := schema.get(name), list) and branches:
                return self.value(branches[0], depth + 1)
        if "const" in schema:
            return schema["const"]
        if isinstance(words := schema.get("enum"), list) and words:
            return words[0]
        return self._typed(schema, depth + 1)

    def _typed(self, schema: Mapping[str, Any], depth: int) -> Any:
        kind = schema.get("type", "object" if "properties" in schema else "string")
        match kind[0] if isinstance(kind, list) and kind else kind:
            case "object":
                properties = schema.get("properties")
                members = properties if isinstance(properties, dict) else {}
                return {name: self.value(member, depth) for name, member in members.items()}
            case "array":
                wanted = schema.get("minItems", 1)
                count = min(wanted, LONGEST_LIST) if isinstance(wanted, int) and wanted > 1 else 1
                return [self.value(schema.get("items"), depth) for _ in range(count)]
            case "integer" | "number":
                return schema.get("minimum", 1)
            case "boolean":
                return True
            case "null":
                return None
            case _:
                return "demo"

    def _referred(self, reference: str) -> Any:
        found = self.root
        for step in filter(None, reference.removeprefix("#").split("/")):
            if isinstance(found, list) and step.isdecimal() and len(step) < 6 and int(step) < len(found):
                found = found[int(step)]
            else:
                found = found.get(step) if isinstance(found, dict) else None
        return found
