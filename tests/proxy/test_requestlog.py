"""The request log: off unless wanted, whole, clean of secrets, found again, and never in the way."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from proxy.records import MOST_KEPT, Passed
from tests.proxy.conftest import Serve
from tests.proxy.keyed import KEYS_ONLY, MASTER, WITH_MASTER, bearer, make
from tests.proxy.serving import (
    BOTH,
    KEY,
    OPENING,
    QUICK,
    Reply,
    Served,
    chunk,
    failing,
    message,
    provider,
    route,
    says,
    serving,
)
from tests.replay import Answer, Upstream

ON = "[request_log]\nenabled = true\n"
CARD, IBAN, MAIL, PHONE = "4111 1111 1111 1111", "DE89 3704 0044 0532 0130 00", "ada@example.org", "+49 30 1234567"
SECRETS = ("4111 1111", "4111111111111111", "3704 0044", "ada@example", "1234567", KEY, "sk-live-0123456789abcdef")


async def logged(server: Served, query: str = "", headers: dict[str, str] | None = None) -> list[dict[str, Any]]:
    """Newest first."""
    await server.services.drain()
    await server.services.request_log.flush()
    reply = await server.get(f"/api/v1/logs{query}", headers)
    assert reply.status == 200, reply.body
    found: list[dict[str, Any]] = reply.json["data"]
    return found


async def whole(server: Served, reply: Reply) -> dict[str, Any]:
    await logged(server)
    found: dict[str, Any] = (await server.get(f"/api/v1/logs/{reply.id}")).json
    return found


def contents(path: Path) -> bytes:
    """Everything that the database says, compressed or not."""
    import zlib

    found = b""
    with closing(sqlite3.connect(path)) as connection:
        tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        for table in tables:
            for row in connection.execute(f'SELECT * FROM "{table}"'):
                for value in row:
                    raw = value if isinstance(value, bytes) else str(value).encode()
                    found += raw + b"\n"
                    if raw[:1] == b"\x78":
                        found += zlib.decompress(raw) + b"\n"
    return found


async def test_nothing_is_logged_unless_it_is_wanted(serve: Serve) -> None:
    with Upstream(BOTH) as upstream:
        server = await serve(QUICK, provider("one", upstream))
        await server.ask(model="one/m")

        assert await logged(server) == []
        assert (await server.get("/health")).json["request_log"] == {"stored": 0, "queued": 0, "shed": 0, "lost": 0}


@pytest.mark.parametrize("stream", [False, True])
async def test_an_exchange_is_logged_with_its_bodies(serve: Serve, stream: bool) -> None:
    """A stream's answer is the one that its pieces make together."""
    with Upstream(BOTH) as upstream:
        server = await serve(ON, QUICK, provider("one", upstream))
        body = {
            "messages": [{"role": "system", "content": "Be brief"}, {"role": "user", "content": "Say hello ünd 😀"}],
            "temperature": 0.5,
            "seed": 7,
            "metadata": {"long": "word " * 100, "wide": "7"},
        }
        reply = await server.ask(model="one/m", stream=stream, **body)

        (row,) = await logged(server)
        found = await whole(server, reply)

    assert (row["id"], row["status"], row["target"], row["stream"]) == (reply.id, "ok", "one/m", stream)
    assert (row["question"], row["answer"]) == ("Say hello ünd 😀", "Hello there")
    assert row["cost_usd"] == "0.000020000"
    assert found["request"] == {"model": "one/m", "stream": stream, **body}
    assert next(iter(found["request"])) == "messages"
    assert found["response"]["choices"][0]["message"]["content"] == "Hello there"


