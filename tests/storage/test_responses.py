"""Responses are kept for their tenant, whole, in order and in bounded room."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from storage.db import Database
from storage.errors import Corrupt, TooLarge, UnknownResponse
from storage.migrations import MIGRATIONS
from storage.packed import COMPRESS_BYTES, pack, unpack
from storage.responses import TTL_S, Responses, ResponseStatus, StoredResponse
from translators.codec import dumps, loads

CREATED = 1_795_226_400
DAY_S = 24 * 3600


def _response(name: str, previous: str | None = None, **fields) -> StoredResponse:
    return replace(
        StoredResponse(
            tenant="t1",
            id=name,
            created=CREATED,
            status="completed",
            model="openai/gpt",
            input=b'[{"role":"user","content":"hi"}]',
            output=b'[{"type":"message"}]',
            body=b'{"id":"' + name.encode() + b'","status":"completed"}',
            provider="openai",
            previous_id=previous,
        ),
        **fields,
    )


@pytest.fixture
def responses(db: Database, clock) -> Responses:
    return Responses(db, now=clock)


async def test_a_response_comes_back_as_it_was_saved(responses: Responses) -> None:
    stored = _response("resp_1", "resp_0", vendor_stored=True, provider=None, expires=CREATED + 10)
    await responses.save(stored)

    assert await responses.get("t1", "resp_1") == stored


async def test_a_response_survives_a_restart(tmp_path: Path, clock) -> None:
    path = tmp_path / "r.db"
    async with Database(path, now=clock) as db:
        await Responses(db, now=clock).save(_response("resp_1"))

    async with Database(path, now=clock) as db:
        found = await Responses(db, now=clock).get("t1", "resp_1")
    assert found == _response("resp_1", expires=CREATED + 30 * DAY_S)


async def test_a_database_of_an_earlier_version_takes_responses(tmp_path: Path, clock) -> None:
    path = tmp_path / "old.db"
    async with Database(path, steps=MIGRATIONS[:2]):
        pass

    async with Database(path) as db:
        responses = Responses(db, now=clock)
        await responses.save(_response("resp_1"))
        assert await responses.get("t1", "resp_1") is not None


async def test_tenants_share_nothing(responses: Responses) -> None:
    """Not even ids: another tenant's is free to use, and cannot be read, continued, cancelled or deleted."""
    await responses.save(_response("resp_1", status="queued"))
    await responses.save(_response("resp_2", "resp_1", tenant="t2"))

    assert await responses.get("t2", "resp_1") is None
    assert not await responses.set_status("t2", "resp_1", "cancelled")
    assert not await responses.delete("t2", "resp_1")
    with pytest.raises(UnknownResponse) as missing:
        await responses.chain("t2", "resp_2")
    assert missing.value.response_id == "resp_1"
    assert await responses.save(_response("resp_1", tenant="t2", model="other"))
    mine, theirs = await responses.get("t1", "resp_1"), await responses.get("t2", "resp_1")
    assert (mine.model, mine.status, theirs.model) == ("openai/gpt", "queued", "other")


async def test_a_deleted_response_is_gone_and_deleting_it_again_says_so(responses: Responses) -> None:
    await responses.save(_response("resp_1"))

    assert [await responses.delete("t1", "resp_1") for _ in range(2)] == [True, False]
    assert await responses.get("t1", "resp_1") is None


# --- time --------------------------------------------------------------------------------------------


async def test_a_response_is_kept_for_thirty_days(responses: Responses, clock) -> None:
    await responses.save(_response("resp_1", created=int(clock())))
    clock.advance(TTL_S - 1)
    before = await responses.get("t1", "resp_1")
    clock.advance(1)

    assert before is not None
    assert await responses.get("t1", "resp_1") is None
    assert not await responses.delete("t1", "resp_1"), "what is too old is gone, even before it is pruned"
    with pytest.raises(UnknownResponse):
        await responses.chain("t1", "resp_1")


