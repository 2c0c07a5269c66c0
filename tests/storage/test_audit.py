"""The audit log: what is in it stays as it was written, or it is seen."""

from __future__ import annotations

import asyncio
import hashlib
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from storage.audit import ROOT, AuditLog
from storage.db import Database
from storage.errors import Conflict, StorageError
from storage.migrations import MIGRATIONS
from translators.codec import loads


@dataclass(frozen=True)
class Somebody:
    key_id: str | None


@pytest.fixture
def audit(db: Database, clock: Any) -> AuditLog:
    return AuditLog(db, clean=lambda text: text.replace("hunter2", "[secret]"), now=clock)


async def settled(db: Database) -> None:
    """What was posted before is written."""
    await db.write(lambda connection: None)


async def noted(audit: AuditLog, db: Database, count: int) -> None:
    for number in range(1, count + 1):
        audit.note(Somebody(f"key_{number % 2}"), "key.created", f"k{number}", after={"number": number})
    await settled(db)


async def test_entries_say_who_did_what_to_whom_newest_first(audit: AuditLog, db: Database, clock: Any) -> None:
    audit.note(Somebody("key_1"), "budget.changed", "search", before={"limit": "1"}, after={"limit": "2"})
    audit.note(Somebody(None), "cache.cleared", "cache")
    audit.note("process", "configuration.loaded", "modelport.toml")
    await settled(db)

    found = await audit.show()

    assert [(entry.seq, entry.actor, entry.action, entry.subject) for entry in found] == [
        (3, "process", "configuration.loaded", "modelport.toml"),
        (2, "anonymous", "cache.cleared", "cache"),
        (1, "key_1", "budget.changed", "search"),
    ]
    assert (found[-1].before, found[-1].after, found[-1].at) == ({"limit": "1"}, {"limit": "2"}, clock.at)


async def test_entries_are_chosen_by_time_subject_actor_and_action(audit: AuditLog, db: Database, clock: Any) -> None:
    await noted(audit, db, 3)
    clock.advance(60)
    audit.note("process", "key.revoked", "k1")
    await settled(db)

    async def chosen(**how: Any) -> list[int]:
        return [entry.seq for entry in await audit.show(**how)]

    assert await chosen(since=clock.at) == [4]
    assert await chosen(until=clock.at) == [3, 2, 1]
    assert await chosen(subject="k1") == [4, 1]
    assert await chosen(actor="key_1") == [3, 1]
    assert await chosen(action="key") == [4, 3, 2, 1]
    assert await chosen(action="key.revoked") == [4]
    assert await chosen(action="ke") == []
    assert await chosen(before=3, limit=1) == [2]


async def test_an_entry_goes_in_with_the_change_or_not_at_all(audit: AuditLog, db: Database) -> None:
    entry = audit.entry("process", "thing.made", "a")

    def fails(connection: sqlite3.Connection) -> None:
        entry.append(connection)
        raise Conflict("no")

    with pytest.raises(Conflict):
        await db.write(fails)
    seq, digest = await db.write(entry.append)

    assert seq == 1
    assert [found.hash for found in await audit.show()] == [digest.hex()]


@pytest.mark.parametrize("field", ["key", "subject", "id", "text"])
async def test_ids_of_keys_stay_whatever_they_look_like(db: Database, field: str) -> None:
    audit = AuditLog(db, clean=lambda text: "[secret]")
    told = {field: "key_0123456789abcdef", "keys": ["key_0123456789abcdef", "key_0123456789abcdeg"]}

    entry = audit.entry("process", "thing.made", "a", after=told)

    assert loads(entry.after or "") == {field: "key_0123456789abcdef", "keys": ["key_0123456789abcdef", "[secret]"]}


