"""What is done for the ledger beside the requests: the journal is emptied, sums are kept ready, old rows removed.

And checking it, on demand.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

from proxy.chores import at_work
from proxy.services import Services
from routing.pricing import Price, PriceBook
from storage.errors import StorageError
from storage.retention import Retention
from storage.rollups import Rollups
from storage.verify import Recompute, Report, Verifier, kept_prices

log = logging.getLogger("modelport")

FOLD_S: Final = 10.0
"""So often what was settled is added to the sums: what is newer is counted row by row."""
RETENTION_S: Final = 3600.0


@asynccontextmanager
async def bookkeeping(services: Services) -> AsyncIterator[None]:
    """The work in the background, until the server stops."""
    retaining = (_retain(services),) if services.sharing.first else ()
    async with at_work(_fold(services), *retaining):
        yield


async def _fold(services: Services) -> None:
    rollups = Rollups(services.db)
    while True:
        with suppress(StorageError):  # /health says why, and how much waits
            await services.ledger.catch_up()
        if services.sharing.first and services.setup.loaded.settings.ledger.rollups:
            try:
                await rollups.catch_up()
            except StorageError as error:
                log.warning("the ledger's sums are behind; its rows are counted: %s", error)
        await asyncio.sleep(FOLD_S)


async def _retain(services: Services) -> None:
    while True:
        days = services.setup.loaded.settings.ledger.retention_days
        if days is not None:
            await keep_days(services, days)
        await asyncio.sleep(RETENTION_S)


async def keep_days(services: Services, days: int, why: str = "") -> None:
    """Remove what the ledger has of longer ago, and say so, with *why*."""
    try:
        pruned = await Retention(services.db, Rollups(services.db)).keep_days(days)
    except StorageError as error:
        log.warning("old exchanges could not be removed: %s", error)
        return
    if pruned.exchanges or why:
        log.log(
            logging.WARNING if why else logging.INFO,
            "%d exchanges older than %d days were removed%s",
            pruned.exchanges,
            days,
            why,
        )


class Doubtful(Exception):
    """What is to be removed is more than people mean as a rule. The message says why."""


async def prune(services: Services, before: float, *, keep_sums: bool, confirmed: bool) -> tuple[int, float]:
    """Remove what was opened before *before* (Unix seconds): how many exchanges, and before which moment.

    Raises:
        Doubtful: it is not *confirmed*, and should be; nothing was removed.
    """
    retention = Retention(services.db, Rollups(services.db))
    if not confirmed and (why := await retention.objection(before)):
        raise Doubtful(why)
    pruned = await retention.prune(before, keep_sums=keep_sums)
    return pruned.exchanges, pruned.before


async def verify(services: Services) -> Report:
    """Check the ledger, every cost and the audit log."""
    if services.warming and not services.warming.done():
        await asyncio.shield(services.warming)

    async def audit() -> str | None:
        verdict = await services.audit.verify()
        return f"entry {verdict.broken_at}: {verdict.reason}" if verdict.reason else None

    recompute = await _recompute(services)
    return await Verifier(services.db, Rollups(services.db), recompute=recompute, audit=audit).run()


async def _recompute(services: Services) -> Recompute:
    """Costs from raw usage, at the prices that were in force: those that were kept, else those known today."""
    kept = {
        version: Price.kept(rates, source, version) for version, source, rates in await services.db.read(kept_prices)
    }
    prices: PriceBook = services.prices

    def recompute(row: Mapping[str, Any]) -> int | None:
        cost = prices.recompute(row, kept.get)
        return None if cost is None else cost.nanousd

    return recompute
