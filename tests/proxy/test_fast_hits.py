"""Hits of the cache that the fast lane gives: the same bytes, rows and figures as without it, and for as long."""

from __future__ import annotations

import asyncio
import json
import re
import threading
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from typing import Any

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.app import apply
from proxy.config import load
from proxy.fast.hits import Body, Hits, Ready, body_of
from routing.throttle import Throttle
from storage.bookings import OpenExchange, SettledExchange, given_form
from storage.slate import Slate
from storage.spilled import GivenLines
from tests.proxy.conftest import Serve
from tests.proxy.keyed import WITH_MASTER, bearer, make, send
from tests.proxy.serving import LANE, QUICK, Reply, Served, message, provider, route, says, serving, streams
from tests.proxy.test_caching import STALE, Clock, timed
from tests.proxy.test_fast_lane import Line, line, request
from tests.replay import Answer, Asked, Upstream
from tests.running import Modelport

pytestmark = pytest.mark.skipif(bool(LANE), reason="the suite runs without the lane")

CAPITAL = "What is the capital of France?"
ALL = "[cache]\nmode = 'all'\nttl_s = 60\n"
GOES_WITH_TIME = re.compile(r"date|(x-)?request-id|retry-after")
OF_TIME = re.compile(r"(^id$|_at$|_ms$|_us$|^client_request_id$)")
NAMES_AND_TIMES = re.compile(rb'"created":\d+|key_[0-9a-z]+|mp-[0-9A-Za-z]+|again in [^"]+')


def vendor() -> Callable[[Asked], Answer]:
    """Answers that are numbered, in whatever dialect and form they are asked for."""
    told = iter(range(1, 10_000))

    def answer(asked: Asked) -> Answer:
        text = f"answer {next(told)} 100 %b 0123456789abcdef"
        if asked.path.endswith("/messages"):
            return Answer.json(message(text))
        return streams(text) if asked.json.get("stream") else says(text)

    return answer


@dataclass(slots=True)
class World:
    """One server, with the lane or without it, and what it has answered."""

    server: Served
    clock: Clock
    upstream: Upstream
    folder: Path
    session: aiohttp.ClientSession
    """For questions alone, so that its connection is one for the lane."""
    said: list[tuple[Any, ...]] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)

    async def ask(
        self, text: str = CAPITAL, headers: Mapping[str, str] | None = None, path: str = "chat/completions", **more: Any
    ) -> Reply:
        """Ask by the server's route, on a connection that stays open, and note what comes."""
        whole = {"model": "r", "messages": [{"role": "user", "content": text}], **more}
        server = replace(self.server, session=self.session)
        reply = await server.request("POST", f"/v1/{path}", json.dumps(whole).encode(), headers)
        told = {name: value for name, value in reply.headers.items() if not GOES_WITH_TIME.fullmatch(name)}
        self.ids.append(reply.headers["x-request-id"])
        own_id = reply.body.replace(self.ids[-1].removeprefix("req_").encode(), b"its own id")
        self.said.append((reply.status, list(told.items()), NAMES_AND_TIMES.sub(b"", own_id)))
        await self.server.services.drain()  # a renewal is over before the next question, as often as not
        return reply

    async def times(self, count: int, **how: Any) -> None:
        for _ in range(count):
            await self.ask(**how)

    async def told(self) -> dict[str, Any]:
        """What it has answered and booked, but for ids and times."""
        keys = {name: f"key {number}" for number, name in enumerate(self.server.services.keyring.entries)}
        rows = []
        for row in [await self.server.row(name) for name in self.ids if await self.is_booked(name)]:
            kept = {name: value for name, value in row.items() if not OF_TIME.search(name) and name != "attempts"}
            rows.append({**kept, "key_id": keys.get(row["key_id"]), "attempts": len(row["attempts"])})
        cache = (await self.server.get("/api/v1/cache", self.server.headers)).json
        return {
            "said": self.said,
            "rows": rows,
            "cache": {name: cache[name] for name in ("entries", "hits", "misses", "saved_usd", "stale_hits")},
            "by": [{name: each[name] for name in ("route", "model", "hits", "saved_usd")} for each in cache["by"]],
            "asked": len(self.upstream.requests),
            "answered": dict(self.server.services.answered),
            "durations": {status: sum(each.counts) for status, each in self.server.services.endings.requests.items()},
            "first events": sum(self.server.services.endings.first_events.counts),
        }

    async def is_booked(self, request_id: str) -> bool:
        return await self.server.services.accounts.exchange(request_id) is not None

    @property
    def ridden(self) -> int:
        return self.server.services.shapes.ridden


