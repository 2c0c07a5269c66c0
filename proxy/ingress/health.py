"""`/health` and its short forms for orchestrators. Nothing here asks a provider, but for `?probe=1`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Mapping
from typing import Any, Final, TypeVar

from aiohttp import web

from proxy.errors import refused
from proxy.identity import Identity
from proxy.ingress.budgets import MOST_SHOWN, budgets_seen
from proxy.ingress.json import json_response
from proxy.probe import PROBE_TOKENS, probe
from proxy.room import Room
from proxy.route_state import routes_now
from proxy.routing_report import provider_now, routing_now, spent_now
from proxy.server import Incoming
from proxy.services import Services
from proxy.version import version
from proxy.workers.sums import count_together, seen_together
from routing.health import Health
from storage.db import SQLITE_VERSION, sqlite_warning
from storage.errors import StorageError
from storage.journal import Journal

T = TypeVar("T")

STORE_S: Final = 1.0
"""How long the report waits for something that the store has to be asked for."""


async def live(_services: Services, incoming: Incoming) -> web.StreamResponse:
    """The event loop turns."""
    return json_response({"status": "ok"}, incoming.id)


async def ready(services: Services, incoming: Incoming) -> web.StreamResponse:
    """New requests are welcome."""
    if services.draining:
        return json_response({"status": "draining"}, incoming.id, 503)
    if services.ledger.mode == "strict" and services.db.failure is not None:
        return json_response({"status": "ledger_unavailable"}, incoming.id, 503)
    return json_response({"status": "ok"}, incoming.id)


async def health(services: Services, incoming: Incoming) -> web.StreamResponse:
    """The state of every enabled provider and of the store; 503 when no provider can be used."""
    probes = incoming.http.query.get("probe") in {"1", "true"}
    if probes and not incoming.identity.is_master:
        told = "probe=1 asks the providers, which costs money; it needs the master key"
        raise refused(403, told, kind="permission", code="master_key_required")
    report = await _common_report(services)
    if not _sees_house(incoming.identity):
        return json_response(_outline(report), incoming.id, 503 if report["status"] == "down" else 200)
    report["memory"] = await _soon(_memory(services))
    report["budgets"] = await _soon(budgets_seen(services, incoming.identity, MOST_SHOWN))
    if probes:
        report["probe"] = await _probe(services)
    return json_response(report, incoming.id, 503 if report["status"] == "down" else 200)


def _sees_house(identity: Identity) -> bool:
    """Whether *identity* is told how much everybody asks; who needs no key is."""
    return identity.key_id is None or identity.runs_house


def _outline(report: Mapping[str, Any]) -> dict[str, Any]:
    """What a key that does not run the house is told: whether things work, not how much others ask."""
    told = ("name", "status", "breaker", "latency_ms", "first_event_ms", "cooldown_s")
    return {
        "status": report["status"],
        "version": report["version"],
        "providers": [{name: entry[name] for name in told} for entry in report["providers"]],
        "storage": {"status": report["storage"]["status"]},
    }


async def _common_report(services: Services) -> dict[str, Any]:
    """The body of `GET /health`: of all workers together."""
    others = await services.sharing.reports()
    if not others:
        return health_report(services)
    health = seen_together(services.health, [other["records"] for other in others])
    report = health_report(services, health)
    count_together(report, [other["report"] for other in others])
    return report


def health_report(services: Services, health: Health | None = None) -> dict[str, Any]:
    """The body of `GET /health`, of this process alone but for what *health* has seen."""
    setup, health = services.setup, health or services.health
    entries = [
        {
            **health.snapshot(spec.name, services.breakers, setup.rings[spec.name]),
            **provider_now(services, spec.name),
        }
        for spec in setup.enabled
    ]
    store, shortage = services.db.failure, services.caller.shortage
    cache = services.cache.stats()
    return {
        "status": overall([entry["status"] for entry in entries], store_ok=store is None and not shortage.lasts),
        "version": version(),
        "uptime_s": round(time.monotonic() - services.started, 1),
        "providers": entries,
        "routes": [{name: route[name] for name in ("name", "policy", "order")} for route in routes_now(services)],
        "storage": {
            "status": services.db.status,
            "error": str(store) if store else None,
            "ledger": services.ledger.mode,
            "ledger_lag_ms": round(services.db.lag_ms, 3),
            "lost_rows": services.ledger.lost,
            "journal": _journal(services.ledger.journal),
            "size_mb": round(services.db.size_bytes / 2**20, 3),
            "ballast_mb": services.ballast.held_bytes / 2**20 if services.ballast else None,
            "sqlite_version": SQLITE_VERSION,
            "sqlite_warning": sqlite_warning(),
        },
        "request_log": services.request_log.stats(),
        "auth": services.guesses.stats(),
        "cache": {name: cache[name] for name in ("entries", "hits", "misses", "hit_rate")},
        "in_flight": services.in_flight,
        "room": {room.kind: _room(room) for room in (services.bodies, services.answers)},
        "descriptors": {"short": shortage.lasts, "missed": shortage.met},
        "spent": spent_now(services),
        "overbilled": services.bills.shown(),
        "routing": routing_now(services),
    }


def _room(room: Room) -> dict[str, Any]:
    """Of `[limits] bodies_mb` or `answers_mb`."""
    return {"held_mb": round(room.held_bytes / 2**20, 3), "waiting": room.waiting, "refused": room.refused}


def _journal(journal: Journal | None) -> dict[str, Any] | None:
    """What waits for the database; None where none is kept."""
    if journal is None or not (journal.is_open or journal.failure):
        return None
    return {
        "waiting": journal.waiting,
        "size_mb": round(journal.size_bytes / 2**20, 3),
        "error": str(journal.failure) if journal.failure else None,
    }


async def _soon(reading: Awaitable[T]) -> T | None:
    """What *reading* finds in the store; None where that takes long: whoever asks for health asks about that, too."""
    try:
        async with asyncio.timeout(STORE_S):
            return await reading
    except TimeoutError:
        return None


async def _memory(services: Services) -> dict[str, Any] | None:
    """What is kept of conversations; None while the store cannot be read."""
    try:
        return {"reasoning": await services.vault.stats(), "responses": await services.responses.stats()}
    except StorageError:
        return None


def overall(statuses: list[str], *, store_ok: bool) -> str:
    """One word for all: down without a usable provider, degraded when one is not well or something of ours fails."""
    if not statuses or all(status == "unhealthy" for status in statuses):
        return "down"
    well = all(status in {"healthy", "unknown"} for status in statuses)
    return "ok" if well and store_ok else "degraded"


async def _probe(services: Services) -> dict[str, Any]:
    """Ask every enabled provider a tiny question, which costs money."""
    specs = [spec for spec in services.setup.enabled if spec.probe_model or spec.models]
    results = await asyncio.gather(*(probe(services, spec) for spec in specs))
    return {
        "note": f"each provider was asked one question of at most {PROBE_TOKENS} tokens, which it may bill",
        "providers": dict(zip((spec.name for spec in specs), results, strict=True)),
    }
