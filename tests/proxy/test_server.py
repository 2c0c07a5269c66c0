"""The edge: routes, hosts, malformed HTTP, bodies, and connections that must close."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest
from aiohttp import ClientConnectionResetError

from proxy.app import App
from proxy.server import Server
from tests.proxy.conftest import Serve
from tests.proxy.serving import BOTH, provider, question
from tests.replay import Upstream

SECRET = "sk-secret-canary-0123456789"
CHAT = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n"
HELLO = json.dumps(question(model="demo/echo")).encode()


def status_of(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


@pytest.mark.parametrize("method", ["GET", "DELETE", "POST"])
async def test_below_googles_version_an_unknown_path_is_unknown_for_every_method(serve: Serve, method: str) -> None:
    server = await serve()

    reply = await server.request(method, "/v1beta/nope")

    assert (reply.status, reply.error["status"]) == (404, "NOT_FOUND")


@pytest.mark.parametrize(
    ("method", "path", "status", "allow"),
    [
        ("GET", "/", 404, None),
        ("GET", "/v1/nowhere", 404, None),
        ("POST", "/v1/chat/completions/", 404, None),
        ("GET", "/v1/models/", 404, None),
        ("GET", "/health/../v1/models", 404, None),
        ("GET", "/v1%2Fmodels", 404, None),
        ("GET", "//v1/models", 404, None),
        ("GET", "/v1/chat/completions", 405, "POST"),
        ("HEAD", "/health", 405, "GET"),
        ("OPTIONS", "/v1/chat/completions", 405, "POST"),
        ("DELETE", "/v1/models/x", 405, "GET"),
        ("PUT", "/api/v1/cache", 405, "DELETE, GET"),
    ],
)
async def test_what_is_not_there_is_said_in_the_envelope(
    serve: Serve, method: str, path: str, status: int, allow: str | None
) -> None:
    server = await serve()
    line = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"

    answer = await server.raw(line.encode())

    head, _, body = answer.partition(b"\r\n\r\n")
    assert status_of(answer) == status
    assert b"\r\nx-request-id: req_" in head.lower()
    if method != "HEAD":
        assert set(json.loads(body)["error"]) >= {"message", "type", "param", "code"}
    if allow:
        assert f"\r\nallow: {allow}\r\n".encode() in head.lower() + b"\r\n" or allow.lower().encode() in head.lower()


HOSTS: dict[str, tuple[str, int]] = {
    "an address": ("Host: 127.0.0.1:4100", 200),
    "any address": ("Host: 192.168.1.7:4100", 200),
    "an IPv6 address": ("Host: [::1]:4100", 200),
    "localhost": ("Host: localhost:1", 200),
    "localhost, loud": ("Host: LOCALHOST", 200),
    "a name under localhost": ("Host: a.localhost", 200),
    "configured": ("Host: Box.lan:4100", 200),
    "a foreign name": ("Host: evil.example", 421),
    "looks like localhost": ("Host: localhost.evil.example", 421),
    "looks like an address": ("Host: 127.0.0.1.evil.example", 421),
    "not ASCII": ("Host: \xe9vil", 421),
    "none": ("X-Nothing: 1", 400),
    "empty": ("Host: ", 400),
    "own origin": ("Host: localhost\r\nOrigin: http://localhost:3000", 200),
    "loopback origin": ("Host: localhost\r\nOrigin: http://127.0.0.1:3000", 200),
    "same host as origin": ("Host: 192.168.1.7:4100\r\nOrigin: http://192.168.1.7:3000", 200),
    "configured origin": ("Host: localhost\r\nOrigin: https://box.lan", 200),
    "foreign origin": ("Host: localhost\r\nOrigin: https://evil.example", 403),
    "foreign origin by address": ("Host: localhost\r\nOrigin: http://203.0.113.9", 403),
    "port that is a name": ("Host: localhost\r\nOrigin: http://localhost:3000.evil.example", 403),
    "two origins": ("Host: localhost\r\nOrigin: http://localhost\r\nOrigin: https://evil.example", 400),
    "host with a name for a port": ("Host: 127.0.0.1:abc", 400),
    "half an address": ("Host: [::1", 400),
    "no origin": ("Host: localhost\r\nOrigin: null", 403),
}


@pytest.mark.parametrize("case", HOSTS)
async def test_hosts_and_origins(serve: Serve, case: str) -> None:
    """A hostile page cannot point a name at this port, nor post to it from its own."""
    headers, status = HOSTS[case]
    server = await serve('[server]\nallowed_hosts = ["box.lan"]')

    answer = await server.raw(f"GET /health/live HTTP/1.1\r\n{headers}\r\nConnection: close\r\n\r\n".encode("latin-1"))

    assert status_of(answer) == status, answer


@pytest.mark.parametrize("headers", ["Host: evil.example", "Host: localhost\r\nOrigin: https://app.example"])
async def test_hosts_are_free_where_keys_are_required(serve: Serve, headers: str) -> None:
    server = await serve('[auth]\nrequired = true\nmaster_key = "mp-master-0123456789"')

    answer = await server.raw(f"GET /health/live HTTP/1.1\r\n{headers}\r\nConnection: close\r\n\r\n".encode())

    assert status_of(answer) == 200


MALFORMED: dict[str, bytes] = {
    "blank before the colon": b"GET /health HTTP/1.1\r\nHost: localhost\r\nAuthorization : Bearer " + SECRET.encode(),
    "NUL in a value": b"GET /health HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer " + SECRET.encode() + b"\0",
    "CR in a value": b"GET /health HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer " + SECRET.encode() + b"\rx",
    "too long": b"GET /health HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer " + SECRET.encode() * 400,
    "no version": b"GET /health?key=" + SECRET.encode() + b"\r\nHost: localhost",
    "no HTTP": b"\x16\x03\x01 " + SECRET.encode(),
    "two lengths": CHAT + b"Authorization: Bearer " + SECRET.encode() + b"\r\nContent-Length: 1\r\nContent-Length: 2",
    "length and chunks": CHAT
    + b"X-Key: "
    + SECRET.encode()
    + b"\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n",
    "too many headers": b"GET /health HTTP/1.1\r\nHost: localhost\r\n"
    + b"".join(b"X-%d: %b\r\n" % (number, SECRET.encode()) for number in range(200)),
}


@pytest.mark.parametrize("case", MALFORMED)
async def test_malformed_http_is_refused_without_a_word_of_the_request(
    serve: Serve, case: str, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """Its lines may hold the caller's key."""
    caplog.set_level(logging.DEBUG)
    server = await serve()

    answer = await server.raw(MALFORMED[case] + b"\r\n\r\n")

    assert 400 <= status_of(answer) < 500, answer
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["code"] == "malformed_http"
    assert b"canary" not in answer
    assert "canary" not in caplog.text
    assert "canary" not in "".join(capfd.readouterr())


