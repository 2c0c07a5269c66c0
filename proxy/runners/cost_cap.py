"""What one request may cost in all, whoever is asked for it.

Each attempt sets aside the most that it can cost before it leaves; so the cap holds whatever the answers' lengths.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal

from proxy.budgeting import ASSUMED_OUTPUT_TOKENS, Load
from proxy.runners.job import Job
from routing.errors import NotSent
from routing.targets import Target
from storage.money import NANO, usd
from translators.neutral import Failure


class CostCap:
    """The cap of one request. None: there is none."""

    def __init__(self, job: Job, max_cost_usd: str | None) -> None:
        self._job = job
        self._limit = None if max_cost_usd is None else int(Decimal(max_cost_usd) * NANO)
        self._set_aside = 0

    async def ready(self) -> None:
        """Prices are there to be looked at."""
        warming = self._job.services.warming
        if self._limit is not None and warming and not warming.done():
            await asyncio.shield(warming)

    def allowing(self, load: Load | None = None) -> Callable[[Target], None]:
        """What raises NotSent for an attempt at a target, of *load* (None: the client's request), that does not fit."""

        def allow(target: Target) -> None:
            if self._limit is None:
                return
            worst = self._worst_nanousd(target, load or self._job.load)
            if worst is None:
                raise _refusal(f"no price is known for {target.name}, so that max_cost_usd cannot be kept")
            if self._set_aside + worst > self._limit:
                left = usd(self._limit - self._set_aside)
                raise _refusal(
                    f"it can cost up to {usd(worst)} USD, and of max_cost_usd {usd(self._limit)} there are {left} left"
                )
            self._set_aside += worst

        return allow

    def _worst_nanousd(self, target: Target, load: Load) -> int | None:
        job = self._job
        output = load.output_tokens
        if output is None:
            known = job.setup.specs[target.provider].rules(target.model).max_output_tokens
            output = ASSUMED_OUTPUT_TOKENS if known is None else min(known, ASSUMED_OUTPUT_TOKENS)
        sent = load.input_tokens() if load.most_input is None else load.most_input(target.model)
        return job.services.prices.worst_nanousd(
            target.provider,
            target.model,
            sent,
            output * load.choices,
            at=datetime.now(UTC),
            searches=load.searches,
        )


def _refusal(message: str) -> NotSent:
    return NotSent(Failure("permission", message, 403, "cost_cap_exceeded"))
