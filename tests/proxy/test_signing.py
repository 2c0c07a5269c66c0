"""Keys whose requests have to be signed: what is accepted, what is refused, and that nothing is accepted twice."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from multidict import CIMultiDict

from proxy.errors import Refused
from proxy.keyring import SIGNING_PREFIX, Keyring
from proxy.signing import KEY, MOST_REMEMBERED, NONCE, SIGNATURE, TIME, WINDOW_S, Signatures, sign
from tests.proxy.conftest import Serve
from tests.proxy.keyed import KEYS_ONLY, MASTER, bearer, make, send
from tests.proxy.serving import Reply, Served, provider, question, says, serving
from tests.replay import Upstream

PATH = "/v1/chat/completions"
BODY = json.dumps(question(model="demo/echo")).encode()


class Reversing:
    """A sealer that everybody can open."""

    def seal(self, value: bytes, name: str) -> bytes:
        return name.encode() + b"|" + value[::-1]

    def open(self, sealed: bytes, name: str) -> bytes:
        own, _, value = sealed.partition(b"|")
        if own != name.encode():
            raise ValueError(name)
        return value[::-1]


async def _signing(serve: Serve, *sections: str, **body: Any) -> tuple[Served, dict[str, Any]]:
    server = await serve(KEYS_ONLY, *sections)
    server.services.keyring.sealer = Reversing()
    return server, await make(server, signing=True, **body)


def _headers(
    made: Mapping[str, Any],
    *,
    method: str = "POST",
    path: str = PATH,
    body: bytes = BODY,
    at: float | None = None,
    away_s: float = 0,
    nonce: str | None = None,
    secret: str | None = None,
) -> dict[str, str]:
    moment = str(int((time.time() if at is None else at) + away_s))
    signed = sign((secret or made["signing_secret"]).encode(), method, path, body, time=moment, nonce=nonce)
    return {KEY: made["id"], TIME: moment, SIGNATURE: signed, **({NONCE: nonce} if nonce else {})}


async def _ask(server: Served, headers: Mapping[str, str], body: bytes = BODY, path: str = PATH) -> Reply:
    return await server.request("POST", path, body, {"content-type": "application/json", **headers})


async def test_a_signed_request_gets_in_without_the_key(serve: Serve, upstream: Upstream) -> None:
    """And its body reaches the provider as it came."""
    upstream.script("m", says())
    server, made = await _signing(serve, provider("one", upstream))
    body = json.dumps(question(model="one/m", messages=[{"role": "user", "content": "x" * 300_000}])).encode()
    reply = await _ask(server, _headers(made, body=body), body)
    row = await server.row(reply.id)

    assert made["signing_secret"].startswith(SIGNING_PREFIX)
    assert (reply.status, row["key_id"]) == (200, made["id"])
    assert upstream.asked("m")[0].json["messages"][0]["content"] == "x" * 300_000


async def test_a_get_is_signed_with_its_query(serve: Serve) -> None:
    server, made = await _signing(serve)
    path = "/costs?since=1h&group_by=key"
    good = await server.get(path, _headers(made, method="GET", path=path, body=b""))
    moved = await server.get("/costs?since=2h", _headers(made, method="GET", path="/costs?since=1h", body=b""))

    assert (good.status, moved.status) == (200, 401)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"body": b"{}"}, "does not fit"),
        ({"path": "/v1/messages"}, "does not fit"),
        ({"method": "PUT"}, "does not fit"),
        ({"secret": "mp-sign-other"}, "does not fit"),
        ({"away_s": -WINDOW_S - 60}, "away from the server's time"),
        ({"away_s": WINDOW_S + 60}, "away from the server's time"),
        ({"nonce": "n" * 129}, "at most 128 characters"),
    ],
)
async def test_what_was_not_signed_so_is_refused(serve: Serve, change: dict[str, Any], word: str) -> None:
    server, made = await _signing(serve)
    reply = await _ask(server, _headers(made, **change))

    assert (reply.status, word in reply.error["message"]) == (401, True), reply.body


@pytest.mark.parametrize(
    ("headers", "word"),
    [
        ({KEY: "key_unknown"}, "no key of that id"),
        ({TIME: "yesterday"}, "expected Unix seconds"),
        ({TIME: ""}, "expected Unix seconds"),
        ({TIME: "9" * 5000}, "expected Unix seconds"),
        ({SIGNATURE: ""}, "does not fit"),
        ({SIGNATURE: "\u00e9" * 64}, "does not fit"),
        ({NONCE: "added"}, "does not fit"),
    ],
)
async def test_headers_that_say_something_else_are_refused(serve: Serve, headers: dict[str, str], word: str) -> None:
    server, made = await _signing(serve)
    reply = await _ask(server, {**_headers(made), **headers})

    assert (reply.status, word in reply.error["message"]) == (401, True), reply.body


@pytest.mark.parametrize("missing", [KEY, TIME])
async def test_a_signature_alone_says_nothing(serve: Serve, missing: str) -> None:
    server, made = await _signing(serve)
    headers = _headers(made)
    del headers[missing]
    reply = await _ask(server, headers)

    assert (reply.status, reply.error["message"]) == (401, f"{missing}: missing beside {SIGNATURE}")


@pytest.mark.parametrize("twice", [KEY, TIME, NONCE, SIGNATURE])
async def test_a_header_of_the_signature_that_is_given_twice_is_refused(serve: Serve, twice: str) -> None:
    """Whatever the second one says, and whichever a proxy in front would have read."""
    server, made = await _signing(serve)
    headers = CIMultiDict({"content-type": "application/json", **_headers(made, nonce="one")})
    headers.add(twice, headers[twice])
    async with server.session.post(server.url + PATH, data=BODY, headers=headers) as reply:
        error = (await reply.json())["error"]

    assert (reply.status, error["code"]) == (401, "invalid_signature")
    assert f"{twice}: given 2 times" in error["message"]


async def test_what_was_signed_before_the_start_is_refused(serve: Serve) -> None:
    """The process before may have accepted it."""
    server, made = await _signing(serve)
    reply = await _ask(server, _headers(made, at=time.time() - 60))

    assert (reply.status, "sign it again" in reply.error["message"]) == (401, True)


@pytest.mark.parametrize("away_s", [0, 200])
async def test_what_the_process_before_has_accepted_is_refused(tmp_path: Path, away_s: float) -> None:
    """Also if it starts within the same second, and by a client whose clock is ahead."""
    async with serving(tmp_path, KEYS_ONLY) as server:
        server.services.keyring.sealer = Reversing()
        made = await make(server, signing=True)
        headers = _headers(made, away_s=away_s)
        accepted = await _ask(server, headers)
    async with serving(tmp_path, KEYS_ONLY) as server:
        server.services.keyring.sealer = Reversing()
        server.services.signatures._started = 0  # as though no time had passed
        again, next_one = await _ask(server, headers), await _ask(server, _headers(made, away_s=away_s + 60))

    assert (accepted.status, again.status, next_one.status) == (200, 401, 200)
    assert "sign it again" in again.error["message"]


async def test_a_request_is_accepted_once(serve: Serve) -> None:
    """The same request again needs another second or another nonce."""
    server, made = await _signing(serve)
    at = time.time()
    first, second = _headers(made, at=at), _headers(made, at=at, nonce="again")
    statuses = [(await _ask(server, headers)).status for headers in (first, first, second, second)]
    replayed = await _ask(server, first)

    assert statuses == [200, 401, 200, 401]
    assert replayed.error["code"] == "replayed_signature"


async def test_a_key_that_demands_signatures_is_no_key_without_one(serve: Serve) -> None:
    server, made = await _signing(serve)
    plain = await server.ask(bearer(made["key"]), model="demo/echo")

    assert (plain.status, plain.error["code"]) == (401, "signature_missing")
    assert "demands signed requests; send x-modelport-signature (docs: keys)" in plain.error["message"]


async def test_a_signature_of_a_revoked_or_an_unsigned_key_is_refused(serve: Serve) -> None:
    server, made = await _signing(serve)
    other = await make(server)
    foreign = await _ask(server, _headers({**other, "signing_secret": made["signing_secret"]}))
    await send(server, "DELETE", f"/api/v1/keys/{made['id']}")
    revoked = await _ask(server, _headers(made))

    assert (foreign.status, revoked.status) == (401, 401)
    assert "was revoked" in revoked.error["message"]


async def test_a_rotation_gives_a_new_secret_at_once(serve: Serve) -> None:
    server, made = await _signing(serve)
    overlap = await send(server, "POST", f"/api/v1/keys/{made['id']}/rotate", overlap_s=60)
    new = (await send(server, "POST", f"/api/v1/keys/{made['id']}/rotate")).json
    statuses = [(await _ask(server, _headers(each))).status for each in (made, new)]

    assert (overlap.status, overlap.error["param"]) == (400, "overlap_s")
    assert statuses == [401, 200]


@pytest.mark.parametrize(("method", "path"), [("POST", "/api/v1/keys/{}/rotate"), ("DELETE", "/api/v1/keys/{}")])
async def test_what_is_under_way_at_a_rotation_or_revocation_does_not_get_in(
    serve: Serve, method: str, path: str
) -> None:
    """The head and half of the body are there before, the rest after it."""
    server, made = await _signing(serve)
    half_sent, changed = asyncio.Event(), asyncio.Event()

    async def body() -> AsyncIterator[bytes]:
        yield BODY[:20]
        half_sent.set()
        await changed.wait()
        yield BODY[20:]

    async def ask() -> int:
        headers = {"content-type": "application/json", **_headers(made)}
        async with server.session.post(server.url + PATH, data=body(), headers=headers) as answer:
            await answer.read()
            return answer.status

    asking = asyncio.create_task(ask())
    await half_sent.wait()
    done = await send(server, method, path.format(made["id"]))
    changed.set()

    assert (done.status, await asking) == (200, 401)


async def test_without_a_key_for_secrets_there_are_no_signing_keys(serve: Serve) -> None:
    server = await serve(KEYS_ONLY)
    refused = await send(server, "POST", "/api/v1/keys", name="x", signing=True)
    server.services.keyring.sealer = Reversing()
    made = await make(server, signing=True)
    server.services.keyring.sealer = None
    unreadable = await _ask(server, _headers(made))

    assert (refused.status, "[secrets] key" in refused.error["message"]) == (409, True)
    assert (unreadable.status, unreadable.error["code"]) == (503, "secrets_unavailable")


async def test_the_secret_is_stored_sealed_and_shown_once(serve: Serve) -> None:
    server, made = await _signing(serve)
    shown = await server.get(f"/api/v1/keys/{made['id']}", MASTER)
    await server.services.drain()
    files = b"".join(path.read_bytes() for path in server.database.parent.glob(server.database.name + "*"))

    assert made["signing_secret"].encode() not in shown.body + files
    assert shown.json["signing"] is True


async def test_what_is_remembered_of_signatures_is_bounded_and_ends(serve: Serve) -> None:
    """Where there is no room for another, it is refused: what is forgotten could be sent again."""
    server, made = await _signing(serve)
    now = [1000.0]
    ring: Keyring = server.services.keyring
    signatures = Signatures(ring, lambda: now[0], most=2)
    entry = ring.entries[made["id"]]
    signatures._remember(entry, b"1")
    signatures._remember(entry, b"2")
    with pytest.raises(Refused) as full:
        signatures._remember(entry, b"3")
    with pytest.raises(Refused) as replayed:
        signatures._remember(entry, b"1")
    now[0] += 2 * WINDOW_S
    signatures._remember(entry, b"1")

    assert [error.value.failure.status for error in (full, replayed)] == [429, 401]
    assert MOST_REMEMBERED > 2


async def test_a_signing_key_ends_with_the_key_that_made_it(serve: Serve) -> None:
    server = await serve(KEYS_ONLY)
    server.services.keyring.sealer = Reversing()
    maker = await make(server, roles=["admin"])
    child = await make(server, bearer(maker["key"]), name="child", signing=True)
    before = await _ask(server, _headers(child))
    soon = await send(server, "PATCH", f"/api/v1/keys/{maker['id']}", expires_at=time.time() + 1)
    server.services.signatures._now = lambda: time.time() + 2
    after = await _ask(server, _headers(child, away_s=2))

    assert (before.status, soon.status, after.status) == (200, 200, 401)
    assert "(child) expired at" in after.error["message"]
