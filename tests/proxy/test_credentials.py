"""Stored keys of providers: used at once, never shown, of no use to whoever steals the database."""

from __future__ import annotations

import asyncio
import json
import logging
import sqlite3
import threading
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from proxy.credentials import CredentialBook, StoredKey
from proxy.sealing import new_key
from tests.proxy.conftest import Serve
from tests.proxy.serving import KEY, OPENING, QUICK, Reply, Served, chunk, failing, provider, says, serving, streams
from tests.replay import Answer, Asked, Upstream

MASTER = "mp-master-0123456789"
AUTH = f'[auth]\nmaster_key = "{MASTER}"\n'
SEALING = {"MODELPORT_SECRET_KEY": new_key()}
CANARY = "vendor/canary+QmFzZTY0.0123456789-abcdefghijklmnop"
"""Looks like no key that the redactor would know by its looks."""


async def call(server: Served, method: str, path: str, body: Any = None) -> Reply:
    """As the administrator."""
    raw = None if body is None else json.dumps(body).encode()
    return await server.request(method, path, raw, {"authorization": f"Bearer {MASTER}"})


async def add(server: Served, **body: Any) -> Reply:
    return await call(server, "POST", "/api/v1/credentials", {"key": CANARY, **body})


def sent(upstream: Upstream) -> list[str]:
    """The keys that the vendor was sent, in order."""
    return [asked.headers.get("authorization", "").removeprefix("Bearer ") for asked in upstream.requests]


async def test_a_stored_key_is_used_from_the_next_request_on_beside_the_configured_ones(
    serve: Serve, upstream: Upstream
) -> None:
    """By weight: 3 to 1."""
    upstream.script("m", says())
    server = await serve(AUTH, provider("one", upstream), environ=SEALING)
    await server.ask(model="one/m")

    added = await add(server, provider="one", weight=3)
    for _ in range(8):
        assert (await server.ask(model="one/m")).status == 200

    assert added.status == 201
    assert sent(upstream)[0] == KEY
    assert Counter(sent(upstream)[1:]) == {CANARY: 6, KEY: 2}


async def test_what_is_shown_of_a_key_is_its_fingerprint(serve: Serve, upstream: Upstream) -> None:
    server = await serve(AUTH, provider("one", upstream), environ=SEALING)

    added = (await add(server, provider="one")).json
    again = (await add(server, provider="one")).json
    listed = (await call(server, "GET", "/api/v1/credentials?provider=one")).json["data"]

    assert len(added.pop("created_at")) == 20
    fingerprint = added.pop("fingerprint")
    assert added == {
        "name": "one",
        "provider": "one",
        "weight": 1,
        "enabled": True,
        "base_url": None,
        "dialect": None,
        "in_use": True,
        "why_not": None,
        "rotated_at": None,
    }
    assert [(row["name"], row["fingerprint"]) for row in listed] == [("one", fingerprint), ("one-2", fingerprint)]
    assert len(bytes.fromhex(fingerprint)) == 4
    assert again["name"] == "one-2"


async def test_without_a_key_that_encrypts_nothing_is_stored(serve: Serve, upstream: Upstream) -> None:
    server = await serve(AUTH, provider("one", upstream))

    reply = await add(server, provider="one")

    assert (reply.status, reply.error["code"]) == (409, "no_secret_key")
    assert "modelport secrets generate" in reply.error["message"]
    assert (await call(server, "GET", "/api/v1/credentials")).json == {"data": []}


async def test_the_configuration_may_refer_to_a_key_that_is_stored_later(
    serve: Serve, upstream: Upstream, caplog: pytest.LogCaptureFixture
) -> None:
    """Also of another provider, and in a header. It is sent once, though it stands for the provider, too."""
    upstream.script("m", says())
    headers = 'headers = { x-second = "stored:two" }\n'
    server = await serve(AUTH, provider("one", upstream, keys=("stored:two",), more=headers), environ=SEALING)
    before = await server.ask(model="one/m")
    missing = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]

    await add(server, provider="one", name="two")
    after = await server.ask(model="one/m")
    total = server.services.setup.rings["one"].total
    await call(server, "DELETE", "/api/v1/credentials/two")
    gone = await server.ask(model="one/m")

    assert "providers.one.keys[0]: nothing is stored under the name 'two'; it is left out" in missing
    assert "providers.one.headers.x-second: nothing is stored under the name 'two'; it is left out" in missing
    assert (before.status, after.status, gone.status) == (404, 200, 404)
    assert "none of its keys is set" in server.services.setup.specs["one"].why_off
    assert (total, sent(upstream)) == (1, [CANARY])
    assert upstream.requests[0].headers["x-second"] == CANARY


