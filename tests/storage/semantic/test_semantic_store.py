"""A stored question answers one that asks the same: in its scope, while it lives, and never again after a false hit."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from storage.db import Database
from storage.migrations import MIGRATIONS
from storage.migrations.m0018_semantic import MIGRATION
from storage.semantic.store import FALSE_HITS, Found, Scope, Semantic, scope_of

STEPS = (*(step for step in MIGRATIONS if step.name != MIGRATION.name), MIGRATION)
SCOPE = scope_of("t1", "fast", {"system": "be brief"})
KEY = b"k" * 32


class Clock:
    def __init__(self) -> None:
        self.at = 1_795_226_400.0

    def __call__(self) -> float:
        return self.at


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def db(tmp_path: Path, clock: Clock):
    async with Database(tmp_path / "modelport.db", now=clock, steps=STEPS) as database:
        yield database


async def _opened(db: Database, clock: Clock, **bounds: int) -> Semantic:
    semantic = Semantic(db, now=clock, **bounds)
    await semantic.open()
    return semantic


async def _answered(db: Database, *keys: bytes) -> None:
    """The exact cache has answers under *keys*."""
    statement = """
INSERT INTO cache (key, tenant, size, created_us, expires_us, used_us, value) VALUES (?, 't1', 1, 0, 0, 0, x'')"""
    await db.write(lambda connection: connection.executemany(statement, [(key,) for key in keys]))


async def _written(db: Database) -> None:
    """Posts come before this in the line."""
    await db.write(lambda _: None)


async def _key(semantic: Semantic, text: str, scope: Scope = SCOPE, vector: list[float] | None = None) -> bytes | None:
    found = await semantic.find(scope, text, vector)
    return found.key if found else None


# --- finding


async def test_a_question_is_found_in_other_words(db: Database, clock: Clock) -> None:
    semantic = await _opened(db, clock)
    semantic.add(SCOPE, "What is the capital of France?", KEY, ttl_s=60)

    found = await semantic.find(SCOPE, "hi, what's France's capital")

    assert found == Found(SCOPE, KEY, "hi, what's France's capital", "What is the capital of France?", 1.0)


async def test_it_is_found_from_the_table_by_the_next_process(db: Database, clock: Clock) -> None:
    semantic = await _opened(db, clock)
    semantic.add(SCOPE, "What is the capital of France?", KEY, [1.0, 0.5], ttl_s=60)
    await _answered(db, KEY)

    later = await _opened(db, clock)

    assert await _key(later, "what's the capital of France") == KEY
    assert await _key(later, "Which city governs France?", vector=[1.0, 0.5]) == KEY


@pytest.mark.parametrize(
    "other",
    [
        scope_of("t2", "fast", {"system": "be brief"}),
        scope_of("t1", "slow", {"system": "be brief"}),
        scope_of("t1", "fast", {"system": "be long"}),
        scope_of("t1f", "ast", {"system": "be brief"}),
        scope_of("t1", "fast", {"system": "be brief", "tools": []}),
    ],
)
async def test_it_is_not_found_in_another_scope(db: Database, clock: Clock, other: Scope) -> None:
    semantic = await _opened(db, clock)
    semantic.add(SCOPE, "What is the capital of France?", KEY, [1.0], ttl_s=60)
    await _written(db)

    assert await _key(semantic, "What is the capital of France?", other, [1.0]) is None


async def test_it_is_not_found_when_it_is_too_old(db: Database, clock: Clock) -> None:
    semantic = await _opened(db, clock)
    semantic.add(SCOPE, "What is the capital of France?", KEY, [1.0], ttl_s=60)
    await _answered(db, KEY)
    clock.at += 60

    assert await _key(semantic, "What is the capital of France?", vector=[1.0]) is None
    assert await semantic.prune() == 1
    assert semantic.stats()["entries"] == 0


async def test_the_newest_answer_is_found(db: Database, clock: Clock) -> None:
    semantic = await _opened(db, clock)
    for key in (b"1", b"2"):
        semantic.add(SCOPE, "What is the capital of France?", key, ttl_s=60)

    assert await _key(semantic, "what's the capital of France") == b"2"


@pytest.mark.parametrize("text", ["", "x" * 5000])
async def test_what_is_no_question_is_neither_stored_nor_found(db: Database, clock: Clock, text: str) -> None:
    semantic = await _opened(db, clock)

    assert not semantic.add(SCOPE, text, KEY, ttl_s=60)
    assert await semantic.find(SCOPE, text) is None


async def test_a_question_that_comes_while_its_scope_is_read_is_found(db: Database, clock: Clock) -> None:
    semantic = await _opened(db, clock)
    for number in range(50):
        semantic.add(SCOPE, f"What is item {number}?", bytes([number]), ttl_s=60)

    assert [await _key(semantic, f"what's item {number}") for number in range(50)] == [bytes([n]) for n in range(50)]


# --- vectors


async def test_a_vector_finds_a_paraphrase_and_the_nearest_first(db: Database, clock: Clock) -> None:
    semantic = await _opened(db, clock)
    semantic.add(SCOPE, "How do you celebrate Christmas?", b"far", [1.0, 0.3, 0.0], ttl_s=60)
    semantic.add(SCOPE, "What do folks do to celebrate Christmas?", b"near", [1.0, 0.1, 0.0], ttl_s=60)
    await _written(db)

    found = await semantic.find(SCOPE, "What is the best way to celebrate Christmas?", [1.0, 0.0, 0.0])

    assert found is not None
    assert (found.key, found.by_vector) == (b"near", True)
    assert found.similarity == pytest.approx(0.995, abs=0.001)


async def test_the_guard_has_the_last_word_over_vectors(db: Database, clock: Clock) -> None:
    semantic = await _opened(db, clock)
    semantic.add(SCOPE, "How do I cook rice for 4 people?", KEY, [1.0, 0.0], ttl_s=60)

    assert await _key(semantic, "What is the way to prepare rice for 6 people?", vector=[1.0, 0.0]) is None
    assert semantic.stats()["guarded"] == 1


@pytest.mark.parametrize("vector", [[0.5, 1.0], [1.0, 0.0, 0.0], [-1.0, 0.0], [0.0, 0.0], []])
async def test_what_points_elsewhere_is_not_found(db: Database, clock: Clock, vector: list[float]) -> None:
    """Also vectors of another length, which are another model's, and those that point nowhere."""
    semantic = await _opened(db, clock)
    semantic.add(SCOPE, "How do you celebrate Christmas?", KEY, [1.0, 0.0], ttl_s=60)

    assert await _key(semantic, "What is the best way to celebrate Christmas?", vector=vector) is None


