"""The books of one request: whatever happens, exactly one exchange and one row for each attempt."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from contextlib import closing
from decimal import Decimal
from typing import Any

import pytest

from tests.proxy.conftest import Serve
from tests.proxy.serving import (
    OPENING,
    QUICK,
    by_form,
    chunk,
    failing,
    provider,
    question,
    route,
    says,
    streams,
)
from tests.replay import Answer, Asked, Upstream

PACED: Any = {"delay_between_s": 0.02}
"""So that content and ending do not come in one piece."""
CUT = Answer.sse(OPENING + chunk({"content": "Hel"}), split="events", end="close", **PACED)
RESET = Answer.sse(OPENING + chunk({"content": "Hel"}) + chunk({"content": "lo"}), split="events", end="reset", **PACED)
STALLED = Answer.sse(OPENING + chunk({"content": "Hel"}), split="events", end="hang")
ERROR_MID_STREAM = Answer.sse(
    OPENING + chunk({"content": "Hel"}) + 'data: {"error":{"message":"overloaded","type":"overloaded_error"}}\n\n',
    split="events",
    **PACED,
)
ENDINGS: dict[str, tuple[bool, Answer, int, str, int]] = {
    # stream?, answer, status, status in the ledger, output tokens at least
    "whole": (False, says(), 200, "ok", 5),
    "stream": (True, streams(), 200, "ok", 5),
    "stream without usage": (True, streams(usage=False), 200, "ok", 1),
    "whole, 500": (False, failing(500), 502, "failed", 0),
    "stream, 500": (True, failing(500), 502, "failed", 0),
    "whole, 400": (False, failing(400), 400, "failed", 0),
    "whole, silent": (False, Answer(hang=True), 504, "failed", 0),
    "stream, silent": (True, Answer(hang=True), 504, "failed", 0),
    "stream, silent after the head": (True, Answer.sse("", end="hang"), 504, "failed", 0),
    "whole, cut": (False, Answer.json(b'{"id":"x","choices":[', chunked=True, end="close"), 502, "failed", 0),
    "stream, cut after content": (True, CUT, 200, "interrupted", 1),
    "stream, reset after content": (True, RESET, 200, "interrupted", 1),
    "stream, stalled after content": (True, STALLED, 200, "interrupted", 1),
    "stream, error after content": (True, ERROR_MID_STREAM, 200, "interrupted", 1),
}


@pytest.mark.parametrize("case", ENDINGS)
async def test_every_ending_leaves_one_settled_row(serve: Serve, upstream: Upstream, case: str) -> None:
    stream, answer, status, booked, least_output = ENDINGS[case]
    upstream.script("m", answer)
    clocks = "timeouts = { connect_s = 1, first_event_s = 0.2, idle_s = 0.2 }"
    server = await serve(QUICK, provider("one", upstream, more=clocks))

    reply = await server.ask(model="one/m", stream=stream)

    rows = await server.rows()
    row = await server.row(reply.id)
    assert reply.status == status, reply.body
    assert [(each["id"], each["status"]) for each in rows] == [(reply.id, booked)]
    assert row["output_tokens"] >= least_output
    assert len(row["attempts"]) == 1
    assert row["attempts"][0]["status"] == booked
    assert row["settled_at"]
    assert row["stream"] is stream
    if booked == "interrupted":
        assert row["estimated"]
        assert row["cost_usd"] is not None
        assert Decimal(row["cost_usd"]) > 0
        assert not reply.done
        assert "error" in reply.chunks[-1]
    if booked == "failed":
        assert row["cost_usd"] is not None
        assert Decimal(row["cost_usd"]) == 0
    if case in {"whole", "stream"}:
        assert (row["input_tokens"], row["output_tokens"]) == (10, 5)
        assert Decimal(row["cost_usd"]) == Decimal("0.00002")
        assert not row["estimated"]
        assert row["target"] == "one/m"


@pytest.mark.parametrize("stream", [False, True])
async def test_a_client_that_leaves_is_booked_as_aborted(serve: Serve, upstream: Upstream, stream: bool) -> None:
    """With what was used up to there, and the provider hears of it."""
    upstream.script("m", STALLED if stream else Answer(hang=True))
    server = await serve(provider("one", upstream))

    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    body = json.dumps(question(model="one/m", stream=stream)).encode()
    writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(body))
    writer.write(body)
    asked = await asyncio.to_thread(upstream.wait_asked, "m")
    if stream:
        await reader.readuntil(b"Hel")
    writer.close()
    left = await asyncio.to_thread(asked.wait_left, 2)

    async def settled() -> dict[str, Any]:
        while not (rows := await server.rows()) or rows[0]["status"] == "open":
            await asyncio.sleep(0.005)
        return rows[0]

    row = await asyncio.wait_for(settled(), 3)
    assert left
    assert row["status"] == "aborted"
    assert row["estimated"]
    assert row["input_tokens"] > 0
    assert Decimal(row["cost_usd"]) > 0


async def test_the_reservation_is_durable_before_the_provider_sees_the_request(
    serve: Serve, upstream: Upstream
) -> None:
    seen: list[tuple[Any, ...]] = []
    server = await serve(provider("one", upstream))

    def look(_asked: Asked) -> Answer:
        with closing(sqlite3.connect(f"file:{server.database}?mode=ro", uri=True)) as database:
            query = (
                "SELECT e.status, a.status, a.provider, a.model FROM exchanges e JOIN attempts a ON a.exchange = e.row"
            )
            seen.extend(database.execute(query).fetchall())
        database.close()
        return says()

    upstream.script("m", look)
    await server.ask(model="one/m")

    assert seen == [("open", "open", "one", "m")]


async def test_a_stream_is_settled_before_its_last_byte(serve: Serve, upstream: Upstream) -> None:
    """When the receipt has come, the row is closed already; the receipt stands before [DONE]."""
    upstream.script("m", streams())
    server = await serve(provider("one", upstream))

    async with server.asking(model="one/m", stream=True) as answer:
        head = await answer.content.readuntil(b": modelport ")
        row = (await server.get(f"/api/v1/exchanges/{answer.headers['x-request-id']}")).json
        rest = await answer.content.read()

    assert row["status"] == "ok"
    assert row["cost_usd"] == "0.000020000"
    assert b"[DONE]" not in head
    receipt, done = rest.split(b"\n\n", 1)
    assert json.loads(receipt) == {"cost_usd": "0.000020000", "attempts": 1, "losses": []}
    assert done == b"data: [DONE]\n\n"


async def test_a_streams_cost_is_not_in_its_head_but_in_its_receipt(serve: Serve, upstream: Upstream) -> None:
    upstream.script("m", streams())
    upstream.script("w", says())
    server = await serve(provider("one", upstream))

    stream = await server.ask(model="one/m", stream=True)
    whole = await server.ask(model="one/w")

    assert "x-modelport-cost-usd" not in stream.headers
    assert stream.receipt["cost_usd"] == whole.headers["x-modelport-cost-usd"] == "0.000020000"


async def test_an_unknown_price_is_unknown_and_not_zero(serve: Serve, upstream: Upstream) -> None:
    upstream.script("m", says())
    section = provider("one", upstream, more="# no price").replace('price = { input = "1", output = "2" }\n', "")
    server = await serve(section)

    reply = await server.ask(model="one/m")

    row = await server.row(reply.id)
    assert "x-modelport-cost-usd" not in reply.headers
    assert row["cost_usd"] is None
    assert (await server.get("/costs")).json["total"]["unpriced_attempts"] == 1


IDS = {"trace-1:a.b_C": "trace-1:a.b_C", "with blank": None, "x" * 128: "x" * 128, "x" * 129: None, 'a"b': None}
IDS["mp-0123456789abcdefghij"] = None  # a key, in the wrong header


@pytest.mark.parametrize("given", IDS)
async def test_a_safe_request_id_of_the_client_is_kept(serve: Serve, upstream: Upstream, given: str) -> None:
    """The answer carries ours, which is the row's name."""
    upstream.script("m", says())
    server = await serve(provider("one", upstream))

    reply = await server.ask({"x-request-id": given}, model="one/m")

    row = await server.row(reply.id)
    assert reply.id.startswith("req_")
    assert row["id"] == reply.id
    assert row["client_request_id"] == IDS[given]


