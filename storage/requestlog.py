"""The request log in the database: documents of many parts, each part stored once, found by its words.

A document (a request's body, an answer) is cut at its top level: each member of a list is a part, and so is every long
value. A part is stored by its SHA-256, compressed; a conversation that grows by one message adds one part. Documents
come back equal in value, fields in the order in which they came. Parts that no entry has any more go with the last one.
"""

from __future__ import annotations

import re
import sqlite3
import zlib
from collections.abc import AsyncIterator, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha256
from typing import Any, Final

from storage.db import Database
from storage.sums import EVERYONE, WHOSE, Whose
from translators.codec import dumps, loads_exact

LONG: Final = 256
"""From this length of its JSON on a value is a part of its own."""
PART_OVERHEAD: Final = 128
ENTRY_OVERHEAD: Final = 512
REFERENCE: Final = 24
"""Bytes that rows take in the file beside what they hold, roughly."""
PAGE: Final = 100
"""Entries that are read at once."""
REMOVED: Final = 25
"""Entries that are removed at once: the ledger's writes come between."""
INDEXED: Final = 64 * 1024
"""Characters of one part by which it is found."""
MAX_WORDS: Final = 32
LEVEL: Final = 6


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of a document: JSON, compressed, and the words by which it is found."""

    hash: bytes
    data: bytes
    text: str

    @property
    def size(self) -> int:
        """Bytes that it takes, roughly."""
        return len(self.data) + len(self.text.encode()) + PART_OVERHEAD


@dataclass(slots=True)
class Parts:
    """The parts of one entry, in their places."""

    found: list[Part] = field(default_factory=list)
    _places: dict[bytes, int] = field(default_factory=dict)
    _left: int = 512 * 1024
    """Characters of the whole entry that the index may still take: its write must not hold the ledger's up."""

    def cut(self, document: Mapping[str, Any], spoken: Container[str]) -> bytes:
        """*document* with its parts taken out, compressed. Found by their words are the fields named in *spoken*."""
        cut = [[name, *self._cut(value, found=name in spoken)] for name, value in document.items()]
        return zlib.compress(dumps(cut), LEVEL)

    def _cut(self, value: Any, *, found: bool) -> tuple[str, Any]:
        if isinstance(value, list) and any(isinstance(each, dict) for each in value):
            return "list", [self._put(dumps(each), each, found=found) for each in value]
        raw = dumps(value)
        return ("part", self._put(raw, value, found=found)) if found or len(raw) > LONG else ("value", value)

    def _put(self, raw: bytes, value: Any, *, found: bool) -> int:
        digest = sha256(raw).digest()
        place = self._places.get(digest)
        if place is None:
            place = self._places[digest] = len(self.found)
            words = "\n".join(texts(value))[: min(INDEXED, self._left)] if found else ""
            self._left -= len(words)
            self.found.append(Part(digest, zlib.compress(raw, LEVEL), words))
        return place


def texts(value: Any) -> Iterator[str]:
    """What people and models have written in *value*: every text but names of kinds and roles."""
    match value:
        case str():
            yield value
        case list():
            for each in value:
                yield from texts(each)
        case dict():
            for name, each in value.items():
                if name not in _NO_WORDS:
                    yield from texts(each)
        case _:
            pass


_NO_WORDS: Final = frozenset({"type", "role", "id", "object", "finish_reason", "stop_reason", "signature"})


