"""`GET /costs` and `GET /api/v1/exchanges`: the ledger, summed and row by row, as far as the asker may see it."""

from __future__ import annotations

import csv
import io
import re
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

from aiohttp import web

from proxy.errors import Refused, refused
from proxy.ingress.budgets import budgets_seen
from proxy.ingress.json import json_response
from proxy.ingress.parameters import bad, only, whole
from proxy.server import Incoming
from proxy.services import Services
from storage.accounts import Sums
from storage.errors import BadCursor
from storage.money import usd
from storage.sums import GROUPINGS, Grouping, Sum

DEFAULT_GROUPS: Final[tuple[Grouping, ...]] = ("provider", "model")
LATEST: Final = 253_402_300_800.0
"""The end of the year 9999, after which there is no ISO 8601 time."""
MOST_ROWS: Final = 1000
STATUSES: Final = ("open", "ok", "failed", "aborted", "interrupted")
_SPAN = re.compile(r"([0-9]{1,6})([smhdw])")
_UNIT_S: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


async def costs(services: Services, incoming: Incoming) -> web.StreamResponse:
    """Sums over a span of time, in groups, as JSON or CSV."""
    query = incoming.http.query
    now = time.time()
    only(query, ("since", "until", "group_by", "format"))
    since, until = span({"since": "24h", **query}, now)
    since, until = since or 0, now if until is None else until
    group_by = groupings(query.get("group_by"))
    form = query.get("format", "json")
    if form not in {"json", "csv"}:
        raise _bad("format", "json or csv", form)
    sums = await services.accounts.costs(since, until, group_by, incoming.identity.view)
    if form == "csv":
        headers = {
            "content-type": "text/csv; charset=utf-8",
            "x-request-id": incoming.id,
            "x-content-type-options": "nosniff",
        }
        return web.Response(text=as_csv(sums), headers=headers)
    report = {
        "since": iso(since),
        "until": iso(until),
        "currency": "USD",
        "group_by": list(group_by),
        "total": figures(sums.total),
        "groups": [{**group.names, **figures(group.sum)} for group in sums.groups],
        "budgets": await budgets_seen(services, incoming.identity),
    }
    return json_response(report, incoming.id)


async def exchanges(services: Services, incoming: Incoming) -> web.StreamResponse:
    """A page of the ledger's rows, newest first."""
    query = incoming.http.query
    now = time.time()
    only(query, ("since", "until", "key", "status", "cursor", "limit"))
    status = query.get("status")
    if status is not None and status not in STATUSES:
        raise _bad("status", " or ".join(STATUSES), status)
    limit = whole(query.get("limit", "100"), "limit", 1, MOST_ROWS)
    since, until = span(query, now)
    try:
        rows, cursor = await services.accounts.exchanges(
            since=since,
            until=until,
            key=query.get("key"),
            status=status,
            cursor=query.get("cursor"),
            limit=limit,
            whose=incoming.identity.view,
        )
    except BadCursor as error:
        raise _bad("cursor", "a cursor that this endpoint gave", query.get("cursor", "")) from error
    return json_response({"data": rows, "next": cursor}, incoming.id)


async def exchange(services: Services, incoming: Incoming) -> web.StreamResponse:
    """One row with its attempts, and what was said and counted where several targets made the answer."""
    row = await services.accounts.exchange(incoming.parameter, incoming.identity.view)
    if row is None:
        raise refused(404, f"no exchange has the id {incoming.parameter[:80]!r}", kind="not_found", code="not_found")
    kept = await services.history.minutes(incoming.parameter)
    return json_response(row | votes_of(row, kept), incoming.id)


def votes_of(row: Mapping[str, Any], kept: Mapping[str, Any] | None) -> dict[str, Any]:
    """`votes` and `consensus` of one row by the minutes of its consensus; each vote with the cost of its attempts."""
    if kept is None:
        return {"votes": [], "consensus": None}
    costs = {attempt["number"]: attempt["cost_usd"] for attempt in row["attempts"]}
    votes = []
    for vote in kept["votes"]:
        paid = [costs.get(number) for number in vote.get("attempts", ())]
        total = None if None in paid else sum((Decimal(cost) for cost in paid if cost), Decimal(0))
        shown = {name: said for name, said in vote.items() if name != "counted"}
        votes.append({**shown, "cost_usd": None if total is None else f"{total:.9f}"})
    hidden = {"votes", "options"}
    return {"votes": votes, "consensus": {name: said for name, said in kept.items() if name not in hidden}}