async def test_tags_and_route_stand_in_the_row(serve: Serve, upstream: Upstream) -> None:
    upstream.script("m", says())
    server = await serve(provider("one", upstream), route("careful", "one/m"))

    reply = await server.ask({"x-modelport-tags": "team=search, feature=summary"}, model="careful")

    row = await server.row(reply.id)
    assert row["tags"] == {"team": "search", "feature": "summary"}
    assert row["route"] == reply.headers["x-modelport-route"] == "careful"
    assert row["dialect"] == "openai_chat"


async def test_a_failover_books_both_attempts(serve: Serve, upstream: Upstream) -> None:
    upstream.script("bad", failing(500, "boom"))
    upstream.script("good", says())
    server = await serve(QUICK, provider("one", upstream), provider("two", upstream), route("r", "one/bad", "two/good"))

    reply = await server.ask(model="r")

    row = await server.row(reply.id)
    assert reply.headers["x-modelport-attempts"] == "2"
    assert [(made["provider"], made["status"]) for made in row["attempts"]] == [("one", "failed"), ("two", "ok")]
    assert row["target"] == "two/good"
    assert Decimal(row["cost_usd"]) == Decimal("0.00002")


# --- a ledger that cannot be written ---------------------------------------------------------------


async def test_strict_nothing_leaves_without_a_reservation(serve: Serve, upstream: Upstream) -> None:
    upstream.script("m", says())
    server = await serve(provider("one", upstream))
    await server.services.db.close()

    reply = await server.ask(model="one/m")

    assert reply.status == 503
    assert reply.error["code"] == "ledger_unavailable"
    assert upstream.asked("m") == []


