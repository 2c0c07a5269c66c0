"""What a host does to the process: a disk without room, a file that cannot be used, no descriptors, jumping clocks.

Kills stand in test_kill.py, failing calls of the store in test_nth_call.py.
"""

from __future__ import annotations

import asyncio
import http.client
import os
import resource
import socket
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from proxy.app import App, new_server, opened
from proxy.cli.serve import serve as serve_command
from proxy.config import load
from proxy.descriptors import LEAST, RESERVED, LoopErrors, is_shortage, raise_limit, shares
from proxy.disk import relieve
from proxy.server import Incoming, Route
from proxy.services import Services
from storage.ballast import AMPLE_BYTES, BALLAST_BYTES, Ballast
from storage.db import Database, sqlite_warning
from storage.errors import Corrupt
from storage.ledger import Ledger, OpenExchange, SettledExchange
from tests.faulty import Faulty, broken, busy, full
from tests.proxy.conftest import Serve
from tests.proxy.keyed import KEYS_ONLY, MASTER, bearer, make
from tests.proxy.serving import QUICK, Reply, Served, by_form, provider, question, route, says, streams
from tests.replay import Upstream
from tests.running import POLL_S, ROOT, HostClock, Modelport

DAY_S = 86_400


# --- a file that cannot be used ----------------------------------------------------------------------------


def _wrong_magic(path: Path) -> None:
    path.write_bytes(b"not a database, but something else")


def _random_page(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[8192 : 8192 + 65_536] = b"\xa5" * 65_536
    path.write_bytes(content)


def _newer_schema(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 999")


def _folder_in_its_place(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize(
    ("harm", "said", "copies"),
    [
        (_wrong_magic, "the database is damaged", 1),
        (_random_page, "the database is damaged", 1),
        (_newer_schema, "its schema is version 999", 0),
        (_folder_in_its_place, "it cannot be opened", 0),
    ],
    ids=["wrong magic", "overwritten pages", "newer schema", "a folder"],
)
def test_a_start_says_in_one_line_why_there_is_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], kept_logging: None, harm: Any, said: str, copies: int
) -> None:
    """And leaves what is there as it is."""
    path = tmp_path / "modelport.db"
    asyncio.run(_made(path))
    harm(path)
    before = path.read_bytes() if path.is_file() else None

    status = serve_command(_arguments(tmp_path))

    error = capsys.readouterr().err
    assert (status, error.count("\n")) == (1, 1), error
    assert error.startswith(f"modelport: {path}: ")
    assert said in error
    assert (path.read_bytes() if path.is_file() else None) == before
    assert len(list(tmp_path.glob("modelport.db.damaged-*Z"))) == copies


async def _made(path: Path) -> None:
    async with Database(path) as db:
        await db.write(lambda c: c.execute("CREATE TABLE filler AS SELECT zeroblob(200000) AS zeros").rowcount)


def _arguments(folder: Path, *more: str) -> list[str]:
    config = folder / "only.toml"
    config.write_text("[storage]\npath = 'modelport.db'\n", "utf-8")
    return ["--config", str(config), "--port", "0", *more]


def test_a_second_process_names_the_first(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], kept_logging: None
) -> None:
    with Modelport(tmp_path, "[storage]\npath = 'modelport.db'\n") as first:
        status = serve_command(_arguments(tmp_path))
        error = capsys.readouterr().err
        still = first.get("/health/live").status

    assert (status, still) == (1, 200)
    assert error == (
        f"modelport: {tmp_path / 'modelport.db'}: another modelport process (pid {first.pid}) has this database open;"
        " stop it or use another file\n"
    )
    assert not list(tmp_path.glob("modelport.db.pid")), "gone with the process"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 32 MB of its own."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=32m", "tmpfs", str(folder)]
    try:
        mounted = subprocess.run(command, capture_output=True, check=False).returncode == 0
    except OSError:
        mounted = False
    if not mounted:
        pytest.skip("a file system cannot be mounted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_read_only_file_system_is_said_in_one_line(
    small_disk: Path, capsys: pytest.CaptureFixture[str], kept_logging: None
) -> None:
    asyncio.run(_made(small_disk / "modelport.db"))
    arguments = _arguments(small_disk)
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)

    status = serve_command(arguments)

    error = capsys.readouterr().err
    assert (status, error.count("\n")) == (1, 1), error
    assert error.startswith(f"modelport: {small_disk}")
    assert "cannot be written" in error