async def test_a_provider_that_nobody_knows_is_there_with_its_first_key(serve: Serve, upstream: Upstream) -> None:
    upstream.script("m", says("from the corner"))
    server = await serve(AUTH, environ=SEALING)

    without = await add(server, provider="corner")
    added = await add(server, provider="corner", base_url=f"{upstream.url}/v1")
    answered = await server.ask(model="corner/m")
    await call(server, "PATCH", "/api/v1/credentials/corner", {"enabled": False})
    off = await server.ask(model="corner/m")

    assert (without.status, without.error["param"]) == (400, "provider")
    assert (added.status, added.json["base_url"]) == (201, f"{upstream.url}/v1")
    assert (answered.status, answered.text) == (200, "from the corner")
    assert off.status == 404
    assert server.services.setup.specs["corner"].why_off == "stored key corner: it is switched off"


async def test_a_shipped_provider_is_switched_on_by_a_stored_key(serve: Serve) -> None:
    server = await serve(AUTH, environ=SEALING)
    off = server.services.setup.specs["groq"].enabled

    await add(server, provider="groq")

    assert (off, server.services.setup.specs["groq"].enabled) == (False, True)


async def test_rotating_and_switching_take_effect_at_once_and_leave_a_running_stream_alone(
    serve: Serve, upstream: Upstream
) -> None:
    first = OPENING + chunk({"content": "Hello"})
    rest = streams("Hello", " there")
    upstream.script("slow", Answer.sse(rest.body, split="events", hold_at=len(first)))
    upstream.script("m", says())
    server = await serve(AUTH, provider("one", upstream, keys=()), environ=SEALING)
    await add(server, provider="one")

    async with server.asking(model="one/slow", stream=True) as answer:
        await answer.content.readuntil(b"Hello")
        rotated = await call(server, "POST", "/api/v1/credentials/one/rotate", {"key": "another-key-0123456789"})
        during = await server.ask(model="one/m")
        await call(server, "PATCH", "/api/v1/credentials/one", {"enabled": False})
        off = await server.ask(model="one/m")
        await call(server, "PATCH", "/api/v1/credentials/one", {"enabled": True, "weight": 7})
        on = await server.ask(model="one/m")
        (await asyncio.to_thread(upstream.wait_asked, "slow")).release()
        body = await answer.content.read()

    assert (rotated.status, rotated.json["rotated_at"] is not None) == (200, True)
    assert (during.status, off.status, on.status) == (200, 404, 200)
    assert sent(upstream) == [CANARY, "another-key-0123456789", "another-key-0123456789"]
    assert body.endswith(b"data: [DONE]\n\n")
    assert (await call(server, "GET", "/api/v1/credentials/one")).json["weight"] == 7


@pytest.mark.parametrize(
    ("body", "param", "told"),
    [
        ({"provider": "opnai"}, "provider", "'opnai' is not known; did you mean openai?"),
        ({"provider": "demo"}, "provider", "demo takes no key"),
        ({"provider": "one", "base_url": "http://127.0.0.1:9/v1"}, "base_url", "another address is another provider"),
        ({"provider": "one", "dialect": "gemini"}, "dialect", "one speaks openai_chat"),
        ({"provider": "new", "base_url": "http://u:p@127.0.0.1:9"}, "base_url", "no name and password"),
        ({"provider": "new", "base_url": "nowhere"}, "base_url", "an address such as http://"),
        ({"provider": "one", "key": "line\nbreak-0123456789"}, "key", "the key is empty or has line breaks"),
        ({"provider": "one", "key": "short"}, "key", "at least 6 characters"),
        ({"provider": "one", "weight": 0}, "weight", "greater than or equal to 1"),
        ({"provider": "one", "name": "a/b"}, "name", "match pattern"),
        ({"provider": "one", "wieght": 2}, "wieght", "unknown; there are key, provider"),
        ({}, "provider", "missing"),
    ],
)
async def test_mistakes_are_named_without_the_key(
    serve: Serve, upstream: Upstream, body: dict[str, Any], param: str, told: str
) -> None:
    server = await serve(AUTH, provider("one", upstream), environ=SEALING)

    reply = await add(server, **body)

    assert (reply.status, reply.error["param"]) == (400, param)
    assert told in reply.error["message"]
    assert str(body.get("key") or CANARY).encode() not in reply.body
    assert (await call(server, "GET", "/api/v1/credentials")).json == {"data": []}