async def test_relaxed_lets_the_request_through_and_keeps_its_row(serve: Serve, upstream: Upstream) -> None:
    upstream.script("m", says())
    server = await serve('[storage]\nledger = "relaxed"', provider("one", upstream))
    await server.services.db.close()

    reply = await server.ask(model="one/m")
    health = (await server.get("/health")).json

    assert reply.status == 200
    assert health["storage"]["journal"]["waiting"] == 2, "the opening and the settling"
    assert health["storage"]["lost_rows"] == 0
    assert health["storage"]["status"] == "closed"


@pytest.mark.parametrize("stream", [False, True])
async def test_strict_an_answer_that_cannot_be_booked_is_withheld(
    serve: Serve, upstream: Upstream, stream: bool
) -> None:
    """A whole answer becomes a 503; a stream ends with an error event and without its terminator."""
    server = await serve(provider("one", upstream))
    upstream.script("m", streams() if stream else says())
    refuse = (
        "CREATE TRIGGER refuse BEFORE UPDATE OF settled_us ON exchanges "
        "WHEN NEW.status = 'ok' BEGIN SELECT RAISE(ABORT, 'no'); END"
    )
    await server.services.db.write(lambda connection: connection.execute(refuse) and None)

    reply = await server.ask(model="one/m", stream=stream)

    told = reply.chunks[-1]["error"] if stream else reply.error
    assert told["code"] == "ledger_unavailable"
    assert reply.status == (200 if stream else 503)
    assert b"[DONE]" not in reply.body


async def test_an_attempt_keeps_to_its_providers_total_time(serve: Serve, upstream: Upstream) -> None:
    """total_s is the provider's own clock, however patient the other targets of the chain are."""
    upstream.script("drips", Answer.sse(OPENING * 200, split="events", delay_between_s=0.02))
    upstream.script("good", streams())
    clocks = "timeouts = { connect_s = 1, first_event_s = 10, idle_s = 10, total_s = 0.2 }"
    server = await serve(
        QUICK, provider("one", upstream, more=clocks), provider("two", upstream), route("r", "one/drips", "two/good")
    )

    reply = await asyncio.wait_for(server.ask(model="r", stream=True), 2)

    assert reply.text == "Hello there"
    assert reply.headers["x-modelport-target"] == "two/good"


async def test_a_committed_stream_keeps_to_its_providers_total_time(serve: Serve, upstream: Upstream) -> None:
    words = OPENING + chunk({"content": "tick "}) * 200
    upstream.script("drips", Answer.sse(words, split="events", delay_between_s=0.02))
    clocks = "timeouts = { connect_s = 1, first_event_s = 10, idle_s = 10, total_s = 0.2 }"
    server = await serve(
        QUICK, provider("one", upstream, more=clocks), provider("two", upstream), route("r", "one/drips", "two/good")
    )

    reply = await asyncio.wait_for(server.ask(model="r", stream=True), 2)

    assert reply.chunks[-1]["error"]["code"] == "upstream_timeout"
    assert not reply.done


@pytest.mark.parametrize("where", ["header", "body"])
async def test_the_clients_timeout_bounds_everything(serve: Serve, upstream: Upstream, where: str) -> None:
    upstream.script("m", Answer(hang=True))
    server = await serve(provider("one", upstream))
    headers = {"x-modelport-timeout-s": "0.1"} if where == "header" else {}
    body: dict[str, Any] = {} if where == "header" else {"modelport": {"timeout_s": 0.1}}

    reply = await asyncio.wait_for(server.ask(headers, model="one/m", **body), 2)

    assert reply.status == 504
    assert (await server.row(reply.id))["status"] == "failed"


async def test_a_client_that_never_reads_does_not_hold_the_answer_forever(serve: Serve, upstream: Upstream) -> None:
    """Its deadline cuts the answer and books it."""
    big = chunk({"content": "x" * 30_000})
    upstream.script("m", Answer.sse(OPENING + big * 400))
    server = await serve(provider("one", upstream))
    body = json.dumps(question(model="one/m", stream=True, modelport={"timeout_s": 0.6})).encode()

    reader, writer = await asyncio.open_connection("127.0.0.1", server.port, limit=1024)
    writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(body))
    writer.write(body)
    await reader.readuntil(b"\r\n\r\n")

    async def settled() -> dict[str, Any]:
        while not (rows := await server.rows()) or rows[0]["status"] == "open":
            await asyncio.sleep(0.01)
        return rows[0]

    row = await asyncio.wait_for(settled(), 30)
    while server.services.in_flight:
        await asyncio.sleep(0.01)
    writer.transport.abort()

    assert row["status"] in {"interrupted", "aborted"}
    assert row["estimated"]


