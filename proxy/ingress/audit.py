"""`GET /api/v1/audit`: who changed what, newest first; `/api/v1/audit/verify`: whether the log is as it was written."""

from __future__ import annotations

import re
import time
from typing import Any, Final

from aiohttp import web

from proxy.ingress import ledger
from proxy.ingress.json import json_response
from proxy.ingress.parameters import bad, whole
from proxy.server import Incoming
from proxy.services import Services
from storage.audit import Logged

MOST: Final = 1000
_HASH: Final = re.compile(r"[0-9a-fA-F]{64}")


async def show_audit(services: Services, incoming: Incoming) -> web.StreamResponse:
    """Entries; `?since=`, `until`, `subject`, `actor`, `action`, `limit` and `cursor` choose."""
    query, now = incoming.http.query, time.time()
    limit = whole(query.get("limit", "100"), "limit", 1, MOST)
    since, until = ledger.span(query, now)
    found = await services.audit.show(
        since=since,
        until=until,
        subject=query.get("subject") or None,
        actor=query.get("actor") or None,
        action=query.get("action") or None,
        before=whole(query["cursor"], "cursor", 1, 2**62) if query.get("cursor") else None,
        limit=limit + 1,
    )
    page = found[:limit]
    following = str(page[-1].seq) if len(found) > limit else None
    return json_response({"data": [_shown(entry) for entry in page], "next": following}, incoming.id)


async def verify_audit(services: Services, incoming: Incoming) -> web.StreamResponse:
    """Walk the chain; `?head=` is a hash noted earlier that has to be one of its entries'."""
    head = incoming.http.query.get("head") or None
    if head is not None and not _HASH.fullmatch(head):
        raise bad("head", "expected the 64 hexadecimal digits that an earlier verification gave")
    verdict = await services.audit.verify(head)
    lost = head is not None and verdict.known_at is None
    reason = verdict.reason
    if lost and not reason:
        reason = "the chain is whole, but the hash that was noted is in none of its entries: it was cut off or replaced"
    answer = {
        "ok": verdict.broken_at is None and not lost,
        "entries": verdict.entries,
        "head": verdict.head,
        "broken_at": verdict.broken_at,
        "reason": reason or None,
        "head_found_at": verdict.known_at,
    }
    return json_response(answer, incoming.id)


def _shown(entry: Logged) -> dict[str, Any]:
    return {
        "seq": entry.seq,
        "at": ledger.iso(entry.at),
        "actor": entry.actor,
        "action": entry.action,
        "subject": entry.subject,
        "before": entry.before,
        "after": entry.after,
        "hash": entry.hash,
    }