async def test_a_name_that_is_taken_or_unknown(serve: Serve, upstream: Upstream) -> None:
    server = await serve(AUTH, provider("one", upstream), environ=SEALING)
    await add(server, provider="one", name="mine")

    taken = await add(server, provider="one", name="mine")
    unknown = [
        await call(server, "GET", "/api/v1/credentials/other"),
        await call(server, "PATCH", "/api/v1/credentials/other", {"weight": 2}),
        await call(server, "DELETE", "/api/v1/credentials/other"),
        await call(server, "POST", "/api/v1/credentials/other/rotate", {"key": CANARY}),
        await call(server, "POST", "/api/v1/credentials/mine/paint", {}),
    ]

    assert (taken.status, taken.error["code"]) == (409, "credential_exists")
    assert [reply.status for reply in unknown] == [404] * 5


# --- whether the vendor takes it ---------------------------------------------------------------------

LIST = Answer.json({"data": [{"id": "alpha"}]})


def only_with_key(asked: Asked) -> Answer:
    if asked.headers.get("authorization") == f"Bearer {CANARY}":
        return LIST
    key = asked.headers.get("authorization", "")
    return failing(401, f"the key {key} is unknown")


@pytest.mark.parametrize(
    ("vendor", "status", "error"),
    [
        (only_with_key, "ok", None),
        (lambda asked: LIST, "unproven", "one lists its models to anybody"),
        (lambda asked: failing(401, f"bad key {CANARY}"), "refused", "401 authentication: bad key [secret]"),
        (lambda asked: failing(500, "oops"), "failed", "500 server: oops"),
    ],
)
async def test_a_key_is_checked_by_a_list_of_models_and_nothing_that_costs(
    serve: Serve, vendor: Any, status: str, error: str | None
) -> None:
    with Upstream(vendor) as upstream:
        server = await serve(AUTH, provider("one", upstream, keys=()), environ=SEALING)
        await add(server, provider="one", enabled=False)

        reply = await call(server, "POST", "/api/v1/credentials/one/check")

        assert reply.status == 200
        assert reply.json == {
            "name": "one",
            "provider": "one",
            "status": status,
            "asked": f"{upstream.url}/v1/models",
            "error": error,
        }
        assert {(asked.method, asked.path) for asked in upstream.requests} == {("GET", "/v1/models")}
        assert await server.rows() == []


# --- the key that encrypts ---------------------------------------------------------------------------


async def restarted(folder: Path, config: str, environ: dict[str, str]) -> tuple[Reply, list[dict[str, Any]]]:
    """A server on what an earlier one left: one request, and the list of stored keys."""
    async with serving(folder, config, environ) as server:
        asked = await server.ask(model="one/m")
        rows = (await call(server, "GET", "/api/v1/credentials")).json["data"]
    return asked, rows


async def test_the_key_that_encrypts_is_rotated_with_both_at_hand(tmp_path: Path, upstream: Upstream) -> None:
    """Afterwards the new one alone is enough, and the old one is of no use."""
    upstream.script("m", says())
    config = AUTH + QUICK + provider("one", upstream, keys=())
    both = AUTH + QUICK + '[secrets]\nkey = "env:NEW"\nprevious_key = "env:OLD"\n' + provider("one", upstream, keys=())
    old, new = new_key(), new_key()
    async with serving(tmp_path, config, {"MODELPORT_SECRET_KEY": old}) as server:
        await add(server, provider="one")
        await add(server, provider="one")
    async with serving(tmp_path, both, {"NEW": new, "OLD": old}) as server:
        before = (await call(server, "GET", "/api/v1/secrets")).json
        rotated = (await call(server, "POST", "/api/v1/secrets/rotate")).json
        asked = await server.ask(model="one/m")

    with_new, rows = await restarted(tmp_path, config, {"MODELPORT_SECRET_KEY": new})
    with_old, unreadable = await restarted(tmp_path, config, {"MODELPORT_SECRET_KEY": old})

    assert before["values"] == {before["known"][1]: 2}
    assert rotated == {
        "resealed": 2,
        "key_id": before["known"][0],
        "known": before["known"],
        "values": {before["key_id"]: 2},
    }
    assert (asked.status, with_new.status, with_old.status) == (200, 200, 404)
    assert [row["in_use"] for row in rows] == [True, True]
    assert {row["why_not"] for row in unreadable} == {
        f"{name}: it was sealed with the key {before['key_id']}, and here is {before['known'][1]}"
        for name in ("one", "one-2")
    }


