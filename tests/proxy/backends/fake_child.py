"""Speaks the protocol of proxy/backends/llamacpp_child.py without any model; run as a process by the tests.

The model's file name decides how it loads, the last message's text what is answered.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

commands = sys.stdin.buffer


def send(request: int, kind: str, value: Any = None) -> None:
    payload = b"" if value is None else b" " + json.dumps(value).encode()
    sys.stdout.buffer.write(b"%d %s%s\n" % (request, kind.encode(), payload))
    sys.stdout.buffer.flush()


def read() -> dict[str, Any]:
    line = commands.readline()
    if not line:
        os._exit(0)
    found: dict[str, Any] = json.loads(line)
    return found


def failed(kind: str, status: int) -> dict[str, Any]:
    return {"error": {"kind": kind, "message": f"it is {kind}", "status": status}}


def answer(request: int, word: str, frame: dict[str, Any]) -> None:
    match word:
        case "crash":
            print("GGML_ASSERT failed", file=sys.stderr, flush=True)
            os.abort()
        case "crash later":
            send(request, "line", {"pid": os.getpid()})
            os._exit(3)
        case "fail":
            send(request, "fail", failed("context_length", 400))
        case "fail later":
            send(request, "line", {"pid": os.getpid()})
            send(request, "fail", failed("server", 500))
        case "forever":
            send(request, "line", {"pid": os.getpid()})
            while read() != {"op": "cancel", "id": request}:
                pass
            send(request, "line", {"too": "late"})
            send(request, "done")
        case "mute":
            while True:
                read()
        case "silent until cancelled":
            while read() != {"op": "cancel", "id": request}:
                pass
            send(request, "done")
        case "echo":
            send(request, "line", frame["body"])
            send(request, "done")
        case _:
            for number in range(3):
                send(request, "line", {"pid": os.getpid(), "number": number})
            send(request, "done")


while True:
    frame = read()
    match frame["op"]:
        case "load" if "missing" in frame["path"]:
            send(
                0,
                "fail",
                {"error": {"kind": "server", "message": "missing.gguf: there is no such file", "status": 500}},
            )
        case "load" if "dies" in frame["path"]:
            os._exit(7)
        case "load" if "hangs" in frame["path"]:
            while True:
                read()
        case "load":
            send(0, "done")
        case "embed":
            send(frame["id"], "line", {"embeds": frame["body"]["input"]})
            send(frame["id"], "done")
        case "chat":
            answer(frame["id"], frame["body"]["messages"][-1]["content"], frame)
