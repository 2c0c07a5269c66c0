"""The audit log: who changed what, and when. Entries are added and never changed.

Each entry holds SHA-256 over the hash of the entry before and its own canonical JSON. Whoever changes, removes or
inserts one behind the database's back breaks the chain there. Its end stands in a table of its own, from which the
next entry goes on, so that one that was cut off is missed for ever. Whoever changes that, too, or writes the whole
chain anew, changes its head: compare it with one that was noted elsewhere.

    await audit.record(identity, "cache.cleared", "cache", after={"cleared": 12})
    audit.note("process", "configuration.loaded", path)                       # soon, where nobody can wait
    entry = audit.entry(identity, "key.created", key_id, after=shown)         # inside an operation of one's own:
    await db.write(lambda connection: (insert(connection), entry.append(connection)))
"""

from __future__ import annotations

import hashlib
import logging
import re
import sqlite3
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Protocol

from storage.db import Database
from storage.errors import StorageError
from translators.codec import JsonError, canonical, loads

log = logging.getLogger("modelport.audit")

ROOT: Final = bytes(32)
"""What stands before the first entry."""
NOBODY: Final = "anonymous"
"""The actor where nobody has to say who they are."""
BEFORE_ALL: Final = float("-inf")
"""Below the number of every row, of those that were put in by other hands, too."""
PAGE: Final = 2000
"""Entries that `verify` reads at once."""
SECRET: Final = "[secret]"  # noqa: S105 -- what stands in a secret's place
SECRET_FIELDS: Final = frozenset({"key", "secret", "password", "passphrase", "token", "master_key", "authorization"})
"""Fields whose values are never kept, whoever hands them over."""
NAMES: Final = frozenset({"id", "key_id", "maker", "name", "provider", "organisation", "team", "route"})
"""Fields that hold names of ours, which may look like a key and are none."""
ID: Final = re.compile(r"(?:budget_)?key_[0-9a-f]{16}")
"""A virtual key's id, which may stand anywhere; it lets nobody in."""


class Actor(Protocol):
    """Whoever changes something."""

    @property
    def key_id(self) -> str | None:
        """The id of their key; None without one."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A change, on its way into the log. *before* and *after* are JSON texts or None."""

    at_us: int
    actor: str
    action: str
    subject: str
    before: str | None
    after: str | None

    def append(self, connection: sqlite3.Connection) -> tuple[int, bytes]:
        """Put it at the end of the chain, in the transaction that runs; its number and hash."""
        seq, previous = connection.execute(_END).fetchone() or (0, ROOT)
        digest = _hash(previous, seq + 1, self)
        row = (self.at_us, self.actor, self.action, self.subject, self.before, self.after)
        connection.execute(_APPEND, (seq + 1, *row, previous, digest))
        return seq + 1, digest


