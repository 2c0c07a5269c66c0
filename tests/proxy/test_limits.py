"""Every limit of `[limits]` and its kin: just below, at it, just beyond, and what is answered then."""

from __future__ import annotations

import asyncio
import gzip
import json
import logging
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from proxy.app import apply
from proxy.config import load
from proxy.config.model import BoundSettings, LoggingSettings
from proxy.door import Door
from proxy.errors import Refused, refused
from proxy.logs import configure_logging, dropped_records
from proxy.transport import reply as upstream_reply
from proxy.transport.errors import HeadTimeout, IdleTimeout, TimedOut, TotalTimeout
from proxy.transport.reply import Deadlines
from tests.proxy.conftest import Serve
from tests.proxy.serving import LANE, QUICK, Reply, completion, failing, provider, question, says
from tests.proxy.test_watchdog import CAREFUL, WAYS, connected, edge, status_of, until
from tests.replay import Answer, Upstream

DOCS = Path(__file__).parents[2] / "docs"
BOUNDS = BoundSettings()
JUST = pytest.mark.parametrize("beyond", [-1, 0, 1], ids=["below", "at", "beyond"])


# --- heads -----------------------------------------------------------------------------------------


def get(path: str, *lines: str) -> bytes:
    head = "".join(f"{line}\r\n" for line in ("Host: localhost", "Connection: close", *lines))
    return f"GET {path} HTTP/1.1\r\n{head}\r\n".encode()


def long_line(size: int) -> bytes:
    path = "/health/live?"
    return get(path + "x" * (size - len(path)))


def long_header(size: int) -> bytes:
    return get("/health/live", f"X-Long: {'x' * size}")


def many_headers(count: int) -> bytes:
    return get("/health/live", *(f"X-{number}: 1" for number in range(count - 2)))


