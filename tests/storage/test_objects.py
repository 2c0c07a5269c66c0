"""Whose a vendor's things are: the first who is written down, at each provider for itself."""

from __future__ import annotations

from pathlib import Path

from storage.db import Database
from storage.migrations import MIGRATIONS
from storage.objects import VendorObjects
from tests.storage.conftest import Clock


async def test_the_first_owner_stays_at_each_provider(tmp_path: Path) -> None:
    async with Database(tmp_path / "o.db") as db:
        objects = VendorObjects(db)
        await objects.claim("one", "ann", ["file-1", "file-2"])
        await objects.claim("one", "bob", ["file-1", "file-3"])
        await objects.claim("two", "bob", ["file-1"])

        everywhere = await objects.owners(["file-1", "file-3", "file-4"])
        at_one = await objects.owners(["file-1"], "one")

    assert everywhere == {"file-1": {"ann", "bob"}, "file-3": {"bob"}}
    assert at_one == {"file-1": {"ann"}}


async def test_what_was_deleted_is_nobodys(tmp_path: Path) -> None:
    async with Database(tmp_path / "o.db") as db:
        objects = VendorObjects(db)
        await objects.claim("one", "ann", ["file-1"])

        await objects.forget("one", "file-1")

        assert await objects.owners(["file-1"]) == {}


async def test_beyond_the_bound_the_oldest_are_forgotten(tmp_path: Path, clock: Clock) -> None:
    async with Database(tmp_path / "o.db") as db:
        objects = VendorObjects(db, max_objects=2, now=clock)
        for each in ("a", "b", "c"):
            await objects.claim("one", "ann", [each])
            clock.advance(1)

        forgotten = await objects.prune()

        assert (forgotten, sorted(await objects.owners(["a", "b", "c"]))) == (1, ["b", "c"])


async def test_a_database_of_an_earlier_version_knows_nobodys(tmp_path: Path) -> None:
    path = tmp_path / "old.db"
    async with Database(path, steps=MIGRATIONS[:21]):
        pass

    async with Database(path) as db:
        assert await VendorObjects(db).owners(["file-1"]) == {}
