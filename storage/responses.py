"""Responses that clients may ask for again: `store`, `previous_response_id`, `GET /v1/responses/{id}`.

    queued --> in_progress --> completed | incomplete | failed | cancelled

The first end counts: a response that has ended never changes again. A row belongs to one tenant, and another tenant's
id is as unknown as one that never was. What is too old is gone, whether or not `prune` has come by.
A deleted response is unknown, too. As long as others continue it, its input and output stay behind for them alone,
under the tenant `{tenant}/deleted`, and go with the last of them.
The table is bounded in bytes: when it is full, the expired go first, then the oldest that have ended.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Callable, Set
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final, Literal

from storage.db import Database
from storage.errors import TooLarge, UnknownResponse
from storage.packed import pack, unpack
from storage.pruning import BATCH, prune
from translators.codec import dumps, splice

ResponseStatus = Literal["queued", "in_progress", "completed", "incomplete", "failed", "cancelled"]

TTL_S: Final = 30 * 24 * 3600.0
"""OpenAI keeps stored responses for 30 days. (platform.openai.com/docs/guides/conversation-state)"""

MAX_BYTES: Final = 1024 * 1024 * 1024
"""What all rows may take on disk."""

MAX_ROW_BYTES: Final = 64 * 1024 * 1024
"""What one response may have, before compression: as much as a request's body."""

MAX_LINKS: Final = 1000
MAX_CHAIN_BYTES: Final = 64 * 1024 * 1024
"""How many responses one conversation may have, and how much input and output, before compression."""

ROW_BYTES: Final = 256
"""What a row takes beside its bodies, about."""

MAX_SEARCHED: Final = 500
"""The newest responses of all tenants, in which an item is looked for."""

_ASIDE_BYTES: Final = 64 * 1024
"""More than this is compressed in a thread of its own."""

_INTERRUPTED: Final = {"code": "server_error", "message": "The proxy was stopped before this response had ended."}


@dataclass(frozen=True, slots=True)
class StoredResponse:
    """One response. *created* and *expires* are Unix seconds; without *expires* it is kept for the store's own time.

    *input* is the JSON array of the request's own input items, without those of the responses before it; *output*
    is the array of output items, *body* the whole Response object. *provider* is who answered, *vendor_stored* says
    that it keeps the response under the same id, so that it can continue its own.
    """

    tenant: str
    id: str
    created: int
    status: ResponseStatus
    model: str
    input: bytes
    output: bytes
    body: bytes
    provider: str | None = None
    vendor_stored: bool = False
    previous_id: str | None = None
    expires: int | None = None