async def test_the_threshold_can_be_chosen(db: Database, clock: Clock) -> None:
    semantic = await _opened(db, clock)
    semantic.add(SCOPE, "How do you celebrate Christmas?", KEY, [1.0, 0.0], ttl_s=60)
    asked = "What is the best way to celebrate Christmas?"

    assert await semantic.find(SCOPE, asked, [1.0, 1.0]) is None
    assert await semantic.find(SCOPE, asked, [1.0, 1.0], vector_threshold=0.7) is not None


async def test_the_nearest_of_many_vectors_is_found(db: Database, clock: Clock) -> None:
    """The look at signs alone does not lose what an exact look would find."""
    rng = Random(7)
    semantic = await _opened(db, clock)
    vectors = [[rng.gauss(0, 1) for _ in range(64)] for _ in range(500)]
    for number, vector in enumerate(vectors):
        semantic.add(SCOPE, f"Thing{number}", number.to_bytes(2), vector, ttl_s=60)
    await _written(db)

    for number in range(0, 500, 25):
        near = [value + rng.gauss(0, 0.3) for value in vectors[number]]
        assert await _key(semantic, f"So what about thing{number} then?", vector=near) == number.to_bytes(2)


# --- false hits


async def _served(semantic: Semantic, db: Database, exchange: str, text: str) -> None:
    found = await semantic.find(SCOPE, text)
    assert found is not None
    semantic.served(exchange, found)
    await _written(db)


async def test_a_pair_that_was_called_false_never_matches_again(db: Database, clock: Clock) -> None:
    semantic = await _opened(db, clock)
    semantic.add(SCOPE, "What is a market mechanism?", KEY, ttl_s=60)
    await _served(semantic, db, "x1", "What is market mechanism?")
    await _answered(db, KEY)

    assert await semantic.report_false("x1", "t1")

    later = await _opened(db, clock)
    for each in (semantic, later):
        assert await _key(each, "What is market mechanism?") is None
        assert await _key(each, "what is market mechanism") is None
        assert await _key(each, "What's a market mechanism?") == KEY
    assert semantic.stats()["false_hits"] == 1


async def test_a_pair_that_differs_in_signs_alone_can_be_called_false(db: Database, clock: Clock) -> None:
    semantic = await _opened(db, clock)
    semantic.add(SCOPE, "is snickers hard?", KEY, ttl_s=60)
    await _served(semantic, db, "x1", "Is Snickers hard?")
    await semantic.report_false("x1")

    assert await _key(semantic, "Is Snickers hard?") is None
    assert await _key(semantic, "is snickers hard?") == KEY


