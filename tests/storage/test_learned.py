"""A lesson is learnt once, remembered with its evidence, and can be unlearnt."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from storage.db import Database
from storage.learned import MAX_EVIDENCE, Learned, LearnedRules
from storage.migrations import MIGRATIONS

CHANGE = {"refuses": ["temperature"]}
EVIDENCE = "Unsupported parameter: 'temperature' is not supported with this model."


async def _learn(rules: LearnedRules, provider: str = "openai", model: str = "gpt", **fields: Any) -> Learned:
    found = {"dialect": "openai_chat", "change": CHANGE, "evidence": EVIDENCE, "http_status": 400} | fields
    return await rules.learn(provider, model, **found)


async def test_a_lesson_survives_a_restart_with_its_evidence(tmp_path: Path, clock) -> None:
    path = tmp_path / "l.db"
    async with Database(path, now=clock) as db:
        learned = await _learn(LearnedRules(db, now=clock))

    async with Database(path, now=clock) as db:
        found = await LearnedRules(db, now=clock).all()
    assert found == [learned] == [Learned("openai", "gpt", "openai_chat", CHANGE, EVIDENCE, 400, clock(), 0)]


async def test_a_database_of_an_earlier_version_learns(tmp_path: Path) -> None:
    path = tmp_path / "old.db"
    async with Database(path, steps=MIGRATIONS[:4]):
        pass

    async with Database(path) as db:
        await _learn(LearnedRules(db))
        assert len(await LearnedRules(db).all()) == 1


async def test_the_same_lesson_is_one_row_with_the_newest_evidence_and_all_uses(db: Database, clock) -> None:
    rules = LearnedRules(db, now=clock)
    first = await _learn(rules, change={"a": 1, "b": 2})
    rules.used(first)
    rules.used(first)
    clock.advance(5)
    again = await _learn(rules, change={"b": 2, "a": 1}, evidence="newer words", http_status=422)

    assert (again.evidence, again.http_status, again.learned_at, again.uses) == ("newer words", 422, clock(), 2)
    assert await rules.all() == [again]


async def test_provider_model_dialect_and_change_tell_lessons_apart(db: Database, clock) -> None:
    rules = LearnedRules(db, now=clock)
    for fields in ({}, {"provider": "azure"}, {"model": "o"}, {"dialect": "openai_responses"}, {"change": {"x": 1}}):
        await _learn(rules, **fields)

    assert len(await rules.all()) == 5


async def test_uses_are_counted_without_waiting(db: Database, clock) -> None:
    rules = LearnedRules(db, now=clock)
    learned = await _learn(rules)
    heard: list[tuple[int | None, object]] = []
    for rule in (learned, learned, Learned("x", "y", "z", {}, "", 400, 0.0)):
        rules.used(rule, lambda *told: heard.append(told))
    await db.write(lambda _: None)

    assert heard == [(1, None), (2, None), (None, None)]
    assert [rule.uses for rule in await rules.all()] == [2]


async def test_a_model_or_a_whole_provider_can_be_unlearnt(db: Database, clock) -> None:
    rules = LearnedRules(db, now=clock)
    for provider, model in (("openai", "a"), ("openai", "b"), ("openai", "c"), ("groq", "a")):
        await _learn(rules, provider, model)

    assert await rules.forget("openai", "a") == 1
    assert await rules.forget("openai") == 2
    assert await rules.forget("openai") == 0
    assert [(rule.provider, rule.model) for rule in await rules.all()] == [("groq", "a")]


async def test_lessons_and_their_evidence_are_bounded(db: Database, clock) -> None:
    rules = LearnedRules(db, max_rules=3, now=clock)
    for n in range(5):
        clock.advance(1)
        await _learn(rules, model=str(n), evidence="x" * (MAX_EVIDENCE + 1))
    found = await rules.all()

    assert [rule.model for rule in found] == ["2", "3", "4"]
    assert {len(rule.evidence) for rule in found} == {MAX_EVIDENCE}


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=25, deadline=None)
@given(st.dictionaries(st.text(max_size=5), _JSON, max_size=3), st.text(max_size=30))
def test_any_change_comes_back(change: dict[str, Any], evidence: str) -> None:
    async def back() -> Learned:
        async with Database(None) as db:
            await _learn(LearnedRules(db), change=change, evidence=evidence)
            (found,) = await LearnedRules(db).all()
            return found

    found = asyncio.run(back())
    assert (found.change, found.evidence) == (change, evidence)


async def test_what_was_taught_too_long_ago_is_unlearnt(db: Database, clock) -> None:
    """What has been taught again since is not old."""
    rules = LearnedRules(db, now=clock)
    start = clock()
    for model in ("old", "again"):
        await _learn(rules, model=model)
    clock.advance(10)
    await _learn(rules, model="again")

    assert await rules.forget_older(start + 5) == 1
    assert [rule.model for rule in await rules.all()] == ["again"]
