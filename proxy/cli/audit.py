"""`modelport audit`: `/api/v1/audit` as a table, and whether it is as it was written."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any, Final
from urllib.parse import urlencode

import typer

from proxy.cli.client import Server, table
from proxy.cli.options import Asked, command
from proxy.cli.terminal import write, write_json, write_table

PATH: Final = "/api/v1/audit"
VERIFY_S: Final = 600

app = typer.Typer()
audit_app = typer.Typer(help="Who changed what.", no_args_is_help=True)
app.add_typer(audit_app, name="audit")


@audit_app.command("show")
@command
def audit_show(
    *,
    since: Annotated[
        str | None, typer.Option(metavar="TIME", help="From: 30m, 24h, 7d or an ISO 8601 time. Default: the beginning.")
    ] = None,
    until: Annotated[str | None, typer.Option(metavar="TIME", help="Up to. Default: now.")] = None,
    subject: Annotated[str | None, typer.Option(metavar="NAME", help="What was changed.")] = None,
    actor: Annotated[str | None, typer.Option(metavar="ID", help="Who changed it.")] = None,
    action: Annotated[
        str | None, typer.Option(metavar="NAME", help="What was done: credential, or credential.rotated.")
    ] = None,
    limit: Annotated[int, typer.Option(metavar="N", help="The newest so many.")] = 100,
    asked: Asked,
) -> None:
    """Show who changed what, the newest last."""
    query = {"since": since, "until": until, "subject": subject, "actor": actor, "action": action, "limit": str(limit)}
    with asked.administered() as server:
        show(server, query, as_json=asked.as_json)


@audit_app.command("verify")
@command
def audit_verify(
    *,
    head: Annotated[
        str | None, typer.Option("--head", metavar="HASH", help="A head that was noted earlier: it has to be there.")
    ] = None,
    asked: Asked,
) -> None:
    """Say whether the log is as it was written, and what its head is. Exits with 1 when it is not."""
    with asked.administered() as server:
        verify(server, head, as_json=asked.as_json)


def show(server: Server, query: Mapping[str, str | None], *, as_json: bool) -> None:
    """GET /api/v1/audit, oldest first."""
    said = {name: value for name, value in query.items() if value}
    answer = table(server.get(f"{PATH}?{urlencode(said)}").ok().json())
    if as_json:
        write_json(answer)
        return
    rows = [table(row) for row in answer.get("data") or []]
    write_table(
        ("entry", "at", "who", "what", "of", "change"),
        [
            (row.get("seq"), row.get("at"), row.get("actor"), row.get("action"), row.get("subject"), _change(row))
            for row in reversed(rows)
        ],
        right=("entry",),
    )


def verify(server: Server, head: str | None, *, as_json: bool) -> None:
    """GET /api/v1/audit/verify. Exits with 1 when the log is not as it was written."""
    query = f"?{urlencode({'head': head})}" if head else ""
    verdict = table(server.get(f"{PATH}/verify{query}", timeout_s=VERIFY_S).ok().json())
    if as_json:
        write_json(verdict)
    elif verdict.get("ok"):
        found = f"; the hash that was noted is that of entry {verdict['head_found_at']}" if head else ""
        write(f"ok  {verdict.get('entries')} entries{found}\nhead {verdict.get('head')}")
    else:
        at = f"broken at entry {verdict['broken_at']}: " if verdict.get("broken_at") is not None else ""
        write(f"not ok  {at}{verdict.get('reason')}\n{verdict.get('entries')} entries are as they were written")
    if not verdict.get("ok"):
        raise typer.Exit(1)


def _change(row: Mapping[str, Any]) -> str:
    """What is different, field by field; of what came or went, everything that is said."""
    before, after = row.get("before"), row.get("after")
    if not isinstance(before, dict) or not isinstance(after, dict):
        return _fields(after) if after is not None else _fields(before)
    names = [name for name in dict.fromkeys([*before, *after]) if before.get(name) != after.get(name)]
    return ", ".join(f"{name}: {_text(before.get(name))} -> {_text(after.get(name))}" for name in names)


def _fields(value: Any) -> str:
    if not isinstance(value, dict):
        return "" if value is None else _text(value)
    return ", ".join(f"{name}: {_text(inner)}" for name, inner in value.items() if inner is not None)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
