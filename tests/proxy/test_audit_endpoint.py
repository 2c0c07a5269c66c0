"""`/api/v1/audit`: every change is in it, with who made it, and it can be proven."""

from __future__ import annotations

import json
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from proxy.config import load
from proxy.config.changes import changes, configuration_digest
from proxy.sealing import new_key
from tests.proxy.conftest import Serve
from tests.proxy.serving import KEY, SECOND_KEY, Reply, Served, provider, serving
from tests.replay import Answer, Upstream
from tests.running import POLL_S, Modelport

MASTER = "mp-master-0123456789"
AUTH = f'[auth]\nmaster_key = "{MASTER}"\n'
SEALING = {"MODELPORT_SECRET_KEY": new_key()}


async def call(server: Served, method: str, path: str, body: Any = None) -> Reply:
    raw = None if body is None else json.dumps(body).encode()
    return await server.request(method, path, raw, {"authorization": f"Bearer {MASTER}"})


async def entries(server: Served, query: str = "") -> list[dict[str, Any]]:
    """Oldest first."""
    found: list[dict[str, Any]] = (await call(server, "GET", f"/api/v1/audit{query}")).json["data"]
    return found[::-1]


async def changed_things(server: Served) -> None:
    await call(server, "POST", "/api/v1/credentials", {"provider": "one", "key": SECOND_KEY})
    await call(server, "PATCH", "/api/v1/credentials/one", {"weight": 2})
    await call(server, "POST", "/api/v1/secrets/rotate")
    await call(server, "DELETE", "/api/v1/credentials/one")
    await call(server, "DELETE", "/api/v1/cache")
    await call(server, "POST", "/api/v1/catalog/refresh", {"providers": ["one"]})


async def test_changes_are_told_with_who_made_them(serve: Serve) -> None:
    with Upstream(lambda asked: Answer.json({"data": [{"id": "alpha"}]})) as upstream:
        server = await serve(AUTH, provider("one", upstream), environ=SEALING)
        await changed_things(server)

        found = await entries(server)

    assert [(entry["action"], entry["subject"], entry["actor"]) for entry in found] == [
        ("credential.added", "one", "master"),
        ("credential.changed", "one", "master"),
        ("secrets.rotated", "secrets", "master"),
        ("credential.removed", "one", "master"),
        ("cache.cleared", "cache", "master"),
        ("catalog.refreshed", "one", "master"),
    ]
    assert (found[1]["before"]["weight"], found[1]["after"]["weight"]) == (1, 2)
    assert found[4]["after"] == {"cleared": 0}
    assert found[5]["after"] == {"models": 1, "added": 1, "removed": 0, "changed": 0}
    assert SECOND_KEY not in json.dumps(found)


async def test_what_is_refused_is_no_change(serve: Serve, upstream: Upstream) -> None:
    server = await serve(AUTH, provider("one", upstream), environ=SEALING)

    await call(server, "POST", "/api/v1/credentials", {"provider": "nobody", "key": SECOND_KEY})
    await call(server, "DELETE", "/api/v1/credentials/one")
    await call(server, "DELETE", "/api/v1/catalog/learned?provider=nobody")
    await server.request("DELETE", "/api/v1/cache")

    assert await entries(server) == []


async def test_entries_come_in_pages_and_by_choice(serve: Serve, upstream: Upstream) -> None:
    server = await serve(AUTH, provider("one", upstream), environ=SEALING)
    for _ in range(5):
        await call(server, "DELETE", "/api/v1/cache")
    await call(server, "POST", "/api/v1/credentials", {"provider": "one", "key": SECOND_KEY})

    first = (await call(server, "GET", "/api/v1/audit?limit=4")).json
    second = (await call(server, "GET", f"/api/v1/audit?limit=4&cursor={first['next']}")).json

    assert [entry["seq"] for entry in first["data"] + second["data"]] == [6, 5, 4, 3, 2, 1]
    assert second["next"] is None
    assert [entry["seq"] for entry in await entries(server, "?subject=one")] == [6]
    assert [entry["seq"] for entry in await entries(server, "?action=cache&since=1h&actor=master")] == [1, 2, 3, 4, 5]
    assert await entries(server, "?until=2020-01-01") == []


