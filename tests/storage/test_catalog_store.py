"""A refresh replaces what is known of one provider and says what changed."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage.catalog import CatalogDiff, CatalogRow, CatalogStore
from storage.db import Database
from storage.errors import StorageError
from storage.migrations import MIGRATIONS

URL = "https://vendor.example/v1/models"


async def test_rows_survive_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "c.db"
    async with Database(path) as db:
        await CatalogStore(db).replace("groq", {"b": {"context": 8192}, "a": {}}, URL, 1000.5)

    async with Database(path) as db:
        found = await CatalogStore(db).all()
    assert found == [
        CatalogRow("groq", "a", {}, URL, 1000.5),
        CatalogRow("groq", "b", {"context": 8192}, URL, 1000.5),
    ]


async def test_a_database_of_an_earlier_version_gets_a_catalogue(tmp_path: Path) -> None:
    path = tmp_path / "old.db"
    async with Database(path, steps=MIGRATIONS[:5]):
        pass

    async with Database(path) as db:
        assert await CatalogStore(db).all() == []


OLD = {"a": {"context": 1, "vision": True}, "b": {"context": 1}, "c": {}}


@pytest.mark.parametrize(
    ("new", "diff"),
    [
        (OLD, CatalogDiff()),
        ({"c": {}, "b": {"context": 1}, "a": {"vision": True, "context": 1}}, CatalogDiff()),
        ({}, CatalogDiff(removed=("a", "b", "c"))),
        (OLD | {"z": {}, "d": {"x": 1}}, CatalogDiff(added=("d", "z"))),
        (OLD | {"b": {"context": 2}}, CatalogDiff(changed={"b": ("context",)})),
        (OLD | {"a": {"vision": 1, "owner": None}}, CatalogDiff(changed={"a": ("context", "owner", "vision")})),
        ({"a": OLD["a"], "n": {}}, CatalogDiff(added=("n",), removed=("b", "c"))),
    ],
)
async def test_a_refresh_says_what_changed(db: Database, new, diff: CatalogDiff) -> None:
    store = CatalogStore(db)
    first = await store.replace("groq", OLD, URL, 1000)
    second = await store.replace("groq", new, URL + "?2", 2000)

    assert first == CatalogDiff(added=("a", "b", "c"))
    assert second == diff
    assert {row.model: (row.facts, row.source, row.fetched_at) for row in await store.all()} == {
        model: (facts, URL + "?2", 2000.0) for model, facts in new.items()
    }


async def test_other_providers_are_left_alone(db: Database) -> None:
    store = CatalogStore(db)
    await store.replace("groq", {"a": {}}, URL, 1)
    await store.replace("openai", {"a": {"x": 1}}, URL, 2)
    await store.replace("groq", {}, URL, 3)

    assert [(row.provider, row.model) for row in await store.all()] == [("openai", "a")]


async def test_a_refresh_that_fails_leaves_the_earlier_rows(db: Database) -> None:
    store = CatalogStore(db)
    await store.replace("groq", {"a": {}}, URL, 1)
    (pages,) = await db.write(lambda c: c.execute("PRAGMA page_count").fetchone())
    await db.write(lambda c: c.execute(f"PRAGMA max_page_count = {pages}").fetchall())

    with pytest.raises(StorageError):
        await store.replace("groq", {"b": {"text": "x" * 100_000}}, URL, 2)
    assert [row.model for row in await store.all()] == ["a"]


_ROWS = st.dictionaries(st.text(max_size=3), st.dictionaries(st.text(max_size=2), st.integers(0, 3), max_size=3))


@settings(max_examples=25, deadline=None)
@given(_ROWS, _ROWS)
def test_the_diff_leads_from_the_old_rows_to_the_new(old: dict, new: dict) -> None:
    async def refreshed() -> tuple[CatalogDiff, dict]:
        async with Database(None) as db:
            store = CatalogStore(db)
            await store.replace("p", old, URL, 1)
            diff = await store.replace("p", new, URL, 2)
            return diff, {row.model: row.facts for row in await store.all()}

    diff, there = asyncio.run(refreshed())
    assert there == new
    assert set(diff.added) == new.keys() - old.keys()
    assert set(diff.removed) == old.keys() - new.keys()
    assert diff.changed.keys() == {model for model in old.keys() & new.keys() if old[model] != new[model]}