async def test_pruning_removes_all_that_is_too_old_and_nothing_else(responses: Responses, clock) -> None:
    for n in range(150):
        await responses.save(_response(f"resp_{n}", expires=CREATED + 1 + n))
    removed = await responses.prune(CREATED + 140)

    assert (removed, (await responses.stats())["entries"]) == (140, 10)
    assert await responses.prune(CREATED + 140) == 0


# --- status ------------------------------------------------------------------------------------------

ENDS: tuple[ResponseStatus, ...] = ("completed", "incomplete", "failed", "cancelled")


async def test_a_response_in_the_background_is_saved_again_as_it_goes_on(responses: Responses) -> None:
    await responses.save(_response("resp_1", status="queued", output=b"[]"))
    moved = await responses.set_status("t1", "resp_1", "in_progress")
    working = await responses.get("t1", "resp_1")
    await responses.save(_response("resp_1"))
    ended = await responses.get("t1", "resp_1")

    assert moved
    assert (working.status, loads(working.body)) == ("in_progress", {"id": "resp_1", "status": "in_progress"})
    assert (ended.status, ended.output) == ("completed", b'[{"type":"message"}]')
    assert (await responses.stats())["entries"] == 1


@pytest.mark.parametrize("end", ENDS)
async def test_the_first_end_counts(responses: Responses, end: ResponseStatus) -> None:
    await responses.save(_response("resp_1", status="in_progress"))
    await responses.set_status("t1", "resp_1", end, b'{"the":"end"}')
    others = [await responses.set_status("t1", "resp_1", other) for other in ENDS]
    saved = await responses.save(_response("resp_1", model="late"))
    found = await responses.get("t1", "resp_1")

    assert (others, saved) == ([False] * 4, False)
    assert (found.status, found.body, found.model) == (end, b'{"the":"end"}', "openai/gpt")


async def test_a_status_for_a_response_that_is_not_there_changes_nothing(responses: Responses) -> None:
    assert not await responses.set_status("t1", "resp_1", "cancelled")


async def test_what_a_dead_process_left_unended_has_failed(responses: Responses) -> None:
    for status in ("queued", "in_progress", "completed"):
        await responses.save(_response(status, status=status))
    recovered = await responses.recover()
    found = [await responses.get("t1", status) for status in ("queued", "in_progress", "completed")]

    assert recovered == 2
    assert [each.status for each in found] == ["failed", "failed", "completed"]
    body = loads(found[0].body)
    assert (body["status"], body["error"]["code"]) == ("failed", "server_error")


# --- chains ------------------------------------------------------------------------------------------


async def test_a_chain_is_the_conversation_oldest_first(responses: Responses) -> None:
    for n in range(5):
        await responses.save(_response(f"resp_{n}", f"resp_{n - 1}" if n else None, input=b"[%d]" % n))
    chain = await responses.chain("t1", "resp_3")

    assert [(link.id, link.input, link.body) for link in chain] == [
        (f"resp_{n}", b"[%d]" % n, b"") for n in range(4)
    ]  # fmt: skip


async def test_two_conversations_may_share_their_beginning(responses: Responses) -> None:
    for name, previous in (("root", None), ("left", "root"), ("right", "root")):
        await responses.save(_response(name, previous))

    chains = [[link.id for link in await responses.chain("t1", end)] for end in ("left", "right")]
    assert chains == [["root", "left"], ["root", "right"]]


async def test_a_missing_ancestor_is_named_with_the_response_that_continues_it(responses: Responses, clock) -> None:
    for n in range(4):
        expires = CREATED + 5 if n == 1 else None
        await responses.save(_response(f"resp_{n}", f"resp_{n - 1}" if n else None, expires=expires))
    clock.advance(5)

    with pytest.raises(UnknownResponse, match="response resp_1, which resp_2 continues, is not stored") as missing:
        await responses.chain("t1", "resp_3")
    assert missing.value.response_id == "resp_1"
    with pytest.raises(UnknownResponse, match="response resp_9 is not stored"):
        await responses.chain("t1", "resp_9")