Situation = Callable[[World], Awaitable[None]]


async def lived(stack: AsyncExitStack, folder: Path, config: str, *, lane: bool) -> World:
    folder.mkdir(parents=True)
    upstream = stack.enter_context(Upstream(vendor()))
    sections = [
        QUICK,
        WITH_MASTER,
        f"[server]\nfast_lane = {str(lane).lower()}\n",
        provider("one", upstream),
        provider("two", upstream, "anthropic"),
        config,
    ]
    server = await stack.enter_async_context(serving(folder, "\n".join(sections)))
    server.headers = {"authorization": "Bearer mp-master-0123456789"}
    server.services.keyring._new_throttle = lambda _: Throttle(None, None, None, lambda: 0.0)
    session = await stack.enter_async_context(aiohttp.ClientSession())
    return World(server, await timed(server), upstream, folder, session)


async def alike(folder: Path, config: str, situation: Situation) -> World:
    """Have *situation* happen with the lane and without it: what is told is the same; the world with it."""
    async with AsyncExitStack() as stack:
        with_lane, without = [
            await lived(stack, folder / name, config, lane=name == "lane") for name in ("lane", "careful")
        ]
        await situation(with_lane)
        await situation(without)

        assert await with_lane.told() == await without.told()
        assert without.ridden == 0
    return with_lane


# --- situations ------------------------------------------------------------------------------------

R = route("r", "one/m")
FAQ = route("r", "one/m", more="cache = { mode = 'all', tags = ['kind=faq'] }")


async def again_and_again(world: World) -> None:
    await world.times(4)


async def as_a_stream(world: World) -> None:
    await world.times(4, stream=True)


async def whole_and_as_a_stream(world: World) -> None:
    for _ in range(4):
        await world.ask()
        await world.ask(stream=True, stream_options={"include_usage": True})


async def another_question(world: World) -> None:
    for text in (CAPITAL, "50 % of what?", CAPITAL, "50 % of what?", CAPITAL, "50 % of what?"):
        await world.ask(text)


async def another_header(world: World) -> None:
    for agent in ("a", "b", "a", "b", "a", "b", "c"):
        await world.ask(headers={"user-agent": agent})


async def older_each_time(world: World) -> None:
    for _ in range(7):
        await world.ask()
        world.clock.at += 10


async def purged(world: World) -> None:
    await world.times(3)
    await world.server.request("DELETE", "/api/v1/cache")
    await world.times(4)


async def purged_by_tag(world: World) -> None:
    await world.times(3)
    await world.server.request("DELETE", "/api/v1/cache?tag=kind%3Dother")
    await world.ask()
    await world.server.request("DELETE", "/api/v1/cache?tag=kind%3Dfaq")
    await world.times(2)


async def answered_anew(world: World) -> None:
    await world.times(3)
    await world.ask(headers={"x-modelport-cache": "no-cache"})
    await world.times(3)


async def stored_by_another_worker(world: World) -> None:
    await world.times(3)
    await world.server.services.db.write(lambda _: None)
    (place,) = world.server.services.cache._memory
    world.server.services.cache.heard(place, 1, 1)
    await world.times(3)


async def cleared_by_another_worker(world: World) -> None:
    await world.times(3)
    await world.server.services.db.write(lambda connection: connection.execute("DELETE FROM cache"))
    await world.server.services.cache.renew()
    await world.times(3)


async def two_tenants(world: World) -> None:
    keys = [bearer((await make(world.server))["key"]) for _ in range(2)]
    for _ in range(4):
        for key in keys:
            await world.ask(headers=key)


async def a_key_that_is_revoked(world: World) -> None:
    key = await make(world.server)
    await world.times(4, headers=bearer(key["key"]))
    await world.server.request("DELETE", f"/api/v1/keys/{key['id']}")
    await world.times(2, headers=bearer(key["key"]))


async def a_key_that_may_ask_less_now(world: World) -> None:
    key = await make(world.server)
    await world.times(4, headers=bearer(key["key"]))
    await send(world.server, "PATCH", f"/api/v1/keys/{key['id']}", models=["two/*"])
    await world.times(2, headers=bearer(key["key"]))


