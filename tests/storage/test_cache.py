"""The same request gets the same answer: within its tenant, until it is too old, in bounded room."""

from __future__ import annotations

import asyncio
from random import Random

import pytest

from storage.cache import ROW_BYTES, Cache, Purge, Share, cache_key
from storage.db import Database

REQUEST = {"model": "gpt", "temperature": 0, "messages": [{"role": "user", "content": "hi"}]}
KEY = cache_key("t1", "openai/gpt", REQUEST)


def _key(name: str) -> bytes:
    return cache_key("t1", "r", {"messages": name})


async def _cache(db: Database, clock, *, max_bytes: int = 10**6, memory_bytes: int = 0, ttl_s: float = 60) -> Cache:
    """Without *memory_bytes* every answer comes from the table."""
    cache = Cache(db, max_bytes=max_bytes, ttl_s=ttl_s, memory_bytes=memory_bytes, now=clock)
    await cache.open()
    return cache


async def _written(db: Database) -> None:
    """Posts come before this in the line."""
    await db.write(lambda _: None)


# --- keys --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "same",
    [
        {"messages": [{"content": "hi", "role": "user"}], "temperature": 0, "model": "gpt"},
        REQUEST | {"stream": True},
        REQUEST | {"stream_options": {"include_usage": True}},
        REQUEST | {"modelport": {"tags": "a=b"}},
        REQUEST | {"prompt_cache_key": "p"},
    ],
)
def test_what_does_not_change_the_answer_does_not_change_the_key(same: dict) -> None:
    assert cache_key("t1", "openai/gpt", same) == KEY


@pytest.mark.parametrize(
    ("tenant", "target", "request_body"),
    [
        ("t2", "openai/gpt", REQUEST),
        ("t1", "openai/gpt2", REQUEST),
        ("t1o", "penai/gpt", REQUEST),
        ("", "t1openai/gpt", REQUEST),
        ("t1", "openai/gpt", REQUEST | {"temperature": 0.5}),
        ("t1", "openai/gpt", REQUEST | {"seed": 1}),
        ("t1", "openai/gpt", REQUEST | {"n": 2}),
        ("t1", "openai/gpt", REQUEST | {"tools": []}),
        ("t1", "openai/gpt", REQUEST | {"user": "someone"}),
        ("t1", "openai/gpt", REQUEST | {"unheard_of": None}),
        ("t1", "openai/gpt", REQUEST | {"messages": [{"role": "user", "content": "hi "}]}),
        ("t1", "openai/gpt", REQUEST | {"messages": [{"role": "user", "content": "hi", "stream": True}]}),
        ("t1", "openai/gpt", REQUEST | {"messages": [{"role": "user", "content": ["hi"]}]}),
    ],
)
def test_what_may_change_the_answer_changes_the_key(tenant: str, target: str, request_body: dict) -> None:
    assert cache_key(tenant, target, request_body) != KEY


def test_keys_of_different_requests_do_not_collide() -> None:
    rng = Random(3)
    alphabet = ["", "a", "b", '"', ",", ":", "{}", "ab", "\x00", "1"]

    def value(depth: int) -> object:
        match rng.randrange(5 if depth else 3):
            case 0:
                return rng.choice(alphabet)
            case 1:
                return rng.choice([0, 1, -1, 1.5, True, False, None])
            case 2:
                return "".join(rng.choice(alphabet) for _ in range(2))
            case 3:
                return [value(depth - 1) for _ in range(rng.randrange(3))]
            case _:
                return {rng.choice(alphabet): value(depth - 1) for _ in range(rng.randrange(3))}

    seen: dict[bytes, str] = {}
    for _ in range(20_000):
        tenant, target, body = rng.choice(alphabet), rng.choice(alphabet), {"m": value(3), "x": value(1)}
        what = repr((tenant, target, _sorted(body)))
        assert seen.setdefault(cache_key(tenant, target, body), what) == what
    assert len(set(seen.values())) == len(seen)


def _sorted(value: object) -> object:
    match value:
        case dict():
            return {"dict": sorted((key, repr(_sorted(each))) for key, each in value.items())}
        case list():
            return [_sorted(each) for each in value]
        case _:
            return value


