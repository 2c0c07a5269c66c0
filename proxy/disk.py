"""What is done for the disk beside the requests.

What is too old is removed every PRUNE_S, and at once when the database is refused a write for want of room: then the
ballast is released, since removing takes some room itself.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from proxy.bookkeeping import keep_days
from proxy.chores import at_work
from proxy.services import Services
from storage.ballast import Ballast
from storage.errors import Full, StorageError
from storage.router import RouterStore

log = logging.getLogger("modelport")

PRUNE_S: Final = 600.0
LOOK_S: Final = 2.0
"""So often it is looked whether the disk is full: a comparison while it is not."""


@asynccontextmanager
async def housekeeping(services: Services) -> AsyncIterator[None]:
    """The work in the background, until the server stops."""
    watching = () if services.ballast is None else (_watch(services, services.ballast),)
    async with at_work(_prune(services), *watching):
        yield


async def _prune(services: Services) -> None:
    while True:
        await asyncio.sleep(min(PRUNE_S, services.setup.loaded.settings.catalog.lesson_ttl_s))
        await remove_old(services)


async def _watch(services: Services, ballast: Ballast) -> None:
    while True:
        await relieve(services, ballast)
        await asyncio.sleep(LOOK_S)


async def relieve(services: Services, ballast: Ballast) -> None:
    """If the database is refused for want of room, make some; when there is enough, keep some back."""
    is_full = isinstance(services.db.failure, Full)
    if not is_full and ballast.held_bytes:
        return
    if not await asyncio.to_thread(ballast.adjust, is_full=is_full):
        return
    await remove_old(services)
    days = services.setup.loaded.settings.ledger.retention_days
    if days is None:
        log.warning("nothing of the ledger is too old ([ledger] retention_days is not set): free some room by hand")
        return
    await keep_days(services, days, " to make room")


async def remove_old(services: Services) -> None:
    """Remove what is too old of everything but the ledger. What cannot be written is left for another time."""
    now = time.time()
    try:
        await services.vault.prune(now)
        await services.responses.prune(now)
        await services.objects.prune()
        await services.queries.store.prune(now)
        await services.history.prune(now)
        await RouterStore(services.db).prune(now)
        await services.semantic.prune()
        await services.cache.prune()
        await services.forget_old_lessons()
    except StorageError as error:
        log.warning("what is too old could not be removed: %s", error)
