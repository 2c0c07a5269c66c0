"""The vault keeps reasoning for its tenant: at once in memory, soon on disk, in bounded room, for a while."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from storage.db import Database
from storage.migrations import MIGRATIONS
from storage.vault import LOOKED_AT, MAX_VALUE_BYTES, ROW_BYTES, Kept, Vault


def _kept(name: str, value: bytes = b"signed", tenant: str = "t1", **fields) -> Kept:
    return replace(Kept(tenant, name.encode(), "anthropic/claude", "anthropic", value), **fields)


def _vault(db: Database, clock, *, front_entries: int = 0, **options) -> Vault:
    """Without *front_entries* everything comes from the table."""
    return Vault(db, 60, front_entries=front_entries, now=clock, **options)


async def _written(db: Database) -> None:
    """Posts come before this in the line."""
    await db.write(lambda _: None)


async def _names(vault: Vault, *names: str, tenant: str = "t1") -> set[str]:
    return {key.decode() for key in await vault.get_many(tenant, [name.encode() for name in names])}


async def test_an_entry_is_there_at_once(db: Database, clock) -> None:
    """The next request of the same process sees it before it is on disk."""
    vault = _vault(db, clock, front_entries=10)
    vault.put([_kept("a")])
    await db.close()

    found = await vault.get_many("t1", [b"a"])
    assert found == {b"a": _kept("a", created=clock(), expires=clock() + 60)}


async def test_an_entry_survives_a_restart(tmp_path: Path, clock) -> None:
    path = tmp_path / "v.db"
    async with Database(path, now=clock) as db:
        _vault(db, clock).put([_kept("a", b"x" * 10_000)])

    async with Database(path, now=clock) as db:
        found = await _vault(db, clock).get_many("t1", [b"a", b"b"])
    assert found == {b"a": _kept("a", b"x" * 10_000, created=clock(), expires=clock() + 60)}


async def test_a_database_of_an_earlier_version_gets_a_vault(tmp_path: Path, clock) -> None:
    path = tmp_path / "old.db"
    async with Database(path, steps=MIGRATIONS[:3]):
        pass

    async with Database(path) as db:
        vault = _vault(db, clock)
        vault.put([_kept("a")])
        await _written(db)
        assert await _names(vault, "a") == {"a"}


async def test_tenants_do_not_see_each_others_entries(db: Database, clock) -> None:
    for front in (0, 10):
        vault = _vault(db, clock, front_entries=front)
        vault.put([_kept("a", b"mine"), _kept("a", b"theirs", tenant="t2"), _kept("b")])
        await _written(db)

        assert (await vault.get_many("t2", [b"a", b"b"])).keys() == {b"a"}
        assert (await vault.get_many("t1", [b"a"]))[b"a"].value == b"mine"
        assert (await vault.get_many("t2", [b"a"]))[b"a"].value == b"theirs"


async def test_one_read_finds_what_is_in_memory_and_what_is_on_disk(db: Database, clock) -> None:
    vault = _vault(db, clock, front_entries=2)
    vault.put([_kept(name) for name in "abcd"])
    await _written(db)

    assert await _names(vault, *"dcbaxa") == set("abcd")


async def test_the_newest_entry_of_a_key_counts(db: Database, clock) -> None:
    for front in (0, 10):
        vault = _vault(db, clock, front_entries=front)
        vault.put([_kept("a", b"old and long")])
        vault.put([_kept("a", b"new", origin="openai/gpt")])
        await _written(db)
        found = (await vault.get_many("t1", [b"a"]))[b"a"]

        assert (found.value, found.origin) == (b"new", "openai/gpt")
        stats = await vault.stats()
        assert (stats["entries"], stats["size_bytes"]) == (1, len(b"\0new") + ROW_BYTES)


async def test_an_entry_is_forgotten_when_its_time_is_over(db: Database, clock) -> None:
    for front in (0, 10):
        vault = _vault(db, clock, front_entries=front)
        vault.put([_kept("a"), _kept("long", expires=clock() + 1000)])
        await _written(db)
        clock.advance(59.9)
        fresh = await _names(vault, "a", "long")
        clock.advance(0.1)

        assert (fresh, await _names(vault, "a", "long")) == ({"a", "long"}, {"long"})


async def test_pruning_removes_all_that_is_too_old(db: Database, clock) -> None:
    vault = _vault(db, clock, front_entries=1000)
    vault.put([_kept(f"k{n}", expires=clock() + 1 + n) for n in range(200)])
    await _written(db)
    removed = await vault.prune(clock() + 150)

    assert (removed, (await vault.stats())["entries"]) == (150, 50)
    assert await _names(vault, "k149", "k150") == {"k150"}


async def test_the_oldest_make_room(db: Database, clock) -> None:
    rng = Random(4)
    vault = _vault(db, clock, max_bytes=10 * (1001 + ROW_BYTES))
    for n in range(25):
        clock.advance(1)
        vault.put([_kept(str(n), rng.randbytes(1000))])
    await _written(db)

    assert await _names(vault, *map(str, range(25))) == {str(n) for n in range(15, 25)}
    assert (await vault.stats())["size_bytes"] == 10 * (1001 + ROW_BYTES)


async def test_memory_is_bounded_in_entries_and_bytes(db: Database, clock) -> None:
    rng = Random(6)
    vault = _vault(db, clock, front_entries=50, front_bytes=20_000)
    for n in range(300):
        vault.put([_kept(str(rng.randrange(100)), b"x" * rng.randrange(3000))])
        if n % 10 == 0:
            await vault.get_many("t1", [str(rng.randrange(100)).encode() for _ in range(20)])

        assert len(vault._front) <= 50
        assert sum(len(entry.value) + ROW_BYTES for entry in vault._front.values()) == vault._front_bytes <= 20_000
        assert len(vault._front) > 0


async def test_what_was_asked_for_last_stays_in_memory(db: Database, clock) -> None:
    vault = _vault(db, clock, front_entries=3)
    vault.put([_kept(name) for name in "abc"])
    await _names(vault, "a")
    vault.put([_kept("d")])
    await db.close()

    assert await _names(vault, *"abcd") == set("acd")


async def test_a_value_too_long_is_not_kept(db: Database, clock) -> None:
    vault = _vault(db, clock, front_entries=10)
    vault.put([_kept("a", b"x" * (MAX_VALUE_BYTES + 1)), _kept("b")])

    assert (await _names(vault, "a", "b"), vault.dropped) == ({"b"}, 1)


async def test_a_vault_that_cannot_be_written_or_read_is_empty(db: Database, clock) -> None:
    vault = _vault(db, clock)
    await db.close()
    vault.put([_kept("a"), _kept("b")])
    await asyncio.sleep(0)

    assert (await _names(vault, "a"), vault.dropped) == (set(), 2)


async def test_a_tenant_can_be_forgotten(db: Database, clock) -> None:
    vault = _vault(db, clock, front_entries=10)
    vault.put([_kept("a"), _kept("b"), _kept("a", tenant="t2")])
    removed = await vault.clear("t1")

    assert (removed, await _names(vault, "a", "b"), await _names(vault, "a", tenant="t2")) == (2, set(), {"a"})
    assert await vault.clear() == 1
    assert await _names(vault, "a", tenant="t2") == set()


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(["", "t1", "t2"]), st.binary(max_size=3), st.binary(max_size=6000)), max_size=20)
)
def test_every_last_entry_of_a_key_comes_back_from_the_disk(entries: list[tuple[str, bytes, bytes]]) -> None:
    async def back() -> dict[tuple[str, bytes], bytes]:
        async with Database(None) as db:
            vault = Vault(db, 60, front_entries=0, now=lambda: 1000.0)
            vault.put([Kept(tenant, key, "p/m", "gemini", value) for tenant, key, value in entries])
            await _written(db)
            keys = [key for _, key, _ in entries]
            return {
                (tenant, key): kept.value
                for tenant in ("", "t1", "t2")
                for key, kept in (await vault.get_many(tenant, keys)).items()
            }

    assert asyncio.run(back()) == {(tenant, key): value for tenant, key, value in entries}


async def test_what_is_kept_can_be_told_at_once_when_the_table_was_looked_through(tmp_path: Path, clock) -> None:
    """Of keys from before the start as well: in memory, certainly not there, or only the disk can tell."""
    path = tmp_path / "v.db"
    many = [f"k{number}" for number in range(LOOKED_AT + 7)]
    async with Database(path, now=clock) as db:
        _vault(db, clock).put([_kept(name) for name in many])

    async with Database(path, now=clock) as db:
        vault = _vault(db, clock, front_entries=10)
        vault.put([_kept("new")])
        before = vault.get_at_once("t1", [b"nothing"])
        await vault.look_through()
        vault.put([_kept("newer")])
        absent = [
            name for name in (f"x{number}" for number in range(500)) if vault.get_at_once("t1", [name.encode()]) == {}
        ]
        present = [vault.get_at_once("t1", [name.encode()]) for name in many]
        found = vault.get_at_once("t1", [b"new", b"newer", b"nothing"])
        others = vault.get_at_once("t2", [b"new"])
        await vault.get_many("t1", [b"k3"])
        then = vault.get_at_once("t1", [b"k3"])

    assert before is None
    assert len(absent) > 490
    assert present == [None] * len(many)
    assert found == {key: _kept(key.decode(), created=clock(), expires=clock() + 60) for key in (b"new", b"newer")}
    assert others is None
    assert then == {b"k3": _kept("k3", created=clock(), expires=clock() + 60)}


async def test_what_has_expired_or_cannot_be_read_is_not_told_at_once(db: Database, clock) -> None:
    vault = _vault(db, clock, front_entries=10)
    unknown = vault.is_empty
    await vault.look_through()
    empty = vault.is_empty
    vault.put([_kept("a")])
    clock.advance(61)

    assert (unknown, empty, vault.is_empty) == (False, True, False)
    assert vault.get_at_once("t1", [b"a"]) is None

    await db.close()
    closed = _vault(db, clock)
    await closed.look_through()

    assert not closed.looked_through
