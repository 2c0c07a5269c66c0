"""Which budgets a request is charged to, the most that an attempt of it can cost, and how budgets are spoken of.

The sums are the store's (`storage.budgets`); here it is decided what is asked of it.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from proxy.config.model import BudgetSettings, Settings
from proxy.identity import Identity
from routing.pricing import PriceBook
from routing.pricing.overbilled import Excess, Overbilled
from routing.targets import Target
from storage.budgets import Budget, Kind, OverBudget, Standing
from storage.money import nanousd, usd
from translators.neutral import Failure, Usage

log = logging.getLogger("modelport.budgets")

NO_EXCESS: Final = Excess()

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

    @property
    def every(self) -> list[Budget]:
        """All of them."""
        return [budget for rooms in self._by_subject.values() for budget in rooms]

    def of(self, identity: Identity, tags: Mapping[str, str], route: str) -> Rooms:
        """Those that a request is charged to, whichever provider answers it."""
        subjects = [
            ("global", ""),
            ("organisation", identity.organisation),
            ("team", identity.team),
            ("key", identity.key_id),
            *(("key", maker) for maker in identity.makers),
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
"""What an answer is reserved for whose request sets no bound and whose model has no smaller one, where its budgets do
not say otherwise."""
HELD_UP_S: Final = 5.0
"""When to come back for room that running requests have reserved and may not need."""


@dataclass(frozen=True, slots=True)
class Load:
    """What a request may take: *input_tokens* is only counted when a budget wants to know.

    *output_tokens* is the bound that the request sets, None when it sets none; *choices* are all counted.
    *free*: its vendor bills nothing for it (counting tokens, deleting). *countable* False: what it is billed for cannot
    be told from its answer (pictures, jobs), so that its price is as good as unknown. *most_input* gives the most
    tokens that a model may count of it, where that is more; *searches* is how often tools of the vendor's may be used.
    """

    input_tokens: Callable[[], int]
    output_tokens: int | None = None
    choices: int = 1
    free: bool = False
    countable: bool = True
    most_input: Callable[[str], int] | None = None
    searches: int = 0


def _nobody(_over: OverBudget) -> None:
    """Nobody is told."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """What was reserved for an attempt: the tokens that it can have, and what they cost at most."""

    input_tokens: int
    output_tokens: int | None
    worst_nanousd: int | None


class Bills:
    """What bills have taught of reserving (`routing.pricing.overbilled`).

    *raise_open* is told a provider, a model, and how many times as much its running attempts are to reserve.
    """

    def __init__(self, raise_open: Callable[[str, str, float], None]) -> None:
        self.overbilled = Overbilled()
        self._raise_open = raise_open

    def shown(self) -> dict[str, dict[str, float]]:
        """What is known of targets that bill more than a request can have, for `/health`."""
        return {
            target: {
                "factor": round(excess.factor, 3),
                "more_input_tokens": excess.more_input,
                "more_output_tokens": excess.more_output,
            }
            for target, excess in self.overbilled.known.items()
        }

    def hear(self, target: Target, bounds: Bounds, usage: Usage, cost_nanousd: int | None) -> None:
        """An attempt at *target* was billed *usage*."""
        known = self.overbilled.billed(
            target.name,
            bound=(bounds.input_tokens, bounds.output_tokens),
            told=(usage.input_tokens, usage.output_tokens),
        )
        if known is None:
            return
        log.warning(
            "%s billed %d tokens for a prompt of at most %d, and %d for an answer of at most %s: budgets reserve as"
            " much from now on; what is spent may pass a limit by what runs already",
            *(target.name, usage.input_tokens, bounds.input_tokens),
            *(usage.output_tokens, "any length" if bounds.output_tokens is None else bounds.output_tokens),
        )
        if cost_nanousd and bounds.worst_nanousd and cost_nanousd > bounds.worst_nanousd:
            self._raise_open(target.provider, target.model, cost_nanousd / bounds.worst_nanousd)


@dataclass(frozen=True, slots=True)
class Spending:
    """What one exchange asks of the budgets."""

    book: BudgetBook
    common: Rooms
    load: Load
    prices: PriceBook
    most_output: Callable[[Target], int | None]
    """The model's own bound of an answer, as far as it is known."""
    told: Callable[[OverBudget], None] = _nobody
    """Hears of refusals."""
    warming: asyncio.Task[None] | None = None
    bills: Bills | None = None
    bounds: dict[str, Bounds] = field(default_factory=dict)
    """What was last reserved for each target."""

    async def ask(self, target: Target) -> tuple[Rooms, int | None]:
        """The budgets that have to have room for an attempt at *target*, and the most that it can cost.

        None: nobody knows.
        """
        budgets = (*self.common, *self.book.of_provider(target.provider))
        if not budgets or self.load.free:
            return budgets, 0
        if self.warming and not self.warming.done():
            await asyncio.shield(self.warming)
        output = bound = self.load.output_tokens
        if output is None:
            known, assumed = self.most_output(target), assumed_output_tokens(budgets)
            output = assumed if known is None else min(known, assumed)
        most_input = self.load.most_input
        sent = self.load.input_tokens() if most_input is None else most_input(target.model)
        excess = self.bills.overbilled.of(target.name) if self.bills else NO_EXCESS
        worst_nanousd = self.prices.worst_nanousd(
            target.provider,
            target.model,
            excess.input_tokens(sent),
            output * self.load.choices + excess.more_output,
            at=datetime.now(UTC),
            searches=self.load.searches,
        )
        if most_input is not None and not self.load.searches:
            answers = None if bound is None else bound * self.load.choices
            self.bounds[target.name] = Bounds(sent, answers, worst_nanousd)
        return budgets, worst_nanousd if self.load.countable or worst_nanousd == 0 else None

    def billed(self, target: Target, usage: Usage | None, cost_nanousd: int | None) -> None:
        """An attempt at *target* has ended with *usage*: what it says of reserving is learnt."""
        bounds = self.bounds.get(target.name)
        if self.bills is not None and bounds is not None and usage is not None and not usage.estimated:
            self.bills.hear(target, bounds, usage, cost_nanousd)

    def refused(self, over: OverBudget) -> Failure:
        """What a client is told of *over*."""
        self.told(over)
        return budget_failure(over, time.time())


