"""`/api/v1/ledger/…`: taking the ledger out, removing what is old, checking it."""

from __future__ import annotations

import csv
import io
import json
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

from aiohttp import web
from pydantic import Field

from proxy.bookkeeping import Doubtful, prune, verify
from proxy.errors import refused
from proxy.ingress.bodies import read_model
from proxy.ingress.json import json_response
from proxy.ingress.ledger import cell, iso, moment, span
from proxy.ingress.places import Body
from proxy.server import Incoming
from proxy.services import Services
from translators.codec import dumps

FORMS: Final[Mapping[str, str]] = {"jsonl": "application/jsonl", "csv": "text/csv; charset=utf-8"}

EXCHANGE_COLUMNS: Final = (
    "id", "opened_at", "settled_at", "status", "key_id", "team", "organisation", "tags", "dialect", "route", "target",
    "stream", "cache", "saved_usd", "latency_ms", "first_event_ms", "losses", "error", "client_request_id",
)  # fmt: skip
ATTEMPT_COLUMNS: Final = (
    "number", "provider", "model", "key_index", "started_at", "ended_at", "status", "http_status", "error_kind",
    "error", "input_tokens", "cached_input_tokens", "cache_write_tokens", "output_tokens", "reasoning_tokens",
    "cost_usd", "price_source", "price_version", "estimated", "raw_usage", "latency_ms", "first_event_ms",
)  # fmt: skip
"""An exchange without attempts has one line, else one for each attempt: amounts are those of the attempt."""

UNCONFIRMED: Final = "not_confirmed"


class PruneBody(Body):
    """What is to be removed."""

    before: str = Field(description="An ISO 8601 time or a span back from now, such as 90d.")
    keep_sums: bool = Field(True, description="Whether the exchanges stay in the sums of /costs.")
    confirm: bool = Field(
        False,
        description="Do it also where that time is in the future, where no exchange would be left, or where a budget's "
        "present window counts some of them. Otherwise such a request is refused.",
    )


async def export_ledger(services: Services, incoming: Incoming) -> web.StreamResponse:
    """Every exchange of a span with its attempts, oldest first, as JSON lines or CSV, of any size."""
    query = incoming.http.query
    form = query.get("format", "jsonl")
    if form not in FORMS:
        message = f"format: expected {' or '.join(FORMS)}, found {form[:80]!r}"
        raise refused(400, message, param="format", code="invalid_parameter")
    now = time.time()
    since, until = span(query, now)
    pages = services.accounts.whole(since, until, incoming.identity.view)
    headers = {
        "content-type": FORMS[form],
        "content-disposition": f'attachment; filename="ledger.{form}"',
        "x-content-type-options": "nosniff",
        "x-request-id": incoming.id,
    }
    response = web.StreamResponse(headers=headers)
    await response.prepare(incoming.http)
    if form == "csv":
        await response.write(_line([*EXCHANGE_COLUMNS, *(f"attempt_{name}" for name in ATTEMPT_COLUMNS)]))
    async for page in pages:
        await response.write(_as_csv(page) if form == "csv" else b"".join(dumps(row) + b"\n" for row in page))
    await response.write_eof()
    return response


async def prune_ledger(services: Services, incoming: Incoming) -> web.StreamResponse:
    """Remove old exchanges."""
    body = await read_model(incoming, PruneBody)
    before = moment(body.before, "before", time.time())
    try:
        removed, until = await prune(services, before, keep_sums=body.keep_sums, confirmed=body.confirm)
    except Doubtful as error:
        why = f"before: {error}; to remove them all the same, say so: confirm"
        raise refused(400, why, param="before", code=UNCONFIRMED) from error
    told = {"removed": removed, "before": iso(until), "sums_kept": body.keep_sums}
    services.audit.note(incoming.identity, "ledger.pruned", "ledger", after=told)
    return json_response(told, incoming.id)


async def verify_ledger(services: Services, incoming: Incoming) -> web.StreamResponse:
    """Check the ledger against itself."""
    report = await verify(services)
    told = {
        "status": "ok" if report.sound else "differences",
        "exchanges": report.exchanges,
        "attempts": report.attempts,
        "charges": report.charges,
        "days": report.days,
        "costs_recomputed": report.recomputed,
        "costs_not_recomputed": report.not_recomputed,
        "count": report.count,
        "differences": [
            {"kind": each.kind, "where": each.where, "what": each.what, "expected": each.expected, "found": each.found}
            for each in report.differences
        ],
    }
    return json_response(told, incoming.id)


def _as_csv(page: Sequence[Mapping[str, Any]]) -> bytes:
    lines = []
    for row in page:
        own = [row[name] for name in EXCHANGE_COLUMNS]
        attempts = [[attempt[name] for name in ATTEMPT_COLUMNS] for attempt in row["attempts"]]
        lines += [_line([*own, *attempt]) for attempt in attempts or [[None] * len(ATTEMPT_COLUMNS)]]
    return b"".join(lines)


def _line(values: Sequence[Any]) -> bytes:
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerow([_told(value) for value in values])
    return out.getvalue().encode()


def _told(value: Any) -> Any:
    match value:
        case None:
            return ""
        case bool():
            return int(value)
        case dict() | list():
            return json.dumps(value, ensure_ascii=False) if value else ""
        case str():
            return cell(value)
        case _:
            return value
