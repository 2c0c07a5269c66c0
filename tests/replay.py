"""A loopback upstream: an HTTP/1.1 server that says exactly what it was told to, byte by byte.

with Upstream() as upstream:
    upstream.script("some-model", Answer.json({...}), Answer.sse(text, split=7))
    ... a client asks http://127.0.0.1:{upstream.port}/v1/chat/completions for "some-model" ...
    upstream.asked("some-model")[0].json

The model of a request is its body's `model` or the one in its path (`/v1beta/models/{model}:generateContent`),
so one upstream plays every vendor under all paths. It runs in its own thread: tests may block.

An answer is sent in pieces (`split`), with delays, up to `stop_at`, and ends as `end` says:

    complete   as promised          close   FIN, before the promised end when stop_at is set
    reset      RST                  hang    stays open and silent until the client leaves

HTTP parsing is done here by hand: a library would mend what these tests need to be broken.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import re
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, cast
from urllib.parse import unquote

import yaml

Split = int | Literal["whole", "events"] | tuple[int, ...]
"""Where a body is cut: every n bytes, not at all, after each blank line, or at these offsets."""

End = Literal["complete", "close", "reset", "hang"]

CASSETTES = Path(__file__).resolve().parents[1] / "cassettes"

_MODEL_IN_PATH = re.compile(r"/models/([^/?]+?)(?::\w+)?(?:\?|$)")
_REASONS = {200: "OK", 400: "Bad Request", 401: "Unauthorized", 404: "Not Found", 429: "Too Many Requests"}


@dataclass(frozen=True, slots=True)
class Answer:
    """What to send for one request. *stop_at* is an offset into the body; times are in seconds.

    *hold_at*: after that many bytes wait until the test calls `Asked.release`.
    *hang*: not even a status line. *chunked* False sends a Content-Length instead.
    *raw_head* replaces status line and headers by these bytes.
    """

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    split: Split = "whole"
    delay_head_s: float = 0.0
    delay_body_s: float = 0.0
    delay_between_s: float = 0.0
    stop_at: int | None = None
    hold_at: int | None = None
    end: End = "complete"
    hang: bool = False
    chunked: bool = True
    keep_alive: bool = True
    raw_head: bytes | None = None

    @classmethod
    def json(cls, value: Any, status: int = 200, headers: Mapping[str, str] | None = None, **how: Any) -> Answer:
        """*value* as JSON."""
        named = {"content-type": "application/json", **(headers or {})}
        body = value if isinstance(value, bytes) else json.dumps(value, ensure_ascii=False).encode()
        return cls(status=status, headers=named, body=body, **{"chunked": False, **how})

    @classmethod
    def sse(cls, text: str | bytes, headers: Mapping[str, str] | None = None, **how: Any) -> Answer:
        """*text* as an event stream, verbatim."""
        named = {"content-type": "text/event-stream; charset=utf-8", **(headers or {})}
        return cls(headers=named, body=text if isinstance(text, bytes) else text.encode(), **how)

    def pieces(self) -> Iterator[bytes]:
        """The body as it is sent, never an empty piece."""
        body = self.body if self.stop_at is None else self.body[: self.stop_at]
        places = sorted({0, *self._cuts(body), len(body)} | ({self.hold_at} if self.hold_at is not None else set()))
        for start, end in itertools.pairwise(places):
            yield body[start:end]

    def _cuts(self, body: bytes) -> Iterator[int]:
        match self.split:
            case "whole":
                return
            case "events":
                yield from (found.end() for found in re.finditer(rb"\r?\n\r?\n", body))
            case int(size):
                yield from range(size, len(body), size)
            case offsets:
                yield from (at for at in offsets if 0 < at < len(body))


@dataclass(slots=True)
class Asked:
    """One request that reached the upstream. Times are `time.monotonic()`."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    arrived_at: float
    model: str | None = None
    answered: threading.Event = field(default_factory=threading.Event)
    """The answer was sent as far as it was to be sent (set before a hang, too)."""
    left: threading.Event = field(default_factory=threading.Event)
    """The client hung up before the answer was complete."""
    left_at: float | None = None
    sent_bytes: int = 0
    _released: asyncio.Event = field(default_factory=asyncio.Event)
    _loop: asyncio.AbstractEventLoop | None = None

    @property
    def json(self) -> Any:
        """The body, parsed."""
        return json.loads(self.body)

    def release(self) -> None:
        """Let an answer with *hold_at* go on."""
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._released.set)

    def wait_left(self, within_s: float) -> bool:
        """Whether the client hangs up within that time."""
        return self.left.wait(within_s)


ROUNDS = 100
"""Turns of the loop in which all connections are surely closed."""


class ClientLeft(Exception):
    """The client closed its side while it was to be answered."""


Script = Callable[[Asked], Answer]


