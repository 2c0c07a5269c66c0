"""Asking providers now and then whether they still answer: only those with `probe_interval_s`, and never often.

A provider that was asked by somebody within its interval is left alone: what clients see tells as much and costs
nothing more. The number of probes in a day is bounded. Every probe is booked as an exchange of the route `probe`.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

from proxy.chores import at_work
from proxy.probe import probe
from proxy.providers import ProviderSpec
from proxy.services import Services
from storage.errors import StorageError

log = logging.getLogger("modelport")

LOOK_S: Final = 1.0
"""How often it is looked whether one is due."""
DAY_S: Final = 86_400.0


@dataclass(slots=True)
class Schedule:
    """When which provider was probed, in Unix seconds."""

    _made: dict[str, deque[float]] = field(default_factory=dict)

    def is_due(self, spec: ProviderSpec, last_asked: float, now: float) -> bool:
        """Whether *spec*, which was asked last at *last_asked*, is to be probed; that is noted then."""
        if spec.probe_interval_s is None or not (spec.probe_model or spec.models):
            return False
        made = self._made.setdefault(spec.name, deque())
        while made and now - made[0] >= DAY_S:
            made.popleft()
        newest = max(last_asked, made[-1] if made else 0.0)
        if now - newest < spec.probe_interval_s or len(made) >= spec.probes_per_day:
            return False
        made.append(now)
        return True


@asynccontextmanager
async def probing(services: Services) -> AsyncIterator[None]:
    """Probe what is due, for as long as the process runs."""
    schedule = Schedule()

    async def watch() -> None:
        while True:
            await asyncio.sleep(LOOK_S)
            await _probe(services, _due(services, schedule))

    async with at_work(watch()):
        yield


def _due(services: Services, schedule: Schedule) -> list[ProviderSpec]:
    now = time.time()
    found: list[ProviderSpec] = []
    for spec in services.setup.enabled:
        window = services.health.provider(spec.name).window
        if schedule.is_due(spec, window[-1].at if window else 0.0, now):
            found.append(spec)
    return found


async def _probe(services: Services, specs: Iterable[ProviderSpec]) -> None:
    for spec in specs:
        try:
            told = await probe(services, spec)
        except StorageError as error:
            log.warning("%s was not probed: %s", spec.name, error)
            continue
        services.tally.probes[spec.name, told["ok"]] += 1
        if not told["ok"]:
            log.warning("probe of %s: %s", spec.name, told["error"])