class Responses:
    """The stored responses in *db*, at most *max_bytes* of them, each for *ttl_s*."""

    def __init__(
        self,
        db: Database,
        *,
        ttl_s: float = TTL_S,
        max_bytes: int = MAX_BYTES,
        max_row_bytes: int = MAX_ROW_BYTES,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._db = db
        self._ttl_s = ttl_s
        self._max_bytes = max_bytes
        self._max_row_bytes = max_row_bytes
        self._now = now
        self.not_keeping: set[str] = set()
        """Providers that say that they keep responses and refused to continue one; as long as the process lives."""

    async def save(self, stored: StoredResponse) -> bool:
        """Keep *stored*, in the place of its earlier state if it has one; on disk when this returns.

        False when the response had ended already (it was cancelled, say): it stays as it was.

        Raises:
            TooLarge: it has more than `max_row_bytes`, or would fill more than the whole table.
            StorageError: it cannot be written.
        """
        plain_size = len(stored.input) + len(stored.output) + len(stored.body)
        if plain_size > self._max_row_bytes:
            raise TooLarge(f"response {stored.id}: {plain_size} bytes; at most {self._max_row_bytes} are stored")
        make_row = partial(_row, stored, self._ttl_s)
        row = await asyncio.to_thread(make_row) if plain_size > _ASIDE_BYTES else make_row()
        if row["size"] > self._max_bytes:
            raise TooLarge(f"response {stored.id}: {row['size']} bytes; all together may take {self._max_bytes}")
        return await self._db.write(partial(_save, row, self._max_bytes, self._now_us()))

    async def get(self, tenant: str, response_id: str) -> StoredResponse | None:
        """The response *response_id* of *tenant*, None when there is none or it is too old."""
        return await self._db.read(partial(_get, tenant, response_id, self._now_us()))

    async def delete(self, tenant: str, response_id: str) -> bool:
        """Forget a response; whether there was one. Those that continue it can still be continued."""
        return await self._db.write(partial(_delete, tenant, response_id, self._now_us()))

    async def chain(
        self, tenant: str, response_id: str, limit: int = MAX_LINKS, max_bytes: int = MAX_CHAIN_BYTES
    ) -> list[StoredResponse]:
        """The conversation up to and with *response_id*, oldest first, in one snapshot; each *body* is left empty.

        Raises:
            UnknownResponse: it or one before it is not stored; the error names it.
            TooLarge: there are more than *limit* of them, or more than *max_bytes* of input and output.
        """
        return await self._db.read(partial(_chain, (tenant, response_id), self._now_us(), limit, max_bytes))

    async def makers(self, tenant: str, item_ids: Set[str]) -> dict[str, StoredResponse]:
        """Of each item the newest response of *tenant* that has it in its output, among the newest; *body* is empty."""
        return await self._db.read(partial(_makers, tenant, item_ids, self._now_us()))

    async def set_status(
        self, tenant: str, response_id: str, status: ResponseStatus, body: bytes | None = None
    ) -> bool:
        """Move a response that has not ended to *status*; whether there was one.

        Without *body* the stored one stays, but for its `status`.
        """
        blob = None if body is None else pack(body)
        return await self._db.write(partial(_set_status, (tenant, response_id), status, blob, self._now_us()))

    async def recover(self, mark: str = "") -> int:
        """Let every response that a dead process left unended be `failed`; how many there were. Once, at the start.

        *mark*: only those whose ids end with it.
        """
        return await self._db.write(partial(_fail_open, mark))

    async def prune(self, now: float) -> int:
        """Remove what is too old at *now* (Unix seconds), a few rows at a time so that other writes get in between."""
        return await prune(self._db, _DELETE_EXPIRED, now)

    async def stats(self) -> dict[str, int]:
        """How many responses are stored and what they take on disk."""
        row = await self._db.read(lambda connection: connection.execute(_TOTALS).fetchone())
        return {"entries": row["entries"], "size_bytes": row["size_bytes"]}

    def _now_us(self) -> int:
        return int(self._now() * 1_000_000)


# --- operations --------------------------------------------------------------------------------------

_TOTALS = "SELECT entries, size_bytes FROM responses_totals"
_SAVE = """
INSERT INTO responses (tenant, id, created_us, expires_us, status, model, provider, vendor_stored, previous_id,
                       size, input, output, body)
VALUES (:tenant, :id, :created_us, :expires_us, :status, :model, :provider, :vendor_stored, :previous_id,
        :size, :input, :output, :body)
ON CONFLICT (tenant, id) DO UPDATE SET
    created_us = excluded.created_us, expires_us = excluded.expires_us, status = excluded.status,
    model = excluded.model, provider = excluded.provider, vendor_stored = excluded.vendor_stored,
    previous_id = excluded.previous_id, size = excluded.size,
    input = excluded.input, output = excluded.output, body = excluded.body
WHERE responses.status IN ('queued', 'in_progress')"""
_DELETED: Final = "/deleted"
"""What follows the tenant of a deleted response that others continue."""
_IS_THERE = "SELECT 1 FROM responses WHERE tenant = ? AND id = ? AND expires_us > ?"
_FIND = "SELECT * FROM responses WHERE tenant = ? AND id = ? AND expires_us > ?"
_LINK = """
SELECT tenant, id, created_us, expires_us, status, model, provider, vendor_stored, previous_id, input, output,
       x'00' AS body
FROM responses WHERE tenant = ? AND id = ? AND expires_us > ?"""
_NEWEST = """
SELECT tenant, id, created_us, expires_us, status, model, provider, vendor_stored, previous_id, input, output,
       x'00' AS body
FROM responses WHERE row IN (SELECT row FROM responses ORDER BY created_us DESC, row DESC LIMIT ?)
AND tenant = ? AND expires_us > ? ORDER BY created_us DESC, row DESC"""
_CONTINUED = "SELECT 1 FROM responses WHERE tenant IN (?, ?) AND previous_id = ? AND expires_us > ? LIMIT 1"
_REMOVE = "DELETE FROM responses WHERE tenant = ? AND id = ? RETURNING previous_id"
_HIDE = """
UPDATE responses SET tenant = ?, size = size - length(body) + length(?), body = ?
WHERE tenant = ? AND id = ?"""
_DELETE_EXPIRED = """
DELETE FROM responses WHERE row IN (SELECT row FROM responses WHERE expires_us <= ? ORDER BY expires_us LIMIT ?)"""
_DELETE_OLDEST = """
DELETE FROM responses WHERE row IN (
    SELECT row FROM responses WHERE status NOT IN ('queued', 'in_progress') AND NOT (tenant = :tenant AND id = :id)
    ORDER BY created_us, row LIMIT :count)"""
_OPEN = "SELECT row, body FROM responses WHERE status IN ('queued', 'in_progress') AND id LIKE '%' || ?"
_OPEN_ONE = """
SELECT row, body FROM responses
WHERE tenant = ? AND id = ? AND expires_us > ? AND status IN ('queued', 'in_progress')"""
_CLOSE = "UPDATE responses SET status = ?, body = ?, size = size + ? WHERE row = ?"


def _row(stored: StoredResponse, ttl_s: float) -> dict[str, Any]:
    blobs = {"input": pack(stored.input), "output": pack(stored.output), "body": pack(stored.body)}
    expires = stored.created + ttl_s if stored.expires is None else stored.expires
    return {
        "tenant": stored.tenant,
        "id": stored.id,
        "created_us": stored.created * 1_000_000,
        "expires_us": int(expires * 1_000_000),
        "status": stored.status,
        "model": stored.model,
        "provider": stored.provider,
        "vendor_stored": stored.vendor_stored,
        "previous_id": stored.previous_id,
        "size": ROW_BYTES + sum(len(blob) for blob in blobs.values()),
        **blobs,
    }


def _stored(row: sqlite3.Row) -> StoredResponse:
    return StoredResponse(
        tenant=row["tenant"],
        id=row["id"],
        created=row["created_us"] // 1_000_000,
        status=row["status"],
        model=row["model"],
        input=unpack(row["input"]),
        output=unpack(row["output"]),
        body=unpack(row["body"]),
        provider=row["provider"],
        vendor_stored=bool(row["vendor_stored"]),
        previous_id=row["previous_id"],
        expires=row["expires_us"] // 1_000_000,
    )


def _save(row: dict[str, Any], max_bytes: int, at_us: int, connection: sqlite3.Connection) -> bool:
    """Insert or replace, then make room."""
    if not connection.execute(_SAVE, row).rowcount:
        return False
    connection.execute(_DELETE_EXPIRED, (at_us, BATCH))
    entries, size_bytes = connection.execute(_TOTALS).fetchone()
    while size_bytes > max_bytes:
        average = max(1, size_bytes // entries)
        count = min(BATCH, max(1, (size_bytes - max_bytes) // average))
        wanted = {"tenant": row["tenant"], "id": row["id"], "count": count}
        if not connection.execute(_DELETE_OLDEST, wanted).rowcount:
            break  # nothing but responses that have not ended, and they end soon
        entries, size_bytes = connection.execute(_TOTALS).fetchone()
    return True


def _get(tenant: str, response_id: str, at_us: int, connection: sqlite3.Connection) -> StoredResponse | None:
    row = connection.execute(_FIND, (tenant, response_id, at_us)).fetchone()
    return None if row is None else _stored(row)


def _delete(tenant: str, response_id: str, at_us: int, connection: sqlite3.Connection) -> bool:
    """Remove or hide it, and remove those before it that were hidden for its sake."""
    known = connection.execute(_IS_THERE, (tenant, response_id, at_us)).fetchone()
    hidden = tenant + _DELETED
    if known and connection.execute(_CONTINUED, (tenant, hidden, response_id, at_us)).fetchone():
        connection.execute(_REMOVE, (hidden, response_id)).fetchall()  # an earlier one of that id
        nothing = pack(b"{}")
        connection.execute(_HIDE, (hidden, nothing, nothing, tenant, response_id))
        return True
    removed = connection.execute(_REMOVE, (tenant, response_id)).fetchone()
    while removed and (before := removed[0]) is not None:
        if connection.execute(_CONTINUED, (tenant, hidden, before, at_us)).fetchone():
            break
        removed = connection.execute(_REMOVE, (hidden, before)).fetchone()
    return known is not None


def _chain(
    last: tuple[str, str], at_us: int, limit: int, max_bytes: int, connection: sqlite3.Connection
) -> list[StoredResponse]:
    links: list[StoredResponse] = []
    tenant, wanted = last
    size = 0
    while True:
        row = connection.execute(_LINK, (tenant, wanted, at_us)).fetchone()
        if row is None and links:
            row = connection.execute(_LINK, (tenant + _DELETED, wanted, at_us)).fetchone()
        if row is None:
            after = f", which {links[-1].id} continues," if links else ""
            raise UnknownResponse(wanted, f"response {wanted}{after} is not stored")
        if len(links) == limit:
            raise TooLarge(f"response {last[1]} continues {limit} others or more; at most {limit} are read")
        link = replace(_stored(row), tenant=tenant, body=b"")
        size += len(link.input) + len(link.output)
        if size > max_bytes:
            raise TooLarge(f"response {last[1]} continues more than {max_bytes} bytes of input and output")
        links.append(link)
        if link.previous_id is None:
            return links[::-1]
        wanted = link.previous_id


def _makers(tenant: str, item_ids: Set[str], at_us: int, connection: sqlite3.Connection) -> dict[str, StoredResponse]:
    wanted = {item_id: b'"id":' + dumps(item_id) for item_id in item_ids}
    found: dict[str, StoredResponse] = {}
    for row in connection.execute(_NEWEST, (MAX_SEARCHED, tenant, at_us)):
        output = unpack(row["output"])
        for item_id in [item_id for item_id, written in wanted.items() if written in output]:
            found[item_id] = replace(_stored(row), body=b"")
            del wanted[item_id]
        if not wanted:
            break
    return found


def _set_status(
    which: tuple[str, str], status: ResponseStatus, blob: bytes | None, at_us: int, connection: sqlite3.Connection
) -> bool:
    row = connection.execute(_OPEN_ONE, (*which, at_us)).fetchone()
    if row is None:
        return False
    number, old = row
    new = pack(splice(unpack(old), {"status": status})) if blob is None else blob
    connection.execute(_CLOSE, (status, new, len(new) - len(old), number))
    return True


def _fail_open(mark: str, connection: sqlite3.Connection) -> int:
    rows = connection.execute(_OPEN, (mark,)).fetchall()
    for number, old in rows:
        new = pack(splice(unpack(old), {"status": "failed", "error": _INTERRUPTED}))
        connection.execute(_CLOSE, ("failed", new, len(new) - len(old), number))
    return len(rows)