def much_of_headers(size: int) -> bytes:
    have = sum(len(f"{line}\r\n") for line in ("Host: localhost", "Connection: close"))
    lines = [f"X-{number}: {'x' * 7000}" for number in range((size - have) // 7100)]
    have += sum(len(line) + 2 for line in lines)
    return get("/health/live", *lines, f"X-Rest: {'x' * (size - have - len('X-Rest: ') - 2)}")


HEADS: dict[str, tuple[Callable[[int], bytes], int, str]] = {
    "request line": (long_line, BOUNDS.request_line_bytes, "request_line_bytes"),
    "one header": (long_header, BOUNDS.header_bytes, "header_bytes"),
    "headers": (many_headers, BOUNDS.headers, "[limits] headers"),
    "all headers": (much_of_headers, BOUNDS.all_headers_bytes, "all_headers_bytes"),
}


@JUST
@pytest.mark.parametrize("part", HEADS)
async def test_a_head_has_bounds(serve: Serve, part: str, beyond: int) -> None:
    made, limit, setting = HEADS[part]
    server = await serve()

    answer = await server.raw(made(limit + beyond))

    assert status_of(answer) == (200 if beyond < 1 else 431), answer[:300]
    if beyond == 1:
        head, _, body = answer.partition(b"\r\n\r\n")
        assert b"connection: close" in head.lower()
        assert setting in json.loads(body)["error"]["message"]


async def test_of_several_requests_at_once_each_head_has_bounds(serve: Serve) -> None:
    server = await serve()
    small = b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n"
    large = much_of_headers(BOUNDS.all_headers_bytes + 1).replace(b"Connection: close", b"Connection: alive")
    async with connected(server) as client:
        client.writer.write(small + large + small)
        statuses = [status_of(await client.answer()) for _ in range(2)]
        rest = await client.rest()

    assert statuses == [200, 431]
    assert rest == b""


async def test_a_head_without_an_end_is_cut_off_when_it_is_too_large(serve: Serve) -> None:
    """It is not waited for: what comes of it is kept in memory."""
    server = await serve()
    endless = much_of_headers(BOUNDS.all_headers_bytes + BOUNDS.request_line_bytes + 1000).removesuffix(b"\r\n")

    async with connected(server) as client:
        for start in range(0, len(endless), 1000):
            await client.sends(endless[start : start + 1000])
            if client.end.sight().stage != "waiting":
                break
        client.writer.write(endless)
        answer = await client.answer()

    assert status_of(answer) == 431
    assert b"all_headers_bytes" in answer


async def test_what_comes_behind_a_refused_head_does_not_spoil_the_answer(serve: Serve) -> None:
    server = await serve()
    async with connected(server) as client:
        client.end.refuse(refused(431, "first"))
        client.end.refuse(refused(431, "second"))
        answer = await client.rest()

    assert status_of(answer) == 431
    assert b"first" in answer


@pytest.mark.skipif(bool(LANE), reason="the suite runs without the lane")
@pytest.mark.parametrize(
    ("settings", "status"),
    [
        ("[limits]\nheader_bytes = 256", 431),
        ("[limits]\nheaders = 8", 431),
        ("[server]\nmax_body_mb = 0.0005", 413),
        ("[limits]\nmessages = 3", 400),
    ],
    ids=["header", "headers", "body", "messages"],
)
async def test_the_fast_lane_keeps_lower_bounds_too(
    serve: Serve, upstream: Upstream, settings: str, status: int
) -> None:
    """A request that is like one that the lane has learnt, but larger."""
    upstream.script("m", says())
    server = await serve(provider("one", upstream), settings)
    fits = question(model="one/m", messages=[{"role": "user", "content": "x"}])
    more = question(model="one/m", messages=[{"role": "user", "content": "x" * 150}] * 4)
    lines = {"X-Long": "x" * 300, **{f"X-{number}": "1" for number in range(9)}}

    for _ in range(4):
        assert (await server.ask(**fits)).status == 200
    for _ in range(3):
        found = await server.ask(lines if status == 431 else None, **(fits if status == 431 else more))
        assert found.status == status, found.body


# --- connections -----------------------------------------------------------------------------------


@WAYS
async def test_a_connection_brings_so_many_requests(serve: Serve, upstream: Upstream, way: str) -> None:
    """The last is answered as the others, and says that it is the last."""
    upstream.script("m", says())
    server = await serve(provider("one", upstream), way, "[limits]\nrequests_per_connection = 5")
    body = json.dumps(question(model="one/m")).encode()
    ask = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    async with connected(server) as client:
        heads = []
        for _ in range(5):
            client.writer.write(ask)
            heads.append((await client.answer()).partition(b"\r\n\r\n")[0].lower())
        rest = await client.rest()

    assert [b"connection: close" in head for head in heads] == [False] * 4 + [True]
    assert all(head.startswith(b"http/1.1 200 ") for head in heads)
    assert rest == b""


@WAYS
async def test_a_connection_too_many_is_told_so(serve: Serve, upstream: Upstream, way: str) -> None:
    """Whoever asks whether the process lives is told that it does."""
    upstream.script("m", says())
    server = await serve(provider("one", upstream), way, "[limits]\nconnections = 2")
    body = json.dumps(question(model="one/m")).encode()
    ask = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    statuses, heads = [], []
    async with connected(server), connected(server) as second:
        for _ in range(3):
            second.writer.write(ask)
            assert status_of(await second.answer()) == 200
        for sent in (ask, b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n"):
            async with connected(server) as third:
                third.writer.write(sent)
                answer = await third.rest()
                statuses.append(status_of(answer))
                heads.append(answer.partition(b"\r\n\r\n")[0].lower())
            await until(lambda: edge(server).open_connections == 2)
        second.writer.write(ask)
        statuses.append(status_of(await second.answer()))

    assert statuses == [503, 200, 200]
    assert b"\r\nretry-after: 1\r\n" in heads[0]
    assert all(b"connection: close" in head for head in heads)


async def test_far_too_many_connections_are_closed_at_once(serve: Serve) -> None:
    server = await serve("[limits]\nconnections = 2")
    opened = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(11)]

    await until(lambda: edge(server).turned_away == 1)
    came = await asyncio.wait_for(opened[-1][0].read(), 20)
    for _, writer in opened:
        writer.close()

    assert came == b""


# --- the door --------------------------------------------------------------------------------------


async def inside(door: Door, *tenants: str, entered: list[str]) -> list[asyncio.Task[None]]:
    """Requests of *tenants*, of which each that gets in adds to *entered*; one is inside before them."""

    async def one(tenant: str, count: int) -> None:
        await door.enter(tenant, count)
        entered.append(tenant)

    tasks = []
    for count, tenant in enumerate(tenants, 2):
        tasks.append(asyncio.ensure_future(one(tenant, count)))
        await asyncio.sleep(0)
    return tasks


async def test_who_waits_at_the_door_gets_in_when_somebody_leaves() -> None:
    """Keys take turns: who sends one request is not kept waiting by those of another."""
    door, entered = Door(BoundSettings(in_flight=1, waiting=3, waiting_s=60)), list[str]()
    tasks = await inside(door, "a", "a", "b", entered=entered)

    crowded = [door.crowded(count) for count in (1, 2)]
    for left in (3, 2, 1):
        door.left(left)
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    await asyncio.gather(*tasks)
    assert crowded == [True, True]  # nobody overtakes those who wait
    assert entered == ["a", "b", "a"]
    assert (door.waiting, door.crowded(1)) == (0, False)


async def test_a_full_line_has_room_for_who_has_fewer_in_it() -> None:
    door, entered = Door(BoundSettings(in_flight=1, waiting=2, waiting_s=60)), list[str]()
    waiting = await inside(door, "a", "a", entered=entered)

    with pytest.raises(Refused, match="too busy"):
        await door.enter("a", 4)
    (other,) = await inside(door, "b", entered=entered)
    with pytest.raises(Refused, match="too busy"):
        await waiting[1]

    door.left(2)
    door.left(1)
    await asyncio.gather(waiting[0], other)
    assert entered == ["a", "b"]
    assert door.refused == {"full": 2}


async def test_who_leaves_the_line_makes_room() -> None:
    door, entered = Door(BoundSettings(in_flight=1, waiting=1, waiting_s=60)), list[str]()
    (gone,) = await inside(door, "a", entered=entered)

    gone.cancel()
    await asyncio.wait([gone])

    assert (door.waiting, door.crowded(1)) == (0, False)


HELD = Answer.json(completion(), hold_at=0)


@WAYS
@pytest.mark.parametrize("stream", [False, True])
async def test_requests_beyond_those_in_flight_wait_or_are_refused(
    serve: Serve, upstream: Upstream, way: str, stream: bool
) -> None:
    upstream.script("m", says())
    upstream.script("held", *[says()] * 3, *[HELD] * 2)
    server = await serve(provider("one", upstream), way, "[limits]\nin_flight = 2\nwaiting = 1\nwaiting_s = 60")
    for model in ["one/m", "one/held"] * 3:
        assert (await server.ask(model=model)).status == 200

    first = [asyncio.ensure_future(server.ask(model="one/held")) for _ in range(2)]
    await until(lambda: len(upstream.asked("held")) == 5)
    third = asyncio.ensure_future(server.ask(model="one/m"))
    await until(lambda: server.services.door.waiting == 1)
    fourth = await server.ask(model="one/m", stream=stream)
    health = await server.get("/health/live")
    asked_before = len(upstream.asked("m"))
    upstream.asked("held")[3].release()
    served = await third
    upstream.asked("held")[4].release()

    assert [reply.status for reply in await asyncio.gather(*first)] == [200, 200]
    assert (served.status, health.status) == (200, 200)
    assert (fourth.status, fourth.headers["retry-after"], fourth.error["code"]) == (503, "1", "too_busy")
    assert (asked_before, len(upstream.asked("m"))) == (3, 4)
    assert server.services.in_flight == 0
    assert server.services.door.refused == {"full": 1}


async def test_who_waits_too_long_is_refused(serve: Serve, upstream: Upstream) -> None:
    upstream.script("held", HELD)
    server = await serve(provider("one", upstream), "[limits]\nin_flight = 1\nwaiting_s = 0.05")
    first = asyncio.ensure_future(server.ask(model="one/held"))
    await until(lambda: len(upstream.asked("held")) == 1)

    reply = await server.request("POST", "/v1/messages", json.dumps({"model": "one/m"}).encode())
    upstream.asked("held")[0].release()

    assert (reply.status, reply.headers["retry-after"], reply.error["type"]) == (503, "1", "overloaded_error")
    assert (await first).status == 200
    assert server.services.door.refused == {"too_late": 1}


def raw_question(model: str, path: str = "/v1/chat/completions", **more: object) -> bytes:
    """The same head for every model, so that it is known after two."""
    body = json.dumps(question(model=model, **more)).encode()
    body += b" " * (200 - len(body))
    return f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


CROWDED = {"chat": "/v1/chat/completions", "messages": "/v1/messages"}


@pytest.mark.skipif(bool(LANE), reason="the lane is off")
@pytest.mark.parametrize("path", CROWDED.values(), ids=CROWDED)
async def test_who_waits_on_the_lane_or_is_refused_there_stays_on_it(
    serve: Serve, upstream: Upstream, path: str
) -> None:
    """By the careful way each would cost several times as much, when there is least to spare."""
    more = {"max_tokens": 5} if path == CROWDED["messages"] else {}
    upstream.script("m", says())
    upstream.script("held", HELD)
    server = await serve(provider("one", upstream), "[limits]\nin_flight = 1\nwaiting = 1\nwaiting_s = 60")
    async with connected(server) as first, connected(server) as second, connected(server) as third:
        for client in (first, second, third):
            client.writer.write(raw_question("one/m", path, **more))
            assert status_of(await client.answer()) == 200
        lane = server.services.shapes
        first.writer.write(raw_question("one/held", path, **more))
        await until(lambda: len(upstream.asked("held")) == 1)
        second.writer.write(raw_question("one/m", path, **more))
        await until(lambda: server.services.door.waiting == 1)
        before = lane.ridden
        third.writer.write(raw_question("one/m", path, **more))
        refused = await third.answer()
        upstream.asked("held")[0].release()
        statuses = [status_of(await client.answer()) for client in (first, second)]
        third.writer.write(raw_question("one/m", path, **more))
        again = await third.answer()
        ridden = lane.ridden - before

    head, _, body = refused.partition(b"\r\n\r\n")
    lines = dict(line.split(": ", 1) for line in head.decode().lower().split("\r\n")[1:])
    assert (status_of(refused), lines["retry-after"], "connection" in lines) == (503, "1", False)
    assert lines["x-request-id"].startswith("req_")
    assert json.loads(body)["error"]["type"] == ("overloaded_error" if more else "server_error")
    assert (statuses, status_of(again)) == ([200, 200], 200)
    assert ridden >= (1 if more else 3)  # what is translated is not answered on the lane, but it is refused there
    assert server.services.in_flight == 0
    assert server.services.door.refused == {"full": 1}


@pytest.mark.parametrize("ends", ["leaves", "too_late"])
async def test_who_gives_up_waiting_makes_room(serve: Serve, upstream: Upstream, ends: str) -> None:
    upstream.script("m", says())
    upstream.script("held", HELD)
    waiting_s = 60 if ends == "leaves" else 0.05
    server = await serve(provider("one", upstream), f"[limits]\nin_flight = 1\nwaiting_s = {waiting_s}")
    async with connected(server) as first:
        async with connected(server) as second:
            for client in (first, second) * 2:
                client.writer.write(raw_question("one/m"))
                assert status_of(await client.answer()) == 200
            first.writer.write(raw_question("one/held"))
            await until(lambda: len(upstream.asked("held")) == 1)
            second.writer.write(raw_question("one/m"))
            if ends == "too_late":
                assert status_of(await second.answer()) == 503
            else:
                await until(lambda: server.services.door.waiting == 1)
        await until(lambda: server.services.door.waiting == 0 and server.services.in_flight == 1)
        upstream.asked("held")[0].release()
        status = status_of(await first.answer())

    assert status == 200
    assert server.services.in_flight == 0
    assert server.services.door.refused == ({} if ends == "leaves" else {"too_late": 1})
    assert len(upstream.asked("m")) == 4


# --- what a question may hold ----------------------------------------------------------------------


def nested(depth: int) -> dict[str, Any]:
    value: Any = 1
    for _ in range(depth - 1):
        value = {"a": value}
    return {"metadata": value}


def turns(count: int) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": "x"}] * count}


def tools(count: int) -> dict[str, Any]:
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
    return {"tools": [tool] * count}


QUESTIONS: dict[str, tuple[Callable[[int], dict[str, Any]], int, str, str | None]] = {
    "json_depth": (nested, 64, "invalid_json", None),
    "json_members": (lambda n: {"logit_bias": {str(key): 1 for key in range(n)}}, 1000, "too_many", None),
    "json_members at the top": (lambda n: {f"x{key}": 1 for key in range(n - 2)}, 1000, "too_many", None),
    "messages": (turns, 10_000, "too_many", "messages"),
    "tools": (tools, 512, "too_many", "tools"),
    "model_chars": (lambda n: {"model": "one/" + "m" * (n - 4)}, 256, "too_long", "model"),
    "user_chars": (lambda n: {"user": "u" * n}, 256, "too_long", "user"),
}


@JUST
@pytest.mark.parametrize("what", QUESTIONS)
async def test_a_question_has_bounds(serve: Serve, upstream: Upstream, what: str, beyond: int) -> None:
    made, limit, code, param = QUESTIONS[what]
    more = made(limit + beyond)
    model = more.get("model", "one/m")
    upstream.script(model.removeprefix("one/"), says())
    server = await serve(provider("one", upstream), QUICK)
    assert getattr(BOUNDS, what.partition(" ")[0]) == limit

    reply = await server.ask(**{"model": model, **more})

    assert reply.status == (200 if beyond < 1 else 400), reply.body[:300]
    if beyond == 1:
        assert (reply.error["code"], reply.error["param"]) == (code, param)
        assert what.partition(" ")[0] in reply.error["message"] or code == "invalid_json"
        assert upstream.asked(model.removeprefix("one/")) == []


OTHERS: dict[str, tuple[str, dict[str, Any], str, str]] = {
    "messages: user": ("/v1/messages", {"metadata": {"user_id": "u" * 257}}, "type", "invalid_request_error"),
    "messages: turns": ("/v1/messages", turns(10_001), "type", "invalid_request_error"),
    "gemini: turns": (
        "/v1beta/models/demo:generateContent",
        {"contents": [{"parts": [{"text": "x"}]}] * 10_001},
        "status",
        "INVALID_ARGUMENT",
    ),
    "gemini: tools": (
        "/v1beta/models/demo:generateContent",
        {"contents": [{"parts": [{"text": "x"}]}], "tools": [{"functionDeclarations": [{"name": "f"}] * 513}]},
        "status",
        "INVALID_ARGUMENT",
    ),
    "gemini: model": (
        f"/v1beta/models/{'m' * 257}:generateContent",
        {"contents": [{"parts": [{"text": "x"}]}]},
        "status",
        "INVALID_ARGUMENT",
    ),
    "responses: input": ("/v1/responses", {"input": [{"role": "user", "content": "x"}] * 10_001}, "code", "too_many"),
    "responses: safety": ("/v1/responses", {"input": "x", "safety_identifier": "u" * 257}, "code", "too_long"),
    "embeddings: model": ("/v1/embeddings", {"input": "x", "model": "m" * 257}, "code", "too_long"),
    "completions: model": ("/v1/completions", {"prompt": "x", "model": "m" * 257}, "code", "too_long"),
    "a chain": ("/v1/chat/completions", {**turns(1), "models": ["a", "m" * 257]}, "code", "too_long"),
    "passed on": ("/v1/moderations", {"input": "x", "model": "m" * 257}, "code", "too_long"),
}


@pytest.mark.parametrize("case", OTHERS)
async def test_every_dialect_has_them(serve: Serve, upstream: Upstream, case: str) -> None:
    path, body, name, value = OTHERS[case]
    server = await serve(provider("one", upstream))

    sent = json.dumps({"model": "demo/echo", **body}).encode()
    reply = await server.request("POST", path, sent, {"content-type": "application/json"})

    assert (reply.status, reply.error[name]) == (400, value), reply.body[:300]


@JUST
async def test_a_long_request_id_is_not_kept(serve: Serve, upstream: Upstream, beyond: int) -> None:
    upstream.script("m", says())
    server = await serve(provider("one", upstream))
    sent = "r" * (BOUNDS.request_id_chars + beyond)

    reply = await server.ask({"x-request-id": sent}, model="one/m")

    row = await server.row(reply.id)
    assert row["client_request_id"] == (sent if beyond < 1 else None)


# --- what a provider may answer --------------------------------------------------------------------

ANSWER = json.dumps(completion()).encode()
MB = len(ANSWER) + 100


@JUST
async def test_an_answer_has_bounds(serve: Serve, upstream: Upstream, beyond: int) -> None:
    upstream.script("m", Answer.json(ANSWER + b" " * (100 + beyond)))
    server = await serve(provider("one", upstream), QUICK, f"[limits]\nanswer_mb = {MB / 2**20}")

    reply = await server.ask(model="one/m")

    assert reply.status == (200 if beyond < 1 else 502)
    if beyond == 1:
        assert reply.error["code"] == "upstream_invalid"
        assert f"larger than {MB} bytes" in reply.error["message"]


@pytest.mark.parametrize(("ratio", "status"), [(1000, 200), (20, 502)])
async def test_a_packed_answer_has_a_bound(serve: Serve, upstream: Upstream, ratio: int, status: int) -> None:
    """The first megabyte is free; two of blanks pack to a thousandth."""
    packed = gzip.compress(ANSWER + b" " * 2 * 2**20)
    assert 20 < 2**21 / len(packed) < 1100
    upstream.script("m", Answer.json(packed, headers={"content-encoding": "gzip"}))
    server = await serve(provider("one", upstream), QUICK, f"[limits]\nunpacked_ratio = {ratio}")

    reply = await server.ask(model="one/m")

    assert reply.status == status, reply.body


CLOCKS = Deadlines(head_s=60, idle_s=60, total_s=600)


@JUST
@pytest.mark.parametrize(
    ("ends", "late"), [("head_s", HeadTimeout), ("idle_s", IdleTimeout), ("total_s", TotalTimeout)]
)
async def test_an_answer_has_clocks(beyond: int, ends: str, late: type[TimedOut]) -> None:
    """At its end a clock has run out; half a second is counted here."""
    loop = asyncio.get_running_loop()
    clock = SimpleNamespace(time=lambda: 100.0, create_future=loop.create_future)
    reply = upstream_reply.Reply(SimpleNamespace(), "POST", CLOCKS, clock, 100.0)  # type: ignore[arg-type]  # a loop with its own time
    waiting = asyncio.ensure_future(reply.head() if ends == "head_s" else reply.piece())
    await asyncio.sleep(0)
    if ends == "total_s":
        reply._due = float("inf")  # something came just now

    found = reply.overdue(100 + getattr(CLOCKS, ends) + beyond / 2)
    waiting.cancel()

    assert type(found) is (late if beyond >= 0 else type(None))


@pytest.mark.parametrize(("settings", "attempts"), [("", 3), ("attempts_in_all = 2", 2), ("attempts_in_all = 1", 1)])
async def test_attempts_have_a_bound(serve: Serve, upstream: Upstream, settings: str, attempts: int) -> None:
    upstream.script("m", failing(500))
    server = await serve(provider("one", upstream), f"[retry]\nattempts = 9\nbackoff_s = 0\n{settings}")

    reply = await server.ask(model="one/m")

    assert (reply.status, len(upstream.asked("m"))) == (502, attempts)
    assert reply.headers["x-modelport-attempts"] == str(attempts)


@pytest.mark.parametrize(("settings", "calls"), [("", 10 + 3), ("budget_least = 5", 10 + 5), ("budget_share = 1", 20)])
async def test_repeats_have_a_budget(serve: Serve, upstream: Upstream, settings: str, calls: int) -> None:
    """A fifth of the recent requests, or a few; without time that goes by."""
    upstream.script("m", failing(500))
    server = await serve(
        provider("one", upstream), f"[retry]\nattempts = 2\nbackoff_s = 0\n{settings}\n[breaker]\nfailures = 1000"
    )
    server.services.retry_budget._now = lambda: 0.0

    for _ in range(10):
        assert (await server.ask(model="one/m")).status == 502

    assert len(upstream.asked("m")) == calls


@pytest.mark.parametrize(("count", "written"), [(2, 2), (3, 3), (4, 3), (9, 3)])
def test_a_log_has_a_bound(kept_logging: None, capsys: pytest.CaptureFixture[str], count: int, written: int) -> None:
    """What is left out is said as soon as there is room."""
    moments = iter([1.0] * count + [2.0])
    configure_logging(LoggingSettings(records_per_s=3), now=lambda: next(moments))
    dropped = dropped_records()

    for number in range(count + 1):
        logging.getLogger("modelport").warning("record %d", number)

    lines = capsys.readouterr().err.splitlines()
    assert sum(": record " in line for line in lines) == written + 1
    assert any(f"{count - 3} log records were dropped" in line for line in lines) == (count > 3)
    assert dropped_records() - dropped == count - written


# --- in force, and written down --------------------------------------------------------------------


async def test_limits_hold_after_a_reload(serve: Serve, upstream: Upstream, kept_logging: None) -> None:
    upstream.script("m", says())
    server = await serve(provider("one", upstream))
    path = server.services.setup.loaded.path
    assert path is not None
    lower = f"{provider('one', upstream)}\n[limits]\nuser_chars = 16\nanswer_mb = 0.0001\nheaders = 8\nin_flight = 7"
    before = await server.ask(model="one/m", user="u" * 17)
    path.write_text(lower)

    apply(server.services, load(path, environ={"HOME": str(path.parent)}, folder=path.parent))
    user, answer = await server.ask(model="one/m", user="u" * 17), await server.ask(model="one/m")
    head = await server.raw(many_headers(9))

    assert [reply.status for reply in (before, user, answer)] == [200, 400, 502]
    assert status_of(head) == 431
    assert server.services.door.bounds.in_flight == 7


def test_the_page_of_limits_has_them_all() -> None:
    """Each in a row that begins with its name and its default."""
    page = (DOCS / "limits.md").read_text("utf-8")
    # A provider's clocks, some of which have the same names, stand further below.
    rows = dict(reversed(re.findall(r"^\| `(\w+)` \| ([^|]+?) \|", page, re.MULTILINE)))

    wanted = {name: field.default for name, field in BoundSettings.model_fields.items()}

    assert {name: rows.get(name) for name in wanted} == {name: str(value) for name, value in wanted.items()}


async def test_labels_of_metrics_are_bounded(serve: Serve, upstream: Upstream) -> None:
    """Names that clients make up (models, paths, keys, users) are no labels."""
    upstream.script("m", says())
    server = await serve(provider("one", upstream), CAREFUL)
    made_up = [f"canary{number}" for number in range(5)]

    async def series() -> set[str]:
        text = (await server.get("/metrics")).body.decode()
        return {line.rpartition(" ")[0] for line in text.splitlines() if not line.startswith("#")}

    async def visit(name: str) -> list[Reply]:
        return [
            await server.ask(model=f"one/{name}", user=name),
            await server.ask(model=name),
            await server.ask({"Authorization": f"Bearer mp-{name}"}, model="one/m"),
            await server.ask({"x-modelport-tags": f"team={name}"}, model="one/m"),
            await server.get(f"/v1/models/{name}"),
            await server.get(f"/{name}"),
            await server.request("BREW", f"/v1/{name}"),
        ]

    await visit("first")
    await series()
    before = await series()
    for name in made_up:
        await visit(name)
    after = await series()

    assert after == before
    assert not any("canary" in line for line in after)