async def test_the_chain_holds_though_neighbours_fail_and_are_tried_again(audit: AuditLog, db: Database) -> None:
    """Writes share a transaction; when one of them fails, all are run a second time."""

    def fails(connection: sqlite3.Connection) -> None:
        connection.execute("INSERT INTO no_such_table VALUES (1)")

    for number in range(50):
        audit.note("process", "thing.made", str(number))
        db.post(fails)
    await audit.record("process", "thing.made", "50")

    verdict = await audit.verify()

    assert (verdict.entries, verdict.broken_at) == (51, None)
    assert [entry.subject for entry in (await audit.show())[::-1]] == [str(number) for number in range(51)]


async def test_secrets_do_not_get_in(audit: AuditLog, db: Database) -> None:
    audit.note(
        "process",
        "thing.made",
        "a",
        after={"key": "mp-plain", "deep": [{"secret": "s3cret", "text": "it is hunter2"}], "key_id": "key_1", "n": 1},
    )
    await settled(db)

    (entry,) = await audit.show()
    assert entry.after == {
        "key": "[secret]",
        "deep": [{"secret": "[secret]", "text": "it is [secret]"}],
        "key_id": "key_1",
        "n": 1,
    }


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit SET actor = 'me' WHERE seq = 1",
        "DELETE FROM audit WHERE seq = 2",
        "DELETE FROM audit",
        "INSERT OR REPLACE INTO audit SELECT seq, at_us, '', action, subject, before, after, previous, hash FROM audit",
        "INSERT INTO audit SELECT 7, at_us, 'me', action, subject, before, after, previous, hash FROM audit LIMIT 1",
    ],
)
async def test_the_database_refuses_to_change_it(audit: AuditLog, db: Database, statement: str) -> None:
    await noted(audit, db, 2)

    with pytest.raises(StorageError, match="append-only"):
        await db.write(lambda connection: connection.execute(statement))

    assert (await audit.verify()).entries == 2


async def test_a_whole_chain_has_its_head_and_remembers_earlier_ones(audit: AuditLog, db: Database) -> None:
    assert (await audit.verify()).head == ROOT.hex()
    await noted(audit, db, 2)
    early = (await audit.verify()).head
    await noted(audit, db, 3)

    verdict = await audit.verify(early.upper())

    assert (verdict.entries, verdict.broken_at, verdict.known_at) == (5, None, 2)
    assert verdict.head == (await audit.show(limit=1))[0].hash


TRIGGERS = ("audit_no_update", "audit_no_delete", "audit_in_order")
REST = "at_us, actor, action, subject, before, after, previous, hash"


def tamper(db: Database, statement: str) -> None:
    """As somebody with the file would."""
    with closing(sqlite3.connect(db.path, isolation_level=None)) as connection:
        for name in TRIGGERS:
            connection.execute(f"DROP TRIGGER {name}")
        connection.execute(statement)


@pytest.mark.parametrize(
    ("statement", "entries", "broken_at", "reason"),
    [
        ("UPDATE audit SET actor = 'somebody else' WHERE seq = 3", 2, 3, "it is not what was written"),
        ("UPDATE audit SET after = NULL WHERE seq = 3", 2, 3, "it is not what was written"),
        ("UPDATE audit SET at_us = at_us + 1 WHERE seq = 3", 2, 3, "it is not what was written"),
        ("UPDATE audit SET hash = 'text' WHERE seq = 3", 2, 3, "it is not what was written"),
        ("UPDATE audit SET before = x'ff' WHERE seq = 3", 2, 3, "it is not what was written"),
        ("UPDATE audit SET previous = zeroblob(32) WHERE seq = 3", 2, 3, "it does not follow from the entry before"),
        ("DELETE FROM audit WHERE seq = 3", 2, 4, "the entries from 3 to 3 are missing"),
        ("DELETE FROM audit WHERE seq < 3", 0, 3, "the entries from 1 to 2 are missing"),
        ("DELETE FROM audit WHERE seq > 3", 3, 4, "the entries from 4 to 5 are missing"),
        ("DELETE FROM audit", 0, 1, "the entries from 1 to 5 are missing"),
        ("DELETE FROM audit_end", 5, 6, "the log's end is not where it was written"),
        ("UPDATE audit_end SET seq = 4", 5, 6, "the log's end is not where it was written"),
        ("UPDATE audit_end SET hash = zeroblob(32)", 5, 6, "the log's end is not where it was written"),
        (f"INSERT INTO audit SELECT -7, {REST} FROM audit WHERE seq = 3", 0, -7, "no entry was ever given that number"),
        (
            f"INSERT INTO audit SELECT 6, {REST} FROM audit WHERE seq = 5",
            5,
            6,
            "it does not follow from the entry before",
        ),
    ],
)
async def test_what_is_changed_behind_its_back_is_found_where_it_is(
    audit: AuditLog, db: Database, statement: str, entries: int, broken_at: int, reason: str
) -> None:
    await noted(audit, db, 5)
    tamper(db, statement)

    verdict = await audit.verify()

    assert (verdict.entries, verdict.broken_at, verdict.reason) == (entries, broken_at, reason)
    await audit.show()  # it can still be looked at