async def test_a_key_keeps_its_fingerprint_whatever_encrypts_it(tmp_path: Path, upstream: Upstream) -> None:
    """The same key has the same one in one database, another one in another; the pepper is not to be read."""
    config = AUTH + '[secrets]\nkey = "env:NEW"\nprevious_key = "env:OLD"\n' + provider("one", upstream, keys=())
    old, new = new_key(), new_key()
    async with serving(tmp_path, config, {"NEW": old, "OLD": old}) as server:
        first = (await add(server, provider="one")).json["fingerprint"]
        path = server.database
    async with serving(tmp_path, config, {"NEW": new, "OLD": old}) as server:
        await call(server, "POST", "/api/v1/secrets/rotate")
        second = [row["fingerprint"] for row in (await call(server, "GET", "/api/v1/credentials")).json["data"]]
    async with serving(tmp_path, config, {"NEW": new, "OLD": new}) as server:
        third = (await add(server, provider="one")).json["fingerprint"]
        pepper = server.services.credentials._pepper
    (tmp_path / "elsewhere").mkdir()
    async with serving(tmp_path / "elsewhere", config, {"NEW": new, "OLD": old}) as server:
        elsewhere = (await add(server, provider="one")).json["fingerprint"]

    assert (second, third) == ([first], first)
    assert elsewhere != first
    assert pepper is not None
    assert pepper not in path.read_bytes()


async def test_without_its_pepper_a_database_makes_another_one(tmp_path: Path, upstream: Upstream) -> None:
    """Whoever has lost the key that encrypts can go on."""
    config = AUTH + provider("one", upstream, keys=())
    async with serving(tmp_path, config, {"MODELPORT_SECRET_KEY": new_key()}) as server:
        before = (await add(server, provider="one")).json["fingerprint"]
    async with serving(tmp_path, config, {"MODELPORT_SECRET_KEY": new_key()}) as server:
        lost = (await call(server, "GET", "/api/v1/credentials/one")).json["fingerprint"]
        again = (await add(server, provider="one", name="again")).json["fingerprint"]
        await call(server, "DELETE", "/api/v1/credentials/one")
        rotated = await call(server, "POST", "/api/v1/secrets/rotate")

    assert lost is None
    assert again not in {None, before}
    assert rotated.status == 200


async def test_a_rotation_that_cannot_read_everything_changes_nothing(tmp_path: Path, upstream: Upstream) -> None:
    config = AUTH + provider("one", upstream, keys=())
    old = new_key()
    async with serving(tmp_path, config, {"MODELPORT_SECRET_KEY": old}) as server:
        await add(server, provider="one")
        path = server.database
    async with serving(tmp_path, config, {"MODELPORT_SECRET_KEY": new_key()}) as server:
        await add(server, provider="one", name="readable")
        stored = blobs(path)
        reply = await call(server, "POST", "/api/v1/secrets/rotate")

    assert (reply.status, reply.error["code"]) == (409, "secret_unreadable")
    assert "previous_key" in reply.error["message"]
    assert blobs(path) == stored


def blobs(path: Path) -> dict[str, bytes]:
    with closing(sqlite3.connect(path)) as connection:
        return dict(connection.execute("SELECT name, sealed FROM credentials"))


async def test_secrets_of_keys_that_sign_are_encrypted_anew_as_well(tmp_path: Path) -> None:
    old, new = new_key(), new_key()
    both = AUTH + '[secrets]\nkey = "env:NEW"\nprevious_key = "env:OLD"\n'
    async with serving(tmp_path, AUTH, {"MODELPORT_SECRET_KEY": old}) as server:
        made = (await call(server, "POST", "/api/v1/keys", {"name": "signs", "signing": True})).json
        path = server.database
    async with serving(tmp_path, both, {"NEW": new, "OLD": old}) as server:
        rotated = (await call(server, "POST", "/api/v1/secrets/rotate")).json
    async with serving(tmp_path, AUTH, {"MODELPORT_SECRET_KEY": new}) as server:
        ring = server.services.keyring
        secret = ring.signing_secret(ring.entries[made["id"]])

    assert rotated["resealed"] == 1
    assert secret == made["signing_secret"].encode()
    assert secret not in path.read_bytes()


