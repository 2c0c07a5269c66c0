"""A scripted model behind the APIs of OpenAI and Anthropic that is of use to any client: agents, frameworks, tests.

It decides from what it is asked, never from who asks:

    a tool that runs commands is offered    it is called once with COMMAND, then FINAL is said
    another tool is offered                 the forced one, else the first, is called once with arguments by its schema
    a schema is set                         JSON by that schema
    otherwise                               one sentence
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from tests.replay import Answer, Asked

COMMAND: Final = "echo written-through-modelport > proof.txt && cat proof.txt"
FINAL: Final = "The file proof.txt is written."
SENTENCE: Final = "That is all there is to say. Hello."
SHELLS: Final = ("Bash", "exec_command", "shell_command", "shell", "local_shell", "container.exec")
INPUT_TOKENS, CACHED_TOKENS, OUTPUT_TOKENS = 1200, 200, 34

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Question:
    """What counts in a request. *words* is the last text of the user; *worked*: results came after it."""

    words: str
    tools: Mapping[str, Json]
    forced: str | None
    may_call: bool
    schema: Json | None
    worked: bool
    stream: bool
    stop: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Saying:
    """A call, or a text."""

    text: str = ""
    call: tuple[str, Json] | None = None


def decide(asked: Question) -> Saying:
    """What the model says."""
    shell = next((name for name in SHELLS if name in asked.tools), None)
    if asked.may_call and asked.tools and (asked.forced or not asked.worked):
        name = asked.forced or shell or next(iter(asked.tools))
        arguments = for_shell(asked.tools[name]) if name == shell else by_schema(asked.tools[name], asked.words)
        return Saying(call=(name, arguments))
    if asked.schema is not None:
        return Saying(json.dumps(by_schema(asked.schema, asked.words), ensure_ascii=False))
    text = FINAL if shell else SENTENCE
    for stop in asked.stop:
        text = text.partition(stop)[0]
    return Saying(text)


def for_shell(schema: Mapping[str, Any]) -> Json:
    """Arguments for a tool that runs commands."""
    found: Json = {}
    for name, each in schema.get("properties", {}).items():
        if name in {"command", "cmd"}:
            found[name] = ["bash", "-lc", COMMAND] if "array" in str(each.get("type")) else COMMAND
        elif name in schema.get("required", ()):
            found[name] = "Write the proof." if each.get("type") == "string" else 1000
    return found


def by_schema(schema: Mapping[str, Any], words: str) -> Any:
    """The first value that comes to mind for *schema*; quoted words of the question are preferred for texts."""
    return _value(schema, schema, words)


def _value(node: Mapping[str, Any], root: Mapping[str, Any], words: str) -> Any:
    if "$ref" in node:
        found: Any = root
        for step in node["$ref"].removeprefix("#/").split("/"):
            found = found[step]
        return _value(found, root, words)
    for several in ("anyOf", "oneOf", "allOf"):
        if several in node:
            wanted = next((each for each in node[several] if each.get("type") != "null"), node[several][0])
            return _value(wanted, root, words)
    if "const" in node:
        return node["const"]
    if "enum" in node:
        return node["enum"][0]
    kinds = node.get("type", "object" if "properties" in node else "string")
    kind = next((each for each in kinds if each != "null"), "null") if isinstance(kinds, list) else kinds
    match kind:
        case "object":
            return {name: _value(each, root, words) for name, each in node.get("properties", {}).items()}
        case "array":
            return [_value(node.get("items", {}), root, words)]
        case "integer" | "number":
            numbers = re.findall(r"\d+", words)
            return int(numbers[0]) if numbers else 3
        case "boolean":
            return True
        case "null":
            return None
        case _:
            quoted = re.search(r"['\"]([^'\"]+)['\"]", words)
            return quoted[1] if quoted else "San Francisco, CA"


@dataclass(slots=True)
class Model:
    """The upstream's script; *asked* is what came, as path and body."""

    asked: list[tuple[str, Json]] = field(default_factory=list)

    def __call__(self, asked: Asked) -> Answer:
        path = asked.path.partition("?")[0]
        if path.endswith("/count_tokens"):
            return Answer.json({"input_tokens": INPUT_TOKENS})
        body: Json = asked.json
        self.asked.append((path, body))
        number = len(self.asked)
        if path.endswith("/chat/completions"):
            return chat_answer(decide(chat_question(body)), number, bool(body.get("stream")))
        if path.endswith("/messages"):
            return message_answer(decide(message_question(body)), number, bool(body.get("stream")))
        return Answer.json({"error": {"message": f"there is nothing at {path}"}}, 404)


# --- OpenAI chat ---------------------------------------------------------------------------------