async def test_http_1_0_cannot_send_chunks(serve: Serve) -> None:
    """What follows would be taken for the next request (RFC 9112, 6.1)."""
    server = await serve()
    smuggled = b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n"

    answer = await server.raw(
        b"POST /v1/chat/completions HTTP/1.0\r\nHost: localhost\r\nConnection: keep-alive\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + smuggled
    )

    assert status_of(answer) == 400
    assert answer.count(b"HTTP/1.") == 1


LIMIT = 4096


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize(("size", "status"), [(LIMIT - 1, 200), (LIMIT, 200), (LIMIT + 1, 413)])
async def test_the_body_limit_is_exact(serve: Serve, size: int, status: int, chunked: bool) -> None:
    server = await serve(f"[server]\nmax_body_mb = {LIMIT / 2**20}")
    body = HELLO + b" " * (size - len(HELLO))
    head = CHAT + b"Connection: close\r\n"
    if chunked:
        half = len(body) // 2
        parts = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (body[:half], body[half:]))
        sent = head + b"Transfer-Encoding: chunked\r\n\r\n" + parts + b"0\r\n\r\n"
    else:
        sent = head + b"Content-Length: %d\r\n\r\n" % size + body

    answer = await server.raw(sent)

    assert status_of(answer) == status, answer[:300]
    if status == 413:
        assert b"max_body_mb" in answer