# --- the store ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("memory_bytes", [0, 10**6])
async def test_an_answer_comes_back_until_it_is_too_old(db: Database, clock, memory_bytes: int) -> None:
    cache = await _cache(db, clock, memory_bytes=memory_bytes, ttl_s=60)
    before = await cache.get(KEY)
    cache.put(KEY, b"answer", tenant="t1")
    await _written(db)
    clock.advance(59.9)
    fresh = await cache.get(KEY)
    clock.advance(0.1)

    assert (before, fresh, await cache.get(KEY)) == (None, b"answer", None)


async def test_an_answer_is_there_at_once_and_after_a_restart(db: Database, clock) -> None:
    cache = await _cache(db, clock, memory_bytes=10**6)
    cache.put(KEY, b"answer", tenant="t1")
    at_once = await cache.get(KEY)
    await _written(db)
    restarted = await _cache(db, clock)

    assert (at_once, await restarted.get(KEY)) == (b"answer", b"answer")


async def test_the_newest_answer_replaces_the_older(db: Database, clock) -> None:
    cache = await _cache(db, clock)
    cache.put(KEY, b"old answer", tenant="t1")
    cache.put(KEY, b"new", tenant="t1")
    await _written(db)

    assert await cache.get(KEY) == b"new"
    assert (cache.stats()["entries"], cache.stats()["size_bytes"]) == (1, 3 + ROW_BYTES)


async def test_the_least_recently_used_makes_room(db: Database, clock) -> None:
    room = 10 * (1000 + ROW_BYTES)
    cache = await _cache(db, clock, max_bytes=room)
    for n in range(10):
        clock.advance(1)
        cache.put(_key(str(n)), b"x" * 1000, tenant="t1")
    await _written(db)
    clock.advance(1)
    await cache.get(_key("0"))
    for n in range(10, 13):
        clock.advance(1)
        cache.put(_key(str(n)), b"x" * 1000, tenant="t1")
    await _written(db)
    kept = [n for n in range(13) if await cache.get(_key(str(n)))]

    assert kept == [0, *range(4, 13)]
    assert (cache.stats()["entries"], cache.stats()["size_bytes"]) == (10, room)


async def test_expired_answers_go_before_useful_ones(db: Database, clock) -> None:
    cache = await _cache(db, clock, max_bytes=10 * (1000 + ROW_BYTES), ttl_s=100)
    for n in range(10):
        cache.put(_key(str(n)), b"x" * 1000, tenant="t1")
        clock.advance(10)
    clock.advance(15)
    cache.put(_key("new"), b"x" * 1000, tenant="t1")
    await _written(db)

    assert cache.stats()["entries"] == 9, "two were too old, the others had room"


async def test_totals_always_match_the_rows(db: Database, clock) -> None:
    rng = Random(5)
    cache = await _cache(db, clock, max_bytes=20_000, ttl_s=50, memory_bytes=5_000)
    for _ in range(400):
        clock.advance(rng.random())
        if rng.random() < 0.01:
            await cache.clear(rng.choice([None, "a", "b"]))
        elif rng.random() < 0.5:
            await cache.get(_key(str(rng.randrange(50))))
        else:
            size = rng.randrange(3000)
            cache.put(_key(str(rng.randrange(50))), b"x" * size, tenant=rng.choice("ab"))
    await _written(db)
    count = "SELECT count(*), ifnull(sum(size), 0) FROM cache"
    entries, size = await db.read(lambda c: tuple(c.execute(count).fetchone()))

    assert (cache.stats()["entries"], cache.stats()["size_bytes"]) == (entries, size)
    assert 0 < size <= 20_000
    assert sum(len(entry.value) + ROW_BYTES for entry in cache._memory.values()) == cache._memory_bytes <= 5_000


async def test_clearing_one_tenant_leaves_the_others(db: Database, clock) -> None:
    cache = await _cache(db, clock, memory_bytes=10**6)
    for tenant in ("", "t1", "t2"):
        cache.put(cache_key(tenant, "r", REQUEST), tenant.encode() or b"nobody", tenant=tenant)
    removed = await cache.clear("")
    answers = [await cache.get(cache_key(tenant, "r", REQUEST)) for tenant in ("", "t1", "t2")]

    assert (removed, answers) == (1, [None, b"t1", b"t2"])
    assert await cache.clear() == 2
    assert [await cache.get(cache_key(tenant, "r", REQUEST)) for tenant in ("t1", "t2")] == [None, None]
    assert cache.stats()["entries"] == 0


