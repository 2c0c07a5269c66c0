"""The fast lane gives what the careful way gives, to whom it gives it, and books it alike."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp.web_protocol import RequestHandler
from hypothesis import given
from hypothesis import strategies as st

from proxy.config.model import LoggingSettings
from proxy.fast.around import Around, around
from proxy.fast.heads import frame, others, read_head
from proxy.logs import configure_logging
from storage.errors import LedgerUnavailable
from tests.proxy.conftest import Serve
from tests.proxy.serving import (
    LANE,
    QUICK,
    Served,
    completion,
    failing,
    provider,
    question,
    route,
    says,
    serving,
    streams,
)
from tests.replay import Answer, Upstream

OFF = "[server]\nfast_lane = false\n"
pytestmark = pytest.mark.skipif(bool(LANE), reason="the suite runs without the lane")
MASTER = "mp-master-0123456789abcdef"
AUTH = f'[auth]\nmaster_key = "{MASTER}"\n'
LIMITS = {"x-ratelimit-remaining-requests": "99", "x-ratelimit-limit-requests": "100"}
PICTURE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}
GOES_WITH_TIME = {"date", "x-request-id", "x-modelport-ratelimit-reset-requests"}


def request(
    body: bytes | None = None, *more: str, length: int | None = None, path: str = "/v1/chat/completions"
) -> bytes:
    """One request as bytes; *more* are header lines."""
    body = json.dumps(question(model="one/m")).encode() if body is None else body
    lines = ["Host: localhost", "Content-Type: application/json", *more]
    head = "".join(f"{line}\r\n" for line in lines)
    length = len(body) if length is None else length
    return f"POST {path} HTTP/1.1\r\n{head}Content-Length: {length}\r\n\r\n".encode() + body


class Line:
    """A connection that stays open."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def answer(self) -> tuple[int, dict[str, str], bytes]:
        """The next whole answer."""
        async with asyncio.timeout(10):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:-2])}
            body = await self.reader.readexactly(int(headers["content-length"]))
        return int(head[0].split()[1]), headers, body

    async def ask(self, *pieces: bytes) -> tuple[int, dict[str, str], bytes]:
        """The answer to what *pieces* are, each sent by itself."""
        for piece in pieces:
            self.writer.write(piece)
            await self.writer.drain()
            await asyncio.sleep(0)
        return await self.answer()


@asynccontextmanager
async def line(server: Served) -> AsyncIterator[Line]:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    try:
        yield Line(reader, writer)
    finally:
        writer.close()


async def known(server: Served, *more: str, body: bytes | None = None) -> int:
    """Have a request answered until the lane takes it; how many it has taken."""
    async with line(server) as client:
        for _ in range(3):
            await client.ask(request(body, *more))
    assert server.services.shapes.ridden > 0
    return server.services.shapes.ridden


async def test_what_was_answered_before_takes_the_lane(serve: Serve, upstream: Upstream) -> None:
    upstream.script("m", Answer.json(completion(), headers=LIMITS))
    server = await serve(provider("one", upstream))
    async with line(server) as client:
        answers = [await client.ask(request()) for _ in range(4)]

    metrics = await server.get("/metrics")

    assert server.services.shapes.ridden == 2  # the first shows its head, the second its shape
    assert b"modelport_fast_lane_answers_total 2.0" in metrics.body
    assert {(status, body) for status, _, body in answers} == {(200, answers[0][2])}
    assert json.loads(answers[0][2]) == completion()
    kept = [{name: value for name, value in headers.items() if name not in GOES_WITH_TIME} for _, headers, _ in answers]
    assert all(headers == kept[0] for headers in kept)
    assert kept[0]["x-ratelimit-remaining-requests"] == "99"
    assert len({headers["x-request-id"] for _, headers, _ in answers}) == 4


async def test_the_books_say_the_same(serve: Serve, upstream: Upstream) -> None:
    upstream.script("m", says())
    server = await serve(provider("one", upstream))
    await known(server)
    rows = [await server.row(row["id"]) for row in await server.rows()]
    for row in rows:
        for each in (row, *row["attempts"]):
            for name in [name for name in each if re.search(r"(^id$|_us$|_at$|_ms$|exchange|opened|settled)", name)]:
                del each[name]

    assert rows[0] == rows[1] == rows[2]
    assert rows[0]["cost_usd"] == "0.000020000"
    assert server.services.totals["one"].attempts["ok"] == 3
    assert server.services.answered["/v1/chat/completions", 200] == 3


