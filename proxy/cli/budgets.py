"""Budgets on the command line: list, show, set, remove."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final, Literal
from urllib.parse import quote, urlencode

import typer

from proxy.cli.client import Refused, Server, table
from proxy.cli.options import Asked, command
from proxy.cli.terminal import write, write_json, write_table

BUDGETS: Final = "/api/v1/budgets"
SPANS: Final = {"total": "in all", "hour": "an hour", "day": "a day", "month": "a month"}
SUBJECTS: Final = ("organisation", "team", "key", "tag", "provider", "route")

app = typer.Typer()
budgets_app = typer.Typer(help="What may be spent, and how it stands.", no_args_is_help=True)
app.add_typer(budgets_app, name="budgets")

BudgetName = Annotated[str, typer.Argument(help="Its name, or its id.")]


@budgets_app.command("list")
@command
def budgets_list(asked: Asked) -> None:
    """List the budgets and how they stand."""
    with asked.administered() as server:
        list_all(server, as_json=asked.as_json)


@budgets_app.command("show")
@command
def budgets_show(name: BudgetName, asked: Asked) -> None:
    """Show one budget, and its newest alerts."""
    with asked.administered() as server:
        show(server, name, as_json=asked.as_json)


@budgets_app.command("set")
@command
def budgets_set(
    name: Annotated[str, typer.Argument(help="Its name.")],
    *,
    limit_usd: Annotated[str | None, typer.Option("--limit-usd", metavar="USD", help="What may be spent.")] = None,
    window: Annotated[
        Literal["hour", "day", "month", "total"] | None, typer.Option("--window", help="In which time. Default: month.")
    ] = None,
    rolling: Annotated[
        bool | None, typer.Option("--rolling/--calendar", help="The last hour, 24 hours, 30 days. Default: calendar.")
    ] = None,
    hard: Annotated[
        bool | None, typer.Option("--hard/--soft", help="Refuse, or only give alerts. Default: hard.")
    ] = None,
    organisation: Annotated[str | None, typer.Option("--organisation", metavar="ID", help="About it.")] = None,
    team: Annotated[str | None, typer.Option("--team", metavar="ID", help="About it.")] = None,
    key: Annotated[str | None, typer.Option("--key", metavar="ID", help="About this virtual key.")] = None,
    tag: Annotated[str | None, typer.Option("--tag", metavar="NAME=VALUE", help="About requests with it.")] = None,
    provider: Annotated[str | None, typer.Option("--provider", metavar="NAME", help="About it.")] = None,
    route: Annotated[str | None, typer.Option("--route", metavar="NAME", help="About it.")] = None,
    unpriced: Annotated[
        Literal["refuse", "allow"] | None, typer.Option("--unpriced", help="Models without a price. Default: refuse.")
    ] = None,
    alert: Annotated[
        list[int] | None, typer.Option("--alert", metavar="PERCENT", help="Repeatable. Default: 80 and 100.")
    ] = None,
    assumed_output_tokens: Annotated[
        int | None,
        typer.Option("--assumed-output-tokens", metavar="N", help="Reserved for an unbounded answer. Default: 4096."),
    ] = None,
    asked: Asked,
) -> None:
    """Make a budget, or change the one of that name; what is not said stays."""
    said = {
        "limit_usd": limit_usd,
        "window": window,
        "rolling": rolling,
        "hard": hard,
        "organisation": organisation,
        "team": team,
        "key": key,
        "tag": tag,
        "provider": provider,
        "route": route,
        "unpriced": unpriced,
        "alerts": alert or None,
        "assumed_output_tokens": assumed_output_tokens,
    }
    body = {field: value for field, value in said.items() if value is not None}
    with asked.administered() as server:
        put(server, name, body, as_json=asked.as_json)


@budgets_app.command("remove")
@command
def budgets_remove(name: BudgetName, asked: Asked) -> None:
    """Remove a budget and what it has counted. The ledger stays as it is."""
    with asked.administered() as server:
        remove(server, name, as_json=asked.as_json)


def list_all(server: Server, *, as_json: bool) -> None:
    """GET /api/v1/budgets."""
    answer = table(server.get(BUDGETS).ok().json())
    if as_json:
        write_json(answer)
        return
    write_table(
        ("name", "about", "window", "limit USD", "spent", "reserved", "%", "status", "reopens", "from"),
        [_line(table(row)) for row in answer.get("data") or []],
        right=("limit USD", "spent", "reserved", "%"),
    )


def show(server: Server, name: str, *, as_json: bool) -> None:
    """GET /api/v1/budgets/{id or name}, with its newest alerts."""
    found = table(server.get(_path(name)).ok().json())
    if as_json:
        write_json(found)
        return
    alerts: Sequence[Any] = found.get("recent_alerts") or []
    write_table(("field", "value"), [(key, _text(value)) for key, value in found.items() if key != "recent_alerts"])
    if alerts:
        write("")
        write_table(
            ("alert", "at", "told"),
            [(_alert(table(each)), each.get("at"), _delivery(table(each))) for each in alerts],
        )


def put(server: Server, name: str, body: Mapping[str, Any], *, as_json: bool) -> None:
    """Change the budget of that name, or make it: PATCH or POST."""
    rows = table(server.get(f"{BUDGETS}?{urlencode({'name': name})}").ok().json()).get("data") or []
    found = next((table(row) for row in rows if table(row).get("origin") != "key"), None)
    if found is None:
        answer = server.ask("POST", BUDGETS, {"name": name, **body})
    else:
        said = {kind: body[kind] for kind in SUBJECTS if kind in body}
        if said and said != {found.get("kind"): found.get("subject")}:
            about = f"{found.get('kind')} {found.get('subject') or ''}".strip()
            raise Refused(f"the budget {name} is about {about}; remove it first, or choose another name")
        changes = {field: value for field, value in body.items() if field not in SUBJECTS}
        answer = server.ask("PATCH", _path(str(found.get("id"))), changes)
    made = table(answer.ok().json())
    if as_json:
        write_json(made)
        return
    write(f"{made.get('name')} ({_about(made)}): {made.get('limit_usd')} USD {_span(made)}, spent {made['spent_usd']}")


def remove(server: Server, name: str, *, as_json: bool) -> None:
    """DELETE /api/v1/budgets/{id or name}."""
    gone = table(server.ask("DELETE", _path(name)).ok().json())
    write_json(gone) if as_json else write(f"{gone.get('name')} is removed")


def _line(row: Mapping[str, Any]) -> Sequence[Any]:
    return (
        row.get("name"),
        _about(row),
        _span(row) + ("" if row.get("hard") else ", soft"),
        row.get("limit_usd"),
        row.get("spent_usd"),
        row.get("reserved_usd"),
        row.get("percent"),
        row.get("status"),
        row.get("reopens_at"),
        row.get("origin"),
    )


def _about(row: Mapping[str, Any]) -> str:
    return "everything" if row.get("kind") == "global" else f"{row.get('kind')} {row.get('subject')}"


def _span(row: Mapping[str, Any]) -> str:
    window = str(row.get("window"))
    return SPANS.get(window, window) + (", rolling" if row.get("rolling") else "")


def _alert(alert: Mapping[str, Any]) -> str:
    percent = alert.get("percent")
    return "first refusal" if percent is None else f"{percent} %"


def _delivery(alert: Mapping[str, Any]) -> str:
    if delivered := alert.get("delivered_at"):
        return f"webhook at {delivered}"
    error = alert.get("error")
    if alert.get("waiting"):
        return f"waits for the webhook ({error})" if error else "waits for the webhook"
    return f"log; the webhook did not take it ({error})" if error else "log"


def _text(value: Any) -> str | None:
    match value:
        case list():
            return ", ".join(map(str, value)) or None
        case None:
            return None
        case bool():
            return "yes" if value else "no"
        case _:
            return str(value)


def _path(name: str) -> str:
    return f"{BUDGETS}/{quote(name, safe='')}"
