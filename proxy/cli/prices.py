"""Prices and what they make of the ledger: `/api/v1/prices` as tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final
from urllib.parse import urlencode

import typer

from proxy.cli.client import Server, table
from proxy.cli.options import Asked, command
from proxy.cli.terminal import write, write_json, write_table

PATH: Final = "/api/v1/prices"
REPRICE_S: Final = 3600
SHOW_S: Final = 60

app = typer.Typer()
prices_app = typer.Typer(help="What models cost.", no_args_is_help=True)
app.add_typer(prices_app, name="prices")


@prices_app.command("show")
@command
def prices_show(
    model: Annotated[str, typer.Argument(help="provider/model, or a model's name.")],
    *,
    at: Annotated[str | None, typer.Option("--at", metavar="TIME", help="At that time. Default: now.")] = None,
    asked: Asked,
) -> None:
    """Show every rate of a model, and of every other way of being served."""
    with asked.administered() as server:
        show(server, model, at=at, as_json=asked.as_json)


def show(server: Server, model: str, *, at: str | None, as_json: bool) -> None:
    """GET /api/v1/prices: every rate of a model."""
    query = urlencode({"model": model, **({"at": at} if at else {})})
    answer = table(server.get(f"{PATH}?{query}", timeout_s=SHOW_S).ok().json())
    if as_json:
        write_json(answer)
        return
    found = [table(each) for each in answer.get("data") or []]
    if not any(each.get("rates") for each in found):
        write(f"no price is known for {model}")
        return
    for number, each in enumerate(found):
        if number:
            write("")
        write(f"{each.get('provider')}/{each.get('model')}, {each.get('version')}")
        lines = list(_lines("standard", table(each.get("rates"))))
        for way in map(table, each.get("served") or []):
            when = ", ".join(f"{name} {value}" for name, value in table(way.get("when")).items())
            lines.extend(_lines(when, table(way.get("rates"))))
        write_table(("served", "kind", "USD", "longer inputs"), lines, right=("USD",))


def _lines(served: str, rates: Mapping[str, Any]) -> list[tuple[str, str, Any, str]]:
    return [
        (
            served,
            kind,
            table(rate).get("usd"),
            ", ".join(f"above {tier['above']}: {tier['usd']}" for tier in table(rate).get("tiers") or []),
        )
        for kind, rate in rates.items()
    ]
