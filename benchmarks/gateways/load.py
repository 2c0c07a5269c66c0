"""Asks a server on loopback on so many connections, and tells how long the answers took, as one line of JSON.

    python benchmarks/gateways/load.py ASKED         ASKED: the fields of `Asked` as JSON

A closed loop: each connection asks again as soon as its answer is whole. Every request holds a number of its own in
the place of ##########, unless it is to be `same`; times are in microseconds, by the monotonic clock. This is Python:
it asks some 10,000 times a second at most, which is what bounds the fastest servers.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import sys
import time
from dataclasses import dataclass, field
from typing import Any, Final

NUMBER: Final = b"##########"
STAMP: Final = b'"@'


@dataclass(slots=True)
class Asked:
    """What to ask. *seconds* or *requests* end it, whichever comes first."""

    port: int
    path: str
    body: str
    headers: list[str] = field(default_factory=list)
    connections: int = 1
    seconds: float = 3
    requests: int = 10**9
    first: int = 0
    """The number of the first request."""
    same: bool = False
    """Whether all have that number."""


@dataclass(slots=True)
class Heard:
    """What came back, in nanoseconds."""

    took: list[int] = field(default_factory=list)
    first_chunk: list[int] = field(default_factory=list)
    delays: list[int] = field(default_factory=list)
    errors: int = 0
    told: str = ""
    """Of the first error."""


class Connection(asyncio.Protocol):
    """Asks again and again, until `ends_ns` or until nobody may ask."""

    def __init__(self, asked: Asked, numbers: itertools.count[int], heard: Heard, ends_ns: int) -> None:
        self._asked, self._numbers, self._heard, self._ends_ns = asked, numbers, heard, ends_ns
        self._head, self._body = _request(asked)
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._come = b""
        self._began = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: Any = transport
        self._ask()

    def connection_lost(self, _error: Exception | None) -> None:
        if not self.over.done():
            if self._began:
                self._heard.errors += 1
                self._heard.told = self._heard.told or "the connection was closed"
            self.over.set_result(None)

    def _ask(self) -> None:
        number = next(self._numbers)
        now = time.monotonic_ns()
        if number >= self._asked.first + self._asked.requests or now >= self._ends_ns:
            self._began = 0
            self._transport.close()
            return
        self._come, self._length, self._chunked, self._seen = b"", -1, False, False
        self._began = time.monotonic_ns()
        self._transport.write(
            self._head + self._body.replace(NUMBER, b"%010d" % (self._asked.first if self._asked.same else number))
        )

    def data_received(self, received: bytes) -> None:
        now = time.monotonic_ns()
        self._come += received
        if self._length < 0 and not self._chunked and not self._read_head():
            return
        if self._chunked:
            self._hear(received, now)
            whole = self._come.endswith(b"\r\n0\r\n\r\n")
        else:
            whole = len(self._come) >= self._length
        if whole:
            self._heard.took.append(now - self._began)
            if not self._come.startswith(b"HTTP/1.1 200"):
                self._heard.errors += 1
                self._heard.told = self._heard.told or self._come[:400].decode(errors="replace")
            self._ask()

    def _read_head(self) -> bool:
        ends = self._come.find(b"\r\n\r\n")
        if ends < 0:
            return False
        head = self._come[:ends].lower()
        self._chunked = b"transfer-encoding: chunked" in head
        if not self._chunked:
            self._length = ends + 4 + int(head.partition(b"content-length:")[2].split(b"\r\n", 1)[0])
        return True

    def _hear(self, received: bytes, now: int) -> None:
        if not self._seen and b"data:" in received:
            self._seen = True
            self._heard.first_chunk.append(now - self._began)
        for piece in received.split(STAMP)[1:]:
            digits, blank, _ = piece[:24].partition(b" ")
            if blank:  # otherwise it is cut between two reads
                self._heard.delays.append(now - int(digits))


def _request(asked: Asked) -> tuple[bytes, bytes]:
    body = asked.body.encode()
    lines = [
        f"POST {asked.path} HTTP/1.1",
        f"host: 127.0.0.1:{asked.port}",
        "content-type: application/json",
        f"content-length: {len(body)}",
        *asked.headers,
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n", body


def quantiles(took_ns: list[int]) -> dict[str, float]:
    """Microseconds that half, and 99 of 100, stay below."""
    ordered = sorted(took_ns)
    if not ordered:
        return {"p50": 0.0, "p99": 0.0, "max": 0.0}
    at = {"p50": 0.5, "p99": 0.99, "max": 1.0}
    return {name: ordered[min(len(ordered) - 1, int(share * len(ordered)))] / 1000 for name, share in at.items()}


async def main(asked: Asked) -> dict[str, Any]:
    """Ask, and tell what was heard."""
    heard, numbers = Heard(), itertools.count(asked.first)
    loop = asyncio.get_running_loop()
    began = time.monotonic_ns()
    ends = began + int(asked.seconds * 1e9)
    made = [
        await loop.create_connection(lambda: Connection(asked, numbers, heard, ends), "127.0.0.1", asked.port)
        for _ in range(asked.connections)
    ]
    _, unfinished = await asyncio.wait([each.over for _, each in made], timeout=asked.seconds + 30)
    took_s = (time.monotonic_ns() - began) / 1e9
    return {
        "done": len(heard.took),
        "rps": len(heard.took) / took_s,
        "seconds": took_s,
        "errors": heard.errors,
        "unfinished": len(unfinished),
        "told": heard.told,
        "latency": quantiles(heard.took),
        "first_chunk": quantiles(heard.first_chunk),
        "chunk_delay": quantiles(heard.delays),
        "chunks_per_s": len(heard.delays) / took_s,
    }


if __name__ == "__main__":
    print(json.dumps(asyncio.run(main(Asked(**json.loads(sys.argv[1]))))))