async def test_a_deleted_response_stays_behind_for_those_that_continue_it(responses: Responses) -> None:
    """Nobody can ask for it or continue it any more; its body is gone."""
    for name, previous in (("root", None), ("middle", "root"), ("left", "middle"), ("right", "middle")):
        await responses.save(_response(name, previous, body=b"b" * 500))
    full = (await responses.stats())["size_bytes"]

    deleted = [await responses.delete("t1", name) for name in ("middle", "root", "middle")]

    assert deleted == [True, True, False]
    assert [link.id for link in await responses.chain("t1", "left")] == ["root", "middle", "left"]
    assert {link.tenant for link in await responses.chain("t1", "left")} == {"t1"}
    for name in ("root", "middle"):
        assert await responses.get("t1", name) is None
        with pytest.raises(UnknownResponse):
            await responses.chain("t1", name)
    assert (await responses.stats())["size_bytes"] < full - 900


async def test_a_hidden_response_goes_with_the_last_that_continues_it(responses: Responses) -> None:
    for name, previous in (("root", None), ("middle", "root"), ("left", "middle"), ("right", "middle")):
        await responses.save(_response(name, previous))

    counts = []
    for name in ("root", "middle", "left", "right"):
        await responses.delete("t1", name)
        counts.append((await responses.stats())["entries"])

    assert counts == [4, 4, 3, 0]


async def test_an_id_may_be_deleted_stored_again_and_deleted_again(responses: Responses) -> None:
    for _ in range(2):
        await responses.save(_response("root"))
        await responses.save(_response("next", "root"))
        assert await responses.delete("t1", "root")

    assert [link.id for link in await responses.chain("t1", "next")] == ["root", "next"]


async def test_a_chain_is_bounded_in_links_and_bytes(responses: Responses) -> None:
    for n in range(10):
        await responses.save(_response(f"resp_{n}", f"resp_{n - 1}" if n else None, input=b"x" * 99, output=b"y"))

    assert len(await responses.chain("t1", "resp_9", limit=10, max_bytes=1000)) == 10
    with pytest.raises(TooLarge, match="at most 9"):
        await responses.chain("t1", "resp_9", limit=9)
    with pytest.raises(TooLarge, match="999 bytes"):
        await responses.chain("t1", "resp_9", max_bytes=999)


async def test_a_chain_that_bites_its_tail_ends(responses: Responses) -> None:
    await responses.save(_response("a", "b"))
    await responses.save(_response("b", "a"))

    with pytest.raises(TooLarge):
        await responses.chain("t1", "a")


async def test_the_newest_response_that_made_an_item_is_found_by_its_id(responses: Responses) -> None:
    for name, tenant, item in (("a", "t1", "msg_1"), ("b", "t1", "msg_1"), ("c", "t1", 'm"2'), ("d", "t2", "msg_3")):
        output = dumps([{"type": "message", "id": item, "text": "msg_4"}])
        await responses.save(_response(name, tenant=tenant, output=output))

    found = await responses.makers("t1", {"msg_1", 'm"2', "msg_3", "msg_4", "msg"})

    assert {item: link.id for item, link in found.items()} == {"msg_1": "b", 'm"2': "c"}


# --- room --------------------------------------------------------------------------------------------


async def test_long_bodies_are_compressed(responses: Responses) -> None:
    long = b'{"text":"' + b"the same words again and again " * 100_000 + b'"}'
    await responses.save(_response("resp_1", input=long, output=long, body=long))
    found = await responses.get("t1", "resp_1")

    assert (found.input, found.output, found.body) == (long, long, long)
    assert (await responses.stats())["size_bytes"] < len(long) // 50


