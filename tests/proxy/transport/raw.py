"""A server on loopback that says bytes as they are given, cut where they are to be cut.

async with Server(Said([b"HTTP/1.1 200 OK\\r\\n...", b"..."])) as server:
    ... ask 127.0.0.1:server.port ...
    server.asked[0].startswith(b"GET / ")

One `Said` answers each request; the last one answers all that come after it, too. Requests are read to their end before
they are answered, unless the answer is `early`.
"""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
import struct
from dataclasses import dataclass, field
from typing import Literal, Self

from proxy.transport import Origin

End = Literal["keep", "close", "reset"]


@dataclass(frozen=True)
class Said:
    """The pieces of one answer; an Event among them is waited for. *early*: as soon as the request's head is there."""

    pieces: list[bytes | asyncio.Event] = field(default_factory=list)
    end: End = "keep"
    early: bool = False


@dataclass
class Server:
    """The server; *asked* are the requests, *by* on which connection each came, *gone* how many are over."""

    answers: list[Said]
    tls: ssl.SSLContext | None = None
    port: int = 0
    connections: int = 0
    asked: list[bytes] = field(default_factory=list)
    by: list[int] = field(default_factory=list)
    gone: int = 0
    writers: list[asyncio.StreamWriter] = field(default_factory=list)

    def __init__(self, *answers: Said, tls: ssl.SSLContext | None = None) -> None:
        self.answers = list(answers)
        self.tls = tls
        self.connections = self.gone = 0
        self.asked, self.by, self.writers = [], [], []
        self._news = asyncio.Event()

    @property
    def origin(self) -> Origin:
        return Origin("127.0.0.1", self.port, tls=False)

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, ssl=self.tls)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for writer in self.writers:
            writer.transport.abort()
        await asyncio.sleep(0)

    async def over(self, connections: int) -> None:
        """Wait until so many connections are over, and the system knows."""
        while self.gone < connections:
            self._news.clear()
            await asyncio.wait_for(self._news.wait(), 5)
        for _ in range(3):
            await asyncio.sleep(0)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number = self.connections
        self.connections += 1
        self.writers.append(writer)
        try:
            while await self._one(number, reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass
        finally:
            writer.close()
            self.gone += 1
            self._news.set()

    async def _one(self, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = await reader.readuntil(b"\r\n\r\n")
        said = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        body = b"" if said.early else await read_body(head, reader)
        self.asked.append(head + body)
        self.by.append(number)
        for piece in said.pieces:
            if isinstance(piece, bytes):
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(0)  # a round of the loop, in which the client reads the piece by itself
                await asyncio.sleep(0)
            else:
                await piece.wait()
        if said.end == "reset":
            linger = struct.pack("ii", 1, 0)
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            writer.transport.abort()
        return said.end == "keep"


async def read_body(head: bytes, reader: asyncio.StreamReader) -> bytes:
    """The body of a request."""
    if found := re.search(rb"(?i)\r\ncontent-length: (\d+)", head):
        return await reader.readexactly(int(found[1]))
    if re.search(rb"(?i)\r\ntransfer-encoding: chunked", head):
        body = b""
        while size := int(await reader.readuntil(b"\r\n"), 16):
            body += (await reader.readexactly(size + 2))[:-2]
        await reader.readexactly(2)
        return body
    return b""