async def test_a_pair_can_be_named_without_an_exchange(db: Database, clock: Clock) -> None:
    semantic = await _opened(db, clock)
    semantic.add(SCOPE, "What is a market mechanism?", KEY, ttl_s=60)

    await semantic.report_false_pair("t1", "What is market mechanism?", "What is a market mechanism?")

    assert await _key(semantic, "What is market mechanism?") is None


async def test_only_its_own_tenant_can_call_a_hit_false(db: Database, clock: Clock) -> None:
    semantic = await _opened(db, clock)
    semantic.add(SCOPE, "What is a market mechanism?", KEY, ttl_s=60)
    await _served(semantic, db, "x1", "What is market mechanism?")

    assert not await semantic.report_false("x1", "t2")
    assert not await semantic.report_false("unheard of", "t1")
    assert await _key(semantic, "What is market mechanism?") == KEY


async def test_a_question_that_was_often_the_wrong_one_is_forgotten(db: Database, clock: Clock) -> None:
    semantic = await _opened(db, clock)
    semantic.add(SCOPE, "How do I tie a tie?", KEY, ttl_s=60)
    asked = ["How can I tie a tie?", "How to tie a tie", "How could I tie the tie?"]
    assert len(asked) == FALSE_HITS
    for number, text in enumerate(asked):
        await _served(semantic, db, f"x{number}", text)
        await semantic.report_false(f"x{number}")

    assert await _key(semantic, "How do I tie a tie?") is None


# --- forgetting


async def test_a_question_whose_answer_is_gone_is_forgotten(db: Database, clock: Clock) -> None:
    semantic = await _opened(db, clock)
    semantic.add(SCOPE, "How do I tie a tie?", KEY, ttl_s=60)
    found = await semantic.find(SCOPE, "How do I tie a tie?")
    assert found is not None

    semantic.forget(found)

    assert await _key(semantic, "How do I tie a tie?") is None


async def test_at_the_start_questions_without_an_answer_are_forgotten(db: Database, clock: Clock) -> None:
    semantic = await _opened(db, clock)
    semantic.add(SCOPE, "How do I tie a tie?", KEY, ttl_s=60)
    semantic.add(SCOPE, "How do I tie a knot?", b"gone", ttl_s=60)
    await _answered(db, KEY)

    later = await _opened(db, clock)

    assert later.stats()["entries"] == 1


@pytest.mark.parametrize(
    ("wanted", "left"), [({"tag": "a"}, 2), ({"tenant": "t1"}, 1), ({"tenant": "t1", "tag": "b"}, 2), ({}, 0)]
)
async def test_questions_are_cleared_by_tenant_and_tag(db: Database, clock: Clock, wanted: dict, left: int) -> None:
    semantic = await _opened(db, clock)
    semantic.add(SCOPE, "One?", b"1", ttl_s=60, tags=["a"])
    semantic.add(SCOPE, "Two?", b"2", ttl_s=60, tags=["b", "c"])
    semantic.add(scope_of("t2", "fast", {}), "Three?", b"3", ttl_s=60)
    await _written(db)

    assert await semantic.clear(**wanted) == 3 - left
    assert semantic.stats()["entries"] == left


async def test_the_table_and_the_memory_are_bounded(db: Database, clock: Clock) -> None:
    semantic = await _opened(db, clock, max_entries=100, in_scope=20, in_memory=40)
    scopes = [scope_of("t1", f"r{number}", {}) for number in range(8)]
    for scope in scopes:
        await semantic.find(scope, "anything")
        for number in range(40):
            semantic.add(scope, f"What is item {number}?", scope.digest + bytes([number]), ttl_s=60)
    await _written(db)

    entries = await db.read(lambda connection: connection.execute("SELECT count(*) FROM semantic").fetchone()[0])
    assert entries <= 100
    assert await _key(semantic, "What is item 39?", scopes[-1]) is not None
    assert await _key(semantic, "What is item 19?", scopes[-1]) is None


async def test_a_table_that_cannot_be_read_is_a_miss(db: Database, clock: Clock) -> None:
    semantic = await _opened(db, clock)
    semantic.add(SCOPE, "How do I tie a tie?", KEY, ttl_s=60)
    await db.close()

    assert await semantic.find(SCOPE, "How do I tie a tie?") is None
    assert not semantic.stats()["hits"]
