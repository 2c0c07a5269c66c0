"""A few rounds of `tests/kill_rounds.py` (`make kill-test` runs many), and what else a host does to the books."""

from __future__ import annotations

import asyncio
import json
import resource
import signal
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from random import Random
from typing import Any

import pytest

from storage.db import Database
from storage.errors import ReadOnly
from tests.kill_rounds import run
from tests.proxy.conftest import Serve
from tests.proxy.serving import QUICK, Served, provider, question, says, streams
from tests.replay import Upstream
from tests.running import POLL_S, HostClock, Modelport


async def test_nothing_is_lost_or_counted_twice_by_kills_under_load(tmp_path: Path) -> None:
    books = await run(tmp_path, 3, Random(7))

    assert books.problems == []
    assert min(books.checked, books.over, books.seen, books.exact) > 0


async def test_nothing_is_cut_or_lost_by_a_stop_under_load(tmp_path: Path) -> None:
    """SIGTERM: the process ends with 0, and what had begun is answered to its end and booked."""
    books = await run(tmp_path, 1, Random(5), number=signal.SIGTERM)

    assert books.problems == []
    assert books.checked > 0


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


def test_books_are_sound_however_the_clock_of_the_host_jumps(tmp_path: Path) -> None:
    """By a day, forwards and backwards, between requests and in the middle of one; a budget is charged right."""

    clock = HostClock(tmp_path)
    config = f"{QUICK}[cache]\nmode = 'off'\n[budgets.all]\nlimit_usd = '1'\nwindow = 'total'\n"
    with Upstream() as upstream:
        upstream.script("m", says())
        answer = streams("one ", "two ")
        upstream.script("slow", streams("one ", "two ", hold_at=len(answer.body) // 2))
        with Modelport(tmp_path, config + provider("up", upstream), clock.environment) as server:
            statuses = []
            for jump in (0, 86_400, -86_400, 30 * 86_400, -1):
                clock.jump_to(jump)
                statuses.append(server.post("/v1/chat/completions", question(model="up/m")).status)
            with closing(_asked(server, "up/slow")) as sock:
                asked = upstream.wait_asked("slow")
                clock.jump_to(-90_000)
                asked.release()
                body = b"".join(iter(lambda: sock.recv(65536), b""))
            told = server.get("/api/v1/exchanges?until=2099-01-01").json["data"]
            total = server.get("/costs?since=2001-01-01&until=2099-01-01").json["total"]
            (budget,) = server.get("/api/v1/budgets").json["data"]
            report = server.post("/api/v1/ledger/verify", {}).json

    assert (set(statuses), b"[DONE]" in body) == ({200}, True)
    assert [row["status"] for row in told] == ["ok"] * 6
    assert len({row["opened_at"][:10] for row in told}) > 3, "the clock did jump"
    assert (total["exchanges"], total["cost_usd"]) == (6, "0.000120000")
    assert (budget["spent_usd"], budget["reserved_usd"]) == ("0.000120000", "0.000000000")
    assert report["status"] == "ok", report


def _asked(server: Modelport, model: str = "up/m") -> Any:
    """A connection on which a stream was asked for; the server closes it at the end."""
    import socket

    sock = socket.create_connection(("127.0.0.1", server.port), 10)
    body = json.dumps(question(model=model, stream=True)).encode()
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
    with suppress(ReadOnly):  # it holds, even where it is undone together with what others wrote
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
    services = server.services
    free = await TROUBLES[trouble](services.db)
    statuses = {(await server.ask(model="up/m", user="x" * 200)).status for _ in range(30)}
    await _written(server)
    troubled = (await server.get("/health")).json["storage"]
    await free()
    await server.ask(model="up/m")
    await _written(server)
    await services.ledger.catch_up()
    rows, calm = await server.rows(), (await server.get("/health")).json["storage"]
    report = (await server.request("POST", "/api/v1/ledger/verify")).json

    assert statuses == {200}
    assert (troubled["status"], troubled["journal"]["waiting"] > 0, troubled["lost_rows"]) == (trouble, True, 0)
    assert (calm["status"], calm["journal"]["waiting"], calm["lost_rows"]) == ("ok", 0, 0)
    assert len(rows) == len(upstream.asked("m")) == 31, "whatever was sent is booked, once"
    assert {(row["status"], row["cost_usd"]) for row in rows} == {("ok", "0.000020000")}
    assert report["status"] == "ok", report


def _choke(server: Modelport, _path: Path) -> Callable[[], None]:
    """A file may be this large: enough for some lines of the journal, too little for the pages of one booking."""
    unbounded = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
    resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (10_000, resource.RLIM_INFINITY))

    def free() -> None:
        resource.prlimit(server.pid, resource.RLIMIT_FSIZE, unbounded)

    return free


def _keep_locked(_server: Modelport, path: Path) -> Callable[[], None]:
    """Another program writes, and does not come to an end."""
    foreign = sqlite3.connect(path, isolation_level=None)
    foreign.execute("BEGIN IMMEDIATE")
    return foreign.close


@pytest.mark.parametrize(
    ("trouble", "end"),
    [
        pytest.param(_choke, None, id="full, goes on"),  # the limit would end with the process
        pytest.param(_keep_locked, None, id="locked, goes on"),
        pytest.param(_keep_locked, Modelport.kill, id="locked, killed"),
        pytest.param(_keep_locked, Modelport.stop, id="locked, stopped"),
    ],
)
def test_what_a_relaxed_server_could_not_write_is_booked_when_the_disk_is_back_or_at_the_next_start(
    tmp_path: Path,
    trouble: Callable[[Modelport, Path], Callable[[], None]],
    end: Callable[[Modelport], Any] | None,
) -> None:
    config = f"{QUICK}[storage]\npath = 'modelport.db'\nledger = 'relaxed'\n[cache]\nmode = 'off'\n"
    with Upstream() as upstream:
        upstream.script("m", says())
        with Modelport(tmp_path, config + provider("up", upstream)) as server:
            free = trouble(server, tmp_path / "modelport.db")
            replies = [server.post("/v1/chat/completions", question(model="up/m")) for _ in range(6)]
            waiting = _storage(server, lambda told: told["journal"]["waiting"] == 12)
            if end is not None:
                end(server)
            free()
            if end is not None:
                server.start()
            replies.append(server.post("/v1/chat/completions", question(model="up/m")))
            calm = _storage(server, lambda told: told["journal"]["waiting"] == 0 and told["status"] == "ok")
            rows = [server.exchange(reply.headers["x-request-id"]) for reply in replies]
            seen = len(upstream.asked("m"))

    assert {reply.status for reply in replies} == {200}
    assert {(row["status"], row["cost_usd"], len(row["attempts"])) for row in rows} == {("ok", "0.000020000", 1)}
    assert (len({row["id"] for row in rows}), seen) == (7, 7)
    assert (waiting["lost_rows"], calm["lost_rows"]) == (0, 0)


def _storage(server: Modelport, until: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """What /health says of the store, as soon as *until* holds."""
    last = time.monotonic() + 20
    while True:
        told: dict[str, Any] = server.get("/health").json["storage"]
        if until(told):
            return told
        assert time.monotonic() < last, told
        time.sleep(POLL_S)  # the ledger tells nobody when it writes