@dataclass(frozen=True, slots=True)
class Logged:
    """An entry that stands in the log. *at* is Unix seconds, *hash* hexadecimal."""

    seq: int
    at: float
    actor: str
    action: str
    subject: str
    before: Any
    after: Any
    hash: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a walk along the chain found. *entries* are those that are as they were written, *head* the last one's hash.

    *broken_at* is the number of the first that is not; *known_at* the number of the entry with the hash that was asked
    for.
    """

    entries: int
    head: str
    broken_at: int | None = None
    reason: str = ""
    known_at: int | None = None


class AuditLog:
    """The log in *db*. *clean* takes secrets out of a text."""

    def __init__(
        self, db: Database, *, clean: Callable[[str], str] = str, now: Callable[[], float] = time.time
    ) -> None:
        self._db = db
        self._now = now
        self.clean = clean
        self.lost = 0
        """Entries that could not be written."""

    def entry(
        self,
        by: Actor | str,
        action: str,
        subject: str,
        before: Mapping[str, Any] | None = None,
        after: Mapping[str, Any] | None = None,
    ) -> Entry:
        """What *by* did to *subject*. *action* is `thing.verb`; *before* and *after* hold what changed."""
        actor = by if isinstance(by, str) else by.key_id or NOBODY
        return Entry(int(self._now() * 1_000_000), actor, action, subject, self._told(before), self._told(after))

    def note(
        self,
        by: Actor | str,
        action: str,
        subject: str,
        before: Mapping[str, Any] | None = None,
        after: Mapping[str, Any] | None = None,
    ) -> None:
        """Log a change that is done. Never waits, never raises for the disk."""
        entry = self.entry(by, action, subject, before, after)
        self._db.post(entry.append, partial(self._noted, entry))

    async def record(
        self,
        by: Actor | str,
        action: str,
        subject: str,
        before: Mapping[str, Any] | None = None,
        after: Mapping[str, Any] | None = None,
    ) -> None:
        """Log a change that is done; on disk when this returns.

        Raises:
            StorageError: it cannot be written.
        """
        entry = self.entry(by, action, subject, before, after)
        self._noted(entry, await self._db.write(entry.append), None)

    async def last(self, action: str) -> Logged | None:
        """The newest entry of *action*."""
        row = await self._db.read(lambda connection: connection.execute(_LAST, (action,)).fetchone())
        return _logged(row) if row else None

    async def show(
        self,
        *,
        since: float | None = None,
        until: float | None = None,
        subject: str | None = None,
        actor: str | None = None,
        action: str | None = None,
        before: int | None = None,
        limit: int = 100,
    ) -> list[Logged]:
        """Entries, newest first. *since* and *until* are Unix seconds, *before* a number to go on below."""
        wanted = {
            "since": None if since is None else int(since * 1_000_000),
            "until": None if until is None else int(until * 1_000_000),
            "subject": subject,
            "actor": actor,
            "action": action,
            "before": before,
            "limit": limit,
        }
        rows = await self._db.read(lambda connection: connection.execute(_SHOW, wanted).fetchall())
        return [_logged(row) for row in rows]

    async def verify(self, known: str | None = None) -> Verdict:
        """Walk the whole chain. *known* is a hash, hexadecimal, that one of its entries should have."""
        seq, previous, known_at, after = 0, ROOT, None, BEFORE_ALL
        while True:
            for row in await self._db.read(partial(_page, after)):
                if reason := _wrong(row, seq + 1, previous):
                    return Verdict(seq, previous.hex(), row["seq"], reason, known_at)
                seq, previous = row["seq"], row["hash"]
                if known is not None and previous.hex() == known.lower():
                    known_at = seq
            after = max(seq, after)
            ends = await self._db.read(lambda connection: connection.execute(_ENDS).fetchone())
            if (ends["last"] or 0) <= seq:  # else more has come meanwhile
                reason = _wrong_end(ends, seq, previous)
                return Verdict(seq, previous.hex(), seq + 1 if reason else None, reason, known_at)

    def _told(self, fields: Mapping[str, Any] | None) -> str | None:
        return None if fields is None else canonical(self._cleaned(dict(fields))).decode()

    def _cleaned(self, value: Any) -> Any:
        match value:
            case str():
                return value if ID.fullmatch(value) else self.clean(value)
            case Mapping():
                return {str(name): self._cleaned_field(str(name), inner) for name, inner in value.items()}
            case list() | tuple():
                return [self._cleaned(each) for each in value]
            case _:
                return value

    def _cleaned_field(self, name: str, value: Any) -> Any:
        if not isinstance(value, str) or ID.fullmatch(value):
            return self._cleaned(value)
        if name in SECRET_FIELDS:
            return SECRET
        return value if name in NAMES else self.clean(value)

    def _noted(self, entry: Entry, written: tuple[int, bytes] | None, error: StorageError | None) -> None:
        if written is None:
            self.lost += 1
            log.error("%s of %s by %s could not be put into the audit log: %s", *_named(entry), error)
            return
        # The log of the process is a second place in which the head of the chain stands.
        log.info("%s of %s by %s: entry %d, %s", *_named(entry), written[0], written[1].hex())


def _named(entry: Entry) -> tuple[str, str, str]:
    return entry.action, entry.subject, entry.actor


_END: Final = "SELECT seq, hash FROM audit_end"
_ENDS: Final = """
SELECT max(seq) AS last, (SELECT seq FROM audit_end) AS seq, (SELECT hash FROM audit_end) AS hash FROM audit"""
_APPEND: Final = """
INSERT INTO audit (seq, at_us, actor, action, subject, before, after, previous, hash)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"""
_COLUMNS: Final = "seq, at_us, actor, action, subject, before, after, previous, hash"
_SHOW: Final = f"""
SELECT {_COLUMNS} FROM audit
WHERE (:since IS NULL OR at_us >= :since) AND (:until IS NULL OR at_us < :until)
    AND (:subject IS NULL OR subject = :subject) AND (:actor IS NULL OR actor = :actor)
    AND (:action IS NULL OR action = :action OR substr(action, 1, length(:action) + 1) = :action || '.')
    AND (:before IS NULL OR seq < :before)