def chat_question(body: Json) -> Question:
    roles = [message["role"] for message in body["messages"]]
    last = max((index for index, role in enumerate(roles) if role == "user"), default=-1)
    content = body["messages"][last]["content"]
    words = content if isinstance(content, str) else " ".join(part.get("text", "") for part in content)
    choice = body.get("tool_choice")
    tools = {tool["function"]["name"]: tool["function"].get("parameters") or {} for tool in body.get("tools", ())}
    named = choice["function"]["name"] if isinstance(choice, dict) and "function" in choice else None
    wanted = body.get("response_format") or {}
    stop = body.get("stop") or ()
    return Question(
        words,
        tools,
        named or (next(iter(tools)) if choice == "required" else None),
        choice != "none",
        wanted["json_schema"]["schema"] if wanted.get("type") == "json_schema" else None,
        "tool" in roles[last + 1 :],
        bool(body.get("stream")),
        (stop,) if isinstance(stop, str) else tuple(stop),
    )


def chat_answer(saying: Saying, number: int, stream: bool) -> Answer:
    head = {"id": f"chatcmpl-{number}", "object": "chat.completion", "created": 1_795_132_800, "model": "m"}
    message: Json = {"role": "assistant", "content": saying.text or None}
    if saying.call:
        name, arguments = saying.call
        function = {"name": name, "arguments": json.dumps(arguments, ensure_ascii=False)}
        message["tool_calls"] = [{"id": f"call_{number}", "type": "function", "function": function}]
    reason = "tool_calls" if saying.call else "stop"
    usage = {
        "prompt_tokens": INPUT_TOKENS,
        "completion_tokens": OUTPUT_TOKENS,
        "total_tokens": INPUT_TOKENS + OUTPUT_TOKENS,
        "prompt_tokens_details": {"cached_tokens": CACHED_TOKENS},
    }
    if not stream:
        return Answer.json(
            {**head, "choices": [{"index": 0, "message": message, "finish_reason": reason}], "usage": usage}
        )
    deltas = [{"role": "assistant", "content": ""}, *({"content": word} for word in re.findall(r"\S+\s*", saying.text))]
    if saying.call:
        deltas.append({"tool_calls": [{**message["tool_calls"][0], "index": 0}]})
    head["object"] = "chat.completion.chunk"
    chunks: list[Json] = [
        *({**head, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in deltas),
        {**head, "choices": [{"index": 0, "delta": {}, "finish_reason": reason}]},
        {**head, "choices": [], "usage": usage},
    ]
    return Answer.sse("".join(f"data: {json.dumps(chunk)}\n\n" for chunk in chunks) + "data: [DONE]\n\n")


# --- Anthropic -----------------------------------------------------------------------------------


def message_question(body: Json) -> Question:
    blocks = [
        (message["role"], block)
        for message in body["messages"]
        for block in (
            [{"type": "text", "text": message["content"]}]
            if isinstance(message["content"], str)
            else message["content"]
        )
    ]
    texts = [index for index, (role, block) in enumerate(blocks) if role == "user" and block["type"] == "text"]
    last = texts[-1] if texts else -1
    results = [index for index, (_, block) in enumerate(blocks) if block["type"] == "tool_result"]
    tools = {tool["name"]: tool.get("input_schema", {}) for tool in body.get("tools", ())}
    choice = body.get("tool_choice") or {}
    wanted = (body.get("output_config") or {}).get("format") or {}
    forced = choice.get("name") or (next(iter(tools), None) if choice.get("type") == "any" else None)
    return Question(
        blocks[last][1].get("text", "") if texts else "",
        tools,
        forced,
        choice.get("type") != "none",
        wanted.get("schema"),
        any(index > last for index in results) or bool(results and last > results[-1] and last == len(blocks) - 1),
        bool(body.get("stream")),
        tuple(body.get("stop_sequences", ())),
    )


def message_answer(saying: Saying, number: int, stream: bool) -> Answer:
    head = {"id": f"msg_{number}", "type": "message", "role": "assistant", "model": "m", "stop_sequence": None}
    usage = {
        "input_tokens": INPUT_TOKENS - CACHED_TOKENS,
        "cache_read_input_tokens": CACHED_TOKENS,
        "output_tokens": OUTPUT_TOKENS,
    }
    block: Json
    if saying.call:
        name, arguments = saying.call
        block = {"type": "tool_use", "id": f"toolu_{number}", "name": name, "input": arguments}
        start: Json = {**block, "input": {}}
        deltas = [{"type": "input_json_delta", "partial_json": json.dumps(arguments, ensure_ascii=False)}]
    else:
        block = {"type": "text", "text": saying.text}
        start = {**block, "text": ""}
        deltas = [{"type": "text_delta", "text": word} for word in re.findall(r"\S+\s*", saying.text)]
    reason = "tool_use" if saying.call else "end_turn"
    if not stream:
        return Answer.json({**head, "content": [block], "stop_reason": reason, "usage": usage})
    message = {**head, "content": [], "stop_reason": None, "usage": {**usage, "output_tokens": 1}}
    events: list[Json] = [
        {"type": "message_start", "message": message},
        {"type": "content_block_start", "index": 0, "content_block": start},
        *({"type": "content_block_delta", "index": 0, "delta": delta} for delta in deltas),
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": reason, "stop_sequence": None}, "usage": usage},
        {"type": "message_stop"},
    ]
    return Answer.sse("".join(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in events))
