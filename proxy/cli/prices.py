"""Prices and what they make of the ledger: `/api/v1/prices` as tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlencode

from proxy.cli.client import Server
from proxy.cli.terminal import note, write, write_json, write_table

PATH: Final = "/api/v1/prices"
REPRICE_S: Final = 3600
SHOW_S: Final = 60


def unpriced(server: Server, *, since: str, until: str | None, as_json: bool) -> None:
    """GET /api/v1/prices/unpriced: what has no known cost, and how to change that."""
    query = urlencode({"since": since, **({"until": until} if until else {})})
    answer = _table(server.get(f"{PATH}/unpriced?{query}", timeout_s=SHOW_S).ok().json())
    if as_json:
        write_json(answer)
        return
    models = [_table(each) for each in answer.get("models") or []]
    if not models:
        write(f"since {answer.get('since')} every cost is known")
        return
    columns = ("provider", "model", "attempts", "input_tokens", "output_tokens", "first_at", "last_at")
    titles = tuple(column.replace("_", " ") for column in columns)
    lines = [[each.get(column) for column in columns] for each in models]
    write_table(titles, lines, right=("attempts", "input tokens", "output tokens"))
    note("give them a price in the configuration, then: modelport costs reprice --since " + since)


def reprice(
    server: Server, *, since: str, until: str | None, model: str | None, whole: bool, dry_run: bool, as_json: bool
) -> None:
    """POST /api/v1/prices/reprice."""
    body: dict[str, Any] = {"since": since, "all": whole, "dry_run": dry_run}
    body |= {name: value for name, value in (("until", until), ("model", model)) if value}
    answer = _table(server.ask("POST", f"{PATH}/reprice", body, timeout_s=REPRICE_S).ok().json())
    if as_json:
        write_json(answer)
        return
    columns = ("provider", "model", "attempts", "changed", "still_unpriced", "before_usd", "after_usd")
    models = [_table(each) for each in answer.get("models") or []]
    if models:
        titles = tuple(column.replace("_", " ") for column in columns)
        write_table(titles, [[each.get(column) for column in columns] for each in models], right=titles[2:])
    did = "would change" if dry_run else "changed"
    write(
        f"{did} {answer.get('changed')} of {answer.get('attempts')} attempts:"
        f" {answer.get('before_usd')} -> {answer.get('after_usd')} USD,"
        f" {answer.get('still_unpriced')} still without a price"
    )


def show(server: Server, model: str, *, at: str | None, as_json: bool) -> None:
    """GET /api/v1/prices: every rate of a model."""
    query = urlencode({"model": model, **({"at": at} if at else {})})
    answer = _table(server.get(f"{PATH}?{query}", timeout_s=SHOW_S).ok().json())
    if as_json:
        write_json(answer)
        return
    found = [_table(each) for each in answer.get("data") or []]
    if not any(each.get("rates") for each in found):
        write(f"no price is known for {model}")
        return
    for number, each in enumerate(found):
        if number:
            write("")
        write(f"{each.get('provider')}/{each.get('model')}, {each.get('version')}")
        lines = list(_lines("standard", _table(each.get("rates"))))
        for way in map(_table, each.get("served") or []):
            when = ", ".join(f"{name} {value}" for name, value in _table(way.get("when")).items())
            lines.extend(_lines(when, _table(way.get("rates"))))
        write_table(("served", "kind", "USD", "longer inputs"), lines, right=("USD",))


def _lines(served: str, rates: Mapping[str, Any]) -> list[tuple[str, str, Any, str]]:
    return [
        (
            served,
            kind,
            _table(rate).get("usd"),
            ", ".join(f"above {tier['above']}: {tier['usd']}" for tier in _table(rate).get("tiers") or []),
        )
        for kind, rate in rates.items()
    ]


def _table(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
