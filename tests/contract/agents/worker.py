"""A scripted model behind any vendor's API that does a coding agent's work: it runs one command, then says so.

It looks for a tool that runs commands among those that the agent offers, whatever the agent calls it, and fills its
required arguments by name and type. Requests without such a tool (titles, summaries) get a short text.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from tests.replay import Answer, Asked

COMMAND: Final = "echo written-through-modelport > proof.txt && cat proof.txt"
FINAL: Final = "The file proof.txt is written."
SHELLS: Final = ("Bash", "exec_command", "shell_command", "shell", "local_shell", "container.exec")
USAGE_IN, USAGE_OUT = 1200, 34


@dataclass(slots=True)
class Worker:
    """What it was asked, and how it answers in the dialects of OpenAI chat and Anthropic."""

    asked: list[tuple[str, Any]] = field(default_factory=list)

    def __call__(self, asked: Asked) -> Answer:
        path = asked.path.partition("?")[0]
        if path.endswith("/count_tokens"):
            return Answer.json({"input_tokens": USAGE_IN})
        body = asked.json
        self.asked.append((path, body))
        if path.endswith("/chat/completions"):
            return self._chat(body)
        if path.endswith("/messages"):
            return self._messages(body)
        return Answer.json({"error": {"message": f"nothing at {path}"}}, 404)

    def _chat(self, body: Any) -> Answer:
        tools = {tool["function"]["name"]: tool["function"].get("parameters") or {} for tool in body.get("tools", ())}
        worked = any(message["role"] == "tool" for message in body["messages"])
        name = next((name for name in SHELLS if name in tools), None)
        head = {
            "id": f"chatcmpl-{len(self.asked)}",
            "object": "chat.completion",
            "created": 1_795_132_800,
            "model": "m",
        }
        if name and not worked:
            function = {"name": name, "arguments": json.dumps(filled(tools[name]))}
            message: Any = {"content": None, "tool_calls": [{"id": "call_1", "type": "function", "function": function}]}
            reason = "tool_calls"
        else:
            message, reason = {"content": FINAL}, "stop"
        message = {"role": "assistant", **message}
        usage = {"prompt_tokens": USAGE_IN, "completion_tokens": USAGE_OUT, "total_tokens": USAGE_IN + USAGE_OUT}
        if not body.get("stream"):
            choice = {"index": 0, "message": message, "finish_reason": reason}
            return Answer.json({**head, "choices": [choice], "usage": usage})
        head["object"] = "chat.completion.chunk"
        for index, call in enumerate(message.get("tool_calls", ())):
            call["index"] = index
        chunks = [
            {**head, "choices": [{"index": 0, "delta": message, "finish_reason": None}]},
            {**head, "choices": [{"index": 0, "delta": {}, "finish_reason": reason}]},
            {**head, "choices": [], "usage": usage},
        ]
        return Answer.sse("".join(f"data: {json.dumps(chunk)}\n\n" for chunk in chunks) + "data: [DONE]\n\n")

    def _messages(self, body: Any) -> Answer:
        tools = {tool["name"]: tool.get("input_schema", {}) for tool in body.get("tools", ())}
        worked = any(
            block["type"] == "tool_result"
            for message in body["messages"]
            if isinstance(message["content"], list)
            for block in message["content"]
        )
        name = next((name for name in SHELLS if name in tools), None)
        calls = bool(name) and not worked
        block: Any = (
            {"type": "tool_use", "id": "toolu_1", "name": name, "input": filled(tools[name])}
            if name and calls
            else {"type": "text", "text": FINAL}
        )
        reason = "tool_use" if calls else "end_turn"
        head = {
            "id": f"msg_{len(self.asked)}",
            "type": "message",
            "role": "assistant",
            "model": "m",
            "stop_sequence": None,
        }
        usage = {"input_tokens": USAGE_IN, "output_tokens": USAGE_OUT}
        if not body.get("stream"):
            return Answer.json({**head, "content": [block], "stop_reason": reason, "usage": usage})
        if calls:
            start, delta = (
                {**block, "input": {}},
                {"type": "input_json_delta", "partial_json": json.dumps(block["input"])},
            )
        else:
            start, delta = {**block, "text": ""}, {"type": "text_delta", "text": FINAL}
        message = {**head, "content": [], "stop_reason": None, "usage": {**usage, "output_tokens": 1}}
        events: list[Any] = [
            {"type": "message_start", "message": message},
            {"type": "content_block_start", "index": 0, "content_block": start},
            {"type": "content_block_delta", "index": 0, "delta": delta},
            {"type": "content_block_stop", "index": 0},
            {"type": "message_delta", "delta": {"stop_reason": reason, "stop_sequence": None}, "usage": usage},
            {"type": "message_stop"},
        ]
        return Answer.sse("".join(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in events))


def filled(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments for a shell tool of *schema*."""
    found: dict[str, Any] = {}
    properties = schema.get("properties", {})
    for name in properties:
        if name in {"command", "cmd"}:
            listed = "array" in str(properties[name].get("type"))
            found[name] = ["bash", "-lc", COMMAND] if listed else COMMAND
        elif name in schema.get("required", ()):
            found[name] = "Write the proof." if properties[name].get("type") == "string" else 1000
    return found
