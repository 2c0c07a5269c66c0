"""The semantic cache: which stored question asks the same, within one scope.

    scope = scope_of(tenant, "fast", {"system": ..., "turns": ..., "tools": ..., "temperature": 0})
    found = await semantic.find(scope, text)                     # by its words, which needs nobody
    found = found or await semantic.find(scope, text, vector)    # by its meaning, where an embedding was asked for
    semantic.add(scope, text, key, vector, ttl_s=3600)           # key: where the exact cache has the answer

The answers stay in the exact cache; a question whose answer is gone there is forgotten (`forget`). A hit that a person
calls false is remembered as a pair of questions that never match again, whatever the rules say.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import time
from array import array
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from storage.db import Database
from storage.errors import StorageError
from storage.pruning import prune
from storage.semantic import RULES
from storage.semantic.shelf import Entry, Shelf
from storage.semantic.similar import cosine, likeness, normalised, signs
from translators.codec import canonical

if TYPE_CHECKING:
    from storage.semantic.reading import Reading

WORD_THRESHOLD: Final = 0.8
"""How alike two wordings must look. `guard` decides on top of it."""

VECTOR_THRESHOLD: Final = 0.92
"""The cosine from which on embeddings count as the same meaning. What is right depends on the embedding model."""

MAX_ENTRIES: Final = 100_000
IN_SCOPE: Final = 10_000
"""Questions of one scope that are looked through, the newest."""

IN_MEMORY: Final = 50_000
"""Questions in memory over all scopes; those of the scopes that were asked longest ago go."""

FALSE_HITS: Final = 3
"""A question that was the wrong one so often is forgotten altogether."""

MAX_PAIRS: Final = 100_000
MAX_SERVED: Final = 10_000
"""Hits that can still be called false."""

_EVERY: Final = 64
"""After so many new questions the bounds are looked after."""

_WAITING: Final = 10_000


@dataclass(frozen=True, slots=True)
class Scope:
    """Where alone a question may match: *digest* covers *tenant* and all else that the answer depends on."""

    tenant: str
    digest: bytes


def scope_of(tenant: str, target_or_route: str, context: Mapping[str, Any]) -> Scope:
    """The scope of a request. *context*: system prompt, tools, earlier turns, sampling, and the embedder's name."""
    digest = hashlib.sha256()
    for part in (tenant.encode(), target_or_route.encode(), canonical(dict(context))):
        digest.update(len(part).to_bytes(8, "big"))
        digest.update(part)
    return Scope(tenant, digest.digest())


@dataclass(frozen=True, slots=True)
class Found:
    """A stored *question* that asks what was *asked*; its answer is in the exact cache under *key*."""

    scope: Scope
    key: bytes
    asked: str
    question: str
    similarity: float
    by_vector: bool = False


@dataclass(slots=True)
class Counts:
    """Since the start."""

    word_hits: int = 0
    vector_hits: int = 0
    misses: int = 0
    guarded: int = 0
    """Questions that were near enough, and that the guard kept apart."""
    false_hits: int = 0
    dropped: int = 0
    """Questions that were not stored because the disk did not keep up or refused."""


