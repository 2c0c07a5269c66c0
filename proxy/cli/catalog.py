"""What the server knows of models: `/api/v1/catalog` as tables."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import urlencode

import typer

from proxy.cli.client import Server
from proxy.cli.terminal import write, write_json, write_table

REFRESH_S: Final = 600
"""Many vendors take turns, and each may take a minute."""
SHOW_S: Final = 60
PATH: Final = "/api/v1/catalog"


def refresh(server: Server, providers: Sequence[str], *, as_json: bool) -> None:
    """POST /api/v1/catalog/refresh. Exits with 1 when a list could not be had, or one that was named was not asked."""
    body = {"providers": list(providers)} if providers else {}
    answer = _table(server.ask("POST", f"{PATH}/refresh", body, timeout_s=REFRESH_S).ok().json())
    outcomes = [_table(each) for each in answer.get("providers") or []]
    if as_json:
        write_json(answer)
    else:
        write_table(
            ("provider", "status", "models", "added", "removed", "changed", "why"),
            [
                (
                    each.get("provider"),
                    each.get("status"),
                    each.get("models"),
                    *(len(each.get(name) or ()) for name in ("added", "removed", "changed")),
                    each.get("error") or "",
                )
                for each in outcomes
            ],
            right=("models", "added", "removed", "changed"),
        )
    wanted = {"ok"} if providers else {"ok", "skipped"}
    if any(each.get("status") not in wanted for each in outcomes):
        raise typer.Exit(1)


def show(server: Server, model: str | None, provider: str | None, *, as_json: bool) -> None:
    """GET /api/v1/catalog: a line for each model; with *model*, a line for each rule."""
    query = {name: value for name, value in (("provider", provider), ("model", model)) if value}
    path = f"{PATH}?{urlencode(query)}" if query else PATH
    answer = _table(server.get(path, timeout_s=SHOW_S).ok().json())
    if as_json:
        write_json(answer)
        return
    entries = [_table(each) for each in answer.get("data") or []]
    if model is None:
        _write_models(entries)
        return
    for number, entry in enumerate(entries):
        if number:
            write("")
        _write_rules(entry)


def forget(server: Server, provider: str, model: str | None, *, as_json: bool) -> None:
    """DELETE /api/v1/catalog/learned."""
    query = urlencode({"provider": provider, **({"model": model} if model else {})})
    answer = _table(server.ask("DELETE", f"{PATH}/learned?{query}").ok().json())
    if as_json:
        write_json(answer)
        return
    forgotten = answer.get("forgotten")
    write(f"{forgotten} {'lesson' if forgotten == 1 else 'lessons'} forgotten")


def _write_models(entries: Sequence[Mapping[str, Any]]) -> None:
    lines = []
    for entry in entries:
        rules, listed = _table(entry.get("rules")), _table(entry.get("listed"))
        kinds = dict.fromkeys(
            str(origin.get("kind")) for rule in rules.values() for origin in map(_table, _table(rule).get("from") or [])
        )
        lines.append(
            (
                f"{entry.get('provider')}/{entry.get('model')}",
                _value(rules, "context_tokens") or listed.get("context"),
                _value(rules, "max_output_tokens") or listed.get("max_output_tokens"),
                len(rules),
                ", ".join(kinds),
                str(listed.get("retires_at") or "")[:10],
            )
        )
    columns = ("model", "input tokens", "output tokens", "rules", "from", "retires")
    write_table(columns, lines, right=("input tokens", "output tokens", "rules"))


def _write_rules(entry: Mapping[str, Any]) -> None:
    rules = _table(entry.get("rules"))
    title = _table(entry.get("listed")).get("title")
    write(f"{entry.get('provider')}/{entry.get('model')}{f' ({title})' if title else ''}, {entry.get('dialect')}")
    if not rules:
        write("nothing is known of it but what holds for every model of that dialect")
        return
    lines = []
    for name, rule in rules.items():
        told = [_origin(_table(origin)) for origin in _table(rule).get("from") or []] or [""]
        lines.append((name, _shown(_table(rule).get("value")), told[0]))
        lines.extend(("", "", more) for more in told[1:])
    write_table(("rule", "value", "from"), lines)


def _origin(origin: Mapping[str, Any]) -> str:
    """Who says so, in one line."""
    kind, source = origin.get("kind"), origin.get("source")
    match kind:
        case "shipped":
            return f"shipped, {origin.get('date')}: {source}"
        case "list":
            return f"the vendor's list, {origin.get('fetched_at')}: {source}"
        case "provider":
            return f"the provider's row: {source}"
        case "configuration":
            return f"the configuration: {source}"
        case "learned":
            uses = origin.get("uses")
            said = f"{origin.get('http_status')}: {origin.get('evidence')}"
            return f"learned {origin.get('learned_at')}, used {uses} times: {said}"
        case _:
            return f"{kind}: {source}"


def _shown(value: Any) -> str:
    if isinstance(value, list) and all(isinstance(each, str) for each in value):
        return ", ".join(value) or "none"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _value(rules: Mapping[str, Any], name: str) -> Any:
    return _table(rules.get(name)).get("value")


def _table(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
