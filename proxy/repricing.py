"""Costs computed anew at the prices of their time, and prices kept as they are used."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from proxy.services import Services
from routing.pricing import Price, PriceBook, usage_of_row
from storage.audit import Actor
from storage.db import Database
from storage.repricing import NewCost, Repricing, Span


@dataclass(slots=True)
class Line:
    """What became of one model's attempts. Money in nano-dollars; an unknown cost counts nothing."""

    attempts: int = 0
    changed: int = 0
    unpriced: int = 0
    before: int = 0
    after: int = 0


@dataclass(slots=True)
class Report:
    """All attempts that were looked at, in sum and by provider and model."""

    total: Line = field(default_factory=Line)
    models: dict[tuple[str, str], Line] = field(default_factory=dict)

    def add(self, row: Mapping[str, Any], new: NewCost | None, *, changed: bool) -> None:
        """Count an attempt, and what it costs now."""
        old = row["cost_nanousd"] or 0
        for line in (self.total, self.models.setdefault((row["provider"], row["model"]), Line())):
            line.attempts += 1
            line.changed += changed
            line.unpriced += new is None and row["cost_nanousd"] is None
            line.before += old
            line.after += new.nanousd if new else old


async def repriced(services: Services, span: Span, by: Actor, *, dry_run: bool) -> Report:
    """Compute the costs of *span* anew, and book those that differ: page by page, each with an entry of the audit log.

    A known cost is never replaced by an unknown one.
    """
    repricing, report = Repricing(services.db), Report()
    last: Mapping[str, Any] | None = None
    while page := await repricing.page(span, last):
        last = page[-1]
        costs: list[NewCost] = []
        for row in page:
            new = new_cost(services.prices, row)
            changed = new is not None and (new.nanousd, new.version) != (row["cost_nanousd"], row["price_version"])
            report.add(row, new, changed=changed)
            if new is not None and changed:
                costs.append(new)
        if costs and not dry_run:
            since = datetime.fromtimestamp(span.since, UTC).isoformat()
            after = {"attempts": len(costs), "since": since, "model": span.model, "all": span.whole}
            await repricing.apply(costs, services.audit.entry(by, "costs.repriced", "ledger", after=after))
        await asyncio.sleep(0)  # requests go first
    return report


def new_cost(prices: PriceBook, row: Mapping[str, Any]) -> NewCost | None:
    """What an attempt's row cost at the price of its time; None when that is unknown."""
    at = datetime.fromtimestamp(row["started_us"] / 1_000_000, UTC)
    cost = prices.cost(row["provider"], row["model"], usage_of_row(row), at)
    return None if cost is None else NewCost(row, cost.nanousd, cost.source, cost.version)


def price_keeper(db: Database) -> Callable[[Price], None]:
    """What keeps each price that a PriceBook uses (its `on_new`), so that costs can be computed again with it."""
    repricing = Repricing(db)

    def keep(price: Price) -> None:
        repricing.keep_price(price.version, price.source, price.table())

    return keep
