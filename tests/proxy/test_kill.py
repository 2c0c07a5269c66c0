"""A few rounds of `tests/kill_rounds.py` (`make kill-test` runs many), and what else a host does to the books."""

from __future__ import annotations

import asyncio
import json
import signal
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from random import Random
from typing import Any

import pytest

from storage.db import Database
from tests.kill_rounds import run
from tests.proxy.conftest import Serve
from tests.proxy.serving import QUICK, Served, provider, question, says, streams
from tests.replay import Upstream
from tests.running import Modelport


async def test_nothing_is_lost_or_counted_twice_by_kills_under_load(tmp_path: Path) -> None:
    books = await run(tmp_path, 3, Random(7))

    assert books.problems == []
    assert min(books.checked, books.seen, books.exact) > 0


def test_a_server_that_is_stopped_and_goes_on_books_what_it_was_answering(tmp_path: Path) -> None:
    """SIGSTOP while the upstream is in the middle of its answer, SIGCONT after it has come to its end."""
    with Upstream() as upstream:
        answer = streams("one ", "two ", "three ")
        upstream.script("m", streams("one ", "two ", "three ", hold_at=len(answer.body) // 2))
        with Modelport(tmp_path, QUICK + provider("up", upstream)) as server:
            connection = sqlite3.connect(tmp_path / "share/modelport/modelport.db")
            with closing(connection), closing(_asked(server)) as sock:
                asked = upstream.wait_asked("m")
                assert asked.answered.wait(5)
                server.signal(signal.SIGSTOP)
                asked.release()
                opened = connection.execute("SELECT status FROM exchanges").fetchall()
                server.signal(signal.SIGCONT)
                body = b""
                while piece := sock.recv(65536):
                    body += piece
                row = connection.execute(
                    "SELECT status, input_tokens, output_tokens, estimated FROM exchanges"
                ).fetchall()

    assert opened == [("open",)]
    assert b"data: [DONE]" in body
    assert row == [("ok", 10, 5, 0)]


def _asked(server: Modelport) -> Any:
    """A connection on which a stream was asked for; the server closes it at the end."""
    import socket

    sock = socket.create_connection(("127.0.0.1", server.port), 10)
    body = json.dumps(question(model="up/m", stream=True)).encode()
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: {len(body)}\r\n"
    )
    sock.sendall(head.encode() + b"content-type: application/json\r\n\r\n" + body)
    return sock


# --- a disk that does not take what is written -------------------------------------------------------------

Trouble = Callable[[Database], Any]


async def _fill(db: Database) -> Callable[[], Any]:
    """No page more than there are."""
    full = "PRAGMA max_page_count = 1"
    await db.write(lambda connection: connection.execute(full).fetchall())

    async def free() -> None:
        await db.write(lambda connection: connection.execute("PRAGMA max_page_count = 1000000").fetchall())

    return free


async def _write_protect(db: Database) -> Callable[[], Any]:
    await db.write(lambda connection: connection.execute("PRAGMA query_only = ON").fetchall())

    async def free() -> None:
        assert db._writer is not None  # no transaction can begin in which it could be said
        db._writer._connection.execute("PRAGMA query_only = OFF")

    return free


async def _lock(db: Database) -> Callable[[], Any]:
    foreign = sqlite3.connect(db.path, isolation_level=None, check_same_thread=False)
    foreign.execute("BEGIN IMMEDIATE")

    async def free() -> None:
        foreign.execute("ROLLBACK")
        foreign.close()

    return free


TROUBLES = {"full": _fill, "read_only": _write_protect, "locked": _lock}


async def _until_refused(server: Served) -> Any:
    """The first answer that is not 200: a full file may have room in its pages for a few rows."""
    for _ in range(200):
        reply = await server.ask(model="up/m", user="x" * 200)
        if reply.status != 200:
            return reply
    raise AssertionError("never refused")


async def _written(server: Served) -> None:
    while server.services.db.pending:
        await asyncio.sleep(0)


@pytest.mark.parametrize("trouble", TROUBLES)
async def test_strict_refuses_while_the_disk_does_and_goes_on_afterwards(
    serve: Serve, upstream: Upstream, trouble: str
) -> None:
    upstream.script("m", says())
    server = await serve(QUICK, "[cache]\nmode = 'off'\n", provider("up", upstream))
    await server.ask(model="up/m")
    free = await TROUBLES[trouble](server.services.db)
    refused = await _until_refused(server)
    health = (await server.get("/health")).json["storage"]["status"]
    costs = await server.get("/costs")
    await free()
    after = await server.ask(model="up/m")
    await _written(server)
    asked, rows = len(upstream.asked("m")), await server.rows()
    report = (await server.request("POST", "/api/v1/ledger/verify")).json

    assert (refused.status, refused.error["code"]) == (503, "ledger_unavailable")
    assert health == trouble
    assert (costs.status, after.status) == (200, 200)
    assert asked == len(rows), "what was refused was not sent"
    assert {row["cost_usd"] for row in rows} == {"0.000020000"}, "what was sent is booked, if its answer was withheld"
    assert {row["status"] for row in rows} <= {"ok", "failed"}
    assert report["status"] == "ok", report


@pytest.mark.parametrize("trouble", TROUBLES)
async def test_relaxed_answers_while_the_disk_refuses_and_says_so(
    serve: Serve, upstream: Upstream, trouble: str
) -> None:
    upstream.script("m", says())
    server = await serve(QUICK, "[storage]\nledger = 'relaxed'\n[cache]\nmode = 'off'\n", provider("up", upstream))
    free = await TROUBLES[trouble](server.services.db)
    statuses = {(await server.ask(model="up/m")).status for _ in range(30)}
    await _written(server)
    lost = server.services.ledger.lost
    await free()
    after = await server.ask(model="up/m")
    await _written(server)
    row = await server.row(after.id)

    assert statuses == {200}
    assert lost > 0
    assert row["status"] == "ok"