async def test_the_provider_is_sent_the_same_bytes(serve: Serve, upstream: Upstream) -> None:
    upstream.script("m", says())
    server = await serve(provider("one", upstream))
    body = (
        b'{ "temperature" : 0.5, "model": "one/m", "max_tokens" : 9, "messages": [{"role": "user", "content":'
        b' "caf\\u00e9 \xc3\xa9 \\"model\\": \\"x\\""}], "user": "u"}'
    )
    await known(server, body=body)
    first, _, last = upstream.asked("m")

    assert last.body == first.body
    assert first.body == body.replace(b"one/m", b"m")
    assert {**last.headers, "host": ""} == {**first.headers, "host": ""}


@pytest.mark.parametrize(
    "more",
    [
        ("Transfer-Encoding: chunked",),
        ("Content-Length: 5",),
        ("Expect: 100-continue",),
        ("Content-Encoding: gzip",),
        ("Connection: close",),
        ("Upgrade: h2c",),
        ("X-Request-Id: mine",),
        ("Idempotency-Key: once",),
        ("X-Modelport-Losses: reject",),
        ("X-Modelport-Cache: no-store",),
        ("X-Twice: 1", "X-Twice: 2"),
        ("X-Folded: a\r\n b",),
        ("X-Space : a",),
        ("X-Nul: a\x00b",),
        ("X-Tab: a\tb",),
        ("X-Letters: caf\xe9",),
        (": nameless",),
        ("nothing",),
    ],
)
def test_a_head_that_is_not_plain_is_not_read(more: tuple[str, ...]) -> None:
    found = frame(request(b"{}", *more))

    assert found is None or read_head(found.head) is None


@pytest.mark.parametrize(
    "data",
    [
        request(b"{}", length=-1),
        request(b"{}").replace(b"Content-Length: 2", b"Content-Length: +2"),
        request(b"{}").replace(b"Content-Length: 2", b"Content-Length: 2, 2"),
        request(b"{}").replace(b"Content-Length: 2", b"Content-Length: 0x2"),
        request(b"{}").replace(b"Content-Length: 2", b"Content-Length : 2"),
        request(b"{}").replace(b"Content-Length: 2\r\n", b""),
        request(b"{}").replace(b"Content-Length: 2", b"Content-Length: 9999999999"),
        request(b"{}").replace(b"\r\nContent-Length: 2", b"\nContent-Length: 2"),
    ],
)
def test_a_length_that_is_not_plain_has_no_frame(data: bytes) -> None:
    found = frame(data)

    assert found is None or read_head(found.head) is None


@pytest.mark.parametrize(
    "body",
    [
        question(model="one/m", messages=[{"role": "user", "content": [PICTURE]}]),
        question(model="one/m", messages=[{"role": "user", "content": [{"type": "refusal", "refusal": "No"}]}]),
        question(model="one/m", messages=[{"role": "user", "content": [{"type": "poem", "poem": "Hi"}]}]),
        question(model="one/m", messages=[{"role": "tool", "content": [PICTURE], "tool_call_id": "a"}]),
        question(model="one/m", temperature=0, seed=1, modelport={"cache": "no-cache"}),
        question(model="one/m", models=["one/m", "one/n"]),
        question(model="one/m", response_format={"type": "json_object"}, n=2),
    ],
)
async def test_what_is_more_than_words_and_tools_goes_the_careful_way(
    serve: Serve, upstream: Upstream, body: Any
) -> None:
    upstream.script("m", says())
    server = await serve(provider("one", upstream))
    async with line(server) as client:
        for _ in range(3):
            client.writer.write(request(json.dumps(body).encode()))
            head = await asyncio.wait_for(client.reader.readuntil(b"\r\n\r\n"), 5)
            if b"chunked" in head:
                await asyncio.wait_for(client.reader.readuntil(b"\r\n0\r\n\r\n"), 5)
            else:
                length = re.search(rb"(?i)content-length: (\d+)", head)
                assert length
                await client.reader.readexactly(int(length[1]))

    assert server.services.shapes.ridden == 0