async def a_key_with_limits(world: World) -> None:
    limits = {"requests_per_minute": 6, "tokens_per_minute": 1000, "concurrent": 2}
    key = bearer((await make(world.server, limits=limits))["key"])
    for stream in (False, False, False, True, True, True, False, True):
        await world.ask(headers=key, stream=stream)


async def a_key_without_money(world: World) -> None:
    key = bearer((await make(world.server, budget={"limit_usd": "0.00003"}))["key"])
    await world.times(4, headers=key, max_tokens=1)
    await world.times(2, text="another", headers=key, max_tokens=1)


async def a_key_that_is_logged(world: World) -> None:
    key = bearer((await make(world.server, logs=True))["key"])
    await world.times(4, headers=key)


async def configured_anew(world: World) -> None:
    await world.times(3)
    path = world.folder / "modelport.toml"
    path.write_text(path.read_text("utf-8").replace("mode = 'all'", "mode = 'off'"), "utf-8")
    apply(world.server.services, load(path, environ={"HOME": str(world.folder), **LANE}, folder=world.folder))
    await world.server.services.drain()
    await world.times(2)


async def another_policy(world: World) -> None:
    await world.times(3)
    await send(world.server, "POST", "/api/v1/routes/r", policy="weighted")
    await world.times(3)


async def said_in_the_body(world: World) -> None:
    told = {"tags": {"team": "search"}, "idempotency_key": "once", "losses": "warn"}
    await world.times(4, modelport=told)
    await world.times(3, modelport={"cache": "no-store"})


async def too_much_is_lost(world: World) -> None:
    for losses in ("warn", "ignore", "reject"):
        await world.times(4, model="two/m", top_logprobs=2, logprobs=True, modelport={"losses": losses})


async def what_may_name_a_thing(world: World) -> None:
    key = bearer((await make(world.server))["key"])
    await world.times(4, text="file-0123456789", headers=key)


async def the_same_in_other_words(world: World) -> None:
    polite = "Please tell me: what's the capital of France?"
    for text in (CAPITAL, polite, CAPITAL, polite, CAPITAL, polite):
        await world.ask(text)


async def a_slow_one(world: World) -> None:
    key = bearer((await make(world.server, limits={"requests_per_minute": 100}))["key"])
    await world.times(3, headers=key)
    world.server.services.endings._slow_ms = 0.0
    await world.times(2, headers=key)


async def translated(world: World) -> None:
    for stream in (False, True, False, True, False, True):
        await world.ask(model="two/m", stream=stream)


async def in_another_dialect(world: World) -> None:
    told = {"path": "messages", "max_tokens": 50, "headers": {"anthropic-version": "2023-06-01"}}
    for model, stream in (("two/m", False), ("two/m", True), ("r", False), ("r", True)):
        await world.times(4, model=model, stream=stream, **told)


