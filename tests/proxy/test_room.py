"""How much of long bodies and answers there may be in memory, who waits for room, and who finds none."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import nullcontext

import pytest

from proxy.room import FREE_BYTES, LAG_BYTES, Gathering, NoRoom, Room, Share
from tests.proxy.conftest import Serve
from tests.proxy.serving import QUICK, Reply, Served, completion, provider, question, route, says
from tests.proxy.test_limits import JUST
from tests.proxy.test_watchdog import WAYS, connected, status_of, until
from tests.replay import Answer, Upstream

SIZE = FREE_BYTES + 1000
SHORT = "waiting_s = 0.05"
LONG = "waiting_s = 60"


def asks(model: str, size: int = SIZE) -> bytes:
    """A question of so many bytes."""
    body = json.dumps(question(model=model)).encode()
    return body + b" " * (size - len(body))


def long_answer(size: int = SIZE, **how: object) -> Answer:
    body = json.dumps(completion()).encode()
    return Answer.json(body + b" " * (size - len(body)), **how)


HELD = Answer.json(completion(), hold_at=0)
HALF = long_answer(hold_at=100_000)


def limits(*lines: str) -> str:
    return "\n".join(["[limits]", *lines])


def room_for(size: float) -> str:
    return f"bodies_mb = {size / 2**20!r}"


async def send(server: Served, body: bytes, *, chunked: bool = False) -> Reply:
    """Ask by *body*, with its length or in chunks."""

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(body), 65_536):
            yield body[start : start + 65_536]

    url = f"{server.url}/v1/chat/completions"
    async with server.session.post(url, data=pieces() if chunked else body) as answer:
        named = {name.lower(): value for name, value in answer.headers.items()}
        return Reply(answer.status, named, await answer.read())


# --- bodies ------------------------------------------------------------------------------------------


@JUST
@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunks"])
async def test_bodies_have_a_bound_together(serve: Serve, upstream: Upstream, beyond: int, chunked: bool) -> None:
    upstream.script("held", HELD)
    upstream.script("m", says())
    server = await serve(provider("one", upstream), limits(room_for(2 * SIZE - beyond), SHORT))
    first = asyncio.ensure_future(send(server, asks("one/held")))
    await until(lambda: len(upstream.asked("held")) == 1)

    second = await send(server, asks("one/m"), chunked=chunked)
    health = (await server.get("/health")).json["room"]["bodies"]
    upstream.asked("held")[0].release()

    assert (await first).status == 200
    assert (second.status, len(upstream.asked("m"))) == ((200, 1) if beyond < 1 else (503, 0))
    if beyond == 1:
        assert (second.error["code"], second.headers["retry-after"]) == ("too_busy", "1")
        assert "[limits] bodies_mb" in second.error["message"]
    assert health == {"held_mb": round(SIZE / 2**20, 3), "waiting": 0, "refused": int(beyond == 1)}
    assert server.services.bodies.held_bytes == 0


@JUST
async def test_a_form_that_is_looked_through_for_its_model_needs_room(
    serve: Serve, upstream: Upstream, beyond: int
) -> None:
    """A file that comes before the model is kept until that is found."""
    upstream.script("held", HELD)
    upstream.script("/v1/audio/transcriptions", Answer.json({"text": "fine"}))
    server = await serve(provider("one", upstream), limits(room_for(2 * SIZE - beyond), SHORT))
    first = asyncio.ensure_future(send(server, asks("one/held")))
    await until(lambda: len(upstream.asked("held")) == 1)
    part = b'--b\r\nContent-Disposition: form-data; name="%b"\r\n\r\n%b\r\n'
    end = part % (b"model", b"one/m") + b"--b--\r\n"
    file = part % (b"file", b"x" * (SIZE - len(end) - len(part % (b"file", b""))))

    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    second = await server.request("POST", "/v1/audio/transcriptions", file + end, headers)
    upstream.asked("held")[0].release()

    assert (second.status == 503) == (beyond == 1), second.body
    assert (await first).status == 200
    await until(lambda: server.services.bodies.held_bytes == 0)


@JUST
async def test_short_bodies_need_no_room(serve: Serve, upstream: Upstream, beyond: int) -> None:
    upstream.script("held", HELD)
    upstream.script("m", says())
    server = await serve(provider("one", upstream), limits(room_for(1), SHORT))
    first = asyncio.ensure_future(send(server, asks("one/held")))
    await until(lambda: len(upstream.asked("held")) == 1)

    second = await send(server, asks("one/m", FREE_BYTES + beyond))
    upstream.asked("held")[0].release()

    assert second.status == (200 if beyond < 1 else 503)
    assert (await first).status == 200


async def test_who_waits_for_room_gets_it_when_there_is_some(serve: Serve, upstream: Upstream) -> None:
    upstream.script("held", HELD)
    upstream.script("m", says())
    server = await serve(provider("one", upstream), limits(room_for(SIZE), LONG))
    first = asyncio.ensure_future(send(server, asks("one/held")))
    await until(lambda: len(upstream.asked("held")) == 1)
    second = asyncio.ensure_future(send(server, asks("one/m")))
    await until(lambda: server.services.bodies.waiting == 1)

    metrics = (await server.get("/metrics")).body.decode()
    upstream.asked("held")[0].release()

    assert [(await each).status for each in (first, second)] == [200, 200]
    assert f'modelport_room_bytes{{kind="bodies"}} {float(SIZE)}' in metrics
    assert 'modelport_room_waiting{kind="bodies"} 1.0' in metrics
    assert (server.services.bodies.held_bytes, server.services.bodies.refused) == (0, 0)


async def test_one_body_always_fits(serve: Serve, upstream: Upstream) -> None:
    upstream.script("m", says())
    server = await serve(provider("one", upstream), limits(room_for(1), SHORT))

    replies = [await send(server, asks("one/m", 3 * SIZE), chunked=chunked) for chunked in (False, True)]

    assert [reply.status for reply in replies] == [200, 200]
    assert server.services.bodies.held_bytes == 0


async def test_who_leaves_while_waiting_for_room_makes_way(serve: Serve, upstream: Upstream) -> None:
    upstream.script("held", HELD)
    server = await serve(provider("one", upstream), limits(room_for(SIZE), LONG))
    first = asyncio.ensure_future(send(server, asks("one/held")))
    await until(lambda: len(upstream.asked("held")) == 1)
    head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n"
    async with connected(server) as client:
        client.writer.write(head % SIZE)
        await until(lambda: server.services.bodies.waiting == 1)

    await until(lambda: server.services.bodies.waiting == 0)
    upstream.asked("held")[0].release()

    assert (await first).status == 200
    await until(lambda: server.services.in_flight == 0)
    assert server.services.bodies.held_bytes == 0


async def test_a_body_that_finds_no_room_is_not_taken_for_the_next_request(serve: Serve, upstream: Upstream) -> None:
    upstream.script("held", HELD)
    server = await serve(provider("one", upstream), limits(room_for(SIZE), SHORT))
    first = asyncio.ensure_future(send(server, asks("one/held")))
    await until(lambda: len(upstream.asked("held")) == 1)
    head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % SIZE

    told = await server.raw(head, expect_close=False)
    upstream.asked("held")[0].release()

    assert status_of(told) == 503
    assert b"connection: close" in told.lower()
    assert (await first).status == 200


# --- answers -----------------------------------------------------------------------------------------


@WAYS
@JUST
@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunks"])
async def test_answers_have_a_bound_together(
    serve: Serve, upstream: Upstream, way: str, beyond: int, chunked: bool
) -> None:
    """Who finds no room is told so. That is no fault of the provider, which is not thought worse of."""
    upstream.script("held", says(), says(), HALF)
    upstream.script("m", says(), says(), long_answer(chunked=chunked))
    mb = (2 * SIZE - beyond) / 2**20
    server = await serve(QUICK, provider("one", upstream), way, limits(f"answers_mb = {mb!r}"))
    for model in ("one/held", "one/m") * 2:
        assert (await server.ask(model=model)).status == 200
    server.services.answers.wait_s = 0.05
    first = asyncio.ensure_future(server.ask(model="one/held"))
    await until(lambda: server.services.answers.held_bytes == SIZE)

    second = await server.ask(model="one/m")
    health = (await server.get("/health")).json
    upstream.asked("held")[2].release()

    assert (await first).status == 200
    assert second.status == (200 if beyond < 1 else 503)
    row = await server.row(second.id)
    if beyond == 1:
        assert (second.error["code"], second.headers["retry-after"]) == ("too_busy", "1")
        assert "[limits] answers_mb" in second.error["message"]
        assert (row["status"], row["attempts"][0]["status"]) == ("failed", "aborted")
    seen = next(each for each in health["providers"] if each["name"] == "one")
    assert (seen["errors"], seen["breaker"], health["room"]["answers"]["refused"]) == (0, "closed", int(beyond == 1))
    await until(lambda: server.services.answers.held_bytes == 0)


@WAYS
async def test_an_answer_that_is_not_taken_holds_its_room(serve: Serve, upstream: Upstream, way: str) -> None:
    upstream.script("m", says(), says(), long_answer(16 * 2**20))
    server = await serve(provider("one", upstream), way)
    for _ in range(2):
        await server.ask(model="one/m")
    body = json.dumps(question(model="one/m")).encode()
    head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n"

    async with connected(server) as client:
        client.writer.write(head % len(body) + body)
        assert await client.reader.readexactly(15) == b"HTTP/1.1 200 OK"
        held = server.services.answers.held_bytes

    await until(lambda: server.services.answers.held_bytes == 0)
    assert held == 16 * 2**20


async def test_another_target_is_asked_for_an_answer_that_found_no_room(serve: Serve, upstream: Upstream) -> None:
    upstream.script("held", HALF)
    upstream.script("large", long_answer())
    upstream.script("small", says("small"))
    server = await serve(
        QUICK,
        provider("one", upstream),
        route("r", "one/large", "one/small"),
        limits(f"answers_mb = {SIZE / 2**20!r}"),
    )
    server.services.answers.wait_s = 0.05
    first = asyncio.ensure_future(server.ask(model="one/held"))
    await until(lambda: server.services.answers.held_bytes == SIZE)

    second = await server.ask(model="r")
    upstream.asked("held")[0].release()

    assert (second.status, second.text) == (200, "small")
    assert [attempt["status"] for attempt in (await server.row(second.id))["attempts"]] == ["aborted", "ok"]
    assert (await first).status == 200


# --- who comes first ---------------------------------------------------------------------------------


async def test_who_holds_something_for_longest_goes_on_beyond_the_bound() -> None:
    """Two that hold a part each and wait for the rest would wait for each other."""
    room = Room("bodies")
    room.allow(3 * FREE_BYTES / 2**20, 60)
    first, second, third = (Share(room) for _ in range(3))
    await first.hold(FREE_BYTES + 1)
    await second.hold(FREE_BYTES + 1)
    waits = [asyncio.ensure_future(share.hold(size)) for share, size in ((third, SIZE), (second, 4 * FREE_BYTES))]
    await asyncio.sleep(0)

    await first.hold(4 * FREE_BYTES)
    waiting = room.waiting
    first.release()
    await waits[1]
    still_waiting = room.waiting
    second.release()
    await waits[0]

    assert (waiting, still_waiting, room.held_bytes) == (2, 1, SIZE)


@pytest.mark.parametrize(
    ("after_s", "came", "gets_in"),
    [(0.4, 0, False), (0.6, 0, True), (10.0, 2**21 - LAG_BYTES - 1, True), (10.0, 2**21 - LAG_BYTES, False)],
    ids=["at first", "nothing", "slow", "in time"],
)
async def test_who_is_slow_keeps_what_has_come_alone(after_s: float, came: int, gets_in: bool) -> None:
    """Of a body that takes its time, a third has come after ten seconds, or nothing of the rest is kept for it."""
    at = [0.0]
    room = Room("bodies", lambda: at[0])
    room.allow(6, 0.01)
    first, second = Share(room), Share(room)
    gathering = Gathering(first, 6 * 2**20)
    await gathering.room(6 * 2**20)
    gathering.add(b"x" * came)
    at[0] = after_s

    with nullcontext() if gets_in else pytest.raises(NoRoom):
        await second.hold(2**20)

    assert room.held_bytes == (max(1, came) + 2**20 if gets_in else 6 * 2**20)
    assert gathering.add(b"x" * (FREE_BYTES + 1)) == gets_in  # the rest has to find room again


async def test_what_ends_while_it_waits_holds_nothing() -> None:
    room = Room("answers")
    room.allow(1)
    first, second = Share(room), Share(room)
    await first.hold(2**20)
    waits = asyncio.ensure_future(second.hold(2**20))
    await asyncio.sleep(0)

    second.release()
    await waits
    first.release()

    assert (room.held_bytes, room.waiting, room.refused) == (0, 0, 0)


async def test_who_finds_no_room_in_time_leaves_the_line() -> None:
    room = Room("answers")
    room.allow(1, 0.01)
    first, second = Share(room), Share(room)
    await first.hold(2**20)

    with pytest.raises(NoRoom, match=r"fill 1 MiB \(\[limits\] answers_mb\)"):
        await second.hold(2**20)

    assert (room.held_bytes, room.waiting, room.refused) == (2**20, 0, 1)


async def test_more_room_lets_in_who_waits() -> None:
    room = Room("bodies")
    room.allow(1, 60)
    first, second = Share(room), Share(room)
    await first.hold(2**20)
    waits = asyncio.ensure_future(second.hold(2**20))
    await asyncio.sleep(0)

    room.allow(2, 60)
    await waits

    assert room.held_bytes == 2 * 2**20


async def test_a_body_of_unknown_length_keeps_no_more_than_it_has() -> None:
    room, pieces = Room("bodies"), [b"x" * 100_000] * 7
    gathering = Gathering(Share(room), 1_000_000)

    for piece in pieces:
        if gathering.add(piece):
            await gathering.room()
    body = await gathering.whole()

    assert (len(body), room.held_bytes) == (700_000, 700_000)