@pytest.mark.parametrize(
    "inside",
    [
        b'[{"role":"user","content":"Hi"}],"model":"one/n","stop":[]',
        b'[{"role":"user","content":"Hi"}],"messages":[{"role":"user","content":"Hi"}]',
        b'[{"role":"user","content":"Hi"}',
        b'[{"role":"user","content":[{"type":"image_url","image_url":{"url":"https://example.org/a.png"}}]}]',
        b'[{"role":"user","content":[{"type":"text","text":"Hi","text":"Ho"}]}]',
        b'[{"role":"user","content":[["Hi"]]}]',
        b'[{"role":"assistant","tool_calls":[{"id":"a","type":"function","function":{"name":"f"},"id":"b"}]}]',
        b"[]",
    ],
)
async def test_what_is_no_plain_conversation_inside_a_known_shape_is_not_taken(
    serve: Serve, upstream: Upstream, inside: bytes
) -> None:
    upstream.script("m", says())
    server = await serve(provider("one", upstream))
    before, after = b'{"model":"one/m","messages":', b',"max_tokens":256,"temperature":0.7}'
    ridden = await known(server, body=before + b'[{"role":"user","content":"Hi"}]' + after)
    async with line(server) as client:
        client.writer.write(request(before + inside + after))
        await asyncio.wait_for(client.reader.readuntil(b"\r\n"), 5)

    assert server.services.shapes.ridden == ridden


async def test_what_has_more_bytes_than_its_target_reads_tokens_is_measured(serve: Serve, upstream: Upstream) -> None:
    """Half of what may be read takes the lane; what is nearer to the end than an estimate can tell does not."""
    upstream.script("m", says())
    server = await serve(provider("one", upstream, more="quirks = { context_tokens = 400 }\n"))
    ridden = await known(server)
    async with line(server) as client:
        for words, more in ((150, 1), (300, 1)):
            said = [{"role": "user", "content": "word " * words}]
            await client.ask(request(json.dumps(question(model="one/m", messages=said)).encode()))
            assert server.services.shapes.ridden == ridden + more


async def test_a_request_may_come_in_pieces(serve: Serve, upstream: Upstream) -> None:
    upstream.script("m", says())
    server = await serve(provider("one", upstream))
    before, whole = await known(server), request()
    async with line(server) as client:
        for at in (1, 20, len(whole) - 60, whole.index(b"\r\n\r\n") + 2, whole.index(b"\r\n\r\n") + 4, len(whole) - 1):
            status, _, body = await client.ask(whole[:at], whole[at:])
            assert (status, json.loads(body)) == (200, completion())

    assert server.services.shapes.ridden - before == 6


async def test_several_requests_at_once_are_answered_in_turn(serve: Serve, upstream: Upstream) -> None:
    texts = [f"turn {number}" for number in range(6)]
    upstream.script("m", lambda asked: says(asked.json["messages"][0]["content"]))
    server = await serve(provider("one", upstream))
    await known(server)
    asked = [
        request(json.dumps(question(model="one/m", messages=[{"role": "user", "content": text}])).encode())
        for text in texts
    ]
    async with line(server) as client:
        client.writer.write(b"".join(asked))
        answers = [json.loads((await client.answer())[2]) for _ in texts]

    assert [each["choices"][0]["message"]["content"] for each in answers] == texts


@pytest.mark.parametrize(
    "after", [b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n", request(b"{}", "Expect: 100-continue")]
)
async def test_what_is_not_for_the_lane_may_follow_at_once(serve: Serve, upstream: Upstream, after: bytes) -> None:
    upstream.script("m", says())
    server = await serve(provider("one", upstream))
    await known(server)
    async with line(server) as client:
        client.writer.write(request() + after)
        first, second = await client.answer(), await asyncio.wait_for(client.reader.readuntil(b"\r\n"), 5)

    assert first[0] == 200
    assert second.startswith(b"HTTP/1.1 ")


@pytest.mark.parametrize(
    "before",
    [
        b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"HEAD / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        request(b'{"model": "one/m", "messages": []}', path="/v1/messages/count_tokens"),
    ],
    ids=["list", "head", "count"],
)
async def test_a_connection_that_has_asked_for_something_else_takes_the_lane_again(
    serve: Serve, upstream: Upstream, before: bytes
) -> None:
    upstream.script("m", says())
    server = await serve(provider("one", upstream))
    ridden = await known(server)
    async with line(server) as client:
        client.writer.write(before)
        head = await asyncio.wait_for(client.reader.readuntil(b"\r\n\r\n"), 5)
        length = re.search(rb"(?i)content-length: (\d+)", head)
        if length and not before.startswith(b"HEAD"):
            await client.reader.readexactly(int(length[1]))
        status, _, _ = await client.ask(request())

    assert (status, server.services.shapes.ridden) == (200, ridden + 1)


@pytest.mark.parametrize(
    ("data", "end"),
    [
        (b"GET / HTTP/1.1\r\nHost: a\r\n\r\nGET", 27),
        (b"DELETE /a HTTP/1.1\r\nHost: a\r\n\r\n", 31),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabcd", 50),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\na", 50),
        (b"GET / HTTP/1.1\r\nHost: a\r\n", None),
        (b"GET / HTTP/1.0\r\nHost: a\r\n\r\n", None),
        (b"GET /\r\n\r\n", None),
        (b"CONNECT / HTTP/1.1\r\nHost: a\r\n\r\n", None),
        (b"OPTIONS / HTTP/1.1\r\nHost: a\r\n\r\n", None),
        (b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n", None),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", None),
        (b"POST / HTTP/1.1\r\nHost: a\nTRANSFER-ENCODING: chunked\r\n\r\n", None),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\nabc", None),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length : 3\r\n\r\nabc", None),
        (b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\nabc", None),
    ],
)
def test_where_a_request_for_others_ends(data: bytes, end: int | None) -> None:
    found = others(data)

    assert (found.end if found else None) == end