async def test_every_dialect_comes_back_as_it_was_asked(serve: Serve) -> None:
    asked = {"model": "one/m", "max_tokens": 10, "system": "Brief", "messages": [{"role": "user", "content": "Hi"}]}
    with Upstream(lambda _: Answer.json(message("Good day"))) as upstream:
        server = await serve(ON, QUICK, provider("one", upstream, "anthropic"))
        reply = await server.request("POST", "/v1/messages", json.dumps(asked).encode())
        assert reply.status == 200, reply.body

        (row,) = await logged(server)
        found = (await server.get(f"/api/v1/logs/{row['id']}")).json

    assert (row["dialect"], row["answer"]) == ("anthropic", "Good day")
    assert found["request"] == asked
    assert found["response"]["content"][0]["text"] == "Good day"


async def test_a_failure_is_logged_with_its_reason(serve: Serve) -> None:
    with Upstream(lambda _: failing(400, "that is too much")) as upstream:
        server = await serve(ON, QUICK, provider("one", upstream))
        await server.ask(model="one/m")

        (row,) = await logged(server, "?status=failed")

    assert "that is too much" in row["error"]
    assert row["answer"] == ""


async def test_what_a_key_says_wins_over_its_route_and_the_route_over_the_rest(serve: Serve) -> None:
    """By who asks, and which route: is it logged?"""
    with Upstream(BOTH) as upstream:
        routes = (route("loud", "one/m", more="log = true"), route("quiet", "one/m"))
        server = await serve(WITH_MASTER, QUICK, provider("one", upstream), *routes)
        always, never = await make(server, logs=True), await make(server, logs=False)
        wanted = []
        asking = [(MASTER, {"loud"}), (bearer(always["key"]), {"loud", "quiet"}), (bearer(never["key"]), set())]
        for headers, kept in asking:
            for name in ("loud", "quiet"):
                reply = await server.ask(headers, model=name)
                wanted += [reply.id] if name in kept else []

        rows = await logged(server, headers=MASTER)

    assert [row["id"] for row in rows] == wanted[::-1]


async def test_no_secret_of_a_prompt_or_an_answer_reaches_the_database(tmp_path: Path) -> None:
    told = f"My card {CARD}, account {IBAN}, mail {MAIL}, phone {PHONE}, key sk-live-0123456789abcdef, {KEY};"
    told += " staff E-777"
    odd = {"content": told, "number": 4111111111111111, MAIL: "name", "call": json.dumps({"to": MAIL})}
    config = ON + '[request_log.rules]\nstaff = "E-[0-9]+"\n'
    with Upstream(lambda _: says(told)) as upstream:
        async with serving(tmp_path, "\n".join((config, QUICK, provider("one", upstream, more="")))) as server:
            reply = await server.ask(
                model="one/m", messages=[{"role": "user", "content": told}], metadata=odd, user=MAIL
            )
            assert reply.text == told
            found = await whole(server, reply)
            assert (await logged(server, "?text=staff"))[0]["id"] == reply.id
            path = server.database
            said = json.dumps(found)
    raw = contents(path).decode(errors="replace")

    for secret in (*SECRETS, "E-777"):
        assert secret not in said
        assert secret not in raw
    content = found["request"]["messages"][0]["content"]
    assert content.startswith("My card [card], account [iban], mail [email], phone [phone], key [key], [")
    assert content.endswith("staff [staff]")


async def test_entries_are_found_by_words_and_by_what_they_are(serve: Serve) -> None:
    with Upstream(lambda asked: says("The answer is Zürich")) as upstream:
        server = await serve(ON, QUICK, provider("one", upstream), route("capitals", "one/m"))
        first = await server.ask(model="one/m", messages=[{"role": "user", "content": "Where is the blue whale?"}])
        second = await server.ask(model="capitals", messages=[{"role": "user", "content": "Which capital is it?"}])
        await logged(server)

        async def ids(query: str) -> list[str]:
            return [row["id"] for row in await logged(server, query)]

        assert await ids("?text=whale") == [first.id]
        assert await ids("?text=%22blue%20whale%22") == [first.id]
        assert await ids("?text=%22whale%20blue%22") == []
        assert await ids("?text=zurich") == [second.id, first.id]
        assert await ids("?text=!%20%22%20)%20OR%20*") == []
        assert await ids("?route=capitals&model=m&since=1h") == [second.id]
        assert await ids("?model=one/m&limit=1") == [second.id]
        assert await ids("?until=2020-01-01") == []
        rows = await logged(server)
        assert await ids(f"?after={rows[1]['row']}") == [second.id]
        assert await ids(f"?cursor={rows[0]['row']}") == [first.id]


