"""Speaks the protocol of proxy/backends/llamacpp_child.py from a script; run as a process by the matrix.

    python llama_child.py SCRIPT LOG RELEASED

SCRIPT is JSON: a question -> its answers, one a round: a text, or an error `{"error": {...}, "after": text}`.
Every body that comes is a line of LOG, which is how the tests see what the model was asked. An error after a text
waits for the file RELEASED.
"""

from __future__ import annotations

import json
import re
import sys
import time
from pathlib import Path
from typing import Any

USAGE = {
    "prompt_tokens": 20,
    "completion_tokens": 9,
    "total_tokens": 29,
    "prompt_tokens_details": {"cached_tokens": 5},
}
HEAD = {"id": "chatcmpl-local", "created": 1_795_132_800, "model": "tiny"}


def send(request: int, kind: str, value: Any = None) -> None:
    payload = b"" if value is None else b" " + json.dumps(value).encode()
    sys.stdout.buffer.write(b"%d %s%s\n" % (request, kind.encode(), payload))
    sys.stdout.buffer.flush()


def question(body: dict[str, Any]) -> str:
    content = next(message["content"] for message in body["messages"] if message["role"] == "user")
    if isinstance(content, str):
        return content
    return next(part["text"] for part in content if part["type"] == "text")


def answer(request: int, body: dict[str, Any], script: dict[str, list[Any]]) -> None:
    rounds = sum(message["role"] == "assistant" for message in body["messages"])
    said = script[question(body)][rounds]
    hints = {**body["modelport"], "thinking": False}
    text = said if isinstance(said, str) else said["after"]
    if body.get("stream") and text:
        send(request, "line", {"modelport": hints})
        for piece in re.findall(r"\S+\s*|\s+", text):
            send(request, "line", chunk({"content": piece}))
    if not isinstance(said, str):
        while text and not Path(sys.argv[3]).exists():
            time.sleep(0.002)  # another process has no event to await
        send(request, "fail", {"error": said["error"]})
        return
    if body.get("stream"):
        send(request, "line", chunk({}, "stop"))
        send(request, "line", {"usage": USAGE})
    else:
        message = {"role": "assistant", "content": text}
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
        whole = {**HEAD, "object": "chat.completion", "choices": [choice], "usage": USAGE, "modelport": hints}
        send(request, "line", whole)
    send(request, "done")


def chunk(delta: dict[str, Any], reason: str | None = None) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
    return {**HEAD, "object": "chat.completion.chunk", "choices": [choice]}


def main() -> None:
    script = json.loads(Path(sys.argv[1]).read_text("utf-8"))
    with Path(sys.argv[2]).open("a", encoding="utf-8") as log:
        for line in sys.stdin.buffer:
            frame = json.loads(line)
            match frame["op"]:
                case "load":
                    send(0, "done")
                case "chat":
                    log.write(json.dumps(frame["body"]) + "\n")
                    log.flush()
                    answer(frame["id"], frame["body"], script)


main()