ORDER BY seq DESC LIMIT :limit"""  # noqa: S608 -- the names of its columns
_LAST: Final = f"SELECT {_COLUMNS} FROM audit WHERE action = ? ORDER BY seq DESC LIMIT 1"  # noqa: S608 -- the same
_PAGE: Final = f"SELECT {_COLUMNS} FROM audit WHERE seq > ? ORDER BY seq LIMIT ?"  # noqa: S608 -- the same


def _page(after: float, connection: sqlite3.Connection) -> list[sqlite3.Row]:
    return connection.execute(_PAGE, (after, PAGE)).fetchall()


def _hash(previous: bytes, seq: int, entry: Entry) -> bytes:
    said = [seq, entry.at_us, entry.actor, entry.action, entry.subject, entry.before, entry.after]
    return hashlib.sha256(previous + canonical(said)).digest()


def _wrong(row: sqlite3.Row, expected: int, previous: bytes) -> str:
    """Why *row* is not what was written as entry *expected*; empty when it is."""
    if row["seq"] < expected:
        return "no entry was ever given that number"
    if row["seq"] != expected:
        return f"the entries from {expected} to {row['seq'] - 1} are missing"
    if row["previous"] != previous:
        return "it does not follow from the entry before"
    entry = Entry(row["at_us"], row["actor"], row["action"], row["subject"], row["before"], row["after"])
    try:
        digest = _hash(previous, row["seq"], entry)
    except (TypeError, ValueError):  # a value of a kind that is never written
        digest = b""
    return "" if digest == row["hash"] else "it is not what was written"


def _wrong_end(ends: sqlite3.Row, seq: int, digest: bytes) -> str:
    """Why a chain that is whole up to entry *seq* is not all that was written; empty when it is."""
    if (ends["seq"], ends["hash"]) == ((seq, digest) if seq else (None, None)):
        return ""
    if isinstance(ends["seq"], int) and ends["seq"] > seq:
        return f"the entries from {seq + 1} to {ends['seq']} are missing"
    return "the log's end is not where it was written"


def _logged(row: sqlite3.Row) -> Logged:
    """*row* as it stands, be it as it was written or not: `verify` says which."""
    before, after = (_read(row[name]) for name in ("before", "after"))
    at, digest = float(row["at_us"]) / 1_000_000, row["hash"]
    shown = digest.hex() if isinstance(digest, bytes) else str(digest)
    return Logged(row["seq"], at, row["actor"], row["action"], row["subject"], before, after, shown)


def _read(text: Any) -> Any:
    try:
        return None if text is None else loads(text)
    except (JsonError, TypeError):
        return str(text)
