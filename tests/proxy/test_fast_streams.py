"""Streams on the fast lane are what they are on the careful way: bytes, books, failures, and who may take over."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from proxy.outlet import Outlet
from storage.errors import LedgerUnavailable
from tests.proxy.conftest import Serve
from tests.proxy.serving import (
    DONE,
    LANE,
    OPENING,
    QUICK,
    Reply,
    Served,
    chunk,
    failing,
    provider,
    route,
    says,
    serving,
    stream_text,
    streams,
)
from tests.replay import Answer, Split, Upstream

pytestmark = pytest.mark.skipif(bool(LANE), reason="the suite runs without the lane")
WORDS = ("Hello", " there", ' "quoted" \\n', " Grüße 🌍", " and", " more", " of it")
LIMITS = {"x-ratelimit-remaining-requests": "99", "x-ratelimit-limit-requests": "100"}
GOES_WITH_TIME = re.compile(r"(^id$|_us$|_at$|_ms$|exchange|opened|settled)")
TEXT = "".join(WORDS)


async def learnt(server: Served, model: str = "one/m") -> int:
    """Have a stream `asking` until the lane takes the next one; how many it has taken."""
    for _ in range(2):
        async with server.asking(model=model, stream=True) as answer:
            await answer.read()
    return server.services.shapes.ridden


async def asked(server: Served, model: str = "one/m") -> Reply:
    """A stream, asked for as those that were learnt."""
    async with server.asking(model=model, stream=True) as answer:
        named = {name.lower(): value for name, value in answer.headers.items()}
        return Reply(answer.status, named, await answer.read())


async def books(server: Served, request_id: str) -> dict[str, Any]:
    """Its row without what goes with the time."""
    row = await server.row(request_id)
    for each in (row, *row["attempts"]):
        for name in [name for name in each if GOES_WITH_TIME.search(name)]:
            del each[name]
    return row


def told(reply: Reply) -> Mapping[str, str]:
    return {name: value for name, value in reply.headers.items() if name not in {"date", "x-request-id"}}


SPLITS: list[Split] = ["whole", "events", 1, 7, 300]


@pytest.mark.parametrize("wanted", [None, {"include_usage": True}], ids=["silent", "usage"])
@pytest.mark.parametrize("split", SPLITS, ids=str)
async def test_bytes_and_books_are_the_same(
    serve: Serve, upstream: Upstream, split: Split, wanted: dict[str, bool] | None
) -> None:
    upstream.script("m", streams(*WORDS, split=split, headers=LIMITS))
    server = await serve(provider("one", upstream))
    replies = [await server.ask(model="one/m", stream=True, stream_options=wanted) for _ in range(4)]
    rows = [await books(server, reply.headers["x-request-id"]) for reply in replies]

    assert server.services.shapes.ridden == 2
    assert {reply.body for reply in replies} == {replies[0].body}
    assert (replies[0].text, replies[0].done) == (TEXT, True)
    assert [told(reply) for reply in replies] == [told(replies[0])] * 4
    assert rows == [rows[0]] * 4
    assert (rows[0]["status"], rows[0]["stream"], rows[0]["cost_usd"]) == ("ok", True, "0.000020000")
    assert server.services.totals["one"].attempts["ok"] == 4
    assert sum(server.services.endings.first_events.counts) == 4
    assert len({reply.headers["x-request-id"] for reply in replies}) == 4


async def test_what_was_said_when_comes_in_time(serve: Serve, upstream: Upstream) -> None:
    """The client reads the first words while the provider still waits with the next ones."""
    held = replace(streams(*WORDS), hold_at=len(OPENING + chunk({"content": WORDS[0]}) + chunk({"content": WORDS[1]})))
    upstream.script("m", streams(*WORDS), streams(*WORDS), held)
    server = await serve(provider("one", upstream))
    ridden = await learnt(server)
    async with server.asking(model="one/m", stream=True) as answer:
        begun = await asyncio.wait_for(answer.content.readuntil(b" there"), 5)
        in_flight = server.services.in_flight
        upstream.asked("m")[2].release()
        rest = await answer.content.read()

    assert WORDS[0].encode() in begun
    assert in_flight == 1
    assert rest.endswith(DONE.encode())
    assert server.services.shapes.ridden == ridden + 1


ENDS_OTHERWISE: dict[str, Answer] = {
    "no usage": streams(*WORDS, usage=False),
    "a call": Answer.sse(
        OPENING
        + chunk(
            {"tool_calls": [{"index": 0, "id": "c1", "type": "function", "function": {"name": "f", "arguments": ""}}]}
        )
        + "".join(
            chunk({"tool_calls": [{"index": 0, "function": {"arguments": word}}]}) for word in ('{"a"', ":1", "}")
        )
        + chunk({}, "tool_calls")
        + stream_text("x").split("\n\n")[-3]
        + "\n\n"
        + DONE,
        split="events",
    ),
    "cut after some words": replace(streams(*WORDS), stop_at=len(OPENING) + 400, end="close"),
    "ended after some words": Answer.sse(OPENING + chunk({"content": "Hello"}), split="events"),
    "an error after some words": Answer.sse(
        OPENING + chunk({"content": "Hello"}) + 'data: {"error":{"message":"no","type":"server_error"}}\n\n'
    ),
    "broken JSON after some words": Answer.sse(
        OPENING + chunk({"content": "Hello"}) + "data: {\n\n", split="events", delay_between_s=0.05
    ),
    "another tier": Answer.sse(stream_text(*WORDS).replace('"model"', '"service_tier": "flex", "model"')),
    "one object": says("Hello there"),
}


@pytest.mark.parametrize("case", ENDS_OTHERWISE)
async def test_what_is_not_plain_is_as_on_the_careful_way(tmp_path: Path, upstream: Upstream, case: str) -> None:
    found: list[tuple[Any, ...]] = []
    for lane in ("true", "false"):
        model = f"m-{lane}"
        upstream.script(model, streams(*WORDS), streams(*WORDS), ENDS_OTHERWISE[case])
        folder = tmp_path / lane
        folder.mkdir()
        config = provider("one", upstream) + QUICK + f"[server]\nfast_lane = {lane}\n"
        async with serving(folder, config) as server:
            await learnt(server, f"one/{model}")
            reply = await asked(server, f"one/{model}")
            row = await books(server, reply.headers["x-request-id"])
        assert len(upstream.asked(model)) == 3
        found.append((_without_ids(reply.body, model), told(reply).keys(), json.dumps(row).replace(model, "m")))

    assert found[0] == found[1]


def _without_ids(body: bytes, model: str) -> bytes:
    return re.sub(rb"chatcmpl-[0-9a-f]{16}|[0-9a-f]{16,}", b"", body).replace(model.encode(), b"m")


FAULTS: dict[str, Answer] = {
    "500": failing(500),
    "an error before the words": Answer.sse(OPENING + 'data: {"error":{"message":"no","type":"server_error"}}\n\n'),
    "cut before the words": replace(streams(*WORDS), stop_at=len(OPENING), end="close"),
    "cut in the head": Answer(raw_head=b"HTTP/1.1 200 OK\r\ncontent-ty", end="close"),
    "nothing": Answer.sse(""),
    "a page": Answer(headers={"content-type": "text/html"}, body=b"<html>"),
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_before_the_first_word_another_target_takes_over(serve: Serve, upstream: Upstream, fault: str) -> None:
    upstream.script("m", streams(*WORDS), streams(*WORDS), FAULTS[fault])
    upstream.script("n", streams("the second"))
    server = await serve(provider("one", upstream), QUICK, route("both", "one/m", "one/n"))
    await learnt(server, "both")
    reply = await asked(server, "both")
    row = await server.row(reply.headers["x-request-id"])

    assert (reply.status, reply.text, reply.done) == (200, "the second", True)
    assert reply.headers["x-modelport-attempts"] == "2"
    assert [(each["model"], each["status"]) for each in row["attempts"]] == [("m", "failed"), ("n", "ok")]
    assert (len(upstream.asked("m")), len(upstream.asked("n"))) == (3, 1)


@pytest.mark.parametrize("silent", ["head", "words"])
async def test_who_says_nothing_for_too_long_is_taken_over(serve: Serve, upstream: Upstream, silent: str) -> None:
    """With a head, or without one."""
    late = (
        replace(streams(*WORDS), delay_head_s=30)
        if silent == "head"
        else replace(streams(*WORDS), hold_at=len(OPENING))
    )
    upstream.script("m", streams(*WORDS), streams(*WORDS), late)
    upstream.script("n", streams("the second"))
    clocks = "timeouts = { connect_s = 2, first_event_s = 0.4, idle_s = 10 }\n"
    server = await serve(provider("one", upstream, more=clocks), QUICK, route("both", "one/m", "one/n"))
    await learnt(server, "both")
    reply = await asked(server, "both")
    row = await server.row(reply.headers["x-request-id"])

    assert (reply.text, reply.done) == ("the second", True)
    assert [(each["model"], each["error_kind"]) for each in row["attempts"]] == [("m", "timeout"), ("n", None)]
    within = re.search(r"within (\d+\.?\d*) s", row["attempts"][0]["error"])
    assert within is not None
    assert float(within[1]) >= 0.4  # what has passed, which is more on a busy machine


async def test_who_falls_silent_in_mid_answer_ends_it(serve: Serve, upstream: Upstream) -> None:
    held = replace(streams(*WORDS), hold_at=len(OPENING + chunk({"content": WORDS[0]})))
    upstream.script("m", streams(*WORDS), streams(*WORDS), held)
    clocks = "timeouts = { connect_s = 2, first_event_s = 5, idle_s = 0.3 }\n"
    server = await serve(provider("one", upstream, more=clocks), QUICK)
    await learnt(server)
    reply = await asked(server)
    row = await server.row(reply.headers["x-request-id"])
    upstream.asked("m")[2].release()

    assert "nothing came for 0.3 s" in reply.chunks[-1]["error"]["message"]
    assert not reply.done
    assert (row["status"], row["attempts"][0]["error_kind"]) == ("interrupted", "timeout")
    assert row["attempts"][0]["output_tokens"] > 0


@pytest.mark.parametrize("when", ["before the words", "after some words"])
async def test_a_client_that_leaves_is_felt_by_the_provider(serve: Serve, upstream: Upstream, when: str) -> None:
    at = len(OPENING) + (len(chunk({"content": WORDS[0]})) if when == "after some words" else 0)
    upstream.script("m", streams(*WORDS), streams(*WORDS), replace(streams(*WORDS), hold_at=at))
    server = await serve(provider("one", upstream))
    await learnt(server)
    begun = asyncio.Event()

    async def ask() -> None:
        async with server.asking(model="one/m", stream=True) as answer:
            await answer.content.readuntil(WORDS[0].encode())
            begun.set()
            await answer.read()

    asking = asyncio.create_task(ask())
    heard = await asyncio.to_thread(upstream.wait_asked, "m", 3)
    if when == "after some words":
        await asyncio.wait_for(begun.wait(), 5)
    asking.cancel()
    await asyncio.wait([asking])
    left = await asyncio.to_thread(heard.wait_left, 5)
    rows = await server.rows()
    row = await server.row(rows[-1]["id"])

    assert left
    assert (len(rows), row["status"]) == (3, "aborted")
    assert (row["attempts"][0]["output_tokens"] > 0) == (when == "after some words")
    assert server.services.in_flight == 0


async def test_a_slow_client_slows_the_provider_down(
    serve: Serve, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And gets all of it, when it reads after all."""
    words = [f"{number:06d}" * 20_000 for number in range(100)]
    upstream.script("m", streams(*WORDS), streams(*WORDS), streams(*words))
    server = await serve(provider("one", upstream))
    await learnt(server)
    waited = asyncio.Event()
    room = Outlet.room

    async def watched(outlet: Outlet) -> None:
        if outlet.connection.writing_paused:
            waited.set()
        await room(outlet)

    monkeypatch.setattr(Outlet, "room", watched)
    async with server.asking(model="one/m", stream=True) as answer:
        await asyncio.wait_for(waited.wait(), 10)
        body = await answer.read()
    reply = Reply(200, {"content-type": "text/event-stream"}, body)

    assert reply.text == "".join(words)
    assert reply.done