async def test_one_response_too_large_is_refused_and_nothing_else_is_lost(db: Database, clock) -> None:
    responses = Responses(db, max_row_bytes=1000, now=clock)
    await responses.save(_response("small"))

    with pytest.raises(TooLarge, match="at most 1000"):
        await responses.save(_response("large", input=b"x" * 1001))
    assert await responses.get("t1", "small") is not None
    with pytest.raises(TooLarge, match="all together"):
        await Responses(db, max_bytes=100, now=clock).save(_response("small"))


async def test_the_oldest_make_room_but_not_those_at_work(db: Database, clock) -> None:
    rng = Random(1)
    responses = Responses(db, max_bytes=50_000, now=clock)
    await responses.save(_response("working", created=CREATED - 100, status="in_progress"))
    for n in range(40):
        await responses.save(_response(f"resp_{n}", created=CREATED + n, input=rng.randbytes(4000)))
    there = [n for n in range(40) if await responses.get("t1", f"resp_{n}")]
    stats = await responses.stats()

    assert there == list(range(40 - len(there), 40)), "the newest are there"
    assert len(there) >= 10
    assert stats["size_bytes"] <= 50_000
    assert await responses.get("t1", "working") is not None


async def test_totals_always_match_the_rows(db: Database, clock) -> None:
    rng = Random(2)
    responses = Responses(db, max_bytes=20_000, ttl_s=50, now=clock)
    for _ in range(200):
        clock.advance(rng.random())
        name = f"resp_{rng.randrange(12)}"
        match rng.randrange(5):
            case 0:
                await responses.delete("t1", name)
            case 1:
                await responses.set_status("t1", name, rng.choice(("in_progress", "failed")))
            case 2:
                await responses.prune(clock())
            case _:
                status = rng.choice(("queued", "in_progress", "completed"))
                body = rng.randbytes(rng.randrange(3000))
                await responses.save(_response(name, created=int(clock()), status=status, input=body))
    count = "SELECT count(*) AS entries, ifnull(sum(size), 0) AS size_bytes FROM responses"
    found = await db.read(lambda c: dict(c.execute(count).fetchone()))
    sizes = "SELECT ifnull(sum(256 + length(input) + length(output) + length(body)), 0) FROM responses"

    assert await responses.stats() == found
    assert (await db.read(lambda c: c.execute(sizes).fetchone()[0])) == found["size_bytes"]
    assert found["size_bytes"] <= 20_000


# --- packing -----------------------------------------------------------------------------------------


@given(st.binary(max_size=200), st.integers(0, 3 * COMPRESS_BYTES))
def test_any_bytes_survive_packing(seed: bytes, length: int) -> None:
    value = (seed * (length // max(1, len(seed)) + 1))[:length]

    assert unpack(pack(value)) == value


@pytest.mark.parametrize("blob", [b"", b"\x02x", b"\x01not zlib", b"{}"])
def test_a_damaged_blob_is_said_to_be_one(blob: bytes) -> None:
    with pytest.raises(Corrupt):
        unpack(blob)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    texts=st.tuples(st.text(min_size=1, max_size=20), st.text(min_size=1, max_size=40)),
    bodies=st.tuples(st.binary(max_size=6000), st.binary(max_size=50), st.binary(max_size=50)),
    flags=st.tuples(st.booleans(), st.none() | st.text(max_size=9), st.none() | st.text(max_size=9)),
    at=st.integers(0, 2**33),
)
def test_whatever_is_saved_comes_back(texts, bodies, flags, at: int) -> None:
    stored = StoredResponse(
        *texts, at, "incomplete", "m", *bodies, provider=flags[1], vendor_stored=flags[0], previous_id=flags[2]
    )

    async def back() -> StoredResponse | None:
        async with Database(None) as db:
            responses = Responses(db, now=lambda: at)
            await responses.save(stored)
            return await responses.get(stored.tenant, stored.id)

    assert asyncio.run(back()) == replace(stored, expires=at + int(TTL_S))
