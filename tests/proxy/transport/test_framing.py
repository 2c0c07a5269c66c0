"""Answers that are framed at one glance: only what llhttp would have read alike."""

from __future__ import annotations

import httptools
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.transport.framing import MOST_BYTES, MOST_LINES, framed

PLAIN = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nX-Empty:\r\n"
    b"Content-Length: 2\r\nConnection: keep-alive\r\n\r\n{}"
)


class Read:
    """What llhttp reads in the same bytes."""

    def __init__(self, data: bytes) -> None:
        self.headers: list[tuple[bytes, bytes]] = []
        self.body, self.whole, self.again = b"", 0, False
        self._parser = httptools.HttpResponseParser(self)
        self._parser.feed_data(data)
        self.status = self._parser.get_status_code()

    def on_headers_complete(self) -> None:
        self.again = self._parser.should_keep_alive()

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name, value))

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        self.whole += 1


def test_an_ordinary_answer_is_read() -> None:
    headers = [(b"Content-Type", b"application/json"), (b"X-Empty", b""), (b"Content-Length", b"2")]

    assert framed(PLAIN) == ([*headers, (b"Connection", b"keep-alive")], b"{}")
    assert framed(b"HTTP/1.1 200 OK\r\ncontent-length:0\r\n\r\n") == ([(b"content-length", b"0")], b"")


@pytest.mark.parametrize(
    "data",
    [
        PLAIN[:-1],
        PLAIN + b"x",
        PLAIN.replace(b"200 OK", b"200 Fine"),
        PLAIN.replace(b"200 OK", b"201 Created"),
        PLAIN.replace(b"HTTP/1.1", b"HTTP/1.0"),
        PLAIN.replace(b"keep-alive", b"close"),
        PLAIN.replace(b"keep-alive", b"upgrade"),
        PLAIN.replace(b"Connection: keep-alive", b"Transfer-Encoding: chunked"),
        PLAIN.replace(b"Connection: keep-alive", b"Content-Length: 2"),
        PLAIN.replace(b"Content-Length: 2", b"Content-Length: +2"),
        PLAIN.replace(b"Content-Length: 2", b"Content-Length: 2 "),
        PLAIN.replace(b"Content-Length: 2", b"Content-Length : 2"),
        PLAIN.replace(b"Content-Length: 2\r\n", b""),
        PLAIN.replace(b"X-Empty:", b"X-Folded: a\r\n b"),
        PLAIN.replace(b"X-Empty:", b"X-Null: \0"),
        PLAIN.replace(b"X-Empty:", b"X-Line: a\nb: c"),
        PLAIN.replace(b"X-Empty:", b"no colon"),
        PLAIN.replace(b"X-Empty:", b"X-Long: " + b"x" * MOST_BYTES),
        PLAIN.replace(b"X-Empty:", b"\r\n".join(b"x%d: y" % number for number in range(MOST_LINES))),
        b"\r\n\r\n",
        b"",
    ],
)
def test_what_is_not_ordinary_is_left_to_the_parser(data: bytes) -> None:
    assert framed(data) is None


PIECES = [
    b"\r\n", b"\n", b"\r", b":", b" ", b"\t", b"\0", b"\x80", b"0", b"2", b"X: y\r\n", b"Content-Length: 2\r\n",
    b"Transfer-Encoding: chunked\r\n", b"Connection: close\r\n", b"HTTP/1.1 100 Continue\r\n\r\n", b"{}", b",", b";",
]  # fmt: skip


@given(st.lists(st.tuples(st.integers(0, len(PLAIN)), st.integers(0, 3), st.sampled_from([*PIECES, b""])), max_size=3))
def test_whatever_is_read_is_what_the_parser_reads(changes: list[tuple[int, int, bytes]]) -> None:
    data = PLAIN
    for at, left_out, piece in changes:
        data = data[:at] + piece + data[at + left_out :]
    found = framed(data)

    if found is not None:
        read = Read(data)
        assert (read.status, read.again, read.whole) == (200, True, 1)
        assert found == (read.headers, read.body)