def span(query: Mapping[str, str], now: float) -> tuple[float | None, float | None]:
    """`since` and `until` of *query*, Unix seconds; None where they are not said.

    Raises:
        Refused: 400 naming the one that is wrong; the later one must not be before the other.
    """
    since, until = (moment(query[name], name, now) if query.get(name) else None for name in ("since", "until"))
    if since is not None and until is not None and until < since:
        raise bad("until", f"expected a time after since, {iso(since)}; found {iso(until)}")
    return since, until


def moment(text: str, name: str, now: float) -> float:
    """Unix seconds of an ISO 8601 time (UTC unless it says otherwise) or of a span back from *now* (`30m`, `7d`).

    Raises:
        Refused: 400 naming the parameter.
    """
    at = -1.0
    if span := _SPAN.fullmatch(text.strip()):
        at = now - int(span[1]) * _UNIT_S[span[2]]
    else:
        with suppress(ValueError):
            # A plus in a query is a blank by the time it arrives here.
            found = datetime.fromisoformat(text.strip().replace(" ", "+") if "T" in text else text.strip())
            at = (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
    if not 0 <= at < LATEST:
        raise _bad(name, "an ISO 8601 time since 1970 or a span such as 30m, 24h, 7d", text)
    return at


def groupings(text: str | None) -> tuple[Grouping, ...]:
    """The groupings of `group_by`, each once.

    Raises:
        Refused: 400 for one that does not exist.
    """
    if text is None:
        return DEFAULT_GROUPS
    found: list[Grouping] = []
    for name in filter(None, (part.strip() for part in text.split(","))):
        grouping = next((known for known in GROUPINGS if known == name), None)
        if grouping is None:
            raise _bad("group_by", "some of " + ", ".join(GROUPINGS), name)
        if grouping not in found:
            found.append(grouping)
    return tuple(found)


def figures(total: Sum) -> dict[str, Any]:
    """The numbers of one sum, money as decimal strings."""
    return {
        "exchanges": total.exchanges,
        "attempts": total.attempts,
        "errors": total.errors,
        "cache_hits": total.cache_hits,
        "input_tokens": total.input_tokens,
        "cached_input_tokens": total.cached_input_tokens,
        "cache_write_tokens": total.cache_write_tokens,
        "output_tokens": total.output_tokens,
        "reasoning_tokens": total.reasoning_tokens,
        "cost_usd": usd(total.cost_nanousd),
        "exact_usd": usd(total.exact_nanousd),
        "estimated_usd": usd(total.estimated_nanousd),
        "unpriced_attempts": total.unpriced_attempts,
        "saved_usd": usd(total.saved_nanousd),
        "saved_input_tokens": total.saved_input_tokens,
        "saved_output_tokens": total.saved_output_tokens,
    }


def as_csv(sums: Sums) -> str:
    """One line for each group, with a head."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([*sums.group_by, *figures(Sum())])
    if not sums.group_by:
        writer.writerow(list(figures(sums.total).values()))
    for group in sums.groups if sums.group_by else ():
        writer.writerow([*map(cell, _values(group.names, sums.group_by)), *figures(group.sum).values()])
    return out.getvalue()


def _values(names: Any, group_by: Sequence[str]) -> list[str]:
    return [names[grouping] or "" for grouping in group_by]


def cell(text: str) -> str:
    """*text* so that no spreadsheet takes it for a formula: names of tags come from clients."""
    return f"'{text}" if text[:1] in {"=", "+", "-", "@", "\t", "\r"} else text


def iso(at: float) -> str:
    """UTC to the second."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _bad(name: str, expected: str, found: str) -> Refused:
    return refused(400, f"{name}: expected {expected}, found {found[:80]!r}", param=name, code="invalid_parameter")