# --- a disk without room -----------------------------------------------------------------------------------


def test_a_full_disk_gives_up_its_ballast_and_goes_on_when_there_is_room(tmp_path: Path, small_disk: Path) -> None:
    """Until the ballast is released, requests are refused, and nothing is sent; no answer is wrong."""
    config = f"{QUICK}[storage]\npath = 'disk/modelport.db'\n[cache]\nmode = 'off'\n"
    ballast, filler = small_disk / "modelport.db-ballast", small_disk / "filler"
    with Upstream() as upstream:
        upstream.script("m", says())
        with Modelport(tmp_path, config + provider("up", upstream)) as server:
            _until(lambda: ballast.exists() and ballast.stat().st_size == BALLAST_BYTES)
            _fill(filler)
            statuses = _until_refused(server)
            _until(lambda: not ballast.exists())
            _until(lambda: _asked(server) == 200)
            _fill(filler)
            statuses |= _until_refused(server)
            alive = server.get("/health").json["storage"]["status"]
            filler.unlink()
            _until(lambda: _asked(server) == 200)
            _until(ballast.exists)
            health = server.get("/health").json["storage"]
            report = server.post("/api/v1/ledger/verify", {}).json
            rows = server.get("/api/v1/exchanges?limit=1000").json["data"]
            asked = len(upstream.asked("m"))
            log = server.log

    assert statuses <= {200, 503}, statuses
    assert alive in {"full", "unavailable"}
    assert (health["status"], health["ballast_mb"]) == ("ok", 4.0)
    assert report["status"] == "ok", report
    assert asked <= len(rows), "what was refused was not sent"
    assert "Traceback" not in log
    assert log.count("that were kept beside it are free") == 1


def _fill(path: Path) -> None:
    with path.open("ab") as file:
        piece = 65_536
        while piece:
            try:
                os.write(file.fileno(), bytes(piece))
            except OSError:
                piece //= 2


def _until_refused(server: Modelport) -> set[int]:
    """What is answered until a request is not."""
    statuses: set[int] = set()
    tags = ",".join(f"t{number}={'y' * 100}" for number in range(8))
    for _ in range(20_000):
        status = _asked(server, tags)
        statuses.add(status)
        if status != 200:
            return statuses
    raise AssertionError("never refused")


def _asked(server: Modelport, tags: str = "") -> int:
    headers = {"x-modelport-tags": tags} if tags else {}
    return server.post("/v1/chat/completions", question(model="up/m"), headers).status


def _until(fact: Callable[[], Any], within_s: float = 30.0) -> None:
    end = time.monotonic() + within_s
    while not fact():
        assert time.monotonic() < end
        time.sleep(POLL_S)  # another process tells nobody what it does


def _pages(server: Served, more: int) -> int:
    """Let the database have as many pages as it has, and some *more*; how many are free of those that it has."""
    assert server.services.db._writer is not None
    connection = server.services.db._writer._connection
    (count,) = connection.execute("PRAGMA page_count").fetchone()
    connection.execute(f"PRAGMA max_page_count = {count + more}").fetchall()
    return int(connection.execute("PRAGMA freelist_count").fetchone()[0])


