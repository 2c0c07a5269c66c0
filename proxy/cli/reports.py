"""What the server says of itself: status, costs, models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Annotated, Any, Final

import typer

from proxy.cli.client import Refused, Server, table
from proxy.cli.options import Asked, command
from proxy.cli.routing_lines import routing_lines
from proxy.cli.terminal import write, write_json, write_table

STATUS_S: Final = 5
"""How long `status` waits for an answer."""
SPAN: Final = "24h"
"""Of what the spending is shown."""

app = typer.Typer()


@app.command()
@command
def status(
    *,
    detailed: Annotated[bool, typer.Option("--detailed", help="Every provider with its numbers.")] = False,
    asked: Asked,
) -> None:
    """Say whether the server and its providers are well. Exits with 1 when nothing can be used."""
    show_status(asked.server(), detailed=detailed, as_json=asked.as_json)


@app.command()
@command
def models(asked: Asked) -> None:
    """List what may stand in `model`."""
    list_models(asked.server(), as_json=asked.as_json)


def show_status(server: Server, *, detailed: bool, as_json: bool) -> None:
    """GET /health. Exits with 1 when the server says that it is down."""
    reply = server.get("/health", timeout_s=STATUS_S)
    health = table(reply.json())
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
    known = [table(each) for each in health.get("providers") or []]
    version, uptime = health.get("version", "?"), _duration(health.get("uptime_s"))
    write(f"{health['status']}  modelport {version} at {server.url}, up {uptime}")
    if detailed:
        _write_providers(known)
        _write_spending(server)
        _write_routes([table(each) for each in health.get("routes") or []])
        for line in routing_lines(health):
            write(line)
    else:
        write("providers  " + (", ".join(f"{each.get('name')} {each.get('status')}" for each in known) or "none"))
    storage, cache = table(health.get("storage")), table(health.get("cache"))
    write(f"storage    {storage.get('status', '?')}, {storage.get('size_mb', '?')} MB")
    write(f"cache      {cache.get('entries', '?')} entries, {_percent(cache.get('hit_rate'))} of requests were hits")


def _write_providers(known: Sequence[Mapping[str, Any]]) -> None:
    numbers = ("requests", "errors", "success", "p50 ms", "p95 ms", "first p50", "first p95", "keys")
    write_table(
        ("provider", "status", "breaker", *numbers, "last success", "last failure", "last error"),
        [_provider_line(each) for each in known],
        right=numbers,
    )


def _write_spending(server: Server) -> None:
    """What each provider did and cost of late; nothing where the key may not see it."""
    reply = server.get(f"/costs?since={SPAN}&group_by=provider", timeout_s=STATUS_S)
    if reply.status >= 400:
        return
    summed = table(reply.json())
    columns = ("attempts", "input_tokens", "output_tokens", "cost_usd")
    groups = [table(group) for group in summed.get("groups") or []]
    if not groups:
        return
    write("")
    write_table(
        (f"last {SPAN}", "calls", "tokens in", "tokens out", "cost USD"),
        [[group.get("provider"), *(group.get(name) for name in columns)] for group in groups],
        right=("calls", "tokens in", "tokens out", "cost USD"),
    )
    total = table(summed.get("total"))
    exchanges = total.get("exchanges")
    if exchanges:
        average = Decimal(str(total.get("cost_usd"))) / int(exchanges)
        write(f"{exchanges} exchanges, {average:.9f} USD each on average")


def _write_routes(routes: Sequence[Mapping[str, Any]]) -> None:
    if not routes:
        return
    write("")
    write_table(
        ("route", "policy", "order"),
        [(each.get("name"), each.get("policy"), ", ".join(each.get("order") or [])) for each in routes],
    )


def _provider_line(provider: Mapping[str, Any]) -> Sequence[Any]:
    latency, keys = table(provider.get("latency_ms")), table(provider.get("keys"))
    first = table(provider.get("first_event_ms"))
    return (
        provider.get("name"),
        provider.get("status"),
        provider.get("breaker"),
        provider.get("requests"),
        provider.get("errors"),
        _percent(provider.get("success_rate")),
        latency.get("p50"),
        latency.get("p95"),
        first.get("p50"),
        first.get("p95"),
        f"{keys.get('available', '-')}/{keys.get('total', '-')}",
        provider.get("last_success"),
        provider.get("last_failure"),
        provider.get("last_error"),
    )


def list_models(server: Server, *, as_json: bool) -> None:
    """GET /v1/models."""
    listed = table(server.get("/v1/models").ok().json())
    if as_json:
        write_json(listed)
        return
    write_table(("model", "by"), [(each.get("id"), each.get("owned_by")) for each in listed.get("data") or []])


def first_model(server: Server) -> str:
    """The first name that the server lists."""
    listed = table(server.get("/v1/models").ok().json()).get("data") or []
    if not listed:
        raise Refused("the server offers no model; see: modelport status --detailed")
    return str(listed[0].get("id"))


def _percent(share: Any) -> str:
    return f"{share * 100:.0f} %" if isinstance(share, int | float) else "-"


def _duration(seconds: Any) -> str:
    if not isinstance(seconds, int | float):
        return "?"
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.0f} s"