class Semantic:
    """Questions in *db*. `open` first."""

    def __init__(
        self,
        db: Database,
        *,
        max_entries: int = MAX_ENTRIES,
        in_scope: int = IN_SCOPE,
        in_memory: int = IN_MEMORY,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._db = db
        self._max_entries = max_entries
        self._in_scope = in_scope
        self._in_memory = in_memory
        self._now = now
        self._shelves: OrderedDict[bytes, Shelf] = OrderedDict()
        self._loading: dict[bytes, list[Callable[[Shelf], None]]] = {}
        self._waiting: dict[tuple[bytes, bytes], tuple[Entry, bytes | None]] = {}
        self._never: set[tuple[str, bytes, bytes]] = set()
        self._entries = 0
        self._added = 0
        self.counts = Counts()

    async def open(self) -> None:
        """Learn how much is stored and which pairs never match; forget what other rules or no answers stand behind.

        Raises:
            StorageError: it cannot be read or written.
        """
        await self._db.write(lambda connection: connection.execute(_DELETE_STALE, (RULES,)).rowcount)
        self._entries, self._never = await self._db.read(_load)

    async def find(
        self,
        scope: Scope,
        text: str,
        vector: Sequence[float] | None = None,
        *,
        vector_threshold: float = VECTOR_THRESHOLD,
        final: bool = True,
    ) -> Found | None:
        """The stored question that *text* asks again, by its words, else by *vector*. A disk that fails is a miss.

        Without *final* a miss is not counted: it will be looked for once more, with a vector.
        """
        asked = _reading(text)
        found = None
        if asked is not None:
            try:
                shelf = await self._shelf(scope)
                found = self._by_words(scope, shelf, asked)
                if found is None and vector is not None and not asked.is_plain:
                    found = await self._by_vector(scope, shelf, asked, vector, vector_threshold)
            except StorageError:
                found = None
        if found is None:
            self.counts.misses += final
        elif found.by_vector:
            self.counts.vector_hits += 1
        else:
            self.counts.word_hits += 1
        return found

    def add(
        self,
        scope: Scope,
        text: str,
        key: bytes,
        vector: Sequence[float] | None = None,
        *,
        ttl_s: float,
        tags: Sequence[str] = (),
    ) -> bool:
        """Store the question *text*, whose answer is under *key*; on disk a little later. False: it is no question."""
        asked = _reading(text)
        if asked is None or len(self._waiting) >= _WAITING:
            self.counts.dropped += asked is not None
            return False
        at_us = self._now_us()
        unit = normalised(vector) if vector is not None else []
        bits = signs(unit)
        packed = array("f", unit).tobytes() if unit else None
        entry = Entry(key, text, asked.signature, at_us + int(ttl_s * 1_000_000), bits, len(unit))
        self._waiting[scope.digest, key] = entry, packed
        self._to_shelf(scope.digest, partial(Shelf.put, entry=entry))
        row = {
            "tenant": scope.tenant,
            "scope": scope.digest,
            "key": key,
            "rules": RULES,
            "signature": asked.signature,
            "question": text,
            "signs": bits.to_bytes((len(unit) + 7) // 8, "big") if unit else None,
            "vector": packed,
            "tags": json.dumps(sorted(set(tags)), ensure_ascii=False),
            "created_us": at_us,
            "expires_us": entry.expires_us,
        }
        self._added += 1
        bound = self._max_entries if self._added % _EVERY == 0 else None
        self._db.post(partial(_store, row, bound), partial(self._stored, (scope.digest, key), entry))
        return True

    def served(self, exchange: str, found: Found) -> None:
        """Note that *exchange* was answered by *found*, so that it can be called false. Never waits, never raises."""
        one, other = _pair(found.asked, found.question)
        row = (exchange, found.scope.tenant, found.scope.digest, found.key, one, other, self._now_us())
        self._db.post(partial(_serve, row))

    async def report_false(self, exchange: str, tenant: str | None = None) -> bool:
        """The answer of *exchange* was to another question: its pair never matches again. False: no such hit is known.

        With *tenant*, only that tenant's exchanges are known.

        Raises:
            StorageError: it cannot be written.
        """
        reported = await self._db.write(partial(_report, exchange, tenant, self._now_us()))
        if reported is None:
            return False
        self.counts.false_hits += 1
        self._never.add((reported.tenant, reported.one, reported.other))
        if reported.gone:
            self._to_shelf(reported.scope, partial(Shelf.take_out, key=reported.key))
        return True

    async def report_false_pair(self, tenant: str, asked: str, question: str) -> None:
        """These two questions of *tenant* never match again.

        Raises:
            StorageError: it cannot be written.
        """
        one, other = _pair(asked, question)
        row = (tenant, one, other, self._now_us())
        await self._db.write(lambda connection: connection.execute(_NEVER, row))
        self.counts.false_hits += 1
        self._never.add((tenant, one, other))

    def forget(self, found: Found) -> None:
        """The answer under *found*'s key is gone: so is the question. Never waits, never raises."""
        self._waiting.pop((found.scope.digest, found.key), None)
        self._to_shelf(found.scope.digest, partial(Shelf.take_out, key=found.key))
        row = (found.scope.digest, found.key)
        self._db.post(lambda connection: connection.execute(_DELETE_ONE, row))

    async def clear(self, *, tenant: str | None = None, tag: str | None = None) -> int:
        """Forget the questions of *tenant*, or with *tag*, or both, or all; how many that were on disk.

        Raises:
            StorageError: it cannot be written.
        """
        self._shelves.clear()
        self._waiting.clear()
        wanted = {"tenant": tenant, "tag": tag}
        removed, self._entries = await self._db.write(partial(_clear, wanted))
        self._shelves.clear()  # what was loaded meanwhile
        return removed

    async def renew(self) -> None:
        """Learn again what is stored: another process has removed some of it. Raises StorageError."""
        self._shelves.clear()
        self._entries, self._never = await self._db.read(_load)

    async def prune(self) -> int:
        """Forget what is too old or has lost its answer; how many questions.

        Raises:
            StorageError: it cannot be written.
        """
        removed = await prune(self._db, _DELETE_EXPIRED, self._now())
        removed += await self._db.write(lambda connection: connection.execute(_DELETE_STALE, (RULES,)).rowcount)
        self._entries = max(0, self._entries - removed)
        return removed

    def stats(self) -> dict[str, int | float]:
        """Entries on disk; hits, misses and false hits since the start. Asks nobody."""
        counts = self.counts
        hits = counts.word_hits + counts.vector_hits
        asked = hits + counts.misses
        return {
            "entries": self._entries,
            "hits": hits,
            "word_hits": counts.word_hits,
            "vector_hits": counts.vector_hits,
            "misses": counts.misses,
            "hit_rate": round(hits / asked, 3) if asked else 0.0,
            "guarded": counts.guarded,
            "false_hits": counts.false_hits,
            "never_pairs": len(self._never),
        }

    # --- looking

    def _by_words(self, scope: Scope, shelf: Shelf, asked: Reading) -> Found | None:
        for entry in shelf.saying(asked.signature, self._now_us()):
            stored = _reading(entry.question)
            if stored is None or (similarity := likeness(asked, stored)) < WORD_THRESHOLD:
                continue
            if self._is_same(scope, asked, stored, by_vector=False):
                return Found(scope, entry.key, asked.text, entry.question, similarity)
        return None

    async def _by_vector(
        self, scope: Scope, shelf: Shelf, asked: Reading, vector: Sequence[float], threshold: float
    ) -> Found | None:
        unit = normalised(vector)
        near = shelf.towards(signs(unit), len(unit), threshold, self._now_us())
        vectors = await self._vectors(scope.digest, near) if near else {}
        ranked = sorted(
            ((cosine(unit, vectors.get(entry.key, ())), entry) for entry in near), key=lambda pair: -pair[0]
        )
        for similarity, entry in ranked:
            if similarity < threshold:
                break
            stored = _reading(entry.question)
            if stored is not None and self._is_same(scope, asked, stored, by_vector=True):
                return Found(scope, entry.key, asked.text, entry.question, similarity, by_vector=True)
        return None

    def _is_same(self, scope: Scope, asked: Reading, stored: Reading, *, by_vector: bool) -> bool:
        if asked.text != stored.text and (scope.tenant, *_pair(asked.text, stored.text)) in self._never:
            return False
        if _difference(asked, stored, by_vector=by_vector) is None:
            return True
        self.counts.guarded += 1
        return False

    async def _vectors(self, scope: bytes, entries: Sequence[Entry]) -> Mapping[bytes, Sequence[float]]:
        """The vectors of *entries*, from the line to the disk or from the table."""
        here = {
            entry.key: self._waiting[scope, entry.key][1] for entry in entries if (scope, entry.key) in self._waiting
        }
        missing = [entry.key for entry in entries if entry.key not in here]
        if missing:
            here |= await self._db.read(partial(_read_vectors, scope, missing))
        return {key: array("f", packed) for key, packed in here.items() if packed is not None}

    # --- the shelves

    async def _shelf(self, scope: Scope) -> Shelf:
        """The questions of *scope*, read from the table the first time."""
        digest = scope.digest
        shelf = self._shelves.get(digest)
        if shelf is None:
            changes = self._loading.setdefault(digest, self._on_their_way(digest))
            try:
                rows = await self._db.read(partial(_read_scope, digest, self._in_scope))
            finally:
                if self._loading.get(digest) is changes:
                    del self._loading[digest]
            shelf = self._shelves.get(digest)
            if shelf is None:
                shelf = self._shelves[digest] = Shelf(rows, self._in_scope)
                for change in changes:
                    change(shelf)
            self._bound(digest)
        self._shelves.move_to_end(digest)
        return shelf

    def _on_their_way(self, scope: bytes) -> list[Callable[[Shelf], None]]:
        """The questions that a read which begins now may be too early for."""
        return [partial(Shelf.put, entry=entry) for (place, _), (entry, _) in self._waiting.items() if place == scope]

    def _to_shelf(self, scope: bytes, change: Callable[[Shelf], None]) -> None:
        """Do *change* to the shelf of *scope*, at once or when it has been read."""
        if (shelf := self._shelves.get(scope)) is not None:
            change(shelf)
        elif (changes := self._loading.get(scope)) is not None:
            changes.append(change)

    def _bound(self, kept: bytes) -> None:
        total = sum(map(len, self._shelves.values()))
        for digest in list(self._shelves):
            if total <= self._in_memory:
                return
            if digest != kept:
                total -= len(self._shelves.pop(digest))

    def _stored(self, place: tuple[bytes, bytes], entry: Entry, added: int | None, error: StorageError | None) -> None:
        waiting = self._waiting.get(place)
        if waiting is not None and waiting[0] is entry:
            del self._waiting[place]
        if error is not None or added is None:
            self.counts.dropped += 1
        else:
            self._entries += added

    def _now_us(self) -> int:
        return int(self._now() * 1_000_000)


def _pair(asked: str, question: str) -> tuple[bytes, bytes]:
    """Both questions as digests, in one order. Case and punctuation count only where nothing else differs."""
    one, other = (_digest(_level(text)) for text in (asked, question))
    if one == other:
        one, other = _digest(asked), _digest(question)
    return min(one, other), max(one, other)


def _reading(text: str) -> Reading | None:
    from storage.semantic.reading import read  # here, as its tables of words are large and most have no use for them

    return read(text)


def _difference(asked: Reading, stored: Reading, *, by_vector: bool) -> str | None:
    from storage.semantic.guard import difference  # as above

    return difference(asked, stored, by_vector=by_vector)


def _level(text: str) -> str:
    reading = _reading(text)
    return " ".join(reading.wording) if reading is not None else text


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode(), digest_size=16).digest()


# --- operations --------------------------------------------------------------------------------------

_INSERT = """
INSERT INTO semantic (tenant, scope, key, rules, signature, question, signs, vector, tags, created_us, expires_us)
VALUES (:tenant, :scope, :key, :rules, :signature, :question, :signs, :vector, :tags, :created_us, :expires_us)"""
_DELETE_ONE = "DELETE FROM semantic WHERE scope = ? AND key = ?"
_DELETE_EXPIRED = """
DELETE FROM semantic WHERE row IN (SELECT row FROM semantic WHERE expires_us <= ? ORDER BY expires_us LIMIT ?)"""
_DELETE_STALE = """
DELETE FROM semantic WHERE rules <> ? OR NOT EXISTS (SELECT 1 FROM cache WHERE cache.key = semantic.key)"""
_KEEP_NEWEST = "DELETE FROM $ WHERE row <= (SELECT row FROM $ ORDER BY row DESC LIMIT 1 OFFSET ?)"
_DELETE_OLDEST, _DELETE_SERVED = (_KEEP_NEWEST.replace("$", table) for table in ("semantic", "semantic_served"))
_SCOPE = """
SELECT key, question, signature, expires_us, signs, length(vector) / 4 AS length FROM semantic
WHERE scope = ? AND rules = ? ORDER BY row DESC LIMIT ?"""
_CLEAR = """
DELETE FROM semantic WHERE (:tenant IS NULL OR tenant = :tenant)
AND (:tag IS NULL OR EXISTS (SELECT 1 FROM json_each(tags) WHERE value = :tag))"""
_SERVE = """
INSERT OR REPLACE INTO semantic_served (exchange, tenant, scope, key, one, other, served_us)
VALUES (?, ?, ?, ?, ?, ?, ?)"""
_SERVED = """
DELETE FROM semantic_served WHERE exchange = :exchange AND (:tenant IS NULL OR tenant = :tenant)
RETURNING tenant, scope, key, one, other"""
_NEVER = "INSERT OR REPLACE INTO semantic_false (tenant, one, other, reported_us) VALUES (?, ?, ?, ?)"


@dataclass(frozen=True, slots=True)
class _Reported:
    tenant: str
    scope: bytes
    key: bytes
    one: bytes
    other: bytes
    gone: bool


def _load(connection: sqlite3.Connection) -> tuple[int, set[tuple[str, bytes, bytes]]]:
    (entries,) = connection.execute("SELECT count(*) FROM semantic").fetchone()
    newest = "SELECT tenant, one, other FROM semantic_false ORDER BY reported_us DESC LIMIT ?"
    return entries, {(row[0], row[1], row[2]) for row in connection.execute(newest, (MAX_PAIRS,))}


def _store(row: Mapping[str, Any], bound: int | None, connection: sqlite3.Connection) -> int:
    """Insert or replace, and keep to the *bound* if one is given; how many entries that makes more."""
    replaced = connection.execute(_DELETE_ONE, (row["scope"], row["key"])).rowcount
    connection.execute(_INSERT, row)
    removed = connection.execute(_DELETE_OLDEST, (bound,)).rowcount if bound is not None else 0
    return 1 - replaced - removed


def _serve(row: tuple[Any, ...], connection: sqlite3.Connection) -> None:
    connection.execute(_SERVE, row)
    connection.execute("UPDATE semantic SET hits = hits + 1 WHERE scope = ? AND key = ?", row[2:4])
    connection.execute(_DELETE_SERVED, (MAX_SERVED,))


def _report(exchange: str, tenant: str | None, at_us: int, connection: sqlite3.Connection) -> _Reported | None:
    row = connection.execute(_SERVED, {"exchange": exchange, "tenant": tenant}).fetchone()
    if row is None:
        return None
    owner, scope, key, one, other = row
    connection.execute(_NEVER, (owner, one, other, at_us))
    connection.execute("UPDATE semantic SET false_hits = false_hits + 1 WHERE scope = ? AND key = ?", (scope, key))
    too_often = "DELETE FROM semantic WHERE scope = ? AND key = ? AND false_hits >= ?"
    gone = connection.execute(too_often, (scope, key, FALSE_HITS)).rowcount > 0
    return _Reported(owner, scope, key, one, other, gone)


def _read_scope(scope: bytes, limit: int, connection: sqlite3.Connection) -> list[Entry]:
    """Oldest first."""
    rows = connection.execute(_SCOPE, (scope, RULES, limit)).fetchall()
    return [
        Entry(
            row["key"],
            row["question"],
            row["signature"],
            row["expires_us"],
            int.from_bytes(row["signs"] or b"", "big"),
            row["length"] or 0,
        )
        for row in reversed(rows)
    ]


def _read_vectors(scope: bytes, keys: Sequence[bytes], connection: sqlite3.Connection) -> dict[bytes, bytes | None]:
    one = "SELECT vector FROM semantic WHERE scope = ? AND key = ?"
    found = ((key, connection.execute(one, (scope, key)).fetchone()) for key in keys)
    return {key: row["vector"] for key, row in found if row is not None}


def _clear(wanted: Mapping[str, str | None], connection: sqlite3.Connection) -> tuple[int, int]:
    removed = connection.execute(_CLEAR, wanted).rowcount
    (entries,) = connection.execute("SELECT count(*) FROM semantic").fetchone()
    return removed, entries