@pytest.mark.parametrize(
    ("situation", "config", "ridden"),
    [
        (again_and_again, ALL + R, 2),
        (as_a_stream, ALL + R, 2),
        (whole_and_as_a_stream, ALL + R, 5),
        (another_question, ALL + R, 2),
        (another_header, ALL + R, 2),
        (older_each_time, ALL + R, 4),
        (purged, ALL + R, 3),
        (purged_by_tag, FAQ, 2),
        (answered_anew, ALL + R, 3),
        (stored_by_another_worker, ALL + R, 3),
        (cleared_by_another_worker, ALL + R, 2),
        (two_tenants, ALL + R, 4),
        (a_key_that_is_revoked, ALL + R, 2),
        (a_key_that_may_ask_less_now, ALL + R, 2),
        (a_key_with_limits, ALL + R, 3),
        (a_key_without_money, ALL + R, 2),
        (a_key_that_is_logged, ALL + R, 0),
        (configured_anew, ALL + R, 2),
        (another_policy, ALL + R, 3),
        (said_in_the_body, ALL + R, 2),
        (too_much_is_lost, ALL, 5),
        (what_may_name_a_thing, ALL + R, 0),
        (the_same_in_other_words, route("r", "one/m", more="cache = { mode = 'all', semantic = {} }"), 1),
        (a_slow_one, ALL + R, 1),
        (translated, ALL, 3),
        (in_another_dialect, ALL + R, 10),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
async def test_a_hit_is_the_same_on_both_ways(tmp_path: Path, situation: Situation, config: str, ridden: int) -> None:
    """*ridden*: how many of them the lane gives, so that it is not for its absence that they are alike."""
    world = await alike(tmp_path, config, situation)

    assert world.ridden == ridden


# --- whatever happens ------------------------------------------------------------------------------


async def something(world: World, dice: Random) -> None:
    """One of the things that may happen beside a question, now and then."""
    services = world.server.services
    match dice.randrange(40):
        case 0:
            world.clock.at += dice.choice((1, 20, 61))
        case 1:
            await world.server.request("DELETE", "/api/v1/cache?tag=team%3Da")
        case 2:
            await services.cache.renew()
        case 3:
            services.renew_models()
        case 4:
            await world.ask(dice.choice(("one", "two")), {"x-modelport-cache": "no-cache"})
        case _:
            pass


@pytest.mark.parametrize("seed", range(3))
async def test_whatever_happens_it_is_the_same_on_both_ways(tmp_path: Path, seed: int) -> None:
    async def situation(world: World) -> None:
        dice = Random(seed)
        more: list[dict[str, Any]] = [{}, {"modelport": {"tags": {"team": "a"}}, "temperature": 0}]
        keys = [bearer((await make(world.server, cache=mode))["key"]) for mode in ("all", "deterministic")]
        for _ in range(60):
            await something(world, dice)
            await world.ask(
                dice.choice(("one", "two")),
                dice.choice(keys),
                stream=dice.random() < 0.3,
                model=dice.choice(("r", "two/m")),
                **dice.choice(more),
            )
            await world.server.services.db.write(lambda _: None)  # what was stored is stored on both ways

    world = await alike(tmp_path, STALE + R, situation)

    assert world.ridden > 5


# --- on the way ------------------------------------------------------------------------------------


def bare(text: str = CAPITAL, **more: Any) -> bytes:
    """A request as bytes."""
    return request(json.dumps({"model": "one/m", "messages": [{"role": "user", "content": text}], **more}).encode())


async def served(serve: Serve, upstream: Upstream) -> Served:
    """A server whose lane knows the hit that `bare` is."""
    upstream.script("m", says())
    server = await serve(QUICK, ALL, provider("one", upstream))
    async with line(server) as client:
        for _ in range(3):
            await client.ask(bare())
    assert server.services.shapes.ridden == 1
    return server


async def test_a_hit_comes_in_pieces_or_with_another_and_is_answered(serve: Serve, upstream: Upstream) -> None:
    server = await served(serve, upstream)
    data = bare()
    async with line(server) as client:
        pieces = await client.ask(data[:30], data[30:200], data[200:])
        client.writer.write(data * 300)
        answers = [await client.answer() for _ in range(300)]

    assert {(status, headers["x-modelport-cache"], body) for status, headers, body in [pieces, *answers]} == {
        (200, "hit", pieces[2])
    }
    assert len({headers["x-request-id"] for _, headers, _ in answers}) == 300
    assert len(upstream.requests) == 1


async def test_hits_that_wait_in_line_are_all_let_in_by_one_that_ends(serve: Serve, upstream: Upstream) -> None:
    """They do not keep the place that they are given, so each lets in the next."""
    upstream.script("m", says())
    upstream.script("slow", Answer(hang=True))
    server = await serve(QUICK, ALL, "[limits]\nin_flight = 1\nwaiting_s = 30\n", provider("one", upstream))
    services = server.services
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(line(server)) for _ in range(5)]
        for _ in range(3):
            await clients[0].ask(bare())
        ridden = services.shapes.ridden
        async with line(server) as slow:
            slow.writer.write(bare(model="one/slow"))
            await asyncio.to_thread(upstream.wait_asked, "slow")
            for client in clients:
                client.writer.write(bare())
            async with asyncio.timeout(20):
                while services.door.waiting < len(clients):
                    await asyncio.sleep(0.001)
        answers = [await client.answer() for client in clients]

    assert {(status, headers["x-modelport-cache"]) for status, headers, _ in answers} == {(200, "hit")}
    assert services.shapes.ridden == ridden + len(clients)
    await services.drain()
    assert services.in_flight == 0


async def test_a_hit_waits_for_the_books_where_the_slate_has_no_room(serve: Serve, upstream: Upstream) -> None:
    """Who leaves meanwhile takes nothing along; who stays gets it when it is booked."""
    server = await served(serve, upstream)
    services, go_on = server.services, threading.Event()
    services.ledger.slate = Slate(None, places=0)
    services.db.post(lambda _: go_on.wait(30))
    async with line(server) as stays, line(server) as leaves:
        for client in (stays, leaves):
            client.writer.write(bare())
        async with asyncio.timeout(20):
            while services.in_flight < 2:
                await asyncio.sleep(0.001)
        leaves.writer.close()
        await leaves.writer.wait_closed()
        go_on.set()
        status, headers, _ = await stays.answer()

    async with asyncio.timeout(20):
        while services.in_flight:
            await asyncio.sleep(0.001)
    assert (status, headers["x-modelport-cache"]) == (200, "hit")
    rows = await server.rows()
    assert [row["cache"] for row in rows] == ["miss", *["hit"] * 4]
    assert {row["status"] for row in rows} == {"ok"}


async def test_a_hit_that_cannot_be_booked_is_withheld(serve: Serve, upstream: Upstream) -> None:
    """At once where the slate has no room; what the slate has taken before is booked later."""
    server = await served(serve, upstream)
    services = server.services
    await services.db.write(lambda connection: connection.execute("ALTER TABLE exchanges RENAME TO hidden"))
    services.ledger.slate = Slate(None, places=0)
    async with line(server) as client:
        status, headers, body = await client.ask(bare())

    assert (status, json.loads(body)["error"]["code"]) == (503, "ledger_unavailable")
    assert headers["retry-after"] == "1"
    await services.db.write(lambda connection: connection.execute("ALTER TABLE hidden RENAME TO exchanges"))
    assert [row["cache"] for row in await server.rows()] == ["miss", "hit", "hit"]
    assert services.in_flight == 0


async def test_what_was_given_when_the_process_was_killed_is_in_the_books(tmp_path: Path, upstream: Upstream) -> None:
    upstream.script("m", says())
    with Modelport(tmp_path, QUICK + ALL + provider("one", upstream)) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        client = Line(reader, writer)
        ids = []
        for _ in range(30):
            _, headers, _ = await client.ask(bare())
            ids.append(headers["x-request-id"])
        server.kill()
        writer.close()
        server.start()
        rows = server.get("/api/v1/exchanges?limit=1000").json["data"]

    assert sorted(row["id"] for row in rows) == sorted(ids)
    assert [(row["cache"], row["status"]) for row in rows] == [*[("hit", "ok")] * 29, ("miss", "ok")]


# --- what is remembered ----------------------------------------------------------------------------


def ready(size: int) -> Ready:
    nothing: Any = None
    texts = dict.fromkeys(("place", "value", "kind", "told"), b"")
    form = GivenLines(given_form(OpenExchange("", "openai_chat"), SettledExchange("", "ok")))
    body = Body(b"", differs=False)
    return Ready(
        identity=nothing, setup=nothing, names=nothing, route="r", target="one/m", saved_nanousd=0,
        dialect="openai_chat", stream=False, body=body, lines=form, size=size, **texts,
    )  # fmt: skip


def test_what_was_not_wanted_for_the_longest_time_makes_room() -> None:
    hits = Hits(100)
    for name in (b"a", b"b", b"a", b"c", b"d", b"d"):
        hits.keep(b"head", name, ready(40))
    assert ([name for _, name in hits.ready], hits.size) == ([b"c", b"d"], 80)

    hits.keep(b"head", b"e", ready(101))

    assert (list(hits.ready), hits.size) == ([], 0)


@given(st.lists(st.sampled_from(["id", "time", "%", "%(id)b", "é", "0123456789abcdef01234567", "1987654321"])))
def test_a_body_is_filled_in_as_it_would_be_written(parts: list[str]) -> None:
    def write(answer_id: str, at: int) -> bytes:
        return "".join({"id": answer_id, "time": str(at)}.get(part, part) for part in parts).encode()

    body = body_of(write)

    if body is not None:
        name = "fedcba98765432100123abcd"
        before, found, after = int(time.time()), body.of(name), int(time.time())
        assert found in {write(name, at) for at in range(before, after + 1)}
        assert body.size == len(found)
    else:
        assert {"0123456789abcdef01234567", "1987654321"} & set(parts)
