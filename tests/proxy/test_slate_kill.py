"""What the fast lane had under way when the process was killed: on the slate, and in the books after the next start."""

from __future__ import annotations

import socket
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from tests.proxy.serving import QUICK, provider, question, says
from tests.replay import Upstream
from tests.running import Modelport
from translators.codec import dumps

CLIENTS = 6


def _ask(client: socket.socket) -> None:
    body = dumps(question(model="one/m"))
    client.sendall(
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
    )


def _answer(client: socket.socket) -> bytes:
    answer = b""
    while b"total_tokens" not in answer:
        piece = client.recv(65536)
        assert piece, f"cut after {answer!r}"
        answer += piece
    return answer


def test_what_was_under_way_is_in_the_books_after_a_kill(tmp_path: Path) -> None:
    """Each request that the provider was asked has a row: `ok` where its answer came, else `interrupted`."""
    with Upstream() as upstream, ExitStack() as stack:
        upstream.script("m", says())
        with Modelport(tmp_path, QUICK + provider("one", upstream)) as server:
            clients = [
                stack.enter_context(socket.create_connection(("127.0.0.1", server.port), 20)) for _ in range(CLIENTS)
            ]
            for _ in range(4):
                for client in clients:  # together, so that there are as many connections to the provider
                    _ask(client)
                assert all(b" 200 " in _answer(client)[:20] for client in clients)
            upstream.script("m", replace(says(), delay_head_s=60))
            answered = len(upstream.requests)
            for client in clients:
                _ask(client)
            upstream.wait_asked("m", answered + CLIENTS, 20)
            server.kill()
            upstream.script("m", says())
            server.start()

            rows = server.get("/api/v1/exchanges?limit=1000").json["data"]

    statuses = [row["status"] for row in rows]
    assert len(rows) == len(upstream.requests) == answered + CLIENTS
    assert statuses.count("ok") == answered
    assert statuses.count("interrupted") == CLIENTS
    assert all(row["cost_usd"] is not None for row in rows)