@pytest.mark.parametrize("days", [1, None])
async def test_what_is_too_old_makes_room_on_a_full_disk(
    serve: Serve,
    upstream: Upstream,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    days: int | None,
) -> None:
    """The oldest exchanges and answers go, as the settings say; without such a setting somebody has to do it."""

    async def not_due(_: object) -> None:
        """What removes them every hour, and at a start, has just been there."""

    monkeypatch.setattr("proxy.bookkeeping._retain", not_due)

    class Giving(Ballast):
        """Its room is some pages of the database, which stands for the disk."""

        def _release(self) -> bool:
            _pages(server, 200)
            return super()._release()

    upstream.script("m", says())
    kept = f"[ledger]\nretention_days = {days}\n" if days else ""
    server = await serve(QUICK, kept, "[cache]\nmode = 'off'\n", provider("up", upstream))
    services = server.services
    old = Ledger(services.db, now=lambda: time.time() - 3 * DAY_S)
    for number in range(300):
        exchange = OpenExchange(f"old{number}", "d", tags={"t": "x" * 500})
        await old.record(exchange, SettledExchange(exchange.id, "ok"))
    services.cache.put(b"gone", b"v" * 10_000, tenant="t", ttl_s=-1)
    await services.db.write(lambda c: c.execute("SELECT 1"))
    _pages(server, 0)
    while (refused := await server.ask(model="up/m")).status == 200:
        pass  # as long as the pages that there are have room
    health = (await server.get("/health")).json["storage"]["status"]
    ballast = Giving(server.database.with_name("ballast"), free=lambda _: AMPLE_BYTES)
    ballast.adjust()

    for _ in range(3):
        await relieve(services, ballast)
    free = _pages(server, 0)
    rows = await server.rows()

    assert (refused.status, refused.error["code"], health) == (503, "ledger_unavailable", "full")
    assert services.cache.stats()["entries"] == 0
    assert caplog.text.count("that were kept beside it are free") == 1
    if days:
        assert not [row for row in rows if row["id"].startswith("old")]
        assert caplog.text.count("exchanges older than 1 days were removed to make room") == 1
        assert free > 100
        assert (await server.ask(model="up/m")).status == 200
    else:
        assert len([row for row in rows if row["id"].startswith("old")]) == 300
        assert caplog.text.count("retention_days is not set") == 1


# --- SQLite ------------------------------------------------------------------------------------------------


def test_a_sqlite_that_can_damage_its_log_is_said_to_be() -> None:
    assert "3.51.2 can damage" in (sqlite_warning((3, 51, 2)) or "")
    assert (sqlite_warning((3, 51, 3)), sqlite_warning((4, 0, 0))) == (None, None)


async def test_health_names_the_version(serve: Serve) -> None:
    server = await serve(QUICK)
    told = (await server.get("/health")).json["storage"]

    assert told["sqlite_version"] == sqlite3.sqlite_version
    assert told["sqlite_warning"] == sqlite_warning()


# --- descriptors -------------------------------------------------------------------------------------------

FEW = f"import resource\nresource.setrlimit(resource.RLIMIT_NOFILE, (60, {RESERVED + 40}))\n"


def test_more_connections_than_descriptors_are_no_trouble(tmp_path: Path) -> None:
    """The soft limit is raised to the hard one; the log stays small, requests are answered afterwards."""
    (tmp_path / "sitecustomize.py").write_text(FEW, "utf-8")
    with Upstream() as upstream, ExitStack() as stack:
        upstream.script("m", says())
        paths = {"PYTHONPATH": f"{tmp_path}:{ROOT}"}
        server = stack.enter_context(Modelport(tmp_path, QUICK + provider("up", upstream), paths))
        limits = Path(f"/proc/{server.pid}/limits")
        raised = limits.read_text("utf-8") if limits.exists() else None
        before = _asked(server)
        crowd = [stack.enter_context(closing(_connected(server))) for _ in range(200)]
        for each in crowd:
            with suppress(OSError):  # it may have been turned away already
                each.sendall(b"GET /health/live HTTP/1.1\r\nhost: localhost\r\n\r\n")
        answered = sum(_answers(each) for each in crowd)
        for each in crowd:
            each.close()
        _until(lambda: _attempt(server) == 200)
        written, status = server.log, server.stop()

    assert (before, status) == (200, 0)
    assert answered >= LEAST
    assert "Traceback" not in written
    assert len(written) < 20_000
    if raised is not None:
        assert next(line.split()[3] for line in raised.splitlines() if line.startswith("Max open files")) == str(
            RESERVED + 40
        )