async def test_a_length_beyond_the_limit_is_refused_before_the_body_comes(serve: Serve) -> None:
    server = await serve(f"[server]\nmax_body_mb = {LIMIT / 2**20}")

    answer = await server.raw(CHAT + b"Content-Length: 1000000000\r\n\r\n", expect_close=False)

    assert status_of(answer) == 413


async def test_a_larger_limit_holds_after_a_reload(serve: Serve, kept_logging: None) -> None:
    from proxy.app import apply
    from proxy.config import load

    server = await serve(f"[server]\nmax_body_mb = {LIMIT / 2**20}")
    path = server.services.setup.loaded.path
    assert path is not None
    path.write_text(f"[server]\nmax_body_mb = {2 * LIMIT / 2**20}")
    apply(server.services, load(path, environ={"HOME": str(path.parent)}, folder=path.parent))

    reply = await server.request("POST", "/v1/chat/completions", HELLO + b" " * LIMIT)

    assert reply.status == 200


BODIES: dict[str, tuple[bytes, bytes, int, str]] = {
    "gzip": (b"Content-Encoding: gzip\r\n", HELLO, 415, "unsupported_encoding"),
    "identity": (b"Content-Encoding: identity\r\n", HELLO, 200, ""),
    "two codings": (b"Content-Encoding: identity, gzip\r\n", HELLO, 415, "unsupported_encoding"),
    "empty": (b"", b"", 400, "invalid_json"),
    "not JSON": (b"", b"{", 400, "invalid_json"),
    "an array": (b"", b"[]", 400, "invalid_json"),
    "invalid UTF-8": (b"", b'{"model": "\xff\xfe"}', 400, "invalid_json"),
    "a lone surrogate": (b"", b'{"model": "\\ud800"}', 400, "invalid_json"),
    "NaN": (b"", HELLO[:-1] + b', "temperature": NaN}', 400, "invalid_json"),
    "65 deep": (b"", HELLO[:-1] + b', "metadata": ' + b'{"a":' * 64 + b"1" + b"}" * 64 + b"}", 400, "invalid_json"),
    "100000 deep": (b"", b'{"a":' * 100_000, 400, "invalid_json"),
    "a huge number": (b"", HELLO[:-1] + b', "seed": ' + b"9" * 5000 + b"}", 400, ""),
    "text/plain": (b"Content-Type: text/plain\r\n", HELLO, 200, ""),
}


@pytest.mark.parametrize("case", BODIES)
async def test_bodies(serve: Serve, case: str) -> None:
    headers, body, status, code = BODIES[case]
    server = await serve()

    answer = await server.raw(CHAT + headers + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(body) + body)

    assert status_of(answer) == status, answer[:300]
    if code:
        assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["code"] == code


HOSTILE_HEADERS: tuple[bytes, ...] = (
    b"Authorization: Bearer \xff\xfe",
    b"x-api-key: \xff",
    b"x-modelport-route: \xff",
    b"x-modelport-tags: team=\xff",
    b"x-modelport-cache: \xff",
    b"x-modelport-losses: \xff",
    b"x-modelport-timeout-s: \xff",
    b"idempotency-key: \xff",
    b"x-request-id: \xff",
    b"Content-Encoding: \xff",
    b"Origin: \xff",
)


