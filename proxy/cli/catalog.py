"""What the server knows of models: `/api/v1/catalog` as tables."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final
from urllib.parse import urlencode

import typer

from proxy.cli.client import Server, table
from proxy.cli.options import Asked, command
from proxy.cli.terminal import write, write_json, write_table

REFRESH_S: Final = 600
"""Many vendors take turns, and each may take a minute."""
SHOW_S: Final = 60
PATH: Final = "/api/v1/catalog"

app = typer.Typer()
catalog_app = typer.Typer(help="What is known of models: ask vendors, look, forget.", no_args_is_help=True)
app.add_typer(catalog_app, name="catalog")


@catalog_app.command("refresh")
@command
def catalog_refresh(
    *,
    provider: Annotated[
        list[str] | None,
        typer.Option("--provider", metavar="NAME", help="Whom to ask. Repeatable. Default: every provider that is on."),
    ] = None,
    asked: Asked,
) -> None:
    """Ask vendors for their lists of models. Exits with 1 when a list could not be had."""
    refresh(asked.server(), provider or [], as_json=asked.as_json)


@catalog_app.command("show")
@command
def catalog_show(
    model: Annotated[str | None, typer.Argument(help="A model, with or without its provider, or a route.")] = None,
    *,
    provider: Annotated[str | None, typer.Option("--provider", metavar="NAME", help="Of this provider alone.")] = None,
    asked: Asked,
) -> None:
    """Show what is known of models; of one model, every rule and where it comes from."""
    with asked.administered() as server:
        show(server, model, provider, as_json=asked.as_json)


@catalog_app.command("forget")
@command
def catalog_forget(
    provider: Annotated[str, typer.Argument(help="Whose lessons.")],
    model: Annotated[str | None, typer.Argument(help="Of this model alone.")] = None,
    *,
    asked: Asked,
) -> None:
    """Forget what a provider's refusals have taught. It is learned again when it is refused again."""
    with asked.administered() as server:
        forget(server, provider, model, as_json=asked.as_json)


def refresh(server: Server, providers: Sequence[str], *, as_json: bool) -> None:
    """POST /api/v1/catalog/refresh. Exits with 1 when a list could not be had, or one that was named was not asked."""
    body = {"providers": list(providers)} if providers else {}
    answer = table(server.ask("POST", f"{PATH}/refresh", body, timeout_s=REFRESH_S).ok().json())
    outcomes = [table(each) for each in answer.get("providers") or []]
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
    answer = table(server.get(path, timeout_s=SHOW_S).ok().json())
    if as_json:
        write_json(answer)
        return
    entries = [table(each) for each in answer.get("data") or []]
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
    answer = table(server.ask("DELETE", f"{PATH}/learned?{query}").ok().json())
    if as_json:
        write_json(answer)
        return
    forgotten = answer.get("forgotten")
    write(f"{forgotten} {'lesson' if forgotten == 1 else 'lessons'} forgotten")


def _write_models(entries: Sequence[Mapping[str, Any]]) -> None:
    lines = []
    for entry in entries:
        rules, listed = table(entry.get("rules")), table(entry.get("listed"))
        kinds = dict.fromkeys(
            str(origin.get("kind")) for rule in rules.values() for origin in map(table, table(rule).get("from") or [])
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
    rules = table(entry.get("rules"))
    title = table(entry.get("listed")).get("title")
    write(f"{entry.get('provider')}/{entry.get('model')}{f' ({title})' if title else ''}, {entry.get('dialect')}")
    if not rules:
        write("nothing is known of it but what holds for every model of that dialect")
        return
    lines = []
    for name, rule in rules.items():
        told = [_origin(table(origin)) for origin in table(rule).get("from") or []] or [""]
        lines.append((name, _shown(table(rule).get("value")), told[0]))
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
    return table(rules.get(name)).get("value")
