"""`modelport exchange show`: one request of the ledger, with its attempts and votes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any, Final
from urllib.parse import quote

import typer

from proxy.cli.client import Server
from proxy.cli.options import Asked, command
from proxy.cli.terminal import write, write_json, write_table

WIDE: Final = 60
"""Characters of a value that a table shows; --json has it whole."""

app = typer.Typer()
exchange_app = typer.Typer(help="Single requests of the ledger.", no_args_is_help=True)
app.add_typer(exchange_app, name="exchange")


@exchange_app.command("show")
@command
def exchange_show(
    exchange: Annotated[str, typer.Argument(help="Its id, which the answer has as x-request-id (req_...).")],
    asked: Asked,
) -> None:
    """Show a request with its attempts, votes and losses."""
    with asked.administered() as server:
        show(server, exchange, as_json=asked.as_json)


def show(server: Server, exchange_id: str, *, as_json: bool) -> None:
    """GET /api/v1/exchanges/{id}."""
    row: dict[str, Any] = server.get(f"/api/v1/exchanges/{quote(exchange_id, safe='')}").ok().json()
    if as_json:
        write_json(row)
        return
    _write_exchange(row)
    _write_attempts(row)
    if row.get("consensus"):
        _write_consensus(row["consensus"])
        _write_votes(row)
    for loss in row.get("losses") or ():
        write(f"loss  {loss.get('field')}: {loss.get('action')}, {loss.get('reason')}")


def _write_exchange(row: Mapping[str, Any]) -> None:
    write(f"{row.get('id')}  {row.get('status')}  {row.get('opened_at')}")
    write(f"route      {row.get('route')} -> {row.get('target')}")
    write(f"took       {row.get('latency_ms')} ms, first content after {row.get('first_event_ms')} ms")
    tokens = f"{row.get('input_tokens')} in, {row.get('output_tokens')} out"
    write(f"tokens     {tokens}{', estimated' if row.get('estimated') else ''}")
    write(f"cost       {row.get('cost_usd') or 'unknown'} USD; cache {row.get('cache')}")
    if row.get("error"):
        write(f"error      {row['error']}")


def _write_attempts(row: Mapping[str, Any]) -> None:
    write("")
    write_table(
        ("#", "target", "status", "http", "in", "out", "cost USD", "ms", "error"),
        [
            (
                made.get("number"),
                f"{made.get('provider')}/{made.get('model')}",
                made.get("status"),
                made.get("http_status"),
                made.get("input_tokens"),
                made.get("output_tokens"),
                made.get("cost_usd"),
                made.get("latency_ms"),
                made.get("error"),
            )
            for made in row.get("attempts") or ()
        ],
        right=("#", "http", "in", "out", "cost USD", "ms"),
    )


def _write_consensus(found: Mapping[str, Any]) -> None:
    write("")
    write(f"{found.get('policy')}  {found.get('method')}, confidence {found.get('confidence')}: {found.get('reason')}")
    fields = [field for field in found.get("fields") or () if field.get("path")]
    if fields:
        write("")
        write_table(
            ("field", "value", "confidence", "settled by", "others"),
            [
                (
                    field.get("path"),
                    shown(field.get("value")),
                    field.get("confidence"),
                    field.get("settled_by"),
                    _others(field),
                )
                for field in fields
            ],
            right=("confidence",),
        )


def _others(field: Mapping[str, Any]) -> str:
    """Who says something else, and what."""
    votes: Mapping[str, Any] = field.get("votes") or {}
    return ", ".join(f"{target} {shown(vote)}" for target, vote in votes.items() if vote != field.get("value")) or "-"


def _write_votes(row: Mapping[str, Any]) -> None:
    write("")
    write_table(
        ("vote of", "status", "agrees", "cost USD", "attempts", "answer"),
        [
            (
                vote.get("target"),
                vote.get("status"),
                {True: "yes", False: "no"}.get(vote.get("agrees")),
                vote.get("cost_usd"),
                ", ".join(str(number) for number in vote.get("attempts") or ()) or None,
                vote.get("why") or shown(vote.get("value")),
            )
            for vote in row.get("votes") or ()
        ],
        right=("cost USD",),
    )


def shown(value: Any) -> str:
    """*value* in one line of a table."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    text = " ".join(text.split())
    return text if len(text) <= WIDE else text[: WIDE - 1] + "…"