FAULTS = {
    "500": failing(500),
    "429": failing(429, headers={"retry-after": "7"}),
    "not JSON": Answer.json(b"<html>"),
    "cut": replace(says(), stop_at=40, end="close"),
    "error in disguise": Answer.json({"error": {"message": "no", "type": "server_error"}}),
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_an_attempt_that_fails_goes_on_the_careful_way(serve: Serve, upstream: Upstream, fault: str) -> None:
    """With the very same exchange: nothing is asked or booked twice."""
    upstream.script("m", says(), says(), says(), FAULTS[fault])
    upstream.script("n", says("the second"))
    server = await serve(provider("one", upstream), QUICK, route("both", "one/m", "one/n"))
    body = json.dumps(question(model="both")).encode()
    ridden = await known(server, body=body)
    async with line(server) as client:
        status, headers, answer = await client.ask(request(body))
    row = await server.row(headers["x-request-id"])

    assert (status, json.loads(answer)["choices"][0]["message"]["content"]) == (200, "the second")
    assert server.services.shapes.ridden == ridden
    assert headers["x-modelport-attempts"] == "2"
    assert [(each["number"], each["model"], each["status"]) for each in row["attempts"]] == [
        (1, "m", "failed"),
        (2, "n", "ok"),
    ]
    assert (len(upstream.asked("m")), len(upstream.asked("n"))) == (4, 1)
    assert len(await server.rows()) == 4


async def test_a_server_that_streams_unasked_is_put_together(serve: Serve, upstream: Upstream) -> None:
    upstream.script("m", says(), says(), streams("Hello", " there", usage=False))
    server = await serve(provider("one", upstream))
    async with line(server) as client:
        answers = [json.loads((await client.ask(request()))[2]) for _ in range(3)]

    assert server.services.shapes.ridden == 1
    assert answers[2]["choices"] == [{**answers[0]["choices"][0], "message": {**completion()["choices"][0]["message"]}}]
    assert answers[2]["usage"]["completion_tokens"] > 0


async def test_when_the_only_target_fails_the_client_is_told_as_ever(tmp_path: Path, upstream: Upstream) -> None:
    told = []
    for folder, switch in (("on", ""), ("off", OFF)):
        (tmp_path / folder).mkdir()
        upstream.script("m", says(), says(), says(), failing(503, "busy"))
        async with (
            serving(tmp_path / folder, provider("one", upstream) + QUICK + switch) as server,
            line(server) as client,
        ):
            for _ in range(3):
                await client.ask(request())
            status, headers, body = await client.ask(request())
            row = await server.row(headers["x-request-id"])
            told.append(
                (
                    status,
                    json.loads(body)["error"],
                    sorted(headers.keys() - {"date"}),
                    row["status"],
                    len(row["attempts"]),
                )
            )

    assert told[0] == told[1]
    assert told[0][0] == 503


async def test_an_answer_that_cannot_be_booked_is_withheld_and_not_asked_for_again(
    serve: Serve, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    upstream.script("m", says())
    server = await serve(provider("one", upstream))
    await known(server)

    unavailable = LedgerUnavailable("the ledger cannot be written: the disk is full")
    note: Any = None

    def full(noted: Any, _: object, told: Callable[[LedgerUnavailable], None]) -> None:
        nonlocal note
        note = noted
        told(unavailable)

    monkeypatch.setattr(server.services.ledger, "answered", full)
    async with line(server) as client:
        status, headers, body = await client.ask(request())

    assert (status, json.loads(body)["error"]["code"]) == (503, "ledger_unavailable")
    assert headers["retry-after"] == "1"
    assert len(upstream.asked("m")) == 4
    assert note is not None


async def test_what_a_disk_refuses_is_booked_later(serve: Serve, upstream: Upstream) -> None:
    """And while it refuses nobody else is asked."""
    upstream.script("m", says())
    server = await serve(provider("one", upstream))
    await known(server)
    db = server.services.db

    await db.write(lambda connection: connection.execute("ALTER TABLE attempts RENAME TO hidden"))
    async with line(server) as client:
        first, *_ = await client.ask(request())
        await server.rows()  # waits for what was to be written
        second, _, body = await client.ask(request())
        await db.write(lambda connection: connection.execute("ALTER TABLE hidden RENAME TO attempts"))
        third, *_ = await client.ask(request())
    await db.write(lambda _: None)
    await db.write(lambda _: None)  # behind what was kept for later
    rows = await server.rows()

    assert (first, second, third) == (200, 503, 200)
    assert json.loads(body)["error"]["code"] == "ledger_unavailable"
    assert [row["status"] for row in rows] == ["ok"] * 5
    assert len(upstream.asked("m")) == 5


@pytest.mark.parametrize(
    ("message", "status"),
    [
        ('{"role":"user","content":"a","content":"b"}', 400),
        ('{"role":"user","content":"a","content":"\\u0022b\\u0022"}', 400),
        ('{"role":"user","content":"say \\"b\\""}', 200),
        ('{"role":"user","content":"say \\u0022b\\u0022"}', 200),
    ],
)
async def test_what_is_said_twice_is_refused(serve: Serve, upstream: Upstream, message: str, status: int) -> None:
    """In a shape that is known, too."""
    upstream.script("m", says())
    server = await serve(provider("one", upstream))
    body = '{"model": "one/m", "messages": [%s]}'
    await known(server, body=(body % '{"role":"user","content":"a"}').encode())
    before = len(upstream.asked("m"))
    async with line(server) as client:
        answered, _, _ = await client.ask(request((body % message).encode()))

    assert answered == status
    assert len(upstream.asked("m")) - before == (status == 200)


async def test_what_is_logged_of_an_answer_has_its_id(
    serve: Serve, upstream: Upstream, capsys: pytest.CaptureFixture[str], kept_logging: None
) -> None:
    """And not that of the request that once opened the connection to the provider."""
    spent = {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "20s"}
    upstream.script("m", says(), says(), says(), Answer.json(completion(), headers=spent))
    server = await serve(provider("one", upstream))
    configure_logging(LoggingSettings(format="json"))
    await known(server)
    capsys.readouterr()
    async with line(server) as client:
        _, headers, _ = await client.ask(request())
    told = [json.loads(each) for each in capsys.readouterr().err.splitlines()]

    assert [each["request_id"] for each in told if "rests" in each["message"]] == [headers["x-request-id"]]


async def test_what_is_long_and_came_too_early_is_read_on_when_the_careful_way_takes_over(
    serve: Serve, upstream: Upstream
) -> None:
    """Reading was halted behind a request whose provider fails."""
    upstream.script("m", says())
    server = await serve(QUICK, provider("one", upstream))
    await known(server)
    upstream.script("m", replace(failing(500), delay_head_s=0.3), *[says()] * 10)
    long = request(json.dumps(question(model="one/m", messages=[{"role": "user", "content": "x" * 60_000}])).encode())
    async with line(server) as client:
        client.writer.write(request() + long * 10)
        answers = [await client.answer() for _ in range(11)]

    assert [status for status, *_ in answers] == [502, *[200] * 10]


async def test_a_long_answer_comes_whole_and_in_its_turn(serve: Serve, upstream: Upstream) -> None:
    text = "".join(map(str, range(400_000)))
    upstream.script("m", says())
    server = await serve(QUICK, provider("one", upstream))
    ridden = await known(server)
    upstream.script("m", says(text), says())
    async with line(server) as client:
        client.writer.write(request() * 2)
        _, _, long = await client.answer()
        _, _, short = await client.answer()

    assert json.loads(long) == completion(text)
    assert json.loads(short) == completion()
    assert server.services.shapes.ridden == ridden + 2


async def test_a_client_that_leaves_is_felt_by_the_provider(serve: Serve, upstream: Upstream) -> None:
    upstream.script("m", says(), says(), says(), replace(says(), delay_head_s=30))
    server = await serve(provider("one", upstream))
    await known(server)
    async with line(server) as client:
        client.writer.write(request())
        asked = await asyncio.to_thread(upstream.wait_asked, "m", 4)
    left = await asyncio.to_thread(asked.wait_left, 2)
    await asyncio.sleep(0)
    rows = await server.rows()

    assert left
    assert rows[-1]["status"] == "aborted"
    assert server.services.in_flight == 0


async def test_a_key_that_was_revoked_gets_in_no_more(serve: Serve, upstream: Upstream) -> None:
    upstream.script("m", says())
    server = await serve(provider("one", upstream), AUTH)
    made = (await server.request("POST", "/api/v1/keys", b'{"name": "k"}', {"authorization": f"Bearer {MASTER}"})).json
    bearer = f"Authorization: Bearer {made['key']}"
    await known(server, bearer)
    revoked = await server.request("DELETE", f"/api/v1/keys/{made['id']}", None, {"authorization": f"Bearer {MASTER}"})
    async with line(server) as client:
        status, _, body = await client.ask(request(None, bearer))

    assert revoked.status == 200
    assert (status, "revoked" in json.loads(body)["error"]["message"]) == (401, True)


async def test_the_limits_of_a_key_hold_to_the_request(serve: Serve, upstream: Upstream) -> None:
    upstream.script("m", says())
    server = await serve(provider("one", upstream), AUTH)
    body = json.dumps({"name": "k", "limits": {"requests_per_minute": 5}}).encode()
    made = (await server.request("POST", "/api/v1/keys", body, {"authorization": f"Bearer {MASTER}"})).json
    bearer = f"Authorization: Bearer {made['key']}"
    answers = []
    for _ in range(7):
        async with line(server) as client:
            answers.append(await client.ask(request(None, bearer)))

    assert [status for status, _, _ in answers] == [200] * 5 + [429] * 2
    assert server.services.shapes.ridden == 3
    left = [headers["x-modelport-ratelimit-remaining-requests"] for _, headers, _ in answers]
    assert left == ["4", "3", "2", "1", "0", "0", "0"]
    assert len(upstream.asked("m")) == 5


@pytest.mark.parametrize("status", [400, 401, 404, 429, 500])
async def test_with_several_keys_no_failure_is_asked_for_once_more(
    tmp_path: Path, upstream: Upstream, status: int
) -> None:
    """The careful way goes on after the lane's own attempt, and not with another one in its place."""
    told = []
    for folder, switch in (("on", ""), ("off", OFF)):
        (tmp_path / folder).mkdir()
        model = f"m-{folder}"
        upstream.script(model, says(), says(), says(), failing(status))
        config = provider("one", upstream, keys=("sk-first-0123456789", "sk-second-0123456789")) + QUICK + switch
        body = json.dumps(question(model=f"one/{model}")).encode()
        async with serving(tmp_path / folder, config) as server:
            async with line(server) as client:
                for _ in range(3):
                    await client.ask(request(body))
            async with line(server) as client:
                answered, headers, _ = await client.ask(request(body))
            row = await server.row(headers["x-request-id"])
            told.append((answered, headers["x-modelport-attempts"], len(row["attempts"]), len(upstream.asked(model))))

    assert told[0] == told[1]


async def test_a_budget_of_others_keeps_nobody_off(serve: Serve, upstream: Upstream) -> None:
    upstream.script("m", says())
    budget = '[budgets.theirs]\nlimit_usd = "1"\nwindow = "day"\ntag = "team=other"\n'
    server = await serve(provider("one", upstream), budget)

    assert await known(server) == 1


async def test_a_budget_puts_an_end_to_what_was_learnt(serve: Serve, upstream: Upstream) -> None:
    upstream.script("m", says())
    server = await serve(provider("one", upstream), AUTH)
    ridden = await known(server)
    budget = json.dumps({"name": "all", "limit_usd": "0.000001", "window": "day"}).encode()
    made = await server.request("POST", "/api/v1/budgets", budget, {"authorization": f"Bearer {MASTER}"})
    async with line(server) as client:
        status, _, _ = await client.ask(request())

    assert (made.status, status) == (201, 429)
    assert server.services.shapes.ridden == ridden


async def test_a_policy_chosen_at_run_time_puts_an_end_to_what_was_learnt(serve: Serve, upstream: Upstream) -> None:
    upstream.script("m", says())
    server = await serve(provider("one", upstream), AUTH, route("r", "one/m"))
    body = json.dumps(question(model="r")).encode()
    ridden = await known(server, body=body)
    chosen = await server.request(
        "POST", "/api/v1/routes/r", b'{"policy": "weighted"}', {"authorization": f"Bearer {MASTER}"}
    )
    async with line(server) as client:
        status, _, _ = await client.ask(request(body))

    assert (chosen.status, status) == (200, 200)
    assert server.services.shapes.ridden == ridden


async def test_an_open_breaker_keeps_the_lane_shut(serve: Serve, upstream: Upstream) -> None:
    upstream.script("m", says())
    upstream.script("n", says("the second"))
    server = await serve(provider("one", upstream), QUICK, route("both", "one/m", "one/n"))
    body = json.dumps(question(model="both")).encode()
    ridden = await known(server, body=body)
    ((shape,),) = server.services.shapes._known.values()
    for _ in range(5):
        server.services.breakers.of(shape.prepared.target).failed()
    async with line(server) as client:
        _, _, answer = await client.ask(request(body))

    assert json.loads(answer)["choices"][0]["message"]["content"] == "the second"
    assert server.services.shapes.ridden == ridden


async def test_without_it_nothing_takes_it(serve: Serve, upstream: Upstream) -> None:
    upstream.script("m", says())
    server = await serve(provider("one", upstream), OFF)
    async with line(server) as client:
        answers = [await client.ask(request()) for _ in range(3)]

    assert [status for status, _, _ in answers] == [200] * 3
    assert server.services.shapes.ridden == 0


@given(st.binary(max_size=300))
def test_no_bytes_break_the_frame(data: bytes) -> None:
    found = frame(request(b"{}")[:-2] + data)

    assert found is None or read_head(found.head) is None or isinstance(read_head(found.head), Mapping)


@pytest.mark.parametrize(
    ("raw", "found"),
    [
        (b'{"model":"m","messages":[],"n":1}', Around(b'{"model":"m","messages":', b',"n":1}')),
        (b' { "messages" : [ ] } ', Around(b' { "messages" : ', b" } ")),
        (b'{"model":"m"}', None),
        (b'{"messages":[],"messages":[]}', None),
        (b'{"n":1,"messages":[],"n":2}', None),
        (b'{"mod\\u0065l":"a","messages":[],"model":"b"}', None),
        (b'{"metadata":{"messages":[1]},"messages":[]}', Around(b'{"metadata":{"messages":[1]},"messages":', b"}")),
    ],
)
def test_what_stands_around_a_conversation(raw: bytes, found: Around | None) -> None:
    assert around(raw) == found


@pytest.mark.parametrize(
    "raw",
    [
        b'{"model":"n","messages":[1],"n":1}',
        b'{"model":"m","messages":[1],"n":2}',
        b'{"model":"m", "messages":[1],"n":1}',
        b'{"model":"m","messages":{},"n":1}',
        b'{"model":"m","messages":"[]","n":1}',
    ],
)
def test_another_body_is_not_of_the_kind(raw: bytes) -> None:
    assert Around(b'{"model":"m","messages":', b',"n":1}').cut(raw) is None


def test_these_are_the_private_parts_of_aiohttp_that_the_lane_knows() -> None:
    """Another release may have changed them: then pyproject's range is wrong, or the lane."""
    slots = {name for kind in RequestHandler.__mro__ for name in getattr(kind, "__slots__", ())}
    used = re.findall(r"self\.(_[a-z_]+)", (Path(__file__).parents[2] / "proxy/fast/lane.py").read_text())
    private = {
        "_close",
        "_force_close",
        "_keepalive_timeout",
        "_loop",
        "_messages",
        "_next_keepalive_close_time",
        "_paused",
        "_request_in_progress",
        "_waiter",
    }

    assert private <= slots
    assert private <= set(used)
    assert callable(RequestHandler._process_keepalive)
    assert callable(RequestHandler._drain_helper)
