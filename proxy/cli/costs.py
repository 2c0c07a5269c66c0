"""`modelport costs`: `/costs` as a table, what has no price, and pricing anew."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal
from urllib.parse import urlencode

import typer

from proxy.cli.client import Server, table
from proxy.cli.options import Asked, command
from proxy.cli.prices import PATH
from proxy.cli.terminal import note, write, write_json, write_table

REPRICE_S: Final = 3600
LIST_S: Final = 60
_COUNTS: Final = ("exchanges", "errors", "cache_hits", "input_tokens", "output_tokens", "cost_usd", "saved_usd")

app = typer.Typer()
costs_app = typer.Typer(help="Sum up the ledger; price it again.")
app.add_typer(costs_app, name="costs")


@costs_app.callback(invoke_without_command=True)
@command
def costs(
    context: typer.Context,
    *,
    since: Annotated[str, typer.Option(metavar="TIME", help="From: 30m, 24h, 7d or an ISO 8601 time.")] = "24h",
    until: Annotated[str | None, typer.Option(metavar="TIME", help="Up to. Default: now.")] = None,
    group_by: Annotated[
        str,
        typer.Option(
            metavar="NAMES", help="provider, model, route, key, team, organisation, tag, day, hour; with commas."
        ),
    ] = "provider,model",
    unpriced: Annotated[bool, typer.Option("--unpriced", help="List the models without a known price.")] = False,
    format_: Annotated[Literal["table", "json", "csv"], typer.Option("--format", help="How it is written.")] = "table",
    asked: Asked,
) -> None:
    """Sum up the ledger."""
    if context.invoked_subcommand:
        return
    with asked.administered() as server:
        if unpriced:
            list_unpriced(server, since=since, until=until, as_json=asked.as_json)
            return
        form = "json" if asked.as_json else format_
        sums(server, since=since, until=until, group_by=group_by, form=form)


@costs_app.command("reprice")
@command
def costs_reprice(
    *,
    since: Annotated[str, typer.Option(metavar="TIME", help="From: 30m, 24h, 7d or an ISO 8601 time.")] = "7d",
    until: Annotated[str | None, typer.Option(metavar="TIME", help="Up to. Default: now.")] = None,
    model: Annotated[
        str | None, typer.Option("--model", "-m", metavar="NAME", help="provider/model or a model; globs are allowed.")
    ] = None,
    whole: Annotated[bool, typer.Option("--all", help="Known costs, too, not only unknown ones.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would change, and change nothing.")] = False,
    asked: Asked,
) -> None:
    """Compute costs anew, at the prices of their time. The old ones are kept."""
    with asked.administered() as server:
        reprice(
            server,
            since=since,
            until=until,
            model=model,
            whole=whole,
            dry_run=dry_run,
            as_json=asked.as_json,
        )


def sums(server: Server, *, since: str, until: str | None, group_by: str, form: str) -> None:
    """GET /costs as a table, JSON or CSV."""
    query = {"since": since, "group_by": group_by.replace(" ", ""), "format": "csv" if form == "csv" else "json"}
    if until:
        query["until"] = until
    reply = server.get(f"/costs?{urlencode(query, safe=',')}").ok()
    if form == "csv":
        write(reply.body.decode(errors="replace").rstrip("\r\n"))
        return
    summed = table(reply.json())
    if form == "json":
        write_json(summed)
        return
    names = [str(name) for name in summed.get("group_by") or []]
    total, groups = table(summed.get("total")), [table(group) for group in summed.get("groups") or []]
    lines = [[group.get(name) for name in (*names, *_COUNTS)] for group in groups]
    lines.append(["total", *[""] * (len(names) - 1), *(total.get(name) for name in _COUNTS)])
    columns = (*(names or [""]), *_COUNTS)
    write(f"{summed.get('since')} to {summed.get('until')}, {summed.get('currency', 'USD')}")
    write_table(columns, lines, right=_COUNTS)
    if unpriced := total.get("unpriced_attempts"):
        write(f"{unpriced} attempts have no known price and are not in these sums")


def list_unpriced(server: Server, *, since: str, until: str | None, as_json: bool) -> None:
    """GET /api/v1/prices/unpriced: what has no known cost, and how to change that."""
    query = urlencode({"since": since, **({"until": until} if until else {})})
    answer = table(server.get(f"{PATH}/unpriced?{query}", timeout_s=LIST_S).ok().json())
    if as_json:
        write_json(answer)
        return
    models = [table(each) for each in answer.get("models") or []]
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
    answer = table(server.ask("POST", f"{PATH}/reprice", body, timeout_s=REPRICE_S).ok().json())
    if as_json:
        write_json(answer)
        return
    columns = ("provider", "model", "attempts", "changed", "still_unpriced", "before_usd", "after_usd")
    models = [table(each) for each in answer.get("models") or []]
    if models:
        titles = tuple(column.replace("_", " ") for column in columns)
        write_table(titles, [[each.get(column) for column in columns] for each in models], right=titles[2:])
    did = "would change" if dry_run else "changed"
    write(
        f"{did} {answer.get('changed')} of {answer.get('attempts')} attempts:"
        f" {answer.get('before_usd')} -> {answer.get('after_usd')} USD,"
        f" {answer.get('still_unpriced')} still without a price"
    )