@dataclass(frozen=True, slots=True)
class Entry:
    """One exchange on its way into the log. *question* and *answer* are the beginnings of both, for lists."""

    id: str
    at_us: int
    key_id: str | None
    team: str | None
    organisation: str | None
    dialect: str
    route: str
    target: str | None
    status: str
    stream: bool
    cache: str
    latency_ms: float
    cost_nanousd: int | None
    error: str | None
    question: str
    answer: str
    asked: bytes
    answered: bytes | None
    parts: Sequence[Part]

    @property
    def size(self) -> int:
        """Bytes that it takes beside its parts, roughly."""
        own = len(self.asked) + len(self.answered or b"") + len(self.question) + len(self.answer)
        return own + len(self.error or "") + ENTRY_OVERHEAD + REFERENCE * len(self.parts)

    @property
    def weight(self) -> int:
        """Bytes that it takes at most."""
        return self.size + sum(part.size for part in self.parts)


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which entries are meant. Times are Unix seconds, *text* words that one message must have, all of them.

    *before* and *after* are numbers of rows; with *after*, the oldest come first, else the newest. *key* may be empty:
    of whoever asked without one. *model* is a target, or the model of one.
    """

    key: str | None = None
    model: str | None = None
    route: str | None = None
    status: str | None = None
    since: float | None = None
    until: float | None = None
    text: str | None = None
    before: int | None = None
    after: int | None = None
    whose: Whose = EVERYONE

    def parameters(self) -> dict[str, Any]:
        """Those of `_WHICH`."""
        return {
            "key": self.key,
            "model": self.model,
            "route": self.route,
            "status": self.status,
            "since": None if self.since is None else int(self.since * 1_000_000),
            "until": None if self.until is None else int(self.until * 1_000_000),
            "match": None if self.text is None else match_of(self.text),
            "before": self.before,
            "after": self.after,
            **self.whose.wanted(),
        }


def match_of(text: str) -> str:
    """*text* as a question to the index: words, and phrases between quotation marks, all of which have to be there."""
    plain = re.sub(r"[\x00-\x1f\x7f\ud800-\udfff]", " ", text)
    found = [phrase or word for phrase, word in re.findall(r'"([^"]*)"|([^\s"]+)', plain)]
    return " ".join(f'"{each}"' for each in found[:MAX_WORDS] if each.strip()) or '""'


class RequestLogStore:
    """The log in *db*."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def add(self, entries: Sequence[Entry]) -> None:
        """Store *entries*, on disk when this returns. One whose id is there is left out.

        Raises:
            StorageError: they cannot be stored.
        """
        await self._db.write(partial(_add, entries))

    async def find(self, wanted: Wanted, limit: int) -> list[dict[str, Any]]:
        """Entries without their documents."""
        order = _OLDEST if wanted.after is not None else _NEWEST
        given = {**wanted.parameters(), "limit": limit}
        rows = await self._db.read(lambda connection: connection.execute(order, given).fetchall())
        return [dict(row) for row in rows]

    async def one(self, id: str, whose: Whose = EVERYONE) -> dict[str, Any] | None:  # noqa: A002  the API's word
        """The entry of that id, whole."""
        given = {"id": id, **whose.wanted()}
        return await self._db.read(lambda connection: _one(connection, given))

    async def whole(self, wanted: Wanted) -> AsyncIterator[list[dict[str, Any]]]:
        """All entries that are meant, whole, oldest first, in pages."""
        after = wanted.after or 0
        while True:
            given = {**wanted.parameters(), "after": after, "limit": PAGE}
            page = await self._db.read(partial(_whole, given))
            if not page:
                return
            after = page[-1]["row"]
            yield page

    async def remove(self, wanted: Wanted) -> int:
        """Forget what is meant; how many there were.

        Raises:
            StorageError: it cannot be removed.
        """
        removed = 0
        given = {**wanted.parameters(), "after": wanted.after or 0, "limit": REMOVED}
        while count := await self._db.write(partial(_remove_some, _ROWS, given)):
            removed += count
        return removed

    async def prune(self, now: float, *, ttl_s: float, max_bytes: int) -> int:
        """Forget what is too old, and the oldest while all together is too large; how many."""
        if not (await self.stats())["entries"]:
            return 0
        removed = await self.remove(Wanted(until=now - ttl_s))
        while (await self.stats())["size_bytes"] > max_bytes:
            count = await self._db.write(partial(_remove_some, _FIRST, {"limit": REMOVED, "most": max_bytes}))
            if not count:
                break
            removed += count
        return removed

    async def stats(self) -> dict[str, int]:
        """Entries, parts and bytes."""
        row = await self._db.read(lambda connection: connection.execute(_STATS).fetchone())
        return dict(row)


_COLUMNS: Final = (
    "e.row, e.id, e.at_us, e.key_id, e.team, e.organisation, e.dialect, e.route, e.target, e.status, e.stream,"
    " e.cache, e.latency_ms, e.cost_nanousd, e.error, e.question, e.answer"
)
_WHICH: Final = f"""
    (:key IS NULL OR ifnull(e.key_id, '') = :key)
    AND (:model IS NULL OR e.target = :model OR substr(e.target, instr(e.target, '/') + 1) = :model)
    AND (:route IS NULL OR e.route = :route) AND (:status IS NULL OR e.status = :status)
    AND (:since IS NULL OR e.at_us >= :since) AND (:until IS NULL OR e.at_us < :until)
    AND (:before IS NULL OR e.row < :before) AND (:after IS NULL OR e.row > :after)
    AND (:match IS NULL OR e.row IN (
        SELECT p.entry FROM log_text AS t JOIN log_parts AS p ON p.blob = t.rowid WHERE t.text MATCH :match))
    {WHOSE}"""  # noqa: S608 -- names of columns
# The statements below are made of those above; every value is a bound parameter.
_NEWEST: Final = f"SELECT {_COLUMNS} FROM log_entries AS e WHERE {_WHICH} ORDER BY e.row DESC LIMIT :limit"  # noqa: S608
_OLDEST: Final = f"SELECT {_COLUMNS} FROM log_entries AS e WHERE {_WHICH} ORDER BY e.row LIMIT :limit"  # noqa: S608
_ROWS: Final = f"SELECT e.row FROM log_entries AS e WHERE {_WHICH} ORDER BY e.row LIMIT :limit"  # noqa: S608
_WHOLE: Final = (
    f"SELECT {_COLUMNS}, e.asked, e.answered FROM log_entries AS e WHERE {_WHICH} ORDER BY e.row LIMIT :limit"  # noqa: S608
)
_ONE: Final = f"SELECT {_COLUMNS}, e.asked, e.answered FROM log_entries AS e WHERE e.id = :id {WHOSE}"  # noqa: S608
_SIZE: Final = """
(SELECT size_bytes FROM log_entries_totals) + (SELECT size_bytes FROM log_blobs_totals)"""
_STATS: Final = f"""
SELECT (SELECT entries FROM log_entries_totals) AS entries, (SELECT entries FROM log_blobs_totals) AS parts,
       {_SIZE} AS size_bytes"""  # noqa: S608 -- as above
