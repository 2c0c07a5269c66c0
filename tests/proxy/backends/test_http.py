"""The HTTP backend alone: what goes out, what is refused, and every clock."""

from __future__ import annotations

import asyncio
import gzip
import time
import zlib
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from proxy.backends.backend import MAX_ANSWER_BYTES, BackendError, Call, Timeouts
from proxy.backends.callers import AiohttpCaller, Caller, Carrier, OwnCaller, caller_for, new_session
from proxy.backends.http import AUTH_SCHEMES, HttpBackend
from tests.proxy.serving import QUICK, provider, route, says
from tests.proxy.transport.raw import Said, Server
from tests.replay import Answer, Upstream, free_port

CLOCKS = Timeouts(connect_s=1, first_event_s=0.15, whole_answer_s=0.15, idle_s=0.15, total_s=5)
CALL = Call("m", b'{"model":"m"}', stream=False, path="/whole", key="secret-key", timeouts=CLOCKS)
FINE = Answer.json({"fine": True})


@pytest.fixture(params=["own", "aiohttp"])
async def caller(request: pytest.FixtureRequest) -> AsyncIterator[Caller]:
    carrier: Carrier = request.param
    async with new_session() as session, caller_for(carrier, session) as opened:
        yield opened


def backend(caller: Caller, upstream: Upstream | str, **how: Any) -> HttpBackend:
    url = upstream if isinstance(upstream, str) else upstream.url
    return HttpBackend(caller, lambda path: url + path, **how)


async def ask(made: HttpBackend, call: Call = CALL) -> tuple[int, bytes]:
    async with made.send(call) as answer:
        return answer.status, await answer.read()


async def test_the_body_goes_out_as_it_is(caller: Caller, upstream: Upstream) -> None:
    upstream.script("m", FINE)

    status, body = await ask(backend(caller, upstream, headers={"x-team": "search"}))

    (asked,) = upstream.requests
    assert (status, body) == (200, FINE.body)
    assert asked.body == CALL.body
    assert (asked.method, asked.path) == ("POST", "/whole")
    assert asked.headers["accept"] == "application/json"
    assert asked.headers["accept-encoding"] == "identity"
    assert asked.headers["content-type"] == "application/json"
    assert asked.headers["x-team"] == "search"


async def test_a_stream_is_asked_for_by_its_path_and_accept(caller: Caller, upstream: Upstream) -> None:
    upstream.script("m", FINE)

    await ask(backend(caller, upstream), replace(CALL, stream=True, path="/stream"))

    assert upstream.requests[0].path == "/stream"
    assert upstream.requests[0].headers["accept"] == "text/event-stream"


@pytest.mark.parametrize(
    ("scheme", "header", "value"),
    [
        ("bearer", "authorization", "Bearer secret-key"),
        ("x-api-key", "x-api-key", "secret-key"),
        ("x-goog-api-key", "x-goog-api-key", "secret-key"),
        ("api-key", "api-key", "secret-key"),
        ("none", None, None),
    ],
)
async def test_the_key_goes_as_the_scheme_says(
    caller: Caller, upstream: Upstream, scheme: str, header: str | None, value: str | None
) -> None:
    """And never into the address."""
    upstream.script("m", FINE)

    await ask(backend(caller, upstream, auth=scheme))

    (asked,) = upstream.requests
    assert "secret-key" not in asked.path
    if header:
        assert asked.headers[header] == value
    else:
        assert "secret-key" not in str(asked.headers)


def test_every_scheme_is_tested() -> None:
    assert set(AUTH_SCHEMES) == {"bearer", "x-api-key", "x-goog-api-key", "api-key", "none"}