async def test_tenants_do_not_see_each_others_answers(db: Database, clock) -> None:
    cache = await _cache(db, clock, memory_bytes=10**6)
    cache.put(cache_key("t1", "r", REQUEST), b"secret", tenant="t1")

    assert await cache.get(cache_key("t2", "r", REQUEST)) is None


async def test_hits_and_misses_are_counted(db: Database, clock) -> None:
    cache = await _cache(db, clock, memory_bytes=10**6)
    cache.put(KEY, b"answer", tenant="t1")
    for key in (KEY, _key("a"), _key("b")):
        await cache.get(key)
    await _written(db)

    assert cache.stats() == {
        "entries": 1, "hits": 1, "misses": 2, "hit_rate": 0.333, "size_bytes": 6 + ROW_BYTES,
    }  # fmt: skip


async def test_an_answer_too_large_for_the_cache_is_not_stored(db: Database, clock) -> None:
    cache = await _cache(db, clock, max_bytes=8000)
    cache.put(KEY, b"x" * 1000, tenant="t1")
    await _written(db)

    assert (await cache.get(KEY), cache.dropped) == (None, 1)


async def test_a_full_disk_costs_the_stored_answer_only(db: Database, clock) -> None:
    cache = await _cache(db, clock)
    (pages,) = await db.write(lambda c: c.execute("PRAGMA page_count").fetchone())
    await db.write(lambda c: c.execute(f"PRAGMA max_page_count = {pages}").fetchall())
    cache.put(KEY, b"x" * 100_000, tenant="t1")
    await _written(db)

    assert (await cache.get(KEY), cache.dropped, cache.stats()["entries"]) == (None, 1, 0)


async def test_a_known_miss_asks_nobody(db: Database, clock) -> None:
    cache = await _cache(db, clock)
    await db.close()

    assert await cache.get(KEY) is None


# --- stale answers, tags and purging ----------------------------------------------------------------


@pytest.mark.parametrize("memory_bytes", [0, 10**6])
async def test_an_answer_is_fresh_then_stale_then_gone(db: Database, clock, memory_bytes: int) -> None:
    cache = await _cache(db, clock, memory_bytes=memory_bytes)
    cache.put(KEY, b"answer", tenant="t1", ttl_s=10, stale_s=20)
    await _written(db)
    found = []
    for seconds in (9, 1, 19, 1):
        clock.advance(seconds)
        kept = await cache.find(KEY)
        found.append((kept.age_s, kept.stale) if kept else None)

    assert found == [(9, False), (10, True), (29, True), None]


async def test_who_wants_no_stale_answer_gets_none(db: Database, clock) -> None:
    cache = await _cache(db, clock, memory_bytes=10**6)
    cache.put(KEY, b"answer", tenant="t1", ttl_s=10, stale_s=20)
    clock.advance(10)

    assert await cache.get(KEY) is None
    assert await cache.find(KEY) is not None


async def test_an_entry_of_an_older_version_is_fresh_until_it_is_gone(db: Database, clock) -> None:
    """Its row says nothing of when it gets stale."""
    cache = await _cache(db, clock)
    cache.put(KEY, b"answer", tenant="t1", ttl_s=10)
    await db.write(lambda c: c.execute("UPDATE cache SET fresh_us = NULL"))
    clock.advance(9)
    kept = await cache.find(KEY)
    clock.advance(1)

    assert (kept is not None and kept.stale, await cache.find(KEY)) == (False, None)