# Of the oldest as many as are too many by the mean size, at least one.
_FIRST: Final = f"""
SELECT row FROM log_entries ORDER BY row LIMIT min(:limit, max(1, (
    SELECT ({_SIZE} - :most) * entries / max(1, {_SIZE}) FROM log_entries_totals)))"""  # noqa: S608 -- as above

_ADD: Final = """
INSERT INTO log_entries (id, at_us, key_id, team, organisation, dialect, route, target, status, stream, cache,
                         latency_ms, cost_nanousd, error, question, answer, asked, answered, size)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (id) DO NOTHING"""
_ADD_BLOB: Final = "INSERT INTO log_blobs (hash, data, size) VALUES (?, ?, ?) ON CONFLICT (hash) DO NOTHING"


def _add(entries: Sequence[Entry], connection: sqlite3.Connection) -> None:
    for entry in entries:
        row = (
            entry.id, entry.at_us, entry.key_id, entry.team, entry.organisation, entry.dialect, entry.route,
            entry.target, entry.status, entry.stream, entry.cache, entry.latency_ms, entry.cost_nanousd, entry.error,
            entry.question, entry.answer, entry.asked, entry.answered, entry.size,
        )  # fmt: skip
        added = connection.execute(_ADD, row)
        if not added.rowcount:
            continue
        number = added.lastrowid
        for place, part in enumerate(entry.parts):
            connection.execute("INSERT INTO log_parts VALUES (?, ?, ?)", (number, place, _blob(connection, part)))


def _blob(connection: sqlite3.Connection, part: Part) -> int:
    """The number of *part*, which is stored if it is not there."""
    added = connection.execute(_ADD_BLOB, (part.hash, part.data, part.size))
    if added.rowcount:
        number = added.lastrowid or 0
        if part.text:
            connection.execute("INSERT INTO log_text (rowid, text) VALUES (?, ?)", (number, part.text))
        return number
    (found,) = connection.execute("SELECT row FROM log_blobs WHERE hash = ?", (part.hash,)).fetchone()
    return int(found)


def _remove_some(which: str, given: Mapping[str, Any], connection: sqlite3.Connection) -> int:
    rows = dumps([row for (row,) in connection.execute(which, given)]).decode()
    blobs = [blob for (blob,) in connection.execute(_PARTS_OF, (rows,))]
    connection.execute("DELETE FROM log_parts WHERE entry IN (SELECT value FROM json_each(?))", (rows,))
    removed = connection.execute("DELETE FROM log_entries WHERE row IN (SELECT value FROM json_each(?))", (rows,))
    orphans = dumps([blob for (blob,) in connection.execute(_ORPHANS, (dumps(blobs).decode(),))]).decode()
    connection.execute("DELETE FROM log_text WHERE rowid IN (SELECT value FROM json_each(?))", (orphans,))
    connection.execute("DELETE FROM log_blobs WHERE row IN (SELECT value FROM json_each(?))", (orphans,))
    return removed.rowcount


_PARTS_OF: Final = "SELECT DISTINCT blob FROM log_parts WHERE entry IN (SELECT value FROM json_each(?))"
_ORPHANS: Final = """
SELECT value FROM json_each(?) WHERE NOT EXISTS (SELECT 1 FROM log_parts WHERE blob = value)"""
_DATA: Final = """
SELECT p.place, b.data FROM log_parts AS p JOIN log_blobs AS b ON b.row = p.blob WHERE p.entry = ? ORDER BY p.place"""


def _one(connection: sqlite3.Connection, given: Mapping[str, Any]) -> dict[str, Any] | None:
    row = connection.execute(_ONE, given).fetchone()
    return _put_together(connection, row) if row else None


def _whole(given: Mapping[str, Any], connection: sqlite3.Connection) -> list[dict[str, Any]]:
    return [_put_together(connection, row) for row in connection.execute(_WHOLE, given).fetchall()]


def _put_together(connection: sqlite3.Connection, row: sqlite3.Row) -> dict[str, Any]:
    parts = [loads_exact(zlib.decompress(data).decode()) for _, data in connection.execute(_DATA, (row["row"],))]
    return {
        **{name: row[name] for name in row.keys() if name not in {"asked", "answered"}},  # noqa: SIM118 -- a Row's values
        "request": _joined(row["asked"], parts),
        "response": None if row["answered"] is None else _joined(row["answered"], parts),
    }


def _joined(document: bytes, parts: Sequence[Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, kind, value in loads_exact(zlib.decompress(document).decode()):
        match kind:
            case "list":
                found[name] = [parts[place] for place in value]
            case "part":
                found[name] = parts[value]
            case _:
                found[name] = value
    return found