def _connected(server: Modelport) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), 10)


def _answers(sock: socket.socket) -> bool:
    sock.settimeout(0.2)
    try:
        return sock.recv(20).startswith(b"HTTP/1.1 200")
    except OSError:
        return False


def _attempt(server: Modelport) -> int:
    try:
        return _asked(server)
    except (OSError, http.client.HTTPException):
        return 0


@contextmanager
def no_descriptors() -> Iterator[None]:
    """While it lasts, this process can open nothing more."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken: list[int] = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(before[0], 1000), before[1]))
    try:
        with suppress(OSError):
            while True:
                taken.append(os.open(os.devnull, os.O_RDONLY))
        yield
    finally:
        for each in taken:
            os.close(each)
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.mark.parametrize("carrier", ["own", "aiohttp"])
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_no_descriptor_for_a_call_is_no_fault_of_the_provider(
    serve: Serve, upstream: Upstream, carrier: str, stream: bool
) -> None:
    """More of them in a row than a breaker takes: it stays closed, and nothing is counted against the provider."""
    with Upstream() as other:  # what is read at the first request is read then
        other.script("m", streams("fine") if stream else says("fine"))
        server = await serve(f"[server]\ntransport = '{carrier}'\n", provider("up", upstream), provider("warm", other))
        assert (await server.ask(model="warm/m", stream=stream)).status == 200
        assert (await server.get("/health")).status == 200
        upstream.script("m", streams("fine") if stream else says("fine"))
        with no_descriptors():
            refused = [await server.ask(model="up/m", stream=stream) for _ in range(7)]
            during = (await server.get("/health")).json
    served = await server.ask(model="up/m", stream=stream)
    metrics = (await server.get("/metrics")).body.decode()

    assert {(reply.status, reply.headers["retry-after"], reply.error["code"]) for reply in refused} == {
        (503, "1", "no_descriptors")
    }
    assert not any("x-should-retry" in reply.headers for reply in refused)
    assert (during["status"], during["descriptors"]) == ("degraded", {"short": True, "missed": 7})
    seen = next(each for each in during["providers"] if each["name"] == "up")
    assert (seen["requests"], seen["errors"], seen["breaker"], seen["status"]) == (0, 0, "closed", "unknown")
    assert (served.status, served.text) == (200, "fine")
    assert "modelport_descriptors_missed_total 7.0" in metrics
    rows = [await server.row(reply.id) for reply in refused]
    assert {(row["status"], row["cost_usd"], len(row["attempts"])) for row in rows} == {("failed", "0.000000000", 1)}
    assert {row["attempts"][0]["status"] for row in rows} == {"aborted"}


async def test_whatever_finds_no_descriptor_is_refused(tmp_path: Path) -> None:
    async def opens(_services: Services, incoming: Incoming) -> web.Response:
        if incoming.parameter == "missing":
            (tmp_path / "missing").read_bytes()
        return web.Response(text=(tmp_path / "there").read_text("utf-8"))

    (tmp_path / "there").write_text("fine", "utf-8")
    loaded = load(None, environ={"HOME": str(tmp_path)}, folder=tmp_path)
    async with opened(loaded) as services, aiohttp.ClientSession() as session:
        server = new_server(App(services, [Route("GET", "/opens/{}", opens, "open")]), services)
        listener = await asyncio.get_running_loop().create_server(server, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}/opens"
        told = []
        async with session.get(f"{url}/there") as answer:
            told.append((answer.status, await answer.text()))
        with no_descriptors():
            async with session.get(f"{url}/there") as answer:
                told.append((answer.status, (await answer.json())["error"]["code"]))
        async with session.get(f"{url}/missing") as answer:
            told.append((answer.status, (await answer.json())["error"]["code"]))
        listener.close()
        await session.close()
        await server.shutdown(0.5)

    assert told == [(200, "fine"), (503, "no_descriptors"), (500, "internal_error")]
    assert services.caller.shortage.met == 1


async def test_without_descriptors_a_target_with_a_connection_is_asked(serve: Serve, upstream: Upstream) -> None:
    with Upstream() as other:
        upstream.script("m", says("first"))
        other.script("m", says("second"))
        server = await serve(provider("one", upstream), provider("two", other), route("r", "one/m", "two/m"))
        assert (await server.ask(model="two/m")).status == 200

        with no_descriptors():
            reply = await server.ask(model="r")

    assert (reply.status, reply.text) == (200, "second")


def test_a_name_that_is_not_found_for_want_of_a_descriptor() -> None:
    """Looking it up takes one, and its error does not tell."""
    unknown = socket.gaierror(socket.EAI_NONAME, "Name or service not known")
    with no_descriptors():
        without = is_shortage(unknown)

    assert (without, is_shortage(unknown), is_shortage(ValueError())) == (True, False, False)


def test_descriptors_are_shared_between_clients_and_providers() -> None:
    assert shares(RESERVED + 200) == (100, 100)
    assert shares(RESERVED) == (LEAST, LEAST)
    assert shares() == shares(raise_limit())


def test_the_loop_reports_once_a_second(caplog: pytest.LogCaptureFixture) -> None:
    at = [100.0]
    errors = LoopErrors(lambda: at[0])
    loop = asyncio.new_event_loop()
    with closing(loop):
        loop.set_exception_handler(errors)
        for _ in range(1000):
            loop.call_exception_handler({"message": "accept", "exception": OSError(24, "Too many open files")})
        at[0] += 1
        loop.call_exception_handler({"message": "other", "exception": ValueError("odd")})

    assert [record.getMessage() for record in caplog.records] == [
        "accept: Too many open files",
        "other (999 reports before this one were left out)",
    ]
    assert [bool(record.exc_info) for record in caplog.records] == [False, True]


# --- clocks ------------------------------------------------------------------------------------------------


def test_a_budget_opens_once_a_day_and_limits_know_no_days(tmp_path: Path) -> None:
    """Days are those of UTC, whatever the host's zone does; a minute is one of the monotonic clock.

    A request costs 20 millionths of a dollar, of which a day's budget takes two.
    """
    clock = HostClock(tmp_path)
    config = f"{QUICK}[cache]\nmode = 'off'\n[budgets.all]\nlimit_usd = '0.00005'\nwindow = 'day'\n"
    more = "limits = { requests_per_minute = 5, queue = 0 }"
    noon = (2027 - 1970) * 365.25 // 1 * DAY_S - time.time() + DAY_S / 2
    with Upstream() as upstream:
        upstream.script("m", says())
        clock.jump_to(noon)
        zone = {"TZ": "America/New_York", **clock.environment}
        with Modelport(tmp_path, config + provider("up", upstream, more=more), zone) as server:

            def told(skew_s: float) -> list[int | str]:
                """What three requests are answered at that time."""
                clock.jump_to(noon + skew_s)
                replies = [server.post("/v1/chat/completions", question(model="up/m", max_tokens=5)) for _ in range(3)]
                return [reply.status if reply.status == 200 else reply.json["error"]["code"] for reply in replies]

            days = {
                "the first": told(0),
                "its evening, for those in New York tomorrow": told(11 * 3600),
                "the next": told(DAY_S),
                "the first again": told(0),
                "the next again": told(DAY_S),
                "the day after": told(2 * DAY_S),
            }
            (budget,) = server.get("/api/v1/budgets").json["data"]

    none = ["budget_exceeded"] * 3
    assert days == {
        "the first": [200, 200, "budget_exceeded"],
        "its evening, for those in New York tomorrow": none,
        "the next": [200, 200, "budget_exceeded"],
        "the first again": none,
        "the next again": none,
        "the day after": [200, "provider_limit", "provider_limit"],
    }
    assert (budget["spent_usd"], budget["reserved_usd"]) == ("0.000020000", "0.000000000")


# --- asking without the database ---------------------------------------------------------------------------


@pytest.mark.parametrize(("mode", "right"), [("strict", 503), ("relaxed", 200)])
async def test_keys_are_known_without_the_database(serve: Serve, upstream: Upstream, mode: str, right: int) -> None:
    """Trouble with it is never taken for a wrong key, nor a wrong key for trouble; no read is waited for."""
    upstream.script("m", says())
    server = await serve(QUICK, KEYS_ONLY, f"[storage]\nledger = '{mode}'\n", provider("up", upstream))
    key = (await make(server, limits={"requests_per_minute": 100}))["key"]
    before = await server.ask(bearer(key), model="up/m", temperature=0)
    _break(server.services.db)
    good = [await server.ask(bearer(key), model="up/m", seed=number) for number in range(3)]
    streamed = await server.ask(bearer(key), model="up/m", stream=True)
    wrong = await server.ask(bearer(key[:-1] + "~"), model="up/m")
    master = await server.ask(MASTER, model="up/m", seed=9)

    assert before.status == 200
    assert [reply.status for reply in (*good, streamed, master)] == [right] * 5
    assert wrong.status == 401
    if right == 503:
        assert {reply.error["code"] for reply in (*good, streamed, master)} == {"ledger_unavailable"}
        assert len(upstream.asked("m")) == 1


def _break(db: Database) -> None:
    """Nothing can be read or written any more."""
    assert db._writer is not None
    assert db._readers is not None
    db._writer._connection.execute("PRAGMA query_only = ON")

    def refuse(_operation: Any) -> Any:
        raise Corrupt("the file is damaged")

    db._readers._read = refuse  # type: ignore[method-assign]  # as a damaged page would


@pytest.mark.parametrize("budget", ["", "[budgets.all]\nlimit_usd = '1'\n"], ids=["fast lane", "budget"])
async def test_whichever_call_of_the_store_fails_clients_get_an_answer_or_503(
    serve: Serve, upstream: Upstream, budget: str
) -> None:
    """Whole and streamed; what was answered is booked once, and nothing stays open or reserved."""
    upstream.script("m", by_form(says(), streams()))
    server = await serve(QUICK, "[cache]\nmode = 'off'\n", budget, provider("up", upstream))
    db = server.services.db
    assert db._writer is not None
    faulty = Faulty(db._writer._connection)
    db._writer._connection = faulty  # type: ignore[assignment]  # it stands in for it
    replies: list[Reply] = []
    for number in range(1, 61):
        faulty.arm(1 + number % 20, (full, broken, busy)[number % 3])
        replies.append(await server.ask(model="up/m", stream=number % 4 == 0 or None))
        faulty.arm(0, None)
    last = await server.ask(model="up/m")
    report = (await server.request("POST", "/api/v1/ledger/verify")).json
    rows = {row["id"]: row for row in await server.rows()}
    budgets = (await server.get("/api/v1/budgets")).json["data"]

    whole = [reply for reply in replies if reply.status == 200 and (not reply.body.startswith(b"data:") or reply.done)]
    assert {reply.status for reply in replies} == {200, 503}
    assert {reply.error["code"] for reply in replies if reply.status == 503} == {"ledger_unavailable"}
    assert [rows[reply.id]["status"] for reply in whole] == ["ok"] * len(whole)
    assert last.status == 200
    assert report["status"] == "ok", report
    assert "open" not in {row["status"] for row in rows.values()}
    assert len(upstream.asked("m")) <= sum(row["attempts"] for row in rows.values())
    assert {each["reserved_usd"] for each in budgets} <= {"0.000000000"}
