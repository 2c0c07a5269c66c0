"""A provider on loopback that answers at once: chat completions and Messages, whole or as a stream.

    python benchmarks/gateways/mock.py PORT [DELAY_US]

A whole answer has 1.5 KB. A stream has EVENTS words, each written by itself, DELAY_US apart (default 0), and each word
tells when it was written (`@` and nanoseconds of the monotonic clock), so that `load.py` can say how long it was under
way. `GET /count` tells how many requests there were.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Any, Final

EVENTS: Final = 100
WORDS: Final = "The latency of a proxy is what it does for each request. " * 18
USAGE: Final = {"prompt_tokens": 160, "completion_tokens": 230, "total_tokens": 390}


def whole(path: str) -> bytes:
    """The answer to a request that is not streamed."""
    if path.startswith("/v1/messages"):
        body = {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "model": "gpt-4o-mini",
            "content": [{"type": "text", "text": WORDS}],
            "stop_reason": "end_turn",
            "stop_sequence": None,
            "usage": {"input_tokens": 160, "output_tokens": 230},
        }
    else:
        message = {"role": "assistant", "content": WORDS, "refusal": None}
        body = {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": 1,
            "model": "gpt-4o-mini",
            "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}],
            "usage": USAGE,
        }
    told = json.dumps(body).encode()
    return b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(told), told)


def chunk(event: bytes) -> bytes:
    """An event as one chunk of an answer."""
    return b"%x\r\n%b\r\n" % (len(event), event)


def chat_event(delta: dict[str, Any], **more: Any) -> bytes:
    """An event of a stream of chat completions."""
    choice = {"index": 0, "delta": delta, "finish_reason": None}
    body = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "gpt-4o-mini"}
    return chunk(b"data: %b\n\n" % json.dumps({**body, "choices": [choice], **more}).encode())


def messages_event(kind: str, **more: Any) -> bytes:
    """An event of a stream of Messages."""
    return chunk(b"event: %b\ndata: %b\n\n" % (kind.encode(), json.dumps({"type": kind, **more}).encode()))


def word(path: str) -> bytes:
    """The event that says now."""
    text = f"@{time.monotonic_ns()} "
    if path.startswith("/v1/messages"):
        return messages_event("content_block_delta", index=0, delta={"type": "text_delta", "text": text})
    return chat_event({"content": text})


def begin_and_end(path: str) -> tuple[bytes, bytes]:
    """What stands before the words of a stream, and behind them."""
    if path.startswith("/v1/messages"):
        message = {"id": "msg_1", "type": "message", "role": "assistant", "model": "gpt-4o-mini", "content": []}
        begun = {**message, "stop_reason": None, "usage": {"input_tokens": 160, "output_tokens": 1}}
        block = {"type": "text", "text": ""}
        ended = {"stop_reason": "end_turn", "stop_sequence": None}
        return (
            messages_event("message_start", message=begun)
            + messages_event("content_block_start", index=0, content_block=block),
            messages_event("content_block_stop", index=0)
            + messages_event("message_delta", delta=ended, usage={"output_tokens": 230})
            + messages_event("message_stop"),
        )
    end = {"index": 0, "delta": {}, "finish_reason": "stop"}
    return (
        chat_event({"role": "assistant", "content": ""}),
        chat_event({}, choices=[end]) + chat_event({}, choices=[], usage=USAGE) + chunk(b"data: [DONE]\n\n"),
    )


class Provider(asyncio.Protocol):
    """One connection, on which one request follows the other."""

    count = 0

    def __init__(self, delay_s: float) -> None:
        self._delay_s = delay_s
        self._come = b""
        self._streams: set[asyncio.Task[None]] = set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: Any = transport

    def connection_lost(self, _error: Exception | None) -> None:
        for stream in self._streams:
            stream.cancel()

    def data_received(self, received: bytes) -> None:
        self._come += received
        while (ends := self._come.find(b"\r\n\r\n")) >= 0:
            head = self._come[:ends].lower()
            told = head.partition(b"content-length:")[2].split(b"\r\n", 1)[0]
            size = ends + 4 + int(told or 0)
            if len(self._come) < size:
                return
            request, self._come = self._come[:size], self._come[size:]
            self._answer(request)

    def _answer(self, request: bytes) -> None:
        path = request.split(b" ", 2)[1].decode()
        if path == "/count":
            told = b"%d" % Provider.count
            self._transport.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(told), told))
            return
        Provider.count += 1
        if b'"stream":true' in request or b'"stream": true' in request:
            stream = asyncio.get_running_loop().create_task(self._stream(path))
            self._streams.add(stream)
            stream.add_done_callback(self._streams.discard)
        else:
            self._transport.write(WHOLE["/v1/messages" if path.startswith("/v1/messages") else "/"])

    async def _stream(self, path: str) -> None:
        begin, end = begin_and_end(path)
        self._transport.write(STREAM + begin)
        for _ in range(EVENTS):
            if self._delay_s:
                await asyncio.sleep(self._delay_s)
            self._transport.write(word(path))
        self._transport.write(end + b"0\r\n\r\n")


STREAM: Final = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
WHOLE: Final = {path: whole(path) for path in ("/", "/v1/messages")}


async def main(port: int, delay_us: int) -> None:
    """Serve until somebody ends the process."""
    server = await asyncio.get_running_loop().create_server(lambda: Provider(delay_us / 1e6), "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0))