async def test_what_cannot_be_booked_ends_in_an_error(
    serve: Serve, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    upstream.script("m", streams(*WORDS))
    server = await serve(provider("one", upstream))
    await learnt(server)

    def full(_note: Any, _answered: object, tell: Callable[[LedgerUnavailable], None]) -> None:
        tell(LedgerUnavailable("the ledger cannot be written: the disk is full"))

    monkeypatch.setattr(server.services.ledger, "answered", full)
    reply = await asked(server)

    assert reply.text == TEXT
    assert reply.chunks[-1]["error"]["code"] == "ledger_unavailable"
    assert not reply.done


async def test_the_limits_of_a_key_hold_for_streams(serve: Serve, upstream: Upstream) -> None:
    master = "mp-master-0123456789abcdef"
    upstream.script("m", streams(*WORDS))
    server = await serve(provider("one", upstream), f'[auth]\nmaster_key = "{master}"\n')
    limits = {"name": "k", "limits": {"requests_per_minute": 4}}
    told_master = {"authorization": f"Bearer {master}"}
    async with (
        aiohttp.ClientSession() as another,
        another.post(f"{server.url}/api/v1/keys", json=limits, headers=told_master) as made,
    ):
        server.headers["authorization"] = f"Bearer {(await made.json())['key']}"
    replies = [await server.ask(model="one/m", stream=True) for _ in range(5)]

    assert [reply.status for reply in replies] == [200, 200, 200, 200, 429]
    assert [reply.headers["x-modelport-ratelimit-remaining-requests"] for reply in replies[:4]] == ["3", "2", "1", "0"]
    assert server.services.shapes.ridden == 2