async def test_a_change_is_in_force_though_the_client_left(
    serve: Serve, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is on disk and what is used never differ."""
    server = await serve(AUTH, provider("one", upstream, keys=()), environ=SEALING)
    services, disk, begun = server.services, threading.Event(), asyncio.Event()
    add = CredentialBook.add

    async def watched(*args: Any) -> StoredKey:
        begun.set()
        return await add(*args)

    monkeypatch.setattr(CredentialBook, "add", watched)
    raw = json.dumps({"provider": "one", "key": CANARY}).encode()
    head = f"POST /api/v1/credentials HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {MASTER}\r\n"
    services.db.post(lambda connection: disk.wait(10))

    _, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(f"{head}Content-Length: {len(raw)}\r\n\r\n".encode() + raw)
    async with asyncio.timeout(5):
        await begun.wait()
        writer.transport.abort()
        while services.in_flight:
            await asyncio.sleep(0)
    nothing_yet = dict(services.credentials.keys.all)
    disk.set()
    await services.drain()

    assert nothing_yet == {}
    assert services.setup.specs["one"].enabled


async def test_a_passphrase_does_as_well_as_a_key(tmp_path: Path, upstream: Upstream) -> None:
    upstream.script("m", says())
    config = AUTH + '[secrets]\npassphrase = "env:WORDS"\n' + provider("one", upstream, keys=())
    async with serving(tmp_path, config, {"WORDS": "correct horse battery staple"}) as server:
        await add(server, provider="one")

    same, _ = await restarted(tmp_path, config, {"WORDS": "correct horse battery staple"})
    other, (row,) = await restarted(tmp_path, config, {"WORDS": "correct horse battery stable"})

    assert (same.status, other.status) == (200, 404)
    assert "it was sealed with the key" in row["why_not"]


async def test_a_value_that_was_moved_to_another_row_is_not_used(tmp_path: Path, upstream: Upstream) -> None:
    """Whoever can write the database cannot have one provider sent the key of another."""
    config = AUTH + provider("one", upstream, keys=()) + provider("two", upstream, keys=())
    async with serving(tmp_path, config, SEALING) as server:
        await add(server, provider="one")
        await add(server, provider="two", key="another-key-0123456789")
        path = server.database
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE credentials SET sealed = (SELECT sealed FROM credentials WHERE name = 'one')")

    async with serving(tmp_path, config, SEALING) as server:
        rows = (await call(server, "GET", "/api/v1/credentials")).json["data"]

    assert [(row["name"], row["in_use"]) for row in rows] == [("one", True), ("two", False)]
    assert rows[1]["why_not"] == "two: it was damaged, or sealed for another place"


@pytest.mark.parametrize("change", ["provider = 'two'", "base_url = 'http://127.0.0.1:9/v1'", "dialect = 'gemini'"])
async def test_a_key_whose_row_was_sent_elsewhere_is_not_used(tmp_path: Path, upstream: Upstream, change: str) -> None:
    config = AUTH + provider("one", upstream, keys=()) + provider("two", upstream, keys=())
    async with serving(tmp_path, config, SEALING) as server:
        await add(server, provider="one")
        path = server.database
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(f"UPDATE credentials SET {change}")

    async with serving(tmp_path, config, SEALING) as server:
        (row,) = (await call(server, "GET", "/api/v1/credentials")).json["data"]

    assert (row["in_use"], "changed by other hands" in row["why_not"]) == (False, True)


async def test_a_server_without_the_key_starts_and_says_what_is_missing(
    tmp_path: Path, upstream: Upstream, caplog: pytest.LogCaptureFixture
) -> None:
    upstream.script("m", says())
    config = AUTH + provider("one", upstream)
    async with serving(tmp_path, config, SEALING) as server:
        await add(server, provider="one")

    asked, (row,) = await restarted(tmp_path, config, {})

    assert asked.status == 200  # by the configured key
    assert row["why_not"] == "no key is configured that opens it ([secrets] key)"
    assert "the stored key one of one cannot be used: no key is configured" in caplog.text
    assert sent(upstream) == [KEY]


async def test_a_server_of_ones_own_that_wanted_no_key_is_given_one(serve: Serve, upstream: Upstream) -> None:
    upstream.script("m", says())
    section = f'[providers.corner]\nbase_url = "{upstream.url}/v1"\n'
    closed = f'[providers.closed]\nbase_url = "{upstream.url}/v1"\nauth = "none"\n'
    server = await serve(AUTH, section, closed, environ=SEALING)
    await server.ask(model="corner/m")

    added = await add(server, provider="corner")
    refused = await add(server, provider="closed")
    await server.ask(model="corner/m")

    assert (added.status, refused.status) == (201, 400)
    assert sent(upstream) == ["", CANARY]