@pytest.mark.parametrize("query", ["limit=0", "cursor=x", "status=odd", "since=never", "colour=red"])
async def test_queries_that_cannot_be_are_named(serve: Serve, query: str) -> None:
    server = await serve(ON)

    reply = await server.get(f"/api/v1/logs?{query}")

    assert (reply.status, reply.error["param"]) == (400, query.partition("=")[0])


async def test_a_key_sees_its_own_entries_and_removes_none(serve: Serve) -> None:
    with Upstream(BOTH) as upstream:
        server = await serve(KEYS_ONLY, ON, QUICK, provider("one", upstream))
        mine, other, viewer = [await make(server), await make(server), await make(server, roles=["viewer"])]
        reply = await server.ask(bearer(mine["key"]), model="one/m")
        hidden = await server.ask(bearer(other["key"]), model="one/m")

        seen = await logged(server, headers=bearer(mine["key"]))
        exported = await server.get("/api/v1/logs/export", bearer(mine["key"]))

        assert [row["id"] for row in seen] == [reply.id]
        assert await logged(server, f"?key={other['id']}", bearer(mine["key"])) == []
        assert [json.loads(line)["id"] for line in exported.body.splitlines()] == [reply.id]
        assert (await server.get(f"/api/v1/logs/{hidden.id}", bearer(mine["key"]))).status == 404
        assert await logged(server, headers=bearer(viewer["key"])) == []
        assert (await server.request("DELETE", "/api/v1/logs?before=now", headers=bearer(mine["key"]))).status == 403
        assert len(await logged(server, headers=MASTER)) == 2


async def test_entries_are_removed_by_key_and_by_age(serve: Serve) -> None:
    with Upstream(BOTH) as upstream:
        server = await serve(KEYS_ONLY, ON, QUICK, provider("one", upstream))
        mine, other = await make(server), await make(server)
        for key in (mine, mine, other):
            await server.ask(bearer(key["key"]), model="one/m")

        async def remove(query: str) -> Reply:
            return await server.request("DELETE", f"/api/v1/logs{query}", headers=MASTER)

        assert (await remove("")).status == 400
        assert (await remove("?before=1h")).json == {"removed": 0, "before": "1h"}
        assert (await remove(f"?key={mine['id']}")).json == {"removed": 2, "key": mine["id"]}
        assert [row["key"] for row in await logged(server, headers=MASTER)] == [other["id"]]
        assert (await remove("?before=now")).json["removed"] == 1
        assert (await server.services.request_log.store.stats()) == {"entries": 0, "parts": 0, "size_bytes": 0}
        audited = (await server.get("/api/v1/audit?action=request_log.removed", MASTER)).json["data"]
        assert len(audited) == 3


async def test_a_full_queue_sheds_entries_and_no_requests(serve: Serve) -> None:
    with Upstream(BOTH) as upstream:
        server = await serve("[request_log]\nenabled = true\nqueue_mb = 0.001\n", QUICK, provider("one", upstream))
        reply = await server.ask(model="one/m")

        assert reply.status == 200
        assert await logged(server) == []
        assert (await server.get("/health")).json["request_log"]["shed"] == 1
        assert b'modelport_request_log_total{fate="shed"} 1.0' in (await server.get("/metrics")).body


async def test_an_answer_from_the_cache_is_logged_and_stored_once(serve: Serve) -> None:
    with Upstream(BOTH) as upstream:
        server = await serve(ON, QUICK, '[cache]\nmode = "all"\n', provider("one", upstream))
        for _ in range(3):
            await server.ask(model="one/m")
        rows = await logged(server)
        stats = await server.services.request_log.store.stats()

    assert [row["cache"] for row in rows] == ["hit", "hit", "miss"]
    assert {row["answer"] for row in rows} == {"Hello there"}
    assert stats["entries"] == 3