@pytest.mark.parametrize("header", HOSTILE_HEADERS)
@pytest.mark.parametrize("master", [False, True])
async def test_no_header_byte_is_an_internal_error(serve: Serve, header: bytes, master: bool) -> None:
    server = await serve('[auth]\nmaster_key = "mp-master-0123456789"' if master else "")
    body = json.dumps(question(model="demo/echo", temperature=0)).encode()

    answer = await server.raw(CHAT + header + b"\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(body) + body)

    assert status_of(answer) < 500, answer


@pytest.mark.parametrize("path", [b"/\xff", b"/v1/models/\xff", b"/v1/models/%ff", b"/costs?group_by=\xff"])
async def test_no_path_byte_is_an_internal_error(serve: Serve, path: bytes) -> None:
    server = await serve()

    answer = await server.raw(b"GET " + path + b" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")

    assert 400 <= status_of(answer) < 500, answer


UNREAD = {
    "unknown path": (b"POST /nowhere HTTP/1.1\r\nHost: localhost\r\n", 404),
    "wrong method": (b"POST /health HTTP/1.1\r\nHost: localhost\r\n", 405),
    "foreign host": (b"POST /v1/chat/completions HTTP/1.1\r\nHost: evil.example\r\n", 421),
    "compressed": (CHAT + b"Content-Encoding: br\r\n", 415),
}


@pytest.mark.parametrize("case", UNREAD)
async def test_a_refusal_with_an_unread_body_closes_the_connection(serve: Serve, case: str) -> None:
    """The rest of the body must not be taken for the next request."""
    head, status = UNREAD[case]
    server = await serve()
    hidden = b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n"

    answer = await server.raw(head + b"Content-Length: %d\r\n\r\n" % len(hidden) + hidden + hidden)

    assert status_of(answer) == status
    assert answer.count(b"HTTP/1.1 ") == 1
    assert b"connection: close" in answer.lower()


async def test_a_connection_serves_one_request_after_another(serve: Serve, upstream: Upstream) -> None:
    upstream.script("m", BOTH)
    server = await serve(provider("one", upstream))

    statuses = [(await server.ask(model="one/m", stream=stream)).status for stream in (False, True, False)]
    refused = await server.ask(model="one/m", messages="not a list")

    assert statuses == [200, 200, 200]
    assert refused.status == 400
    assert refused.headers["x-content-type-options"] == "nosniff"


async def test_two_hosts_are_no_way_around_the_guard(serve: Serve) -> None:
    server = await serve()

    answer = await server.raw(
        b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\nConnection: close\r\n\r\n"
    )

    assert status_of(answer) in {400, 421}


async def test_an_absolute_target_does_not_replace_the_host(serve: Serve) -> None:
    server = await serve()

    answer = await server.raw(
        b"GET http://localhost/v1/models HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n"
    )

    assert status_of(answer) == 421


@pytest.mark.parametrize(
    ("target", "status"),
    [
        ("http://localhost:4100", 200),
        ("http://BOX.lan", 200),
        ("http://127.0.0.1:1", 200),
        ("https://a:b@[::1]", 200),
        ("http://evil.example", 421),
        ("http://localhost.evil.example:4100", 421),
        ("http://localhost@evil.example", 421),
    ],
)
async def test_the_host_of_an_absolute_target_is_checked_too(serve: Serve, target: str, status: int) -> None:
    server = await serve('[server]\nallowed_hosts = ["box.lan"]')

    answer = await server.raw(
        f"GET {target}/health/live HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode()
    )

    assert status_of(answer) == status, answer


async def test_a_client_that_left_is_no_error_of_ours(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    """A write that finds the connection gone ends the request, and fills no log."""
    server = await serve()
    connection = Server(App(server.services).dispatch)()
    request: Any = None

    with pytest.raises(ClientConnectionResetError):
        connection.handle_error(request, 500, ClientConnectionResetError("gone"))

    assert caplog.text == ""
    connection.connection_lost(None)