class Upstream:
    """The server. `script` says what each model answers; an unknown model gets a 404 that names it."""

    def __init__(self, script: Script | None = None) -> None:
        self.port = 0
        self.requests: list[Asked] = []
        self.connections = 0
        self._fallback = script
        self._scripts: dict[str, list[Answer] | Script] = {}
        self._lock = threading.Condition()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="upstream", daemon=True)
        self._tasks: set[asyncio.Task[None]] = set()
        self._open: set[asyncio.Transport] = set()

    @property
    def url(self) -> str:
        """The root, without a path."""
        return f"http://127.0.0.1:{self.port}"

    def script(self, model: str, *answers: Answer | Script) -> None:
        """*model* answers with these in order, and with the last one from then on; or by one function."""
        with self._lock:
            if len(answers) == 1 and callable(answers[0]):
                self._scripts[model] = answers[0]
            else:
                self._scripts[model] = [answer for answer in answers if isinstance(answer, Answer)]

    def asked(self, model: str) -> list[Asked]:
        """The requests for *model* so far."""
        with self._lock:
            return [asked for asked in self.requests if asked.model == model]

    def wait_asked(self, model: str, count: int = 1, within_s: float = 5.0) -> Asked:
        """The *count*-th request for *model*, as soon as it is there."""
        with self._lock:
            came = self._lock.wait_for(lambda: sum(a.model == model for a in self.requests) >= count, within_s)
        assert came, f"{model} was asked {len(self.asked(model))} times within {within_s} s, not {count}"
        return self.asked(model)[count - 1]

    def __enter__(self) -> Self:
        self._thread.start()
        self.port = asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(5)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        asyncio.run_coroutine_threadsafe(self._shut(), self._loop).result(5)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    async def _listen(self) -> int:
        self._server = await self._loop.create_server(lambda: _Connection(self), "127.0.0.1", 0, backlog=1024)
        return int(self._server.sockets[0].getsockname()[1])

    async def _shut(self) -> None:
        # A server that closes while a connection is being accepted leaves its socket open (CPython 3.11).
        for _ in range(ROUNDS):
            if asyncio.all_tasks() - self._tasks == {asyncio.current_task()}:
                break
            await asyncio.sleep(0)
        self._server.close()
        for _ in range(ROUNDS):
            for task in list(self._tasks):
                task.cancel()
            for transport in list(self._open):
                transport.abort()  # a close would wait for a client that does not read
            await asyncio.sleep(0)
            if not self._open and not self._tasks:
                break

    def _admit(self, asked: Asked) -> Answer:
        """Remember *asked* and choose its answer."""
        asked._loop = self._loop
        asked.model = _model_of(asked)
        with self._lock:
            self.requests.append(asked)
            script = self._scripts.get(asked.model or "")
            if isinstance(script, list):
                chosen: Answer | None = script.pop(0) if len(script) > 1 else script[0]
            else:
                decide = script or self._fallback
                chosen = decide(asked) if decide else None
            self._lock.notify_all()
        return chosen or Answer.json({"error": {"message": f"no script for {asked.model!r}", "code": 404}}, 404)