async def test_what_waits_is_stored_when_the_server_stops(tmp_path: Path) -> None:
    with Upstream(BOTH) as upstream:
        config = "\n".join((ON, QUICK, provider("one", upstream)))
        async with serving(tmp_path, config) as server:
            reply = await server.ask(model="one/m")
        async with serving(tmp_path, config) as server:
            assert [row["id"] for row in await logged(server)] == [reply.id]


async def test_an_answer_that_nobody_waits_for_any_more_is_kept_as_far_as_it_came(serve: Serve) -> None:
    """The client leaves after the first piece; the second never comes."""
    waiting = Answer.sse(OPENING + chunk({"content": "Hello"}), end="hang")
    with Upstream(lambda _: waiting) as upstream:
        server = await serve(ON, QUICK, provider("one", upstream))
        async with server.asking(model="one/m", stream=True) as answer:
            async for line in answer.content:
                if b"Hello" in line:
                    break
            answer.close()
        rows = []
        while not rows:
            rows = await logged(server)

    assert (rows[0]["status"], rows[0]["answer"]) == ("aborted", "Hello")


async def test_an_answer_that_breaks_off_is_kept_as_far_as_it_came(serve: Serve) -> None:
    broken = Answer.sse(OPENING + chunk({"content": "Hello"}))
    with Upstream(lambda _: broken) as upstream:
        server = await serve(ON, QUICK, provider("one", upstream))
        await server.ask(model="one/m", stream=True)

        (row,) = await logged(server)

    assert (row["status"], row["answer"]) == ("interrupted", "Hello")
    assert row["error"]


# --- what is no chat --------------------------------------------------------------------------------

JSON = {"content-type": "application/json"}
PICTURE = b"\x89PNG" + bytes(range(256))


def digest(content_type: str, body: bytes) -> dict[str, Any]:
    return {"content_type": content_type, "bytes": len(body), "sha256": sha256(body).hexdigest()}


@pytest.mark.parametrize("cached", [False, True])
async def test_embeddings_are_logged_without_their_vectors(serve: Serve, cached: bool) -> None:
    asked = {"model": "one/m", "input": ["a whale", "an ocean"]}
    vectors = [{"object": "embedding", "index": index, "embedding": [0.5, 0.25]} for index in range(2)]
    said = {"object": "list", "data": vectors, "model": "m", "usage": {"prompt_tokens": 4, "total_tokens": 4}}
    with Upstream(lambda _: Answer.json(said)) as upstream:
        server = await serve(ON, QUICK, provider("one", upstream))
        for _ in range(1 + cached):
            reply = await server.request("POST", "/v1/embeddings", json.dumps(asked).encode(), JSON)
        found = await whole(server, reply)
        by_words = await logged(server, "?text=ocean")

    assert (found["request"], found["dialect"], found["status"]) == (asked, "embeddings", "ok")
    assert found["cache"] == ("hit" if cached else "miss")
    assert found["response"]["data"] == {"vectors": 2, **digest("application/json", reply.body)}
    assert found["response"]["usage"]["prompt_tokens"] == 4
    assert reply.id in {row["id"] for row in by_words}


@pytest.mark.parametrize("prompt", ["Say hello", ["Say hello", "and bye"]])
async def test_older_completions_are_logged(serve: Serve, prompt: Any) -> None:
    asked = {"model": "one/m", "prompt": prompt, "max_tokens": 9}
    with Upstream(BOTH) as upstream:
        server = await serve(ON, QUICK, provider("one", upstream))
        reply = await server.request("POST", "/v1/completions", json.dumps(asked).encode(), JSON)
        found = await whole(server, reply)

    assert reply.status == 200
    assert (found["dialect"], found["status"]) == ("openai_completions", "ok")
    assert (found["request"], found["response"]["choices"]) == (asked, reply.json["choices"])


