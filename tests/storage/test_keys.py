"""Rows of keys, teams and organisations: what is written together, and what refuses to go."""

from __future__ import annotations

from dataclasses import replace

import pytest

from storage.budgets import Budget, Budgets
from storage.db import Database
from storage.errors import Conflict
from storage.keys import Digest, Key, Keys, Limits, Organisation, Settings, Team, settings_of

FULL = Settings(
    models=("gpt-*",),
    routes=("careful",),
    endpoints=("/v1/*",),
    tags={"team": "search"},
    limits=Limits(1, 2, 3),
    cache="off",
    losses="reject",
    logs=True,
)
ACME = Organisation("acme", "Acme", FULL, 1)
RED = Team("red", "acme", "Red", Settings(), 2)


def _key(key_id: str = "key_1", **more) -> Key:
    return Key(key_id, "one", "mp-abcd…", None, None, "master", ("developer",), Settings(), 10, **more)


async def test_everything_comes_back_as_it_was_written(db: Database) -> None:
    keys = Keys(db)
    await keys.put_organisation(ACME)
    await keys.put_team(RED)
    key = replace(_key(signing=b"sealed", expires_us=99), organisation="acme", team="red", settings=FULL)
    await keys.create(key, b"d" * 32)
    found = await keys.load()

    assert (found.organisations, found.teams, found.keys) == ((ACME,), (RED,), (key,))
    assert found.digests == (Digest(b"d" * 32, "key_1"),)
    assert len(found.salt) == 32


async def test_every_database_has_a_salt_of_its_own(db: Database, tmp_path) -> None:
    async with Database(tmp_path / "another.db") as other:
        salts = {(await Keys(each).load()).salt for each in (db, other)}

    assert len(salts) == 2


async def test_a_key_and_its_budget_are_written_together_or_not_at_all(db: Database) -> None:
    keys, budgets = Keys(db), Budgets(db)
    await keys.create(_key(), b"a" * 32)
    with pytest.raises(Conflict):
        await keys.create(_key(), b"b" * 32, Budget("budget_key_1", "key", 5, "key_1"))

    assert (await budgets.all(), len((await keys.load()).digests)) == ([], 1)


async def test_a_change_puts_a_budget_in_force_and_takes_it_away(db: Database) -> None:
    keys, budgets = Keys(db), Budgets(db)
    await keys.create(_key(), b"a" * 32)
    await keys.change(_key(), budget=Budget("budget_key_1", "key", 5, "key_1"))
    there = [budget.id for budget in await budgets.all()]
    await keys.change(replace(_key(), name="two"), no_budget="budget_key_1")

    assert (there, await budgets.all()) == (["budget_key_1"], [])
    assert (await keys.load()).keys[0].name == "two"


async def test_a_rotation_never_lengthens_the_life_of_a_text(db: Database, clock) -> None:
    keys, now = Keys(db, now=clock), int(clock() * 1_000_000)
    await keys.create(_key(), b"1" * 32)
    await keys.rotate(Digest(b"2" * 32, "key_1"), "mp-two…", now + 10)
    await keys.rotate(Digest(b"3" * 32, "key_1"), "mp-three…", now + 1000)
    found = {row.digest[:1]: row.until_us for row in (await keys.load()).digests}

    assert found == {b"1": now + 10, b"2": now + 1000, b"3": None}
    assert (await keys.load()).keys[0].shown == "mp-three…"


async def test_texts_that_are_over_are_forgotten_at_the_next_rotation(db: Database, clock) -> None:
    keys = Keys(db, now=clock)
    await keys.create(_key(), b"1" * 32)
    await keys.rotate(Digest(b"2" * 32, "key_1"), "mp-two…", int(clock() * 1_000_000) + 5)
    clock.advance(1)
    await keys.rotate(Digest(b"3" * 32, "key_1"), "mp-three…", int(clock() * 1_000_000))

    assert {row.digest[:1] for row in (await keys.load()).digests} == {b"2", b"3"}


async def test_a_revoked_key_is_not_rotated(db: Database) -> None:
    keys = Keys(db)
    await keys.create(_key(), b"1" * 32)
    revoked = [await keys.revoke("key_1"), await keys.revoke("key_1"), await keys.revoke("key_none")]
    with pytest.raises(Conflict):
        await keys.rotate(Digest(b"2" * 32, "key_1"), "mp-two…", 0)

    assert revoked == [True, False, False]
    assert [row.digest[:1] for row in (await keys.load()).digests] == [b"1"]


async def test_a_place_with_keys_that_get_in_stays(db: Database) -> None:
    keys = Keys(db)
    await keys.put_organisation(ACME)
    await keys.put_team(RED)
    budget = Budget("budget_key_1", "key", 5, "key_1")
    await keys.create(replace(_key(), organisation="acme", team="red"), b"1" * 32, budget)
    for remove, place in ((keys.remove_team, "red"), (keys.remove_organisation, "acme")):
        with pytest.raises(Conflict, match="1 keys that are not revoked: key_1"):
            await remove(place)
    await keys.revoke("key_1")

    assert [await keys.remove_organisation("acme"), await keys.remove_organisation("acme")] == [True, False]
    found = await keys.load()
    assert (found.organisations, found.teams, found.keys, found.digests) == ((), (), (), ())
    assert await Budgets(db).all() == []


async def test_names_are_unique_where_they_are_read(db: Database) -> None:
    keys = Keys(db)
    await keys.put_organisation(ACME)
    await keys.put_team(RED)
    await keys.put_organisation(replace(ACME, settings=Settings()))

    with pytest.raises(Conflict):
        await keys.put_team(replace(RED, id="red2"))
    with pytest.raises(Conflict):
        await keys.put_organisation(replace(ACME, id="acme2"))


async def test_last_use_never_goes_back(db: Database) -> None:
    keys = Keys(db)
    await keys.create(_key(), b"1" * 32)
    for at_us in (50, 40):
        keys.used({"key_1": at_us, "key_gone": 1})
    await keys.revoke("none")  # waits for what was posted

    assert (await keys.load()).keys[0].used_us == 50


def test_settings_of_another_version_are_read_as_far_as_they_are_known() -> None:
    assert settings_of({"models": ["a"], "limits": {"concurrent": 3, "later": 1}, "unheard_of": 1}) == Settings(
        models=("a",), limits=Limits(concurrent=3)
    )