async def test_a_chain_that_was_cut_off_does_not_have_the_head_that_was_noted(audit: AuditLog, db: Database) -> None:
    await noted(audit, db, 5)
    head = (await audit.verify()).head
    tamper(db, "DELETE FROM audit WHERE seq > 3")
    with closing(sqlite3.connect(db.path, isolation_level=None)) as connection:
        connection.execute("UPDATE audit_end SET seq = 3, hash = (SELECT hash FROM audit WHERE seq = 3)")

    verdict = await audit.verify(head)

    assert (verdict.entries, verdict.broken_at, verdict.known_at) == (3, None, None)


async def test_what_was_cut_off_is_missed_whatever_is_added_afterwards(audit: AuditLog, db: Database) -> None:
    """The next entry goes on from the end that was, not from the one that is left."""
    await noted(audit, db, 5)
    with closing(sqlite3.connect(db.path, isolation_level=None)) as connection:
        connection.execute("DROP TRIGGER audit_no_delete")
        connection.execute("DELETE FROM audit WHERE seq > 3")
    await noted(audit, db, 1)

    verdict = await audit.verify()

    assert [entry.seq for entry in await audit.show()] == [6, 3, 2, 1]
    assert (verdict.broken_at, verdict.reason) == (6, "the entries from 4 to 5 are missing")


async def test_a_log_of_before_knows_its_end(tmp_path: Path) -> None:
    """The step that keeps the end starts from the entries that are there."""
    path, old = tmp_path / "old.db", [step for step in MIGRATIONS if step.number < 25]
    async with Database(path, steps=old) as db:
        await db.write(lambda connection: connection.execute(_BEFORE, (ROOT, _FIRST_HASH)))

    async with Database(path) as db:
        audit = AuditLog(db)
        await audit.record("process", "thing.made", "b")
        verdict = await audit.verify()

    assert (verdict.entries, verdict.broken_at) == (2, None)


_BEFORE = "INSERT INTO audit VALUES (1, 7, 'process', 'thing.made', 'a', NULL, NULL, ?, ?)"
_FIRST_HASH = hashlib.sha256(ROOT + b'[1,7,"process","thing.made","a",null,null]').digest()


async def test_long_chains_are_walked_to_their_end(audit: AuditLog, db: Database) -> None:
    def many(connection: sqlite3.Connection) -> None:
        for number in range(4500):
            audit.entry("process", "thing.made", str(number)).append(connection)

    await db.write(many)

    assert (await audit.verify()).entries == 4500


async def test_a_note_that_cannot_be_written_is_counted_and_said(
    audit: AuditLog, db: Database, caplog: pytest.LogCaptureFixture
) -> None:
    await db.close()
    audit.note("process", "thing.made", "a")
    await asyncio.sleep(0)

    assert audit.lost == 1
    assert "thing.made of a by process could not be put into the audit log" in caplog.text