async def test_a_call_that_is_passed_on_is_logged_and_its_file_told_by_a_digest(serve: Serve) -> None:
    asked = {"model": "m", "prompt": f"A whale for {MAIL}"}
    with Upstream(lambda _: Answer(headers={"content-type": "image/png"}, body=PICTURE)) as upstream:
        server = await serve(ON, QUICK, provider("one", upstream))
        headers = {**JSON, "x-modelport-provider": "one"}
        reply = await server.request("POST", "/v1/images/generations", json.dumps(asked).encode(), headers)
        found = await whole(server, reply)

    assert reply.body == PICTURE
    assert found["request"] == {
        "method": "POST",
        "path": "/v1/images/generations",
        "body": {"model": "m", "prompt": "A whale for [email]"},
    }
    assert found["response"] == digest("image/png", PICTURE)
    assert (found["question"], found["dialect"]) == ("A whale for [email]", "passthrough")


@pytest.mark.parametrize("kind", ["application/octet-stream", "multipart/form-data; boundary=xx"])
async def test_an_upload_is_told_by_its_digest(serve: Serve, kind: str) -> None:
    """What was sent to the provider in pieces, all of it."""
    body = b'--xx\r\ncontent-disposition: form-data; name="model"\r\n\r\nm\r\n--xx--\r\n' + PICTURE * 999
    with Upstream(lambda _: Answer.json({"text": "whale"})) as upstream:
        server = await serve(ON, QUICK, provider("one", upstream))
        headers = {"content-type": kind, "x-modelport-provider": "one"}
        reply = await server.request("POST", "/v1/audio/transcriptions", body, headers)
        found = await whole(server, reply)

    assert reply.status == 200
    assert found["request"]["body"] == digest(kind.partition(";")[0], body)
    assert found["response"] == {"text": "whale"}


@pytest.mark.parametrize(
    "body", [b'{"a": "' + b"x" * MOST_KEPT + b'"}', b'{"a": ', b"[1]"], ids=["long", "broken", "no object"]
)
def test_json_that_is_long_broken_or_no_object_is_told_by_its_digest(body: bytes) -> None:
    passed = Passed("application/json; charset=utf-8")
    for at in range(0, len(body), 65536):
        passed.add(body[at : at + 65536])

    assert passed.told() == digest("application/json", body)
    assert passed.size <= MOST_KEPT


async def test_broken_json_that_is_passed_on_is_told_by_its_digest(serve: Serve) -> None:
    broken = b'{"model": '
    with Upstream(lambda _: Answer.json({"ok": True})) as upstream:
        server = await serve(ON, QUICK, provider("one", upstream))
        headers = {**JSON, "x-modelport-provider": "one"}
        reply = await server.request("POST", "/v1/moderations", broken, headers)
        found = await whole(server, reply)

    assert found["request"]["body"] == digest("application/json", broken)


async def test_what_is_passed_on_is_not_logged_unless_it_is_wanted(serve: Serve) -> None:
    with Upstream(lambda _: Answer.json({"ok": True})) as upstream:
        server = await serve(QUICK, provider("one", upstream))
        headers = {**JSON, "x-modelport-provider": "one"}
        await server.request("POST", "/v1/moderations", b'{"input": "x"}', headers)

        assert await logged(server) == []


async def test_a_passed_on_call_that_fails_is_logged_with_what_was_asked(serve: Serve) -> None:
    with Upstream(lambda _: failing(500)) as upstream:
        server = await serve(ON, QUICK, provider("one", upstream))
        headers = {**JSON, "x-modelport-provider": "one"}
        reply = await server.request("POST", "/v1/moderations", b'{"input": "x"}', headers)
        found = await whole(server, reply)

    assert (found["status"], found["response"]) == ("failed", None)
    assert found["request"]["body"] == {"input": "x"}
