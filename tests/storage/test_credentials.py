"""Stored credentials: sealed values, each change with its entry in the audit log."""

from __future__ import annotations

from typing import Any

import pytest

from storage.audit import AuditLog
from storage.credentials import SEALED, Credential, Credentials, Work
from storage.db import Database
from storage.errors import Conflict


@pytest.fixture
def store(db: Database, clock: Any) -> Credentials:
    return Credentials(db, now=clock)


@pytest.fixture
def audit(db: Database, clock: Any) -> AuditLog:
    return AuditLog(db, now=clock)


async def test_a_credential_comes_back_as_it_was_stored(store: Credentials, audit: AuditLog, clock: Any) -> None:
    given = Credential("a", "openai", b"sealed", 3, "http://127.0.0.1/v1", "openai_chat", enabled=False)
    added = await store.add(given, audit.entry("me", "credential.added", "a"))

    assert await store.all() == [added]
    assert added == Credential(
        "a", "openai", b"sealed", 3, "http://127.0.0.1/v1", "openai_chat", False, int(clock.at * 1_000_000)
    )


async def test_a_name_is_taken_once_and_the_refusal_is_no_change(store: Credentials, audit: AuditLog) -> None:
    await store.add(Credential("a", "openai", b"1"), audit.entry("me", "credential.added", "a"))

    with pytest.raises(Conflict, match="called a already"):
        await store.add(Credential("a", "groq", b"2"), audit.entry("me", "credential.added", "a"))
    assert [row.provider for row in await store.all()] == ["openai"]
    assert len(await audit.show()) == 1


async def test_changes_are_logged_and_what_is_gone_is_not_changed(store: Credentials, audit: AuditLog) -> None:
    await store.add(Credential("a", "openai", b"1"), audit.entry("me", "credential.added", "a"))
    done = [
        await store.change("a", 5, audit.entry("me", "credential.changed", "a"), enabled=False),
        await store.rotate("a", b"2", audit.entry("me", "credential.rotated", "a")),
    ]
    (row,) = await store.all()
    gone = [
        await store.remove("a", audit.entry("me", "credential.removed", "a")),
        await store.remove("a", audit.entry("me", "credential.removed", "a")),
        await store.rotate("a", b"3", audit.entry("me", "credential.rotated", "a")),
    ]

    assert (row.weight, row.enabled, row.sealed, row.rotated_us is not None) == (5, False, b"2", True)
    assert (done, gone) == ([True, True], [True, False, False])
    assert [entry.action for entry in await audit.show()] == [
        "credential.removed",
        "credential.rotated",
        "credential.changed",
        "credential.added",
    ]


async def test_the_first_salt_stays_with_its_work(store: Credentials) -> None:
    """Argon2id may be told to do more one day: what was derived before is derived alike."""
    first = await store.salt(b"a" * 16, Work(1, 2, 3))

    assert await store.salt(b"b" * 16, Work()) == first == (b"a" * 16, Work(1, 2, 3))


async def test_everything_is_sealed_anew_or_nothing(store: Credentials, audit: AuditLog) -> None:
    for name in ("a", "b"):
        await store.add(Credential(name, "openai", name.encode()), audit.entry("me", "credential.added", name))

    def fails_at_b(purpose: str, name: str, sealed: bytes) -> bytes:
        if name == "b":
            raise ValueError("b cannot be opened")
        return b"new"

    with pytest.raises(ValueError, match="b cannot be opened"):
        await store.reseal(fails_at_b, audit.entry("me", "secrets.rotated", "secrets"))
    untouched = [row.sealed for row in await store.all()]
    count = await store.reseal(
        lambda purpose, name, sealed: f"{purpose} {name} ".encode() + sealed,
        audit.entry("me", "secrets.rotated", "secrets"),
    )

    assert untouched == [b"a", b"b"]
    assert count == 2
    assert [row.sealed for row in await store.all()] == [b"credential a a", b"credential b b"]
    assert [entry.action for entry in await audit.show(action="secrets")] == ["secrets.rotated"]


async def test_every_place_of_sealed_values_is_one_of_the_database(db: Database) -> None:
    """A table or column that was renamed would be lost in a rotation."""
    for place in SEALED:
        columns = await db.read(
            lambda connection, table=place.table: [
                row["name"] for row in connection.execute(f"SELECT name FROM pragma_table_info('{table}')")
            ]
        )
        assert {place.column, place.name} <= set(columns)