def assumed_output_tokens(budgets: Rooms) -> int:
    """What an answer without a bound is reserved for: the most that one of *budgets* assumes."""
    return max((budget.assumed_output_tokens or ASSUMED_OUTPUT_TOKENS for budget in budgets), default=0)


def budget_failure(over: OverBudget, now: float) -> Failure:
    """What a client is told of a budget that has no room. *now* is Unix seconds."""
    if over.needed_nanousd is None:
        return Failure("permission", str(over), 403, "unpriced_model")
    if over.never_fits:
        told = f"{over}: more than the limit itself, so that it never fits; ask for less (max_tokens), or raise it"
        return Failure("rate_limit", told, 429, "budget_exceeded")
    again = _utc(over.reopens_us)
    if over.held_up:
        latest = f", at the latest at {again}" if again else ""
        told = f"{over}; what running requests do not need of it comes back as they end{latest}"
        return Failure("rate_limit", told, 429, "budget_exceeded", retry_after_s=_wait_s(over, now, HELD_UP_S))
    if over.reopens_us is None:
        return Failure("rate_limit", f"{over}; it does not open again by itself", 429, "budget_exceeded")
    told = f"{over}; it opens again at {again}"
    return Failure("rate_limit", told, 429, "budget_exceeded", retry_after_s=_wait_s(over, now))


def _wait_s(over: OverBudget, now: float, most: float = math.inf) -> float:
    reopens = math.inf if over.reopens_us is None else over.reopens_us / 1_000_000
    return max(1.0, min(most, reopens - now))


def configured_budgets(settings: Settings) -> list[Budget]:
    """What the configuration says of budgets."""
    return [_configured(name, budget) for name, budget in settings.budgets.items()]


def _configured(name: str, said: BudgetSettings) -> Budget:
    everything: tuple[Kind, str] = ("global", "")
    kind, subject = next(iter(said.subjects.items()), everything)
    return Budget(
        id=f"config_{name}",
        name=name,
        kind=kind,
        subject=subject,
        limit_nanousd=nanousd(said.limit_usd),
        window=said.window,
        rolling=said.rolling,
        hard=said.hard,
        unpriced=said.unpriced,
        alerts=tuple(sorted(set(said.alerts))),
        origin="config",
        assumed_output_tokens=said.assumed_output_tokens,
    )


def shown_budget(budget: Budget) -> dict[str, Any]:
    """*budget* as administrators write and read it."""
    return {
        "id": budget.id,
        "name": budget.name or budget.id,
        "kind": budget.kind,
        "subject": budget.subject or None,
        "limit_usd": usd(budget.limit_nanousd),
        "window": budget.window,
        "rolling": budget.rolling,
        "hard": budget.hard,
        "unpriced": budget.unpriced,
        "alerts": list(budget.alerts),
        "assumed_output_tokens": budget.assumed_output_tokens or ASSUMED_OUTPUT_TOKENS,
        "origin": budget.origin,
    }


def shown_standing(standing: Standing) -> dict[str, Any]:
    """How a budget stands, for `/health`, `/costs`, alerts and the API."""
    budget, spent, reserved = standing.budget, standing.spent_nanousd, standing.reserved_nanousd
    return {
        "id": budget.id,
        "name": budget.name or budget.id,
        "kind": budget.kind,
        "subject": budget.subject or None,
        "window": budget.window,
        "rolling": budget.rolling,
        "hard": budget.hard,
        "limit_usd": usd(budget.limit_nanousd),
        "spent_usd": usd(spent),
        "reserved_usd": usd(reserved),
        "left_usd": usd(max(0, budget.limit_nanousd - spent - reserved)),
        "over_usd": usd(max(0, spent - budget.limit_nanousd)),
        "percent": round(standing.percent, 2),
        "unpriced_attempts": standing.unpriced_attempts,
        "since": _utc(standing.since_us),
        "reopens_at": _utc(standing.reopens_us),
        "status": standing.status,
    }


def _utc(at_us: int | None) -> str | None:
    return None if at_us is None else datetime.fromtimestamp(at_us / 1_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
