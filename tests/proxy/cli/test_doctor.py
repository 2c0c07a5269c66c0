"""`modelport doctor`: what it finds, what it says to do, and that it keeps secrets and asks nobody."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from proxy import doctor
from proxy.doctor import Finding, of_clock, of_descriptors, of_room
from storage.db import Database
from storage.ledger import Ledger, OpenAttempt, OpenExchange, SettledAttempt, SettledExchange
from tests.proxy.cli.conftest import Run, Stub
from tests.proxy.serving import failing
from tests.replay import Answer, Upstream, free_port

KEY = "sk-canary-0123456789abcdef"
Doctor = Callable[..., list[dict[str, Any]]]


@pytest.fixture
def examine(tmp_path: Path, run: Run) -> Doctor:
    """Runs it on a configuration with a free port and a database of its own; what it found."""

    def examine(config: str = "", *options: str, status: int = 0, environ: dict[str, str] | None = None) -> Any:
        path = tmp_path / "modelport.toml"
        path.touch(0o600)
        port = "" if "[server]" in config else f"[server]\nport = {free_port()}\n"
        storage = '[storage]\npath = "books.db"\n'
        path.write_text(f"{port}{storage}{config}", "utf-8")
        ran = run("doctor", "--json", "--config", str(path), *options, environ=environ)
        assert ran.exit_code == status, ran.output
        assert KEY not in ran.output
        told = json.loads(ran.stdout)
        grades = {each["status"] for each in told["checks"]}
        assert told["status"] == ("fail" if "fail" in grades else "warn" if "warn" in grades else "ok")
        return told["checks"]

    return examine


def of(checks: list[dict[str, Any]], name: str) -> list[tuple[str, str, str | None]]:
    """What was found of one check, the good news last."""
    found = [(each["status"], each["found"], each["todo"]) for each in checks if each["check"] == name]
    return sorted(found, key=lambda each: each[0] == "ok")


async def made(path: Path, *, ahead_s: float = 0) -> None:
    """A database with one exchange, which began *ahead_s* from now."""
    async with Database(path) as db:
        ledger = Ledger(db, now=lambda: time.time() + ahead_s)
        await ledger.open(OpenExchange("x", "d"), OpenAttempt("x", 1, "p", "m"))
        await ledger.settle(SettledExchange("x", "ok"), SettledAttempt("x", 1, "ok", 0))


# --- the configuration -------------------------------------------------------------------------------


def test_a_good_installation(examine: Doctor) -> None:
    """Every check says something, and none of it is wrong."""
    checks = examine("", environ={"OPENAI_API_KEY": KEY})

    assert {each["check"] for each in checks} == {
        *("versions", "configuration", "keys", "exposure", "port", "database", "clock", "disk", "descriptors"),
    }
    assert of(checks, "keys") == [("ok", "on: openai", None)]
    assert of(checks, "exposure") == [("ok", "it listens on 127.0.0.1, which this machine alone reaches", None)]
    assert of(checks, "database")[0][1].endswith("books.db is made at the first start")
    assert all(each["todo"] for each in checks if each["status"] == "fail")


def test_for_people_each_finding_is_a_line_and_what_to_do_another(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "modelport.toml"
    path.write_text(f"[server]\nport = {free_port()}\n", "utf-8")

    ran = run("doctor", "--config", str(path))

    lines = ran.stdout.splitlines()
    at = next(place for place, line in enumerate(lines) if line.startswith("warn  keys"))
    assert lines[at] == "warn  keys           no provider is on but the simulation"
    assert lines[at + 1].strip() == "-> set a provider's key, such as OPENAI_API_KEY; see modelport config check"


def test_a_wrong_configuration_is_the_last_finding(examine: Doctor) -> None:
    checks = examine("[cache]\nmode = 'som'", status=1)

    grade, told, todo = of(checks, "configuration")[0]
    assert (grade, todo) == ("fail", "mend it; modelport config check tells")
    assert "cache.mode" in told
    assert {each["check"] for each in checks} == {"versions", "configuration"}


@pytest.mark.parametrize(
    ("config", "environ", "words"),
    [
        ('[providers.openai]\nkeys = ["env:NOT_THERE"]', {}, "the environment variable NOT_THERE is not set"),
        (f'[providers.openai]\nkeys = ["{KEY}"]', {}, "the key stands here as it is"),
    ],
    ids=["missing", "literal"],
)
def test_what_loading_warns_of_is_a_finding(examine: Doctor, config: str, environ: dict[str, str], words: str) -> None:
    assert any(words in told for _, told, _ in of(examine(config, environ=environ), "configuration"))


@pytest.mark.parametrize(
    ("environ", "words"),
    [
        ({"OPENAI_API_KEY": "your-key-here"}, "a key of openai looks like a placeholder"),
        ({"OPENAI_API_KEY": "abc"}, "a key of openai looks like a placeholder"),
        ({"GROQ_API_KEY": "sk-ant-0123456789"}, "a key of groq looks like one of anthropic"),
        ({"ANTHROPIC_API_KEY": "sk-ant-0123456789"}, ""),
    ],
    ids=["placeholder", "short", "mixed up", "right"],
)
def test_keys_that_cannot_be_right(examine: Doctor, environ: dict[str, str], words: str) -> None:
    told = [each[1] for each in of(examine("", environ=environ), "keys") if each[0] == "warn"]

    assert told == ([words] if words else [])


def test_the_same_key_twice_is_no_second_key(examine: Doctor) -> None:
    config = '[providers.openai]\nkeys = ["env:A", "env:B"]'

    checks = examine(config, environ={"A": KEY, "B": KEY})

    assert ("warn", "openai has the same key 2 times", "limits do not grow with copies") in of(checks, "keys")


@pytest.mark.parametrize(
    ("config", "status", "grade", "words"),
    [
        ('host = "0.0.0.0"', 1, "fail", "and nobody needs a key"),
        ('host = "0.0.0.0"\n[auth]\nrequired = true\nmaster_key = "env:MASTER"', 0, "warn", "speaks plain HTTP"),
        ('[auth]\nmaster_key = "env:SHORT"', 0, "warn", "the master key has fewer than 24 characters"),
        ("media_allow_private = true", 0, "warn", "pictures are fetched from private network addresses too"),
    ],
    ids=["open", "open with keys", "short master key", "private media"],
)
def test_exposure(examine: Doctor, config: str, status: int, grade: str, words: str) -> None:
    environ = {"MASTER": "mp-master-" + "0123456789abcdef", "SHORT": "mp-short"}
    config = f"[server]\nport = {free_port()}\n{config}\n"

    found = of(examine(config, status=status, environ=environ), "exposure")[0]

    assert found[0] == grade
    assert words in found[1]
    assert found[2]


def test_a_secret_that_others_can_read(examine: Doctor, tmp_path: Path) -> None:
    config = f'[providers.openai]\nkeys = ["{KEY}"]'
    before = of(examine(config), "exposure")
    (tmp_path / "modelport.toml").chmod(0o644)

    told = of(examine(config), "exposure")[0]

    assert [each[0] for each in before] == ["ok"]
    assert told[:2] == ("warn", "modelport.toml holds a secret, and other users of this machine can read it")


# --- the network -------------------------------------------------------------------------------------


def test_nobody_is_asked_unless_it_is_wanted(examine: Doctor) -> None:
    """And then for the list of models alone, which costs nothing."""
    with Upstream(lambda _: Answer.json({"data": []})) as upstream:
        config = f'[providers.corner]\nbase_url = "{upstream.url}/v1"\ndialect = "openai_chat"\nkeys = ["env:KEY"]\n'
        examine(config, environ={"KEY": KEY})
        before = len(upstream.requests)
        checks = examine(config, "--network", environ={"KEY": KEY})

        assert before == 0
        assert {(each.method, each.path) for each in upstream.requests} == {("GET", "/v1/models")}
        assert of(checks, "vendors")[0][1].startswith("corner sk-…cdef: unproven")


@pytest.mark.parametrize(
    ("answer", "grade", "status"),
    [(failing(401, f"{KEY} is wrong"), "fail", 1), (failing(500, "no"), "warn", 0)],
    ids=["refused", "failed"],
)
def test_what_a_vendor_says_of_a_key(examine: Doctor, answer: Answer, grade: str, status: int) -> None:
    with Upstream(lambda _: answer) as upstream:
        config = f'[providers.corner]\nbase_url = "{upstream.url}/v1"\ndialect = "openai_chat"\nkeys = ["env:KEY"]\n'
        checks = examine(config, "--network", status=status, environ={"KEY": KEY})

    (found,) = of(checks, "vendors")
    assert found[0] == grade
    assert found[2]


def test_the_port_is_looked_at(examine: Doctor, stub: Stub) -> None:
    """One of ours is fine, a stranger is not."""
    port = int(stub.url.rpartition(":")[2])
    stub.say("GET", "/health/live", {"status": "ok"}, x_request_id="req_1")
    config = f"[server]\nport = {port}\n"
    ours = of(examine(config), "port")
    stub.say("GET", "/health/live", {"status": "ok"})

    stranger = of(examine(config, status=1), "port")

    assert [each[:2] for each in ours] == [("ok", f"a server runs at port {port}; modelport status asks it")]
    assert [each[:2] for each in stranger] == [("fail", f"another program answers at port {port}")]


# --- the machine -------------------------------------------------------------------------------------


async def test_a_sound_database(examine: Doctor, tmp_path: Path) -> None:
    await made(tmp_path / "books.db")

    ((grade, told, _),) = of(examine(), "database")

    assert grade == "ok"
    assert "books.db, 0." in told
    assert told.endswith(": it is sound")


async def test_it_is_looked_at_while_a_server_has_it(examine: Doctor, tmp_path: Path) -> None:
    async with Database(tmp_path / "books.db") as db:
        await db.write(lambda connection: connection.execute("CREATE TABLE t (x)"))

        assert [each[0] for each in of(examine(), "database")] == ["ok"]


async def test_a_damaged_database(examine: Doctor, tmp_path: Path) -> None:
    path = tmp_path / "books.db"
    await made(path)
    raw = bytearray(path.read_bytes())
    raw[2048 * 3 : 2048 * 5] = b"\xff" * 4096
    path.write_bytes(raw)
    kept = path.read_bytes()

    found = of(examine(status=1), "database")[0]

    assert found[0] == "fail"
    assert found[2]
    assert path.read_bytes() == kept


def test_what_is_no_database(examine: Doctor, tmp_path: Path) -> None:
    (tmp_path / "books.db").write_bytes(b"nothing of the kind" * 400)

    found = of(examine(status=1), "database")[0]

    assert (found[0], found[2]) == ("fail", "restore a backup, or move the file away to begin anew")


async def test_a_database_of_a_newer_modelport(examine: Doctor, tmp_path: Path) -> None:
    path = tmp_path / "books.db"
    await made(path)
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 9999")
    connection.close()

    assert "was written by a newer modelport (schema 9999" in of(examine(status=1), "database")[0][1]


async def test_a_database_that_others_can_read(examine: Doctor, tmp_path: Path) -> None:
    await made(tmp_path / "books.db")
    (tmp_path / "books.db").chmod(0o644)

    told = of(examine(), "database")[0]

    assert told[:2] == ("warn", "other users of this machine can read the database")


async def test_a_long_log_of_the_database(examine: Doctor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    await made(tmp_path / "books.db")
    found = doctor.examine

    def long(path: Path, most_bytes: int) -> Any:
        return replace(found(path, most_bytes), wal_bytes=100 * 2**20)

    monkeypatch.setattr(doctor, "examine", long)

    assert of(examine(), "database")[0][1] == "100 MB wait in its log, as another program keeps reading it"


async def test_a_clock_that_went_back(examine: Doctor, tmp_path: Path) -> None:
    await made(tmp_path / "books.db", ahead_s=86_400)

    grade, told, todo = of(examine(), "clock")[0]

    assert grade == "warn"
    assert "but the ledger has an exchange of" in told
    assert todo


def test_a_clock_that_was_never_set(tmp_path: Path) -> None:
    (found,) = of_clock(tmp_path / "none.db", lambda: 5.0)

    assert (found.grade, found.told[:28]) == ("fail", "it says 1970-01-01T00:00:05Z")


@pytest.mark.parametrize(("free_mb", "grade"), [(10, "fail"), (500, "warn"), (5000, "ok")])
def test_room_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free_mb: int, grade: str) -> None:
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda _: SimpleNamespace(free=free_mb * 2**20))

    (found,) = of_room(tmp_path / "deeper" / "books.db")

    assert (found.grade, found.told) == (grade, f"{free_mb:,} MB are free beside the database")


@pytest.mark.parametrize(("hard", "grade"), [(1024, "warn"), (65_536, "ok")])
def test_descriptors(monkeypatch: pytest.MonkeyPatch, hard: int, grade: str) -> None:
    monkeypatch.setattr(doctor.resource, "getrlimit", lambda _: (hard, hard))

    (found,) = of_descriptors()

    assert isinstance(found, Finding)
    assert found.grade == grade
    assert str(hard) in found.told


def test_an_extra_that_is_missing(examine: Doctor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor.importlib.util, "find_spec", lambda _: None)

    found = of(examine("[telemetry]\nenabled = true", status=1), "versions")

    assert found[0][0] == "fail" or found[1][0] == "fail"
    assert "install modelport[otel]" in [each[2] for each in found]