async def test_a_configured_header_is_sent_once(caller: Caller) -> None:
    """However it is spelled; the call's own wins over the provider's, the key over both."""
    spelled = {"Content-Type": "application/json; charset=utf-8", "Authorization": "Bearer old", "X-A": "1"}
    async with Server(Said([b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"])) as server:
        url = f"http://127.0.0.1:{server.port}"
        await ask(backend(caller, url, headers=spelled), replace(CALL, headers={"x-a": "2"}))

    lines = server.asked[0].lower().split(b"\r\n")
    assert [line for line in lines if line.startswith(b"content-type")] == [
        b"content-type: application/json; charset=utf-8"
    ]
    assert [line for line in lines if line.startswith(b"authorization")] == [b"authorization: bearer secret-key"]
    assert [line for line in lines if line.startswith(b"x-a:")] == [b"x-a: 2"]


@pytest.mark.parametrize("value", ["a\r\nx-b: c", "a\nb", "a\rb", "a\0b", "a\x7fb"])
async def test_a_value_cannot_become_two_headers(caller: Caller, upstream: Upstream, value: str) -> None:
    upstream.script("m", FINE)

    with pytest.raises(ValueError, match="control character") as raised:
        await ask(backend(caller, upstream), replace(CALL, headers={"x-a": value}))

    assert value not in str(raised.value)
    assert upstream.requests == []


async def test_an_address_with_a_name_and_a_password(caller: Caller, upstream: Upstream) -> None:
    upstream.script("m", FINE)
    url = f"http://name:pass%20word@127.0.0.1:{upstream.port}"

    await ask(backend(caller, url, auth="x-api-key"))

    (asked,) = upstream.requests
    assert asked.headers["authorization"] == "Basic bmFtZTpwYXNzIHdvcmQ="
    assert asked.headers["host"] == f"127.0.0.1:{upstream.port}"


async def test_paths_go_out_quoted_once(caller: Caller, upstream: Upstream) -> None:
    """And the host is told as the address has it."""
    upstream.script("a b/c", FINE)

    await ask(backend(caller, f"http://localhost:{upstream.port}"), replace(CALL, path="/models/a b%2Fc:x?k=ü&alt=sse"))

    (asked,) = upstream.requests
    assert asked.path == "/models/a%20b%2Fc:x?k=%C3%BC&alt=sse"
    assert asked.headers["host"] == f"localhost:{upstream.port}"


@pytest.mark.parametrize(("transport", "kind"), [("own", OwnCaller), ("aiohttp", AiohttpCaller)])
async def test_the_configuration_chooses_who_carries_the_calls(
    serve: Any, upstream: Upstream, transport: str, kind: type[Caller]
) -> None:
    upstream.script("m", says())
    server = await serve(f'[server]\ntransport = "{transport}"', provider("one", upstream))

    reply = await server.ask(model="one/m")

    assert (reply.status, type(server.services.caller)) == (200, kind)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirects_are_refused(caller: Caller, upstream: Upstream, status: int) -> None:
    upstream.script("m", Answer(status, {"location": f"{upstream.url}/elsewhere"}, chunked=False))

    with pytest.raises(BackendError) as raised:
        await ask(backend(caller, upstream))

    assert raised.value.failure.kind == "invalid_response"
    assert len(upstream.requests) == 1


async def test_cookies_are_never_sent_back(caller: Caller, upstream: Upstream) -> None:
    """Asked by name, since a cookie jar passes over addresses."""
    upstream.script("m", Answer.json({}, headers={"set-cookie": "tenant=first; Path=/"}))
    made = backend(caller, f"http://localhost:{upstream.port}")

    await ask(made)
    await ask(made)

    assert [asked.headers.get("cookie") for asked in upstream.requests] == [None, None]


async def test_the_environments_proxies_are_not_used(
    caller: Caller, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")
    upstream.script("m", FINE)

    assert (await ask(backend(caller, upstream)))[0] == 200


BROKEN: dict[str, tuple[Answer, str, int]] = {
    "closed before the head": (Answer(raw_head=b"", end="close"), "connection", 502),
    "reset before the head": (Answer(raw_head=b"", end="reset"), "connection", 502),
    "a head that is none": (Answer(raw_head=b"NONSENSE\r\n\r\n", end="close"), "connection", 502),
    "silent": (Answer(hang=True), "timeout", 504),
    "half a head": (Answer(raw_head=b"HTTP/1.1 200 OK\r\n", end="hang"), "timeout", 504),
    "silent after the head": (Answer.json({}, chunked=True, stop_at=0, end="hang"), "timeout", 504),
    "stalled": (Answer.json({"a": 1}, chunked=True, stop_at=3, end="hang"), "timeout", 504),
    "cut by length, valid JSON so far": (
        Answer(200, {}, b'{"a":1}     ', chunked=False, stop_at=7, end="close"),
        "connection",
        502,
    ),
    "cut by chunks, valid JSON so far": (Answer(200, {}, b'{"a":1}', end="close"), "connection", 502),
    "reset in the middle": (Answer(200, {}, b'{"a":1}', end="reset"), "connection", 502),
    "not the coding it says": (Answer(200, {"content-encoding": "gzip"}, b"plain"), "invalid_response", 502),
}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("case", BROKEN)
async def test_what_is_not_a_whole_answer_is_an_error(
    caller: Caller, upstream: Upstream, case: str, stream: bool
) -> None:
    answer, kind, status = BROKEN[case]
    upstream.script("m", answer)

    with pytest.raises(BackendError) as raised:
        await asyncio.wait_for(ask(backend(caller, upstream), replace(CALL, stream=stream)), 3)

    assert (raised.value.failure.kind, raised.value.failure.status) == (kind, status)


async def test_an_answer_beyond_the_cap_is_refused(caller: Caller, upstream: Upstream) -> None:
    upstream.script("m", Answer(200, {}, b" " * (MAX_ANSWER_BYTES + 1), chunked=False))

    with pytest.raises(BackendError, match="larger than") as raised:
        await ask(backend(caller, upstream), replace(CALL, timeouts=Timeouts()))

    assert raised.value.failure.kind == "invalid_response"


@pytest.mark.parametrize("stream", [False, True])
async def test_a_small_body_that_unpacks_to_far_too_much_is_refused(
    caller: Caller, upstream: Upstream, stream: bool
) -> None:
    """Early: not more than about a megabyte is unpacked."""
    bomb = gzip.compress(b" " * (60 * 2**20))
    upstream.script("m", Answer(200, {"content-encoding": "gzip"}, bomb, chunked=False))

    with pytest.raises(BackendError, match="100 times its size") as raised:
        await ask(backend(caller, upstream), replace(CALL, stream=stream, timeouts=Timeouts()))

    assert raised.value.failure.kind == "invalid_response"


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
async def test_a_compressed_answer_is_read_although_nobody_asked_for_one(
    caller: Caller, upstream: Upstream, encoding: str
) -> None:
    text = b'{"text": "' + bytes(range(48, 90)) * 5000 + b'"}'
    packed = gzip.compress(text) if encoding == "gzip" else zlib.compress(text)
    upstream.script("m", Answer(200, {"content-encoding": encoding}, packed, chunked=False))

    assert await ask(backend(caller, upstream)) == (200, text)


async def test_an_unknown_coding_is_refused(caller: Caller, upstream: Upstream) -> None:
    upstream.script("m", Answer(200, {"content-encoding": "br"}, b"x", chunked=False))

    with pytest.raises(BackendError, match="'br', which was not asked for"):
        await ask(backend(caller, upstream))


async def test_a_refused_connection_is_told_at_once(caller: Caller) -> None:
    began = time.monotonic()

    with pytest.raises(BackendError) as raised:
        await ask(backend(caller, f"http://127.0.0.1:{free_port()}"))

    assert time.monotonic() - began < 0.5
    assert raised.value.failure.kind == "connection"
    assert "refused" in raised.value.failure.message


async def test_an_unknown_host_is_a_connection_error(caller: Caller) -> None:
    with pytest.raises(BackendError) as raised:
        await ask(backend(caller, "http://no-such-host.invalid"), replace(CALL, timeouts=Timeouts(connect_s=5)))

    assert raised.value.failure.kind == "connection"


async def test_leaving_early_hangs_up(caller: Caller, upstream: Upstream) -> None:
    """Which ends the provider's work."""
    upstream.script("m", Answer.sse("data: 1\n\n", end="hang"))

    async with backend(caller, upstream).send(replace(CALL, stream=True)) as answer:
        assert await anext(aiter(answer.pieces())) == b"data: 1\n\n"

    assert await asyncio.to_thread(upstream.requests[0].wait_left, 2)


async def test_a_whole_answer_leaves_the_connection_for_the_next(caller: Caller, upstream: Upstream) -> None:
    upstream.script("m", FINE)
    made = backend(caller, upstream)

    for _ in range(3):
        await ask(made)

    assert upstream.connections == 1


async def test_a_dead_first_target_costs_next_to_nothing(serve: Any, upstream: Upstream) -> None:
    upstream.script("m", says())
    dead = provider("dead", f"http://127.0.0.1:{free_port()}/v1")
    server = await serve(QUICK, dead, provider("one", upstream), route("r", "dead/m", "one/m"))
    await server.ask(model="one/m")
    began = time.monotonic()

    reply = await server.ask(model="r")

    assert reply.headers["x-modelport-target"] == "one/m"
    assert time.monotonic() - began < 0.5


async def test_connecting_and_waiting_are_two_clocks(caller: Caller, upstream: Upstream) -> None:
    """A patient connect_s does not prolong the wait for an answer."""
    upstream.script("m", Answer(hang=True))
    began = time.monotonic()

    with pytest.raises(BackendError):
        await ask(backend(caller, upstream), replace(CALL, timeouts=replace(CLOCKS, connect_s=3)))

    assert time.monotonic() - began < 2
