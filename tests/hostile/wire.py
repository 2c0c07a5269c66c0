"""What comes back over a raw socket, read as strictly as a client may read it."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

PATIENCE_S: Final = 30.0
"""How long an answer may take on a busy machine. Nothing here waits for that time to pass."""
_STATUS: Final = re.compile(rb"HTTP/1\.[01] ([1-5][0-9]{2}) [\x20-\x7e]*")
_HEADER: Final = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+): ?([\x20-\x7e\t]*)")


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer. Header names are lower case."""

    status: int
    headers: dict[str, str]
    body: bytes


class Hung(AssertionError):
    """Nothing came, and the connection stays open."""


class Wire:
    """A connection to the server's port."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), PATIENCE_S)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._buffer = b""
        self.came = b""
        """All that has come."""

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def send(self, *pieces: bytes) -> None:
        """Send *pieces*, unless the server has left already."""
        try:
            for piece in pieces:
                self._socket.sendall(piece)
        except ConnectionError:
            pass

    def answers(self, method: str = "POST") -> Iterator[Answer]:
        """Answers until the server closes.

        Raises:
            Hung: nothing came.
            AssertionError: what came is no HTTP.
        """
        while self._buffer or self._more():
            yield self._answer(method)

    def one(self) -> Answer:
        """The next answer. Raises AssertionError: the connection is closed, or as `answers` does."""
        return self._answer("POST")

    def _answer(self, method: str) -> Answer:
        head = self._until(b"\r\n\r\n").split(b"\r\n")
        first = _STATUS.fullmatch(head[0])
        assert first, f"no status line: {head[0]!r}"
        fields = [_HEADER.fullmatch(line) for line in head[1:-2]]
        assert all(fields), f"no headers: {head!r}"
        headers = {field[1].decode().lower(): field[2].decode() for field in fields if field}
        assert len(headers) == len(fields), f"a header twice: {head!r}"
        status = int(first[1])
        if status < 200 or status == 204 or method == "HEAD":
            return Answer(status, headers, b"")
        if "chunked" in headers.get("transfer-encoding", ""):
            return Answer(status, headers, self._chunks())
        return Answer(status, headers, self._exactly(int(headers["content-length"])))

    def _chunks(self) -> bytes:
        body = b""
        while size := int(self._until(b"\r\n"), 16):
            body += self._exactly(size + 2)[:-2]
        assert self._exactly(2) == b"\r\n"
        return body

    def _until(self, mark: bytes) -> bytes:
        while mark not in self._buffer:
            assert self._more(), f"closed within {self._buffer!r}"
        end = self._buffer.index(mark) + len(mark)
        return self._exactly(end)

    def _exactly(self, size: int) -> bytes:
        while len(self._buffer) < size:
            assert self._more(), f"closed within {self._buffer[:200]!r}"
        found, self._buffer = self._buffer[:size], self._buffer[size:]
        return found

    def _more(self) -> bool:
        """Wait for bytes; False when the server has closed."""
        try:
            came = self._socket.recv(65536)
        except ConnectionError:
            return False
        except TimeoutError:
            raise Hung(f"nothing within {PATIENCE_S} s after {self.came[-300:]!r}") from None
        self._buffer += came
        self.came += came
        return bool(came)
