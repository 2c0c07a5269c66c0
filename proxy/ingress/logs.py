"""`/api/v1/logs`: what was asked and answered. Operators see what their place has asked, every other key its own."""

from __future__ import annotations

import time
from typing import Any, Final

from aiohttp import web

from proxy.errors import refused
from proxy.identity import Identity
from proxy.ingress import ledger
from proxy.ingress.json import json_response
from proxy.ingress.parameters import bad, only, whole
from proxy.server import Incoming
from proxy.services import Services
from storage.money import usd
from storage.requestlog import Wanted
from storage.sums import Whose
from translators.codec import dumps

MOST: Final = 1000
STATUSES: Final = ("ok", "failed", "aborted", "interrupted")
FILTERS: Final = frozenset({"key", "model", "route", "status", "since", "until", "text"})
PAGING: Final = frozenset({"limit", "cursor", "after"})
REMOVING: Final = frozenset({"before", "key"})


async def list_logs(services: Services, incoming: Incoming) -> web.StreamResponse:
    """Entries without their bodies, newest first; with `after`, the ones that came later, oldest first."""
    query = incoming.http.query
    wanted = _wanted(incoming, FILTERS | PAGING)
    limit = whole(query.get("limit", "100"), "limit", 1, MOST)
    found = await services.request_log.store.find(wanted, limit + 1)
    page = found[:limit]
    following = str(page[-1]["row"]) if len(found) > limit else None
    return json_response({"data": [_shown(row) for row in page], "next": following}, incoming.id)


async def one_log(services: Services, incoming: Incoming) -> web.StreamResponse:
    """One entry with request and answer, as far as they are kept."""
    row = await services.request_log.store.one(incoming.parameter, _whose(incoming.identity))
    if row is None:
        told = f"the request log has no entry {incoming.parameter[:80]!r}"
        raise refused(404, told, kind="not_found", code="not_found")
    return json_response(_shown(row), incoming.id)


async def export_logs(services: Services, incoming: Incoming) -> web.StreamResponse:
    """Entries with request and answer, oldest first, one JSON object a line, as many as there are."""
    wanted = _wanted(incoming, FILTERS)
    response = web.StreamResponse(
        headers={
            "content-type": "application/jsonl",
            "content-disposition": 'attachment; filename="requests.jsonl"',
            "x-content-type-options": "nosniff",
            "x-request-id": incoming.id,
        }
    )
    await response.prepare(incoming.http)
    async for page in services.request_log.store.whole(wanted):
        for row in page:
            await response.write(dumps(_shown(row)) + b"\n")
    await response.write_eof()
    return response


async def remove_logs(services: Services, incoming: Incoming) -> web.StreamResponse:
    """Forget what is older than `before`, what `key` has asked, or both together; `before=now` is everything."""
    query = incoming.http.query
    only(query, REMOVING)
    if not query:
        told = "missing; say before=TIME (an ISO 8601 time or a span such as 30d; now: everything), key=ID, or both"
        raise bad("before", told)
    now, before = time.time(), query.get("before")
    until = None if before is None else now if before == "now" else ledger.moment(before, "before", now)
    await services.request_log.flush()  # what waits in the queue was asked before this
    removed = await services.request_log.store.remove(Wanted(key=query.get("key"), until=until))
    removal = {"removed": removed, **{name: query[name] for name in REMOVING if name in query}}
    await services.audit.record(incoming.identity, "request_log.removed", "request_log", after=removal)
    return json_response(removal, incoming.id)


def _whose(identity: Identity) -> Whose:
    """Whose entries *identity* sees: bodies are shown to those who run things, and to whoever has sent them."""
    if identity.key_id is None or identity.is_master or not identity.roles.isdisjoint({"operator", "admin"}):
        return identity.view
    return Whose(key=identity.key_id)


def _wanted(incoming: Incoming, known: frozenset[str]) -> Wanted:
    """What the query asks for. Raises Refused."""
    query, now = incoming.http.query, time.time()
    only(query, known)
    status = query.get("status")
    if status is not None and status not in STATUSES:
        raise bad("status", f"expected {' or '.join(STATUSES)}, found {status[:80]!r}")
    since, until = ledger.span(query, now)
    return Wanted(
        key=query.get("key"),
        model=query.get("model"),
        route=query.get("route"),
        status=status,
        since=since,
        until=until,
        text=query.get("text") or None,
        before=whole(query["cursor"], "cursor", 1, 2**62) if query.get("cursor") else None,
        after=whole(query["after"], "after", 0, 2**62) if query.get("after") else None,
        whose=_whose(incoming.identity),
    )


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    cost = row["cost_nanousd"]
    shown = {
        "row": row["row"],
        "id": row["id"],
        "at": ledger.iso(row["at_us"] / 1_000_000),
        "key": row["key_id"],
        "team": row["team"],
        "organisation": row["organisation"],
        "dialect": row["dialect"],
        "route": row["route"],
        "target": row["target"],
        "status": row["status"],
        "stream": bool(row["stream"]),
        "cache": row["cache"],
        "latency_ms": row["latency_ms"],
        "cost_usd": None if cost is None else usd(cost),
        "error": row["error"],
        "question": row["question"],
        "answer": row["answer"],
    }
    if "request" in row:
        shown |= {"request": row["request"], "response": row["response"]}
    return shown
