"""What the server says of itself: status, costs, models, cache."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import urlencode

import typer

from proxy.cli.client import Refused, Server
from proxy.cli.terminal import write, write_json, write_table

STATUS_S: Final = 5
"""How long `status` waits for an answer."""

_COUNTS: Final = ("exchanges", "errors", "cache_hits", "input_tokens", "output_tokens", "cost_usd", "saved_usd")


def status(server: Server, *, detailed: bool, as_json: bool) -> None:
    """GET /health. Exits with 1 when the server says that it is down."""
    reply = server.get("/health", timeout_s=STATUS_S)
    health = _table(reply.json())
    if "status" not in health:
        reply.ok()
        raise Refused(f"what answers at {server.url} is no modelport")
    if as_json:
        write_json(health)
    else:
        _write_status(server, health, detailed=detailed)
    if health["status"] == "down":
        raise typer.Exit(1)


def _write_status(server: Server, health: Mapping[str, Any], *, detailed: bool) -> None:
    known = [_table(each) for each in health.get("providers") or []]
    version, uptime = health.get("version", "?"), _duration(health.get("uptime_s"))
    write(f"{health['status']}  modelport {version} at {server.url}, up {uptime}")
    if detailed:
        write_table(
            (
                "provider",
                "status",
                "breaker",
                "requests",
                "errors",
                "success",
                "p50 ms",
                "p95 ms",
                "keys",
                "last error",
            ),
            [_provider_line(each) for each in known],
            right=("requests", "errors", "success", "p50 ms", "p95 ms", "keys"),
        )
    else:
        write("providers  " + (", ".join(f"{each.get('name')} {each.get('status')}" for each in known) or "none"))
    storage, cache = _table(health.get("storage")), _table(health.get("cache"))
    write(f"storage    {storage.get('status', '?')}, {storage.get('size_mb', '?')} MB")
    write(f"cache      {cache.get('entries', '?')} entries, {_percent(cache.get('hit_rate'))} of requests were hits")


def _provider_line(provider: Mapping[str, Any]) -> Sequence[Any]:
    latency, keys = _table(provider.get("latency_ms")), _table(provider.get("keys"))
    return (
        provider.get("name"),
        provider.get("status"),
        provider.get("breaker"),
        provider.get("requests"),
        provider.get("errors"),
        _percent(provider.get("success_rate")),
        latency.get("p50"),
        latency.get("p95"),
        f"{keys.get('available', '-')}/{keys.get('total', '-')}",
        provider.get("last_error"),
    )


def costs(server: Server, *, since: str, until: str | None, group_by: str, form: str) -> None:
    """GET /costs as a table, JSON or CSV."""
    query = {"since": since, "group_by": group_by.replace(" ", ""), "format": "csv" if form == "csv" else "json"}
    if until:
        query["until"] = until
    reply = server.get(f"/costs?{urlencode(query, safe=',')}").ok()
    if form == "csv":
        write(reply.body.decode(errors="replace").rstrip("\r\n"))
        return
    summed = _table(reply.json())
    if form == "json":
        write_json(summed)
        return
    names = [str(name) for name in summed.get("group_by") or []]
    total, groups = _table(summed.get("total")), [_table(group) for group in summed.get("groups") or []]
    lines = [[group.get(name) for name in (*names, *_COUNTS)] for group in groups]
    lines.append(["total", *[""] * (len(names) - 1), *(total.get(name) for name in _COUNTS)])
    columns = (*(names or [""]), *_COUNTS)
    write(f"{summed.get('since')} to {summed.get('until')}, {summed.get('currency', 'USD')}")
    write_table(columns, lines, right=_COUNTS)
    if unpriced := total.get("unpriced_attempts"):
        write(f"{unpriced} attempts have no known price and are not in these sums")


def models(server: Server, *, as_json: bool) -> None:
    """GET /v1/models."""
    listed = _table(server.get("/v1/models").ok().json())
    if as_json:
        write_json(listed)
        return
    write_table(("model", "by"), [(each.get("id"), each.get("owned_by")) for each in listed.get("data") or []])


def first_model(server: Server) -> str:
    """The first name that the server lists."""
    listed = _table(server.get("/v1/models").ok().json()).get("data") or []
    if not listed:
        raise Refused("the server offers no model; see: modelport status --detailed")
    return str(listed[0].get("id"))


def cache_stats(server: Server, *, as_json: bool) -> None:
    """GET /api/v1/cache."""
    stats = _table(server.get("/api/v1/cache").ok().json())
    if as_json:
        write_json(stats)
        return
    write(f"{stats.get('entries')} entries, {stats.get('size_mb')} MB")
    write(f"{stats.get('hits')} hits, {stats.get('misses')} misses ({_percent(stats.get('hit_rate'))} hits)")


def cache_clear(server: Server, *, as_json: bool) -> None:
    """DELETE /api/v1/cache."""
    answer = _table(server.ask("DELETE", "/api/v1/cache").ok().json())
    if as_json:
        write_json(answer)
        return
    write(f"{answer.get('cleared')} entries removed")


def _table(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _percent(share: Any) -> str:
    return f"{share * 100:.0f} %" if isinstance(share, int | float) else "-"


def _duration(seconds: Any) -> str:
    if not isinstance(seconds, int | float):
        return "?"
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.0f} s"