class _Connection(asyncio.Protocol):
    """One client connection: reads requests one after another and plays their answers."""

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream
        self._buffer = bytearray()
        self._news = asyncio.Event()
        self._writable = asyncio.Event()
        self._writable.set()
        self._gone = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none by its type
        self._upstream.connections += 1
        self._upstream._open.add(self._transport)
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        task = asyncio.get_running_loop().create_task(self._serve())
        self._upstream._tasks.add(task)
        task.add_done_callback(self._upstream._tasks.discard)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        self._news.set()

    def eof_received(self) -> bool:
        self._gone.set()
        self._news.set()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._upstream._open.discard(self._transport)
        self._gone.set()
        self._news.set()
        self._writable.set()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    async def _serve(self) -> None:
        try:
            while (asked := await self._read_request()) is not None:
                answer = self._upstream._admit(asked)
                try:
                    await self._play(answer, asked)
                except ClientLeft:
                    asked.left_at = time.monotonic()
                    asked.left.set()
                    return
                asked.answered.set()
                if not answer.keep_alive or answer.end != "complete":
                    return
        finally:
            self._transport.close()

    async def _read_request(self) -> Asked | None:
        while (end := self._buffer.find(b"\r\n\r\n")) < 0:
            if not await self._more():
                return None
        lines = bytes(self._buffer[:end]).decode("latin-1").split("\r\n")
        del self._buffer[: end + 4]
        method, path, _ = lines[0].split(" ", 2)
        headers = {
            name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])
        }
        if headers.get("transfer-encoding", "").lower() == "chunked":
            body = await self._read_chunks()
        else:
            body = await self._read_exactly(int(headers.get("content-length", "0")))
        return Asked(method, path, headers, body, time.monotonic())

    async def _read_chunks(self) -> bytes:
        body = bytearray()
        while size := int((await self._read_line()).partition(b";")[0], 16):
            body += await self._read_exactly(size + 2)
            del body[-2:]
        await self._read_line()
        return bytes(body)

    async def _read_line(self) -> bytes:
        while (end := self._buffer.find(b"\r\n")) < 0:
            if not await self._more():
                return b"0"
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 2]
        return line

    async def _read_exactly(self, size: int) -> bytes:
        while len(self._buffer) < size and await self._more():
            pass
        body = bytes(self._buffer[:size])
        del self._buffer[:size]
        return body

    async def _more(self) -> bool:
        """Wait for bytes; False when none will come."""
        if self._gone.is_set():
            return False
        self._news.clear()
        await self._news.wait()
        return not self._gone.is_set()

    async def _play(self, answer: Answer, asked: Asked) -> None:
        if answer.hang:
            asked.answered.set()
            await self._gone.wait()
            raise ClientLeft
        await self._pause(answer.delay_head_s)
        await self._write(answer.raw_head if answer.raw_head is not None else _head(answer))
        await self._pause(answer.delay_body_s)
        if answer.hold_at == 0:
            await self._hold(asked)
        for number, piece in enumerate(answer.pieces()):
            if number:
                await self._pause(answer.delay_between_s)
            await self._write(b"%x\r\n%b\r\n" % (len(piece), piece) if answer.chunked else piece)
            asked.sent_bytes += len(piece)
            if asked.sent_bytes == answer.hold_at:
                await self._hold(asked)
        await self._end(answer, asked)

    async def _end(self, answer: Answer, asked: Asked) -> None:
        match answer.end:
            case "complete":
                if answer.chunked:
                    await self._write(b"0\r\n\r\n")
            case "close":
                pass
            case "reset":
                linger = struct.pack("ii", 1, 0)
                self._transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                self._transport.abort()
            case "hang":
                asked.answered.set()
                await self._gone.wait()
                raise ClientLeft

    async def _hold(self, asked: Asked) -> None:
        """Wait for the test's word, or for the client to leave."""
        asked.answered.set()
        await self._first_of(asked._released.wait())
        asked.answered.clear()

    async def _pause(self, seconds: float) -> None:
        if seconds > 0:
            await self._first_of(asyncio.sleep(seconds))

    async def _first_of(self, waiting: Any) -> None:
        """Await *waiting*; ClientLeft as soon as the client is gone."""
        gone = asyncio.ensure_future(self._gone.wait())
        other = asyncio.ensure_future(waiting)
        try:
            await asyncio.wait({gone, other}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            gone.cancel()
            other.cancel()
        if self._gone.is_set():
            raise ClientLeft

    async def _write(self, data: bytes) -> None:
        if self._gone.is_set():
            raise ClientLeft
        self._transport.write(data)
        await self._writable.wait()
        await asyncio.sleep(0)


def _head(answer: Answer) -> bytes:
    named = dict(answer.headers)
    if answer.chunked:
        named["transfer-encoding"] = "chunked"
    else:
        named["content-length"] = str(len(answer.body))
    if not answer.keep_alive:
        named["connection"] = "close"
    lines = [f"HTTP/1.1 {answer.status} {_REASONS.get(answer.status, 'Status')}"]
    lines += [f"{name}: {value}" for name, value in named.items()]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def _model_of(asked: Asked) -> str | None:
    if found := _MODEL_IN_PATH.search(asked.path):
        return unquote(found[1])
    try:
        body = json.loads(asked.body)
    except ValueError:
        return None
    model = body.get("model") if isinstance(body, dict) else None
    return model if isinstance(model, str) else None


# --- cassettes and recordings ----------------------------------------------------------------------

_HOP_BY_HOP = frozenset({"content-length", "content-encoding", "transfer-encoding", "connection", "keep-alive"})


def recorded_answer(response: Mapping[str, Any], split: Split = "whole") -> Answer:
    """The answer of a recording or cassette: `{status, headers, one of body, sse, ndjson, text}`.

    A cassette's `line_end: crlf` stands for the CR that YAML cannot show.
    """
    named = {name.lower(): str(value) for name, value in (response.get("headers") or {}).items()}
    headers = {name: value for name, value in named.items() if name not in _HOP_BY_HOP}
    if "sse" in response:
        headers.setdefault("content-type", "text/event-stream")
        text = response["sse"]
        body = (text.replace("\n", "\r\n") if response.get("line_end") == "crlf" else text).encode()
    elif "body" in response:
        headers.setdefault("content-type", "application/json")
        body = json.dumps(response["body"], ensure_ascii=False).encode()
    else:
        body = str(response.get("ndjson", response.get("text", ""))).encode()
    return Answer(int(response.get("status", 200)), headers, body, split)


def cassette(name: str, split: Split = "whole", **how: Any) -> Answer:
    """The answer of `cassettes/<name>.yaml`; *how* changes fields of the Answer."""
    found = yaml.safe_load((CASSETTES / f"{name}.yaml").read_text("utf-8"))
    return replace(recorded_answer(found["response"], split), **how)


def cassettes() -> Sequence[str]:
    """The names of all cassettes."""
    return sorted(str(path.relative_to(CASSETTES).with_suffix("")) for path in CASSETTES.rglob("*.yaml"))


def free_port() -> int:
    """A loopback port on which nothing listens: a refusing server, or room for one."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