@pytest.mark.parametrize("memory_bytes", [0, 10**6])
@pytest.mark.parametrize(
    ("purge", "left"),
    [
        (Purge(tag="a=1"), "b"),
        (Purge(tag="both=1"), ""),
        (Purge(tag="a"), "ab"),
        (Purge(route="r2"), "a"),
        (Purge(model="m1"), "b"),
        (Purge("t1", tag="both=1"), "b"),
        (Purge("t2", route="r1"), "ab"),
        (Purge(), ""),
    ],
)
async def test_a_purge_removes_what_has_all_of_it(
    db: Database, clock, memory_bytes: int, purge: Purge, left: str
) -> None:
    cache = await _cache(db, clock, memory_bytes=memory_bytes)
    cache.put(_key("a"), b"a", tenant="t1", route="r1", model="m1", tags=("a=1", "both=1"))
    cache.put(_key("b"), b"b", tenant="t2", route="r2", model="m2", tags=("both=1",))
    removed = await cache.purge(purge)
    found = [await cache.get(_key(name)) for name in "ab"]
    tags = await db.read(lambda c: {row[0] for row in c.execute("SELECT key FROM cache_tags")})

    assert (removed, b"".join(filter(None, found)).decode()) == (2 - len(left), left)
    assert tags == {_key(name) for name in left}


async def test_replacing_an_answer_replaces_its_tags(db: Database, clock) -> None:
    cache = await _cache(db, clock)
    cache.put(KEY, b"old", tenant="t1", tags=("old=1",))
    cache.put(KEY, b"new", tenant="t1", tags=("new=1",))

    assert [await cache.purge(Purge(tag=tag)) for tag in ("old=1", "new=1")] == [0, 1]


async def test_what_a_purge_overtook_is_not_remembered(db: Database, clock) -> None:
    """A look-up that read the row before a purge removed it does not bring it back."""
    cache = await _cache(db, clock)
    cache.put(KEY, b"answer", tenant="t1")
    await _written(db)
    later = await _cache(db, clock, memory_bytes=10**6)
    looking = asyncio.create_task(later.get(KEY))
    purging = asyncio.create_task(later.purge(Purge()))
    await asyncio.gather(looking, purging)

    assert await later.get(KEY) is None


async def test_shares_are_told_by_route_and_model(db: Database, clock) -> None:
    cache = await _cache(db, clock)
    for name, route in (("a", "r1"), ("b", "r2"), ("c", "r2")):
        cache.put(_key(name), b"x", tenant="t1", route=route, model="m")
    await _written(db)

    size = 1 + ROW_BYTES
    assert await cache.shares() == [Share("r2", "m", 2, 2 * size), Share("r1", "m", 1, size)]


class _Counted(Database):
    """Notes every read."""

    reads = 0

    async def read(self, operation, **how):
        self.reads += 1
        return await super().read(operation, **how)


@pytest.mark.parametrize("memory_bytes", [0, 10**6])
@pytest.mark.parametrize("known", [True, False])
async def test_whether_another_tenant_has_the_answer_changes_nothing_that_could_be_timed(
    tmp_path, clock, known: bool, memory_bytes: int
) -> None:
    """A miss asks the disk as often, and leaves memory as it was, wherever the same request was answered before."""
    async with _Counted(tmp_path / "m.db", now=clock) as db:
        traces = []
        for owner in ("t1", None):
            cache = await _cache(db, clock, memory_bytes=memory_bytes)
            await cache.clear()
            if owner:
                cache.put(cache_key(owner, "r", REQUEST), b"secret", tenant=owner)
                await _written(db)
            if not known:
                cache._known = None  # as with more entries than are known by heart
            before = db.reads, list(cache._memory)
            answers = [await cache.get(cache_key("t2", "r", REQUEST)) for _ in range(3)]
            traces.append((answers, db.reads - before[0], list(cache._memory) == before[1]))

    assert traces[0] == traces[1] == ([None] * 3, 0 if known else 3, True)


@pytest.mark.parametrize("tag", ["team=search", 'odd="a,b"', "lines=one\ntwo", "é=ü"])
async def test_an_answer_that_was_read_anew_is_purged_by_its_tags(db: Database, tag: str) -> None:
    """Whatever signs are in them; from memory, too."""
    cache = Cache(db, max_bytes=10**6, ttl_s=60)
    await cache.open()
    cache.put(KEY, b"answer", tenant="t1", tags=[tag, "other=one"])
    await db.write(lambda _: None)
    await cache.renew()

    assert await cache.get(KEY) == b"answer"
    assert await cache.purge(Purge(tag=tag)) == 1
    assert await cache.get(KEY) is None