@pytest.mark.parametrize("query", ["limit=0", "limit=x", "limit=1001", "cursor=-1", "since=never"])
async def test_queries_that_cannot_be_are_named(serve: Serve, query: str) -> None:
    server = await serve(AUTH)

    reply = await call(server, "GET", f"/api/v1/audit?{query}")

    assert (reply.status, reply.error["param"]) == (400, query.partition("=")[0])


async def test_the_chain_is_walked_and_its_head_told(tmp_path: Path) -> None:
    """Somebody with the file changes an entry, and later cuts one off: the first is seen, the second by its head."""
    async with serving(tmp_path, AUTH) as server:
        for _ in range(3):
            await call(server, "DELETE", "/api/v1/cache")
        whole = (await call(server, "GET", "/api/v1/audit/verify")).json
        known = (await call(server, "GET", f"/api/v1/audit/verify?head={whole['head']}")).json
        unknown = (await call(server, "GET", f"/api/v1/audit/verify?head={'0' * 64}")).json
        wrong = await call(server, "GET", "/api/v1/audit/verify?head=xyz")
        path = server.database
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("DROP TRIGGER audit_no_update")
        connection.execute("UPDATE audit SET actor = 'nobody' WHERE seq = 2")

    async with serving(tmp_path, AUTH) as server:
        broken = (await call(server, "GET", "/api/v1/audit/verify")).json

    assert (whole["ok"], whole["entries"], whole["reason"]) == (True, 3, None)
    assert (known["ok"], known["head_found_at"]) == (True, 3)
    assert (unknown["ok"], unknown["broken_at"]) == (False, None)
    assert "it was cut off or replaced" in unknown["reason"]
    assert (wrong.status, wrong.error["param"]) == (400, "head")
    assert (broken["ok"], broken["broken_at"], broken["reason"]) == (False, 2, "it is not what was written")


def test_a_configuration_is_told_when_it_comes_into_force(tmp_path: Path) -> None:
    """At the start if it is another one than before, and when it is read again; secrets are references."""
    config = f'[server]\nreload = true\n[cache]\nttl_s = 60\n[providers.openai]\nkeys = ["{KEY}"]\n'
    running = Modelport(tmp_path, config)
    path = tmp_path / "modelport.toml"

    def told(count: int) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        until = time.monotonic() + 10
        while time.monotonic() < until:
            found = running.get("/api/v1/audit?action=configuration.loaded").json["data"]
            if len(found) >= count:
                break
            time.sleep(POLL_S)  # nobody tells when a file was noticed
        return found

    with running:
        first = told(1)
    with running:
        same = told(1)
        path.write_text(config.replace("60", "70").replace(KEY, SECOND_KEY), "utf-8")
        later = told(2)

    assert len(first) == len(same) == 1
    assert (same[0]["actor"], same[0]["subject"]) == ("process", str(path))
    assert later[0]["after"]["changed"] == {
        "cache.ttl_s": [60.0, 70.0],
        "providers.openai.keys": [["(a literal)"], ["(a literal)"]],
    }
    assert later[0]["after"]["why"] == "the file changed"
    assert KEY not in json.dumps(later)


def test_a_digest_changes_with_what_is_configured_and_not_with_values_of_secrets(tmp_path: Path) -> None:
    def digest(text: str, key: str) -> str:
        (tmp_path / "modelport.toml").write_text(text, "utf-8")
        return configuration_digest(load(environ={"HOME": str(tmp_path), "K": key}, folder=tmp_path))

    one = '[providers.openai]\nkeys = ["env:K"]\n'

    assert digest(one, "a") == digest(one, "b") != digest(one + "enabled = false\n", "a")


def test_what_changed_is_told_from_what_was(tmp_path: Path) -> None:
    def loaded(text: str) -> Any:
        (tmp_path / "modelport.toml").write_text(text, "utf-8")
        return load(environ={"HOME": str(tmp_path)}, folder=tmp_path)

    before = loaded('[routes.a]\ntargets = ["demo/echo"]\n')
    after = loaded('[routes.a]\npolicy = "weighted"\ntargets = ["demo/echo"]\n[routes.b]\ntargets = ["demo/echo"]\n')
    told = changes(before, after)

    assert told["routes.a.policy"] == ["failover", "weighted"]
    assert told["routes.b.targets"] == [None, ["demo/echo"]]
    assert "routes.a.targets" not in told
