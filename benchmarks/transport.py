"""What a call to a provider costs the client's side: our own transport beside aiohttp's client.

    python benchmarks/transport.py [REQUESTS]        default 20000

The provider is a process of its own on loopback that answers every request with the same 1.5 KB; each client makes
the same calls, one after the other and 64 at a time, alternating, in several rounds. Printed is the processor time of
the client's process for one request (user and system), which other load on the machine disturbs less than the clock
on the wall. `caller` rows go the way that `proxy.backends.http` goes: headers as text, `BackendError`s; `bare` rows
use the client alone. The lines "streams" tell the same for each of 200 events that come in pieces of their own.
"""

from __future__ import annotations

import asyncio
import gc
import multiprocessing
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from proxy.backends.backend import Timeouts
from proxy.backends.callers import AiohttpCaller, Caller, OwnCaller, new_session
from proxy.transport import Deadlines, Origin, Transport

ROUNDS: Final = 5
AT_ONCE: Final = 64
EVENTS: Final = 200
BODY: Final = b'{"model":"m","messages":[{"role":"user","content":"Say hello"}]}'
ANSWER_BODY: Final = b'{"text":"' + b"x" * 1489 + b'"}'
ANSWER: Final = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nDate: Sat, 21 Nov 2026 12:00:00 GMT\r\nServer: mock\r\n"
    b"x-request-id: req_0123456789\r\nx-ratelimit-remaining-requests: 999\r\nx-ratelimit-reset-requests: 60ms\r\n"
    b"Content-Length: %d\r\n\r\n%b" % (len(ANSWER_BODY), ANSWER_BODY)
)
EVENT: Final = b'data: {"choices":[{"delta":{"content":"word"}}]}\n\n'
STREAM_HEAD: Final = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
HEADERS: Final = {
    "content-type": "application/json",
    "accept": "application/json",
    "authorization": "Bearer sk-0123456789abcdef",
}
CLOCKS: Final = Timeouts()


class Provider(asyncio.Protocol):
    """Answers as soon as a request is whole; knows no more of HTTP than it must."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: Any = transport
        self.come = b""

    def data_received(self, received: bytes) -> None:
        self.come += received
        if not self.come.endswith(BODY):
            return
        streamed, self.come = self.come.startswith(b"POST /stream"), b""
        if not streamed:
            self.transport.write(ANSWER)
            return
        self.transport.write(STREAM_HEAD)
        self.left = EVENTS
        self._event()

    def _event(self) -> None:
        self.left -= 1
        self.transport.write(b"%x\r\n%b\r\n" % (len(EVENT), EVENT))
        if self.left:
            asyncio.get_running_loop().call_later(0.001, self._event)
        else:
            self.transport.write(b"0\r\n\r\n")


def provide(told: Any) -> None:
    """The provider's process."""

    async def serve() -> None:
        server = await asyncio.get_running_loop().create_server(Provider, "127.0.0.1", 0)
        told.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(serve())


Ask = Callable[[str], Awaitable[int]]


def asking(caller: Caller, url: str) -> Ask:
    """One call the way the backend makes it; how many pieces its answer had."""

    async def ask(path: str) -> int:
        carried = await caller.ask("POST", url + path, HEADERS, BODY, clocks=CLOCKS, wait_s=60)
        pieces = 0
        while await carried.piece():
            pieces += 1
        carried.close()
        return pieces

    return ask


async def measured(ask: Ask, path: str, requests: int, at_once: int) -> float:
    """Microseconds of processor time for a request."""

    async def client() -> None:
        for _ in range(requests // at_once):
            await ask(path)

    await ask(path)
    gc.collect()
    began = time.process_time()
    await asyncio.gather(*(client() for _ in range(at_once)))
    return (time.process_time() - began) / (requests // at_once * at_once) * 1e6


async def compare(port: int, requests: int) -> None:
    """Ask with each client in turn, and print the medians."""
    url = f"http://127.0.0.1:{port}"
    transport, session = Transport(), new_session()
    head = b"POST /whole HTTP/1.1\r\nhost: 127.0.0.1\r\n" + b"".join(
        f"{name}: {value}\r\n".encode() for name, value in HEADERS.items()
    )
    origin, deadlines = Origin("127.0.0.1", port, tls=False), Deadlines()

    async def own(_path: str) -> int:
        reply = await transport.send("POST", origin, head, BODY, deadlines)
        return len(await reply.read(1 << 20))

    async def aio(path: str) -> int:
        async with session.post(url + path, data=BODY, headers=HEADERS) as response:
            return len(await response.read())

    clients = {
        "own, bare": own,
        "aiohttp, bare": aio,
        "own, caller": asking(OwnCaller(transport), url),
        "aiohttp, caller": asking(AiohttpCaller(session), url),
    }
    for at_once in (1, AT_ONCE):
        found: dict[str, list[float]] = {name: [] for name in clients}
        for _ in range(ROUNDS):
            for name, ask in clients.items():
                found[name].append(await measured(ask, "/whole", requests, at_once))
        for name, figures in found.items():
            print(
                f"whole, {at_once:2} at a time  {name:16} {statistics.median(figures):6.1f} µs a request"
                f"  ({min(figures):.1f} to {max(figures):.1f})"
            )
    for name in ("own, caller", "aiohttp, caller"):
        figures = [await measured(clients[name], "/stream", AT_ONCE, AT_ONCE) / EVENTS for _ in range(ROUNDS)]
        print(f"streams, {AT_ONCE} at a time {name:16} {statistics.median(figures):6.1f} µs an event")
    await transport.close()
    await session.close()


def main() -> None:
    """Start the provider, ask it, stop it."""
    requests = int(sys.argv[1]) if len(sys.argv) > 1 else 20_000
    here, there = multiprocessing.Pipe()
    provider = multiprocessing.get_context("spawn").Process(target=provide, args=(there,), daemon=True)
    provider.start()
    try:
        asyncio.run(compare(here.recv(), requests))
    finally:
        provider.terminate()


if __name__ == "__main__":
    main()