async def test_success_and_failure_reach_health(serve: Serve, upstream: Upstream) -> None:
    upstream.script("m", says(), failing(500, "boom"))
    server = await serve(QUICK, provider("one", upstream))

    await server.ask(model="one/m")
    await server.ask(model="one/m")

    (entry,) = (each for each in (await server.get("/health")).json["providers"] if each["name"] == "one")
    assert (entry["requests"], entry["errors"]) == (2, 1)
    assert entry["last_success"]
    assert entry["last_error"] == "boom"
    assert entry["latency_ms"]["p50"] is not None


async def test_an_internal_error_is_a_500_and_its_exchange_does_not_stay_open(
    serve: Serve, upstream: Upstream, caplog: pytest.LogCaptureFixture
) -> None:
    server = await serve(provider("one", upstream))

    class Broken:
        def send(self, call: Any) -> Any:
            raise RuntimeError("a bug")

        async def close(self) -> None: ...

    server.services.setup.backends["one"] = Broken()  # type: ignore[index]  # a mapping that is a dict

    reply = await server.ask(model="one/m")

    assert reply.status == 500
    assert "a bug" not in reply.body.decode()
    (row,) = await server.rows()
    assert row["status"] == "failed"


async def test_a_client_that_leaves_a_fan_out_ends_all_of_it(serve: Serve, upstream: Upstream) -> None:
    upstream.script("m", Answer(hang=True))
    server = await serve(provider("one", upstream, "anthropic"))
    running = asyncio.ensure_future(server.ask(model="one/m", n=3, max_tokens=9))
    await asyncio.to_thread(upstream.wait_asked, "m", 3)

    running.cancel()

    left = await asyncio.to_thread(lambda: all(asked.wait_left(2) for asked in upstream.asked("m")))
    while server.services.in_flight:
        await asyncio.sleep(0.005)
    (row,) = await server.rows()
    whole = await server.row(row["id"])
    assert left
    assert row["status"] == "aborted"
    assert [made["status"] for made in whole["attempts"]] == ["aborted"] * 3
    assert row["cost_usd"] is not None


async def test_the_books_balance_after_a_storm(serve: Serve, upstream: Upstream) -> None:
    """Every kind of answer, whole and streamed, with clients that leave: no row open, none twice, all sums right."""
    clocks = "timeouts = { connect_s = 1, first_event_s = 0.1, idle_s = 0.1 }"
    answers = [answer for _, answer, *_ in ENDINGS.values()]
    for number, answer in enumerate(answers):
        upstream.script(f"m{number}", answer)
    upstream.script("good", by_form(says(), streams()))
    server = await serve(
        "[breaker]\nfailures = 1000",
        provider("one", upstream, more=clocks),
        provider("two", upstream, "anthropic", more=clocks),
    )

    async def one(number: int) -> None:
        chain = [f"{'two' if number % 5 == 0 else 'one'}/m{number % len(answers)}", "one/good"]
        running = asyncio.ensure_future(
            server.ask(
                model=chain[0],
                models=chain if number % 3 else chain[:1],
                stream=bool(number % 2),
                max_tokens=9,
                n=2 if number % 7 == 0 else None,
            )
        )
        if number % 4 == 0:
            await asyncio.wait({running}, timeout=(number % 13) / 100)
            running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    await asyncio.gather(*(one(number) for number in range(120)))
    while server.services.in_flight:
        await asyncio.sleep(0.005)
    rows = await server.rows()
    whole = [await server.row(row["id"]) for row in rows]

    made = [attempt for row in whole for attempt in row["attempts"]]
    assert not [row for row in rows if row["status"] == "open"]
    assert not [attempt for attempt in made if attempt["status"] == "open"]
    assert len({row["id"] for row in rows}) == len(rows)
    assert len(upstream.requests) <= len(made)
    for row in whole:
        assert Decimal(row["cost_usd"]) == sum(Decimal(attempt["cost_usd"]) for attempt in row["attempts"])
        assert row["output_tokens"] == sum(attempt["output_tokens"] for attempt in row["attempts"])
    total = (await server.get("/costs")).json["total"]
    assert Decimal(total["cost_usd"]) == sum(Decimal(row["cost_usd"]) for row in rows)
    assert (total["exchanges"], total["attempts"]) == (len(rows), len(made))
    assert server.services.ledger.ignored == 0
