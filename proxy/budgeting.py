"""Which budgets a request is charged to, and the most that an attempt of it can cost.

The sums are the store's (`storage.budgets`); here it is decided what is asked of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from proxy.identity import Identity
from routing.pricing import PriceBook
from routing.targets import Target
from storage.budgets import Budget, OverBudget
from translators.neutral import Failure

Rooms = tuple[Budget, ...]
"""Budgets that have to have room for something."""


class BudgetBook:
    """All budgets, by what they are about."""

    def __init__(self, budgets: Iterable[Budget] = ()) -> None:
        self._by_subject: dict[tuple[str, str], Rooms] = {}
        for budget in budgets:
            key = (budget.kind, budget.subject)
            self._by_subject[key] = (*self._by_subject.get(key, ()), budget)

    def __bool__(self) -> bool:
        return bool(self._by_subject)

    def of(self, identity: Identity, tags: Mapping[str, str], route: str) -> Rooms:
        """Those that a request is charged to, whichever provider answers it."""
        subjects = [
            ("global", ""),
            ("organisation", identity.organisation),
            ("team", identity.team),
            ("key", identity.key_id),
            ("route", route),
            *(("tag", f"{name}={value}") for name, value in tags.items()),
        ]
        return tuple(budget for kind, name in subjects if name is not None for budget in self._found(kind, name))

    def of_provider(self, name: str) -> Rooms:
        """Those of a provider."""
        return self._found("provider", name)

    def _found(self, kind: str, subject: str) -> Rooms:
        return self._by_subject.get((kind, subject), ())


ASSUMED_OUTPUT_TOKENS: Final = 4096
"""What an answer is reserved for whose request sets no bound and whose model has no smaller one."""


@dataclass(frozen=True, slots=True)
class Load:
    """What a request may take: *input_tokens* is only counted when a budget wants to know.

    *output_tokens* is the bound that the request sets, None when it sets none; *choices* are all counted.
    *free*: its vendor bills nothing for it (counting tokens, deleting).
    """

    input_tokens: Callable[[], int]
    output_tokens: int | None = None
    choices: int = 1
    free: bool = False


@dataclass(frozen=True, slots=True)
class Spending:
    """What one exchange asks of the budgets."""

    book: BudgetBook
    common: Rooms
    load: Load
    prices: PriceBook
    most_output: Callable[[Target], int | None]
    """The model's own bound of an answer, as far as it is known."""
    warming: asyncio.Task[None] | None = None

    async def ask(self, target: Target) -> tuple[Rooms, int | None]:
        """The budgets that have to have room for an attempt at *target*, and the most that it can cost.

        None: nobody knows.
        """
        budgets = (*self.common, *self.book.of_provider(target.provider))
        if not budgets or self.load.free:
            return budgets, 0
        if self.warming and not self.warming.done():
            await asyncio.shield(self.warming)
        output = self.load.output_tokens
        if output is None:
            known = self.most_output(target)
            output = ASSUMED_OUTPUT_TOKENS if known is None else min(known, ASSUMED_OUTPUT_TOKENS)
        tokens = self.load.input_tokens(), output * self.load.choices
        return budgets, self.prices.worst_nanousd(target.provider, target.model, *tokens, at=datetime.now(UTC))


def budget_failure(over: OverBudget, now: float) -> Failure:
    """What a client is told of a budget that has no room. *now* is Unix seconds."""
    if over.needed_nanousd is None:
        return Failure("permission", str(over), 403, "unpriced_model")
    if over.never_fits or over.reopens_us is None:
        return Failure("rate_limit", f"{over}; it does not open again by itself", 429, "budget_exceeded")
    reopens = datetime.fromtimestamp(over.reopens_us / 1_000_000, UTC)
    wait_s = max(1.0, over.reopens_us / 1_000_000 - now)
    told = f"{over}; it opens again at {reopens:%Y-%m-%dT%H:%M:%SZ}"
    return Failure("rate_limit", told, 429, "budget_exceeded", retry_after_s=wait_s)
